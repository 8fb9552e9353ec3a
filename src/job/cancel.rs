//! Cancelling a job: the intent first, the request, and the wait until Flink shows the end.

use super::{
    CANCEL_AGAIN, Effect, JobSeen, Observed, Plan, Refusal, SUBMIT_GRACE, Wants,
    backoff::after,
    follow, idle, start,
    verdict::{Standing, Verdict},
};
use crate::{
    api::{
        JobStatus, Phase, Reason,
        condition::ConditionStatus,
        status::{CancelIntent, CancelPurpose, RunOutcome},
    },
    flink::{JobId, JobState},
};

/// A live job with this resource's mark that is not its current attempt is always cancelled.
pub(super) fn stray(o: &Observed<'_>) -> Option<Plan> {
    if o.status.cancellation().is_some() {
        return None;
    }
    let current = o.status.live_run().map(|run| run.job_id);
    let submitting = o.status.submission().map(|intent| intent.job_id);
    let stray = o
        .marked_live()
        .find(|job| Some(job.id) != current && Some(job.id) != submitting)?
        .id;
    let mut status = o.status.clone();
    intend(o, &mut status, stray, CancelPurpose::Stray);
    describe(o, &mut status, CancelPurpose::Stray, None);
    let message = format!("cancels Flink job {stray}: it carries this resource's mark but is not its current attempt");
    Some(Plan::with("stray", status).note(super::NoteKind::Warning, Reason::ResultUnknown, message))
}

/// Records that a job is to be cancelled.
pub(super) fn intend(o: &Observed<'_>, status: &mut JobStatus, job_id: JobId, purpose: CancelPurpose) {
    let intent = status.intent_mut();
    intent.owner = Some(o.installation.to_string());
    intent.cancel = Some(CancelIntent { job_id, purpose });
}

/// Sends the cancellation, or waits for what was sent.
pub(super) fn send(o: &Observed<'_>, status: JobStatus, job: &JobSeen, rule: &'static str) -> Plan {
    let plan = Plan::with(rule, status).want(Wants {
        attention: true,
        ..Wants::default()
    });
    if o.task.running {
        return plan;
    }
    let sent = o.task.cancelled.as_ref().filter(|(id, ..)| *id == job.id);
    match sent {
        None => plan.then(Effect::Cancel(job.id)),
        Some((_, time, error)) => {
            let pause = if error.is_some() { SUBMIT_GRACE } else { CANCEL_AGAIN };
            let again = after(*time, pause);
            if o.now >= again && (error.is_some() || job.state != JobState::Cancelling) {
                plan.then(Effect::Cancel(job.id))
            } else {
                plan.at(again.max(after(o.now, SUBMIT_GRACE)))
            }
        }
    }
}

/// A cancellation was decided on: see it to its end.
pub(super) fn resume(o: &Observed<'_>) -> Option<Plan> {
    let CancelIntent { job_id, purpose } = o.status.cancellation()?.clone();
    let Some(cluster) = o.up() else {
        return Some(blocked(o, purpose));
    };
    Some(match cluster.job(job_id) {
        Some(job) if job.is_live() => {
            let failed = o
                .task
                .cancelled
                .as_ref()
                .filter(|(id, ..)| *id == job_id)
                .and_then(|(.., error)| error.clone());
            let mut status = o.status.clone();
            if o.status.live_run().is_some_and(|run| run.job_id == job_id) {
                status.flink_state = Some(job.state.to_string());
            }
            describe(o, &mut status, purpose, failed.as_ref());
            send(o, status, job, "cancel/send")
        }
        Some(job) => ended(o, job_id, purpose, Some(job)),
        None if cluster.confirmed => ended(o, job_id, purpose, None),
        None => start::confirm("cancel/confirm", o.status.clone()),
    })
}

/// What people read while a job is being cancelled.
pub(super) fn describe(o: &Observed<'_>, status: &mut JobStatus, purpose: CancelPurpose, failed: Option<&Refusal>) {
    let (phase, reason, what) = match purpose {
        CancelPurpose::Upgrade => (
            Phase::Restarting,
            Reason::Upgrading,
            "cancels the job to start the new spec",
        ),
        CancelPurpose::Suspend => (
            Phase::Suspending,
            Reason::Suspended,
            "cancels the job, as upgradeMode: Stateless says",
        ),
        CancelPurpose::Cancel => (Phase::Cancelling, Reason::Cancelled, "cancels the job"),
        CancelPurpose::Delete => (
            Phase::Deleting,
            Reason::Cancelled,
            "cancels the job before the resource goes",
        ),
        CancelPurpose::Stray => (
            Phase::Cancelling,
            Reason::Cancelled,
            "cancels a job of this resource that is not its current attempt",
        ),
    };
    let message = match failed {
        None => what.to_owned(),
        Some(refusal) => format!("{what}; the last request failed and is repeated: {}", refusal.message),
    };
    let runs = o.up().is_some() && status.live_run().is_some();
    Verdict::reconciling(phase, reason, message)
        .running(runs)
        .write(o, status);
}

/// The cluster does not answer while a cancellation is under way.
fn blocked(o: &Observed<'_>, purpose: CancelPurpose) -> Plan {
    let mut status = o.status.clone();
    let phase = match purpose {
        CancelPurpose::Upgrade => Phase::Restarting,
        CancelPurpose::Suspend => Phase::Suspending,
        CancelPurpose::Cancel | CancelPurpose::Stray => Phase::Cancelling,
        CancelPurpose::Delete => Phase::Deleting,
    };
    if o.not_polled() {
        return Plan::keep("cancel/not-polled", o.status);
    }
    let refusal = o.down();
    let mut verdict = Verdict::new(
        phase,
        Standing::Reconciling,
        refusal.reason,
        format!(
            "a job is being cancelled, and the cluster does not answer: {}",
            refusal.message
        ),
    );
    verdict.running = ConditionStatus::Unknown;
    verdict.write(o, &mut status);
    Plan::with("cancel/blocked", status)
}

/// Flink shows the end of a job that was to be cancelled, or proves that it does not exist.
fn ended(o: &Observed<'_>, job_id: JobId, purpose: CancelPurpose, job: Option<&JobSeen>) -> Plan {
    let mut status = o.status.clone();
    status.intent_mut().cancel = None;
    let state = job.map(|job| job.state);
    if let Some(run) = status
        .runs
        .first_mut()
        .filter(|run| run.job_id == job_id && run.outcome.is_none())
    {
        run.end_time = job.and_then(|job| job.end_time);
        run.outcome = Some(match (state, purpose) {
            (Some(JobState::Finished), _) => RunOutcome::Finished,
            (Some(JobState::Failed), CancelPurpose::Stray) => RunOutcome::Failed,
            (_, CancelPurpose::Upgrade) => RunOutcome::Replaced,
            (_, CancelPurpose::Suspend) => RunOutcome::Suspended,
            (_, CancelPurpose::Cancel | CancelPurpose::Delete) => RunOutcome::Cancelled,
            (_, CancelPurpose::Stray) => RunOutcome::Canceled,
        });
        status.end_time = job.and_then(|job| job.end_time);
        status.flink_state = state.map(|state| state.to_string());
    }
    if status.submission().is_some() {
        let message = "a submission is under way";
        Verdict::reconciling(Phase::Submitting, Reason::Submitting, message).write(o, &mut status);
        return Plan::with("cancel/ended", status);
    }
    if status.live_run().is_some() {
        return follow::follow(o, status);
    }
    idle::idle(o, status)
}
