//! Whether the job is one that a savepoint can be taken of now.

use std::time::Duration;

use super::{Cluster, Job, JobView, Observed};
use crate::{
    api::{ConditionType, Phase, Reason, condition},
    flink::{JobId, JobState},
    job::{ClusterView, Refusal, after},
};

/// A job that does not exist is waited for so long after the creation of its Savepoint: both may come from one `apply`.
const TOGETHER: Duration = Duration::from_secs(10);

/// Whether the job is one that a savepoint can be taken of now.
pub(super) enum Readiness<'o> {
    /// It runs.
    Runs {
        job: &'o Job<'o>,
        job_id: JobId,
        cluster: &'o Cluster<'o>,
    },
    /// It does not run now, and may again.
    Waits(Refusal),
    /// Nothing was heard of it yet.
    NotKnown,
    /// Proof is needed that it does not exist.
    Prove,
    /// It does not run, and will not by itself.
    Over(Refusal),
}

pub(super) fn ready<'o>(o: &'o Observed<'o>) -> Readiness<'o> {
    let job = match &o.job {
        JobView::Present(job) => job,
        JobView::NotNamed => {
            let message = "spec.jobRef names no job; create another Savepoint that does";
            return Readiness::Over(Refusal::new(Reason::InvalidSpec, message));
        }
        JobView::Absent { proven: false } => return Readiness::Prove,
        JobView::Absent { proven: true } => return absent(o),
    };
    if job.deleting {
        let message = "the job is being deleted; nothing is taken";
        return Readiness::Over(Refusal::new(Reason::Cancelled, message));
    }
    match job.status.live_run() {
        Some(run) if !job.status.is_ending() => running(o, job, run.job_id),
        Some(_) | None => by_phase(job),
    }
}

fn absent<'o>(o: &Observed<'_>) -> Readiness<'o> {
    let name = o.spec.job().unwrap_or_default();
    if o.now < after(o.meta.created, TOGETHER) {
        let message = format!("FlinkSessionJob {name:?} does not exist in this namespace yet");
        return Readiness::Waits(Refusal::new(Reason::ReferenceNotFound, message));
    }
    let message = format!(
        "FlinkSessionJob {name:?} does not exist in this namespace; create the Savepoint again when its job runs"
    );
    Readiness::Over(Refusal::new(Reason::ReferenceNotFound, message))
}

/// The job has a live run: does its cluster say so too?
fn running<'o>(o: &'o Observed<'o>, job: &'o Job<'o>, job_id: JobId) -> Readiness<'o> {
    let cluster = match &o.cluster {
        ClusterView::NotPolled => return Readiness::NotKnown,
        ClusterView::Down(refusal) => return Readiness::Waits(refusal.clone()),
        ClusterView::Up(cluster) => cluster,
    };
    match cluster.job(job_id) {
        Some(seen) if seen.takes_savepoints() => Readiness::Runs { job, job_id, cluster },
        // What its end means is for the job resource to say.
        Some(seen) if !seen.is_live() => by_phase(job),
        Some(seen) => {
            let message = if seen.state == JobState::Running {
                "not all tasks of the job run; the savepoint is taken when they do".to_owned()
            } else {
                format!(
                    "Flink says that the job is {}; the savepoint is taken when it runs",
                    seen.state
                )
            };
            Readiness::Waits(Refusal::new(Reason::Restarting, message))
        }
        None => {
            let message = "the cluster does not list the job; the savepoint is taken when it does";
            Readiness::Waits(Refusal::new(Reason::WaitingForCluster, message))
        }
    }
}

/// What the job resource says of itself.
fn by_phase<'o>(job: &Job<'_>) -> Readiness<'o> {
    let ready = condition::find(&job.status.conditions, ConditionType::Ready);
    let word = ready.and_then(|ready| {
        Reason::ALL
            .iter()
            .copied()
            .find(|reason| reason.as_str() == ready.reason)
    });
    let told = ready.map_or("it has not been started yet", |ready| ready.message.as_str());
    let waits = |default: Reason| {
        let message = format!("the savepoint is taken when the job runs: {told}");
        Readiness::Waits(Refusal::new(word.unwrap_or(default), message))
    };
    // A status that is about an older spec says nothing of what comes.
    let current = job.status.observed_generation == job.generation;
    let over = |phase: Phase, default: Reason| {
        if !current {
            return waits(Reason::Submitting);
        }
        let message = format!(
            "the job does not run, it is {}: {told}; create the Savepoint again when it runs",
            phase.as_str()
        );
        Readiness::Over(Refusal::new(word.unwrap_or(default), message))
    };
    match job.status.phase {
        None | Some(Phase::Pending | Phase::Submitting) => waits(Reason::Submitting),
        Some(Phase::Running) => {
            let message = "the run of the job has ended; the savepoint is taken when it runs again";
            Readiness::Waits(Refusal::new(Reason::Restarting, message))
        }
        Some(Phase::Restarting) => waits(Reason::Restarting),
        Some(Phase::Suspending | Phase::Cancelling | Phase::Deleting) => waits(Reason::Cancelled),
        Some(Phase::Unknown) => waits(Reason::ClusterUnreachable),
        Some(phase @ Phase::Draft) => over(phase, Reason::Draft),
        Some(phase @ Phase::Suspended) => over(phase, Reason::Suspended),
        Some(phase @ Phase::Cancelled) => over(phase, Reason::Cancelled),
        Some(phase @ Phase::Finished) => over(phase, Reason::Finished),
        Some(phase @ Phase::Failed) => over(phase, Reason::JobFailed),
        Some(phase @ Phase::Lost) => over(phase, Reason::JobLost),
    }
}

#[cfg(test)]
mod tests {
    use super::super::case::{Case, JobCase, Reach, job_id, ready_condition, seen};
    use super::*;
    use crate::api::{
        job::SavepointFormat,
        status::{CancelIntent, CancelPurpose, StopIntent},
    };
    use crate::flink::TriggerId;

    /// What a case with this change comes to.
    fn told(change: impl FnOnce(&mut Case)) -> String {
        let mut case = Case::new();
        change(&mut case);
        case.settle();
        case.reads()
    }

    fn phase(phase: Phase, reason: Reason) -> impl FnOnce(&mut Case) {
        move |case| {
            case.job_status.phase = Some(phase);
            case.job_status.runs.clear();
            ready_condition(&mut case.job_status, reason);
        }
    }

    #[test]
    fn a_job_that_does_not_run_is_waited_for_when_it_may_and_given_up_when_it_will_not() {
        for (state, reason, expected) in [
            (Phase::Draft, Reason::Draft, "Abandoned/Draft Ready=False Stalled"),
            (
                Phase::Pending,
                Reason::InsufficientSlots,
                "Pending/InsufficientSlots Ready=False Reconciling",
            ),
            (
                Phase::Pending,
                Reason::WaitingForCluster,
                "Pending/WaitingForCluster Ready=False Reconciling",
            ),
            (
                Phase::Submitting,
                Reason::Submitting,
                "Pending/Submitting Ready=False Reconciling",
            ),
            (
                Phase::Running,
                Reason::Running,
                "Pending/Restarting Ready=False Reconciling",
            ),
            (
                Phase::Restarting,
                Reason::Upgrading,
                "Pending/Upgrading Ready=False Reconciling",
            ),
            (
                Phase::Suspending,
                Reason::Suspended,
                "Pending/Suspended Ready=False Reconciling",
            ),
            (
                Phase::Suspended,
                Reason::Suspended,
                "Abandoned/Suspended Ready=False Stalled",
            ),
            (
                Phase::Cancelling,
                Reason::Cancelled,
                "Pending/Cancelled Ready=False Reconciling",
            ),
            (
                Phase::Cancelled,
                Reason::Cancelled,
                "Abandoned/Cancelled Ready=False Stalled",
            ),
            (
                Phase::Finished,
                Reason::Finished,
                "Abandoned/Finished Ready=False Stalled",
            ),
            (
                Phase::Failed,
                Reason::JobFailed,
                "Abandoned/JobFailed Ready=False Stalled",
            ),
            (
                Phase::Failed,
                Reason::ResultUnknown,
                "Abandoned/ResultUnknown Ready=False Stalled",
            ),
            (Phase::Lost, Reason::JobLost, "Abandoned/JobLost Ready=False Stalled"),
            (
                Phase::Unknown,
                Reason::ClusterUnreachable,
                "Pending/ClusterUnreachable Ready=False Reconciling",
            ),
            (
                Phase::Deleting,
                Reason::Cancelled,
                "Pending/Cancelled Ready=False Reconciling",
            ),
        ] {
            assert_eq!(told(phase(state, reason)), expected, "{state:?}");
        }
        let new = |case: &mut Case| case.job_status = crate::api::JobStatus::default();
        assert_eq!(told(new), "Pending/Submitting Ready=False Reconciling");
    }

    // `state: Running` and a Savepoint may come from one `apply`.
    #[test]
    fn a_status_about_an_older_spec_ends_nothing() {
        let resumed = |case: &mut Case| {
            phase(Phase::Suspended, Reason::Suspended)(case);
            case.job_generation = 2;
        };
        assert_eq!(told(resumed), "Pending/Suspended Ready=False Reconciling");
    }

    #[test]
    fn a_job_that_does_not_exist_ends_it_once_that_is_proven() {
        let mut case = Case::new();
        case.job = JobCase::Absent { proven: false };
        case.wait(9);
        assert!(case.still("pending/prove").wants.job_proof);
        case.job = JobCase::Absent { proven: true };
        case.settle();
        assert_eq!(
            case.reads(),
            "Pending/ReferenceNotFound Ready=False Reconciling",
            "it may come yet"
        );
        case.wait(1);
        case.settle();
        assert_eq!(case.reads(), "Abandoned/ReferenceNotFound Ready=False Stalled");
        assert_eq!(
            told(|case| case.job_deleting = true),
            "Abandoned/Cancelled Ready=False Stalled"
        );
        assert_eq!(
            told(|case| case.job = JobCase::NotNamed),
            "Abandoned/InvalidSpec Ready=False Stalled"
        );
    }

    #[test]
    fn the_cluster_must_say_that_the_job_runs() {
        let listed = |state| move |case: &mut Case| case.jobs = vec![seen(job_id(), state)];
        let in_progress = "InProgress/InProgress Ready=False Reconciling";
        for (state, expected) in [
            (JobState::Running, in_progress),
            (JobState::Created, "Pending/Restarting Ready=False Reconciling"),
            (JobState::Restarting, "Pending/Restarting Ready=False Reconciling"),
            (JobState::Failing, "Pending/Restarting Ready=False Reconciling"),
            (JobState::Finished, "Pending/Restarting Ready=False Reconciling"),
        ] {
            assert_eq!(told(listed(state)), expected, "{state}");
        }
        let down = |case: &mut Case| case.reach = Reach::Down(Reason::ClusterUnreachable);
        assert_eq!(told(down), "Pending/ClusterUnreachable Ready=False Reconciling");
        assert_eq!(
            told(|case| case.jobs.clear()),
            "Pending/WaitingForCluster Ready=False Reconciling"
        );
        let mut case = Case::new();
        case.reach = Reach::NotPolled;
        case.still("pending/not-known");
        // Whatever else is wrong with the job: its run can be saved.
        let refused = |case: &mut Case| {
            case.job_status.phase = Some(Phase::Restarting);
            ready_condition(&mut case.job_status, Reason::InsufficientSlots);
        };
        assert_eq!(told(refused), in_progress);
    }

    #[test]
    fn a_job_that_is_being_stopped_or_cancelled_is_let_be() {
        let (job_id, purpose) = (job_id(), CancelPurpose::Upgrade);
        let restarting = |case: &mut Case| {
            case.job_status.phase = Some(Phase::Restarting);
            ready_condition(&mut case.job_status, Reason::Upgrading);
        };
        let cancelled = |case: &mut Case| {
            restarting(case);
            case.job_status.intent_mut().cancel = Some(CancelIntent {
                job_id,
                purpose,
                last_state: false,
            });
        };
        let stopped = |case: &mut Case| {
            restarting(case);
            case.job_status.intent_mut().stop = Some(StopIntent {
                job_id,
                purpose,
                trigger_id: TriggerId([1; 16]),
                directory: "s3://b/x".to_owned(),
                format: SavepointFormat::Native,
                tries: 1,
                decided: case.now,
                due: None,
                location: None,
            });
        };
        assert_eq!(told(cancelled), "Pending/Upgrading Ready=False Reconciling");
        assert_eq!(told(stopped), "Pending/Upgrading Ready=False Reconciling");
    }
}
