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
    // A Savepoint says itself who claimed it.
    let other = o.claimed_by.filter(|_| name.is_none());
    if let Some(by) = other {
        let message = format!(
            "the files at {path} belong to {by}, which was started from them with claimMode: Claim, and may have deleted them. \
             {CHOOSE}"
        );
        return Choice::Refused(Refusal::new(Reason::StateNotFound, message));
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

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::super::case::{Case, effect, told};
    use super::*;
    use crate::{
        api::{
            job::{DesiredState, LocalRef, RestartPolicy, RestartType},
            state::StateKind::{Checkpoint, Savepoint},
        },
        flink::JobState,
    };

    const CHECKPOINT: &str = "s3://b/checkpoints/chk-7";
    const NAMED: &str = "s3://b/named";
    const NO_STATE: &str = "Failed/StateNotFound";

    /// What the next start takes: `empty`, a path, or what people read because nothing is started.
    fn taken(case: &Case) -> String {
        let mut case = case.clone();
        for _ in 0..6 {
            let plan = case.decide();
            if let Some(submission) = plan.status.submission() {
                let restore = submission.restore.as_ref();
                return restore.map_or("empty", |restore| &restore.path).to_owned();
            }
            if plan.status == case.status {
                assert_eq!(effect(&plan), "-");
                return told(&plan.status).split(' ').next().unwrap().to_owned();
            }
            case.persist(plan.rule);
        }
        panic!("it does not settle: {:#?}", case.decide());
    }

    fn ended(mode: UpgradeMode, checkpoint: Option<&str>, state: JobState) -> Case {
        let mut case = Case::stateful(mode, checkpoint);
        case.ends(state);
        case
    }

    /// Set to that state, and seen to its end there.
    fn set(mut case: Case, state: DesiredState) -> Case {
        case.edit(|spec| spec.state = state);
        case
    }

    fn cancelled(checkpoint: Option<&str>) -> Case {
        let mut case = set(
            Case::stateful(UpgradeMode::Savepoint, checkpoint),
            DesiredState::Cancelled,
        );
        case.persist("end/cancel");
        case.ends(JobState::Canceled);
        assert_eq!(told(&case.status), "Cancelled/Cancelled Ready=True Running=False");
        set(case, DesiredState::Running)
    }

    fn suspended(mode: UpgradeMode) -> Case {
        let mut case = set(Case::stateful(mode, Some(CHECKPOINT)), DesiredState::Suspended);
        if mode == UpgradeMode::Savepoint {
            case.stop();
        } else {
            case.persist("end/cancel");
            case.ends(JobState::Canceled);
        }
        assert_eq!(told(&case.status), "Suspended/Suspended Ready=True Running=False");
        case
    }

    /// The program is edited.
    fn edited(mut case: Case) -> Case {
        case.edit(|spec| spec.job.args.clear());
        case
    }

    fn restoring(mut case: Case, restore: Restore) -> Case {
        case.edit(|spec| spec.restore = Some(restore));
        case
    }

    fn named(nonce: Option<i64>) -> Restore {
        Restore {
            from: Some(RestoreFrom::Named),
            path: Some(NAMED.to_owned()),
            nonce,
            ..Restore::default()
        }
    }

    fn from(from: RestoreFrom, on_missing_state: Option<OnMissingState>) -> Restore {
        Restore {
            from: Some(from),
            on_missing_state,
            ..Restore::default()
        }
    }

    fn gone(mut case: Case) -> Case {
        case.status.state_mut().latest.as_mut().unwrap().gone = true;
        case
    }

    fn nothing_known(mut case: Case) -> Case {
        case.savepoints = Input::Ready(Vec::new());
        case
    }

    /// Rule 14, row by row.
    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn what_a_start_takes() {
        use JobState::{Canceled, Failed, Finished};
        use UpgradeMode::{LastState, Stateless};
        let mode = UpgradeMode::Savepoint;
        let start_empty = Some(OnMissingState::StartEmpty);
        let by_savepoint = suspended(mode);
        let savepoint = by_savepoint.status.latest_state().unwrap().path.clone();
        let resumed = set(by_savepoint, DesiredState::Running);
        let forced_empty = Restore {
            nonce: Some(1),
            ..from(RestoreFrom::Latest, start_empty)
        };
        let rows: Vec<(&str, Case, &str)> = vec![
            // Nothing existed, or Finished: a first start, by `restore`.
            ("new", Case::new(), "empty"),
            ("new, restore: Named", restoring(Case::new(), named(None)), NAMED),
            (
                "new, restore: Latest, and there is none",
                nothing_known(restoring(Case::new(), from(RestoreFrom::Latest, None))),
                NO_STATE,
            ),
            (
                "the same with StartEmpty",
                nothing_known(restoring(Case::new(), from(RestoreFrom::Latest, start_empty))),
                "empty",
            ),
            (
                "failed without state, edited",
                edited(ended(mode, None, Failed)),
                "empty",
            ),
            (
                "failed without state, edited, restore: Named",
                edited(restoring(ended(mode, None, Failed), named(None))),
                NAMED,
            ),
            (
                "finished, edited",
                edited(ended(mode, Some(CHECKPOINT), Finished)),
                "empty",
            ),
            (
                "finished, edited, restore: Named",
                edited(restoring(ended(mode, Some(CHECKPOINT), Finished), named(None))),
                NAMED,
            ),
            // Failed, edited, state existed: the newest on record.
            (
                "failed, edited",
                edited(ended(mode, Some(CHECKPOINT), Failed)),
                CHECKPOINT,
            ),
            (
                "failed, edited, LastState",
                edited(ended(LastState, Some(CHECKPOINT), Failed)),
                CHECKPOINT,
            ),
            (
                "failed, edited, Stateless",
                edited(ended(Stateless, Some(CHECKPOINT), Failed)),
                "empty",
            ),
            (
                "failed, edited, restore: Named is for a first start",
                edited(restoring(ended(mode, Some(CHECKPOINT), Failed), named(None))),
                CHECKPOINT,
            ),
            (
                "failed, edited, the state is gone",
                edited(gone(ended(mode, Some(CHECKPOINT), Failed))),
                NO_STATE,
            ),
            (
                "the same with StartEmpty, which is for a first start",
                edited(restoring(
                    gone(ended(mode, Some(CHECKPOINT), Failed)),
                    from(RestoreFrom::Latest, start_empty),
                )),
                NO_STATE,
            ),
            // Cancelled and Running again: the newest on record.
            ("cancelled, resumed", cancelled(Some(CHECKPOINT)), CHECKPOINT),
            (
                "cancelled, resumed, the state is gone",
                gone(cancelled(Some(CHECKPOINT))),
                NO_STATE,
            ),
            ("cancelled without state, resumed", cancelled(None), "empty"),
            (
                "cancelled without state, resumed, restore: Named",
                restoring(cancelled(None), named(None)),
                NAMED,
            ),
            // Suspended and Running again: what the suspension kept.
            ("suspended with a savepoint, resumed", resumed.clone(), &savepoint),
            (
                "suspended with a savepoint, resumed and edited",
                edited(resumed.clone()),
                &savepoint,
            ),
            (
                "suspended with a savepoint, resumed, restore: Named is for a first start",
                restoring(resumed.clone(), named(None)),
                &savepoint,
            ),
            (
                "suspended with a savepoint, resumed, it is gone",
                gone(resumed.clone()),
                NO_STATE,
            ),
            (
                "suspended in LastState, resumed",
                set(suspended(LastState), DesiredState::Running),
                CHECKPOINT,
            ),
            (
                "suspended in Stateless, resumed",
                set(suspended(Stateless), DesiredState::Running),
                "empty",
            ),
            // Cancelled in Flink's UI: only `restartNonce` resumes.
            (
                "cancelled in the UI",
                ended(mode, Some(CHECKPOINT), Canceled),
                "Cancelled/Cancelled",
            ),
            (
                "cancelled in the UI, edited",
                edited(ended(mode, Some(CHECKPOINT), Canceled)),
                "Cancelled/Cancelled",
            ),
            (
                "cancelled in the UI, restartNonce",
                {
                    let mut case = ended(mode, Some(CHECKPOINT), Canceled);
                    case.edit(|spec| spec.restart_nonce = Some(1));
                    case
                },
                CHECKPOINT,
            ),
            // `restore.nonce` has the last word.
            (
                "failed, restore.nonce",
                restoring(ended(mode, Some(CHECKPOINT), Failed), named(Some(1))),
                NAMED,
            ),
            (
                "suspended with a savepoint, resumed, restore.nonce",
                restoring(resumed, named(Some(1))),
                NAMED,
            ),
            (
                "failed, restore.nonce, Latest, and there is none",
                nothing_known(restoring(
                    ended(mode, Some(CHECKPOINT), Failed),
                    Restore {
                        on_missing_state: None,
                        ..forced_empty.clone()
                    },
                )),
                NO_STATE,
            ),
            (
                "the same with StartEmpty",
                nothing_known(restoring(ended(mode, Some(CHECKPOINT), Failed), forced_empty)),
                "empty",
            ),
            // What the last run left cannot be known.
            (
                "unknown",
                {
                    let mut case = edited(ended(mode, Some(CHECKPOINT), Failed));
                    case.status.state_mut().resume = Some(Resume::Unknown);
                    case
                },
                "Failed/StateUnknown",
            ),
            (
                "unknown, restore.nonce",
                {
                    let mut case = restoring(ended(mode, Some(CHECKPOINT), Failed), named(Some(1)));
                    case.status.state_mut().resume = Some(Resume::Unknown);
                    case
                },
                NAMED,
            ),
        ];
        for (row, case, expected) in rows {
            assert_eq!(taken(&case), expected, "{row}");
        }
    }

    /// A start that was not seen to run on its state is made again from the same.
    #[test]
    fn a_start_that_never_ran_is_made_again_from_the_same() {
        type Failed = fn() -> Case;
        let rows: [(&str, Failed, &str); 3] = [
            ("new", Case::new, "empty"),
            ("new, restore: Named", || restoring(Case::new(), named(None)), NAMED),
            (
                "suspended in LastState, resumed",
                || set(suspended(UpgradeMode::LastState), DesiredState::Running),
                CHECKPOINT,
            ),
        ];
        for (row, from, expected) in rows {
            let mut case = from();
            case.spec.upgrade_mode = UpgradeMode::Savepoint;
            case.persist("start/intend");
            case.finalizer = true;
            case.outcome(super::super::SubmitOutcome::Rejected("no".to_owned()));
            case.confirmed = true;
            case.settle();
            assert_eq!(
                told(&case.status),
                "Failed/SubmissionRejected Ready=False Stalled Running=False"
            );
            case.edit(|spec| spec.job.args = vec!["--other".to_owned()]);
            assert_eq!(taken(&case), expected, "{row}");
        }
    }

    #[test]
    fn the_newest_state_is_looked_for_after_the_end_before_it_is_taken() {
        let mut case = Case::stateful(UpgradeMode::LastState, Some(CHECKPOINT));
        case.list(JobState::Failed);
        case.settle();
        case.edit(|spec| spec.job.args.clear());
        let plan = case.settle();
        assert_eq!((plan.rule, plan.wants.state), ("start/waiting", true));
        case.read(
            crate::api::state::CheckpointRetention::Retained,
            Some("s3://b/checkpoints/chk-8"),
        );
        assert_eq!(
            case.settle().rule,
            "start/waiting",
            "that is what was known before its end"
        );
        case.ends(JobState::Failed);
        assert_eq!(taken(&case), "s3://b/checkpoints/chk-8");
    }

    /// What the operator decides by itself leaves the files alone; what a person names is taken as that says.
    #[test]
    fn whose_files_they_are_is_for_a_person_to_say() {
        let restore = |case: &Case| case.decide().status.submission().unwrap().restore.clone().unwrap();
        let said = Restore {
            claim_mode: Some(ClaimMode::Claim),
            allow_non_restored_state: Some(true),
            ..named(Some(1))
        };
        let own = edited(restoring(
            ended(UpgradeMode::Savepoint, Some(CHECKPOINT), JobState::Failed),
            Restore {
                nonce: None,
                ..said.clone()
            },
        ));
        let by_person = restoring(own.clone(), said);
        for (case, expected) in [(own, (Checkpoint, false, false)), (by_person, (Savepoint, true, true))] {
            let restore = restore(&case);
            assert_eq!(
                (restore.kind, restore.claim, restore.allow_non_restored_state),
                expected
            );
        }
    }

    #[test]
    fn a_path_is_taken_with_or_without_its_metadata_file() {
        for path in [
            "s3://b/named",
            "s3://b/named/",
            "s3://b/named/_metadata",
            "s3://b/named/_metadata/",
        ] {
            let restore = Restore {
                path: Some(path.to_owned()),
                ..named(None)
            };
            assert_eq!(taken(&restoring(Case::new(), restore)), NAMED, "{path}");
        }
    }

    #[test]
    fn what_another_job_claimed_is_not_taken_by_its_path() {
        let mut case = restoring(Case::new(), named(None));
        case.claimed_by = Some("FlinkSessionJob/other");
        case.settle();
        assert_eq!(
            told(&case.status),
            "Failed/StateNotFound Ready=False Stalled Running=False"
        );
        let message = &case.status.conditions[0].message;
        assert!(message.contains("FlinkSessionJob/other"), "{message}");
        case.claimed_by = None;
        assert_eq!(taken(&case), NAMED);
    }

    #[test]
    fn what_a_job_claimed_is_not_taken_again() {
        let mut case = restoring(
            Case::new(),
            Restore {
                claim_mode: Some(ClaimMode::Claim),
                ..named(None)
            },
        );
        case.persist("start/intend");
        case.finalizer = true;
        case.list(JobState::Running);
        case.state = Input::Ready(super::super::StateSeen {
            restored: Some(NAMED.to_owned()),
            ..case.stateless()
        });
        case.settle();
        for restore in [
            named(Some(1)),
            Restore {
                path: Some(format!("{NAMED}/_metadata")),
                ..named(Some(2))
            },
        ] {
            let mut case = restoring(case.clone(), restore);
            case.settle();
            assert_eq!(
                told(&case.status),
                "Running/StateNotFound Ready=False Stalled Running=True"
            );
        }
        // Nor when its Savepoint is asked for, or is the newest.
        let mut case = restoring(case, from(RestoreFrom::Latest, None));
        case.spec.restore.as_mut().unwrap().nonce = Some(3);
        case.savepoints = Input::Ready(vec![known("one", "j", NAMED, 9)]);
        case.settle();
        assert_eq!(
            told(&case.status),
            "Running/StateNotFound Ready=False Stalled Running=True"
        );
        case.savepoints = Input::Ready(vec![known("one", "j", NAMED, 9), known("two", "j", "s3://b/older", 3)]);
        case.persist("end/cancel");
    }

    fn known(name: &str, job: &str, path: &str, second: i64) -> SavepointKnown {
        SavepointKnown {
            name: name.to_owned(),
            kind: Savepoint,
            job: Some(job.to_owned()),
            standing: SavepointStanding::Completed {
                path: path.to_owned(),
                time: Timestamp::from_second(second).unwrap(),
            },
            job_id: None,
        }
    }

    fn standing(name: &str, standing: SavepointStanding) -> SavepointKnown {
        SavepointKnown {
            standing,
            ..known(name, "j", "", 99)
        }
    }

    #[test]
    fn latest_and_earliest_are_complete_savepoints_of_this_job_by_their_time() {
        let savepoints = vec![
            known("b", "j", "s3://b/b", 5),
            known("a", "j", "s3://b/a", 3),
            known("c", "j", "s3://b/c", 7),
            known("other", "k", "s3://b/other", 1),
            known("another", "k", "s3://b/another", 9),
            standing("pending", SavepointStanding::Pending),
            standing("failed", SavepointStanding::Unusable("no".to_owned())),
        ];
        for (which, expected) in [(RestoreFrom::Latest, "s3://b/c"), (RestoreFrom::Earliest, "s3://b/a")] {
            let mut case = restoring(Case::new(), from(which, None));
            assert!(case.still("start/waiting").wants.savepoints, "they are read first");
            case.savepoints = Input::Ready(savepoints.clone());
            assert_eq!(taken(&case), expected);
        }
        let mut case = restoring(Case::new(), from(RestoreFrom::Latest, Some(OnMissingState::StartEmpty)));
        case.savepoints = Input::Ready(savepoints[3..].to_vec());
        assert_eq!(taken(&case), "empty");
    }

    #[test]
    fn a_savepoint_that_is_named_is_waited_for_until_it_is_complete() {
        let by_reference = Restore {
            from: Some(RestoreFrom::Named),
            savepoint_ref: Some(LocalRef { name: "one".to_owned() }),
            ..Restore::default()
        };
        let claimed = standing(
            "one",
            SavepointStanding::Unusable("its files belong to a job".to_owned()),
        );
        let rows = [
            (
                "another alone",
                vec![known("two", "j", NAMED, 1)],
                "Pending/ReferenceNotFound",
            ),
            (
                "being taken",
                vec![standing("one", SavepointStanding::Pending)],
                "Pending/Restoring",
            ),
            ("unusable", vec![claimed], NO_STATE),
            ("complete", vec![known("one", "j", NAMED, 1)], NAMED),
            ("complete, of another job", vec![known("one", "k", NAMED, 1)], NAMED),
        ];
        for (row, savepoints, expected) in rows {
            let mut case = restoring(Case::new(), by_reference.clone());
            case.savepoints = Input::Ready(savepoints);
            assert_eq!(taken(&case), expected, "{row}");
        }
        let mut case = restoring(Case::new(), by_reference);
        case.savepoints = Input::Ready(vec![SavepointKnown {
            kind: Checkpoint,
            ..known("one", "j", NAMED, 1)
        }]);
        let submission = case.persist("start/intend").status.submission().unwrap().clone();
        let restore = submission.restore.unwrap();
        let name = restore.savepoint_ref.map(|reference| reference.name);
        assert_eq!((restore.kind, name.as_deref()), (Checkpoint, Some("one")));
    }

    /// A restart by the policy.
    #[test]
    fn the_policy_says_what_its_restarts_take() {
        use RestartFrom::{LatestSavepoint, LatestState, None as Nothing};
        let failed = |checkpoint, restore_from| {
            let mut case = Case::stateful(UpgradeMode::Stateless, checkpoint);
            case.edit(|spec| {
                spec.restart_policy = Some(RestartPolicy {
                    kind: Some(RestartType::OnFailure),
                    restore_from,
                    ..RestartPolicy::default()
                });
            });
            case.settle();
            case.ends(JobState::Failed);
            case.wait(60);
            case.savepoints = Input::Ready(vec![known("one", "j", "s3://b/one", 1)]);
            case
        };
        let rows = [
            (None, Some(CHECKPOINT), CHECKPOINT),
            (Some(LatestState), Some(CHECKPOINT), CHECKPOINT),
            (Some(LatestSavepoint), Some(CHECKPOINT), "s3://b/one"),
            (Some(Nothing), Some(CHECKPOINT), "empty"),
            (Some(LatestState), None, "empty"),
            (Some(LatestSavepoint), None, "empty"),
        ];
        for (restore_from, checkpoint, expected) in rows {
            let case = failed(checkpoint, restore_from);
            assert_eq!(taken(&case), expected, "{restore_from:?} of {checkpoint:?}");
        }
        // What existed and is gone is not replaced by nothing.
        let mut case = failed(Some(CHECKPOINT), Some(LatestSavepoint));
        case.savepoints = Input::Ready(Vec::new());
        assert_eq!(taken(&case), NO_STATE);
        let case = gone(failed(Some(CHECKPOINT), Some(LatestState)));
        assert_eq!(taken(&case), NO_STATE);
    }

    #[test]
    fn what_flink_says_of_state_that_is_missing_is_understood() {
        let mut case = restoring(Case::new(), named(None));
        case.persist("start/intend");
        for (cause, words) in [
            (
                "java.io.FileNotFoundException: Cannot find checkpoint or savepoint file/directory 'x'",
                Some("there is no savepoint or checkpoint at s3://b/named"),
            ),
            (
                "java.io.FileNotFoundException: Cannot find meta data file '_metadata' in directory 'x'",
                Some("there is no savepoint or checkpoint at s3://b/named"),
            ),
            (
                "java.lang.IllegalStateException: Failed to rollback to checkpoint/savepoint x. Cannot map",
                Some("is not of this program"),
            ),
            (
                "java.lang.IllegalStateException: There is no operator for the state 0a",
                Some("is not of this program"),
            ),
            ("java.lang.IllegalStateException: disk full", None),
        ] {
            let told = missing(&case.status, cause);
            assert_eq!(told.is_some(), words.is_some(), "{cause}");
            assert!(told.unwrap_or_default().contains(words.unwrap_or_default()), "{cause}");
        }
        // A job that was started empty misses nothing.
        let mut case = Case::new();
        case.persist("start/intend");
        assert_eq!(missing(&case.status, "Cannot find meta data file '_metadata'"), None);
    }

    #[test]
    fn what_a_run_left_that_failed_before_it_ran_is_what_it_was_started_from() {
        let mut case = set(suspended(UpgradeMode::Savepoint), DesiredState::Running);
        let savepoint = case.status.latest_state().unwrap().clone();
        case.persist("start/intend");
        case.finalizer = true;
        case.read(crate::api::state::CheckpointRetention::Retained, None);
        case.ends(JobState::Failed);
        case.edit(|spec| spec.job.args.clear());
        assert_eq!(taken(&case), savepoint.path);
    }
}
