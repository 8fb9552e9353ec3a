//! The resource is being deleted: end or release what may run, then let it go.

use super::{
    ClusterView, Effect, NoteKind, Observed, Plan, SUBMIT_GRACE, Session, Wants, cancel, decide, start,
    submit::{self, Standing as Submission},
    verdict::{Standing, Verdict},
};
use crate::{
    api::{JobStatus, Phase, Reason, condition::ConditionStatus, job::DeletionType, status::CancelPurpose},
    flink::JobId,
};

/// In a namespace that is being deleted nobody can wait longer than this for a cluster that does not answer.
const TERMINATING_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(60);

/// The rule.
pub(super) fn rule(o: &Observed<'_>) -> Option<Plan> {
    if !o.meta.deleting {
        return None;
    }
    if !o.meta.finalizer {
        // Nothing was ever sent: the finalizer comes before the first effect.
        return Some(Plan::keep("delete/gone", o.status));
    }
    if !may_run(o) {
        return Some(Plan::keep("delete/release", o.status).then(Effect::RemoveFinalizer));
    }
    Some(match (o.session, &o.cluster) {
        (Session::Absent { proven: true }, _) => release(o, "its FlinkSession does not exist any more"),
        (Session::Absent { proven: false }, _) => Plan::keep("delete/prove", o.status).want(Wants {
            session_proof: true,
            ..Wants::default()
        }),
        (Session::Present { .. }, ClusterView::NotPolled) => Plan::keep("delete/not-polled", o.status),
        (Session::Present { .. }, ClusterView::Down(_)) => unanswered(o),
        (Session::Present { .. }, ClusterView::Up(_)) => answered(o),
    })
}

/// Whether a job of this resource may run.
fn may_run(o: &Observed<'_>) -> bool {
    let status = o.status;
    status.live_run().is_some()
        || status.submission().is_some()
        || status.cancellation().is_some()
        || decide::is_blank(o)
        || o.marked_live().next().is_some()
}

/// Lets the resource go although a job may run.
fn release(o: &Observed<'_>, why: &str) -> Plan {
    let job = o.status.job_id.map_or_else(String::new, |id| format!(" {id}"));
    let message =
        format!("released the resource: {why}. Flink job{job} may still run; look at the cluster and cancel it there");
    Plan::keep("delete/may-still-run", o.status)
        .then(Effect::RemoveFinalizer)
        .note(NoteKind::Warning, Reason::JobMayStillRun, message)
}

fn waiting(o: &Observed<'_>, status: &mut JobStatus, reason: Reason, message: String, running: ConditionStatus) {
    let mut verdict = Verdict::new(Phase::Deleting, Standing::Reconciling, reason, message);
    verdict.running = running;
    verdict.write(o, status);
}

/// The cluster does not answer: wait as long as the policy says, counting only such time.
fn unanswered(o: &Observed<'_>) -> Plan {
    let timeout = o.spec.deletion_timeout();
    let timeout = if o.namespace_terminating {
        timeout.min(TERMINATING_TIMEOUT)
    } else {
        timeout
    };
    let since = o.status.intent.as_ref().and_then(|intent| intent.unanswered_since);
    let Some(since) = since else {
        let mut status = o.status.clone();
        status.intent_mut().unanswered_since = Some(o.now);
        let refusal = o.down();
        let message = format!(
            "the job cannot be ended, the cluster does not answer: {}. The resource is released after {} without an answer \
             (spec.deletionPolicy.timeout)",
            refusal.message,
            crate::api::GoDuration::from_secs(timeout.as_secs())
        );
        waiting(
            o,
            &mut status,
            Reason::DeletionBlocked,
            message,
            ConditionStatus::Unknown,
        );
        return Plan::with("delete/unanswered", status).at(o.now + timeout);
    };
    if o.now < since + timeout {
        return Plan::keep("delete/unanswered", o.status).at(since + timeout);
    }
    release(
        o,
        "its cluster did not answer for as long as spec.deletionPolicy.timeout allows",
    )
}

/// The cluster answers.
fn answered(o: &Observed<'_>) -> Plan {
    let mut status = o.status.clone();
    if let Some(intent) = status.intent.as_mut() {
        intent.unanswered_since = None;
    }
    match o
        .spec
        .deletion_policy
        .as_ref()
        .and_then(|policy| policy.kind)
        .unwrap_or_default()
    {
        DeletionType::Cancel => end(o, status),
        DeletionType::Orphan => orphan(o, status),
        DeletionType::Savepoint => {
            let message = "spec.deletionPolicy.type: Savepoint is not available in this version and the job keeps running; set it \
                           to Cancel or Orphan"
                .to_owned();
            waiting(o, &mut status, Reason::DeletionBlocked, message, ConditionStatus::True);
            Plan::with("delete/savepoint", status)
        }
    }
}

/// A live job of this resource: the one that the status names, or one with its mark.
fn live<'o>(o: &'o Observed<'_>) -> Option<&'o super::JobSeen> {
    let cluster = o.up()?;
    let named = o
        .status
        .live_run()
        .and_then(|run| cluster.job(run.job_id))
        .filter(|job| job.is_live());
    let submitted = || {
        o.status
            .submission()
            .and_then(|intent| cluster.job(intent.job_id))
            .filter(|job| job.is_live())
    };
    named.or_else(submitted).or_else(|| o.marked_live().next())
}

/// Cancels what runs, and waits until nothing can come any more.
fn end(o: &Observed<'_>, mut status: JobStatus) -> Plan {
    if let Some(job) = live(o) {
        if status
            .cancellation()
            .is_none_or(|cancel| cancel.job_id != job.id || cancel.purpose != CancelPurpose::Delete)
        {
            cancel::intend(o, &mut status, job.id, CancelPurpose::Delete);
        }
        let failed = o
            .task
            .cancelled
            .as_ref()
            .filter(|(id, ..)| *id == job.id)
            .and_then(|(.., error)| error.clone());
        cancel::describe(o, &mut status, CancelPurpose::Delete, failed.as_ref());
        return cancel::send(o, status, job, "delete/cancel");
    }
    nothing_left(o, status)
}

/// Nothing of the resource is listed: is it proven that nothing runs?
fn nothing_left(o: &Observed<'_>, mut status: JobStatus) -> Plan {
    if let Some(intent) = o.status.submission() {
        match submit::standing(o, intent) {
            Submission::Seen(_)
            | Submission::Ambiguous
            | Submission::Nothing(
                submit::Nothing::NotSent(_) | submit::Nothing::JarMissing | submit::Nothing::Rejected(_),
            ) => {}
            Submission::Nothing(submit::Nothing::OtherJob(other)) => {
                if let Some(job) = o
                    .up()
                    .and_then(|cluster| cluster.job(other))
                    .filter(|job| job.is_live())
                {
                    cancel::intend(o, &mut status, other, CancelPurpose::Delete);
                    return cancel::send(o, status, job, "delete/cancel-other");
                }
            }
            Submission::InFlight => return Plan::with("delete/in-flight", status),
            Submission::Confirm => return start::confirm("delete/confirm-submission", status),
            Submission::Unsent | Submission::Open => {
                let message = format!(
                    "a submission may still take effect; the resource goes when its job was seen and cancelled, or at {}",
                    intent.unresolved.strftime("%H:%M:%SZ")
                );
                waiting(
                    o,
                    &mut status,
                    Reason::DeletionBlocked,
                    message,
                    ConditionStatus::Unknown,
                );
                return Plan::with("delete/submission-open", status)
                    .want(Wants {
                        attention: true,
                        ..Wants::default()
                    })
                    .at(o.now + 6 * SUBMIT_GRACE);
            }
        }
    }
    let listed = |id: JobId| o.up().and_then(|cluster| cluster.job(id)).is_some();
    let seen_ended = o.status.live_run().is_some_and(|run| listed(run.job_id));
    let proven = seen_ended || o.up().is_some_and(|cluster| cluster.confirmed);
    if !proven {
        return start::confirm("delete/confirm", status);
    }
    Plan::with("delete/release", status).then(Effect::RemoveFinalizer)
}

/// Leaves the job running, and records that this was asked for.
fn orphan(o: &Observed<'_>, mut status: JobStatus) -> Plan {
    let Some(job) = live(o) else {
        return nothing_left(o, status);
    };
    if o.task.released == Some(job.id) {
        return Plan::with("delete/orphan", status).then(Effect::RemoveFinalizer);
    }
    if o.task.running {
        return Plan::with("delete/orphan-waits", status);
    }
    let message = "leaves the job running, as deletionPolicy.type: Orphan says".to_owned();
    waiting(o, &mut status, Reason::Cancelled, message, ConditionStatus::True);
    Plan::with("delete/orphan-record", status).then(Effect::Release(job.id))
}
