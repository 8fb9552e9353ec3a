//! Cancelling a job: the intent first, the request, and the wait until Flink shows the end.

use super::{
    CANCEL_AGAIN, Effect, JobSeen, Observed, Plan, Refusal, SUBMIT_GRACE, Wants,
    backoff::after,
    decide, ledger, start,
    verdict::{Standing, Verdict},
};
use crate::{
    api::{
        JobStatus, Phase, Reason,
        condition::ConditionStatus,
        intent::{CancelIntent, CancelPurpose},
        state::Resume,
        status::{Run, RunOutcome},
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
    intent.cancel = Some(CancelIntent {
        job_id,
        purpose,
        last_state: false,
    });
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
    let intent = o.status.cancellation()?.clone();
    let CancelIntent { job_id, purpose, .. } = intent;
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
        Some(job) => ended(o, &intent, Some(job)),
        None if cluster.confirmed => ended(o, &intent, None),
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

/// What is left of the state of a run that was cancelled.
fn kept(status: &mut JobStatus, intent: &CancelIntent, outcome: RunOutcome, listed: bool) {
    let stopped = status
        .intent_mut()
        .stop
        .take()
        .is_some_and(|stop| stop.location.is_some());
    ledger::forget_deleted(status, outcome, intent.job_id);
    match outcome {
        // Its savepoint is on record already.
        RunOutcome::Replaced | RunOutcome::Suspended if stopped => ledger::last_state(status),
        RunOutcome::Replaced | RunOutcome::Suspended if intent.last_state && listed => {
            ledger::ended(status, Resume::Latest);
        }
        RunOutcome::Replaced | RunOutcome::Suspended if intent.last_state => ledger::ended(status, Resume::Unknown),
        RunOutcome::Replaced | RunOutcome::Suspended => ledger::ended(status, Resume::Empty),
        RunOutcome::Finished
        | RunOutcome::Failed
        | RunOutcome::Canceled
        | RunOutcome::Cancelled
        | RunOutcome::Rejected
        | RunOutcome::Lost
        | RunOutcome::Unknown => ledger::last_state(status),
    }
}

/// Flink shows the end of a job that was to be cancelled, or proves that it does not exist.
fn ended(o: &Observed<'_>, intent: &CancelIntent, job: Option<&JobSeen>) -> Plan {
    let CancelIntent { job_id, purpose, .. } = *intent;
    let mut status = o.status.clone();
    status.intent_mut().cancel = None;
    let state = job.map(|job| job.state);
    let current = |run: &Run| run.job_id == job_id && run.outcome.is_none();
    if status.runs.first().is_some_and(current) {
        let outcome = match (state, purpose) {
            (Some(JobState::Finished), _) if o.status.stop().is_none() => RunOutcome::Finished,
            (Some(JobState::Failed), CancelPurpose::Stray) => RunOutcome::Failed,
            _ => ledger::outcome(purpose),
        };
        if let Some(run) = status.runs.first_mut() {
            run.end_time = job.and_then(|job| job.end_time);
            run.outcome = Some(outcome);
        }
        status.end_time = job.and_then(|job| job.end_time);
        status.flink_state = state.map(|state| state.to_string());
        kept(&mut status, intent, outcome, job.is_some());
    }
    decide::go_on(o, status, "cancel/ended")
}

#[cfg(test)]
mod tests {
    use super::super::case::{Case, INSTALLATION, Reach, effect, refusal, seen, told};
    use super::*;
    use crate::{
        api::job::DesiredState,
        flink::{JobState, UidHash},
    };

    fn marked(attempt: u32) -> JobId {
        JobId::new(INSTALLATION, UidHash::of(super::super::case::UID), attempt)
    }

    /// A job that is being cancelled because of that edit.
    fn cancelling(edit: fn(&mut Case)) -> Case {
        let mut case = Case::running();
        edit(&mut case);
        case.persist("end/cancel");
        case
    }

    const SUSPEND: fn(&mut Case) = |case| case.edit(|spec| spec.state = DesiredState::Suspended);
    const CANCEL: fn(&mut Case) = |case| case.edit(|spec| spec.state = DesiredState::Cancelled);
    const EDIT: fn(&mut Case) = |case| case.edit(|spec| spec.job.args.clear());

    #[test]
    fn the_intent_is_written_before_the_request() {
        for edit in [SUSPEND, CANCEL, EDIT] {
            let mut case = Case::running();
            edit(&mut case);
            assert_eq!(effect(&case.persist("end/cancel")), "-");
            assert_eq!(case.still("cancel/send").effect, Some(Effect::Cancel(case.id())));
        }
    }

    #[test]
    fn a_cancelled_job_ends_by_what_it_was_cancelled_for() {
        let rows = [
            (
                SUSPEND,
                RunOutcome::Suspended,
                "Suspended/Suspended Ready=True Running=False",
            ),
            (
                CANCEL,
                RunOutcome::Cancelled,
                "Cancelled/Cancelled Ready=True Running=False",
            ),
            (
                EDIT,
                RunOutcome::Replaced,
                "Restarting/Upgrading Ready=False Reconciling Running=False",
            ),
        ];
        for (edit, outcome, expected) in rows {
            let mut case = cancelling(edit);
            case.list(JobState::Canceled);
            case.settle();
            assert_eq!(
                (case.status.runs[0].outcome, told(&case.status).as_str()),
                (Some(outcome), expected)
            );
            // The same when the cluster does not list it any more; but only when that is confirmed.
            let mut case = cancelling(edit);
            case.jobs.clear();
            assert!(case.still("cancel/confirm").wants.confirm);
            case.confirmed = true;
            case.settle();
            assert_eq!(
                (case.status.runs[0].outcome, told(&case.status).as_str()),
                (Some(outcome), expected)
            );
        }
    }

    #[test]
    fn a_job_that_finished_first_is_told_as_finished() {
        let mut case = cancelling(SUSPEND);
        case.list(JobState::Finished);
        case.settle();
        assert_eq!(case.status.last_outcome(), Some(RunOutcome::Finished));
        case.edit(|spec| spec.state = DesiredState::Running);
        case.settle();
        assert_eq!(told(&case.status), "Finished/Finished Ready=True Running=False");
    }

    #[test]
    fn a_request_is_repeated_when_it_failed_or_shows_no_effect() {
        let mut case = cancelling(CANCEL);
        let id = case.id();
        case.task.cancelled = Some((id, case.now, None));
        assert_eq!(effect(&case.still("cancel/send")), "-");
        case.wait(21);
        assert_eq!(effect(&case.still("cancel/send")), "Cancel");
        case.list(JobState::Cancelling);
        case.settle();
        assert_eq!(
            effect(&case.still("cancel/send")),
            "-",
            "it shows: a slow job is not asked twice"
        );
        case.task.cancelled = Some((id, case.now, Some(refusal(Reason::Unauthorized))));
        case.settle();
        let ready = crate::api::condition::find(&case.status.conditions, crate::api::ConditionType::Ready).unwrap();
        assert!(ready.message.contains("failed and is repeated"), "{}", ready.message);
        assert_eq!(effect(&case.still("cancel/send")), "-");
        case.wait(6);
        assert_eq!(effect(&case.still("cancel/send")), "Cancel");
        case.task.running = true;
        assert_eq!(effect(&case.still("cancel/send")), "-");
    }

    #[test]
    fn a_cluster_that_does_not_answer_holds_it_up() {
        let mut case = cancelling(SUSPEND);
        case.reach = Reach::NotPolled;
        case.still("cancel/not-polled");
        case.reach = Reach::Down(Reason::ClusterUnreachable);
        case.settle();
        assert_eq!(
            told(&case.status),
            "Suspending/ClusterUnreachable Ready=False Reconciling Running=Unknown"
        );
    }

    // Rule 4: a running job with our mark that is not the current attempt is always cancelled.
    #[test]
    fn a_stray_is_cancelled_and_the_current_job_is_not() {
        let mut case = Case::running();
        let (current, stray) = (case.jobs[0].clone(), marked(7));
        case.jobs.push(seen(stray, JobState::Running));
        let plan = case.persist("stray");
        assert_eq!(plan.notes.last().unwrap().kind, super::super::NoteKind::Warning);
        assert_eq!(
            told(&case.status),
            "Cancelling/Cancelled Ready=False Reconciling Running=True"
        );
        assert_eq!(case.still("cancel/send").effect, Some(Effect::Cancel(stray)));
        case.jobs = vec![current.clone(), seen(stray, JobState::Canceled)];
        case.settle();
        assert_eq!(told(&case.status), "Running/Running Ready=True Running=True");
        // While a submission is under way its own job is none.
        let mut case = Case::submitting();
        case.list(JobState::Running);
        case.persist("submit/seen");
        let mut case = Case::submitting();
        case.jobs = vec![seen(stray, JobState::Running)];
        case.persist("stray");
        case.jobs.clear();
        case.confirmed = true;
        case.persist("cancel/ended");
        assert!(case.status.submission().is_some() && case.status.cancellation().is_none());
    }

    #[test]
    fn a_change_of_mind_while_it_is_cancelled_is_heeded_at_its_end() {
        let mut case = cancelling(SUSPEND);
        case.edit(|spec| spec.state = DesiredState::Running);
        case.list(JobState::Canceled);
        case.settle();
        assert_eq!(case.status.attempt, Some(2), "it is to run again");
        let mut case = cancelling(EDIT);
        case.edit(|spec| spec.state = DesiredState::Suspended);
        case.list(JobState::Canceled);
        case.settle();
        assert_eq!(told(&case.status), "Suspended/Suspended Ready=True Running=False");
    }
}
