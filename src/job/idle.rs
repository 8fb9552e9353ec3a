//! Nothing runs: is the job to be started, or how does it stand?

use super::{
    Input, Observed, Plan, Refusal, Wants,
    change::{self, Change},
    start,
    verdict::Verdict,
};
use crate::api::{
    JobStatus, Phase, Reason,
    job::{DesiredState, OnUnknownResult},
    status::{PendingChange, RunOutcome},
};

/// Nothing runs by `status`, which may be ahead of the status that was observed.
pub(super) fn idle(o: &Observed<'_>, status: JobStatus) -> Plan {
    match o.spec.state {
        DesiredState::Draft => draft(o, status),
        DesiredState::Suspended => settled(o, status, Phase::Suspended, Reason::Suspended),
        DesiredState::Cancelled => settled(o, status, Phase::Cancelled, Reason::Cancelled),
        DesiredState::Running if wanted(o, &status) => start::start(o, status),
        DesiredState::Running => rest(o, status, None),
    }
}

/// Takes over what needs no run: the desired state, and the fields that are live.
fn take_over_live(o: &Observed<'_>, status: &mut JobStatus) -> Change {
    let change = change::change(o.spec, status.accepted_spec.as_deref());
    if let Some(accepted) = status.accepted_spec.as_mut() {
        match change {
            Change::None => {}
            Change::Live => *accepted = change::accept(o.spec),
            Change::Restart => accepted.state = o.spec.state,
        }
    }
    change
}

/// No job runs, as asked.
fn settled(o: &Observed<'_>, mut status: JobStatus, phase: Phase, reason: Reason) -> Plan {
    take_over_live(o, &mut status);
    status.pending_change = Some(PendingChange::None);
    let verdict = Verdict::reached(phase, reason, "no job runs, as asked");
    verdict
        .refusing(change::unsupported(o.spec).as_ref())
        .write(o, &mut status);
    Plan::with("idle/settled", status)
}

/// Whether an idle job is to be started.
fn wanted(o: &Observed<'_>, status: &JobStatus) -> bool {
    // Never started, or an attempt that provably sent nothing.
    let Some(accepted) = status.accepted_spec.as_deref() else {
        return true;
    };
    let consent = change::consents(o.spec, accepted);
    let edited = change::change(o.spec, Some(accepted)) == Change::Restart;
    let resumed = accepted.state != DesiredState::Running;
    match status.last_outcome() {
        None | Some(RunOutcome::Replaced | RunOutcome::Suspended | RunOutcome::Cancelled) => true,
        // A job that is done is done: `Suspended` and back does not run it again.
        Some(RunOutcome::Finished) => edited,
        Some(RunOutcome::Failed | RunOutcome::Rejected) => edited || resumed,
        Some(RunOutcome::Canceled) => consent || resumed,
        Some(RunOutcome::Lost) => consent,
        Some(RunOutcome::Unknown) => consent || resubmits(o, status),
    }
}

/// Whether the user allows a second submission when the result of the first is not known.
pub(super) fn resubmits(o: &Observed<'_>, status: &JobStatus) -> bool {
    o.spec.on_unknown_result == Some(OnUnknownResult::Resubmit)
        && status.last_outcome() == Some(RunOutcome::Unknown)
        && !record_lost(status)
}

/// Whether the record of this job was lost, and no job of it was found.
pub(super) fn record_lost(status: &JobStatus) -> bool {
    let lost = |reason: &str| reason == Reason::StateUnknown.as_str();
    status.last_outcome() == Some(RunOutcome::Unknown) && status.failure.as_ref().is_some_and(|f| lost(&f.reason))
}

/// Checked, never submitted.
fn draft(o: &Observed<'_>, mut status: JobStatus) -> Plan {
    let refusal = change::unsupported(o.spec).or_else(|| match &o.program {
        Input::Refused(refusal) => Some(refusal.clone()),
        Input::Pending | Input::Ready(_) | Input::Retrying(_) => None,
    });
    let verdict = match (&refusal, &o.program) {
        (Some(refusal), _) => {
            Some(Verdict::stalled(Phase::Draft, refusal.reason, &refusal.message).refusing(Some(refusal)))
        }
        (None, Input::Pending) => None,
        (None, Input::Retrying(refusal)) => Some(Verdict::reconciling(Phase::Draft, refusal.reason, &refusal.message)),
        (None, Input::Ready(_) | Input::Refused(_)) => {
            let message = "the spec is complete; set state: Running to start the job";
            Some(Verdict::reached(Phase::Draft, Reason::Draft, message))
        }
    };
    match verdict {
        Some(verdict) => verdict.write(o, &mut status),
        None => Verdict::reconciling(Phase::Draft, Reason::Draft, "the spec is being checked")
            .write_if_changed(o, &mut status),
    }
    Plan::with("idle/draft", status).want(Wants {
        program: true,
        ..Wants::default()
    })
}

/// The job has ended and is not started again: nobody asks for it, or the start is refused.
pub(super) fn rest(o: &Observed<'_>, mut status: JobStatus, refusal: Option<&Refusal>) -> Plan {
    let change = if refusal.is_none() {
        take_over_live(o, &mut status)
    } else {
        change::change(o.spec, status.accepted_spec.as_deref())
    };
    status.pending_change = Some(match change {
        Change::None | Change::Live => PendingChange::None,
        Change::Restart => PendingChange::Restart,
    });
    let told = |default: &str| match &status.failure {
        Some(failure) => failure.message.clone(),
        None => default.to_owned(),
    };
    let reason = |default: Reason| match &status.failure {
        Some(failure) => Reason::ALL
            .iter()
            .copied()
            .find(|r| r.as_str() == failure.reason)
            .unwrap_or(default),
        None => default,
    };
    let verdict = match status.last_outcome() {
        Some(RunOutcome::Finished) => {
            let message = "the job ended with success; to run it again, change its program or spec.restartNonce";
            Verdict::reached(Phase::Finished, Reason::Finished, message)
        }
        Some(RunOutcome::Failed) => Verdict::stalled(Phase::Failed, Reason::JobFailed, told("the job failed")),
        Some(RunOutcome::Rejected) => Verdict::stalled(
            Phase::Failed,
            Reason::SubmissionRejected,
            told("Flink refused the submission"),
        ),
        Some(RunOutcome::Canceled) => {
            let message = "someone cancelled the job in Flink; to start it again, change spec.restartNonce";
            Verdict::stalled(Phase::Cancelled, Reason::Cancelled, message)
        }
        Some(RunOutcome::Lost) => Verdict::stalled(
            Phase::Lost,
            reason(Reason::JobLost),
            told("the cluster no longer knows the job"),
        ),
        Some(RunOutcome::Unknown) => Verdict::stalled(
            Phase::Failed,
            reason(Reason::ResultUnknown),
            told("it is not known whether the job ran"),
        ),
        Some(RunOutcome::Cancelled | RunOutcome::Replaced | RunOutcome::Suspended) | None => {
            Verdict::stalled(Phase::Cancelled, Reason::Cancelled, "the job was cancelled")
        }
    };
    let verdict = match refusal {
        None => verdict.refusing(change::unsupported(o.spec).as_ref()),
        Some(refusal) => Verdict::stalled(verdict.phase, refusal.reason, &refusal.message).refusing(Some(refusal)),
    };
    verdict.write(o, &mut status);
    Plan::with("idle/rest", status)
}
