//! Any Savepoint in any world: well typed, and often enough consistent that every rule is reached. What the properties of
//! the decision are tried on.

use std::time::Duration;

use jiff::Timestamp;
use proptest::{collection::vec, option, prelude::*, sample::select};

use super::{
    DisposalOutcome, Made, Metadata, Polled, Task, TriggerOutcome, Usage,
    case::{
        Case, JobCase, Other, P1, P2, Reach, entry, failure, job_id, location, other_trigger, refusal, seen, start,
    },
};
use crate::{
    api::{
        Phase, Reason, SavepointStatus,
        savepoint::DisposalPolicy,
        savepoint_status::{DisposeIntent, SavepointOrigin},
        status::{CancelIntent, CancelPurpose},
    },
    flink::{Checkpoints, FailureKind, JobState, SavepointState, SavepointStatus as Told, TriggerId},
    job::JobSeen,
};

// Boxed, since the strategies are large and test threads have small stacks.
type Any<T> = BoxedStrategy<T>;

fn one<T: Clone + std::fmt::Debug + 'static>(values: &[T]) -> impl Strategy<Value = T> + use<T> {
    select(values.to_vec())
}

fn moment() -> Any<Timestamp> {
    let near = [
        -100_000, -700, -600, -300, -240, -60, -30, -10, -5, -2, -1, 0, 1, 5, 30, 100_000,
    ];
    let near = one(&near).prop_map(|offset| start() + jiff::SignedDuration::from_secs(offset));
    prop_oneof![20 => near, 1 => one(&[Timestamp::MIN, Timestamp::UNIX_EPOCH, Timestamp::MAX])].boxed()
}

fn trigger_id() -> Any<TriggerId> {
    let own = TriggerId::new(super::case::UID, 1);
    prop_oneof![6 => Just(own), 1 => Just(other_trigger())].boxed()
}

fn told() -> Any<Told> {
    let elsewhere = || "s3://elsewhere/savepoint-1".to_owned();
    let failed = |kind| Told::Failed(failure(kind, "java.io.IOException"));
    one(&[
        Told::InProgress,
        Told::Unknown,
        Told::Unknown,
        Told::Completed { location: location() },
        Told::Completed { location: elsewhere() },
        failed(FailureKind::Other),
        failed(FailureKind::JobNotRunning),
    ])
    .boxed()
}

fn task() -> Any<Task> {
    let outcomes = [
        TriggerOutcome::Accepted,
        TriggerOutcome::OtherTrigger,
        TriggerOutcome::NotSent(refusal(Reason::ClusterUnreachable)),
        TriggerOutcome::Refused("no".to_owned()),
        TriggerOutcome::Unknown(refusal(Reason::ClusterUnreachable)),
    ];
    let disposals = [
        DisposalOutcome::Done,
        DisposalOutcome::NothingThere,
        DisposalOutcome::NoMetadata,
        DisposalOutcome::Failed(failure(FailureKind::Other, "java.io.IOException")),
        DisposalOutcome::NoAnswer(refusal(Reason::ClusterUnreachable)),
    ];
    let down = Just(Err(refusal(Reason::ClusterUnreachable)));
    let answer = prop_oneof![5 => told().prop_map(Ok), 1 => down];
    let polled = (trigger_id(), moment(), answer, option::of(moment()));
    let polled = polled.prop_map(|(id, at, told, under_way)| Polled {
        id,
        at,
        told,
        under_way,
    });
    (
        prop::bool::weighted(0.1),
        option::weighted(0.2, trigger_id()),
        option::of((trigger_id(), moment(), one(&outcomes))),
        option::of(polled),
        option::of((moment(), moment(), one(&disposals))),
    )
        .prop_map(|(running, unsent, sent, polled, disposed)| Task {
            running,
            unsent,
            sent,
            polled,
            disposed,
        })
        .boxed()
}

fn usage() -> Any<Usage> {
    let job = || "FlinkSessionJob/a".to_owned();
    let of = |users, claimed: bool, restored: bool| Usage {
        users,
        claimed_by: claimed.then(job),
        restored: restored.then(job),
    };
    prop_oneof![
        4 => Just(Usage::default()),
        1 => Just(of(vec![job()], false, true)),
        1 => Just(of(Vec::new(), true, true)),
    ]
    .boxed()
}

/// A status as this core may have written it, and what people may have made of that.
fn record() -> Any<SavepointStatus> {
    let origins = [SavepointOrigin::User, SavepointOrigin::Upgrade, SavepointOrigin::Import];
    let edits = (
        option::weighted(0.8, one(&origins)),
        option::weighted(0.1, Just("ffffffff".to_owned())),
        option::weighted(0.2, moment()),
        (0..5_i32, moment()),
        dispose(),
        prop::bool::weighted(0.1),
    );
    let base = one(&["new", "triggered", "completed", "failed", "disposing"]);
    (base, edits)
        .prop_map(|(base, (origin, owner, again, (failures, updated), dispose, lost))| {
            let mut status = match base {
                "new" => return SavepointStatus::default(),
                "triggered" => Case::triggered().status,
                "failed" => failed(),
                "disposing" => disposing(dispose),
                _ => Case::completed().status,
            };
            status.origin = origin;
            status.failures = Some(failures);
            status.updated_at = Some(updated);
            let intent = status.intent_mut();
            intent.again = again;
            if owner.is_some() {
                intent.owner = owner;
            }
            if lost {
                status.intent = None;
            }
            status
        })
        .boxed()
}

fn failed() -> SavepointStatus {
    let mut case = Case::accepted();
    case.wait(600);
    case.persist("resolve/timeout");
    case.status
}

fn disposing(dispose: DisposeIntent) -> SavepointStatus {
    let mut case = Case::completed();
    case.finalizer = true;
    case.delete(DisposalPolicy::Dispose);
    case.persist("dispose/begin");
    case.status.intent_mut().dispose = Some(dispose);
    case.status
}

fn dispose() -> Any<DisposeIntent> {
    (
        moment(),
        option::of(moment()),
        option::of(one(&["etl", "other"])),
        0..4_i32,
        option::weighted(0.2, moment()),
    )
        .prop_map(|(decided, asked, session, failures, again)| DisposeIntent {
            decided,
            asked,
            session: session.map(ToOwned::to_owned),
            failures,
            again,
        })
        .boxed()
}

fn others() -> Any<Vec<Other>> {
    let statuses = [
        SavepointStatus::default(),
        Case::triggered().status,
        Case::completed().status,
    ];
    let other = (one(&["0", "z"]), moment(), any::<bool>(), any::<bool>(), one(&statuses));
    let other = other.prop_map(|(name, created, deleting, is_taken, status)| Other {
        name,
        created,
        deleting,
        is_taken,
        status,
    });
    vec(other, 0..3).boxed()
}

fn history() -> Any<(Option<Checkpoints>, Option<Duration>)> {
    let states = [
        SavepointState::Completed,
        SavepointState::InProgress,
        SavepointState::Failed,
    ];
    let path = one(&["s3://elsewhere/savepoint-1".to_owned(), location()]);
    let listed = (one(&states), path).prop_map(|(state, path)| crate::flink::SavepointEntry { state, ..entry(&path) });
    let since = option::of((0..10_u64).prop_map(Duration::from_secs));
    let told = option::of(vec(listed, 0..2).prop_map(|savepoints| Checkpoints {
        savepoints,
        ..Checkpoints::default()
    }));
    (told, since).boxed()
}

/// What the job and its cluster are like.
fn around() -> Any<Case> {
    let jobs = one(&[
        JobCase::Absent { proven: false },
        JobCase::Absent { proven: true },
        JobCase::NotNamed,
    ]);
    let job = prop_oneof![6 => Just(JobCase::Present), 1 => jobs];
    let phases = [
        Phase::Running,
        Phase::Finished,
        Phase::Failed,
        Phase::Restarting,
        Phase::Suspended,
    ];
    let reach = [
        Reach::Up,
        Reach::Up,
        Reach::Up,
        Reach::NotPolled,
        Reach::Down(Reason::ClusterUnreachable),
    ];
    let states = [
        JobState::Running,
        JobState::Running,
        JobState::Running,
        JobState::Running,
        JobState::Finished,
        JobState::Restarting,
    ];
    let sessions = [vec![], vec![("etl", true)], vec![("etl", false), ("other", true)]];
    (
        (
            job,
            prop::bool::weighted(0.1),
            one(&phases),
            any::<bool>(),
            prop::bool::weighted(0.1),
        ),
        (
            one(&reach),
            option::weighted(0.9, (one(&states), prop::bool::weighted(0.9))),
            one(&[Some(P1), Some(P1), Some(P1), Some(P2), None]),
            prop::bool::weighted(0.8),
        ),
        (
            one(&sessions),
            option::of(1..3_i32),
            option::of(one(&["1s", "1h", "20000h"])),
        ),
    )
        .prop_map(
            |((job, deleting, phase, live, cancelled), (reach, state, job_manager, identified), rest)| {
                let (sessions, count, age) = rest;
                let mut case = Case::new();
                case.job = job;
                case.job_deleting = deleting;
                case.job_status.phase = Some(phase);
                if !live {
                    case.job_status.runs.clear();
                }
                if cancelled {
                    case.job_status.intent_mut().cancel = Some(CancelIntent {
                        job_id: job_id(),
                        purpose: CancelPurpose::Upgrade,
                        last_state: false,
                    });
                }
                case.reach = reach;
                let listed = |(state, tasks_run)| JobSeen {
                    tasks_run,
                    ..seen(job_id(), state)
                };
                case.jobs = state.map(listed).into_iter().collect();
                case.job_manager = job_manager;
                case.identified = identified;
                case.sessions = sessions;
                case.spec_retention(count, age);
                case
            },
        )
        .boxed()
}

/// Any Savepoint in any world.
pub(super) fn anything() -> Any<Case> {
    let import = option::weighted(0.3, one(&["s3://b/x", "s3://b/../x", "relative"]));
    let metadata = [
        Metadata::Pending,
        Metadata::There,
        Metadata::Missing,
        Metadata::Unreadable("why".to_owned()),
    ];
    let policy = one(&[DisposalPolicy::Retain, DisposalPolicy::Dispose]);
    let spec = (import, policy, one(&metadata), 1..3_i64);
    let meta = (
        option::weighted(0.4, moment()),
        any::<bool>(),
        moment(),
        prop::bool::weighted(0.2),
    );
    (
        around(),
        record(),
        spec,
        meta,
        task(),
        (
            usage(),
            others(),
            option::of((usage(), others())),
            option::of(history()),
        ),
    )
        .prop_map(
            |(mut case, status, spec, meta, task, (usage, siblings, proof, history))| {
                let (import, policy, metadata, generation) = spec;
                if let Some(path) = import {
                    let import = Case::import(path);
                    case.spec.existing = import.spec.existing;
                }
                case.spec.deletion_policy = Some(policy);
                case.metadata = metadata;
                case.generation = generation;
                (case.deleting, case.finalizer, case.created, case.namespace_terminating) = meta;
                case.status = status;
                case.task = task;
                case.usage = usage;
                case.siblings = siblings;
                case.proof = proof;
                case.history = history;
                case.made = Made::default();
                // The outcomes of this process are mostly those of what stands in the record.
                if let (Some((of, ..)), Some(dispose)) = (&mut case.task.disposed, case.status.disposal())
                    && dispose.failures % 2 == 0
                    && let Some(asked) = dispose.asked
                {
                    *of = asked;
                }
                case
            },
        )
        .boxed()
}
