//! The entry: an ordered list of rules, the first that applies decides.

use super::{Effect, Observed, Plan, deletion, dispose, import, resolve, settled, trigger, verdict};
use crate::{
    api::{Reason, SavepointPhase, SavepointStatus},
    plan::NoteKind,
};

/// A rule: a plan where it applies.
type Rule = fn(&Observed<'_>) -> Option<Plan>;

/// The rules, in order. Where none applies, a savepoint is to be taken.
const RULES: &[Rule] = &[
    // The resource is being deleted: let it go, unless what is under way is to be seen to its end.
    deletion::rule,
    // An attempt was decided on: send it, or find out what became of it.
    resolve::rule,
    // The files are to be deleted: see it to its end.
    dispose::rule,
    // It has come to an end: keep what is said of it true.
    settled::rule,
    // It is there already: register it.
    import::rule,
];

/// Decides what to do with a Savepoint. Total and pure.
#[must_use]
pub fn decide(o: &Observed<'_>) -> Plan {
    // Another installation wrote the record: the resource is left to it.
    if let Some(plan) = foreign(o) {
        return plan;
    }
    let plan = RULES
        .iter()
        .find_map(|rule| rule(o))
        .unwrap_or_else(|| trigger::rule(o));
    let plan = deletion::watch_namespace(o, finalizer(o, plan));
    verdict::finish(o, plan)
}

/// The record names another installation: two operators must not drive one resource.
fn foreign(o: &Observed<'_>) -> Option<Plan> {
    let owner = o.status.intent.as_ref()?.owner.as_deref()?;
    let ours = o.installation.to_string();
    (owner != ours).then(|| {
        let message = format!(
            "installation {owner} of the operator drives this resource, this is installation {ours}: nothing is done. \
             Stop one of them; to hand the resource over, delete status.intent"
        );
        Plan::keep("foreign", o.status).note(NoteKind::Warning, Reason::StateUnknown, message)
    })
}

/// Puts the finalizer on before an effect that its deletion has to know of, and takes it off when nothing is left to do.
fn finalizer(o: &Observed<'_>, mut plan: Plan) -> Plan {
    if o.meta.deleting.is_some() {
        return plan;
    }
    match (needs_finalizer(o, &plan.status), o.meta.finalizer) {
        (true, false) => plan.effect = Some(Effect::AddFinalizer),
        (false, true) if plan.effect.is_none() => plan.effect = Some(Effect::RemoveFinalizer),
        (true, true) | (false, _) => {}
    }
    plan
}

/// Whether something is to be done, or to be told, when the resource is deleted.
fn needs_finalizer(o: &Observed<'_>, status: &SavepointStatus) -> bool {
    match status.phase {
        // Without a record of an attempt, a finalizer tells that there was one.
        None | Some(SavepointPhase::Pending) => o.meta.finalizer,
        Some(SavepointPhase::InProgress) => true,
        Some(SavepointPhase::Completed | SavepointPhase::Disposing) => o.spec.disposes() && status.claimed_by.is_none(),
        Some(SavepointPhase::Failed | SavepointPhase::Abandoned) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::case::{Case, effect, location};
    use crate::{api::savepoint::DisposalPolicy, flink::SavepointStatus as Told};

    #[test]
    fn what_another_installation_drives_is_left_to_it() {
        let mut case = Case::accepted();
        case.told(Ok(Told::Completed { location: location() }));
        case.status.intent_mut().owner = Some("ffffffff".to_owned());
        let plan = case.still("foreign");
        assert_eq!((effect(&plan), plan.wants), ("-", super::super::Wants::default()));
        assert!(plan.notes[0].message.contains("ffffffff"), "{:?}", plan.notes);
        case.delete(DisposalPolicy::Retain);
        assert_eq!(effect(&case.still("foreign")), "-");
    }

    #[test]
    fn the_finalizer_is_there_while_a_deletion_has_something_to_do() {
        let mut case = Case::accepted();
        case.told(Ok(Told::Completed { location: location() }));
        case.settle();
        assert_eq!(effect(&case.decide()), "RemoveFinalizer");
        case.finalizer = false;
        case.policy(DisposalPolicy::Dispose);
        assert_eq!(effect(&case.settle()), "AddFinalizer");
        case.finalizer = true;
        assert_eq!(effect(&case.settle()), "-");
        case.usage.claimed_by = Some("FlinkSessionJob/a".to_owned());
        assert_eq!(
            effect(&case.settle()),
            "RemoveFinalizer",
            "there is nothing to dispose of"
        );
        // One that is being deleted gets none: the API server would refuse it.
        let mut case = Case::triggered();
        case.finalizer = false;
        case.delete(DisposalPolicy::Dispose);
        assert_eq!(effect(&case.settle()), "-");
    }
}
