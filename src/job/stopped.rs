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

#[cfg(test)]
mod tests {
    use super::super::{
        StateSeen, StopAnswer, StopSeen,
        case::{Case, effect, refusal, told},
    };
    use super::*;
    use crate::{
        api::{
            job::{DesiredState, UpgradeMode},
            state::CheckpointRetention,
        },
        flink::JobState,
    };

    const SUSPENDED: &str = "Suspended/Suspended Ready=True Running=False";
    const CHECKPOINT: &str = "s3://b/checkpoints/chk-7";

    /// A job with a checkpoint that is stopped with a savepoint, to be suspended.
    fn stopping() -> Case {
        let mut case = Case::stateful(UpgradeMode::Savepoint, Some(CHECKPOINT));
        case.edit(|spec| spec.state = DesiredState::Suspended);
        case.persist("stop/intend");
        case.task.stop_unsent = None;
        case
    }

    /// The history of checkpoints was read after the job's end, with these savepoints in it.
    fn looked(case: &mut Case, savepoints: Vec<String>) {
        case.read(CheckpointRetention::Retained, None);
        if let Input::Ready(seen) = &mut case.state {
            *seen = StateSeen {
                savepoints,
                last: true,
                ..seen.clone()
            };
        }
    }

    /// Everything that is known of a stop whose job is not listed as live any more.
    fn over(known: impl FnOnce(&mut Case)) -> Case {
        let mut case = stopping();
        known(&mut case);
        case.confirmed = true;
        let plan = case.settle();
        if effect(&plan) == "Keep" {
            case.turn(&plan);
            case.confirmed = true;
            case.settle();
        }
        case
    }

    fn gone(case: &mut Case) {
        case.jobs.clear();
        case.replace();
    }

    /// The run's outcome, what the next start takes, the state on record, and what people read.
    fn left(case: &Case) -> String {
        assert_eq!(case.status.stop(), None);
        let latest = case.status.latest_state().map_or("-", |latest| &latest.path);
        let latest = latest.rsplit('/').next().unwrap_or_default();
        let resume = case
            .status
            .resume()
            .map_or_else(|| "-".to_owned(), |resume| format!("{resume:?}"));
        let phase = told(&case.status);
        let phase = phase.split(' ').next().unwrap_or_default();
        format!("{:?} {resume} {latest} {phase}", case.status.last_outcome().unwrap())
    }

    /// Each outcome of a stop, by what is known of it.
    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn what_a_stop_leaves() {
        type Known = fn(&mut Case);
        let known = "Suspended Latest savepoint-1 Suspended/Suspended";
        let unknown = "Suspended Unknown chk-7 Suspended/Suspended";
        let lost = "Lost Unknown chk-7 Suspended/Suspended";
        let rows: Vec<(&str, Known, &str)> = vec![
            (
                "complete, the job has finished",
                |case| {
                    case.hear(StopSeen::Taken(case.location()));
                    case.list(JobState::Finished);
                },
                known,
            ),
            (
                "complete, the job failed at its very end",
                |case| {
                    case.hear(StopSeen::Taken(case.location()));
                    case.list(JobState::Failed);
                },
                known,
            ),
            (
                "complete while the job ran, which is gone since",
                |case| {
                    case.hear(StopSeen::Taken(case.location()));
                    case.persist("stop/taken");
                    gone(case);
                },
                known,
            ),
            (
                "complete while the job ran, which was cancelled by somebody since",
                |case| {
                    case.hear(StopSeen::Taken(case.location()));
                    case.persist("stop/taken");
                    case.list(JobState::Canceled);
                },
                known,
            ),
            (
                "failed, but the savepoint is in the history",
                |case| {
                    case.hear(StopSeen::Failed("no".to_owned()));
                    case.list(JobState::Failed);
                    let location = case.location();
                    looked(case, vec!["s3://b/other".to_owned(), location]);
                },
                known,
            ),
            (
                "forgotten, but the savepoint is in the history",
                |case| {
                    case.hear(StopSeen::Unknown);
                    case.list(JobState::Finished);
                    let location = case.location();
                    looked(case, vec![location]);
                },
                known,
            ),
            (
                "failed with the job, and no savepoint is in the history",
                |case| {
                    case.hear(StopSeen::Failed("no".to_owned()));
                    case.list(JobState::Failed);
                    looked(case, Vec::new());
                },
                "Failed - chk-7 Suspended/Suspended",
            ),
            (
                "forgotten, and no savepoint is in the history",
                |case| {
                    case.hear(StopSeen::Unknown);
                    case.list(JobState::Failed);
                    looked(case, Vec::new());
                },
                "Failed - chk-7 Suspended/Suspended",
            ),
            (
                "forgotten, and so is the history",
                |case| {
                    case.hear(StopSeen::Unknown);
                    case.list(JobState::Finished);
                    case.state = Input::Refused(refusal(Reason::StateUnknown));
                },
                unknown,
            ),
            (
                "complete at a place that nobody asked for",
                |case| {
                    case.hear(StopSeen::Taken("s3://b/other/savepoint-1".to_owned()));
                    case.list(JobState::Finished);
                },
                unknown,
            ),
            (
                "complete at a place that is too long",
                |case| {
                    let location = format!("{}{}", case.location(), "x".repeat(MAX_PATH));
                    case.hear(StopSeen::Taken(location));
                    case.list(JobState::Finished);
                },
                unknown,
            ),
            (
                "accepted, and the job is gone",
                |case| {
                    let id = case.status.stop().unwrap().trigger_id;
                    case.task.stop_sent = Some((id, case.now, StopAnswer::Accepted));
                    gone(case);
                },
                lost,
            ),
            ("written down by another process, and the job is gone", gone, lost),
            (
                "not sent, and the job is gone",
                |case| {
                    case.task.stop_unsent = Some(case.status.stop().unwrap().trigger_id);
                    gone(case);
                },
                "Lost - chk-7 Suspended/Suspended",
            ),
            (
                "failed and to be tried again, and the job is gone",
                |case| {
                    case.hear(StopSeen::Failed("no".to_owned()));
                    case.confirmed = true;
                    case.persist("stop/failed");
                    gone(case);
                },
                "Lost - chk-7 Suspended/Suspended",
            ),
        ];
        for (row, known, expected) in rows {
            assert_eq!(left(&over(known)), expected, "{row}");
        }
    }

    /// A job whose newest state is not known is not started by itself, and people are told where to look.
    #[test]
    fn what_is_not_known_is_for_a_person_to_decide() {
        let mut case = over(gone);
        let directory = stopping().status.stop().unwrap().directory.clone();
        case.edit(|spec| spec.state = DesiredState::Running);
        case.settle();
        assert_eq!(
            told(&case.status),
            "Lost/StateUnknown Ready=False Stalled Running=False"
        );
        let failure = case.status.failure.clone().unwrap();
        assert!(
            failure.message.contains(&directory) && failure.message.contains("restore.nonce"),
            "{}",
            failure.message
        );
        case.edit(|spec| spec.restart_nonce = Some(1));
        case.settle();
        assert_eq!(
            told(&case.status),
            "Failed/StateUnknown Ready=False Stalled Running=False"
        );
    }

    #[test]
    fn a_job_has_half_a_minute_to_end_after_its_savepoint() {
        let mut case = stopping();
        case.hear(StopSeen::Taken(case.location()));
        case.persist("stop/taken");
        assert_eq!(
            told(&case.status),
            "Suspending/Suspended Ready=False Reconciling Running=True"
        );
        let keep = case.still("keep/create");
        case.turn(&keep);
        case.settle();
        case.wait(29);
        let plan = case.still("stop/ending");
        let due = case.now + jiff::SignedDuration::from_secs(1);
        assert_eq!(plan.next, super::super::Next::At(due));
        case.wait(1);
        case.persist("stop/hangs");
        assert_eq!(effect(&case.still("cancel/send")), "Cancel");
        case.list(JobState::Canceled);
        case.settle();
        assert_eq!(told(&case.status), SUSPENDED);
        assert_eq!(left(&case), "Suspended Latest savepoint-1 Suspended/Suspended");
    }

    #[test]
    fn the_end_is_looked_at_until_the_history_is_the_last() {
        let mut case = stopping();
        case.hear(StopSeen::Unknown);
        case.list(JobState::Finished);
        for state in [
            Input::Pending,
            Input::Retrying(refusal(Reason::ClusterUnreachable)),
            Input::Ready(case.stateless()),
        ] {
            case.state = state;
            assert!(case.still("stop/look").wants.state);
        }
    }

    #[test]
    fn the_run_tells_when_it_ended_and_where_its_state_is() {
        let mut case = stopping();
        let location = case.location();
        case.hear(StopSeen::Taken(location.clone()));
        case.list(JobState::Finished);
        case.persist("idle/settled");
        let run = &case.status.runs[0];
        assert_eq!(run.last_state.as_ref(), Some(&location));
        assert!(run.end_time.is_some());
        assert_eq!(case.status.flink_state.as_deref(), Some("FINISHED"));
        assert!(case.status.state.as_ref().unwrap().checkpointing.as_ref().unwrap().last);
    }
}
