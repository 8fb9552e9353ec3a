//! Any record of a job's state, any stop that is under way, and anything that Flink tells of them.

use std::time::Duration;

use proptest::{collection::vec, option, prelude::*};

use super::{
    super::{
        SavepointKnown, SavepointStanding, StateSeen, StopAnswer, StopSeen, Task, UnderWay,
        case::{Case, seen as listed},
    },
    input,
    words::{Any, job_id, moment, one, rarely, refusal, seconds, text},
};
use crate::{
    api::{
        JobStatus,
        intent::{CancelPurpose, Intent, KeepIntent, StopIntent},
        job::{LocalRef, SavepointFormat},
        state::{CheckpointRetention, Checkpointing, RestorePoint, RestoredFrom, Resume, StateKind, StateRecord},
    },
    flink::{JobId, JobState, TriggerId},
};

const TRIGGERS: [TriggerId; 2] = [TriggerId([1; 16]), TriggerId([2; 16])];

const DIRECTORY: &str = "s3://b/savepoints/n/j/1";

const PATHS: [&str; 5] = [
    "s3://b/savepoints/n/j/1/savepoint-1",
    "s3://b/checkpoints/chk-7",
    "file:/c/chk-1",
    "s3://other/x",
    "",
];

fn trigger() -> Any<TriggerId> {
    rarely(TRIGGERS[0], Just(TRIGGERS[1]))
}

fn path() -> Any<String> {
    one(&PATHS).prop_map(str::to_owned).boxed()
}

fn kind() -> impl Strategy<Value = StateKind> {
    one(&[StateKind::Savepoint, StateKind::Checkpoint])
}

fn retention() -> impl Strategy<Value = CheckpointRetention> {
    one(&[
        CheckpointRetention::Retained,
        CheckpointRetention::Retained,
        CheckpointRetention::RetainedOnFailure,
        CheckpointRetention::DeletedOnEnd,
        CheckpointRetention::NoCheckpoints,
    ])
}

fn purpose() -> impl Strategy<Value = CancelPurpose> {
    one(&[CancelPurpose::Upgrade, CancelPurpose::Suspend, CancelPurpose::Delete])
}

fn point() -> Any<RestorePoint> {
    (
        kind(),
        path(),
        option::of(job_id()),
        option::of(moment()),
        rarely(false, Just(true)),
    )
        .prop_map(|(kind, path, job_id, time, gone)| RestorePoint {
            kind,
            path,
            job_id,
            time,
            savepoint_ref: None,
            gone,
        })
        .boxed()
}

/// What is on record of the state.
pub(super) fn state() -> Any<Option<StateRecord>> {
    let restored = (kind(), path(), any::<bool>(), option::of(any::<bool>()));
    let resume = one(&[
        None,
        Some(Resume::Restore),
        Some(Resume::Latest),
        Some(Resume::Savepoint),
        Some(Resume::Empty),
        Some(Resume::Unknown),
    ]);
    let checkpointing = (job_id(), retention(), any::<bool>());
    let record = (
        option::weighted(0.7, point()),
        option::of(restored),
        resume,
        option::of(checkpointing),
        option::of(moment()),
    );
    let record = record.prop_map(|(latest, restored, resume, checkpointing, scheduled)| StateRecord {
        scheduled,
        latest,
        restored_from: restored.map(|(kind, path, claimed, confirmed)| RestoredFrom {
            kind,
            path,
            savepoint_ref: Some(LocalRef { name: "s".to_owned() }),
            claimed,
            confirmed,
        }),
        resume,
        checkpointing: checkpointing.map(|(job_id, retention, last)| Checkpointing {
            job_id,
            retention,
            interval_seconds: Some(10),
            last,
        }),
        claimed: Vec::new(),
    });
    prop_oneof![2 => Just(None), 3 => record.prop_map(Some)].boxed()
}

fn stop() -> Any<StopIntent> {
    let location = option::weighted(0.2, one(&PATHS).prop_map(str::to_owned));
    let decided = prop_oneof![3 => one(&[0, -1, -5, -14]).prop_map(seconds), 1 => moment()];
    let tries = rarely(1, one(&[2, 3, 9, i32::MAX, i32::MIN]));
    let rest = (tries, decided, option::weighted(0.15, moment()));
    (job_id(), purpose(), trigger(), location, rest)
        .prop_map(
            |(job_id, purpose, trigger_id, location, (tries, decided, due))| StopIntent {
                job_id,
                purpose,
                trigger_id,
                directory: DIRECTORY.to_owned(),
                format: SavepointFormat::Native,
                tries,
                decided,
                due,
                location,
            },
        )
        .boxed()
}

/// A write-ahead record with a stop in it, or a savepoint that is to become a resource.
pub(super) fn intent(intent: Any<Intent>) -> Any<Intent> {
    let keep = (job_id(), purpose(), path(), moment()).prop_map(|(job_id, purpose, path, time)| KeepIntent {
        name: "j-1-upgrade".to_owned(),
        path,
        job_id,
        purpose,
        format: SavepointFormat::Native,
        time,
    });
    (intent, option::weighted(0.3, stop()), option::weighted(0.05, keep))
        .prop_map(|(intent, stop, keep)| Intent { stop, keep, ..intent })
        .boxed()
}

/// What this process did and heard for a stop.
pub(super) fn task(task: Any<Task>) -> Any<Task> {
    let answer = prop_oneof![
        Just(StopAnswer::Accepted),
        refusal().prop_map(StopAnswer::NotSent),
        refusal().prop_map(StopAnswer::Refused),
        refusal().prop_map(StopAnswer::Unknown),
    ];
    let seen = prop_oneof![
        Just(StopSeen::InProgress),
        path().prop_map(StopSeen::Taken),
        text().prop_map(StopSeen::Failed),
        Just(StopSeen::TooEarly),
        Just(StopSeen::Unknown),
        refusal().prop_map(StopSeen::NotAsked),
    ];
    let sent = option::of((trigger(), moment(), answer));
    let heard = option::of((trigger(), moment(), seen));
    let name = prop_oneof![Just(Ok("j-1-upgrade".to_owned())), refusal().prop_map(Err)];
    let kept = option::weighted(0.3, (path(), name));
    let created = prop_oneof![Just(Ok(())), refusal().prop_map(Err)];
    let scheduled = option::weighted(0.1, (moment(), created));
    (task, option::weighted(0.5, trigger()), sent, heard, kept, scheduled)
        .prop_map(|(task, stop_unsent, stop_sent, stop_seen, kept, scheduled)| Task {
            scheduled,
            stop_sent: stop_sent
                .filter(|(id, _, answer)| stop_unsent != Some(*id) || matches!(answer, StopAnswer::NotSent(_))),
            stop_unsent,
            stop_seen,
            kept,
            ..task
        })
        .boxed()
}

fn seen(job_id: Option<JobId>) -> Any<StateSeen> {
    let of = prop_oneof![4 => Just(job_id), 1 => self::job_id().prop_map(Some)];
    let facts = (retention(), option::of(point()), vec(path(), 0..3), option::of(path()));
    (of, facts, moment(), any::<bool>())
        .prop_map(|(of, (retention, checkpoint, savepoints, restored), read, last)| {
            let job_id = of.unwrap_or(JobId([0xee; 16]));
            StateSeen {
                job_id,
                retention,
                interval: Some(Duration::from_secs(10)),
                checkpoint: checkpoint.map(|point| RestorePoint {
                    kind: StateKind::Checkpoint,
                    job_id: Some(job_id),
                    gone: false,
                    ..point
                }),
                savepoints,
                restored,
                read,
                last,
            }
        })
        .boxed()
}

fn savepoint() -> Any<SavepointKnown> {
    let standing = prop_oneof![
        3 => (path(), moment()).prop_map(|(path, time)| SavepointStanding::Completed { path, time }),
        1 => Just(SavepointStanding::Pending),
        1 => text().prop_map(SavepointStanding::Unusable),
    ];
    (
        one(&["s", "t"]),
        kind(),
        one(&[Some("j"), None]),
        standing,
        option::of(job_id()),
    )
        .prop_map(|(name, kind, job, standing, job_id)| SavepointKnown {
            name: name.to_owned(),
            kind,
            job: job.map(str::to_owned),
            standing,
            job_id,
        })
        .boxed()
}

/// The same case, with anything that Flink and the namespace tell of its state.
pub(super) fn told(case: Case) -> Any<Case> {
    let inputs = (
        input(seen(case.status.job_id)),
        input(vec(savepoint(), 0..3)),
        rarely(None, one(&[UnderWay::Intended, UnderWay::Asked]).prop_map(Some)),
        rarely(Some("s3://b/savepoints"), Just(None)),
        one(&[None, Some(JobState::Running), Some(JobState::Finished)]),
        input(option::of(path())),
    );
    inputs
        .prop_map(
            move |(state, savepoints, savepoint_under_way, savepoint_directory, listed, stored)| {
                let mut case = Case {
                    state,
                    savepoints,
                    stored,
                    savepoint_under_way,
                    savepoint_directory,
                    ..case.clone()
                };
                if let Some(listed) = listed {
                    show(&mut case, listed);
                }
                case
            },
        )
        .boxed()
}

/// A stop that nothing else stands in the way of is rare by itself: its job is listed.
fn show(case: &mut Case, state: JobState) {
    let Some(job_id) = case.status.stop().map(|stop| stop.job_id) else {
        return;
    };
    let intent = case.status.intent_mut();
    (intent.cancel, intent.submit) = (None, None);
    case.jobs.retain(|job| job.id != job_id);
    case.jobs.push(listed(job_id, state));
}

/// A status without a stop or a cancellation of another job than the one that runs: the operator writes no other.
pub(super) fn tidy(status: &mut JobStatus) {
    let live = status.live_run().map(|run| run.job_id);
    if let Some(intent) = status.intent.as_mut() {
        match (&mut intent.stop, live) {
            (Some(stop), Some(job_id)) => stop.job_id = job_id,
            (stop, None) => *stop = None,
            (None, Some(_)) => {}
        }
    }
}
