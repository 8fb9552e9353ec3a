//! The record of a job's state: where it can be restored from, what a start takes, and whether Flink confirmed it.
//!
//! A point is recorded only when Flink said that it is complete. `latest` changes when a newer one of the same job is
//! complete, and when a job was seen to run that was started from another; so what is on record is never older than what
//! was on record before, unless a person asked for that.

use std::{fmt::Write as _, time::Duration};

use sha2::{Digest, Sha256};

use super::{Input, Observed, StateSeen, backoff::after};
use crate::{
    api::{
        JobStatus,
        intent::{CancelPurpose, RestoreIntent},
        job::UpgradeMode,
        state::{CheckpointRetention, Checkpointing, RestorePoint, RestoredFrom, Resume, StateKind, StateRecord},
        status::RunOutcome,
    },
    flink::{JobId, StatePath, is_same_place, one_spelling},
};

/// How often the checkpoints of a running job are read.
pub const READ_STATE: Duration = Duration::from_secs(60);

/// How often, at most, in the first minute of a job, while no checkpoint of it is on record: one that is lost before that
/// goes back to where it was started from, or has nothing to go on from.
const READ_FIRST: Duration = Duration::from_secs(5);

/// How many claimed paths are remembered.
const CLAIMED: usize = 10;

/// A start was decided on: what it takes, and from where.
pub(super) fn intend(status: &mut JobStatus, restore: Option<&RestoreIntent>, resume: Resume) {
    let state = status.state_mut();
    state.resume = Some(resume);
    state.checkpointing = None;
    state.restored_from = restore.map(|restore| RestoredFrom {
        kind: restore.kind,
        path: restore.path.clone(),
        savepoint_ref: restore.savepoint_ref.clone(),
        claimed: restore.claim,
        confirmed: None,
    });
}

/// A run of the operator's own was ended by it: what the next start takes.
pub(super) fn ended(status: &mut JobStatus, resume: Resume) {
    status.state_mut().resume = Some(resume);
    last_state(status);
}

/// Notes in the latest run what state was on record when it ended.
pub(super) fn last_state(status: &mut JobStatus) {
    let latest = status.latest_state().filter(|latest| !latest.gone);
    let path = latest.map(|latest| latest.path.clone());
    if let Some(run) = status.runs.first_mut() {
        run.last_state = path;
    }
}

/// A savepoint of the job is complete: nothing newer can come, the job ends with it.
pub(super) fn stopped(status: &mut JobStatus, point: RestorePoint, job_id: JobId) {
    let state = status.state_mut();
    state.latest = Some(point);
    state.resume = Some(Resume::Latest);
    if let Some(checkpointing) = state.checkpointing.as_mut().filter(|c| c.job_id == job_id) {
        checkpointing.last = true;
    }
}

/// Takes over what Flink tells of the state of the current attempt.
pub(super) fn take_over(status: &mut JobStatus, seen: &StateSeen) {
    if status.job_id != Some(seen.job_id) {
        return;
    }
    if seen.retention == CheckpointRetention::NoCheckpoints && seen.checkpoint.is_none() {
        // Nothing to tell, and nothing to look for.
        return;
    }
    let state = status.state_mut();
    let interval_seconds = seen
        .interval
        .map(|interval| i64::try_from(interval.as_secs()).unwrap_or(i64::MAX).max(1));
    let before = state.checkpointing.take().filter(|before| before.job_id == seen.job_id);
    state.checkpointing = Some(Checkpointing {
        job_id: seen.job_id,
        retention: seen.retention,
        interval_seconds,
        last: seen.last || before.is_some_and(|before| before.last),
    });
    if is_foreign(state) {
        // That its checkpoints were read is noted all the same: a start waits for that.
        return;
    }
    let survives = !matches!(
        seen.retention,
        CheckpointRetention::DeletedOnEnd | CheckpointRetention::NoCheckpoints
    );
    let checkpoint = seen.checkpoint.clone().or_else(|| recovered(state, seen));
    if let Some(checkpoint) = checkpoint.filter(|_| survives)
        && state.latest.as_ref().is_none_or(|latest| is_newer(&checkpoint, latest))
    {
        state.latest = Some(checkpoint);
    }
}

/// A JobManager that recovered the job remembers no checkpoints of it, but what it recovered the job from: its newest one.
fn recovered(state: &StateRecord, seen: &StateSeen) -> Option<RestorePoint> {
    let path = seen.restored.clone()?;
    let from = state.restored_from.as_ref();
    let known = state
        .latest
        .as_ref()
        .filter(|latest| is_same_place(&latest.path, &path));
    (known.is_none() && !from.is_some_and(|from| is_same_place(&from.path, &path))).then_some(RestorePoint {
        kind: StateKind::Checkpoint,
        path,
        job_id: Some(seen.job_id),
        time: None,
        savepoint_ref: None,
        gone: false,
    })
}

/// The job runs, but not on what it was to be started from: its state is not the one that people mean.
fn is_foreign(state: &StateRecord) -> bool {
    state
        .restored_from
        .as_ref()
        .is_some_and(|from| from.confirmed == Some(false))
}

/// Whether a point of the current attempt is newer than the one on record. What is on record of another job is older: the
/// attempt was started from it, or after it.
fn is_newer(point: &RestorePoint, latest: &RestorePoint) -> bool {
    match (point.time, latest.time) {
        (Some(time), Some(before)) if latest.job_id == point.job_id => time > before,
        _ => point.path != latest.path,
    }
}

/// Takes over a Savepoint of the current attempt that is newer than what is on record.
pub(super) fn take_over_savepoint(status: &mut JobStatus, point: &RestorePoint) {
    if point.job_id.is_none() || point.job_id != status.job_id || status.state.as_ref().is_some_and(is_foreign) {
        return;
    }
    let state = status.state_mut();
    if state.latest.as_ref().is_none_or(|latest| is_newer(point, latest)) {
        state.latest = Some(point.clone());
    }
}

/// The job of the current attempt was seen to run: does it run on what it was started from? True when it is not known yet.
pub(super) fn establish(o: &Observed<'_>, status: &mut JobStatus, job_id: JobId) -> bool {
    let Some(resume) = status.resume().filter(|_| status.job_id == Some(job_id)) else {
        return false;
    };
    let Some(from) = status.state.as_ref().and_then(|state| state.restored_from.clone()) else {
        // Started without state, as asked: what earlier attempts left is not this job's state.
        let state = status.state_mut();
        state.resume = None;
        if matches!(resume, Resume::Empty | Resume::Restore) {
            state.latest = state.latest.take().filter(|latest| latest.job_id == Some(job_id));
        }
        return false;
    };
    if from.confirmed.is_some() {
        return false;
    }
    let Some(seen) = o.state_of(job_id) else { return true };
    let confirmed = seen
        .restored
        .as_deref()
        .is_some_and(|path| is_same_place(path, &from.path) || is_checkpoint_of(path, job_id));
    let state = status.state_mut();
    if let Some(from) = state.restored_from.as_mut() {
        from.confirmed = Some(confirmed);
    }
    if confirmed {
        state.resume = None;
        restored(state, &from, job_id);
    }
    false
}

/// Whether a path is that of a checkpoint of the job's own: it failed and recovered before anybody looked, and Flink tells
/// of the last restore only. A job that could not be restored at its start comes to no checkpoint.
fn is_checkpoint_of(path: &str, job_id: JobId) -> bool {
    let Ok(path) = path.parse::<StatePath>() else {
        return false;
    };
    // <directory>/<JobID>/chk-<number>
    let mut names = path.names().iter().rev();
    names.next().is_some_and(|name| name.starts_with("chk-"))
        && names.next().is_some_and(|name| *name == job_id.to_string())
}

/// The job runs on that state.
fn restored(state: &mut StateRecord, from: &RestoredFrom, job_id: JobId) {
    let known = state.latest.take().filter(|latest| {
        let own = latest.job_id == Some(job_id);
        own || is_same_place(&latest.path, &from.path)
    });
    let mut latest = known.unwrap_or_else(|| RestorePoint {
        kind: from.kind,
        path: from.path.clone(),
        job_id: None,
        time: None,
        savepoint_ref: from.savepoint_ref.clone(),
        gone: false,
    });
    if from.claimed {
        latest.gone |= is_same_place(&latest.path, &from.path);
        state.claimed.insert(0, digest_of(&from.path));
        state.claimed.truncate(CLAIMED);
    }
    state.latest = Some(latest);
}

/// A digest of a path, 32 hexadecimal digits, the same for every spelling.
fn digest_of(path: &str) -> String {
    let digest = Sha256::digest(one_spelling(path));
    let bytes = digest.iter().take(16);
    bytes.fold(String::with_capacity(32), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// Whether a job claimed the files at this path.
pub(super) fn is_claimed(status: &JobStatus, path: &str) -> bool {
    let digest = digest_of(path);
    let state = status.state.as_ref();
    state.is_some_and(|state| state.claimed.contains(&digest))
}

/// Flink deletes a job's checkpoints at such an end.
pub(super) fn forget_deleted(status: &mut JobStatus, outcome: RunOutcome, job_id: JobId) {
    let Some(state) = status.state.as_mut() else { return };
    let retention = state
        .checkpointing
        .as_ref()
        .filter(|checkpointing| checkpointing.job_id == job_id)
        .map(|checkpointing| checkpointing.retention);
    let deleted = match retention {
        Some(CheckpointRetention::DeletedOnEnd) => true,
        // Flink's JobManager is gone with a job that is lost, and deletes nothing.
        Some(CheckpointRetention::RetainedOnFailure) => !matches!(outcome, RunOutcome::Failed | RunOutcome::Lost),
        Some(CheckpointRetention::Retained | CheckpointRetention::NoCheckpoints) | None => {
            outcome == RunOutcome::Finished
        }
    };
    if let Some(latest) = state.latest.as_mut()
        && deleted
        && latest.kind == StateKind::Checkpoint
        && latest.job_id == Some(job_id)
    {
        latest.gone = true;
    }
}

/// The job whose checkpoints are still to be read after its end.
pub(super) fn is_open(o: &Observed<'_>, status: &JobStatus) -> Option<JobId> {
    let run = status.runs.first()?;
    let ended = match run.outcome? {
        RunOutcome::Failed | RunOutcome::Canceled => true,
        RunOutcome::Replaced | RunOutcome::Suspended | RunOutcome::Cancelled => {
            o.spec.upgrade_mode != UpgradeMode::Stateless || status.resume() == Some(Resume::Latest)
        }
        RunOutcome::Finished | RunOutcome::Rejected | RunOutcome::Lost | RunOutcome::Unknown => false,
    };
    let job_id = run.job_id;
    let state = status.state.as_ref();
    let stopped = state.is_some_and(|state| {
        let latest = state.latest.as_ref();
        state.resume == Some(Resume::Latest)
            && latest.is_some_and(|latest| latest.kind == StateKind::Savepoint && latest.job_id == Some(job_id))
    });
    let unread = match state.and_then(|state| state.checkpointing.as_ref()) {
        Some(known) if known.job_id == job_id => {
            !known.last
                && match known.retention {
                    CheckpointRetention::Retained => true,
                    CheckpointRetention::RetainedOnFailure => run.outcome == Some(RunOutcome::Failed),
                    CheckpointRetention::DeletedOnEnd | CheckpointRetention::NoCheckpoints => false,
                }
        }
        Some(_) | None => match &o.state {
            Input::Ready(seen) if seen.job_id == job_id => seen.retention != CheckpointRetention::NoCheckpoints,
            Input::Refused(_) => false,
            Input::Ready(_) | Input::Pending | Input::Retrying(_) => true,
        },
    };
    (ended && unread && !stopped && status.job_id == Some(job_id) && run.attempt > 0).then_some(job_id)
}

/// The job of the latest run has ended: takes over what was read of it after its end.
pub(super) fn read_last(o: &Observed<'_>, status: &mut JobStatus) {
    let Some(job_id) = is_open(o, status) else { return };
    match &o.state {
        Input::Ready(seen) if seen.job_id == job_id && seen.last => {
            if !matches!(
                status.last_outcome(),
                Some(RunOutcome::Replaced | RunOutcome::Suspended)
            ) {
                // Of a job that the operator ended, `resume` speaks of the next start already.
                establish(o, status, job_id);
            }
            take_over(status, seen);
            let own = |latest: &RestorePoint| latest.job_id == Some(job_id);
            if status.latest_state().is_some_and(own) && status.resume() != Some(Resume::Latest) {
                // It ran, and got so far.
                status.state_mut().resume = None;
            }
        }
        Input::Refused(_) => {
            // Nobody can tell any more what its last checkpoint was.
            let state = status.state_mut();
            if state.resume == Some(Resume::Latest) {
                state.resume = Some(Resume::Unknown);
            }
            if let Some(known) = state.checkpointing.as_mut() {
                known.last = true;
            }
        }
        Input::Ready(_) | Input::Pending | Input::Retrying(_) => return,
    }
    if let Some(outcome) = status.last_outcome() {
        forget_deleted(status, outcome, job_id);
    }
    last_state(status);
}

/// When the checkpoints of a running job are to be read; None when it takes none.
pub(super) fn read_next(o: &Observed<'_>, status: &JobStatus, job_id: JobId) -> Option<jiff::Timestamp> {
    let Some(seen) = o.state_of(job_id) else {
        return Some(o.now);
    };
    let foreign = status.state.as_ref().is_some_and(is_foreign);
    let own = |latest: &RestorePoint| latest.job_id == Some(job_id);
    let recorded = status.latest_state().is_some_and(own);
    // One that completes none for longer is looked at no more often than the others.
    let young = status.start_time.is_some_and(|start| o.now < after(start, READ_STATE));
    let pause = match seen.retention {
        CheckpointRetention::NoCheckpoints => return None,
        CheckpointRetention::Retained | CheckpointRetention::RetainedOnFailure if young && !recorded => {
            // The first is complete an interval after the start, or soon after.
            seen.interval
                .map_or(READ_STATE, |interval| interval.clamp(READ_FIRST, READ_STATE))
        }
        CheckpointRetention::Retained | CheckpointRetention::RetainedOnFailure | CheckpointRetention::DeletedOnEnd => {
            READ_STATE
        }
    };
    (!foreign).then(|| after(seen.read, pause))
}

/// What the job was to be restored from, when Flink does not say that it was.
pub(super) fn not_restored(status: &JobStatus) -> Option<&RestoredFrom> {
    let state = status.state.as_ref().filter(|state| is_foreign(state))?;
    state.restored_from.as_ref()
}

/// The outcome of a run that the operator ended.
pub(super) const fn outcome(purpose: CancelPurpose) -> RunOutcome {
    match purpose {
        CancelPurpose::Upgrade => RunOutcome::Replaced,
        CancelPurpose::Suspend => RunOutcome::Suspended,
        CancelPurpose::Cancel | CancelPurpose::Delete => RunOutcome::Cancelled,
        CancelPurpose::Stray => RunOutcome::Canceled,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        flink::JobState,
        job::case::{Case, told},
    };

    fn checkpoint(job_id: JobId, number: u8) -> RestorePoint {
        RestorePoint {
            kind: StateKind::Checkpoint,
            path: format!("s3://b/checkpoints/chk-{number}"),
            job_id: Some(job_id),
            time: None,
            savepoint_ref: None,
            gone: false,
        }
    }

    fn seen(case: &Case, checkpoint: Option<RestorePoint>) -> StateSeen {
        StateSeen {
            retention: CheckpointRetention::Retained,
            checkpoint,
            ..case.stateless()
        }
    }

    /// A job that was cancelled to go on from its last checkpoint, of which `chk-1` was seen. Nobody looked after its end.
    fn cancelled() -> Case {
        let mut case = Case::running();
        case.state = Input::Ready(seen(&case, Some(checkpoint(case.id(), 1))));
        case.edit(|spec| {
            spec.upgrade_mode = UpgradeMode::LastState;
            spec.job.args.clear();
        });
        case.persist("end/cancel");
        case.list(JobState::Canceled);
        case.persist("start/waiting");
        case
    }

    #[test]
    fn the_first_checkpoint_is_looked_for_sooner_than_the_next() {
        let pause = |interval: Option<u64>, latest: Option<u8>, retention| {
            let mut case = Case::running();
            let latest = latest.map(|number| checkpoint(case.id(), number));
            case.state = Input::Ready(StateSeen {
                retention,
                interval: interval.map(Duration::from_secs),
                ..seen(&case, latest)
            });
            case.settle();
            let next = case.observed(|o| read_next(o, &case.status, case.id()));
            next.map(|next| next.duration_since(case.now).as_secs())
        };
        let retained = CheckpointRetention::Retained;
        assert_eq!(pause(Some(1), None, retained), Some(5));
        assert_eq!(pause(Some(30), None, retained), Some(30));
        assert_eq!(pause(Some(600), None, retained), Some(60));
        assert_eq!(pause(None, None, retained), Some(60));
        assert_eq!(pause(Some(1), Some(1), retained), Some(60));
        // Its first minute is over.
        let mut case = Case::running();
        case.state = Input::Ready(StateSeen {
            retention: retained,
            interval: Some(Duration::from_secs(1)),
            ..seen(&case, None)
        });
        case.wait(120);
        case.settle();
        let read = case.observed(|o| o.state_of(case.id()).unwrap().read);
        let next = case.observed(|o| read_next(o, &case.status, case.id()));
        assert_eq!(next, Some(after(read, READ_STATE)));
        // Those are never on record.
        assert_eq!(pause(Some(1), None, CheckpointRetention::DeletedOnEnd), Some(60));
        assert_eq!(pause(Some(1), None, CheckpointRetention::NoCheckpoints), None);
    }

    /// What the next start takes, when this was seen after the job's end.
    fn taken(case: &mut Case, last: StateSeen) -> Option<String> {
        case.state = Input::Ready(StateSeen { last: true, ..last });
        let plan = case.decide();
        assert_eq!(plan.rule, "start/intend");
        let submission = plan.status.submission();
        submission.and_then(|submission| submission.restore.as_ref().map(|restore| restore.path.clone()))
    }

    #[test]
    fn a_start_in_last_state_takes_the_newest_checkpoint_that_was_told_of() {
        let mut case = cancelled();
        let last = seen(&case, Some(checkpoint(case.id(), 2)));
        assert_eq!(taken(&mut case, last).as_deref(), Some("s3://b/checkpoints/chk-2"));
        // The JobManager was replaced in between, and knows nothing: what was seen before the end stands.
        let mut case = cancelled();
        let last = seen(&case, None);
        assert_eq!(taken(&mut case, last).as_deref(), Some("s3://b/checkpoints/chk-1"));
        // Or it knows what it recovered the job from.
        let mut case = cancelled();
        let restored = Some("s3://b/checkpoints/chk-3".to_owned());
        let last = StateSeen {
            restored,
            ..seen(&case, None)
        };
        assert_eq!(taken(&mut case, last).as_deref(), Some("s3://b/checkpoints/chk-3"));
    }

    #[test]
    fn a_job_that_recovered_before_anybody_looked_runs_on_what_it_was_started_from() {
        let rows = [
            ("s3://b/checkpoints/OWN/chk-3", true),
            ("s3://b/checkpoints/00000000000000000000000000000007/chk-3", false),
            ("s3://b/OWN/savepoint-1", false),
        ];
        for (path, confirmed) in rows {
            let mut case = Case::running();
            let state = case.status.state_mut();
            state.resume = Some(Resume::Restore);
            state.restored_from = Some(RestoredFrom {
                kind: StateKind::Savepoint,
                path: "s3://b/savepoints/1".to_owned(),
                savepoint_ref: None,
                claimed: false,
                confirmed: None,
            });
            let path = path.replace("OWN", &case.id().to_string());
            case.state = Input::Ready(StateSeen {
                restored: Some(path.clone()),
                ..seen(&case, None)
            });
            case.settle();
            let state = case.status.state.clone().unwrap();
            assert_eq!(state.restored_from.unwrap().confirmed, Some(confirmed), "{path}");
            assert_eq!(state.latest.map(|latest| latest.path), confirmed.then_some(path));
        }
    }

    #[test]
    fn a_job_whose_last_checkpoint_is_nowhere_does_not_start_empty() {
        let mut case = cancelled();
        case.status.state_mut().latest = None;
        case.state = Input::Ready(StateSeen {
            last: true,
            ..seen(&case, None)
        });
        case.persist("start/no-state");
        assert_eq!(
            told(&case.status),
            "Failed/StateNotFound Ready=False Stalled Running=False"
        );
    }

    /// A job that runs, and not on what it was to be restored from.
    #[test]
    fn the_checkpoints_of_a_job_on_other_state_are_not_taken_for_the_jobs_own() {
        let mut case = Case::new();
        case.edit(|spec| {
            spec.restore = Some(crate::api::job::Restore {
                from: Some(crate::api::job::RestoreFrom::Named),
                path: Some("s3://b/named".to_owned()),
                ..crate::api::job::Restore::default()
            });
        });
        case.persist("start/intend");
        case.finalizer = true;
        case.list(JobState::Running);
        case.state = Input::Ready(StateSeen {
            restored: Some("s3://b/other".to_owned()),
            ..seen(&case, Some(checkpoint(case.id(), 9)))
        });
        case.settle();
        assert_eq!(
            told(&case.status),
            "Running/StateUnknown Ready=False Stalled Running=True"
        );
        assert_eq!(case.status.latest_state(), None);
        case.ends(JobState::Failed);
        assert_eq!(case.status.latest_state(), None);
        // That there comes nothing more of it is known all the same: a start would wait for that for ever.
        let known = case
            .status
            .state
            .as_ref()
            .and_then(|state| state.checkpointing.as_ref());
        assert!(known.is_some_and(|known| known.last));
    }
}
