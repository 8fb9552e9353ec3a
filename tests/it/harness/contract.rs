//! What every status must keep to, whatever happens: looked at in each step of each test.

use flink_job_operator::api::{FlinkSessionJob, Phase};
use serde_json::Value;

/// How tools that build on kstatus (Flux, Helm, Argo CD by our script) read a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kstatus {
    /// The desired state is reached.
    Current,
    /// Not yet.
    InProgress,
    /// It will not be reached without a person.
    Failed,
    /// It is being deleted.
    Terminating,
    /// It cannot be read.
    Unknown,
}

/// kstatus's algorithm for custom resources.
pub fn kstatus(object: &Value) -> Kstatus {
    if object["metadata"]["deletionTimestamp"].is_string() {
        return Kstatus::Terminating;
    }
    let observed = &object["status"]["observedGeneration"];
    if !observed.is_null() {
        match observed.as_i64() {
            None => return Kstatus::Unknown,
            Some(observed) if object["metadata"]["generation"].as_i64() != Some(observed) => {
                return Kstatus::InProgress;
            }
            Some(_) => {}
        }
    }
    let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    // The first in the order of the list counts.
    for condition in conditions.iter().filter(|condition| condition["status"] == "True") {
        match condition["type"].as_str() {
            Some("Reconciling") => return Kstatus::InProgress,
            Some("Stalled") => return Kstatus::Failed,
            _ => {}
        }
    }
    let ready = conditions.iter().find(|condition| condition["type"] == "Ready");
    match ready.and_then(|ready| ready["status"].as_str()) {
        Some("False" | "Unknown") => Kstatus::InProgress,
        _ => Kstatus::Current,
    }
}

/// Fails when a status breaks the contract.
pub fn check(job: &FlinkSessionJob) {
    let Some(status) = &job.status else { return };
    if status.observed_generation == -1 {
        // As the API server made it.
        return;
    }
    let text = serde_json::to_string(status).unwrap();
    assert!(text.len() <= 32 * 1024, "a status of {} bytes", text.len());
    assert!(status.runs.len() <= 10, "{text}");
    let value = serde_json::to_value(job).unwrap();
    let conditions = value["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let find = |kind: &str| conditions.iter().find(|condition| condition["type"] == kind);
    for condition in &conditions {
        let message = condition["message"].as_str().unwrap();
        assert!(!message.is_empty() && message.len() <= 1024, "{condition}");
    }
    let Some(ready) = find("Ready") else {
        // A record that is written ahead of the first verdict, such as an owner, says nothing yet.
        assert!(status.phase.is_none(), "a phase without conditions: {text}");
        return;
    };
    for kind in ["Ready", "Running", "Accepted"] {
        let condition = find(kind).unwrap_or_else(|| panic!("{kind} is missing: {text}"));
        assert_eq!(
            condition["observedGeneration"].as_i64(),
            Some(status.observed_generation),
            "{text}"
        );
    }
    // Present means True, and only one of them.
    let (reconciling, stalled) = (find("Reconciling"), find("Stalled"));
    for condition in reconciling.iter().chain(&stalled) {
        assert_eq!(condition["status"], "True", "{text}");
        assert_eq!(condition["reason"], ready["reason"], "{text}");
    }
    assert!(reconciling.is_none() || stalled.is_none(), "{text}");
    let running = find("Running").and_then(|running| running["status"].as_str());
    let phase = status.phase.unwrap();
    let row = (
        ready["status"].as_str().unwrap(),
        reconciling.is_some(),
        stalled.is_some(),
    );
    let rows: &[(&str, bool, bool)] = match phase {
        Phase::Draft | Phase::Suspended => &[("True", false, false), ("False", false, true), ("False", true, false)],
        Phase::Running | Phase::Finished | Phase::Cancelled => &[("True", false, false), ("False", false, true)],
        Phase::Pending => &[("False", true, false), ("False", false, true)],
        Phase::Submitting | Phase::Restarting | Phase::Suspending | Phase::Cancelling => {
            &[("False", true, false), ("False", false, true)]
        }
        Phase::Unknown => &[("Unknown", true, false)],
        Phase::Failed | Phase::Lost => &[("False", false, true)],
        Phase::Deleting => &[("False", true, false)],
    };
    assert!(rows.contains(&row), "{phase:?} with {row:?}: {text}");
    let running_fits = match phase {
        Phase::Running => running == Some("True"),
        Phase::Unknown => running == Some("Unknown"),
        Phase::Restarting | Phase::Suspending | Phase::Cancelling | Phase::Deleting => true,
        // What became of a submission whose answer was lost is not known.
        Phase::Submitting => running != Some("True"),
        Phase::Draft
        | Phase::Pending
        | Phase::Suspended
        | Phase::Cancelled
        | Phase::Finished
        | Phase::Failed
        | Phase::Lost => running == Some("False"),
    };
    assert!(running_fits, "{phase:?} with Running={running:?}: {text}");
}
