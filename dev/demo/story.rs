//! What a job's status says, in words for a person.

use flink_job_operator::api::{
    Condition, ConditionStatus, ConditionType, FlinkSessionJob, Phase, condition, status::Run,
};
use jiff::Timestamp;

/// How good the news is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// As asked.
    Good,
    /// On the way.
    Busy,
    /// Somebody must do something.
    Bad,
}

/// One change of a job that a person wants to see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Moment {
    /// The phase.
    pub(crate) phase: String,
    /// What happened.
    pub(crate) text: String,
    /// How good it is.
    pub(crate) tone: Tone,
}

/// The condition of a type.
pub(crate) fn condition_of(job: &FlinkSessionJob, kind: ConditionType) -> Option<&Condition> {
    let status = job.status.as_ref()?;
    condition::find(&status.conditions, kind)
}

fn holds(job: &FlinkSessionJob, kind: ConditionType) -> bool {
    condition_of(job, kind).is_some_and(|condition| condition.status == ConditionStatus::True)
}

/// Whether the newest spec runs.
pub(crate) fn runs_as_asked(job: &FlinkSessionJob) -> bool {
    let Some(status) = &job.status else { return false };
    status.phase == Some(Phase::Running)
        && Some(status.observed_generation) == job.metadata.generation
        && holds(job, ConditionType::Ready)
}

/// Why nothing will happen any more, when a person must do something.
pub(crate) fn stalled(job: &FlinkSessionJob) -> Option<String> {
    let stalled = condition_of(job, ConditionType::Stalled)?;
    (stalled.status == ConditionStatus::True).then(|| format!("{}: {}", stalled.reason, stalled.message))
}

/// How good the job's status is.
pub(crate) fn tone(job: &FlinkSessionJob) -> Tone {
    if holds(job, ConditionType::Stalled) {
        Tone::Bad
    } else if holds(job, ConditionType::Ready) {
        Tone::Good
    } else {
        Tone::Busy
    }
}

/// The phase, `-` before the first status.
pub(crate) fn phase(job: &FlinkSessionJob) -> &'static str {
    let phase = job.status.as_ref().and_then(|status| status.phase);
    phase.map_or("-", Phase::as_str)
}

/// What is new in `now`, if it is worth a line.
pub(crate) fn news(before: Option<&FlinkSessionJob>, now: &FlinkSessionJob) -> Option<Moment> {
    let told = |job: &FlinkSessionJob| {
        let status = job.status.as_ref()?;
        let ready = condition_of(job, ConditionType::Ready)?;
        Some((status.phase, ready.reason.clone(), status.attempt, tone(job)))
    };
    if told(now).is_none() || before.and_then(told) == told(now) {
        return None;
    }
    let ready = condition_of(now, ConditionType::Ready)?;
    let attempt = now.status.as_ref().and_then(|status| status.attempt);
    let text = match stalled(now) {
        Some(stalled) => stalled,
        None if ready.reason == phase(now) => ready.message.clone(),
        None => format!("{}: {}", ready.reason, ready.message),
    };
    let text = match attempt {
        Some(attempt) => format!("attempt {attempt}  {text}"),
        None => text,
    };
    Some(Moment {
        phase: phase(now).to_owned(),
        text,
        tone: tone(now),
    })
}

/// The rows of the live view: a word and what it says.
pub(crate) fn rows(job: &FlinkSessionJob, now: Timestamp) -> Vec<(String, String)> {
    let Some(status) = &job.status else {
        return Vec::new();
    };
    let mut rows = Vec::new();
    let since = |run: &Run| run.start_time.map(|start| spoken(now.duration_since(start)));
    let flink = match (&status.flink_state, status.live_run().and_then(since)) {
        (Some(state), Some(time)) => format!("{state} for {time}"),
        (Some(state), None) => state.clone(),
        (None, _) => "-".to_owned(),
    };
    let parallelism = status.parallelism.map(|number| format!(", parallelism {number}"));
    rows.push(("Flink".to_owned(), flink + &parallelism.unwrap_or_default()));
    for run in status.runs.iter().take(3) {
        let ended = match (run.outcome, run.start_time, run.end_time) {
            (Some(outcome), Some(start), Some(end)) => {
                format!("  {outcome:?} after {}", spoken(end.duration_since(start)))
            }
            (Some(outcome), _, _) => format!("  {outcome:?}"),
            (None, _, _) => String::new(),
        };
        rows.push((format!("Attempt {}", run.attempt), format!("{}{ended}", run.job_id)));
    }
    for condition in &status.conditions {
        let held = format!("{:?}", condition.status);
        let text = format!("{held:<8}{:<12} {}", condition.reason, condition.message);
        rows.push((format!("{:?}", condition.r#type), text));
    }
    rows
}

/// A time as a person says it.
pub(crate) fn spoken(time: jiff::SignedDuration) -> String {
    match time.as_secs() {
        ..0 => "0.0 s".to_owned(),
        0..10 => format!("{:.1} s", time.as_secs_f64()),
        seconds @ 10..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        seconds => format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn job(status: &Value) -> FlinkSessionJob {
        serde_json::from_value(json!({
            "apiVersion": "flinkjobs.dev/v1alpha1", "kind": "FlinkSessionJob",
            "metadata": {"name": "j", "generation": 2},
            "spec": {"sessionRef": {"name": "s"}, "job": {"entryClass": "A"}},
            "status": status,
        }))
        .unwrap()
    }

    fn condition(kind: &str, status: &str, reason: &str) -> Value {
        json!({"type": kind, "status": status, "reason": reason, "message": "because",
               "lastTransitionTime": "2026-01-01T00:00:00Z"})
    }

    #[test]
    fn only_what_a_person_wants_to_see_is_news() {
        let fresh = job(&json!({"observedGeneration": -1}));
        assert_eq!(news(None, &fresh), None);
        let busy = job(&json!({"observedGeneration": 2, "phase": "Pending",
            "conditions": [condition("Ready", "False", "Queued")]}));
        let moment = news(Some(&fresh), &busy).unwrap();
        assert_eq!(
            (moment.phase.as_str(), moment.text.as_str(), moment.tone),
            ("Pending", "Queued: because", Tone::Busy)
        );
        assert_eq!(news(Some(&busy), &busy.clone()), None);
        let running = job(&json!({"observedGeneration": 2, "phase": "Running", "attempt": 1,
            "conditions": [condition("Ready", "True", "Running")]}));
        assert_eq!(news(Some(&busy), &running).unwrap().text, "attempt 1  because");
    }

    #[test]
    fn running_counts_for_the_newest_spec_only() {
        let status = |generation| {
            json!({"observedGeneration": generation, "phase": "Running",
            "conditions": [condition("Ready", "True", "Running")]})
        };
        assert!(runs_as_asked(&job(&status(2))));
        assert!(!runs_as_asked(&job(&status(1))));
    }

    #[test]
    fn a_stall_names_its_reason() {
        let job = job(&json!({"observedGeneration": 2, "phase": "Failed", "conditions": [
            condition("Ready", "False", "JobFailed"), condition("Stalled", "True", "JobFailed")]}));
        assert_eq!(stalled(&job).as_deref(), Some("JobFailed: because"));
        assert_eq!(tone(&job), Tone::Bad);
    }
}
