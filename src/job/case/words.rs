//! The words that a row of a table is compared with.

use super::super::{Effect, Plan};
use crate::{
    api::{ConditionType, JobStatus, Phase},
    driving,
};

/// What people and tools read: `Phase/Reason Ready=… [Reconciling|Stalled] Running=…`.
pub(in super::super) fn told(status: &JobStatus) -> String {
    let phase = status.phase.map(Phase::as_str);
    let running = driving::word(&status.conditions, ConditionType::Running);
    format!("{} Running={running}", driving::told(phase, &status.conditions))
}

/// The effect, in one word.
pub(in super::super) fn effect(plan: &Plan) -> &'static str {
    match &plan.effect {
        None => "-",
        Some(Effect::AddFinalizer) => "AddFinalizer",
        Some(Effect::RemoveFinalizer) => "RemoveFinalizer",
        Some(Effect::Submit(_)) => "Submit",
        Some(Effect::Stop(_)) => "Stop",
        Some(Effect::Keep(_)) => "Keep",
        Some(Effect::Schedule(_)) => "Schedule",
        Some(Effect::Cancel(_)) => "Cancel",
        Some(Effect::Release(_)) => "Release",
    }
}
