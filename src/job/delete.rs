//! The resource is being deleted: end or release what may run, then let it go.

use jiff::Timestamp;

use super::{
    ClusterView, Effect, JobSeen, NoteKind, Observed, Plan, SUBMIT_GRACE, Session, SubmitOutcome, Wants,
    backoff::after,
    cancel, decide,
    standing::{Quiet, quiet},
    start,
    verdict::{Standing, Verdict},
};
use crate::{
    api::{GoDuration, JobStatus, Phase, Reason, condition::ConditionStatus, job::DeletionType, status::CancelPurpose},
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
        return Some(remove(o, "delete/release"));
    }
    let policy = o
        .spec
        .deletion_policy
        .as_ref()
        .and_then(|policy| policy.kind)
        .unwrap_or_default();
    Some(match (o.session, &o.cluster) {
        (Session::Absent { proven: true }, _) => release(o, "its FlinkSession does not exist any more"),
        (Session::Absent { proven: false }, _) => Plan::keep("delete/prove", o.status).want(Wants {
            session_proof: true,
            ..Wants::default()
        }),
        (Session::Present { .. }, ClusterView::NotPolled) => Plan::keep("delete/not-polled", o.status),
        (Session::Present { .. }, ClusterView::Down(_)) => unanswered(o, policy),
        (Session::Present { .. }, ClusterView::Up(_)) => answered(o, policy),
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

fn look_at_namespace() -> Wants {
    Wants {
        namespace: true,
        ..Wants::default()
    }
}

fn remove(o: &Observed<'_>, rule: &'static str) -> Plan {
    Plan::keep(rule, o.status).then(Effect::RemoveFinalizer)
}

/// Lets the resource go although a job may run.
fn release(o: &Observed<'_>, why: &str) -> Plan {
    let job = o.status.job_id.map_or_else(String::new, |id| format!(" {id}"));
    let message =
        format!("released the resource: {why}. Flink job{job} may still run; look at the cluster and cancel it there");
    remove(o, "delete/may-still-run").note(NoteKind::Warning, Reason::JobMayStillRun, message)
}

fn tell(o: &Observed<'_>, status: &mut JobStatus, reason: Reason, message: String, running: ConditionStatus) {
    let mut verdict = Verdict::new(Phase::Deleting, Standing::Reconciling, reason, message);
    verdict.running = running;
    verdict.write(o, status);
}

/// The cluster does not answer: wait as long as the policy says, counting only such time.
fn unanswered(o: &Observed<'_>, policy: DeletionType) -> Plan {
    if let (DeletionType::Orphan, Some(run), None) = (policy, o.status.live_run(), o.status.submission()) {
        // What stays running needs no answer from the cluster.
        return orphan(o, run.job_id);
    }
    let timeout = if o.namespace_terminating {
        o.spec.deletion_timeout().min(TERMINATING_TIMEOUT)
    } else {
        o.spec.deletion_timeout()
    };
    let mut status = o.status.clone();
    let since = *status.intent_mut().unanswered_since.get_or_insert(o.now);
    // A submission that may still take effect is waited for, where somebody can wait.
    let until = match o.status.submission() {
        Some(intent) if !o.namespace_terminating => after(since, timeout).max(intent.unresolved),
        Some(_) | None => after(since, timeout),
    };
    if o.now >= until {
        return release(
            o,
            "its cluster did not answer for as long as spec.deletionPolicy.timeout allows",
        );
    }
    let message = format!(
        "the job cannot be ended, the cluster does not answer: {}. The resource is released after {} without an answer \
         (spec.deletionPolicy.timeout)",
        o.down().message,
        GoDuration::from_secs(timeout.as_secs())
    );
    tell(
        o,
        &mut status,
        Reason::DeletionBlocked,
        message,
        ConditionStatus::Unknown,
    );
    Plan::with("delete/unanswered", status)
        .want(look_at_namespace())
        .at(until)
}

/// The cluster answers.
fn answered(o: &Observed<'_>, policy: DeletionType) -> Plan {
    let mut status = o.status.clone();
    if status
        .intent
        .as_mut()
        .and_then(|intent| intent.unanswered_since.take())
        .is_some()
    {
        // Only time without an answer counts.
        let message = "the cluster answers again".to_owned();
        tell(o, &mut status, Reason::Cancelled, message, ConditionStatus::Unknown);
        return Plan::with("delete/answered", status);
    }
    let Some(job) = live(o) else { return nothing_left(o) };
    match policy {
        DeletionType::Cancel => end(o, job),
        DeletionType::Orphan => orphan(o, job.id),
        DeletionType::Savepoint if o.namespace_terminating => release(
            o,
            "its namespace is being deleted, and this version cannot take the savepoint that deletionPolicy asks for",
        ),
        DeletionType::Savepoint => {
            let message = "spec.deletionPolicy.type: Savepoint is not available in this version and the job keeps running; set it \
                           to Cancel or Orphan"
                .to_owned();
            tell(o, &mut status, Reason::DeletionBlocked, message, ConditionStatus::True);
            Plan::with("delete/savepoint", status).want(look_at_namespace())
        }
    }
}

/// A live job of this resource: one that the status names, or one with its mark.
fn live<'o>(o: &'o Observed<'_>) -> Option<&'o JobSeen> {
    let cluster = o.up()?;
    let run = o.status.live_run().map(|run| run.job_id);
    let submitted = o.status.submission().map(|intent| intent.job_id);
    let cancelled = o.status.cancellation().map(|intent| intent.job_id);
    let named = [run, submitted, cancelled].into_iter().flatten();
    named
        .filter_map(|id| cluster.job(id))
        .find(|job| job.is_live())
        .or_else(|| o.marked_live().next())
}

/// Cancels what runs.
fn end(o: &Observed<'_>, job: &JobSeen) -> Plan {
    let mut status = o.status.clone();
    cancel::intend(o, &mut status, job.id, CancelPurpose::Delete);
    let failed = o
        .task
        .cancelled
        .as_ref()
        .filter(|(id, ..)| *id == job.id)
        .and_then(|(.., error)| error.clone());
    cancel::describe(o, &mut status, CancelPurpose::Delete, failed.as_ref());
    cancel::send(o, status, job, "delete/cancel")
}

/// No job of the resource is listed as live: is it proven that none runs, and that none can come?
fn nothing_left(o: &Observed<'_>) -> Plan {
    let listed = |id: JobId| o.up().and_then(|cluster| cluster.job(id)).is_some();
    let current = match (o.status.submission(), o.status.live_run()) {
        (Some(intent), _) => Some(intent.job_id),
        (None, run) => run.map(|run| run.job_id),
    };
    if current.is_some_and(listed) {
        // It has ended, and does not come back.
        return remove(o, "delete/release");
    }
    if let Some(intent) = o.status.submission() {
        if let Some(SubmitOutcome::OtherJob(other)) = o.submit_outcome()
            && o.status.cancellation().is_none()
        {
            // The job list is looked through for what the status names.
            let mut status = o.status.clone();
            cancel::intend(o, &mut status, *other, CancelPurpose::Delete);
            cancel::describe(o, &mut status, CancelPurpose::Delete, None);
            return Plan::with("delete/other-job", status);
        }
        match quiet(o, intent) {
            Quiet::Yes => {}
            Quiet::InFlight => return Plan::keep("delete/in-flight", o.status),
            Quiet::Confirm => return start::confirm("delete/confirm-submission", o.status.clone()),
            Quiet::Until(until) => return blocked(o, until),
        }
    }
    if o.up().is_some_and(|cluster| cluster.confirmed) {
        return remove(o, "delete/release");
    }
    start::confirm("delete/confirm", o.status.clone())
}

/// A submission may still start a job until then.
fn blocked(o: &Observed<'_>, until: Timestamp) -> Plan {
    let message = format!(
        "a submission may still take effect; the resource goes when its job was seen and cancelled, or at {}",
        until.strftime("%H:%M:%SZ")
    );
    let mut status = o.status.clone();
    tell(
        o,
        &mut status,
        Reason::DeletionBlocked,
        message,
        ConditionStatus::Unknown,
    );
    let next = after(o.now, 6 * SUBMIT_GRACE).min(after(until, std::time::Duration::from_millis(1)));
    Plan::with("delete/submission-open", status)
        .want(Wants {
            attention: true,
            ..Wants::default()
        })
        .at(next)
}

/// Leaves the job running, and records that this was asked for.
fn orphan(o: &Observed<'_>, job_id: JobId) -> Plan {
    if o.task.released == Some(job_id) {
        return remove(o, "delete/orphan");
    }
    let mut status = o.status.clone();
    let message = "leaves the job running, as deletionPolicy.type: Orphan says".to_owned();
    let running = if o.up().is_some() {
        ConditionStatus::True
    } else {
        ConditionStatus::Unknown
    };
    tell(o, &mut status, Reason::Cancelled, message, running);
    let plan = Plan::with("delete/orphan-record", status);
    if o.task.running {
        plan
    } else {
        plan.then(Effect::Release(job_id))
    }
}
