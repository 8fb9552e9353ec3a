//! Nothing runs: start a job, or say why not.

use super::{
    Input, Observed, Permit, Plan, Program, Refusal, SETTLE, SUBMIT_GRACE, SUBMIT_WITHIN, Session, Wants,
    change::{Change, change, unsupported},
    decide, follow,
    ready::{Readiness, prepared},
    verdict::Verdict,
};
use crate::{
    api::{
        JobStatus, Phase, Reason,
        condition::{self, ConditionType},
        job::{DesiredState, OnUnknownResult, UpgradeMode},
        status::{Failure, PendingChange, RunOutcome, SubmitIntent},
    },
    flink::{JarId, JobId},
};

/// Asks for a job list that proves absence.
pub(super) fn confirm(rule: &'static str, status: JobStatus) -> Plan {
    Plan::with(rule, status).want(Wants {
        confirm: true,
        attention: true,
        ..Wants::default()
    })
}

/// Records why there is no job.
pub(super) fn fail(status: &mut JobStatus, o: &Observed<'_>, reason: Reason, message: &str) {
    let message = condition::bounded(message);
    status.failure = Some(Failure {
        reason: reason.to_string(),
        message,
        time: Some(o.now),
        root_cause: None,
    });
}

/// The last rule: nothing runs.
#[allow(clippy::unnecessary_wraps, reason = "it stands in the list of rules")]
pub(super) fn rule(o: &Observed<'_>) -> Option<Plan> {
    Some(idle(o, o.status.clone()))
}

/// Nothing runs by `status`, which may be ahead of the status that was observed.
pub(super) fn idle(o: &Observed<'_>, mut status: JobStatus) -> Plan {
    if o.meta.deleting {
        return Plan::with("idle/deleting", status);
    }
    let settle = |mut status: JobStatus, phase, reason, message: &str, rule| {
        status.accepted_spec = Some(Box::new(o.spec.clone()));
        status.pending_change = Some(PendingChange::None);
        Verdict::reached(phase, reason, message).write(o, &mut status);
        Plan::with(rule, status)
    };
    match o.spec.state {
        DesiredState::Draft => draft(o, status),
        DesiredState::Suspended => settle(
            status,
            Phase::Suspended,
            Reason::Suspended,
            "no job runs, as asked",
            "idle/suspended",
        ),
        DesiredState::Cancelled => settle(
            status,
            Phase::Cancelled,
            Reason::Cancelled,
            "no job runs, as asked",
            "idle/cancelled",
        ),
        DesiredState::Running => match wanted(o, &status) {
            Wanted::Start => start(o, status),
            Wanted::Rest => {
                if change(o.spec, status.accepted_spec.as_deref()) == Change::Live {
                    status.accepted_spec = Some(Box::new(o.spec.clone()));
                }
                rest(o, status, None)
            }
        },
    }
}

/// Whether an idle job is to be started.
enum Wanted {
    Start,
    Rest,
}

fn wanted(o: &Observed<'_>, status: &JobStatus) -> Wanted {
    let Some(accepted) = status.accepted_spec.as_deref() else {
        return Wanted::Start;
    };
    let nonce = accepted.restart_nonce != o.spec.restart_nonce;
    let edited = change(o.spec, Some(accepted)) == Change::Restart;
    let resumed = accepted.state != DesiredState::Running;
    let start = match status.last_outcome() {
        // Created as Draft or Suspended, or an attempt that provably sent nothing.
        None | Some(RunOutcome::Replaced | RunOutcome::Suspended | RunOutcome::Cancelled) => true,
        Some(RunOutcome::Finished | RunOutcome::Failed | RunOutcome::Rejected) => edited || resumed,
        Some(RunOutcome::Canceled) => nonce || resumed,
        Some(RunOutcome::Lost) => nonce,
        Some(RunOutcome::Unknown) => nonce || resubmits(o, status),
    };
    if start { Wanted::Start } else { Wanted::Rest }
}

/// Whether the user allows a second submission when the result of the first is not known.
fn resubmits(o: &Observed<'_>, status: &JobStatus) -> bool {
    let lost_record = status
        .failure
        .as_ref()
        .is_some_and(|failure| failure.reason == Reason::StateUnknown.as_str());
    o.spec.on_unknown_result == Some(OnUnknownResult::Resubmit) && !lost_record
}

/// Checked, never submitted.
fn draft(o: &Observed<'_>, mut status: JobStatus) -> Plan {
    let refusal = unsupported(o.spec).or_else(|| match &o.program {
        Input::Refused(refusal) => Some(refusal.clone()),
        Input::Pending | Input::Ready(_) | Input::Retrying(_) => None,
    });
    let wants = Wants {
        program: true,
        ..Wants::default()
    };
    match (&refusal, &o.program) {
        (Some(refusal), _) => {
            Verdict::stalled(Phase::Draft, refusal.reason, &refusal.message)
                .refusing(refusal)
                .write(o, &mut status);
        }
        (None, Input::Pending) => {}
        (None, Input::Retrying(refusal)) => {
            Verdict::reconciling(Phase::Draft, refusal.reason, &refusal.message).write(o, &mut status);
        }
        (None, Input::Ready(_) | Input::Refused(_)) => {
            let message = "the spec is complete; set state: Running to start the job";
            Verdict::reached(Phase::Draft, Reason::Draft, message).write(o, &mut status);
        }
    }
    Plan::with("idle/draft", status).want(wants)
}

/// The job has ended and nobody asks for another start.
fn rest(o: &Observed<'_>, mut status: JobStatus, refusal: Option<&Refusal>) -> Plan {
    let failure = status.failure.clone();
    let told = |default: &str| {
        failure
            .as_ref()
            .map_or_else(|| default.to_owned(), |failure| failure.message.clone())
    };
    let verdict = match status.last_outcome() {
        Some(RunOutcome::Finished) => Verdict::reached(Phase::Finished, Reason::Finished, "the job ended with success"),
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
        Some(RunOutcome::Lost) => Verdict::stalled(Phase::Lost, Reason::JobLost, told("the job was lost")),
        Some(RunOutcome::Unknown) => {
            let lost_record = failure
                .as_ref()
                .is_some_and(|f| f.reason == Reason::StateUnknown.as_str());
            let reason = if lost_record {
                Reason::StateUnknown
            } else {
                Reason::ResultUnknown
            };
            Verdict::stalled(Phase::Failed, reason, told("it is not known whether the job ran"))
        }
        Some(RunOutcome::Replaced | RunOutcome::Suspended | RunOutcome::Cancelled) | None => {
            Verdict::reconciling(Phase::Pending, Reason::Submitting, "the job is about to be started")
        }
    };
    let verdict = match refusal {
        None => verdict,
        Some(refusal) => Verdict::stalled(verdict.phase, refusal.reason, &refusal.message).refusing(refusal),
    };
    verdict.write(o, &mut status);
    Plan::with("idle/rest", status)
}

/// A start over a run whose state could matter needs the user's word that it may be dropped.
fn drops_state(status: &JobStatus) -> bool {
    match status.last_outcome() {
        None | Some(RunOutcome::Finished | RunOutcome::Rejected | RunOutcome::Replaced | RunOutcome::Suspended) => {
            false
        }
        Some(
            RunOutcome::Failed | RunOutcome::Canceled | RunOutcome::Cancelled | RunOutcome::Lost | RunOutcome::Unknown,
        ) => true,
    }
}

/// Starts the job, as soon as everything is there.
fn start(o: &Observed<'_>, mut status: JobStatus) -> Plan {
    if let Some(refusal) = unsupported(o.spec) {
        return refused(o, status, &refusal);
    }
    if drops_state(&status) && o.spec.upgrade_mode != UpgradeMode::Stateless {
        status.pending_change = Some(PendingChange::Restart);
        return rest(o, status, Some(&follow::keeps_state("a new start of this job")));
    }
    let pending = |mut status: JobStatus, refusal: Refusal, rule| {
        Verdict::reconciling(Phase::Pending, refusal.reason, refusal.message).write(o, &mut status);
        Plan::with(rule, status).at(o.now + SUBMIT_GRACE)
    };
    match (o.session, &o.cluster) {
        (Session::Present { deleting: true }, _) => {
            let message = "the FlinkSession is being deleted; no new job starts on it";
            return pending(
                status,
                Refusal::new(Reason::WaitingForCluster, message),
                "start/session-deleting",
            );
        }
        (Session::Absent { .. }, _) => return pending(status, o.down(), "start/session-absent"),
        (Session::Present { .. }, super::ClusterView::NotPolled) => return Plan::with("start/not-polled", status),
        (Session::Present { .. }, super::ClusterView::Down(refusal)) if refusal.reason == Reason::Unauthorized => {
            Verdict::stalled(Phase::Pending, refusal.reason, &refusal.message).write(o, &mut status);
            return Plan::with("start/unauthorized", status);
        }
        (Session::Present { .. }, super::ClusterView::Down(refusal)) => {
            let reason = if refusal.reason == Reason::ClusterNotFound {
                refusal.reason
            } else {
                Reason::WaitingForCluster
            };
            let refusal = Refusal::new(reason, refusal.message.clone());
            return pending(status, refusal, "start/cluster-down");
        }
        (Session::Present { .. }, super::ClusterView::Up(_)) => {}
    }
    if let Some(adopt) = o.spec.adopt.as_ref().filter(|_| decide::is_blank(o)) {
        return take_over(o, status, adopt.job_id);
    }
    match prepared(o, 0) {
        Readiness::Refused(refusal) => refused(o, status, &refusal),
        Readiness::Waiting { refusal, wants } => {
            if let Some(refusal) = refusal {
                Verdict::reconciling(Phase::Pending, refusal.reason, refusal.message).write(o, &mut status);
            }
            Plan::with("start/waiting", status).want(wants).at(o.now + SUBMIT_GRACE)
        }
        Readiness::Ready {
            program,
            jar_id,
            job_manager,
        } => match o.permit {
            Permit::Granted => intend(o, status, program, jar_id, job_manager),
            Permit::Waiting { long } => {
                if long {
                    let message = "other submissions to this cluster go first";
                    Verdict::reconciling(Phase::Pending, Reason::Queued, message).write(o, &mut status);
                }
                let wants = Wants {
                    program: true,
                    jar: true,
                    permit: true,
                    ..Wants::default()
                };
                Plan::with("start/queued", status).want(wants)
            }
        },
    }
}

/// The spec cannot be run as it is.
fn refused(o: &Observed<'_>, mut status: JobStatus, refusal: &Refusal) -> Plan {
    let verdict = Verdict::stalled(Phase::Failed, refusal.reason, &refusal.message);
    let cluster_side = refusal.reason == Reason::SubmissionDisabled;
    let verdict = if cluster_side {
        verdict
    } else {
        verdict.refusing(refusal)
    };
    verdict.write(o, &mut status);
    // Asking again is what notices that a jar, a ConfigMap or a setting is there now.
    let wants = Wants {
        program: true,
        jar: true,
        ..Wants::default()
    };
    Plan::with("start/refused", status).want(wants)
}

/// `spec.adopt`: a first start that takes a running job over.
fn take_over(o: &Observed<'_>, mut status: JobStatus, job_id: JobId) -> Plan {
    let Some(cluster) = o.up() else {
        return Plan::with("start/adopt-waits", status);
    };
    match cluster.job(job_id) {
        Some(job) if job.is_live() => decide::adopt(o, job_id, "start/adopt"),
        None if !cluster.confirmed => confirm("start/adopt-confirm", status),
        Some(_) | None => {
            let message = format!(
                "spec.adopt names Flink job {job_id}, which does not run on this cluster; correct the id, or leave spec.adopt \
                 out to start the job"
            );
            let refusal = Refusal::new(Reason::ReferenceNotFound, message);
            Verdict::stalled(Phase::Failed, refusal.reason, &refusal.message)
                .refusing(&refusal)
                .write(o, &mut status);
            Plan::with("start/adopt-absent", status)
        }
    }
}

/// Writes the intent to submit: the next turn sends it.
fn intend(o: &Observed<'_>, mut status: JobStatus, program: &Program, jar_id: JarId, job_manager: String) -> Plan {
    let again = status.last_outcome() == Some(RunOutcome::Replaced);
    let job_id = next_job_id(o, &status);
    let attempt = status.attempt.unwrap_or_default() + 1;
    let not_after = o.now + SUBMIT_WITHIN;
    let intent = status.intent_mut();
    intent.owner = Some(o.installation.to_string());
    intent.cancel = None;
    intent.submit = Some(SubmitIntent {
        job_id,
        jar_id,
        job_manager,
        body_hash: program.body_hash(),
        tries: 1,
        first_try: o.now,
        not_after,
        unresolved: not_after + o.spec.submit_timeout() + SETTLE,
        earlier_unresolved: None,
    });
    status.job_id = Some(job_id);
    status.attempt = Some(attempt);
    status.parallelism = program.parallelism;
    status.accepted_spec = Some(Box::new(o.spec.clone()));
    status.pending_change = Some(PendingChange::None);
    status.failure = None;
    status.flink_state = None;
    status.start_time = None;
    status.end_time = None;
    status.web_ui_url = None;
    let verdict = if again {
        Verdict::reconciling(Phase::Restarting, Reason::Upgrading, "submits the new spec")
    } else {
        Verdict::reconciling(Phase::Submitting, Reason::Submitting, "submits the job")
    };
    verdict.write(o, &mut status);
    condition::remove(&mut status.conditions, ConditionType::Stalled);
    Plan::with("start/intend", status)
}

/// A JobID that was never used: above every attempt that is recorded or seen, and above the clock, which covers records
/// that were lost.
fn next_job_id(o: &Observed<'_>, status: &JobStatus) -> JobId {
    let recorded = status
        .job_id
        .into_iter()
        .chain(status.runs.iter().map(|run| run.job_id));
    let seen = o
        .up()
        .into_iter()
        .flat_map(|cluster| cluster.jobs.iter().map(|job| job.id));
    let clock = u32::try_from(o.now.as_second().saturating_sub(1)).unwrap_or_default();
    let ours = recorded
        .chain(seen)
        .filter(|id| id.owner() == o.meta.owner)
        .map(|id| id.attempt());
    let attempt = ours.max().unwrap_or_default().max(clock).saturating_add(1);
    JobId::new(o.installation, o.meta.owner, attempt)
}
