//! Properties of the decision that hold for any Savepoint in any world, and for all that the driver makes of it.
//!
//! They are stated from the outside: by what is observed and what is planned, not by the rule that planned it.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};

use super::{
    Effect, Plan, Wants,
    anything::anything,
    case::{Case, INSTALLATION, JobCase, Reach},
};
use crate::{
    api::{
        ConditionStatus, ConditionType, SavepointPhase,
        condition::{self, MAX_MESSAGE},
        savepoint_status::{MAX_ABANDONED, MAX_USERS},
    },
    driving::{config, deeds, done, turns},
    flink::{SavepointStatus as Told, lies_under},
    plan::Next,
};

fn is_foreign(seen: &Case) -> bool {
    let owner = seen.status.intent.as_ref().and_then(|intent| intent.owner.as_ref());
    owner.is_some_and(|owner| *owner != INSTALLATION.to_string())
}

fn is(case: &Plan, kind: ConditionType) -> bool {
    let found = condition::find(&case.status.conditions, kind);
    found.is_some_and(|found| found.status == ConditionStatus::True)
}

// The rules and effects that three thousand cases reach, always the same ones.
#[test]
fn every_kind_of_decision_is_tried() {
    let mut runner = TestRunner::deterministic();
    let mut rules = BTreeSet::new();
    let mut effects = [0; 5];
    for _ in 0..3000 {
        for (seen, plan) in turns(anything().new_tree(&mut runner).unwrap().current()) {
            rules.insert(plan.rule);
            let n = match done(&seen, &plan) {
                Some(Effect::AddFinalizer) => 0,
                Some(Effect::RemoveFinalizer) => 1,
                Some(Effect::Trigger(_)) => 2,
                Some(Effect::Dispose(_)) => 3,
                Some(Effect::Delete) => 4,
                None => continue,
            };
            effects[n] += 1;
        }
    }
    assert!(effects.iter().all(|n| *n >= 10), "{effects:?}");
    assert!(rules.len() >= 50, "{} {rules:?}", rules.len());
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_driver_comes_to_rest_within_eight_turns_and_is_silent_then(case in anything()) {
        let mut turns = turns(case);
        let rules: Vec<_> = turns.iter().map(|(_, plan)| plan.rule).collect();
        prop_assert!(turns.len() <= 8, "{:?}", rules);
        let (seen, plan) = turns.pop().unwrap();
        prop_assert_eq!(&plan.status, &seen.status);
        let gone = matches!(plan.effect, Some(Effect::RemoveFinalizer | Effect::Delete));
        prop_assert!(plan.effect.is_none() || gone, "{:?}", plan.effect);
        prop_assert!(plan.notes.is_empty() || gone || is_foreign(&seen), "{:?}", plan.notes);
        if let Next::At(time) = plan.next {
            prop_assert!(time > seen.now || seen.now == jiff::Timestamp::MAX, "{} is not to come", time);
        }
    }

    #[test]
    fn a_driver_that_waits_for_a_change_misses_nothing_by_sleeping(case in anything(), pause in 1..10_000_000_i64) {
        let (mut seen, plan) = turns(case).pop().unwrap();
        if plan.next == Next::OnChange && plan.effect.is_none() {
            seen.now += SignedDuration::from_millis(pause);
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
        prop_assert_eq!((plan.effect, plan.wants), (None, Wants::default()));
    }

    #[test]
    fn every_write_says_how_the_generation_stands_in_bounded_words(case in anything()) {
        for (seen, plan) in turns(case) {
            let (old, new) = (&seen.status, &plan.status);
            if old == new {
                continue;
            }
            prop_assert_eq!(new.observed_generation, seen.generation, "{}", plan.rule);
            let (ready, reconciling, stalled) =
                (is(&plan, ConditionType::Ready), is(&plan, ConditionType::Reconciling), is(&plan, ConditionType::Stalled));
            prop_assert_eq!(usize::from(ready) + usize::from(reconciling) + usize::from(stalled), 1, "{}", plan.rule);
            let phase = new.phase.unwrap();
            let blocked = phase == SavepointPhase::Completed && seen.deleting.is_some() && reconciling;
            let fits = match phase {
                SavepointPhase::Completed => ready || blocked,
                SavepointPhase::Failed | SavepointPhase::Abandoned => stalled,
                SavepointPhase::Pending | SavepointPhase::InProgress | SavepointPhase::Disposing => reconciling,
            };
            prop_assert!(fits, "{}: {:?}", plan.rule, phase);
            let taken = phase == SavepointPhase::InProgress;
            let lost = old.phase == Some(SavepointPhase::InProgress) && old.triggered().is_none();
            prop_assert!(new.triggered().is_some() == taken || (taken && lost), "{}: {:?}", plan.rule, phase);
            for c in &new.conditions {
                let before = condition::find(&old.conditions, c.r#type).filter(|before| before.status == c.status);
                let since = before.map_or(seen.now, |before| before.last_transition_time);
                prop_assert_eq!(c.last_transition_time, since, "{:?} by {}", c.r#type, plan.rule);
                prop_assert!(c.message.len() <= MAX_MESSAGE, "{}: {}", plan.rule, c.message.len());
            }
            prop_assert!(new.abandoned_paths.len() <= MAX_ABANDONED && new.used_by.len() <= MAX_USERS);
            let length = serde_json::to_vec(new).unwrap().len();
            prop_assert!(length <= 32 * 1024, "{}: {}", plan.rule, length);
        }
    }

    #[test]
    fn one_request_is_under_way_at_a_time(mut case in anything()) {
        case.task.running = true;
        for (_, effect, plan) in deeds(case) {
            let asks = matches!(effect, Effect::Trigger(_) | Effect::Dispose(_));
            prop_assert!(!asks, "{}: {:?}", plan.rule, effect);
        }
    }

    #[test]
    fn what_is_asked_for_stands_in_the_record_and_the_finalizer_is_there(case in anything()) {
        for (seen, effect, plan) in deeds(case) {
            prop_assert!(!is_foreign(&seen), "{}", plan.rule);
            let Effect::Trigger(request) = effect else { continue };
            prop_assert_eq!(seen.status.triggered(), Some(&request.intent), "{}", plan.rule);
            prop_assert_eq!(seen.status.session.as_deref().unwrap_or_default(), &request.session);
            prop_assert!(seen.finalizer && seen.now <= request.intent.not_after, "{}", plan.rule);
            // To the process that it was meant for, while the job runs on it: there the id is worth something.
            let running = seen.jobs.iter().any(|job| job.id == request.intent.job_id && job.takes_savepoints());
            prop_assert!(matches!(seen.reach, Reach::Up) && running, "{}", plan.rule);
            prop_assert_eq!(seen.job_manager, Some(request.intent.job_manager.as_str()), "{}", plan.rule);
        }
    }

    #[test]
    fn another_attempt_is_made_only_when_nothing_more_can_come_of_the_one_before(case in anything()) {
        for (seen, plan) in turns(case) {
            let Some(before) = seen.status.triggered().filter(|_| plan.status.triggered().is_none()) else { continue };
            if seen.task.unsent == Some(before.trigger_id) && plan.status.failures == seen.status.failures {
                continue;
            }
            let told = seen.task.polled.as_ref().filter(|polled| polled.id == before.trigger_id);
            let told = told.map(|polled| &polled.told);
            let ended = matches!(told, Some(Ok(Told::Completed { .. } | Told::Failed(_))));
            let found = plan.status.path.as_ref().is_some_and(|path| lies_under(path, &before.directory));
            let given_up = plan.status.abandoned_paths.first() == Some(&before.directory);
            let refused = matches!(told, Some(Ok(Told::Unknown))) && plan.status.failures > seen.status.failures;
            let unsent = seen.task.unsent == Some(before.trigger_id);
            prop_assert!(ended || found || given_up || refused || unsent, "{}", plan.rule);
        }
    }

    #[test]
    fn nothing_is_taken_of_a_job_that_is_on_its_way_out_or_for_a_resource_that_is(case in anything()) {
        for (seen, plan) in turns(case) {
            if plan.status.triggered().is_none() || seen.status.triggered().is_some() {
                continue;
            }
            let present = matches!(seen.job, JobCase::Present);
            let ending = seen.job_status.stop().is_some() || seen.job_status.cancellation().is_some();
            prop_assert!(present && !ending && !seen.job_deleting && seen.deleting.is_none(), "{}", plan.rule);
            let busy = seen.siblings.iter().any(|other| other.is_taken && other.status.triggered().is_some());
            prop_assert!(!busy, "{}", plan.rule);
        }
    }

    #[test]
    fn files_are_deleted_only_when_a_later_list_shows_no_user(case in anything()) {
        for (seen, plan) in turns(case.clone()) {
            let asked = |status: &crate::api::SavepointStatus| status.disposal().is_some_and(|dispose| dispose.asked.is_some());
            if asked(&plan.status) && !asked(&seen.status) {
                prop_assert_eq!(seen.status.phase, Some(SavepointPhase::Disposing), "{}", plan.rule);
                let clean = seen.proof.as_ref().is_some_and(|(usage, _)| usage.users.is_empty() && usage.claimed_by.is_none());
                prop_assert!(clean, "{}", plan.rule);
            }
        }
        for (seen, effect, plan) in deeds(case) {
            if let Effect::Dispose(request) = effect {
                let dispose = seen.status.disposal().unwrap();
                prop_assert_eq!(dispose.asked, Some(request.asked), "{}", plan.rule);
                prop_assert_eq!(seen.status.path.as_deref().unwrap_or_default(), request.path.as_str());
                let session = dispose.session.as_deref().unwrap_or_default();
                prop_assert!(seen.sessions.iter().any(|(name, up)| *name == session && *up), "{}", plan.rule);
            }
        }
    }

    // Files that nobody asked to delete are worth more than the room that they take.
    #[test]
    fn a_resource_goes_by_itself_only_when_its_files_went_before(case in anything()) {
        for (seen, effect, plan) in deeds(case) {
            if effect != Effect::Delete {
                continue;
            }
            prop_assert!(seen.deleting.is_none() && seen.task.disposed.is_some(), "{}", plan.rule);
            prop_assert!(seen.status.disposal().is_some_and(|dispose| dispose.asked.is_some()), "{}", plan.rule);
        }
    }
}
