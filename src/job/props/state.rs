//! The state of a job: what is stopped, what becomes of the stop, and what a start takes.

use proptest::prelude::*;

use super::super::{
    Effect, Input, JobSeen, SUBMIT_WITHIN, StopAnswer, StopSeen, UnderWay, anything::anything, backoff::after,
    case::Case, change,
};
use super::{is_up, listed, live_run, submission};
use crate::{
    api::{JobStatus, intent::StopIntent, job::UpgradeMode, state::Resume, status::RunOutcome},
    driving::{config, deeds, turns},
    flink::lies_under,
};

/// Whether Flink said that the stop failed: now, or before it was put off.
fn has_failed(seen: &Case, stop: &StopIntent) -> bool {
    let answered = matches!(&seen.task.stop_sent, Some((id, _, StopAnswer::Refused(_))) if *id == stop.trigger_id);
    let heard = matches!(&seen.task.stop_seen, Some((id, _, StopSeen::Failed(_) | StopSeen::TooEarly)) if *id == stop.trigger_id);
    stop.due.is_some() || answered || heard
}

/// Whether a status has the savepoint of a stop.
fn has_savepoint(status: &JobStatus, stop: &StopIntent) -> bool {
    let latest = status.latest_state().map(|latest| latest.path.as_str());
    let keep = status.keep().map(|keep| keep.path.as_str());
    [latest, keep, stop.location.as_deref()]
        .into_iter()
        .flatten()
        .any(|path| lies_under(path, &stop.directory) || stop.location.as_deref() == Some(path))
}

/// Whether the checkpoints of the stop's job were read after its end.
fn was_read_last(seen: &Case, stop: &StopIntent) -> bool {
    matches!(&seen.state, Input::Ready(read) if read.job_id == stop.job_id && read.last)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn another_stop_is_decided_on_only_when_the_one_before_failed(case in anything()) {
        for (seen, plan) in turns(case) {
            let (Some(old), Some(new)) = (seen.status.stop(), plan.status.stop()) else { continue };
            let other = old.trigger_id != new.trigger_id && old.job_id == new.job_id;
            prop_assert!(!other || (old.due.is_some() && old.location.is_none()), "{}", plan.rule);
            prop_assert!(other || (&old.directory, old.format) == (&new.directory, new.format), "{}", plan.rule);
        }
    }

    #[test]
    fn a_stop_is_closed_when_its_end_is_known_or_the_status_says_that_it_is_not(case in anything()) {
        for (seen, plan) in turns(case) {
            let Some(stop) = seen.status.stop().filter(|_| plan.status.stop().is_none()) else { continue };
            let of_live_run = live_run(&seen.status) == Some(stop.job_id);
            let unsent = seen.task.stop_unsent == Some(stop.trigger_id) && is_up(&seen) && seen.confirmed;
            let gives_way = seen.task.stop_unsent == Some(stop.trigger_id) && seen.savepoint_under_way == Some(UnderWay::Asked);
            let known = has_savepoint(&plan.status, stop) || stop.due.is_some() || was_read_last(&seen, stop) || unsent;
            let known = known || gives_way;
            let told = plan.status.resume() == Some(Resume::Unknown);
            let cancelled = seen.status.cancellation().is_some();
            prop_assert!(known || told || cancelled || !of_live_run, "{}", plan.rule);
        }
    }

    #[test]
    fn a_stop_is_put_off_only_when_flink_said_that_it_failed_and_a_younger_list_shows_its_job(case in anything()) {
        for (seen, plan) in turns(case) {
            let (Some(old), Some(new)) = (seen.status.stop(), plan.status.stop()) else { continue };
            let put_off = old.due.is_none() && new.due.is_some() && new.location.is_none();
            let lives = seen.confirmed && listed(&seen, old.job_id).is_some_and(JobSeen::is_live);
            prop_assert!(!put_off || (has_failed(&seen, old) && lives), "{}", plan.rule);
        }
    }

    #[test]
    fn the_stop_that_is_sent_stands_in_the_status_and_its_job_runs(case in anything()) {
        for (seen, effect, plan) in deeds(case) {
            let Effect::Stop(sent) = effect else { continue };
            let Some(stop) = seen.status.stop() else {
                return Err(TestCaseError::fail(format!("{}: there is no intent", plan.rule)));
            };
            prop_assert_eq!(
                (sent.job_id, sent.trigger_id, &sent.directory, sent.format, sent.not_after),
                (stop.job_id, stop.trigger_id, &stop.directory, stop.format, after(stop.decided, SUBMIT_WITHIN))
            );
            let takes_savepoints = listed(&seen, stop.job_id).is_some_and(JobSeen::takes_savepoints);
            prop_assert_eq!((takes_savepoints, live_run(&seen.status)), (true, Some(stop.job_id)));
            prop_assert!(seen.now <= sent.not_after && stop.location.is_none() && stop.due.is_none());
        }
    }

    // A job that ran and ended is started from what was on record, and from nothing else.
    #[test]
    fn a_start_takes_the_newest_state_on_record(case in anything()) {
        use RunOutcome::{Cancelled, Failed, Lost, Replaced, Suspended};
        for (seen, plan) in turns(case) {
            let new = plan.status.submission().filter(|new| Some(new.job_id) != submission(&seen.status));
            let (Some(new), Some(latest)) = (new, plan.status.latest_state()) else { continue };
            let accepted = seen.status.accepted_spec.as_deref();
            let forced = accepted.is_some_and(|accepted| change::forces_restore(&seen.spec, accepted));
            let stateful = seen.spec.upgrade_mode != UpgradeMode::Stateless;
            let ran = [Cancelled, Failed, Lost, Replaced, Suspended].map(Some).contains(&plan.status.last_outcome());
            let resume = seen.status.resume();
            let goes_on = resume == Some(Resume::Latest) || (resume.is_none() && ran && stateful);
            let at_rest = live_run(&seen.status).is_none() && seen.status.submission().is_none();
            if forced || !goes_on || !at_rest || seen.status.cancellation().is_some() {
                continue;
            }
            let taken = new.restore.as_ref().map(|restore| &restore.path);
            prop_assert_eq!((taken, latest.gone), (Some(&latest.path), false), "{}", plan.rule);
        }
    }

    #[test]
    fn where_the_newest_state_is_not_known_only_a_changed_restore_nonce_starts(case in anything()) {
        for (seen, plan) in turns(case) {
            let started = submission(&plan.status).is_some() && submission(&plan.status) != submission(&seen.status);
            let at_rest = live_run(&seen.status).is_none() && seen.status.submission().is_none();
            if !started || !at_rest || seen.status.resume() != Some(Resume::Unknown) {
                continue;
            }
            let accepted = seen.status.accepted_spec.as_deref();
            let forced = accepted.is_some_and(|accepted| change::forces_restore(&seen.spec, accepted));
            prop_assert!(forced, "{}", plan.rule);
        }
    }

    #[test]
    fn the_record_of_the_newest_state_is_never_emptied_but_by_an_empty_start(case in anything()) {
        for (seen, plan) in turns(case) {
            let usable = |status: &JobStatus| status.latest_state().is_some_and(|latest| !latest.gone);
            if !usable(&seen.status) || plan.status.latest_state().is_some() {
                continue;
            }
            let empty = seen.status.state.as_ref().is_some_and(|state| state.restored_from.is_none());
            let asked = matches!(seen.status.resume(), Some(Resume::Empty | Resume::Restore));
            prop_assert!(empty && asked, "{}", plan.rule);
        }
    }

    #[test]
    fn every_try_of_an_attempt_takes_the_same_state(case in anything()) {
        for (seen, plan) in turns(case) {
            let (Some(old), Some(new)) = (seen.status.submission(), plan.status.submission()) else { continue };
            prop_assert!(old.job_id != new.job_id || old.restore == new.restore, "{}", plan.rule);
        }
    }
}
