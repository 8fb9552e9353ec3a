//! Submissions: what is sent, when it is sent again, and when it is over.

use proptest::prelude::*;

use super::super::{
    Effect, Input, Permit, RetryWindow, Session, SubmitOutcome,
    anything::{OUTCOMES, anything},
    case::{Case, INSTALLATION, UID, run},
    change,
};
use super::{is_foreign, is_harmless, is_over, is_up, listed, live_run, marked, may_start, outcome, submission};
use crate::{
    api::{
        job::{DesiredState, OnUnknownResult},
        status::RunOutcome,
    },
    driving::{config, deeds, turns},
    flink::{JobId, UidHash},
};

proptest! {
    #![proptest_config(config())]

    // The heart of it: see `standing.rs`.
    #[test]
    fn a_submission_is_closed_only_when_nothing_of_it_can_start(case in anything()) {
        for (seen, plan) in turns(case) {
            let Some(intent) = seen.status.submission() else { continue };
            let kept = submission(&plan.status) == Some(intent.job_id);
            if kept || listed(&seen, intent.job_id).is_some() {
                continue;
            }
            let harmless = is_harmless(&seen, intent);
            prop_assert!(!seen.deleting && !is_foreign(&seen), "{}", plan.rule);
            prop_assert!(harmless || !may_start(&seen, intent), "{}: it can still start", plan.rule);
            prop_assert!(harmless || is_up(&seen) && seen.confirmed, "{}: its absence is not proven", plan.rule);
            let same = seen.job_manager == Some(intent.job_manager.as_str());
            let remembered = same && !matches!(seen.window, RetryWindow::Closed(_));
            let on_record = plan.status.runs.iter().any(|run| run.job_id == intent.job_id);
            prop_assert!(harmless || remembered || on_record, "{}: it may have run, and nobody says so", plan.rule);
        }
    }

    #[test]
    fn a_further_try_is_the_same_request_in_a_process_that_remembers_or_no_try_was_made(case in anything()) {
        for (seen, plan) in turns(case) {
            let (Some(old), Some(new)) = (seen.status.submission(), plan.status.submission()) else { continue };
            if old == new || old.job_id != new.job_id {
                continue;
            }
            prop_assert_eq!((new.tries, &new.body_hash), (old.tries.saturating_add(1), &old.body_hash));
            prop_assert!(!seen.deleting && seen.spec.state == DesiredState::Running && seen.permit == Permit::Granted);
            prop_assert!(listed(&seen, old.job_id).is_none() && is_up(&seen));
            if !is_harmless(&seen, old) && (may_start(&seen, old) || !seen.confirmed) {
                let same = seen.job_manager == Some(old.job_manager.as_str());
                prop_assert!(!matches!(seen.window, RetryWindow::Closed(_)), "{}", plan.rule);
                prop_assert!(seen.window == RetryWindow::Durable || (same && new.jar_id == old.jar_id), "{}", plan.rule);
                let done_nothing =
                    matches!(outcome(&seen, old), Some(SubmitOutcome::NotSent(_) | SubmitOutcome::JarMissing));
                let open = if done_nothing { old.earlier_unresolved } else { Some(old.unresolved) };
                prop_assert_eq!(new.earlier_unresolved, open, "{}: an earlier try is forgotten", plan.rule);
                prop_assert_eq!(new.first_try, old.first_try);
            }
        }
    }

    #[test]
    fn a_new_attempt_starts_only_when_the_one_before_is_over(case in anything()) {
        for (seen, plan) in turns(case) {
            let Some(new) = plan.status.submission().filter(|new| Some(new.job_id) != submission(&seen.status)) else {
                continue;
            };
            // Nobody wrote such a status: an attempt is a submission first, and then a run.
            let both = live_run(&seen.status).is_some() && submission(&seen.status).is_some();
            prop_assert!(both || is_over(&seen), "{}", plan.rule);
            prop_assert!(!seen.deleting && !is_foreign(&seen) && is_up(&seen));
            prop_assert_eq!((seen.spec.state, seen.permit), (DesiredState::Running, Permit::Granted));
            prop_assert_eq!(seen.session, Session::Present { deleting: false });
            prop_assert!(change::unsupported(&seen.spec).is_none() && seen.takes_jars);
            prop_assert!(matches!(&seen.jar, Input::Ready(jar) if *jar == (new.jar_id.clone(), new.job_manager.clone())));
            let program = Case::program_of(&seen.spec).body_hash();
            prop_assert_eq!((new.tries, new.earlier_unresolved, &new.body_hash), (1, None, &program));
            // The attempt is above every other, wherever it was seen.
            let used = seen.jobs.iter().map(|job| job.id).chain(seen.status.runs.iter().map(|run| run.job_id));
            let highest = used.chain(seen.status.job_id).filter(|id| id.owner() == UidHash::of(UID)).map(|id| id.attempt());
            prop_assert!(highest.max().is_none_or(|highest| new.job_id.attempt() > highest));
            prop_assert_eq!((plan.status.job_id, new.job_id.owner()), (Some(new.job_id), UidHash::of(UID)));
            prop_assert_eq!(plan.status.intent.as_ref().and_then(|intent| intent.owner.clone()), Some(INSTALLATION.to_string()));
        }
    }

    #[test]
    fn a_job_that_is_done_is_not_started_again_by_itself(mut case in anything(), last in 0..OUTCOMES.len()) {
        use RunOutcome::{Cancelled, Replaced, Suspended, Unknown};
        let last = OUTCOMES[last];
        let done = run(JobId::new(INSTALLATION, UidHash::of(UID), 1), Some(last));
        case.status.job_id = Some(done.job_id);
        case.status.runs = vec![done];
        case.status.intent = None;
        case.status.accepted_spec = Some(change::accept(&case.spec));
        let resubmits = last == Unknown && case.spec.on_unknown_result == Some(OnUnknownResult::Resubmit);
        let goes_on = [Cancelled, Replaced, Suspended].contains(&last);
        if !(resubmits || goes_on) {
            for (_, plan) in turns(case) {
                prop_assert_eq!(submission(&plan.status), None, "{} after {:?}", plan.rule, last);
            }
        }
    }

    #[test]
    fn what_is_sent_is_what_stands_in_the_status(case in anything()) {
        for (seen, effect, plan) in deeds(case) {
            let Effect::Submit(sent) = effect else { continue };
            let Some(intent) = seen.status.submission() else {
                return Err(TestCaseError::fail(format!("{}: there is no intent", plan.rule)));
            };
            prop_assert_eq!(
                (sent.job_id, &sent.jar_id, sent.tries, sent.not_after, sent.program.body_hash()),
                (intent.job_id, &intent.jar_id, intent.tries, intent.not_after, intent.body_hash.clone())
            );
            prop_assert_eq!(&sent.restore, &intent.restore);
            prop_assert!(seen.now <= intent.not_after && seen.task.unsent == Some((intent.job_id, intent.tries)));
            prop_assert!(seen.finalizer && !seen.deleting && !is_foreign(&seen));
            prop_assert_eq!((seen.spec.state, seen.permit), (DesiredState::Running, Permit::Granted));
            prop_assert!(!seen.task.running && seen.status.cancellation().is_none());
            let another = marked(&seen).find(|id| Some(*id) != live_run(&seen.status));
            prop_assert_eq!(another, None, "a job runs already");
        }
    }
}
