//! Properties of the decision that hold for any resource in any world, and for all that the driver makes of it.
//!
//! They are stated from the outside: by what is observed and what is planned, not by the rule that planned it.

mod attempts;
mod state;

use std::collections::BTreeSet;

use jiff::SignedDuration;
use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};

use super::{
    Effect, JobSeen, Next, RetryWindow, Session, SubmitOutcome,
    anything::anything,
    case::{Case, INSTALLATION, Reach, UID},
    change::{self, Change},
};
use crate::{
    api::{
        ConditionStatus, ConditionType, JobStatus, Phase, Reason,
        condition::{self, MAX_MESSAGE},
        intent::{CancelPurpose, SubmitIntent},
        job::{DeletionType, DesiredState, UpgradeMode},
        state::CheckpointRetention,
    },
    driving::{config, deeds, done, turns},
    flink::{JobId, UidHash},
};

fn is_up(seen: &Case) -> bool {
    matches!(seen.reach, Reach::Up)
}

fn is_foreign(seen: &Case) -> bool {
    let owner = seen.status.intent.as_ref().and_then(|intent| intent.owner.as_ref());
    owner.is_some_and(|owner| *owner != INSTALLATION.to_string())
}

fn listed(seen: &Case, id: JobId) -> Option<&JobSeen> {
    seen.jobs.iter().find(|job| is_up(seen) && job.id == id)
}

/// The live jobs with the mark of the resource.
fn marked(seen: &Case) -> impl Iterator<Item = JobId> {
    let owner = UidHash::of(UID);
    let live = seen.jobs.iter().filter(|job| is_up(seen) && job.is_live());
    live.map(|job| job.id).filter(move |id| id.owner() == owner)
}

fn live_run(status: &JobStatus) -> Option<JobId> {
    status.live_run().map(|run| run.job_id)
}

fn submission(status: &JobStatus) -> Option<JobId> {
    status.submission().map(|intent| intent.job_id)
}

/// How the last try ended, as far as this process knows.
fn outcome<'s>(seen: &'s Case, intent: &SubmitIntent) -> Option<&'s SubmitOutcome> {
    let (id, tries, outcome) = seen.task.submitted.as_ref()?;
    ((*id, *tries) == (intent.job_id, intent.tries)).then_some(outcome)
}

/// No try of the submission reached Flink, or none of them was answered by starting what was asked for.
fn is_harmless(seen: &Case, intent: &SubmitIntent) -> bool {
    if seen.task.running {
        return false;
    }
    let first = intent.earlier_unresolved.is_none();
    match outcome(seen, intent) {
        Some(SubmitOutcome::OtherJob(_)) => true,
        Some(SubmitOutcome::NotSent(_) | SubmitOutcome::JarMissing) => first,
        Some(
            SubmitOutcome::Accepted | SubmitOutcome::Duplicate | SubmitOutcome::Rejected(_) | SubmitOutcome::Unknown(_),
        ) => false,
        None => first && seen.task.unsent == Some((intent.job_id, intent.tries)),
    }
}

/// Whether a request for the submission may start its job from now on, as far as anybody can know.
fn may_start(seen: &Case, intent: &SubmitIntent) -> bool {
    if seen.task.running {
        return true;
    }
    let answered = match outcome(seen, intent) {
        // Flink knows the JobID, or takes none.
        Some(SubmitOutcome::Accepted | SubmitOutcome::Duplicate | SubmitOutcome::OtherJob(_)) => return false,
        Some(SubmitOutcome::Unknown(_)) => false,
        Some(_) => true,
        None => seen.task.unsent == Some((intent.job_id, intent.tries)),
    };
    let until = if answered {
        intent.earlier_unresolved
    } else {
        Some(intent.unresolved)
    };
    let weak = matches!(seen.window, RetryWindow::Closed(_));
    let replaced = is_up(seen) && seen.job_manager.is_some_and(|now| now != intent.job_manager);
    until.is_some_and(|until| seen.now <= until) && (weak || !replaced)
}

/// Whether nothing that was started for this resource can be running, now and later.
fn is_over(seen: &Case) -> bool {
    let ended = |id| listed(seen, id).is_some_and(|job| !job.is_live());
    let run = live_run(&seen.status).is_none_or(|id| ended(id) || (is_up(seen) && seen.confirmed));
    let submitted = seen.status.submission().is_none_or(|intent| {
        let harmless = is_harmless(seen, intent) || (is_up(seen) && seen.confirmed && !may_start(seen, intent));
        ended(intent.job_id) || (harmless && listed(seen, intent.job_id).is_none())
    });
    let cancelled = seen.status.cancellation();
    let cancelled = cancelled.is_none_or(|cancel| ended(cancel.job_id) || (is_up(seen) && seen.confirmed));
    run && submitted && cancelled
}

fn is(status: &JobStatus, kind: ConditionType) -> bool {
    condition::find(&status.conditions, kind).is_some_and(|c| c.status == ConditionStatus::True)
}

// The rules and effects that three thousand cases reach, always the same ones.
#[test]
fn every_kind_of_decision_is_tried() {
    let mut runner = TestRunner::deterministic();
    let mut rules = BTreeSet::new();
    let mut effects = [0; 8];
    for _ in 0..3000 {
        for (seen, plan) in turns(anything().new_tree(&mut runner).unwrap().current()) {
            rules.insert(plan.rule);
            let n = match done(&seen, &plan) {
                Some(Effect::Submit(_)) => 0,
                Some(Effect::Cancel(_)) => 1,
                Some(Effect::Release(_)) => 2,
                Some(Effect::AddFinalizer) => 3,
                Some(Effect::RemoveFinalizer) => 4,
                Some(Effect::Stop(_)) => 5,
                Some(Effect::Keep(_)) => 6,
                Some(Effect::Schedule(_)) => 7,
                None => continue,
            };
            effects[n] += 1;
        }
    }
    assert!(effects.iter().all(|n| *n >= 3), "{effects:?}");
    assert!(rules.len() >= 50, "{} {rules:?}", rules.len());
}

proptest! {
    #![proptest_config(config())]

    // A savepoint that is to become a resource is created and taken off the record first.
    #[test]
    fn the_driver_comes_to_rest_within_six_turns_and_takes_nothing_back(case in anything()) {
        let most = if case.status.keep().is_some() { 9 } else { 7 };
        let turns = turns(case);
        let rules: Vec<_> = turns.iter().map(|(_, plan)| plan.rule).collect();
        prop_assert!(turns.len() <= most, "{:?}", rules);
        let written = turns.iter().filter(|(seen, plan)| plan.status != seen.status);
        let written: Vec<_> = turns.iter().take(1).map(|(seen, _)| &seen.status).chain(written.map(|(_, plan)| &plan.status)).collect();
        let again = written.iter().enumerate().any(|(n, status)| written.iter().take(n).any(|before| before == status));
        prop_assert!(!again, "it goes back and forth: {:?}", rules);
    }

    // Who drives a resource that is not ours is told each time the resource is looked at; one such Event is kept.
    #[test]
    fn a_driver_at_rest_is_silent(case in anything()) {
        let (seen, plan) = turns(case).pop().unwrap();
        prop_assert_eq!(&plan.status, &seen.status);
        prop_assert_eq!(&plan.effect, &None);
        prop_assert!(plan.notes.is_empty() || is_foreign(&seen), "{:?}", plan.notes);
        if let Next::At(time) = plan.next {
            prop_assert!(time > seen.now || seen.now == jiff::Timestamp::MAX, "{} is not to come", time);
        }
    }

    #[test]
    fn a_driver_that_waits_for_a_change_misses_nothing_by_sleeping(case in anything(), pause in 1..10_000_000_i64) {
        let (mut seen, plan) = turns(case).pop().unwrap();
        if plan.next == Next::OnChange {
            let Ok(later) = seen.now.checked_add(SignedDuration::from_millis(pause)) else { return Ok(()) };
            seen.now = later;
            let then = seen.decide();
            prop_assert_eq!(&then.status, &seen.status, "{} writes", then.rule);
            prop_assert_eq!(then.effect, plan.effect);
        }
    }

    #[test]
    fn another_installations_resource_is_left_alone(mut case in anything()) {
        case.status.intent_mut().owner = Some("ffffffff".to_owned());
        let plan = case.decide();
        prop_assert_eq!(&plan.status, &case.status);
        prop_assert_eq!((plan.effect, plan.wants), (None, super::Wants::default()));
    }

    #[test]
    fn every_write_says_how_the_generation_stands_in_bounded_words(case in anything()) {
        for (seen, plan) in turns(case) {
            let (old, new) = (&seen.status, &plan.status);
            if old == new {
                continue;
            }
            prop_assert_eq!(new.observed_generation, seen.generation, "{}", plan.rule);
            prop_assert!(!(is(new, ConditionType::Reconciling) && is(new, ConditionType::Stalled)), "{}", plan.rule);
            if is(new, ConditionType::Ready) {
                prop_assert!(!is(new, ConditionType::Reconciling) && !is(new, ConditionType::Stalled), "{}", plan.rule);
                let settled = [Phase::Draft, Phase::Running, Phase::Suspended, Phase::Cancelled, Phase::Finished];
                prop_assert!(new.phase.is_some_and(|phase| settled.contains(&phase)), "{}: {:?}", plan.rule, new.phase);
            }
            for c in &new.conditions {
                let before = condition::find(&old.conditions, c.r#type).filter(|before| before.status == c.status);
                let since = before.map_or(seen.now, |before| before.last_transition_time);
                prop_assert_eq!(c.last_transition_time, since, "{:?} by {}", c.r#type, plan.rule);
                prop_assert!(c.message.len() <= MAX_MESSAGE, "{}: {}", plan.rule, c.message.len());
            }
            let told = new.failure.iter().flat_map(|failure| [Some(&failure.message), failure.root_cause.as_ref()]);
            prop_assert!(told.flatten().all(|text| text.len() <= MAX_MESSAGE), "{}", plan.rule);
            prop_assert!(new.runs.len() <= 10, "{}", plan.rule);
            let length = serde_json::to_vec(new).unwrap().len();
            prop_assert!(length <= 32 * 1024, "{}: {}", plan.rule, length);
        }
    }

    #[test]
    fn one_request_is_under_way_at_a_time(mut case in anything()) {
        case.task.running = true;
        for (_, effect, plan) in deeds(case) {
            prop_assert!(matches!(effect, Effect::AddFinalizer | Effect::RemoveFinalizer | Effect::Keep(_) | Effect::Schedule(_)), "{}: {:?}", plan.rule, effect);
        }
    }

    #[test]
    fn what_is_cancelled_stands_in_the_status_and_the_finalizer_is_there(case in anything()) {
        for (seen, effect, plan) in deeds(case) {
            let Effect::Cancel(id) = effect else { continue };
            prop_assert_eq!(seen.status.cancellation().map(|cancel| cancel.job_id), Some(id), "{}", plan.rule);
            prop_assert!(!is_foreign(&seen) && listed(&seen, id).is_some_and(JobSeen::is_live));
        }
    }

    // A mere edit cancels nothing in a mode that keeps state.
    #[test]
    fn a_job_is_cancelled_only_for_what_the_spec_says(case in anything()) {
        for (seen, plan) in turns(case) {
            let Some(cancel) = plan.status.cancellation().filter(|new| Some(*new) != seen.status.cancellation()) else {
                continue;
            };
            let (spec, id) = (&seen.spec, cancel.job_id);
            let current = Some(id) == live_run(&seen.status) || Some(id) == submission(&seen.status);
            let adopted = Some(id) == live_run(&plan.status) && live_run(&seen.status).is_none();
            let other = matches!(&seen.task.submitted, Some((.., SubmitOutcome::OtherJob(other))) if *other == id);
            let deletion = spec.deletion_policy.as_ref().and_then(|policy| policy.kind).unwrap_or_default();
            let retained = seen.observed(|o| {
                o.state_of(id).is_some_and(|seen| seen.retention == CheckpointRetention::Retained && seen.checkpoint.is_some())
            });
            let taken = seen.status.stop().is_some_and(|stop| stop.location.is_some() && stop.job_id == id);
            let kept = match spec.upgrade_mode {
                UpgradeMode::Stateless => !cancel.last_state,
                UpgradeMode::LastState => cancel.last_state && retained,
                UpgradeMode::Savepoint => false,
            };
            let restart = change::change(spec, seen.status.accepted_spec.as_deref()) == Change::Restart;
            let stray = marked(&seen).any(|job| job == id) && !current;
            let right = match cancel.purpose {
                // After its savepoint a job that hangs in its end is cancelled, whatever the spec says by then.
                CancelPurpose::Upgrade | CancelPurpose::Suspend | CancelPurpose::Delete if taken && current => true,
                CancelPurpose::Upgrade => spec.state == DesiredState::Running && kept && restart && current,
                CancelPurpose::Suspend => spec.state == DesiredState::Suspended && kept && (current || adopted),
                CancelPurpose::Cancel => spec.state == DesiredState::Cancelled && (current || adopted),
                CancelPurpose::Delete => seen.deleting && (other || deletion == DeletionType::Cancel || stray),
                CancelPurpose::Stray => other || stray,
            };
            prop_assert!(right && (seen.deleting == (cancel.purpose == CancelPurpose::Delete)), "{}: {:?}", plan.rule, cancel);
        }
    }

    #[test]
    fn orphan_and_savepoint_never_cancel_the_job_of_a_resource_that_is_deleted(case in anything()) {
        for (seen, effect, plan) in deeds(case) {
            let Effect::Cancel(id) = effect else { continue };
            let deletion = seen.spec.deletion_policy.as_ref().and_then(|policy| policy.kind);
            let keeps = matches!(deletion, Some(DeletionType::Orphan | DeletionType::Savepoint));
            let (run, submitted) = (live_run(&seen.status), submission(&seen.status));
            let stray = run.or(submitted).is_some() && Some(id) != run && Some(id) != submitted;
            let taken = seen.status.stop().is_some_and(|stop| stop.location.is_some() && stop.job_id == id);
            prop_assert!(!(seen.deleting && keeps) || stray || taken, "{}: {}", plan.rule, id);
        }
    }

    #[test]
    fn the_finalizer_goes_when_nothing_can_run_or_the_user_has_the_last_word(case in anything()) {
        for (seen, effect, plan) in deeds(case) {
            if effect != Effect::RemoveFinalizer {
                continue;
            }
            prop_assert!(seen.deleting && seen.finalizer && !is_foreign(&seen), "{}", plan.rule);
            if plan.notes.iter().any(|note| note.reason == Reason::JobMayStillRun) {
                let policy = seen.spec.deletion_policy.as_ref().and_then(|policy| policy.kind);
                // What is being stopped with a savepoint is not orphaned in the middle of it, either.
                let stops = policy == Some(DeletionType::Savepoint)
                    || (policy == Some(DeletionType::Orphan) && seen.status.stop().is_some());
                let blocked = stops && seen.namespace_terminating;
                let gone = seen.session == Session::Absent { proven: true };
                let down = matches!(seen.reach, Reach::Down(_));
                prop_assert!(gone || down || blocked, "{}", plan.rule);
                continue;
            }
            let (run, submitted) = (live_run(&seen.status), submission(&seen.status));
            if run.is_some() && submitted.is_some() {
                // Nobody wrote such a status: an attempt is a submission first, and then a run.
                continue;
            }
            let current = run.or(submitted);
            let released = seen.task.released.filter(|_| plan.rule == "delete/orphan");
            let another = marked(&seen).find(|id| Some(*id) != released && (current.is_some() || released.is_none()));
            prop_assert_eq!(another, None, "{}: a job runs on", plan.rule);
            let open = seen.status.submission().filter(|intent| listed(&seen, intent.job_id).is_none());
            prop_assert!(open.is_none_or(|intent| is_harmless(&seen, intent) || !may_start(&seen, intent)), "{}", plan.rule);
            prop_assert!(released.is_some() || is_over(&seen), "{}", plan.rule);
        }
    }
}
