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
