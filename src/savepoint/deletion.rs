//! The resource is being deleted: let it go, with its files where the policy says so.

use std::time::Duration;

use jiff::Timestamp;

use super::{
    Effect, Observed, Plan, Usage, dispose, settled,
    trigger::LOOK_AGAIN,
    verdict::{Verdict, stands, tell},
};
use crate::{
    api::{ConditionType, Reason, SavepointPhase, SavepointStatus, condition},
    job::{Refusal, after},
    plan::{Next, NoteKind},
};

/// In a namespace that is being deleted nobody can wait longer than this.
const TERMINATING_TIMEOUT: Duration = Duration::from_secs(60);

/// A list that showed users which the cache does not have is believed for so long.
const BELIEVED: Duration = Duration::from_secs(5);

/// The rule. It does not apply while the attempt under way, or the disposal, is to be seen to its end first.
pub(super) fn rule(o: &Observed<'_>) -> Option<Plan> {
    let since = o.meta.deleting?;
    if !o.meta.finalizer {
        return Some(stands(o, "delete/gone"));
    }
    if !o.spec.disposes() {
        return Some(released(o));
    }
    if o.namespace_terminating && o.now >= after(since, TERMINATING_TIMEOUT) {
        return Some(left_behind(
            o,
            "delete/terminating",
            "the namespace is being deleted, which does not wait",
        ));
    }
    if o.status.triggered().is_some() {
        return None;
    }
    match o.status.phase {
        Some(SavepointPhase::Completed) => Some(complete(o)),
        Some(SavepointPhase::Disposing) => None,
        None
        | Some(
            SavepointPhase::Pending | SavepointPhase::InProgress | SavepointPhase::Failed | SavepointPhase::Abandoned,
        ) => Some(released(o)),
    }
}

/// The namespace's own end is looked for while something holds the resource up.
pub(super) fn watch_namespace(o: &Observed<'_>, mut plan: Plan) -> Plan {
    let Some(since) = o.meta.deleting else { return plan };
    if !o.meta.finalizer || plan.effect.is_some() {
        return plan;
    }
    plan.wants.namespace = true;
    if o.namespace_terminating {
        let until = after(since, TERMINATING_TIMEOUT);
        plan.next = match plan.next {
            Next::At(time) => Next::At(time.min(until)),
            Next::OnChange => Next::At(until),
        };
    }
    plan
}

/// It is there, and is to go with its files.
fn complete(o: &Observed<'_>) -> Plan {
    let claimed = o.status.claimed_by.as_ref().or(o.usage.claimed_by.as_ref());
    if let Some(job) = claimed {
        let message = format!("{job} took the files over (claimMode: Claim); they are left to it");
        return stands(o, "delete/claimed").then(Effect::RemoveFinalizer).note(
            NoteKind::Normal,
            Reason::Disposing,
            message,
        );
    }
    if let Err(why) = dispose::may_dispose(o) {
        return left_behind(o, "delete/not-ours", why);
    }
    if !o.usage.users.is_empty() {
        return blocked(o, o.status.clone(), &o.usage);
    }
    let ready = condition::find(&o.status.conditions, ConditionType::Ready);
    let told = ready.is_some_and(|ready| ready.reason == Reason::DeletionBlocked.as_str());
    let written: Timestamp = o.status.updated_at.unwrap_or(Timestamp::MIN);
    if told && o.now < after(written, BELIEVED) {
        return stands(o, "delete/believed").at(after(written, BELIEVED));
    }
    dispose::begin(o, "the resource is being deleted")
}

/// Jobs need it.
pub(super) fn blocked(o: &Observed<'_>, mut status: SavepointStatus, usage: &Usage) -> Plan {
    settled::note_usage(&mut status, usage);
    let message = format!(
        "the files are needed by {}; change or delete that, or keep them with deletionPolicy: Retain",
        usage.users.join(", ")
    );
    let refusal = Refusal::new(Reason::DeletionBlocked, message);
    let verdict = Verdict::reconciling(SavepointPhase::Completed, refusal);
    tell(o, "delete/blocked", status, verdict).at(after(o.now, LOOK_AGAIN))
}

/// Lets it go, and its files where they are.
fn released(o: &Observed<'_>) -> Plan {
    let plan = stands(o, "delete/release").then(Effect::RemoveFinalizer);
    let short = |path: &str| path.chars().take(400).collect::<String>();
    if let Some(trigger) = o.status.triggered() {
        let message = format!(
            "released while Flink was taking the savepoint; if it completes, it is in {}",
            short(&trigger.directory)
        );
        return plan.note(NoteKind::Warning, Reason::StateUnknown, message);
    }
    let path = o.status.path.as_deref().unwrap_or_default();
    if o.status.disposal().is_some_and(|dispose| dispose.asked.is_some()) {
        let message = format!("released while Flink was deleting the files in {}", short(path));
        return plan.note(NoteKind::Warning, Reason::StateUnknown, message);
    }
    match o.status.abandoned_paths.first() {
        Some(directory) if o.spec.disposes() => {
            let message = format!(
                "files of an attempt whose end is not known may be left in {}; look there",
                short(directory)
            );
            plan.note(NoteKind::Warning, Reason::StateUnknown, message)
        }
        Some(_) | None => plan,
    }
}

/// Lets it go although its files were to go with it.
pub(super) fn left_behind(o: &Observed<'_>, rule: &'static str, why: &str) -> Plan {
    let trigger = o.status.triggered().map(|trigger| trigger.directory.as_str());
    let path = o.status.path.as_deref().or(trigger).unwrap_or_default();
    let path: String = path.chars().take(400).collect();
    let message = format!("released the resource, and files may be left in {path}: {why}");
    stands(o, rule)
        .then(Effect::RemoveFinalizer)
        .note(NoteKind::Warning, Reason::DeletionBlocked, message)
}

#[cfg(test)]
mod tests {
    use super::super::case::{Case, DIRECTORY, Reach, effect, entry, job_id, location, refusal, seconds, seen};
    use super::*;
    use crate::{
        api::savepoint::DisposalPolicy::{Dispose, Retain},
        flink::{JobState, SavepointStatus as Told},
        savepoint::TriggerOutcome,
    };

    const IMPORT: &str = "s3://bucket/savepoints/savepoint-1";

    /// Complete, with a policy and a finalizer that fits it, and about to be deleted.
    fn deleted(policy: crate::api::savepoint::DisposalPolicy) -> Case {
        let mut case = Case::completed();
        case.finalizer = policy == Dispose;
        case.delete(policy);
        case
    }

    #[test]
    fn one_without_our_finalizer_is_let_be() {
        let mut case = deleted(Dispose);
        case.finalizer = false;
        let plan = case.settle();
        assert_eq!((plan.rule, effect(&plan)), ("delete/gone", "-"));
    }

    #[test]
    fn what_is_retained_is_released_at_once_whatever_goes_on() {
        let mut unsent = Case::triggered();
        unsent.task.unsent = Some(unsent.trigger().trigger_id);
        let mut disposing = deleted(Dispose);
        disposing.persist("dispose/begin");
        let mut asked = disposing.clone();
        asked.settle();
        assert!(asked.decide().wants.proof);
        asked.proof = Some((Usage::default(), Vec::new()));
        asked.persist("dispose/ask");
        let mut down = Case::accepted();
        down.reach = Reach::Down(Reason::ClusterUnreachable);
        let table = vec![
            (Case::triggered(), Some(DIRECTORY.to_owned())),
            (Case::accepted(), Some(DIRECTORY.to_owned())),
            (down, Some(DIRECTORY.to_owned())),
            (unsent, Some(DIRECTORY.to_owned())),
            (Case::completed(), None),
            (disposing, None),
            (asked, Some(location())),
        ];
        for (n, (mut case, told)) in table.into_iter().enumerate() {
            case.finalizer = true;
            case.delete(Retain);
            let plan = case.settle();
            assert_eq!((plan.rule, effect(&plan)), ("delete/release", "RemoveFinalizer"), "{n}");
            let notes: Vec<_> = plan.notes.iter().map(|note| (note.kind, &note.message)).collect();
            match told {
                Some(path) => assert!(
                    matches!(&notes[..], [(NoteKind::Warning, message)] if message.contains(&path)),
                    "{n}: {notes:?}"
                ),
                None => assert_eq!(notes, [], "{n}"),
            }
        }
    }

    #[test]
    fn files_that_jobs_need_stay_until_the_user_says_otherwise() {
        let mut case = deleted(Dispose);
        case.usage.users = vec!["FlinkSessionJob/a".to_owned(), "FlinkSessionJob/b".to_owned()];
        let plan = case.settle();
        assert_eq!(case.reads(), "Completed/DeletionBlocked Ready=False Reconciling");
        assert_eq!(case.status.used_by, case.usage.users);
        let message = case.message();
        assert!(
            message.contains("FlinkSessionJob/a, FlinkSessionJob/b") && message.contains("Retain"),
            "{message}"
        );
        assert_eq!((effect(&plan), seconds(&case, &plan)), ("-", Some(30)));
        let mut released = case.clone();
        released.policy(Retain);
        assert_eq!(effect(&released.settle()), "RemoveFinalizer");
        case.usage.users.clear();
        case.wait(5);
        case.persist("dispose/begin");
        assert_eq!(case.reads(), "Disposing/Disposing Ready=False Reconciling");
    }

    // The cache shows no user, a list that was begun later does: the cache must not undo at once what the list says.
    #[test]
    fn a_list_is_believed_more_than_the_cache() {
        let mut case = deleted(Dispose);
        case.persist("dispose/begin");
        case.usage.users = vec!["FlinkSessionJob/a".to_owned()];
        case.proof = Some((case.usage.clone(), Vec::new()));
        case.usage.users.clear();
        case.persist("delete/blocked");
        assert_eq!(case.reads(), "Completed/DeletionBlocked Ready=False Reconciling");
        assert_eq!((case.status.disposal(), case.status.used_by.len()), (None, 1));
        let plan = case.still("delete/believed");
        assert_eq!(seconds(&case, &plan), Some(5));
        case.wait(5);
        case.persist("dispose/begin");
    }

    #[test]
    fn what_is_being_taken_is_seen_to_its_end_and_goes_then() {
        let mut case = Case::accepted();
        case.delete(Dispose);
        case.settle();
        assert!(case.status.triggered().is_some());
        let mut done = case.clone();
        done.told(Ok(Told::Completed { location: location() }));
        done.persist("resolve/complete");
        done.persist("dispose/begin");
        let mut failed = case.clone();
        failed.told(Ok(Told::Failed(super::super::case::failure(
            crate::flink::FailureKind::Other,
            "x",
        ))));
        let plan = failed.settle();
        assert_eq!(
            (failed.reads().as_str(), effect(&plan)),
            ("Failed/SavepointFailed Ready=False Stalled", "RemoveFinalizer")
        );
        assert!(plan.notes.is_empty());
        case.wait(600);
        let plan = case.settle();
        assert_eq!(effect(&plan), "RemoveFinalizer");
        assert!(
            plan.notes.iter().any(|note| note.message.contains(DIRECTORY)),
            "{:?}",
            plan.notes
        );
        // Nothing was sent: there is nothing to wait for.
        let mut unsent = Case::triggered();
        unsent.task.unsent = Some(unsent.trigger().trigger_id);
        unsent.sent(TriggerOutcome::NotSent(refusal(Reason::ClusterUnreachable)));
        unsent.task.unsent = Some(unsent.trigger().trigger_id);
        unsent.delete(Dispose);
        assert_eq!(effect(&unsent.settle()), "RemoveFinalizer");
        assert!(unsent.status.abandoned_paths.is_empty());
    }

    #[test]
    fn what_a_job_took_over_is_left_to_it() {
        for known in [false, true] {
            let mut case = deleted(Dispose);
            let claimed = Some("FlinkSessionJob/a".to_owned());
            if known {
                case.status.claimed_by.clone_from(&claimed);
            } else {
                case.usage.claimed_by.clone_from(&claimed);
            }
            let plan = case.settle();
            assert_eq!((plan.rule, effect(&plan)), ("delete/claimed", "RemoveFinalizer"));
            assert!(plan.notes.iter().any(|note| note.message.contains("FlinkSessionJob/a")));
        }
    }

    #[test]
    fn files_that_were_there_before_go_only_where_the_administrator_says_whose_they_are() {
        let import = |prefix: Option<&str>, change: fn(&mut Case)| {
            let mut case = Case::import(IMPORT);
            case.spec.existing.as_mut().unwrap().verify = Some(false);
            case.policy(Dispose);
            change(&mut case);
            case.settle();
            case.finalizer = true;
            case.prefixes = prefix
                .map(|prefix| prefix.parse().unwrap())
                .into_iter()
                .collect::<Vec<_>>()
                .into();
            case.delete(Dispose);
            case.settle()
        };
        let left = import(None, |_| {});
        assert_eq!((left.rule, effect(&left)), ("delete/not-ours", "RemoveFinalizer"));
        assert!(matches!(&left.notes[..], [note] if note.kind == NoteKind::Warning && note.message.contains(IMPORT)));
        assert_eq!(import(Some("team-b=s3://bucket/"), |_| {}).rule, "delete/not-ours");
        assert_eq!(import(Some("team-a=s3://bucket/"), |_| {}).rule, "dispose/prove");
        // Its prefix was changed since.
        assert_eq!(import(Some("team-a=s3://elsewhere/"), |_| {}).rule, "delete/not-ours");
        // Labels alone make nothing one's own, but where the operator puts the savepoints of this very job.
        let label = |case: &mut Case| case.made.origin = Some(crate::api::savepoint_status::SavepointOrigin::Upgrade);
        assert_eq!(import(None, label).rule, "delete/not-ours");
        let own = |case: &mut Case| {
            case.made.origin = Some(crate::api::savepoint_status::SavepointOrigin::Upgrade);
            case.spec.job_ref = Case::new().spec.job_ref;
            case.spec.existing.as_mut().unwrap().path = location();
        };
        assert_eq!(import(None, own).rule, "dispose/prove");
        let unlabelled = |case: &mut Case| {
            case.spec.job_ref = Case::new().spec.job_ref;
            case.spec.existing.as_mut().unwrap().path = location();
        };
        assert_eq!(import(None, unlabelled).rule, "delete/not-ours");
    }

    #[test]
    fn a_namespace_that_goes_is_not_held_up_for_longer_than_a_minute() {
        let mut blocked = deleted(Dispose);
        blocked.usage.users = vec!["FlinkSessionJob/a".to_owned()];
        let mut taken = Case::accepted();
        taken.delete(Dispose);
        let mut disposing = deleted(Dispose);
        disposing.persist("dispose/begin");
        disposing.sessions.clear();
        disposing.proof = Some((Usage::default(), Vec::new()));
        for (n, mut case) in [blocked, taken, disposing].into_iter().enumerate() {
            let plan = case.settle();
            assert!(plan.wants.namespace, "{n}");
            case.namespace_terminating = true;
            case.wait(59);
            let plan = case.settle();
            assert_eq!(
                (effect(&plan), seconds(&case, &plan)),
                ("-", Some(1)),
                "{n}: {}",
                plan.rule
            );
            case.wait(1);
            let plan = case.still("delete/terminating");
            assert_eq!(effect(&plan), "RemoveFinalizer", "{n}");
            let path = if n == 1 { DIRECTORY.to_owned() } else { location() };
            assert!(
                plan.notes.iter().any(|note| note.message.contains(&path)),
                "{n}: {:?}",
                plan.notes
            );
        }
        assert!(!Case::accepted().decide().wants.namespace);
    }

    #[test]
    fn a_savepoint_whose_attempt_was_found_meanwhile_is_deleted_with_it() {
        let mut case = Case::triggered();
        case.delete(Dispose);
        case.unknown();
        case.jobs = vec![seen(job_id(), JobState::Finished)];
        case.looked(0, vec![entry(&location())]);
        case.persist("resolve/found");
        case.persist("dispose/begin");
    }
}
