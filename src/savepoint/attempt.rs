//! The end of an attempt: complete, failed, or not known; and what follows from it.

use std::{fmt::Write as _, time::Duration};

use jiff::Timestamp;

use super::{
    Observed, Plan, settled,
    trigger::is_of,
    verdict::{Standing, Verdict, tell},
};
use crate::{
    api::{
        Reason, SavepointPhase, SavepointStatus, condition,
        job::SavepointFormat,
        savepoint_status::{MAX_ABANDONED, TriggerIntent},
        state::MAX_PATH,
        status::Failure,
    },
    flink::{FailureKind, OperationFailure, StatePath},
    job::{Refusal, after},
};

/// The pause after the first failure; it doubles with each.
const BACK_OFF: Duration = Duration::from_secs(10);

/// The longest pause.
const LONGEST_BACK_OFF: Duration = Duration::from_secs(300);

/// Tasks that do not all run are tried again after a tenth of the time that has passed, but not sooner.
const SOONEST: Duration = Duration::from_secs(2);

/// And not later.
const LATEST: Duration = Duration::from_secs(30);

/// `CheckpointFailureReason.JOB_FAILOVER_REGION` and `CHECKPOINT_COORDINATOR_SUSPEND`: the job restarts.
const RESTARTING: [&str; 2] = ["FailoverRegion is restarting.", "Checkpoint Coordinator is suspending."];

/// A savepoint that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// Where.
    pub(super) path: String,
    /// Its size, where it is known.
    pub(super) size: Option<i64>,
    /// When it was complete, where that is known.
    pub(super) time: Option<Timestamp>,
}

/// Flink says that the savepoint is complete.
pub(super) fn arrived(o: &Observed<'_>, trigger: &TriggerIntent, location: &str) -> Plan {
    let found = Found {
        path: location.to_owned(),
        size: None,
        time: None,
    };
    if is_of(trigger, location) && location.len() <= MAX_PATH {
        return complete(o, "resolve/complete", &found);
    }
    let mut status = o.status.clone();
    abandon(&mut status, location);
    let message = format!(
        "Flink put the savepoint at {}, not into {} as it was told; nothing refers to it. Check what is between the \
         operator and the JobManager, and create another Savepoint",
        short(location),
        short(&trigger.directory)
    );
    end(o, "resolve/elsewhere", status, message, None)
}

fn short(path: &str) -> String {
    path.chars().take(400).collect()
}

/// The savepoint is there.
pub(super) fn complete(o: &Observed<'_>, rule: &'static str, found: &Found) -> Plan {
    let mut status = o.status.clone();
    let path = found.path.parse::<StatePath>();
    status.path = Some(path.map_or_else(|_| found.path.clone(), |path| path.to_string()));
    status.size_bytes = found.size;
    // Flink's clock may be another.
    let time = found.time.filter(|time| *time <= o.now);
    status.completion_time = Some(time.unwrap_or(o.now));
    status.failure = None;
    let intent = status.intent_mut();
    intent.trigger = None;
    intent.again = None;
    intent.waiting_since = None;
    settled::completed(o, rule, status, "the savepoint is complete")
}

/// Flink says that the savepoint failed.
pub(super) fn failed(o: &Observed<'_>, trigger: &TriggerIntent, failure: &OperationFailure) -> Plan {
    let root = failure.root_cause().map(ToString::to_string);
    let told = root.as_deref().unwrap_or("Flink gives no cause");
    let class = failure
        .root_cause()
        .map(|cause| cause.class.as_str())
        .unwrap_or_default();
    if failure.kind == FailureKind::TasksNotRunning
        && o.meta.deleting.is_none()
        && o.now < after(o.meta.created, o.spec.timeout())
    {
        return too_early(o);
    }
    // The task's own words do not come through (2.3.0): all that is told is that the job is being restarted.
    let broke = trigger.format == SavepointFormat::Canonical && RESTARTING.iter().any(|words| told.ends_with(words));
    let unsupported = broke || class == "java.lang.UnsupportedOperationException";
    let advice = match (&failure.kind, class) {
        (FailureKind::JobNotRunning, _) => "the job does not run on this JobManager any more",
        (FailureKind::TasksNotRunning, _) => "not all tasks of the job run",
        _ if unsupported => {
            "a task failed over it, which restarts the job, and not every job can write this format: create another Savepoint \
             with spec.trigger.format: Native"
        }
        (_, "java.io.IOException") => "check that the JobManager and all TaskManagers can write to the directory",
        _ => "the JobManager's log has more",
    };
    let message = format!("{}; {advice}", condition::bounded(told));
    let once_more = !unsupported;
    next(
        o,
        "resolve/failed",
        o.status.clone(),
        trigger,
        once_more,
        &message,
        root,
    )
}

/// Some tasks did not run, so that nothing was done: the job has just started, or is being restarted. That says nothing about
/// whether a savepoint can be taken.
fn too_early(o: &Observed<'_>) -> Plan {
    let elapsed = Duration::try_from(o.now.duration_since(o.meta.created)).unwrap_or_default();
    let again = after(o.now, (elapsed / 10).clamp(SOONEST, LATEST));
    let mut status = o.status.clone();
    let intent = status.intent_mut();
    intent.trigger = None;
    intent.again = Some(again);
    let message = "not all tasks of the job run yet; the savepoint is taken when they do";
    let refusal = Refusal::new(Reason::Restarting, message);
    tell(
        o,
        "resolve/too-early",
        status,
        Verdict::reconciling(SavepointPhase::Pending, refusal),
    )
    .at(again)
}

/// Flink refused the request, and knows nothing of it.
pub(super) fn refused(o: &Observed<'_>, trigger: &TriggerIntent, message: &str) -> Plan {
    let message = format!("Flink refused the request: {message}");
    next(o, "resolve/refused", o.status.clone(), trigger, true, &message, None)
}

/// Flink ignored the id that it was told to use, so that no request can be repeated, and no outcome found.
pub(super) fn not_repeatable(o: &Observed<'_>, trigger: &TriggerIntent) -> Plan {
    let mut status = o.status.clone();
    abandon(&mut status, &trigger.directory);
    let message = format!(
        "this version of Flink takes no trigger ids, so that a savepoint cannot be asked for exactly once; one may be in {}. \
         Use Flink 1.20 or newer",
        short(&trigger.directory)
    );
    end(o, "resolve/other-trigger", status, message, None)
}

/// Nobody knows what became of the attempt, and nobody will.
pub(super) fn forgotten(o: &Observed<'_>, trigger: &TriggerIntent) -> Plan {
    let mut status = o.status.clone();
    abandon(&mut status, &trigger.directory);
    let message = format!(
        "the JobManager was restarted, or has forgotten the outcome; if there is a savepoint, it is in {}",
        short(&trigger.directory)
    );
    next(o, "resolve/forgotten", status, trigger, true, &message, None)
}

/// The time for an attempt is over.
pub(super) fn timed_out(o: &Observed<'_>, trigger: &TriggerIntent) -> Plan {
    let mut status = o.status.clone();
    let mut message = format!("it was not complete within {}s", o.spec.timeout().as_secs());
    if o.task.unsent == Some(trigger.trigger_id) {
        message.push_str(", and was never sent");
    } else {
        abandon(&mut status, &trigger.directory);
        let _ = write!(
            message,
            "; if Flink completes it later, it is in {}",
            short(&trigger.directory)
        );
    }
    message.push_str(". Create another Savepoint, with a longer spec.trigger.timeout where it needs one");
    end(o, "resolve/timeout", status, message, None)
}

/// Nothing was sent, and what it was for has changed: back to waiting.
pub(super) fn dropped(o: &Observed<'_>) -> Plan {
    let mut status = o.status.clone();
    status.intent_mut().trigger = None;
    let message = "the job changed before Flink was asked; the savepoint is taken when it runs";
    let refusal = Refusal::new(Reason::WaitingForCluster, message);
    let verdict = Verdict::reconciling(SavepointPhase::Pending, refusal);
    tell(o, "resolve/dropped", status, verdict)
}

/// Keeps a directory in which there may be files that nobody uses.
fn abandon(status: &mut SavepointStatus, directory: &str) {
    let directory = directory.chars().take(MAX_PATH).collect();
    status.abandoned_paths.insert(0, directory);
    status.abandoned_paths.truncate(MAX_ABANDONED);
}

/// The attempt failed: another one is made later, or none.
fn next(
    o: &Observed<'_>,
    rule: &'static str,
    mut status: SavepointStatus,
    trigger: &TriggerIntent,
    once_more: bool,
    message: &str,
    root_cause: Option<String>,
) -> Plan {
    let failures = status.failures.unwrap_or_default().max(0).saturating_add(1);
    status.failures = Some(failures);
    let message = format!("attempt {} failed: {message}", trigger.attempt);
    if !once_more || failures > o.spec.backoff_limit() || o.meta.deleting.is_some() {
        return end(o, rule, status, message, root_cause);
    }
    let doublings = u32::try_from(failures.min(6) - 1).unwrap_or_default();
    let again = after(o.now, (BACK_OFF * 2_u32.pow(doublings)).min(LONGEST_BACK_OFF));
    fail(o, &mut status, &message, root_cause);
    let intent = status.intent_mut();
    intent.trigger = None;
    intent.again = Some(again);
    let told = condition::bounded(&message);
    let message = format!("tried again at {}; {told}", again.strftime("%H:%M:%SZ"));
    let refusal = Refusal::new(Reason::SavepointFailed, message);
    tell(o, rule, status, Verdict::reconciling(SavepointPhase::Pending, refusal)).at(again)
}

/// The Savepoint failed for good.
fn end(
    o: &Observed<'_>,
    rule: &'static str,
    mut status: SavepointStatus,
    message: String,
    root_cause: Option<String>,
) -> Plan {
    fail(o, &mut status, &message, root_cause);
    status.intent = None;
    let verdict = Verdict::new(
        SavepointPhase::Failed,
        Standing::Stalled,
        Reason::SavepointFailed,
        message,
    );
    tell(o, rule, status, verdict)
}

fn fail(o: &Observed<'_>, status: &mut SavepointStatus, message: &str, root_cause: Option<String>) {
    status.failure = Some(Failure {
        reason: Reason::SavepointFailed.to_string(),
        message: condition::bounded(message),
        time: Some(o.now),
        root_cause: root_cause.map(|cause| condition::bounded(&cause)),
    });
}

#[cfg(test)]
mod tests {
    use super::super::{
        TriggerOutcome,
        case::{Case, DIRECTORY, failure, location, refusal, seconds, start},
    };
    use super::*;
    use crate::{api::savepoint::DisposalPolicy, flink::SavepointStatus as Told};

    fn failed(case: &mut Case, kind: FailureKind, class: &str) {
        case.told(Ok(Told::Failed(failure(kind, class))));
        case.settle();
    }

    fn io(case: &mut Case) {
        failed(case, FailureKind::Other, "java.io.IOException");
    }

    #[test]
    fn a_savepoint_under_its_directory_is_complete() {
        for (location, path) in [
            (location(), location()),
            (format!("{DIRECTORY}//savepoint-2/"), format!("{DIRECTORY}/savepoint-2")),
        ] {
            let mut case = Case::accepted();
            case.wait(5);
            case.told(Ok(Told::Completed { location }));
            let plan = case.persist("resolve/complete");
            assert_eq!(case.reads(), "Completed/Completed Ready=True");
            let status = &case.status;
            assert_eq!(
                (status.path.as_ref(), status.completion_time),
                (Some(&path), Some(case.now))
            );
            assert_eq!((status.triggered(), &status.failure), (None, &None));
            assert_eq!(plan.notes.len(), 1);
        }
    }

    #[test]
    fn a_savepoint_elsewhere_is_a_failure_that_tells_both_paths() {
        for other in ["s3://bucket/savepoints/savepoint-1", DIRECTORY, "file:/x", "nowhere"] {
            let mut case = Case::accepted();
            let location = other.to_owned();
            case.told(Ok(Told::Completed { location }));
            case.persist("resolve/elsewhere");
            assert_eq!(case.reads(), "Failed/SavepointFailed Ready=False Stalled");
            assert!(
                case.message().contains(other) && case.message().contains(DIRECTORY),
                "{}",
                case.message()
            );
            assert_eq!(
                (case.status.path.as_ref(), &case.status.abandoned_paths[..]),
                (None, &[other.to_owned()][..])
            );
        }
    }

    #[test]
    fn failures_are_retried_later_and_later_up_to_the_limit() {
        let mut case = Case::accepted();
        case.set_trigger(|trigger| trigger.backoff_limit = Some(7));
        let mut pauses = Vec::new();
        for n in 1..=7 {
            io(&mut case);
            assert_eq!(case.reads(), "Pending/SavepointFailed Ready=False Reconciling");
            assert!(
                case.message()
                    .contains(&format!("attempt {n} failed: java.io.IOException: the root of it"))
            );
            let pause = seconds(&case, &case.still("pending/back-off")).unwrap();
            pauses.push(pause);
            case.wait(pause);
            case.persist("pending/intend");
            case.sent(TriggerOutcome::Accepted);
        }
        assert_eq!(pauses, [10, 20, 40, 80, 160, 300, 300]);
        io(&mut case);
        assert_eq!(case.reads(), "Failed/SavepointFailed Ready=False Stalled");
        let status = &case.status;
        assert_eq!(
            (status.failures, status.attempt, &status.intent),
            (Some(8), Some(8), &None)
        );
        let told = status.failure.as_ref().unwrap();
        assert_eq!(told.root_cause.as_deref(), Some("java.io.IOException: the root of it"));
        assert!(
            case.message().contains("can write to the directory"),
            "{}",
            case.message()
        );
        assert!(status.abandoned_paths.is_empty(), "Flink says that nothing is there");
    }

    #[test]
    fn the_default_is_three_retries_and_none_can_be_asked_for() {
        for (limit, attempts) in [(None, 4), (Some(0), 1), (Some(1), 2)] {
            let mut case = Case::accepted();
            case.set_trigger(|trigger| trigger.backoff_limit = limit);
            for _ in 1..attempts {
                io(&mut case);
                case.wait(300);
                case.persist("pending/intend");
                case.sent(TriggerOutcome::Accepted);
            }
            io(&mut case);
            assert_eq!(case.reads(), "Failed/SavepointFailed Ready=False Stalled", "{limit:?}");
            assert_eq!(case.status.failures, Some(attempts));
        }
    }

    // Each attempt restarts the job.
    #[test]
    fn a_format_that_the_job_cannot_write_is_not_tried_again() {
        let mut case = Case::accepted();
        failed(&mut case, FailureKind::Other, "java.lang.UnsupportedOperationException");
        assert_eq!(case.reads(), "Failed/SavepointFailed Ready=False Stalled");
        assert!(case.message().contains("format: Native"), "{}", case.message());
        // What 2.3.0 says when it happens.
        for (format, told, phase) in [
            (SavepointFormat::Canonical, RESTARTING[0], SavepointPhase::Failed),
            (SavepointFormat::Canonical, RESTARTING[1], SavepointPhase::Failed),
            (
                SavepointFormat::Canonical,
                "Checkpoint was declined.",
                SavepointPhase::Pending,
            ),
            (SavepointFormat::Native, RESTARTING[0], SavepointPhase::Pending),
        ] {
            let mut case = Case::new();
            case.set_trigger(|trigger| trigger.format = Some(format));
            case.finalizer = true;
            case.looked(0, Vec::new());
            case.settle();
            case.sent(TriggerOutcome::Accepted);
            let mut restarting = failure(FailureKind::Other, "x.CheckpointException");
            told.clone_into(&mut restarting.causes[1].message);
            case.told(Ok(Told::Failed(restarting)));
            case.settle();
            assert_eq!(
                (case.status.phase, case.status.failures),
                (Some(phase), Some(1)),
                "{format:?}"
            );
        }
        let mut case = Case::accepted();
        failed(&mut case, FailureKind::JobNotRunning, "x.FlinkJobNotFoundException");
        assert_eq!(case.reads(), "Pending/SavepointFailed Ready=False Reconciling");
    }

    #[test]
    fn tasks_that_do_not_all_run_yet_are_waited_for_as_long_as_an_attempt_may_take() {
        let mut case = Case::accepted();
        for (elapsed, pause) in [(1, 2), (60, 6), (500, 30)] {
            case.now = case.created + jiff::SignedDuration::from_secs(elapsed);
            case.told(Ok(Told::Failed(failure(
                FailureKind::TasksNotRunning,
                "x.CheckpointException",
            ))));
            let plan = case.persist("resolve/too-early");
            assert_eq!(case.reads(), "Pending/Restarting Ready=False Reconciling");
            assert_eq!((seconds(&case, &plan), case.status.failures), (Some(pause), None));
            assert_eq!(seconds(&case, &case.still("pending/back-off")), Some(pause));
            case.wait(pause);
            case.persist("pending/intend");
            case.sent(TriggerOutcome::Accepted);
        }
        assert_eq!(case.status.attempt, Some(4));
        case.now = case.created + jiff::SignedDuration::from_secs(600);
        case.told(Ok(Told::Failed(failure(
            FailureKind::TasksNotRunning,
            "x.CheckpointException",
        ))));
        case.persist("resolve/failed");
        assert_eq!(
            (case.reads().as_str(), case.status.failures),
            ("Pending/SavepointFailed Ready=False Reconciling", Some(1))
        );
        assert!(case.message().contains("not all tasks"), "{}", case.message());
    }

    #[test]
    fn an_attempt_is_not_waited_for_longer_than_its_timeout() {
        for (told, abandoned) in [(None, 1), (Some(Ok(Told::InProgress)), 1), (Some(Ok(Told::Unknown)), 1)] {
            let mut case = Case::accepted();
            case.set_trigger(|trigger| trigger.timeout = Some("1m".parse().unwrap()));
            case.wait(59);
            if let Some(told) = told {
                case.told(told);
            }
            let plan = case.settle();
            assert_eq!(seconds(&case, &plan), Some(1));
            case.wait(1);
            case.persist("resolve/timeout");
            assert_eq!(case.reads(), "Failed/SavepointFailed Ready=False Stalled");
            assert!(
                case.message().contains("within 60s") && case.message().contains(DIRECTORY),
                "{}",
                case.message()
            );
            assert_eq!(case.status.abandoned_paths.len(), abandoned);
        }
        // What is known is not given up.
        let mut case = Case::accepted();
        case.wait(600);
        case.told(Ok(Told::Completed { location: location() }));
        case.persist("resolve/complete");
        // What was never sent left nothing.
        let mut case = Case::triggered();
        case.task.unsent = Some(case.trigger().trigger_id);
        case.wait(600);
        case.persist("resolve/timeout");
        assert!(case.status.abandoned_paths.is_empty());
    }

    #[test]
    fn a_request_that_flink_refused_is_a_failure_unless_an_earlier_one_was_taken() {
        let mut case = Case::triggered();
        case.sent(TriggerOutcome::Refused("status 500: no".to_owned()));
        case.still("resolve/ask");
        let mut taken = case.clone();
        taken.told(Ok(Told::InProgress));
        taken.settle();
        assert_eq!(taken.reads(), "InProgress/InProgress Ready=False Reconciling");
        case.unknown();
        case.persist("resolve/refused");
        assert_eq!(case.reads(), "Pending/SavepointFailed Ready=False Reconciling");
        assert!(case.message().contains("status 500: no") && case.status.abandoned_paths.is_empty());
        let mut case = Case::triggered();
        case.sent(TriggerOutcome::OtherTrigger);
        case.persist("resolve/other-trigger");
        assert_eq!(case.reads(), "Failed/SavepointFailed Ready=False Stalled");
        assert_eq!(case.status.abandoned_paths, [DIRECTORY]);
    }

    #[test]
    fn what_is_deleted_is_not_tried_again() {
        let mut case = Case::accepted();
        case.delete(DisposalPolicy::Dispose);
        io(&mut case);
        assert_eq!(case.reads(), "Failed/SavepointFailed Ready=False Stalled");
        let mut case = Case::triggered();
        case.task.unsent = Some(case.trigger().trigger_id);
        case.delete(DisposalPolicy::Dispose);
        case.persist("resolve/dropped");
        case.still("delete/release");
    }

    #[test]
    fn only_the_newest_ten_directories_are_kept() {
        let mut case = Case::accepted();
        case.status.abandoned_paths = (0..10).map(|n| n.to_string()).collect();
        case.wait(600);
        case.persist("resolve/timeout");
        assert_eq!(case.status.abandoned_paths.len(), 10);
        assert_eq!(
            (
                case.status.abandoned_paths[0].as_str(),
                case.status.abandoned_paths[9].as_str()
            ),
            (DIRECTORY, "8")
        );
    }

    // The JobManager's clock may be ahead.
    #[test]
    fn a_time_to_come_is_not_believed() {
        let mut case = Case::accepted();
        let found = Found {
            path: location(),
            size: Some(1),
            time: Some(after(start(), Duration::from_secs(99))),
        };
        let plan = case.observed(|o| complete(o, "x", &found));
        assert_eq!(plan.status.completion_time, Some(case.now));
        case.wait(100);
        let plan = case.observed(|o| complete(o, "x", &found));
        assert_eq!(plan.status.completion_time, found.time);
        let _ = refusal(Reason::Completed);
    }
}
