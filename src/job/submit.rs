//! A submission was decided on: send it, or find out what became of it.
//!
//! An error or a timeout never proves that nothing happened. What resolves a submission: its job in the job list; an
//! answer by which Flink provably started nothing; another JobManager process, which cannot have the jar; or the time
//! after which no request can take effect any more.

use super::{
    ClusterView, Effect, Input, JobSeen, Observed, Permit, Plan, Refusal, RetryWindow, SETTLE, SUBMIT_GRACE,
    SUBMIT_WITHIN, Submission, SubmitOutcome, Wants, cancel, follow, start, submit_again, verdict::Verdict,
};
use crate::{
    api::{
        JobStatus, Phase, Reason,
        job::DesiredState,
        status::{CancelPurpose, Run, RunOutcome, SubmitIntent},
    },
    flink::JobState,
};

/// The rule for resources that are not being deleted.
pub(super) fn resolve(o: &Observed<'_>) -> Option<Plan> {
    let intent = o.status.submission()?;
    Some(match standing(o, intent) {
        Standing::Seen(job) => seen(o, intent, job),
        Standing::InFlight => Plan::keep("submit/in-flight", o.status).want(attention()),
        Standing::Unsent => send(o, intent),
        Standing::Nothing(why) => nothing_ran(o, intent, why),
        Standing::Ambiguous => ambiguous(o, intent),
        Standing::Confirm => start::confirm("submit/confirm", o.status.clone()),
        Standing::Open => open(o, intent),
    })
}

/// What is known of a submission.
#[derive(Debug)]
pub(super) enum Standing<'a> {
    /// Its job is listed.
    Seen(&'a JobSeen),
    /// This process waits for Flink's answer.
    InFlight,
    /// This process has just written it down, and has not sent it.
    Unsent,
    /// It provably started nothing, and nothing of it can start any more.
    Nothing(Nothing),
    /// It can have run and ended unseen, or not have run; nothing of it can start any more.
    Ambiguous,
    /// It takes a job list from now on to tell.
    Confirm,
    /// It may still take effect.
    Open,
}

/// By what it is proven that a submission started nothing.
#[derive(Debug)]
pub(super) enum Nothing {
    /// No request reached Flink.
    NotSent(Refusal),
    /// The jar was not there.
    JarMissing,
    /// `main()` ended with an error.
    Rejected(String),
    /// Another job was started instead.
    OtherJob(crate::flink::JobId),
}

/// What is known of a submission now.
pub(super) fn standing<'o>(o: &'o Observed<'_>, intent: &SubmitIntent) -> Standing<'o> {
    if let Some(job) = o.up().and_then(|cluster| cluster.job(intent.job_id)) {
        return Standing::Seen(job);
    }
    if o.task.running {
        return Standing::InFlight;
    }
    let outcome = o.submit_outcome();
    let unsent = outcome.is_none() && o.task.unsent == Some((intent.job_id, intent.tries));
    if unsent && !o.meta.deleting {
        return Standing::Unsent;
    }
    let nothing = match outcome {
        None if unsent => Some(Nothing::NotSent(Refusal::new(
            Reason::DeletionBlocked,
            "the resource is being deleted",
        ))),
        Some(SubmitOutcome::NotSent(refusal)) => Some(Nothing::NotSent(refusal.clone())),
        Some(SubmitOutcome::JarMissing) => Some(Nothing::JarMissing),
        Some(SubmitOutcome::Rejected(message)) => Some(Nothing::Rejected(message.clone())),
        Some(SubmitOutcome::OtherJob(job_id)) => Some(Nothing::OtherJob(*job_id)),
        Some(SubmitOutcome::Accepted | SubmitOutcome::Duplicate | SubmitOutcome::Unknown(_)) | None => None,
    };
    let until = if nothing.is_some() {
        intent.earlier_unresolved
    } else {
        Some(intent.unresolved)
    };
    if let (Some(Nothing::NotSent(_) | Nothing::JarMissing), None) = (&nothing, until) {
        return nothing.map_or(Standing::Open, Standing::Nothing);
    }
    let Some(cluster) = o.up() else { return Standing::Open };
    let over = until.is_none_or(|until| o.now > until);
    let replaced = cluster.job_manager.is_some_and(|id| id != intent.job_manager);
    // In another process the jar id does not exist, so that no late request can start anything; unless uploads survive.
    let fenced = replaced && !matches!(cluster.retry_window, RetryWindow::Closed(_));
    match (over || fenced, cluster.confirmed) {
        (false, _) if cluster.job_manager.is_none() => Standing::Confirm,
        (false, _) => Standing::Open,
        (true, false) => Standing::Confirm,
        (true, true) => nothing.filter(|_| over).map_or(Standing::Ambiguous, Standing::Nothing),
    }
}

fn attention() -> Wants {
    Wants {
        attention: true,
        ..Wants::default()
    }
}

/// The job is there: from now on it is followed.
fn seen(o: &Observed<'_>, intent: &SubmitIntent, job: &JobSeen) -> Plan {
    let starting = matches!(job.state, JobState::Initializing | JobState::Created);
    let decided_on = intent.not_after - SUBMIT_WITHIN;
    let unedited = o.spec.state == DesiredState::Running && o.status.accepted_spec.as_deref() == Some(o.spec);
    if starting && unedited && o.meta.finalizer && o.now < decided_on + SUBMIT_GRACE {
        // Nothing new to tell yet: one write instead of two.
        return Plan::keep("submit/starting", o.status)
            .want(attention())
            .at(decided_on + SUBMIT_GRACE);
    }
    let mut plan = follow::follow(o, recorded(o, intent));
    plan.rule = "submit/seen";
    plan
}

/// The status with the submission turned into a run.
pub(super) fn recorded(o: &Observed<'_>, intent: &SubmitIntent) -> JobStatus {
    let mut status = o.status.clone();
    status.intent_mut().submit = None;
    status.job_id = Some(intent.job_id);
    status.runs.insert(0, run(&status, intent, None));
    status
}

fn run(status: &JobStatus, intent: &SubmitIntent, outcome: Option<RunOutcome>) -> Run {
    Run {
        attempt: status.attempt.unwrap_or(1),
        job_id: intent.job_id,
        start_time: None,
        end_time: None,
        outcome,
        job_manager: Some(intent.job_manager.clone()),
    }
}

/// Ends the submission with an outcome.
fn close(o: &Observed<'_>, intent: &SubmitIntent, outcome: Option<RunOutcome>) -> JobStatus {
    let mut status = o.status.clone();
    status.intent_mut().submit = None;
    if outcome.is_some() {
        let run = run(&status, intent, outcome);
        status.runs.insert(0, run);
    } else {
        // The attempt never was: what it was made for is still to be done.
        status.accepted_spec = None;
    }
    status
}

/// Sends what was just written down.
fn send(o: &Observed<'_>, intent: &SubmitIntent) -> Plan {
    let plan = Plan::keep("submit/send", o.status).want(Wants {
        program: true,
        permit: true,
        ..attention()
    });
    if same_request(o, intent) == Some(false) {
        return match intent.earlier_unresolved {
            None => start::idle(o, close(o, intent, None)),
            Some(_) => open(o, intent),
        };
    }
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
        }))),
        Input::Ready(_) | Input::Pending | Input::Refused(_) | Input::Retrying(_) => plan.at(o.now + SUBMIT_GRACE),
    }
}

/// Whether the same request is still what the spec asks for.
fn same_request(o: &Observed<'_>, intent: &SubmitIntent) -> Option<bool> {
    if o.spec.state != DesiredState::Running {
        return Some(false);
    }
    match &o.program {
        Input::Ready(program) => Some(program.body_hash() == intent.body_hash),
        Input::Refused(_) => Some(false),
        Input::Pending | Input::Retrying(_) => None,
    }
}

/// Flink started nothing.
fn nothing_ran(o: &Observed<'_>, intent: &SubmitIntent, why: Nothing) -> Plan {
    match why {
        Nothing::Rejected(message) => {
            let mut status = close(o, intent, Some(RunOutcome::Rejected));
            let message = format!(
                "Flink refused the submission: {message}. Correct the program or its arguments; any edit of the spec tries again"
            );
            start::fail(&mut status, o, Reason::SubmissionRejected, &message);
            start::idle(o, status)
        }
        Nothing::OtherJob(other) => {
            let mut status = close(o, intent, Some(RunOutcome::Rejected));
            cancel::intend(o, &mut status, other, CancelPurpose::Stray);
            let message = format!(
                "the cluster started the job as {other} instead of under the JobID it was told, so it cannot be kept from \
                 running twice; it is cancelled. Use a Flink version that takes jobId in /jars/:id/run"
            );
            start::fail(&mut status, o, Reason::SubmissionRejected, &message);
            let mut plan = start::idle(o, status);
            plan.effect = None;
            plan
        }
        Nothing::NotSent(refusal) => again(o, intent, Some(&refusal)),
        Nothing::JarMissing => match (same_request(o, intent), &o.jar) {
            (Some(false), _) => start::idle(o, close(o, intent, None)),
            (Some(true), Input::Ready((jar_id, job_manager))) if *jar_id != intent.jar_id => {
                let mut status = o.status.clone();
                if let Some(submit) = status.intent_mut().submit.as_mut() {
                    submit.jar_id = jar_id.clone();
                    submit.job_manager.clone_from(job_manager);
                    submit.first_try = o.now;
                    submit.tries += 1;
                    submit.not_after = o.now + SUBMIT_WITHIN;
                    submit.unresolved = submit.not_after + o.spec.submit_timeout() + SETTLE;
                }
                Plan::with("submit/other-jar", status).want(Wants {
                    program: true,
                    permit: true,
                    ..attention()
                })
            }
            (Some(true) | None, _) => {
                let wants = Wants {
                    program: true,
                    jar: true,
                    permit: true,
                    ..attention()
                };
                Plan::keep("submit/jar-missing", o.status)
                    .want(wants)
                    .at(o.now + SUBMIT_GRACE)
            }
        },
    }
}

/// It may have run. The user said what to do then.
fn ambiguous(o: &Observed<'_>, intent: &SubmitIntent) -> Plan {
    if matches!(o.submit_outcome(), Some(SubmitOutcome::Accepted)) {
        // It did run: from here on it is a job that the cluster lost.
        let mut plan = follow::follow(o, recorded(o, intent));
        plan.rule = "submit/lost";
        return plan;
    }
    let mut status = close(o, intent, Some(RunOutcome::Unknown));
    start::fail(
        &mut status,
        o,
        Reason::ResultUnknown,
        "the submission was under way when the operator or the JobManager went away, and it cannot be known whether the job \
         ran. If it may run again, change spec.restartNonce, or set onUnknownResult: Resubmit",
    );
    start::idle(o, status)
}

/// The submission may still take effect: repeat the very same one where that is safe, or wait.
fn open(o: &Observed<'_>, intent: &SubmitIntent) -> Plan {
    let outcome = o.submit_outcome();
    let Some(cluster) = o.up() else {
        if matches!(o.cluster, ClusterView::NotPolled) {
            return Plan::keep("submit/not-polled", o.status);
        }
        let refusal = o.down();
        let mut status = o.status.clone();
        let message = format!(
            "a submission is under way, and the cluster does not answer: {}",
            refusal.message
        );
        Verdict::reconciling(Phase::Submitting, refusal.reason, message).write(o, &mut status);
        return Plan::with("submit/unreachable", status);
    };
    if matches!(outcome, Some(SubmitOutcome::Accepted | SubmitOutcome::Duplicate)) {
        return Plan::keep("submit/accepted", o.status)
            .want(attention())
            .at(o.now + SUBMIT_GRACE);
    }
    let repeatable = match cluster.retry_window {
        RetryWindow::Unlimited => Ok(()),
        RetryWindow::For(window) if o.now < intent.first_try + window => Ok(()),
        RetryWindow::For(_) => Err("the cluster may have forgotten the first try"),
        RetryWindow::Closed(why) => Err(why),
    };
    let same_process = cluster.job_manager == Some(intent.job_manager.as_str());
    match (repeatable, same_request(o, intent)) {
        (Ok(()), Some(true) | None) if same_process => again(o, intent, None),
        (_, same) => {
            let why = match (repeatable, same) {
                (_, Some(false)) => "the spec has changed since, so it is not repeated",
                (Err(why), _) => why,
                (Ok(()), _) => "the JobManager was replaced",
            };
            let mut status = o.status.clone();
            let message = format!(
                "it is not known yet whether the last submission took effect ({why}); nothing else is started until {}",
                intent.unresolved.strftime("%H:%M:%SZ")
            );
            Verdict::reconciling(Phase::Submitting, Reason::ResultUnknown, message).write(o, &mut status);
            Plan::with("submit/wait", status)
                .want(attention())
                .at(o.now + 6 * SUBMIT_GRACE)
        }
    }
}

/// Repeats the request with the same JobID and jar, after a pause.
fn again(o: &Observed<'_>, intent: &SubmitIntent, not_sent: Option<&Refusal>) -> Plan {
    let mut status = o.status.clone();
    let told = match (not_sent, o.submit_outcome()) {
        (Some(refusal), _) => Some((
            refusal.reason,
            format!(
                "the submission could not be sent and is tried again: {}",
                refusal.message
            ),
        )),
        (None, Some(SubmitOutcome::Unknown(refusal))) => Some((
            Reason::SubmissionTimeout,
            format!(
                "the submission was not answered and is repeated under the same JobID: {}. If main() needs longer, raise \
                 spec.submitTimeout",
                refusal.message
            ),
        )),
        (None, _) => None,
    };
    if let Some((reason, message)) = told {
        Verdict::reconciling(Phase::Submitting, reason, message).write(o, &mut status);
    }
    match same_request(o, intent) {
        Some(false) if not_sent.is_some() => return start::idle(o, close(o, intent, None)),
        Some(false | true) => {}
        None => {
            let wants = Wants {
                program: true,
                ..attention()
            };
            return Plan::with("submit/program", status)
                .want(wants)
                .at(o.now + SUBMIT_GRACE);
        }
    }
    let wants = Wants {
        program: true,
        permit: true,
        ..attention()
    };
    let due = intent.not_after - SUBMIT_WITHIN + submit_again(intent.tries);
    if o.now < due {
        return Plan::with("submit/pause", status).want(attention()).at(due);
    }
    if o.up().is_none() || o.permit != Permit::Granted {
        return Plan::with("submit/permit", status).want(wants).at(o.now + SUBMIT_GRACE);
    }
    if let Some(submit) = status.intent_mut().submit.as_mut() {
        submit.earlier_unresolved = if not_sent.is_some() {
            submit.earlier_unresolved
        } else {
            Some(submit.unresolved)
        };
        submit.tries += 1;
        submit.not_after = o.now + SUBMIT_WITHIN;
        submit.unresolved = submit.not_after + o.spec.submit_timeout() + SETTLE;
    }
    Plan::with("submit/again", status).want(wants)
}
