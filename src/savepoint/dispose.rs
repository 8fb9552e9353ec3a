//! The files are to be deleted: prove that no job needs them, ask Flink, and see it to its end.

use std::time::Duration;

use jiff::Timestamp;

use super::{
    DisposalOutcome, DisposalRequest, Effect, Observed, Plan, Proof, Wants, deletion, retention, settled,
    trigger::{LOOK_AGAIN, SOON, owned},
    verdict::{Verdict, stands, tell},
};
use crate::{
    api::{Reason, SavepointPhase, SavepointStatus, savepoint_status::DisposeIntent},
    flink::StatePath,
    job::{Refusal, after},
    plan::NoteKind,
    state_prefix::is_in_own_directory,
};

/// A cluster that does not answer is waited for so long before another of the namespace is asked.
const OWN_CLUSTER_FIRST: Duration = Duration::from_secs(60);

/// The resource is released when no cluster has answered for so long.
const NO_ANSWER: Duration = Duration::from_secs(300);

/// A request that was not answered is repeated after this time.
const REPEAT: Duration = Duration::from_secs(10);

/// Whether the files are this namespace's to delete; if not, why.
pub(super) fn may_dispose(o: &Observed<'_>) -> Result<(), &'static str> {
    let path = o.status.path.as_deref().map(str::parse::<StatePath>);
    let Some(Ok(path)) = path else {
        return Err("where they are is not known");
    };
    if o.prefixes.bound(o.meta.namespace) {
        let outside = "they lie outside of every --state-prefix of this namespace";
        return o.prefixes.admits(o.meta.namespace, &path).then_some(()).ok_or(outside);
    }
    // Its path was written by the operator, and is what Flink answered.
    if o.spec.existing.is_none() {
        return Ok(());
    }
    // Labels can be written by anyone: files elsewhere may be somebody else's.
    let made = o.status.is_made_by_operator();
    if made
        && o.spec
            .job()
            .is_some_and(|job| is_in_own_directory(&path, o.meta.namespace, job))
    {
        return Ok(());
    }
    Err("they were imported, and this namespace has no --state-prefix that would make them its own")
}

/// The cluster that is asked.
pub(super) struct Target<'o> {
    pub(super) session: &'o str,
    /// It is the one that the savepoint was taken on, or its job's: what it does not find is not there.
    pub(super) is_own: bool,
}

/// The cluster that took it, else the job's, else any of the namespace; None when there is none that answers.
pub(super) fn target<'o>(o: &'o Observed<'_>) -> Option<Target<'o>> {
    let of_job = || o.job().map(|job| job.spec.session_ref.name.as_str());
    let own = o.status.session.as_deref().or_else(of_job);
    let seen = |name: &str| o.sessions.iter().find(|session| session.name == name);
    if let Some(session) = own.and_then(seen) {
        if session.up {
            return Some(Target {
                session: session.name,
                is_own: true,
            });
        }
        let since = o.status.intent.as_ref().and_then(|intent| intent.unanswered_since);
        if since.is_none_or(|since| o.now < after(since, OWN_CLUSTER_FIRST)) {
            return None;
        }
    }
    let other = o.sessions.iter().find(|session| session.up)?;
    Some(Target {
        session: other.name,
        is_own: false,
    })
}

fn disposing(o: &Observed<'_>, rule: &'static str, status: SavepointStatus, message: String) -> Plan {
    let refusal = Refusal::new(Reason::Disposing, message);
    tell(
        o,
        rule,
        status,
        Verdict::reconciling(SavepointPhase::Disposing, refusal),
    )
}

/// Decides that the files go: from now on, no job may choose the savepoint.
pub(super) fn begin(o: &Observed<'_>, why: &str) -> Plan {
    let mut status = owned(o, o.status.clone());
    status.intent_mut().dispose = Some(DisposeIntent {
        decided: o.now,
        asked: None,
        session: None,
        failures: 0,
        again: None,
    });
    disposing(
        o,
        "dispose/begin",
        status,
        format!("Flink is to delete the files: {why}"),
    )
}

/// The rule.
pub(super) fn rule(o: &Observed<'_>) -> Option<Plan> {
    if o.status.phase != Some(SavepointPhase::Disposing) {
        return None;
    }
    let Some(dispose) = o.status.disposal() else {
        return Some(begin(o, "the record of it was lost"));
    };
    Some(match (dispose.asked, dispose.again) {
        (_, Some(again)) if o.now < again => stands(o, "dispose/back-off").at(again),
        (Some(_), Some(_)) => ask(o, dispose),
        (Some(asked), None) => follow(o, dispose, asked),
        (None, _) => prove(o, dispose),
    })
}

/// Nothing was asked for yet: does no job need it, beyond doubt?
fn prove(o: &Observed<'_>, dispose: &DisposeIntent) -> Plan {
    let Some(proof) = &o.proof else {
        let wants = Wants {
            proof: true,
            ..Wants::default()
        };
        return stands(o, "dispose/prove").want(wants).at(after(o.now, LOOK_AGAIN));
    };
    let needed = !proof.usage.users.is_empty() || proof.usage.claimed_by.is_some();
    let stays = o.meta.deleting.is_none() && !retention::is_expired(o, &proof.siblings, &proof.usage);
    if needed || stays {
        return back(o, proof);
    }
    ask(o, dispose)
}

/// It is needed after all, and nothing was done: it is as good as before.
fn back(o: &Observed<'_>, proof: &Proof<'_>) -> Plan {
    let mut status = o.status.clone();
    status.intent_mut().dispose = None;
    status.intent_mut().unanswered_since = None;
    if o.meta.deleting.is_some() {
        return deletion::blocked(o, status, &proof.usage);
    }
    let mut plan = settled::completed(o, "dispose/back", status, "the savepoint is complete");
    settled::note_usage(&mut plan.status, &proof.usage);
    plan
}

/// Writes down which cluster is asked, and when.
fn ask(o: &Observed<'_>, dispose: &DisposeIntent) -> Plan {
    let Some(target) = target(o) else {
        return no_answer(o, "no cluster of this namespace answers that could delete the files");
    };
    let mut status = o.status.clone();
    status.intent_mut().dispose = Some(DisposeIntent {
        asked: Some(o.now),
        session: Some(target.session.to_owned()),
        again: None,
        ..dispose.clone()
    });
    let message = format!("Flink deletes the files, by way of FlinkSession {:?}", target.session);
    disposing(o, "dispose/ask", status, message)
}

/// Flink is asked, or was.
fn follow(o: &Observed<'_>, dispose: &DisposeIntent, asked: Timestamp) -> Plan {
    if o.task.running {
        return stands(o, "dispose/in-flight");
    }
    let outcome = o.task.disposed.as_ref().filter(|(of, ..)| *of == asked);
    let Some((_, at, outcome)) = outcome else {
        return send(o, dispose, asked);
    };
    let is_own = target(o).is_some_and(|target| target.is_own && dispose.session.as_deref() == Some(target.session));
    match outcome {
        DisposalOutcome::Done => done(o, None),
        DisposalOutcome::NothingThere if is_own => done(o, None),
        DisposalOutcome::NothingThere => done(o, Some("the cluster that was asked found nothing there")),
        // Another request, from before a restart of this process, may be at it.
        DisposalOutcome::NoMetadata if dispose.failures == 0 => {
            retry(o, dispose, "the metadata is gone, and other files may be left")
        }
        DisposalOutcome::NoMetadata => done(
            o,
            Some("the metadata was gone, so that Flink cannot delete what may be left"),
        ),
        DisposalOutcome::Failed(_) if !is_own && dispose.failures >= 2 => {
            done(o, Some("the only cluster that answers cannot delete the files"))
        }
        DisposalOutcome::Failed(failure) => {
            let root = failure.root_cause().map(ToString::to_string);
            retry(o, dispose, root.as_deref().unwrap_or("Flink gives no cause"))
        }
        DisposalOutcome::NoAnswer(refusal) => {
            let again = after(*at, REPEAT);
            if o.now >= again {
                send(o, dispose, asked)
            } else {
                no_answer(o, &refusal.message).at(again)
            }
        }
    }
}

/// Sends the request to the cluster that stands in the status, or decides on another.
fn send(o: &Observed<'_>, dispose: &DisposeIntent, asked: Timestamp) -> Plan {
    let session = dispose.session.as_deref().unwrap_or_default();
    match target(o) {
        Some(target) if target.session == session => {
            stands(o, "dispose/send").then(Effect::Dispose(Box::new(DisposalRequest {
                path: o.status.path.clone().unwrap_or_default(),
                session: session.to_owned(),
                asked,
            })))
        }
        Some(_) => ask(o, dispose),
        None => no_answer(o, "no cluster of this namespace answers that could delete the files"),
    }
}

/// It failed: once more, later.
fn retry(o: &Observed<'_>, dispose: &DisposeIntent, why: &str) -> Plan {
    let failures = dispose.failures.max(0).saturating_add(1);
    let doublings = u32::try_from(failures.min(6) - 1).unwrap_or_default();
    let pause = (REPEAT * 2_u32.pow(doublings)).min(NO_ANSWER);
    let again = after(o.now, pause);
    let mut status = o.status.clone();
    let intent = status.intent_mut();
    intent.unanswered_since = None;
    intent.dispose = Some(DisposeIntent {
        failures,
        again: Some(again),
        ..dispose.clone()
    });
    let message = format!(
        "Flink could not delete the files, and is asked again at {}: {why}; to keep what is left, set deletionPolicy: Retain",
        again.strftime("%H:%M:%SZ")
    );
    disposing(o, "dispose/retry", status, message).at(again)
}

/// Nobody answers. The deletion of the resource waits for that, but not for ever.
fn no_answer(o: &Observed<'_>, why: &str) -> Plan {
    let mut status = o.status.clone();
    let since = *status.intent_mut().unanswered_since.get_or_insert(o.now);
    let until = after(since, NO_ANSWER);
    if o.meta.deleting.is_some() && o.now >= until {
        return deletion::left_behind(
            o,
            "dispose/no-answer",
            "no cluster that could delete them has answered for 5m",
        );
    }
    let message = if o.meta.deleting.is_some() {
        format!(
            "{why}; the resource goes without that at {}",
            until.strftime("%H:%M:%SZ")
        )
    } else {
        why.to_owned()
    };
    let next = after(o.now, SOON * 5);
    let next = if o.meta.deleting.is_some() {
        next.min(until)
    } else {
        next
    };
    disposing(o, "dispose/no-answer", status, message).at(next)
}

/// The files are gone, or as much of them as can go: the resource follows.
fn done(o: &Observed<'_>, but: Option<&str>) -> Plan {
    if let Some(why) = but
        && o.meta.deleting.is_some()
    {
        return deletion::left_behind(o, "dispose/done-but", why);
    }
    let path = o.status.path.as_deref().unwrap_or_default();
    let path: String = path.chars().take(400).collect();
    if o.meta.deleting.is_some() {
        let message = format!("Flink has deleted the files in {path}");
        return stands(o, "dispose/done").then(Effect::RemoveFinalizer).note(
            NoteKind::Normal,
            Reason::Disposing,
            message,
        );
    }
    let (kind, message) = match but {
        None => (
            NoteKind::Normal,
            format!("Flink has deleted the files in {path}, as retention says"),
        ),
        Some(why) => (NoteKind::Warning, format!("files may be left in {path}: {why}")),
    };
    stands(o, "dispose/expired")
        .then(Effect::Delete)
        .note(kind, Reason::Disposing, message)
}

#[cfg(test)]
mod tests {
    use super::super::case::{Case, effect, failure, location, refusal, seconds};
    use super::*;
    use crate::{
        api::savepoint::DisposalPolicy,
        flink::FailureKind,
        savepoint::{Plan, Usage},
    };

    /// Deleted with its files, which nobody needs: Flink is about to be asked.
    fn asked() -> Case {
        let mut case = Case::completed();
        case.finalizer = true;
        case.delete(DisposalPolicy::Dispose);
        case.persist("dispose/begin");
        assert!(case.still("dispose/prove").wants.proof);
        case.proof = Some((Usage::default(), Vec::new()));
        case.persist("dispose/ask");
        case
    }

    fn failed() -> DisposalOutcome {
        DisposalOutcome::Failed(failure(FailureKind::Other, "java.io.IOException"))
    }

    fn no_answer() -> DisposalOutcome {
        DisposalOutcome::NoAnswer(refusal(Reason::ClusterUnreachable))
    }

    fn request(plan: &Plan) -> (String, String, Timestamp) {
        match &plan.effect {
            Some(Effect::Dispose(request)) => (request.path.clone(), request.session.clone(), request.asked),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn it_is_written_down_then_proven_then_written_down_which_cluster_is_asked_and_then_asked() {
        let mut case = asked();
        let asked_at = case.now;
        let dispose = case.status.disposal().unwrap().clone();
        assert_eq!(
            (dispose.asked, dispose.session.as_deref()),
            (Some(asked_at), Some("etl"))
        );
        case.wait(1);
        let expected = (location(), "etl".to_owned(), asked_at);
        assert_eq!(request(&case.still("dispose/send")), expected);
        case.task.running = true;
        assert_eq!(effect(&case.still("dispose/in-flight")), "-");
        case.disposed(DisposalOutcome::Done);
        let plan = case.still("dispose/done");
        assert_eq!(effect(&plan), "RemoveFinalizer");
        assert!(
            matches!(&plan.notes[..], [note] if note.kind == NoteKind::Normal && note.message.contains(&location()))
        );
        // Another process knows nothing of the request, and Flink gives it no other name: it is asked again.
        case.task = crate::savepoint::Task::default();
        assert_eq!(request(&case.still("dispose/send")), expected);
    }

    #[test]
    fn a_record_that_was_lost_is_begun_anew() {
        let mut case = asked();
        case.status.intent = None;
        case.persist("dispose/begin");
        assert_eq!(case.status.disposal().unwrap().asked, None);
    }

    #[test]
    fn what_is_needed_after_all_is_as_good_as_before() {
        let users = Usage {
            users: vec!["FlinkSessionJob/a".to_owned()],
            ..Usage::default()
        };
        let claimed = Usage {
            claimed_by: Some("FlinkSessionJob/a".to_owned()),
            ..Usage::default()
        };
        for usage in [users, claimed] {
            let mut case = Case::made();
            case.spec_retention(Some(1), None);
            case.wait(5);
            case.persist("dispose/begin");
            case.proof = Some((usage.clone(), case.siblings.clone()));
            case.usage = usage.clone();
            case.persist("dispose/back");
            assert_eq!(case.reads(), "Completed/Completed Ready=True");
            assert_eq!(
                (&case.status.used_by, &case.status.claimed_by),
                (&usage.users, &usage.claimed_by)
            );
            assert_eq!(case.status.disposal(), None);
        }
    }

    #[test]
    fn what_flink_says_decides_what_becomes_of_the_resource() {
        let table = [
            (DisposalOutcome::Done, "dispose/done", "RemoveFinalizer"),
            (DisposalOutcome::NothingThere, "dispose/done", "RemoveFinalizer"),
            (DisposalOutcome::NoMetadata, "dispose/retry", "-"),
            (failed(), "dispose/retry", "-"),
            (no_answer(), "dispose/no-answer", "-"),
        ];
        for (outcome, rule, word) in table {
            let mut case = asked();
            case.disposed(outcome.clone());
            let plan = case.decide();
            assert_eq!((plan.rule, effect(&plan)), (rule, word), "{outcome:?}");
        }
    }

    #[test]
    fn a_disposal_that_failed_is_repeated_later_and_later_and_is_told() {
        let mut case = asked();
        for (failures, pause) in [(1, 10), (2, 20), (3, 40), (4, 80), (5, 160), (6, 300), (7, 300)] {
            case.disposed(failed());
            let plan = case.persist("dispose/retry");
            assert_eq!(case.reads(), "Disposing/Disposing Ready=False Reconciling");
            assert!(
                case.message().contains("the root of it") && case.message().contains("Retain"),
                "{}",
                case.message()
            );
            assert_eq!(
                (case.status.disposal().unwrap().failures, seconds(&case, &plan)),
                (failures, Some(pause))
            );
            assert_eq!(seconds(&case, &case.still("dispose/back-off")), Some(pause));
            case.wait(pause);
            case.persist("dispose/ask");
            assert_eq!(request(&case.still("dispose/send")).2, case.now);
        }
    }

    #[test]
    fn what_is_half_deleted_is_released_and_told() {
        let mut case = asked();
        case.disposed(DisposalOutcome::NoMetadata);
        case.persist("dispose/retry");
        case.wait(10);
        case.persist("dispose/ask");
        case.disposed(DisposalOutcome::NoMetadata);
        let plan = case.still("dispose/done-but");
        assert_eq!(effect(&plan), "RemoveFinalizer");
        assert!(
            matches!(&plan.notes[..], [note] if note.kind == NoteKind::Warning && note.message.contains(&location()))
        );
        case.disposed(DisposalOutcome::NothingThere);
        case.still("dispose/done");
    }

    #[test]
    fn a_request_without_an_answer_is_repeated_while_the_cluster_is_there() {
        let mut case = asked();
        case.disposed(no_answer());
        case.persist("dispose/no-answer");
        assert_eq!(seconds(&case, &case.still("dispose/no-answer")), Some(10));
        case.wait(10);
        assert_eq!(effect(&case.still("dispose/send")), "Dispose");
        // One that is gone by then is told of once.
        let mut gone = case.clone();
        gone.sessions.clear();
        gone.persist("dispose/no-answer");
        gone.still("dispose/no-answer");
        // It hangs for ever: that is waited for as long as for a cluster that is gone.
        for _ in 0..29 {
            case.disposed(no_answer());
            case.still("dispose/no-answer");
            case.wait(10);
        }
        assert_eq!(effect(&case.still("dispose/send")), "Dispose");
        case.disposed(no_answer());
        assert_eq!(effect(&case.still("dispose/no-answer")), "RemoveFinalizer");
        case.disposed(DisposalOutcome::Done);
        case.still("dispose/done");
    }

    #[test]
    fn without_a_cluster_the_resource_goes_after_five_minutes_and_the_path_is_told() {
        let mut case = Case::completed();
        case.finalizer = true;
        case.delete(DisposalPolicy::Dispose);
        case.sessions.clear();
        case.persist("dispose/begin");
        case.proof = Some((Usage::default(), Vec::new()));
        case.persist("dispose/no-answer");
        case.proof = Some((Usage::default(), Vec::new()));
        case.wait(299);
        let plan = case.still("dispose/no-answer");
        assert_eq!((effect(&plan), seconds(&case, &plan)), ("-", Some(1)));
        case.wait(1);
        let plan = case.still("dispose/no-answer");
        assert_eq!(effect(&plan), "RemoveFinalizer");
        assert!(
            matches!(&plan.notes[..], [note] if note.kind == NoteKind::Warning && note.message.contains(&location()))
        );
        // One that answers meanwhile is asked.
        case.sessions = vec![("etl", true)];
        case.persist("dispose/ask");
    }

    #[test]
    fn another_cluster_is_asked_when_its_own_is_gone_or_silent_for_a_minute() {
        let begun = |sessions: Vec<(&'static str, bool)>| {
            let mut case = Case::completed();
            case.finalizer = true;
            case.delete(DisposalPolicy::Dispose);
            case.sessions = sessions;
            case.persist("dispose/begin");
            case.proof = Some((Usage::default(), Vec::new()));
            case
        };
        let mut gone = begun(vec![("down", false), ("other", true)]);
        gone.persist("dispose/ask");
        assert_eq!(request(&gone.still("dispose/send")).1, "other");
        let mut silent = begun(vec![("etl", false), ("other", true)]);
        silent.persist("dispose/no-answer");
        silent.proof = Some((Usage::default(), Vec::new()));
        silent.wait(59);
        silent.still("dispose/no-answer");
        silent.wait(1);
        silent.persist("dispose/ask");
        assert_eq!(request(&silent.still("dispose/send")).1, "other");
        // Its own is back: what another does not find is not gone.
        let mut back = silent.clone();
        back.sessions = vec![("etl", true), ("other", true)];
        back.persist("dispose/ask");
        assert_eq!(request(&back.still("dispose/send")).1, "etl");
        silent.disposed(DisposalOutcome::NothingThere);
        let plan = silent.still("dispose/done-but");
        assert!(
            matches!(&plan.notes[..], [note] if note.kind == NoteKind::Warning),
            "{:?}",
            plan.notes
        );
        // It has no credentials for that store: that is not tried for ever.
        for rule in ["dispose/retry", "dispose/retry"] {
            gone.disposed(failed());
            gone.persist(rule);
            gone.wait(20);
            gone.persist("dispose/ask");
        }
        gone.disposed(failed());
        assert_eq!(effect(&gone.still("dispose/done-but")), "RemoveFinalizer");
    }

    #[test]
    fn an_outcome_of_another_request_is_none() {
        let mut case = asked();
        case.disposed(DisposalOutcome::Done);
        if let Some((of, ..)) = &mut case.task.disposed {
            *of = Timestamp::UNIX_EPOCH;
        }
        case.still("dispose/send");
    }
}
