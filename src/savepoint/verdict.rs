//! From a decision to phase and conditions.

use std::time::Duration;

use super::{Observed, Plan};
use crate::{
    api::{
        ConditionStatus, ConditionType, Reason, SavepointPhase, SavepointStatus, condition,
        savepoint_status::SavepointOrigin,
    },
    job::{Refusal, after, registry_id},
    plan::{Next, Note, NoteKind},
};

/// How the desired state stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Reached.
    Reached,
    /// Being worked on.
    Reconciling,
    /// A person has to act.
    Stalled,
}

/// Phase, reason and message of a decision.
#[derive(Debug, Clone)]
pub(super) struct Verdict {
    pub(super) phase: SavepointPhase,
    pub(super) standing: Standing,
    pub(super) reason: Reason,
    pub(super) message: String,
}

impl Verdict {
    pub(super) fn new(phase: SavepointPhase, standing: Standing, reason: Reason, message: impl Into<String>) -> Self {
        Self {
            phase,
            standing,
            reason,
            message: message.into(),
        }
    }

    pub(super) fn reconciling(phase: SavepointPhase, refusal: Refusal) -> Self {
        Self::new(phase, Standing::Reconciling, refusal.reason, refusal.message)
    }

    pub(super) fn stalled(phase: SavepointPhase, refusal: Refusal) -> Self {
        Self::new(phase, Standing::Stalled, refusal.reason, refusal.message)
    }

    /// Writes the verdict into a status.
    pub(super) fn write(self, o: &Observed<'_>, status: &mut SavepointStatus) {
        use ConditionType::{Ready, Reconciling, Stalled};
        let generation = o.meta.generation;
        status.observed_generation = generation;
        status.phase = Some(self.phase);
        status.id.get_or_insert_with(|| registry_id(o.meta.uid));
        status.origin.get_or_insert_with(|| origin(o));
        let conditions = &mut status.conditions;
        let (ready, other) = match self.standing {
            Standing::Reached => (ConditionStatus::True, None),
            Standing::Reconciling => (ConditionStatus::False, Some(Reconciling)),
            Standing::Stalled => (ConditionStatus::False, Some(Stalled)),
        };
        condition::set(conditions, Ready, ready, self.reason, &self.message, generation, o.now);
        for kind in [Reconciling, Stalled] {
            if other == Some(kind) {
                let holds = ConditionStatus::True;
                condition::set(conditions, kind, holds, self.reason, &self.message, generation, o.now);
            } else {
                condition::remove(conditions, kind);
            }
        }
    }
}

/// Who made it. What stands in labels is believed: it only decides what the job's own retention applies to.
fn origin(o: &Observed<'_>) -> SavepointOrigin {
    let unlabelled = if o.spec.existing.is_some() {
        SavepointOrigin::Import
    } else {
        SavepointOrigin::User
    };
    o.meta.made.origin.unwrap_or(unlabelled)
}

/// A plan that says this, whatever else it does.
pub(super) fn tell(o: &Observed<'_>, rule: &'static str, mut status: SavepointStatus, verdict: Verdict) -> Plan {
    verdict.write(o, &mut status);
    Plan::with(rule, status)
}

/// A plan that leaves what is said as it stands; a change of the spec that has no bearing on it is noted.
pub(super) fn stands(o: &Observed<'_>, rule: &'static str) -> Plan {
    let mut status = o.status.clone();
    if status.observed_generation != o.meta.generation
        && let Some(verdict) = told(&status)
    {
        verdict.write(o, &mut status);
    }
    Plan::with(rule, status)
}

/// What a status says.
pub(super) fn told(status: &SavepointStatus) -> Option<Verdict> {
    let ready = condition::find(&status.conditions, ConditionType::Ready)?;
    let reason = Reason::ALL
        .iter()
        .copied()
        .find(|reason| reason.as_str() == ready.reason)?;
    let stalled = condition::find(&status.conditions, ConditionType::Stalled).is_some();
    let standing = match ready.status {
        ConditionStatus::True => Standing::Reached,
        ConditionStatus::False | ConditionStatus::Unknown if stalled => Standing::Stalled,
        ConditionStatus::False | ConditionStatus::Unknown => Standing::Reconciling,
    };
    Some(Verdict::new(status.phase?, standing, reason, &ready.message))
}

/// Stamps a status that changed, and publishes what people should hear of.
pub(super) fn finish(o: &Observed<'_>, mut plan: Plan) -> Plan {
    if plan.status != *o.status {
        plan.status.updated_at = Some(o.now);
        if let Some(note) = transition(o.status, &plan.status) {
            plan.notes.insert(0, note);
        }
    }
    if let Next::At(time) = plan.next
        && time <= o.now
    {
        plan.next = Next::At(after(o.now, Duration::from_millis(100)));
    }
    plan
}

/// The Event of a transition: of the phase, or of the reason within it.
fn transition(old: &SavepointStatus, new: &SavepointStatus) -> Option<Note> {
    let ready = condition::find(&new.conditions, ConditionType::Ready)?;
    let before = condition::find(&old.conditions, ConditionType::Ready);
    if old.phase == new.phase && before.is_some_and(|before| before.reason == ready.reason) {
        return None;
    }
    let reason = Reason::ALL
        .iter()
        .copied()
        .find(|reason| reason.as_str() == ready.reason)?;
    let stalled = condition::find(&new.conditions, ConditionType::Stalled).is_some();
    let failed = new.phase == Some(SavepointPhase::Pending) && reason == Reason::SavepointFailed;
    let kind = if stalled || failed {
        NoteKind::Warning
    } else {
        NoteKind::Normal
    };
    Some(Note {
        kind,
        reason,
        message: ready.message.clone(),
    })
}
