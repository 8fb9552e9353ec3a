//! The restart policy: starting a job again that ended as FAILED, and restoring one that its JobManager lost.
//!
//! Apart from Flink's own restart strategy, which works inside one run. The budget is a window of one hour that slides;
//! when it is spent, a person has to act.

use std::time::Duration;

use jiff::Timestamp;

use super::{
    Observed, Plan,
    backoff::{after, before},
    idle,
    verdict::Verdict,
};
use crate::api::{
    JobStatus, Phase, Reason, condition,
    job::{OnLost, RestartType},
    status::RunOutcome,
};

/// The window of the budget.
const HOUR: Duration = Duration::from_secs(3600);

/// The pause before the first restart; each one of the last hour doubles it, up to five minutes.
const PAUSE: Duration = Duration::from_secs(5);

/// What the policy says of a job that ended by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Restart {
    /// It stays as it is.
    No,
    /// It is started again now.
    Now,
    /// It is started again at that time.
    At(Timestamp),
    /// It would be, and was too often.
    Exhausted,
}

/// Whether the start is the policy's, and not the user's.
pub(super) fn is_policys(o: &Observed<'_>, status: &JobStatus) -> bool {
    matches!(status.last_outcome(), Some(RunOutcome::Failed | RunOutcome::Lost)) && !idle::wanted(o, status)
}

/// What the policy says.
pub(super) fn restart(o: &Observed<'_>, status: &JobStatus) -> Restart {
    if !is_policys(o, status) {
        return Restart::No;
    }
    let policy = o.spec.restart_policy.as_ref();
    let told = |reason: Reason| {
        status
            .failure
            .as_ref()
            .is_some_and(|failure| failure.reason == reason.as_str())
    };
    let wanted = match status.last_outcome() {
        // A start whose state is missing would fail again.
        Some(RunOutcome::Failed) => {
            policy.and_then(|policy| policy.kind) == Some(RestartType::OnFailure) && !told(Reason::StateNotFound)
        }
        Some(RunOutcome::Lost) => {
            let restorable = status.latest_state().is_some_and(|latest| !latest.gone);
            let on_lost = policy.and_then(|policy| policy.on_lost).unwrap_or_default();
            restorable && on_lost == OnLost::Restore && told(Reason::JobLost)
        }
        _ => false,
    };
    if !wanted {
        return Restart::No;
    }
    let restarts = status.restarts.as_ref();
    let recent = restarts.map_or(0, |restarts| recent(&restarts.last_hour, o.now).count());
    let budget = policy.and_then(|policy| policy.max_restarts_per_hour).unwrap_or(-1);
    let spent = usize::try_from(budget).is_ok_and(|budget| recent >= budget);
    if spent || restarts.is_some_and(|restarts| restarts.exhausted) {
        return Restart::Exhausted;
    }
    let doublings = u32::try_from(recent.min(6)).unwrap_or_default();
    let pause = (PAUSE * 2_u32.pow(doublings)).min(Duration::from_secs(300));
    let ended = status.end_time.or(status.updated_at).unwrap_or(o.now).min(o.now);
    let due = restarts
        .and_then(|restarts| restarts.next_time)
        .unwrap_or_else(|| after(ended, pause));
    if o.now >= due { Restart::Now } else { Restart::At(due) }
}

fn recent(times: &[Timestamp], now: Timestamp) -> impl Iterator<Item = &Timestamp> {
    times.iter().filter(move |time| **time > before(now, HOUR))
}

/// Counts a start: the policy's into the budget; the user's opens a new one.
pub(super) fn count(o: &Observed<'_>, status: &mut JobStatus) {
    if is_policys(o, status) {
        let restarts = status.restarts.get_or_insert_default();
        restarts.total = restarts.total.saturating_add(1);
        let mut last_hour: Vec<Timestamp> = recent(&restarts.last_hour, o.now).copied().collect();
        last_hour.insert(0, o.now);
        last_hour.truncate(60);
        restarts.last_hour = last_hour;
        restarts.next_time = None;
    } else if let Some(restarts) = status.restarts.as_mut() {
        restarts.last_hour.clear();
        restarts.next_time = None;
        restarts.exhausted = false;
    }
}

/// The job waits for its restart.
pub(super) fn wait(o: &Observed<'_>, mut status: JobStatus, due: Timestamp) -> Plan {
    idle::take_over_live(o, &mut status);
    status.restarts.get_or_insert_default().next_time = Some(due);
    let why = status
        .failure
        .as_ref()
        .map_or("the job failed", |failure| failure.message.as_str());
    let message = condition::bounded(&format!(
        "{why}; it is started again at {} (restartPolicy)",
        due.strftime("%H:%M:%SZ")
    ));
    Verdict::reconciling(Phase::Restarting, Reason::Restarting, message).write(o, &mut status);
    Plan::with("restart/waits", status).at(due)
}

/// The budget is spent.
pub(super) fn exhausted(o: &Observed<'_>, mut status: JobStatus) -> Plan {
    idle::take_over_live(o, &mut status);
    let restarts = status.restarts.get_or_insert_default();
    restarts.exhausted = true;
    restarts.next_time = None;
    let many = restarts.last_hour.len();
    let why = status
        .failure
        .as_ref()
        .map_or("the job failed", |failure| failure.message.as_str());
    let message = condition::bounded(&format!(
        "restarted {many} times within an hour, which is all that restartPolicy.maxRestartsPerHour allows. Mend the cause, \
         then change spec.restartNonce. Last: {why}"
    ));
    Verdict::stalled(Phase::Failed, Reason::RestartsExhausted, message).write(o, &mut status);
    Plan::with("restart/exhausted", status)
}

#[cfg(test)]
mod tests {
    use super::super::case::{Case, told};
    use super::*;
    use crate::{
        api::{
            ConditionType,
            job::{RestartPolicy, UpgradeMode},
            status::Restarts,
        },
        flink::JobState,
    };

    const CHECKPOINT: &str = "s3://b/checkpoints/chk-7";
    const EXHAUSTED: &str = "Failed/RestartsExhausted Ready=False Stalled Running=False";

    fn policy(kind: Option<RestartType>, most: Option<i32>, on_lost: Option<OnLost>) -> RestartPolicy {
        RestartPolicy {
            kind,
            max_restarts_per_hour: most,
            on_lost,
            restore_from: None,
        }
    }

    /// A job with a checkpoint that Flink ended as FAILED just now, after restarts that many seconds ago.
    fn failed(policy: RestartPolicy, ago: &[i64]) -> Case {
        let mut case = Case::stateful(UpgradeMode::LastState, Some(CHECKPOINT));
        case.edit(|spec| spec.restart_policy = Some(policy));
        case.settle();
        case.status.restarts = Some(Restarts {
            total: 7,
            last_hour: ago
                .iter()
                .map(|ago| case.now - jiff::SignedDuration::from_secs(*ago))
                .collect(),
            ..Restarts::default()
        });
        case.ends(JobState::Failed);
        case
    }

    fn on_failure(most: Option<i32>) -> RestartPolicy {
        policy(Some(RestartType::OnFailure), most, None)
    }

    /// What becomes of it: `in N s`, `now`, `exhausted`, or `-`.
    fn next(case: &Case) -> String {
        let plan = case.decide();
        match (plan.rule, plan.next) {
            ("restart/waits", super::super::Next::At(time)) => {
                format!("in {} s", time.duration_since(case.now).as_secs())
            }
            ("start/intend", _) => "now".to_owned(),
            ("restart/exhausted", _) => "exhausted".to_owned(),
            ("idle/rest", _) => "-".to_owned(),
            _ => panic!("{plan:#?}"),
        }
    }

    #[test]
    fn each_restart_of_the_last_hour_doubles_the_pause_up_to_five_minutes() {
        let pauses = [5, 10, 20, 40, 80, 160, 300, 300, 300];
        for (restarts, pause) in pauses.into_iter().enumerate() {
            let mut case = failed(on_failure(None), &vec![600; restarts]);
            assert_eq!(next(&case), format!("in {pause} s"), "after {restarts}");
            assert_eq!(
                told(&case.status),
                "Restarting/Restarting Ready=False Reconciling Running=False"
            );
            case.wait(pause - 1);
            assert_eq!(next(&case), "in 1 s");
            case.wait(1);
            assert_eq!(next(&case), "now");
        }
    }

    #[test]
    fn who_waits_is_told_until_when_and_why_it_failed() {
        let mut case = failed(on_failure(None), &[600]);
        assert_eq!(next(&case), "in 10 s");
        let due = case.now + Duration::from_secs(10);
        case.settle();
        assert_eq!(
            case.status.restarts.as_ref().and_then(|restarts| restarts.next_time),
            Some(due)
        );
        let ready = condition::find(&case.status.conditions, ConditionType::Ready).unwrap();
        let words = format!("it is started again at {} (restartPolicy)", due.strftime("%H:%M:%SZ"));
        assert!(ready.message.ends_with(&words), "{}", ready.message);
        let why = case
            .status
            .failure
            .as_ref()
            .map_or("the job failed", |failure| &failure.message);
        assert!(ready.message.starts_with(why), "{}", ready.message);
    }

    #[test]
    fn the_pause_counts_from_the_end_and_another_process_does_not_begin_it_anew() {
        // Known a while after it happened.
        let mut case = Case::stateful(UpgradeMode::LastState, Some(CHECKPOINT));
        case.edit(|spec| spec.restart_policy = Some(on_failure(None)));
        case.settle();
        case.wait(60);
        case.ends(JobState::Failed);
        assert!(case.status.submission().is_some(), "it has waited long enough");
        let mut case = failed(on_failure(None), &[]);
        case.wait(3);
        case.task = super::super::Task::default();
        case.edit(|spec| spec.description = Some("x".to_owned()));
        case.settle();
        assert_eq!(next(&case), "in 2 s");
    }

    /// The budget is a window that slides.
    #[test]
    fn only_the_restarts_of_the_last_hour_count() {
        let rows: [(&str, Option<i32>, Vec<i64>, &str); 9] = [
            ("the first", Some(3), vec![], "in 5 s"),
            ("one is left", Some(3), vec![10, 20], "in 20 s"),
            ("none is left", Some(3), vec![10, 20, 30], "exhausted"),
            ("one, and it is spent", Some(1), vec![3599], "exhausted"),
            ("an hour later", Some(1), vec![3600], "in 5 s"),
            ("the oldest has left the window", Some(3), vec![10, 20, 3601], "in 20 s"),
            ("no limit said", None, vec![10; 60], "in 300 s"),
            ("no limit", Some(-1), vec![10; 60], "in 300 s"),
            (
                "those of earlier hours do not pause it either",
                None,
                vec![4000; 9],
                "in 5 s",
            ),
        ];
        for (row, most, ago, expected) in rows {
            assert_eq!(next(&failed(on_failure(most), &ago)), expected, "{row}");
        }
    }

    #[test]
    fn a_spent_budget_stays_spent_until_a_person_acts() {
        let mut case = failed(on_failure(Some(2)), &[10, 20]);
        assert_eq!(told(&case.status), EXHAUSTED);
        let ready = condition::find(&case.status.conditions, crate::api::ConditionType::Ready).unwrap();
        for words in ["2 times", "maxRestartsPerHour", "restartNonce", "IllegalStateException"] {
            assert!(ready.message.contains(words), "{}", ready.message);
        }
        case.wait(7200);
        case.edit(|spec| spec.restart_policy = Some(on_failure(Some(60))));
        case.settle();
        assert_eq!(told(&case.status), EXHAUSTED);
        case.edit(|spec| spec.restart_nonce = Some(1));
        case.persist("start/intend");
        let restarts = case.status.restarts.clone().unwrap();
        assert_eq!(
            (restarts.total, restarts.last_hour.len(), restarts.exhausted),
            (7, 0, false)
        );
    }

    #[test]
    fn a_start_by_the_policy_is_counted_and_one_by_a_person_opens_a_new_window() {
        let restarts = |case: &Case| {
            let restarts = case.status.restarts.clone().unwrap();
            assert_eq!(restarts.next_time, None);
            (restarts.total, restarts.last_hour.len())
        };
        let mut case = failed(on_failure(None), &[10, 4000]);
        case.wait(10);
        case.persist("start/intend");
        assert_eq!(restarts(&case), (8, 2), "what is older than an hour is forgotten");
        let newest = case.status.restarts.as_ref().unwrap().last_hour[0];
        assert_eq!(newest, case.now);
        let mut case = failed(on_failure(None), &[10; 60]);
        case.wait(300);
        case.persist("start/intend");
        assert_eq!(restarts(&case), (8, 60), "the list is bounded");
        let mut case = failed(on_failure(None), &[10]);
        case.edit(|spec| spec.job.args.clear());
        case.persist("start/intend");
        assert_eq!(restarts(&case), (7, 0));
    }

    #[test]
    fn what_ended_otherwise_or_has_no_policy_is_left_as_it_is() {
        for kind in [None, Some(RestartType::Never)] {
            assert_eq!(next(&failed(policy(kind, None, None), &[])), "-", "{kind:?}");
        }
        for state in [JobState::Finished, JobState::Canceled] {
            let mut case = Case::stateful(UpgradeMode::LastState, Some(CHECKPOINT));
            case.edit(|spec| spec.restart_policy = Some(on_failure(None)));
            case.settle();
            case.ends(state);
            assert_eq!(next(&case), "-", "{state}");
        }
        // A start whose state is missing would fail again.
        let mut case = failed(policy(None, None, None), &[]);
        case.status.failure.as_mut().unwrap().reason = Reason::StateNotFound.to_string();
        case.edit(|spec| spec.restart_policy = Some(on_failure(None)));
        assert_eq!(next(&case), "-");
    }

    /// A job that its cluster lost: the JobManager was replaced, or has forgotten it.
    fn lost(on_lost: Option<OnLost>, checkpoint: Option<&str>, replaced: bool) -> Case {
        let mut case = Case::stateful(UpgradeMode::LastState, checkpoint);
        case.edit(|spec| spec.restart_policy = on_lost.map(|on_lost| policy(None, Some(2), Some(on_lost))));
        case.settle();
        case.jobs.clear();
        if replaced {
            case.replace();
        }
        case.confirmed = true;
        case
    }

    #[test]
    fn a_job_that_was_lost_is_restored_when_there_is_something_to_restore_it_from() {
        use OnLost::{Fail, Restore};
        let rows: Vec<(&str, Case, &str, &str)> = vec![
            (
                "not said",
                lost(None, Some(CHECKPOINT), true),
                "in 5 s",
                "Restarting/Restarting",
            ),
            (
                "Restore",
                lost(Some(Restore), Some(CHECKPOINT), true),
                "in 5 s",
                "Restarting/Restarting",
            ),
            ("Fail", lost(Some(Fail), Some(CHECKPOINT), true), "-", "Lost/JobLost"),
            (
                "nothing was recorded",
                lost(Some(Restore), None, true),
                "-",
                "Lost/JobLost",
            ),
            (
                "what was recorded is gone",
                {
                    let mut case = lost(Some(Restore), Some(CHECKPOINT), true);
                    case.status.state_mut().latest.as_mut().unwrap().gone = true;
                    case
                },
                "-",
                "Lost/JobLost",
            ),
            (
                "it may have ended with success",
                lost(Some(Restore), Some(CHECKPOINT), false),
                "-",
                "Lost/ResultUnknown",
            ),
        ];
        for (row, mut case, expected, phase) in rows {
            case.settle();
            assert_eq!(next(&case), expected, "{row}");
            assert!(told(&case.status).starts_with(phase), "{row}: {}", told(&case.status));
        }
    }

    #[test]
    fn what_is_restored_after_a_loss_is_counted_like_any_restart() {
        let mut case = lost(None, Some(CHECKPOINT), true);
        case.settle();
        case.wait(5);
        let plan = case.persist("start/intend");
        let submission = plan.status.submission().unwrap();
        let path = submission.restore.as_ref().map(|restore| restore.path.as_str());
        assert_eq!(path, Some(CHECKPOINT));
        let restarts = case.status.restarts.as_ref().unwrap();
        assert_eq!((restarts.total, restarts.last_hour.len()), (1, 1));
        // What restarts after a failure take is not meant for it.
        let mut case = lost(Some(OnLost::Restore), Some(CHECKPOINT), true);
        let policy = case.spec.restart_policy.as_mut().unwrap();
        policy.restore_from = Some(crate::api::job::RestartFrom::None);
        case.settle();
        case.wait(5);
        let plan = case.persist("start/intend");
        assert!(plan.status.submission().unwrap().restore.is_some());
        let mut case = lost(Some(OnLost::Restore), Some(CHECKPOINT), true);
        case.status.restarts = Some(Restarts {
            last_hour: vec![case.now; 2],
            ..Restarts::default()
        });
        case.settle();
        assert_eq!(told(&case.status), EXHAUSTED);
    }
}
