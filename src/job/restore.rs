//! What a start takes its state from.
//!
//! A first start, and one that `restore.nonce` forces, takes what `spec.restore` says, until a job was seen to run on it. A
//! job that was stopped goes on from what was kept; one that ended otherwise, from the newest state on record. Where there
//! was state and none can be found, nothing is started: a person chooses.

use super::{
    Input, Observed, Refusal, SavepointKnown, SavepointStanding, Wants, change, directory, ledger, restart,
    stored::{self, InStore},
};
use crate::api::{
    JobStatus, Reason,
    intent::RestoreIntent,
    job::{ClaimMode, OnMissingState, RestartFrom, Restore, RestoreFrom, UpgradeMode},
    state::{RestorePoint, Resume, StateKind},
    status::RunOutcome,
};

/// What a start takes.
#[derive(Debug)]
pub(super) enum Choice {
    /// That state, or none; and what a later start takes as long as this one was not seen to run.
    Start(Option<Box<RestoreIntent>>, Resume),
    /// It cannot be said yet.
    Waiting {
        /// Why, where there is more to say than that.
        refusal: Option<Refusal>,
        /// What it takes to say it.
        wants: Wants,
    },
    /// There is nothing to start from; a person has to choose.
    Refused(Refusal),
}

/// How to choose, for every message that asks to.
pub(super) const CHOOSE: &str = "To choose what the job starts from, set spec.restore (from: Named with a path or a savepointRef, \
                                 Latest, or None for an empty start) and change spec.restore.nonce";

/// How a job that was lost is started again, and what it starts from then.
pub(super) fn again(status: &JobStatus, mode: UpgradeMode) -> String {
    let nonce = "change spec.restartNonce";
    match status.latest_state() {
        _ if mode == UpgradeMode::Stateless => format!("to start it again, {nonce}"),
        Some(latest) if latest.gone => format!("its newest state on record is gone. {CHOOSE}"),
        Some(_) => format!("to go on from its newest state on record, {nonce}"),
        None => format!(
            "no state of it is on record: {nonce} to start it as if for the first time, by what spec.restore says. {CHOOSE}"
        ),
    }
}

/// What the next start takes.
pub(super) fn choose(o: &Observed<'_>, status: &JobStatus) -> Choice {
    let accepted = status.accepted_spec.as_deref();
    if accepted.is_some_and(|accepted| change::forces_restore(o.spec, accepted)) {
        return by_spec(o, status);
    }
    match status.resume() {
        Some(Resume::Restore) => by_spec(o, status),
        Some(Resume::Latest) => latest(o, status),
        Some(Resume::Savepoint) => of_savepoints(o, status, &Restore::default(), Resume::Savepoint),
        Some(Resume::Empty) => Choice::Start(None, Resume::Empty),
        Some(Resume::Unknown) => Choice::Refused(Refusal::new(
            Reason::StateUnknown,
            format!(
                "it cannot be known whether the last run left a newer state than the one on record{}. {CHOOSE}",
                on_record(status)
            ),
        )),
        None => by_outcome(o, status),
    }
}

/// After a run that ended by itself, or before the first.
fn by_outcome(o: &Observed<'_>, status: &JobStatus) -> Choice {
    match status.last_outcome() {
        None | Some(RunOutcome::Finished) => by_spec(o, status),
        Some(RunOutcome::Lost) if restart::is_policys(o, status) => newest(o, status),
        Some(_) if restart::is_policys(o, status) => restarted(o, status),
        Some(_) if o.spec.upgrade_mode == UpgradeMode::Stateless => Choice::Start(None, Resume::Empty),
        Some(_) => newest(o, status),
    }
}

/// The newest state on record; a job that never had any starts as the first time.
fn newest(o: &Observed<'_>, status: &JobStatus) -> Choice {
    match status.latest_state() {
        None if ledger::is_open(o, status).is_none() => by_spec(o, status),
        None | Some(_) => latest(o, status),
    }
}

fn latest(o: &Observed<'_>, status: &JobStatus) -> Choice {
    if ledger::is_open(o, status).is_some() {
        let refusal = match &o.state {
            Input::Retrying(refusal) => Some(refusal.clone()),
            Input::Pending | Input::Ready(_) | Input::Refused(_) => None,
        };
        let wants = Wants {
            state: true,
            attention: true,
            ..Wants::default()
        };
        return Choice::Waiting { refusal, wants };
    }
    match status.latest_state() {
        Some(point) if !point.gone => match stored::newest(o, status, point) {
            InStore::Newest(point) => Choice::Start(Some(Box::new(keeping(&point))), Resume::Latest),
            InStore::Missing(what) => Choice::Refused(not_found(&what)),
            InStore::Ask(refusal) => {
                let wants = Wants {
                    stored: true,
                    ..Wants::default()
                };
                Choice::Waiting { refusal, wants }
            }
        },
        Some(point) => Choice::Refused(not_found(&format!(
            "the newest state on record, {}, was deleted with the job, or belongs to a job that claimed it",
            point.path
        ))),
        None => Choice::Refused(not_found("no checkpoint and no savepoint is on record")),
    }
}

/// The operator's own restarts keep the files as they are.
fn keeping(point: &RestorePoint) -> RestoreIntent {
    RestoreIntent {
        kind: point.kind,
        path: point.path.clone(),
        savepoint_ref: point.savepoint_ref.clone(),
        claim: false,
        allow_non_restored_state: false,
    }
}

fn not_found(what: &str) -> Refusal {
    Refusal::new(
        Reason::StateNotFound,
        format!("the job had state, and there is none to start from: {what}. {CHOOSE}"),
    )
}

fn on_record(status: &JobStatus) -> String {
    match status.latest_state().filter(|latest| !latest.gone) {
        Some(point) => format!(" ({})", point.path),
        None => String::new(),
    }
}

/// A restart by the restart policy.
fn restarted(o: &Observed<'_>, status: &JobStatus) -> Choice {
    let policy = o.spec.restart_policy.as_ref();
    match policy.and_then(|policy| policy.restore_from).unwrap_or_default() {
        RestartFrom::LatestState => newest(o, status),
        RestartFrom::None => Choice::Start(None, Resume::Empty),
        RestartFrom::LatestSavepoint => match status.latest_state() {
            None => by_spec(o, status),
            Some(_) => of_savepoints(o, status, &Restore::default(), Resume::Savepoint),
        },
    }
}

/// What `spec.restore` says.
fn by_spec(o: &Observed<'_>, status: &JobStatus) -> Choice {
    let nothing = Restore::default();
    let restore = o.spec.restore.as_ref().unwrap_or(&nothing);
    match restore.from.unwrap_or_default() {
        RestoreFrom::None => Choice::Start(None, Resume::Restore),
        RestoreFrom::Latest | RestoreFrom::Earliest => of_savepoints(o, status, restore, Resume::Restore),
        RestoreFrom::Named => match (&restore.path, &restore.savepoint_ref) {
            (Some(path), _) => named(o, status, restore, StateKind::Savepoint, path, None),
            (None, Some(savepoint)) => of_reference(o, status, restore, &savepoint.name),
            (None, None) => Choice::Refused(Refusal::new(
                Reason::InvalidSpec,
                "spec.restore.from: Named needs savepointRef or path",
            )),
        },
    }
}

fn intent(restore: &Restore, kind: StateKind, path: &str, name: Option<&str>) -> RestoreIntent {
    RestoreIntent {
        kind,
        path: plain(path).to_owned(),
        savepoint_ref: name.map(|name| crate::api::job::LocalRef { name: name.to_owned() }),
        claim: restore.claim_mode.unwrap_or_default() == ClaimMode::Claim,
        allow_non_restored_state: restore.allow_non_restored_state.unwrap_or_default(),
    }
}

/// The folder that `_metadata` is in: people copy its path with or without the file.
fn plain(path: &str) -> &str {
    let path = path.trim_end_matches('/');
    let folder = path.strip_suffix("/_metadata").unwrap_or(path);
    folder.trim_end_matches('/')
}

fn named(
    o: &Observed<'_>,
    status: &JobStatus,
    restore: &Restore,
    kind: StateKind,
    path: &str,
    name: Option<&str>,
) -> Choice {
    if let Err(why) = directory::admitted(o, path) {
        let message = format!("the job cannot be started from what spec.restore names: {why}");
        return Choice::Refused(Refusal::new(Reason::InvalidSpec, message));
    }
    if ledger::is_claimed(status, plain(path)) {
        let message = format!(
            "the files at {path} belong to an earlier run, which was started from them with claimMode: Claim; Flink may have \
             deleted them. {CHOOSE}"
        );
        return Choice::Refused(Refusal::new(Reason::StateNotFound, message));
    }
    Choice::Start(Some(Box::new(intent(restore, kind, path, name))), Resume::Restore)
}

fn ask_for_savepoints(refusal: Option<Refusal>) -> Choice {
    Choice::Waiting {
        refusal,
        wants: Wants {
            savepoints: true,
            ..Wants::default()
        },
    }
}

/// The newest or the oldest Savepoint of this job.
fn of_savepoints(o: &Observed<'_>, status: &JobStatus, restore: &Restore, resume: Resume) -> Choice {
    let known: &[SavepointKnown] = match &o.savepoints {
        Input::Ready(known) => known,
        Input::Pending => return ask_for_savepoints(None),
        Input::Refused(refusal) | Input::Retrying(refusal) => return ask_for_savepoints(Some(refusal.clone())),
    };
    let usable = known.iter().filter_map(|savepoint| match &savepoint.standing {
        SavepointStanding::Completed { path, time }
            if savepoint.job.as_deref() == Some(o.meta.name) && !ledger::is_claimed(status, path) =>
        {
            Some((*time, path, savepoint))
        }
        SavepointStanding::Completed { .. } | SavepointStanding::Pending | SavepointStanding::Unusable(_) => None,
    });
    let chosen = if restore.from == Some(RestoreFrom::Earliest) {
        usable.min_by_key(|(time, path, _)| (*time, *path))
    } else {
        usable.max_by_key(|(time, path, _)| (*time, *path))
    };
    match chosen {
        Some((_, path, savepoint)) => {
            let restore = intent(restore, savepoint.kind, path, Some(&savepoint.name));
            Choice::Start(Some(Box::new(restore)), resume)
        }
        None if restore.on_missing_state == Some(OnMissingState::StartEmpty) => Choice::Start(None, Resume::Restore),
        None => {
            let message = format!(
                "no completed Savepoint names this job in spec.jobRef. To start without state, set spec.restore.from: None, or \
                 onMissingState: StartEmpty. {CHOOSE}"
            );
            Choice::Refused(Refusal::new(Reason::StateNotFound, message))
        }
    }
}

/// The Savepoint that `spec.restore.savepointRef` names.
fn of_reference(o: &Observed<'_>, status: &JobStatus, restore: &Restore, name: &str) -> Choice {
    let known: &[SavepointKnown] = match &o.savepoints {
        Input::Ready(known) => known,
        Input::Pending => return ask_for_savepoints(None),
        Input::Refused(refusal) | Input::Retrying(refusal) => return ask_for_savepoints(Some(refusal.clone())),
    };
    let wait = |reason, message: String| ask_for_savepoints(Some(Refusal::new(reason, message)));
    let Some(savepoint) = known.iter().find(|savepoint| savepoint.name == name) else {
        let message = format!(
            "Savepoint {name:?} of spec.restore.savepointRef does not exist in this namespace; the job starts when it is there"
        );
        return wait(Reason::ReferenceNotFound, message);
    };
    match &savepoint.standing {
        SavepointStanding::Completed { path, .. } => named(o, status, restore, savepoint.kind, path, Some(name)),
        SavepointStanding::Pending => {
            let message = format!("Savepoint {name:?} is being taken; the job starts from it when it is complete");
            wait(Reason::Restoring, message)
        }
        SavepointStanding::Unusable(why) => {
            let message = format!("Savepoint {name:?} cannot be restored from: {why}. {CHOOSE}");
            Choice::Refused(Refusal::new(Reason::StateNotFound, message))
        }
    }
}

/// Whether the state that a failed start asked for is missing, by what Flink says.
pub(super) fn missing(status: &JobStatus, cause: &str) -> Option<String> {
    let from = status.state.as_ref()?.restored_from.as_ref()?;
    let path = &from.path;
    let gone = [
        "Cannot find checkpoint or savepoint file/directory",
        "Cannot find meta data file '_metadata'",
    ];
    let other = [
        "Failed to rollback to checkpoint/savepoint",
        "Cannot map checkpoint/savepoint state",
        "There is no operator for the state",
    ];
    let says = |words: &[&str]| words.iter().any(|word| cause.contains(word));
    if says(&gone) {
        let newer = match from.kind {
            StateKind::Savepoint => "",
            // What was on record is up to a minute old.
            StateKind::Checkpoint => {
                "; Flink deletes a checkpoint when newer ones are complete (execution.checkpointing.num-retained of the cluster), so \
                 look for a newer chk-… beside it"
            }
        };
        return Some(format!("there is no savepoint or checkpoint at {path}{newer}"));
    }
    says(&other).then(|| {
        format!(
            "the state at {path} is not of this program (operators are told apart by their uid; restore.allowNonRestoredState \
             drops what fits nowhere)"
        )
    })
}
