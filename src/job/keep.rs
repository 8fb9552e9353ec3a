//! A savepoint that the operator took becomes a resource of its own, which outlives the job.

use super::{Effect, NoteKind, Observed, Plan, decide};
use crate::api::{Reason, intent::KeepIntent, job::LocalRef};

/// The savepoint is on record: it is made a resource before anything else happens to the job.
pub(super) fn rule(o: &Observed<'_>) -> Option<Plan> {
    let keep = o.status.keep()?;
    if o.task.kept.as_ref().is_some_and(|(path, _)| *path == keep.path) || o.namespace_terminating {
        // In a namespace that goes away nothing can be created any more.
        return None;
    }
    Some(Plan::keep("keep/create", o.status).then(Effect::Keep(Box::new(keep.clone()))))
}

/// Whether this process made it a resource.
pub(super) fn is_kept(o: &Observed<'_>, keep: &KeepIntent) -> bool {
    let outcome = o.task.kept.as_ref().filter(|(path, _)| *path == keep.path);
    outcome.is_some_and(|(_, outcome)| outcome.is_ok())
}

/// The savepoint is a resource, or cannot become one: either way it is off the record. With the next write, unless that
/// would hold up a submission.
pub(super) fn settle(o: &Observed<'_>, mut plan: Plan) -> Plan {
    let Some(keep) = o.status.keep().filter(|_| !decide::is_foreign(o)) else {
        return plan;
    };
    let outcome = match &o.task.kept {
        Some((path, outcome)) if *path == keep.path => outcome,
        _ => return plan,
    };
    let idle = plan.effect.is_none() && o.status.submission().is_none();
    let decided = o.status.observed_generation == o.meta.generation;
    if plan.status == *o.status && !(idle && decided) {
        return plan;
    }
    if let Some(intent) = plan
        .status
        .intent
        .as_mut()
        .filter(|intent| intent.keep.as_ref() == Some(keep))
    {
        intent.keep = None;
    }
    match outcome {
        Ok(name) => {
            let state = plan.status.state.as_mut();
            if let Some(latest) = state
                .and_then(|state| state.latest.as_mut())
                .filter(|latest| latest.path == keep.path)
            {
                latest.savepoint_ref = Some(LocalRef { name: name.clone() });
            }
            plan
        }
        Err(refusal) => {
            let message = format!(
                "the savepoint at {} could not be made a Savepoint resource: {}. Create one with spec.existing.path to keep it",
                keep.path, refusal.message
            );
            plan.note(NoteKind::Warning, Reason::SavepointFailed, message)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        StopSeen,
        case::{Case, effect, refusal, told},
    };
    use super::*;
    use crate::{
        api::{
            FlinkSessionJobSpec,
            intent::CancelPurpose,
            job::{DeletionPolicy, DeletionType, DesiredState, SavepointFormat, SavepointPolicy, UpgradeMode},
            state::StateKind,
        },
        flink::JobState,
    };

    /// A job that was stopped in this mode, for that edit: its savepoint is to become a resource.
    fn stopped(edit: impl FnOnce(&mut FlinkSessionJobSpec), deleting: bool) -> Case {
        let mut case = Case::running();
        case.edit(|spec| spec.upgrade_mode = UpgradeMode::Savepoint);
        case.edit(edit);
        case.deleting = deleting;
        case.persist("stop/intend");
        let location = case.location();
        case.hear(StopSeen::Taken(location));
        case.list(JobState::Finished);
        // Closed with the same write that tells what comes next.
        let plan = case.decide();
        case.persist(plan.rule);
        assert_eq!(case.status.stop(), None);
        case
    }

    fn suspended() -> Case {
        stopped(|spec| spec.state = DesiredState::Suspended, false)
    }

    /// Which savepoints are made of a stop, and under what names.
    #[test]
    fn every_stop_makes_one_that_is_named_after_what_it_was_for() {
        type Edit = fn(&mut FlinkSessionJobSpec);
        let delete: Edit = |spec| {
            spec.deletion_policy = Some(DeletionPolicy {
                kind: Some(DeletionType::Savepoint),
                timeout: None,
            });
        };
        let rows: [(Edit, bool, &str, CancelPurpose); 3] = [
            (
                |spec| spec.job.args.clear(),
                false,
                "j-1-upgrade",
                CancelPurpose::Upgrade,
            ),
            (
                |spec| spec.state = DesiredState::Suspended,
                false,
                "j-1-suspend",
                CancelPurpose::Suspend,
            ),
            (delete, true, "j-1-deletion", CancelPurpose::Delete),
        ];
        for (edit, deleting, name, purpose) in rows {
            let case = stopped(edit, deleting);
            let plan = case.still("keep/create");
            let Some(Effect::Keep(keep)) = &plan.effect else {
                panic!("{plan:#?}");
            };
            assert_eq!((keep.name.as_str(), keep.purpose), (name, purpose));
            let latest = case.status.latest_state().unwrap();
            assert_eq!((latest.kind, &latest.path), (StateKind::Savepoint, &keep.path));
            assert_eq!((Some(keep.job_id), Some(keep.time)), (latest.job_id, latest.time));
        }
    }

    #[test]
    fn the_next_attempt_has_a_name_of_its_own_and_the_format_is_that_of_the_policy() {
        let mut case = suspended();
        let keep = case.settle();
        case.turn(&keep);
        case.settle();
        case.edit(|spec| {
            spec.state = DesiredState::Running;
            spec.savepoint_policy = Some(SavepointPolicy {
                format: Some(SavepointFormat::Canonical),
                ..SavepointPolicy::default()
            });
        });
        case.persist("start/intend");
        case.list(JobState::Running);
        let path = case.status.submission().unwrap().restore.clone().unwrap().path;
        case.state = super::super::Input::Ready(super::super::StateSeen {
            restored: Some(path),
            ..case.stateless()
        });
        case.settle();
        case.edit(|spec| spec.state = DesiredState::Suspended);
        case.persist("stop/intend");
        let location = case.location();
        case.hear(StopSeen::Taken(location));
        case.list(JobState::Finished);
        case.persist("idle/settled");
        let keep = case.status.keep().unwrap();
        assert_eq!(
            (keep.name.as_str(), keep.format),
            ("j-2-suspend", SavepointFormat::Canonical)
        );
    }

    /// What else is done waits for the resource, and the record of it goes when it is there.
    #[test]
    fn it_is_a_resource_before_anything_else_happens() {
        let mut case = suspended();
        case.edit(|spec| spec.state = DesiredState::Running);
        let plan = case.still("keep/create");
        case.turn(&plan);
        // The start waits for nothing else, and takes the record off with its own write.
        case.persist("start/intend");
        assert_eq!(case.status.keep(), None);
        let reference = case.status.latest_state().unwrap().savepoint_ref.clone();
        assert_eq!(
            reference.map(|reference| reference.name).as_deref(),
            Some("j-1-suspend")
        );
        // Of another path nothing follows.
        let mut case = suspended();
        case.task.kept = Some(("s3://b/other".to_owned(), Ok("other".to_owned())));
        assert_eq!(effect(&case.still("keep/create")), "Keep");
    }

    #[test]
    fn a_submission_under_way_is_not_held_up_by_a_write_of_its_own() {
        let mut case = stopped(|spec| spec.job.args.clear(), false);
        assert!(
            case.status.submission().is_some(),
            "it is decided on with the same write"
        );
        let plan = case.still("keep/create");
        case.turn(&plan);
        assert_eq!(effect(&case.still("submit/send")), "Submit");
        case.task.running = true;
        case.still("submit/in-flight");
        assert!(case.status.keep().is_some());
        case.task.running = false;
        case.list(JobState::Running);
        case.persist("submit/seen");
        assert_eq!(case.status.keep(), None);
    }

    #[test]
    fn one_under_another_name_is_referred_to_by_that_name() {
        let mut case = suspended();
        let path = case.status.keep().unwrap().path.clone();
        case.task.kept = Some((path, Ok("j-1-suspend-0badcafe".to_owned())));
        case.settle();
        let reference = case.status.latest_state().unwrap().savepoint_ref.clone();
        assert_eq!(reference.unwrap().name, "j-1-suspend-0badcafe");
        assert_eq!(case.status.keep(), None);
    }

    #[test]
    fn one_that_cannot_become_a_resource_is_told_once_with_its_path_and_holds_nothing_up() {
        let mut case = suspended();
        let path = case.status.keep().unwrap().path.clone();
        case.task.kept = Some((path.clone(), Err(refusal(Reason::SavepointFailed))));
        let plan = case.decide();
        let told_of: Vec<_> = plan.notes.iter().filter(|note| note.message.contains(&path)).collect();
        assert_eq!(told_of.len(), 1, "{:?}", plan.notes);
        assert_eq!(
            (told_of[0].kind, told_of[0].reason),
            (NoteKind::Warning, Reason::SavepointFailed)
        );
        case.settle();
        assert_eq!(case.status.keep(), None);
        assert_eq!(case.status.latest_state().unwrap().savepoint_ref, None);
        assert_eq!(told(&case.status), "Suspended/Suspended Ready=True Running=False");
        assert!(case.decide().notes.is_empty());
    }

    #[test]
    fn nothing_is_created_in_a_namespace_that_goes_away_and_the_path_is_told() {
        let mut case = stopped(
            |spec| {
                spec.deletion_policy = Some(DeletionPolicy {
                    kind: Some(DeletionType::Savepoint),
                    timeout: None,
                });
            },
            true,
        );
        case.namespace_terminating = true;
        let plan = case.still("delete/release");
        assert_eq!(effect(&plan), "RemoveFinalizer");
        let path = &case.status.keep().unwrap().path;
        assert!(
            plan.notes.iter().any(|note| note.message.contains(path)),
            "{:?}",
            plan.notes
        );
        // Another that is one, or one that could not become one, changes nothing.
        for (path, outcome) in [
            ("s3://b/other", Ok("other".to_owned())),
            (path.as_str(), Err(refusal(Reason::SavepointFailed))),
        ] {
            let mut case = case.clone();
            case.task.kept = Some((path.to_owned(), outcome));
            let plan = case.decide();
            let told = plan
                .notes
                .iter()
                .filter(|note| note.message.contains("no Savepoint resource names it"));
            assert_eq!(told.count(), 1, "{:?}", plan.notes);
        }
        // Where it is one, nothing needs to be told.
        case.task.kept = Some((path.clone(), Ok("j-1-deletion".to_owned())));
        case.settle();
        assert!(case.still("delete/release").notes.is_empty());
    }

    #[test]
    fn the_record_of_another_installation_is_left_alone() {
        let mut case = suspended();
        case.status.intent_mut().owner = Some("ffffffff".to_owned());
        let path = case.status.keep().unwrap().path.clone();
        assert_eq!(effect(&case.still("foreign")), "-");
        case.task.kept = Some((path, Ok("j-1-suspend".to_owned())));
        assert_eq!(effect(&case.still("foreign")), "-");
    }
}
