//! The words that a row of a table is compared with.

use std::fmt::Write as _;

use super::super::{Effect, Plan};
use crate::api::{ConditionStatus, ConditionType, JobStatus, condition};

/// What people and tools read: `Phase/Reason Ready=… [Reconciling|Stalled] Running=…`.
pub(in super::super) fn told(status: &JobStatus) -> String {
    let word = |status: ConditionStatus| match status {
        ConditionStatus::True => "True",
        ConditionStatus::False => "False",
        ConditionStatus::Unknown => "Unknown",
    };
    let of = |kind| condition::find(&status.conditions, kind).map_or("-", |c| word(c.status));
    let reason = condition::find(&status.conditions, ConditionType::Ready).map_or("-", |ready| &ready.reason);
    let mut text = format!(
        "{}/{reason} Ready={}",
        status.phase.map_or("-", |p| p.as_str()),
        of(ConditionType::Ready)
    );
    for kind in [ConditionType::Reconciling, ConditionType::Stalled] {
        if of(kind) == "True" {
            let _ = write!(text, " {kind:?}");
        }
    }
    let _ = write!(text, " Running={}", of(ConditionType::Running));
    text
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
