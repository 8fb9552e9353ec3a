//! An attempt is under way: send its request, or find out what became of it.

use std::time::Duration;

use jiff::Timestamp;

use super::{
    Cluster, Effect, History, Observed, Plan, Polled, TriggerOutcome, TriggerRequest, Wants,
    attempt::{self, Found},
    ready::{Readiness, ready},
    trigger::{SOON, is_of},
    verdict::{self, Verdict, stands, tell},
};
use crate::{
    api::{Reason, SavepointPhase, savepoint_status::TriggerIntent},
    flink::{SavepointState, SavepointStatus as Told},
    job::{ClusterView, Refusal, SUBMIT_WITHIN, after},
};

/// The longest pause between two questions for the outcome.
const SELDOM: Duration = Duration::from_secs(5);

/// The rule.
pub(super) fn rule(o: &Observed<'_>) -> Option<Plan> {
    let trigger = o.status.triggered()?;
    let polled = o.task.polled.as_ref().filter(|polled| polled.id == trigger.trigger_id);
    match polled.map(|polled| &polled.told) {
        Some(Ok(Told::Completed { location })) => return Some(attempt::arrived(o, trigger, location)),
        Some(Ok(Told::Failed(failure))) => return Some(attempt::failed(o, trigger, failure)),
        Some(Ok(Told::InProgress | Told::Unknown) | Err(_)) | None => {}
    }
    let until = after(trigger.decided, o.spec.timeout());
    if o.now >= until {
        return Some(attempt::timed_out(o, trigger));
    }
    let mut plan = under_way(o, trigger, polled);
    // Whatever is waited for, the time of the attempt is not overslept.
    plan.next = match plan.next {
        crate::plan::Next::At(time) => crate::plan::Next::At(time.min(until)),
        crate::plan::Next::OnChange => crate::plan::Next::At(until),
    };
    Some(plan)
}

/// How long after a question the next is asked: longer for a savepoint that takes longer.
fn pause(trigger: &TriggerIntent, asked: Timestamp) -> Duration {
    let elapsed = Duration::try_from(asked.duration_since(trigger.decided)).unwrap_or_default();
    (elapsed / 10).clamp(SOON, SELDOM)
}

fn under_way(o: &Observed<'_>, trigger: &TriggerIntent, polled: Option<&Polled>) -> Plan {
    if o.task.running {
        return stands(o, "resolve/in-flight");
    }
    if o.task.unsent == Some(trigger.trigger_id) {
        return unsent(o, trigger);
    }
    if let Some((_, TriggerOutcome::OtherTrigger)) = sent(o, trigger) {
        return attempt::not_repeatable(o, trigger);
    }
    let cluster = match &o.cluster {
        ClusterView::Up(cluster) => cluster,
        ClusterView::NotPolled => return stands(o, "resolve/not-polled").at(after(o.now, SOON)),
        ClusterView::Down(refusal) => return unreachable(o, refusal).at(after(o.now, SELDOM)),
    };
    let Some(polled) = polled else {
        return ask(o, "resolve/ask").at(after(o.now, SELDOM));
    };
    let next = after(polled.at, pause(trigger, polled.at));
    match &polled.told {
        Ok(Told::Unknown) => lost(o, trigger, cluster, polled),
        Ok(Told::InProgress | Told::Completed { .. } | Told::Failed(_)) | Err(_) if o.now >= next => {
            ask(o, "resolve/ask-again").at(after(o.now, SELDOM))
        }
        Ok(Told::InProgress | Told::Completed { .. } | Told::Failed(_)) => in_progress(o, trigger).at(next),
        Err(refusal) => unreachable(o, refusal).at(next),
    }
}

/// What the last request of this trigger came to, as far as this process knows.
fn sent<'o>(o: &'o Observed<'_>, trigger: &TriggerIntent) -> Option<(Timestamp, &'o TriggerOutcome)> {
    let (id, at, outcome) = o.task.sent.as_ref()?;
    (*id == trigger.trigger_id).then_some((*at, outcome))
}

fn ask(o: &Observed<'_>, rule: &'static str) -> Plan {
    stands(o, rule).want(Wants {
        outcome: true,
        ..Wants::default()
    })
}

fn in_progress(o: &Observed<'_>, trigger: &TriggerIntent) -> Plan {
    let message = format!("Flink takes the savepoint, attempt {}", trigger.attempt);
    let refusal = Refusal::new(Reason::InProgress, message);
    let verdict = Verdict::reconciling(SavepointPhase::InProgress, refusal);
    tell(o, "resolve/in-progress", o.status.clone(), verdict)
}

/// The cluster does not answer; Flink goes on with what it has.
fn unreachable(o: &Observed<'_>, refusal: &Refusal) -> Plan {
    let message = format!("what became of the savepoint is not known now: {}", refusal.message);
    let verdict = Verdict::reconciling(SavepointPhase::InProgress, Refusal::new(refusal.reason, message));
    tell(o, "resolve/unreachable", o.status.clone(), verdict)
}

/// This process has written the attempt down, and has not sent it.
fn unsent(o: &Observed<'_>, trigger: &TriggerIntent) -> Plan {
    if o.meta.deleting.is_some() {
        return attempt::dropped(o);
    }
    match ready(o) {
        Readiness::NotKnown => stands(o, "resolve/not-known").at(after(o.now, SOON)),
        Readiness::Runs { job_id, cluster, .. } if job_id == trigger.job_id => match cluster.job_manager {
            Some(id) if id == trigger.job_manager => send(o, trigger),
            Some(_) => attempt::dropped(o),
            None => identify(o),
        },
        Readiness::Runs { .. } | Readiness::Waits(_) | Readiness::Prove | Readiness::Over(_) => attempt::dropped(o),
    }
}

fn identify(o: &Observed<'_>) -> Plan {
    let wants = Wants {
        identity: true,
        ..Wants::default()
    };
    stands(o, "resolve/identify").want(wants).at(after(o.now, SOON))
}

/// Sends the request, the first time or again; not right after one that failed.
fn send(o: &Observed<'_>, trigger: &TriggerIntent) -> Plan {
    if let Some((at, _)) = sent(o, trigger)
        && o.now < after(at, SOON)
    {
        return stands(o, "resolve/pause").at(after(at, SOON));
    }
    if o.now > trigger.not_after {
        // The time is part of the record: a process that was frozen must not send what another has decided anew.
        let mut status = o.status.clone();
        if let Some(trigger) = status.intent_mut().trigger.as_mut() {
            trigger.not_after = after(o.now, SUBMIT_WITHIN);
        }
        if let Some(verdict) = verdict::told(&status) {
            verdict.write(o, &mut status);
        }
        return Plan::with("resolve/renew", status);
    }
    stands(o, "resolve/send").then(Effect::Trigger(Box::new(TriggerRequest {
        intent: trigger.clone(),
        session: o.status.session.clone().unwrap_or_default(),
    })))
}

/// The process does not know the trigger: it never got the request, or it has forgotten the outcome, or it is another
/// process.
fn lost(o: &Observed<'_>, trigger: &TriggerIntent, cluster: &Cluster<'_>, polled: &Polled) -> Plan {
    if let Some(history) = o.history
        && let Some(found) = completed(history, |path| is_of(trigger, path))
    {
        return attempt::complete(o, "resolve/found", &found);
    }
    if let Some((_, TriggerOutcome::Refused(message))) = sent(o, trigger) {
        return attempt::refused(o, trigger, message);
    }
    let looked = o.history.and_then(|history| history.since_poll);
    let look = |rule| {
        let wants = Wants {
            history: true,
            identity: !cluster.identified_since_poll,
            ..Wants::default()
        };
        stands(o, rule).want(wants).at(after(o.now, SOON))
    };
    if looked.is_none() || !cluster.identified_since_poll {
        return look("resolve/look");
    }
    // Nothing of it happened before it was decided on, so that its outcome cannot be forgotten yet: it did not happen.
    let begun = polled
        .under_way
        .map_or(trigger.decided, |time| time.max(trigger.decided));
    let remembered = o.now < after(begun, cluster.facts.remembered);
    if remembered && cluster.job_manager == Some(trigger.job_manager.as_str()) {
        match cluster.job(trigger.job_id) {
            Some(job) if job.takes_savepoints() && !is_ending(o) => return send(o, trigger),
            // A request that is late may still find it running.
            Some(job) if job.is_live() => {
                return stands(o, "resolve/not-running").at(after(o.now, SOON));
            }
            Some(_) | None => {}
        }
    }
    if looked.is_none_or(|since| since < cluster.facts.statistics_age) {
        return look("resolve/look-again").at(after(polled.at, cluster.facts.statistics_age).max(after(o.now, SOON)));
    }
    attempt::forgotten(o, trigger)
}

/// The job is being stopped or cancelled.
fn is_ending(o: &Observed<'_>) -> bool {
    o.job().is_none_or(|job| job.status.is_ending())
}

/// A complete savepoint in a job's history whose path is one of these.
pub(super) fn completed(history: History<'_>, is_one: impl Fn(&str) -> bool) -> Option<Found> {
    let checkpoints = history.checkpoints?;
    let complete = |entry: &&crate::flink::SavepointEntry| entry.state == SavepointState::Completed;
    let listed = checkpoints.savepoints.iter().filter(complete).find_map(|entry| {
        let path = entry.path.clone().filter(|path| is_one(path))?;
        Some(Found {
            path,
            size: entry.size,
            time: entry.completed.or(entry.time),
        })
    });
    listed.or_else(|| {
        // The newest is told however many checkpoints came after it.
        let newest = checkpoints.savepoint.iter().chain(&checkpoints.restored);
        newest.filter(|point| !point.discarded).find_map(|point| {
            let path = point.path.clone().filter(|path| is_one(path))?;
            Some(Found {
                path,
                size: point.size,
                time: point.completed,
            })
        })
    })
}

#[cfg(test)]
mod tests {
    use super::super::{
        case::{self, Case, P2, Reach, effect, entry, job_id, location, other_trigger, refusal, seconds, seen},
        ready,
    };
    use super::*;
    use crate::{
        api::status::CancelPurpose,
        flink::{JobState, TriggerId},
    };

    fn no_answer() -> TriggerOutcome {
        TriggerOutcome::Unknown(refusal(Reason::ClusterUnreachable))
    }

    /// A request that was not answered, of which Flink knows nothing.
    fn unknown() -> Case {
        let mut case = Case::triggered();
        case.sent(no_answer());
        case.wait(2);
        case.unknown();
        case
    }

    #[test]
    fn the_outcome_is_asked_for_more_and_more_seldom() {
        let mut case = Case::accepted();
        assert!(case.still("resolve/ask").wants.outcome, "at once");
        for (after, pause) in [(0, 1), (9, 1), (20, 2), (40, 4), (100, 5), (500, 5)] {
            let mut case = case.clone();
            case.wait(after);
            case.told(Ok(Told::InProgress));
            case.settle();
            assert_eq!(
                seconds(&case, &case.still("resolve/in-progress")),
                Some(pause),
                "{after}"
            );
            case.wait(pause);
            assert!(case.still("resolve/ask-again").wants.outcome);
        }
        case.told(Err(refusal(Reason::ClusterUnreachable)));
        case.settle();
        assert_eq!(case.reads(), "InProgress/ClusterUnreachable Ready=False Reconciling");
        case.wait(1);
        assert!(case.still("resolve/ask-again").wants.outcome);
    }

    #[test]
    fn a_process_that_knows_nothing_of_the_attempt_asks_before_it_sends() {
        let case = Case::triggered();
        let plan = case.still("resolve/ask");
        assert_eq!((effect(&plan), plan.wants.outcome), ("-", true));
        let mut case = case;
        case.reach = Reach::NotPolled;
        case.still("resolve/not-polled");
        case.reach = Reach::Down(Reason::ClusterUnreachable);
        assert_eq!(effect(&case.settle()), "-");
        assert_eq!(case.reads(), "InProgress/ClusterUnreachable Ready=False Reconciling");
    }

    #[test]
    fn an_outcome_of_another_trigger_is_none() {
        let mut case = Case::accepted();
        case.told(Ok(Told::Completed { location: location() }));
        case.task.polled.as_mut().unwrap().id = other_trigger();
        case.still("resolve/ask");
    }

    #[test]
    fn one_request_is_under_way_at_a_time() {
        let mut case = Case::triggered();
        case.task.running = true;
        assert_eq!(seconds(&case, &case.still("resolve/in-flight")), Some(600));
    }

    #[test]
    fn what_was_not_sent_is_sent_only_to_the_job_and_the_process_that_it_was_meant_for() {
        let unsent = || {
            let mut case = Case::triggered();
            case.task.unsent = Some(case.trigger().trigger_id);
            case
        };
        assert_eq!(effect(&unsent().still("resolve/send")), "Trigger");
        let dropped: [fn(&mut Case); 6] = [
            |case| case.jobs.clear(),
            |case| case.reach = Reach::Down(Reason::ClusterUnreachable),
            |case| case.job_manager = Some(P2),
            |case| case.job_deleting = true,
            |case| {
                let other = crate::flink::JobId([7; 16]);
                case.job_status.runs.insert(0, crate::api::status::Run::new(2, other));
                case.jobs = vec![seen(other, JobState::Running)];
            },
            |case| {
                case.job_status.intent_mut().cancel = Some(crate::api::status::CancelIntent {
                    job_id: job_id(),
                    purpose: CancelPurpose::Upgrade,
                    last_state: false,
                });
            },
        ];
        for (n, change) in dropped.into_iter().enumerate() {
            let mut case = unsent();
            change(&mut case);
            case.persist("resolve/dropped");
            assert_eq!(case.reads(), "Pending/WaitingForCluster Ready=False Reconciling", "{n}");
            assert_eq!((case.status.triggered(), case.status.failures), (None, None), "{n}");
            assert!(case.status.abandoned_paths.is_empty(), "{n}");
        }
        let mut case = unsent();
        case.job_manager = None;
        assert!(case.still("resolve/identify").wants.identity);
        case.reach = Reach::NotPolled;
        case.still("resolve/not-known");
        assert!(case.observed(|o| matches!(ready::ready(o), Readiness::NotKnown)));
    }

    #[test]
    fn the_request_is_sent_in_its_time_or_its_time_is_written_anew() {
        let mut case = Case::triggered();
        case.task.unsent = Some(case.trigger().trigger_id);
        case.wait(30);
        case.still("resolve/send");
        case.wait(1);
        let before = case.trigger().clone();
        case.persist("resolve/renew");
        let renewed = case.trigger().clone();
        assert_eq!(renewed.not_after, after(case.now, SUBMIT_WITHIN));
        assert_eq!(
            TriggerIntent {
                not_after: before.not_after,
                ..renewed
            },
            before,
            "it is the same attempt"
        );
        assert_eq!(effect(&case.still("resolve/send")), "Trigger");
        // One that did not get through is sent again, a little later.
        case.sent(TriggerOutcome::NotSent(refusal(Reason::ClusterUnreachable)));
        case.task.unsent = Some(case.trigger().trigger_id);
        assert_eq!(effect(&case.still("resolve/pause")), "-");
        case.wait(1);
        assert_eq!(effect(&case.still("resolve/send")), "Trigger");
    }

    #[test]
    fn a_request_that_was_not_answered_is_repeated_with_the_same_id_once_flink_knows_nothing_of_it() {
        let mut case = Case::triggered();
        case.sent(no_answer());
        case.still("resolve/ask");
        case.wait(2);
        case.told(Ok(Told::Unknown));
        let plan = case.still("resolve/look");
        assert!(plan.wants.history && plan.wants.identity, "{plan:?}");
        case.identified = true;
        assert!(case.still("resolve/look").wants.history, "a savepoint may be there");
        case.looked(0, Vec::new());
        let Some(Effect::Trigger(again)) = case.still("resolve/send").effect else {
            panic!("nothing is sent")
        };
        assert_eq!(&again.intent, case.trigger());
        // After it, the outcome that was asked for before says nothing.
        case.sent(TriggerOutcome::Accepted);
        case.still("resolve/ask");
    }

    #[test]
    fn a_savepoint_whose_trigger_is_forgotten_is_found_by_its_directory() {
        for state in [JobState::Running, JobState::Finished] {
            let mut case = unknown();
            case.jobs = vec![seen(job_id(), state)];
            case.looked(0, vec![entry("s3://bucket/elsewhere/savepoint-1"), entry(&location())]);
            case.persist("resolve/found");
            assert_eq!(case.reads(), "Completed/Completed Ready=True");
            let (path, size) = (case.status.path.as_deref(), case.status.size_bytes);
            assert_eq!((path, size), (Some(location().as_str()), Some(4711)));
            assert_eq!(case.status.completion_time, entry("").completed);
        }
        // Also when only the newest savepoint of all is told, or the one that the job was restored from.
        let point = crate::flink::Checkpoint {
            id: 1,
            path: Some(location()),
            time: None,
            is_savepoint: true,
            discarded: false,
            completed: Some(case::start()),
            size: Some(4711),
        };
        for restored in [false, true] {
            let mut case = unknown();
            case.looked(0, Vec::new());
            let checkpoints = case.history.as_mut().unwrap().0.as_mut().unwrap();
            let place = if restored {
                &mut checkpoints.restored
            } else {
                &mut checkpoints.savepoint
            };
            *place = Some(point.clone());
            let mut discarded = case.clone();
            case.persist("resolve/found");
            assert_eq!(
                (case.status.size_bytes, case.status.completion_time),
                (Some(4711), Some(case::start()))
            );
            let checkpoints = discarded.history.as_mut().unwrap().0.as_mut().unwrap();
            let places = [&mut checkpoints.restored, &mut checkpoints.savepoint];
            for point in places.into_iter().flatten() {
                point.discarded = true;
            }
            discarded.still("resolve/send");
        }
        // One that is under way, or failed, is none.
        for state in [
            SavepointState::InProgress,
            SavepointState::Failed,
            SavepointState::Unknown,
        ] {
            let mut case = unknown();
            let entry = crate::flink::SavepointEntry {
                state,
                ..entry(&location())
            };
            case.looked(0, vec![entry]);
            case.still("resolve/send");
        }
    }

    // The statistics are a few seconds old: a savepoint that was complete before the question shows in them only then.
    #[test]
    fn an_outcome_that_may_be_forgotten_is_given_up_only_when_the_history_would_show_it() {
        let forgotten = || {
            let mut case = unknown();
            case.wait(239);
            case.unknown();
            case.looked(0, Vec::new());
            case
        };
        let mut case = forgotten();
        let plan = case.still("resolve/look-again");
        assert_eq!((plan.wants.history, seconds(&case, &plan)), (true, Some(3)));
        case.looked(2, Vec::new());
        case.still("resolve/look-again");
        let mut found = case.clone();
        found.looked(3, vec![entry(&location())]);
        found.persist("resolve/found");
        let mut unknown_job = case.clone();
        unknown_job.history = Some((None, Some(Duration::from_secs(3))));
        unknown_job.persist("resolve/forgotten");
        case.looked(3, Vec::new());
        case.persist("resolve/forgotten");
        assert_eq!(case.reads(), "Pending/SavepointFailed Ready=False Reconciling");
        assert_eq!((case.status.abandoned_paths.len(), case.status.failures), (1, Some(1)));
        case.wait(10);
        case.persist("pending/intend");
        assert_ne!(case.trigger().directory, case.status.abandoned_paths[0]);
    }

    #[test]
    fn nothing_is_repeated_where_the_first_request_may_have_been_forgotten() {
        type Row = (&'static str, fn(&mut Case));
        let table: [Row; 6] = [
            ("resolve/send", |_| {}),
            // Another process: it never heard of the first.
            ("resolve/look-again", |case| case.job_manager = Some(P2)),
            // The process is not identified after the question.
            ("resolve/look", |case| case.identified = false),
            // It remembers outcomes for a second only.
            ("resolve/look-again", |case| {
                case.facts.remembered = Duration::from_secs(1);
            }),
            ("resolve/look-again", |case| case.facts.remembered = Duration::ZERO),
            // The job has ended.
            ("resolve/look-again", |case| {
                case.jobs = vec![seen(job_id(), JobState::Failed)];
            }),
        ];
        for (n, (rule, change)) in table.into_iter().enumerate() {
            let mut case = unknown();
            case.looked(0, Vec::new());
            change(&mut case);
            let plan = case.still(rule);
            assert_eq!(effect(&plan) == "Trigger", rule == "resolve/send", "{n}");
        }
        // A request that is late could still find it running.
        for state in [JobState::Restarting, JobState::Created] {
            let mut case = unknown();
            case.looked(0, Vec::new());
            case.jobs = vec![seen(job_id(), state)];
            case.still("resolve/not-running");
        }
    }

    #[test]
    fn what_was_seen_under_way_is_remembered_from_then_on() {
        let mut case = Case::accepted();
        case.wait(300);
        case.told(Ok(Told::InProgress));
        case.wait(239);
        case.unknown();
        case.looked(0, Vec::new());
        case.persist("resolve/renew");
        case.still("resolve/send");
        let mut case = Case::accepted();
        case.wait(539);
        case.unknown();
        case.looked(0, Vec::new());
        case.still("resolve/look-again");
    }

    #[test]
    fn trigger_ids_are_those_of_the_attempts() {
        let case = Case::triggered();
        assert_eq!(case.trigger().trigger_id, TriggerId::new(super::super::case::UID, 1));
    }
}
