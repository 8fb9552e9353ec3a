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

/// A message of at most [`MAX_MESSAGE`] bytes as JSON writes it, cut at a character boundary. Control characters, which
/// JSON writes in six bytes and terminals obey, become spaces.
#[must_use]
pub fn bounded(message: &str) -> String {
    let length = |c: char| c.len_utf8() + usize::from(matches!(c, '"' | '\\'));
    let fits = message.chars().map(length).sum::<usize>() <= MAX_MESSAGE;
    let room = if fits {
        MAX_MESSAGE
    } else {
        MAX_MESSAGE - '…'.len_utf8()
    };
    let mut text = String::with_capacity(message.len().min(room + 3));
    let mut used = 0;
    for c in message.chars() {
        let c = if c.is_control() { ' ' } else { c };
        used += length(c);
        if used > room {
            text.push('…');
            break;
        }
        text.push(c);
    }
    text
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
        for long in ["é", "\"", "\\", "\u{1}", "\n", "\u{1f980}"] {
            let cut = bounded(&long.repeat(2000));
            let json = serde_json::to_string(&cut).unwrap();
            assert!(
                json.len() <= MAX_MESSAGE + 2 && cut.ends_with('…'),
                "{long:?}: {}",
                json.len()
            );
        }
        let short = "what happened, then what to do".repeat(30);
        assert_eq!(bounded(&short), short);
    }
}
