//! A submission was decided on: send it, or find out what became of it.

use super::{
    Effect, Input, JobSeen, Observed, Permit, Plan, Refusal, RetryWindow, SETTLE, SUBMIT_GRACE, SUBMIT_WITHIN,
    Submission, SubmitOutcome, Wants,
    backoff::after,
    cancel,
    change::{self, Change},
    follow, idle,
    standing::{Nothing, Standing, decided_on, same_request, standing},
    start, submit_again,
    verdict::Verdict,
};
use crate::{
    api::{
        JobStatus, Phase, Reason,
        condition::ConditionStatus,
        job::DesiredState,
        status::{CancelPurpose, Run, RunOutcome, SubmitIntent},
    },
    flink::{JarId, JobId, JobState},
};

/// The rule for resources that are not being deleted.
pub(super) fn resolve(o: &Observed<'_>) -> Option<Plan> {
    let intent = o.status.submission()?;
    Some(match standing(o, intent) {
        Standing::Seen(job) => seen(o, intent, job),
        Standing::InFlight => Plan::keep("submit/in-flight", o.status).want(attention()),
        Standing::Unsent => send(o, intent),
        Standing::Nothing(why) => nothing_ran(o, intent, &why),
        Standing::Ran => ran(o, intent),
        Standing::Repeat => again(o, intent, &Basis::Unknown),
        Standing::Wait => wait(o, intent),
        Standing::Ambiguous => ambiguous(o, intent),
        Standing::Confirm => start::confirm("submit/confirm", o.status.clone()),
    })
}

fn attention() -> Wants {
    Wants {
        attention: true,
        ..Wants::default()
    }
}

fn to_send() -> Wants {
    Wants {
        program: true,
        permit: true,
        ..attention()
    }
}

/// The job is there: from now on it is followed.
fn seen(o: &Observed<'_>, intent: &SubmitIntent, job: &JobSeen) -> Plan {
    let starting = matches!(job.state, JobState::Initializing | JobState::Created);
    let unedited = o.spec.state == DesiredState::Running
        && change::change(o.spec, o.status.accepted_spec.as_deref()) == Change::None
        && o.status.observed_generation == o.meta.generation;
    let soon = after(decided_on(intent), SUBMIT_GRACE);
    if starting && unedited && o.meta.finalizer && o.now < soon {
        // Nothing new to tell yet: one write instead of two.
        return Plan::keep("submit/starting", o.status).want(attention()).at(soon);
    }
    let mut plan = follow::follow(o, recorded(o, intent, None));
    plan.rule = "submit/seen";
    plan
}

/// The status with the submission turned into a run.
fn recorded(o: &Observed<'_>, intent: &SubmitIntent, outcome: Option<RunOutcome>) -> JobStatus {
    let mut status = o.status.clone();
    status.intent_mut().submit = None;
    status.job_id = Some(intent.job_id);
    let run = Run {
        outcome,
        job_manager: Some(intent.job_manager.clone()),
        restored_from: intent.restore.as_ref().map(|restore| restore.path.clone()),
        ..Run::new(status.attempt.unwrap_or(1), intent.job_id)
    };
    status.runs.insert(0, run);
    status
}

/// The attempt never was: what it was made for is still to be done, whatever the spec says by now.
fn dropped(o: &Observed<'_>) -> Plan {
    let mut status = o.status.clone();
    status.intent_mut().submit = None;
    status.accepted_spec = None;
    idle::idle(o, status)
}

/// Sends what was just written down.
fn send(o: &Observed<'_>, intent: &SubmitIntent) -> Plan {
    if same_request(o, intent) == Some(false) {
        return match intent.earlier_unresolved {
            None => dropped(o),
            Some(_) => wait(o, intent),
        };
    }
    let plan = Plan::keep("submit/send", o.status).want(to_send());
    if !o.meta.finalizer {
        return plan.then(Effect::AddFinalizer);
    }
    match &o.program {
        Input::Ready(program) if o.permit == Permit::Granted => plan.then(Effect::Submit(Box::new(Submission {
            job_id: intent.job_id,
            jar_id: intent.jar_id.clone(),
            tries: intent.tries,
            not_after: intent.not_after,
            timeout: o.spec.submit_timeout(),
            program: (*program).clone(),
            restore: intent.restore.clone(),
        }))),
        Input::Ready(_) | Input::Pending | Input::Refused(_) | Input::Retrying(_) => {
            plan.at(after(o.now, SUBMIT_GRACE))
        }
    }
}

/// Flink started nothing.
fn nothing_ran(o: &Observed<'_>, intent: &SubmitIntent, why: &Nothing) -> Plan {
    match why {
        Nothing::Rejected(message) => {
            let mut status = recorded(o, intent, Some(RunOutcome::Rejected));
            let message = message.trim_end_matches('.');
            let message = format!(
                "Flink refused the submission: {message}. Correct the program or its arguments; any edit of them tries again"
            );
            start::fail(&mut status, o, Reason::SubmissionRejected, &message);
            idle::idle(o, status)
        }
        Nothing::OtherJob(other) => instead(o, intent, *other),
        Nothing::Absent => dropped(o),
        Nothing::NotSent(_) | Nothing::JarMissing if same_request(o, intent) == Some(false) => dropped(o),
        // What it needs cannot be had any more: the start itself says why.
        Nothing::NotSent(_) | Nothing::JarMissing if matches!(o.jar, Input::Refused(_)) => dropped(o),
        Nothing::NotSent(refusal) => again(o, intent, &Basis::Nothing(refusal)),
        Nothing::JarMissing => again(o, intent, &Basis::JarMissing),
    }
}

/// The cluster started another job instead.
fn instead(o: &Observed<'_>, intent: &SubmitIntent, other: JobId) -> Plan {
    let mut status = recorded(o, intent, Some(RunOutcome::Rejected));
    cancel::intend(o, &mut status, other, CancelPurpose::Stray);
    let message = format!(
        "the cluster started the job as {other} instead of under the JobID it was told, so it cannot be kept from running \
         twice; it is cancelled. Use a Flink version that takes jobId in /jars/:id/run"
    );
    start::fail(&mut status, o, Reason::SubmissionRejected, &message);
    cancel::describe(o, &mut status, CancelPurpose::Stray, None);
    Plan::with("submit/other-job", status).want(attention())
}

/// It did run, and the cluster no longer lists it.
fn ran(o: &Observed<'_>, intent: &SubmitIntent) -> Plan {
    let status = recorded(o, intent, None);
    let mut plan = if matches!(o.submit_outcome(), Some(SubmitOutcome::Duplicate)) {
        let message = "Flink knows the JobID of this submission but lists no such job: it ran and ended unseen, and its result \
                       is not known";
        follow::lost_as(o, status, Reason::ResultUnknown, message)
    } else {
        follow::lost(o, status)
    };
    plan.rule = "submit/lost";
    plan
}

/// It may have run. The user said what to do then.
fn ambiguous(o: &Observed<'_>, intent: &SubmitIntent) -> Plan {
    let mut status = recorded(o, intent, Some(RunOutcome::Unknown));
    let message = "the submission was under way when the operator or the JobManager went away, and it cannot be known whether \
                   the job ran. If it may run again, change spec.restartNonce, or set onUnknownResult: Resubmit";
    start::fail(&mut status, o, Reason::ResultUnknown, message);
    idle::idle(o, status)
}

/// The submission may still take effect and cannot be repeated: nothing else is done until that is over.
fn wait(o: &Observed<'_>, intent: &SubmitIntent) -> Plan {
    if o.not_polled() {
        return Plan::keep("submit/not-polled", o.status);
    }
    let mut status = o.status.clone();
    let Some(cluster) = o.up() else {
        let refusal = o.down();
        let message = format!(
            "a submission is under way, and the cluster does not answer: {}",
            refusal.message
        );
        let mut verdict = Verdict::reconciling(Phase::Submitting, refusal.reason, message);
        verdict.running = ConditionStatus::Unknown;
        verdict.write(o, &mut status);
        return Plan::with("submit/unreachable", status);
    };
    if matches!(
        o.submit_outcome(),
        Some(SubmitOutcome::Accepted | SubmitOutcome::Duplicate)
    ) {
        let soon = after(decided_on(intent), SUBMIT_GRACE);
        return Plan::keep("submit/accepted", o.status).want(attention()).at(soon);
    }
    let why = match cluster.retry_window {
        _ if same_request(o, intent) == Some(false) => "the spec has changed since, so it is not repeated",
        RetryWindow::Closed(why) => why,
        RetryWindow::For(_) => "the cluster may have forgotten the first try",
        RetryWindow::Unlimited | RetryWindow::Durable => "its last try failed, and the one before was not answered",
    };
    let until = intent.unresolved;
    let message = format!(
        "it is not known yet whether the last submission took effect ({why}); nothing else is started until {}",
        until.strftime("%H:%M:%SZ")
    );
    let mut verdict = Verdict::reconciling(Phase::Submitting, Reason::ResultUnknown, message);
    verdict.running = ConditionStatus::Unknown;
    verdict.write(o, &mut status);
    let next = after(o.now, 6 * SUBMIT_GRACE).min(after(until, std::time::Duration::from_millis(1)));
    Plan::with("submit/wait", status).want(attention()).at(next)
}

/// What a further try of the same attempt builds on.
enum Basis<'r> {
    /// No try reached Flink, for the reason given: any jar will do.
    Nothing(&'r Refusal),
    /// No try started anything, and the jar is gone: it takes another one.
    JarMissing,
    /// A try may have started the job: it takes the same jar, or a cluster that never forgets.
    Unknown,
}

impl Basis<'_> {
    /// The jar and the JobManager process of the next try, when it is there.
    fn jar(&self, o: &Observed<'_>, intent: &SubmitIntent) -> Option<(JarId, String)> {
        let now = o.up()?.job_manager?;
        if matches!(self, Self::Unknown) && now == intent.job_manager {
            return Some((intent.jar_id.clone(), intent.job_manager.clone()));
        }
        let Input::Ready((jar_id, job_manager)) = &o.jar else {
            return None;
        };
        let usable = match self {
            Self::Nothing(_) => true,
            Self::JarMissing => *jar_id != intent.jar_id,
            Self::Unknown => job_manager == now,
        };
        usable.then(|| (jar_id.clone(), job_manager.clone()))
    }

    /// What people read of it.
    fn verdict(&self, o: &Observed<'_>) -> Option<Verdict> {
        match (self, o.submit_outcome()) {
            (Self::Nothing(refusal), _) => Some(Verdict::reconciling(
                Phase::Submitting,
                refusal.reason,
                format!(
                    "the submission could not be sent and is tried again: {}",
                    refusal.message
                ),
            )),
            (Self::Unknown, Some(SubmitOutcome::Unknown(refusal))) => {
                let message = format!(
                    "the submission was not answered and is repeated under the same JobID: {}. If main() needs longer, raise \
                     spec.submitTimeout",
                    refusal.message
                );
                let mut verdict = Verdict::reconciling(Phase::Submitting, Reason::SubmissionTimeout, message);
                verdict.running = ConditionStatus::Unknown;
                Some(verdict)
            }
            (Self::JarMissing | Self::Unknown, _) => None,
        }
    }
}

/// Sends the attempt again under the same JobID, after a pause.
fn again(o: &Observed<'_>, intent: &SubmitIntent, basis: &Basis<'_>) -> Plan {
    let mut status = o.status.clone();
    let told = basis.verdict(o);
    if let Some(verdict) = told.clone() {
        verdict.write(o, &mut status);
    }
    let later = after(o.now, SUBMIT_GRACE);
    if same_request(o, intent).is_none() {
        return Plan::with("submit/program", status)
            .want(Wants {
                program: true,
                ..attention()
            })
            .at(later);
    }
    let due = after(decided_on(intent), submit_again(intent.tries));
    // A JobManager that was just replaced is no reason to wait; one without its jar time and again is.
    let at_once = matches!(basis, Basis::JarMissing) && intent.tries <= 1;
    if o.now < due && !at_once {
        return Plan::with("submit/pause", status).want(attention()).at(due);
    }
    let Some((jar_id, job_manager)) = basis.jar(o, intent) else {
        return Plan::with("submit/jar", status)
            .want(Wants { jar: true, ..to_send() })
            .at(later);
    };
    if o.permit != Permit::Granted {
        return Plan::with("submit/permit", status).want(to_send()).at(later);
    }
    let clean = !matches!(basis, Basis::Unknown);
    if let Some(submit) = status.intent_mut().submit.as_mut() {
        // A last try that provably did nothing leaves the earlier ones as they were.
        let last_unknown = !matches!(
            o.submit_outcome(),
            Some(SubmitOutcome::NotSent(_) | SubmitOutcome::JarMissing)
        );
        if clean {
            submit.first_try = o.now;
            submit.earlier_unresolved = None;
        } else if last_unknown {
            submit.earlier_unresolved = Some(submit.unresolved);
        }
        submit.jar_id = jar_id;
        submit.job_manager = job_manager;
        submit.tries = submit.tries.saturating_add(1);
        submit.not_after = after(o.now, SUBMIT_WITHIN);
        submit.unresolved = horizon(o);
    }
    if told.is_none() {
        let message = "sends the submission again, under the same JobID";
        Verdict::reconciling(Phase::Submitting, Reason::Submitting, message).write(o, &mut status);
    }
    Plan::with("submit/again", status).want(to_send())
}

/// Until when a request that is decided on now may take effect.
pub(super) fn horizon(o: &Observed<'_>) -> jiff::Timestamp {
    after(after(o.now, SUBMIT_WITHIN), o.spec.submit_timeout() + SETTLE)
}
