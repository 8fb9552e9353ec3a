//! Any resource in any world: well typed, and often enough consistent that every rule is reached. What the properties of
//! the decision are tried on.

mod kept;
mod record;
mod words;

use std::time::Duration;

use proptest::{collection::vec, option, prelude::*};

use super::{
    Input, JobSeen, Permit, RetryWindow, Session, Slots, SubmitOutcome, Task,
    case::{Case, P1, P2, Reach, jar},
    verdict::{Standing, Verdict},
};
use crate::{
    api::{Phase, Reason},
    flink::{JobId, JobState},
};

pub(super) use record::OUTCOMES;
use record::{record, spec};
use words::{Any, job_id, moment, one, rarely, refusal, seconds, text};

const STATES: [JobState; 12] = [
    JobState::Initializing,
    JobState::Created,
    JobState::Running,
    JobState::Failing,
    JobState::Failed,
    JobState::Cancelling,
    JobState::Canceled,
    JobState::Finished,
    JobState::Restarting,
    JobState::Suspended,
    JobState::Reconciling,
    JobState::Unknown,
];

fn input<T: Clone + std::fmt::Debug + 'static>(ready: impl Strategy<Value = T> + 'static) -> Any<Input<T>> {
    prop_oneof![
        9 => ready.prop_map(Input::Ready),
        1 => Just(Input::Pending),
        1 => refusal().prop_map(Input::Refused),
        1 => refusal().prop_map(Input::Retrying),
    ]
    .boxed()
}

fn seen() -> Any<JobSeen> {
    let state = prop_oneof![1 => Just(JobState::Running), 2 => one(&STATES)];
    let tasks_run = prop_oneof![1 => Just(false), 3 => Just(true)];
    (job_id(), state, option::of(moment()), option::of(moment()), tasks_run)
        .prop_map(|(id, state, start_time, end_time, tasks_run)| JobSeen {
            id,
            state,
            start_time,
            end_time,
            tasks_run,
        })
        .boxed()
}

/// A job list names each job once.
fn jobs() -> Any<Vec<JobSeen>> {
    prop_oneof![2 => Just(Vec::new()), 3 => vec(seen(), 1..4)]
        .prop_map(|mut jobs| {
            jobs.sort_by_key(|job| job.id);
            jobs.dedup_by_key(|job| job.id);
            jobs
        })
        .boxed()
}

/// What a status says to people.
fn told() -> Any<(Phase, Standing, Reason, i64)> {
    let phases = [
        Phase::Pending,
        Phase::Restarting,
        Phase::Running,
        Phase::Failed,
        Phase::Unknown,
        Phase::Deleting,
    ];
    let standings = [
        Standing::Reached,
        Standing::Reconciling,
        Standing::Stalled,
        Standing::Unknown,
    ];
    let told = (one(&phases), one(&standings), one(Reason::ALL), 0..2_i64);
    // What is reached is a phase in which a job can stay.
    told.prop_map(|(phase, standing, reason, behind)| match standing {
        Standing::Reached => (Phase::Running, standing, reason, behind),
        Standing::Reconciling | Standing::Stalled | Standing::Unknown => (phase, standing, reason, behind),
    })
    .boxed()
}

fn task(submission: Option<(JobId, i32)>) -> Any<Task> {
    let outcome = prop_oneof![
        Just(SubmitOutcome::Accepted),
        Just(SubmitOutcome::Duplicate),
        job_id().prop_map(SubmitOutcome::OtherJob),
        refusal().prop_map(SubmitOutcome::NotSent),
        Just(SubmitOutcome::JarMissing),
        text().prop_map(SubmitOutcome::Rejected),
        refusal().prop_map(SubmitOutcome::Unknown),
    ];
    let of = prop_oneof![5 => Just(submission), 1 => (job_id(), 1..4).prop_map(Some)];
    // Nobody knows what became of it; it was not sent; it ended.
    let submission = (of, 0..4_u8, outcome);
    let cancelled = (job_id(), moment(), option::of(refusal()));
    (
        rarely(false, Just(true)),
        submission,
        option::of(cancelled),
        option::weighted(0.3, job_id()),
    )
        .prop_map(|(running, (of, known, outcome), cancelled, released)| Task {
            running,
            submitted: of.filter(|_| known == 2).map(|(id, tries)| (id, tries, outcome)),
            cancelled,
            released,
            unsent: of.filter(|_| known % 2 == 1),
            ..Task::default()
        })
        .boxed()
}

/// Any resource, and what this process did for it.
fn resource() -> Any<Case> {
    let recorded = spec().prop_flat_map(|spec| (record(&spec), Just(spec)));
    let worked_on = recorded.prop_flat_map(|(status, spec)| {
        let submission = status.submission().map(|intent| (intent.job_id, intent.tries));
        (Just(spec), Just(status), kept::task(task(submission)))
    });
    let generation = rarely(1, one(&[0, 2, i64::MAX]));
    let session = rarely(
        Session::Present { deleting: false },
        one(&[
            Session::Present { deleting: true },
            Session::Absent { proven: false },
            Session::Absent { proven: true },
        ]),
    );
    let bits = (
        rarely(false, Just(true)),
        rarely(true, Just(false)),
        rarely(false, Just(true)),
    );
    (worked_on, generation, session, bits)
        .prop_map(
            |((spec, status, task), generation, session, (deleting, finalizer, terminating))| Case {
                spec,
                status,
                task,
                generation,
                session,
                deleting,
                finalizer,
                namespace_terminating: terminating,
                ..Case::new()
            },
        )
        .boxed()
}

/// The same on any cluster.
fn on_a_cluster() -> Any<Case> {
    let reach =
        prop_oneof![8 => Just(Reach::Up), 1 => Just(Reach::NotPolled), 1 => one(Reason::ALL).prop_map(Reach::Down)];
    let window = one(&[
        RetryWindow::Unlimited,
        RetryWindow::Unlimited,
        RetryWindow::For(Duration::from_secs(600)),
        RetryWindow::For(Duration::from_secs(60)),
        RetryWindow::For(Duration::MAX),
        RetryWindow::Durable,
        RetryWindow::Closed("web.upload.dir is set"),
    ]);
    let slots = one(&[
        Slots::Growing,
        Slots::Unknown,
        Slots::Free(0),
        Slots::Free(9),
        Slots::Free(i32::MIN),
    ]);
    let process = one(&[Some(P1), Some(P1), Some(P2), None]);
    let bits = (any::<bool>(), rarely(true, Just(false)));
    (resource(), reach, jobs(), process, bits, window, slots)
        .prop_map(
            |(resource, reach, jobs, job_manager, (confirmed, takes_jars), window, slots)| Case {
                reach,
                jobs,
                job_manager,
                confirmed,
                window,
                takes_jars,
                slots,
                ..resource
            },
        )
        .boxed()
}

/// Any resource in any world.
pub(super) fn anything() -> Any<Case> {
    let now = rarely(seconds(0), moment());
    let jar = input(one(&[P1, P1, P2]).prop_map(|process| (jar(process), process.to_owned())));
    let permit = one(&[
        Permit::Granted,
        Permit::Granted,
        Permit::Waiting { long: false },
        Permit::Waiting { long: true },
    ]);
    let ineffective = rarely(Vec::new(), vec("[a-z.]{1,60}", 0..40));
    let prepared = (input(Just(())), jar, permit, input(text()), ineffective);
    (on_a_cluster(), now, prepared, option::weighted(0.7, told()))
        .prop_map(
            |(case, now, (program, jar, permit, failure_cause, ineffective), told)| {
                let mut case = Case {
                    now,
                    program,
                    jar,
                    permit,
                    failure_cause,
                    ineffective,
                    ..case
                };
                if let Some((phase, standing, reason, behind)) = told {
                    let mut status = case.status.clone();
                    case.observed(|o| Verdict::new(phase, standing, reason, "before").write(o, &mut status));
                    status.observed_generation = status.observed_generation.saturating_sub(behind);
                    case.status = status;
                }
                case
            },
        )
        .prop_flat_map(kept::told)
        .boxed()
}
