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
