//! What a stop with savepoint left: the savepoint on record, the job's end, and what is not known of either.

use std::time::Duration;

use jiff::Timestamp;

use super::{
    Input, JobSeen, Observed, Plan, Wants,
    backoff::after,
    cancel, decide, follow, ledger, restore, start,
    stop::{attention, describe, found, purpose},
};
use crate::{
    api::{
        JobStatus, Reason,
        intent::{CancelPurpose, KeepIntent, StopIntent},
        state::{MAX_PATH, RestorePoint, Resume, StateKind},
        status::RunOutcome,
    },
    flink::lies_under,
};

/// After its savepoint a job may take this long to end before it is cancelled.
const END: Duration = Duration::from_secs(30);

/// The savepoint is complete: it goes on record before anything else.
pub(super) fn taken(o: &Observed<'_>, intent: &StopIntent, job: &JobSeen, location: &str) -> Plan {
    if !lies_under(location, &intent.directory) || location.chars().count() > MAX_PATH {
        let message = format!(
            "Flink says that the savepoint is at {location}, which is not under {}, as it was asked for; it is not used \
             without a person's word. {}",
            intent.directory,
            restore::CHOOSE
        );
        return unknown(o, intent, Some(job), &message);
    }
    let mut status = o.status.clone();
    let attempt = status.attempt.unwrap_or(1);
    let name = format!("{}-{attempt}-{}", o.meta.name, origin(intent.purpose));
    let point = RestorePoint {
        kind: StateKind::Savepoint,
        path: location.to_owned(),
        job_id: Some(intent.job_id),
        time: Some(o.now),
        savepoint_ref: None,
        gone: false,
    };
    ledger::stopped(&mut status, point, intent.job_id);
    let records = status.intent_mut();
    records.keep = Some(KeepIntent {
        name,
        path: location.to_owned(),
        job_id: intent.job_id,
        purpose: intent.purpose,
        format: intent.format,
        time: o.now,
    });
    if !job.is_live() {
        return close(o, status, intent, Some(job));
    }
    if let Some(stop) = records.stop.as_mut() {
        stop.location = Some(location.to_owned());
        stop.due = Some(after(o.now, END));
    }
    describe(
        o,
        &mut status,
        purpose(o, intent),
        "the savepoint is complete; waits for the job's end",
    );
    Plan::with("stop/taken", status).want(attention())
}

/// The word for why a savepoint was made, in names and labels.
#[must_use]
pub const fn origin(purpose: CancelPurpose) -> &'static str {
    match purpose {
        CancelPurpose::Upgrade => "upgrade",
        CancelPurpose::Suspend => "suspend",
        CancelPurpose::Cancel | CancelPurpose::Delete | CancelPurpose::Stray => "deletion",
    }
}

/// The savepoint is on record; the job has ended, or is about to.
pub(super) fn end_of_job(o: &Observed<'_>, intent: &StopIntent, job: &JobSeen, due: Option<Timestamp>) -> Plan {
    if !job.is_live() {
        return close(o, o.status.clone(), intent, Some(job));
    }
    let due = due.unwrap_or(o.now);
    if o.now < due {
        return Plan::keep("stop/ending", o.status).want(attention()).at(due);
    }
    // It hangs in its end. All that it had is in the savepoint.
    let mut status = o.status.clone();
    let purpose = purpose(o, intent);
    cancel::intend(o, &mut status, job.id, purpose);
    cancel::describe(o, &mut status, purpose, None);
    Plan::with("stop/hangs", status).want(attention())
}

/// The stop is over: the run is closed, and what comes next is decided.
pub(super) fn close(o: &Observed<'_>, mut status: JobStatus, intent: &StopIntent, job: Option<&JobSeen>) -> Plan {
    status.intent_mut().stop = None;
    if let Some(run) = status.runs.first_mut().filter(|run| run.job_id == intent.job_id) {
        run.outcome = Some(ledger::outcome(purpose(o, intent)));
        run.end_time = job.and_then(|job| job.end_time);
    }
    status.end_time = job.and_then(|job| job.end_time);
    status.flink_state = job.map(|job| job.state.to_string());
    ledger::last_state(&mut status);
    decide::go_on(o, status, "stop/closed")
}

/// The job has ended, and Flink does not say that the stop was a success. Its last savepoints tell.
pub(super) fn ended(o: &Observed<'_>, intent: &StopIntent, job: &JobSeen) -> Plan {
    if let Some(location) = found(o, intent) {
        return taken(o, intent, job, location);
    }
    match &o.state {
        Input::Ready(seen) if seen.job_id == intent.job_id && seen.last => {
            // It ended by itself, before the savepoint was complete.
            let mut status = o.status.clone();
            status.intent_mut().stop = None;
            follow::follow(o, status)
        }
        Input::Refused(refusal) => {
            let message = format!(
                "the job has ended, and it cannot be known whether its savepoint under {} was complete: {}. {}",
                intent.directory,
                refusal.message,
                restore::CHOOSE
            );
            unknown(o, intent, Some(job), &message)
        }
        Input::Ready(_) | Input::Pending | Input::Retrying(_) => Plan::keep("stop/look", o.status).want(Wants {
            state: true,
            ..attention()
        }),
    }
}

/// The job is provably not there any more: the JobManager went away in the middle of the stop.
pub(super) fn vanished(o: &Observed<'_>, intent: &StopIntent) -> Plan {
    if intent.location.is_some() {
        return close(o, o.status.clone(), intent, None);
    }
    let unsent = o.task.stop_unsent == Some(intent.trigger_id);
    if unsent || intent.due.is_some() {
        // Nothing was sent, or it had failed: an ordinary loss.
        let mut status = o.status.clone();
        status.intent_mut().stop = None;
        return follow::follow(o, status);
    }
    let message = format!(
        "the JobManager went away while the job was being stopped, and it cannot be known whether its savepoint under {} was \
         complete. Look there for a folder with _metadata. {}",
        intent.directory,
        restore::CHOOSE
    );
    unknown(o, intent, None, &message)
}

/// The run is over, and its newest state is not known.
pub(super) fn unknown(o: &Observed<'_>, intent: &StopIntent, job: Option<&JobSeen>, message: &str) -> Plan {
    let mut status = o.status.clone();
    ledger::ended(&mut status, Resume::Unknown);
    start::fail(&mut status, o, Reason::StateUnknown, message);
    let mut plan = close(o, status, intent, job);
    if job.is_none()
        && let Some(run) = plan.status.runs.first_mut().filter(|run| run.job_id == intent.job_id)
    {
        run.outcome = Some(RunOutcome::Lost);
    }
    plan
}
