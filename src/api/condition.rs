//! Status conditions in the shape that kstatus, Flux, Argo CD, Helm and `kubectl wait` read.
//!
//! `Ready` is always there. `Reconciling` and `Stalled` are there only while they are True (abnormal-true), never both:
//! kstatus takes the first of them in list order.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Reason;

/// The longest condition message, in bytes.
pub const MAX_MESSAGE: usize = 1024;

/// A condition's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum ConditionType {
    /// The desired state is reached.
    Ready,
    /// The operator works towards the desired state; nobody needs to do anything.
    Reconciling,
    /// Nothing will change until a person does something.
    Stalled,
    /// The spec is one that can be run.
    Accepted,
    /// The Flink cluster answers and takes jobs.
    ClusterReady,
    /// A job runs.
    Running,
    /// A restorable point that is young enough exists.
    StateSafe,
    /// Every configuration key takes effect.
    ConfigEffective,
    /// A job was seen restored from this savepoint.
    Verified,
}

/// True, False or Unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// It cannot be known now.
    Unknown,
}

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What the condition is about.
    pub r#type: ConditionType,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// The generation of the spec that the condition was decided on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// When the status last changed.
    pub last_transition_time: Timestamp,
    /// One stable word.
    #[schemars(length(max = 64))]
    pub reason: String,
    /// What happened, then what to do.
    #[schemars(length(max = 1024))]
    pub message: String,
}

/// Sets a condition; its transition time moves only when its status changes.
pub fn set(
    conditions: &mut Vec<Condition>,
    r#type: ConditionType,
    status: ConditionStatus,
    reason: Reason,
    message: &str,
    generation: i64,
    now: Timestamp,
) {
    let message = bounded(message);
    let mut fresh = Condition {
        r#type,
        status,
        observed_generation: Some(generation),
        last_transition_time: now,
        reason: reason.as_str().to_owned(),
        message,
    };
    if let Some(old) = conditions.iter_mut().find(|c| c.r#type == r#type) {
        if old.status == fresh.status {
            fresh.last_transition_time = old.last_transition_time;
        }
        *old = fresh;
    } else {
        conditions.push(fresh);
        conditions.sort_by_key(|c| c.r#type);
    }
}

/// Removes a condition that does not apply.
pub fn remove(conditions: &mut Vec<Condition>, r#type: ConditionType) {
    conditions.retain(|c| c.r#type != r#type);
}

/// The condition of a type.
#[must_use]
pub fn find(conditions: &[Condition], r#type: ConditionType) -> Option<&Condition> {
    conditions.iter().find(|c| c.r#type == r#type)
}

/// A message cut to [`MAX_MESSAGE`] bytes at a character boundary.
#[must_use]
pub fn bounded(message: &str) -> String {
    if message.len() <= MAX_MESSAGE {
        return message.to_owned();
    }
    let mut cut = MAX_MESSAGE - 3;
    while cut > 0 && !message.is_char_boundary(cut) {
        cut -= 1;
    }
    format!("{}…", message.get(..cut).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transition_time_moves_with_the_status_only() {
        let mut conditions = Vec::new();
        let [t1, t2, t3] = [1, 2, 3].map(|s| Timestamp::from_second(s).unwrap());
        set(
            &mut conditions,
            ConditionType::Ready,
            ConditionStatus::False,
            Reason::Submitting,
            "a",
            1,
            t1,
        );
        set(
            &mut conditions,
            ConditionType::Ready,
            ConditionStatus::False,
            Reason::Queued,
            "b",
            1,
            t2,
        );
        assert_eq!(conditions[0].last_transition_time, t1);
        set(
            &mut conditions,
            ConditionType::Ready,
            ConditionStatus::True,
            Reason::Running,
            "c",
            1,
            t3,
        );
        assert_eq!((conditions.len(), conditions[0].last_transition_time), (1, t3));
    }

    #[test]
    fn messages_are_bounded() {
        let long = "é".repeat(2000);
        assert!(bounded(&long).len() <= MAX_MESSAGE && bounded(&long).ends_with('…'));
    }
}
