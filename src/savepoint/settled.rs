//! It has come to an end: keep what is said of it true.

use std::time::Duration;

use super::{
    Observed, Plan, Usage, attempt, resolve, retention,
    verdict::{Standing, Verdict, stands},
};
use crate::{
    api::{ConditionStatus, ConditionType, Reason, SavepointPhase, SavepointStatus, condition},
    flink::is_same_place,
    job::after,
    plan::Next,
};

/// Flink's statistics are asked for the size for so long after the end.
const SIZE_WITHIN: Duration = Duration::from_secs(60);

/// The rule.
pub(super) fn rule(o: &Observed<'_>) -> Option<Plan> {
    match o.status.phase? {
        SavepointPhase::Completed => Some(retention::expire(o).unwrap_or_else(|| keep(o))),
        SavepointPhase::Failed | SavepointPhase::Abandoned => Some(stands(o, "settled/over")),
        SavepointPhase::Pending | SavepointPhase::InProgress | SavepointPhase::Disposing => None,
    }
}

/// It is there, and stays.
fn keep(o: &Observed<'_>) -> Plan {
    let told = condition::find(&o.status.conditions, ConditionType::Ready);
    let told = told.filter(|ready| ready.reason == Reason::Completed.as_str());
    let message = told.map_or("the savepoint is complete", |ready| ready.message.as_str());
    let mut status = o.status.clone();
    let (want, look) = size(o, &mut status);
    let mut plan = completed(o, "settled/keep", status, message);
    plan.wants.history = want;
    plan.next = [look, retention::expires(o)]
        .into_iter()
        .flatten()
        .min()
        .map_or(Next::OnChange, Next::At);
    plan
}

/// A status that says that the savepoint is there, and who needs it.
pub(super) fn completed(o: &Observed<'_>, rule: &'static str, mut status: SavepointStatus, message: &str) -> Plan {
    note_usage(&mut status, &o.usage);
    let verdict = Verdict::new(SavepointPhase::Completed, Standing::Reached, Reason::Completed, message);
    verdict.write(o, &mut status);
    verify(o, &mut status);
    Plan::with(rule, status)
}

/// Who needs it now. A job that took it over is remembered when it is gone.
pub(super) fn note_usage(status: &mut SavepointStatus, usage: &Usage) {
    status.used_by.clone_from(&usage.users);
    if status.claimed_by.is_none() {
        status.claimed_by.clone_from(&usage.claimed_by);
    }
}

/// Whether a job was ever restored from it. What was seen once stays true.
fn verify(o: &Observed<'_>, status: &mut SavepointStatus) {
    let before = condition::find(&status.conditions, ConditionType::Verified);
    let (value, message) = match (before, &o.usage.restored) {
        (Some(before), _) if before.status == ConditionStatus::True => (ConditionStatus::True, before.message.clone()),
        (_, Some(job)) => (ConditionStatus::True, format!("Flink restored {job} from it")),
        (_, None) => (ConditionStatus::Unknown, "not seen restored yet".to_owned()),
    };
    condition::set(
        &mut status.conditions,
        ConditionType::Verified,
        value,
        Reason::Completed,
        &message,
        o.meta.generation,
        o.now,
    );
}

/// Its size comes with the statistics, which are a few seconds behind: this process looks once, for its own savepoints.
fn size(o: &Observed<'_>, status: &mut SavepointStatus) -> (bool, Option<jiff::Timestamp>) {
    let (None, Some(path), Some(cluster)) = (o.status.size_bytes, &o.status.path, o.up()) else {
        return (false, None);
    };
    let own = |id| o.status.trigger_id == Some(id);
    let (Some(polled), Some(end)) = (&o.task.polled, o.status.completion_time) else {
        return (false, None);
    };
    if !own(polled.id) || o.now >= after(end, SIZE_WITHIN) {
        return (false, None);
    }
    let age = cluster.facts.statistics_age;
    match o.history {
        Some(history) if history.since_poll.is_some_and(|since| since >= age) => {
            let found: Option<attempt::Found> = resolve::completed(history, |other| is_same_place(path, other));
            status.size_bytes = found.and_then(|found| found.size);
            (false, None)
        }
        Some(_) | None => {
            let due = after(polled.at, age);
            (o.now >= due, Some(due.max(after(o.now, super::trigger::SOON))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::case::{Case, entry, location, seconds};
    use super::*;
    use crate::flink::SavepointStatus as Told;

    fn verified(case: &Case) -> (ConditionStatus, String) {
        let verified = condition::find(&case.status.conditions, ConditionType::Verified).unwrap();
        (verified.status, verified.message.clone())
    }

    #[test]
    fn who_needs_it_is_told_and_nothing_is_written_while_that_stays() {
        let mut case = Case::completed();
        case.usage.users = vec!["FlinkSessionJob/a".to_owned(), "FlinkSessionJob/b".to_owned()];
        let plan = case.persist("settled/keep");
        assert_eq!((case.status.used_by.len(), plan.notes.len()), (2, 0));
        case.wait(1000);
        case.still("settled/keep");
        case.usage.users.clear();
        case.persist("settled/keep");
        assert!(case.status.used_by.is_empty());
    }

    #[test]
    fn what_a_job_did_with_it_is_remembered_when_the_job_is_gone() {
        let mut case = Case::completed();
        assert_eq!(verified(&case).0, ConditionStatus::Unknown);
        case.usage.restored = Some("FlinkSessionJob/a".to_owned());
        case.usage.claimed_by = Some("FlinkSessionJob/a".to_owned());
        case.settle();
        let expected = (
            ConditionStatus::True,
            "Flink restored FlinkSessionJob/a from it".to_owned(),
        );
        assert_eq!(verified(&case), expected);
        assert!(!case.status.is_restorable());
        case.usage = Usage::default();
        case.still("settled/keep");
        case.usage.restored = Some("FlinkSessionJob/b".to_owned());
        case.usage.claimed_by = Some("FlinkSessionJob/b".to_owned());
        case.still("settled/keep");
        assert_eq!(case.status.claimed_by.as_deref(), Some("FlinkSessionJob/a"));
    }

    #[test]
    fn a_change_of_the_policy_is_noted_in_every_phase() {
        let mut failed = Case::accepted();
        failed.wait(600);
        failed.settle();
        for mut case in [Case::completed(), failed] {
            let before = (case.reads(), case.message().to_owned());
            case.policy(crate::api::savepoint::DisposalPolicy::Dispose);
            case.settle();
            assert_eq!((case.reads(), case.message().to_owned()), before);
            assert_eq!(case.status.observed_generation, case.generation);
        }
    }

    #[test]
    fn its_size_is_looked_up_once_the_statistics_can_show_it() {
        let complete = || {
            let mut case = Case::accepted();
            case.told(Ok(Told::Completed { location: location() }));
            case.settle();
            case.finalizer = false;
            case
        };
        let mut case = complete();
        let plan = case.still("settled/keep");
        assert_eq!((plan.wants.history, seconds(&case, &plan)), (false, Some(3)));
        case.wait(3);
        assert!(case.still("settled/keep").wants.history);
        case.looked(2, vec![entry(&location())]);
        case.still("settled/keep");
        case.looked(3, vec![entry("s3://b/x"), entry(&location())]);
        let plan = case.persist("settled/keep");
        assert_eq!((case.status.size_bytes, plan.notes.len()), (Some(4711), 0));
        assert_eq!(case.still("settled/keep").next, Next::OnChange);
        // It is not looked for again, nor by another process, nor later.
        let mut case = complete();
        case.wait(3);
        case.looked(3, Vec::new());
        assert!(!case.still("settled/keep").wants.history);
        let mut case = complete();
        case.task = super::super::Task::default();
        case.wait(3);
        assert!(!case.still("settled/keep").wants.history);
        let mut case = complete();
        case.wait(60);
        assert!(!case.still("settled/keep").wants.history);
    }
}
