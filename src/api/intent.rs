//! The write-ahead record: what was decided on and not yet seen to its end. Internal, and the ground that the exactly-once
//! protocol stands on.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    job::{LocalRef, SavepointFormat},
    state::{MAX_PATH, StateKind},
};
use crate::flink::{JarId, JobId, TriggerId};

/// Why the operator ends a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum CancelPurpose {
    /// To start another attempt.
    Upgrade,
    /// For `state: Suspended`.
    Suspend,
    /// For `state: Cancelled`.
    Cancel,
    /// For the deletion of the resource.
    Delete,
    /// The job carries our mark but is not the current attempt.
    Stray,
}

/// The state that a submission starts from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestoreIntent {
    /// What it is.
    pub kind: StateKind,
    /// Where it is.
    #[schemars(length(max = MAX_PATH))]
    pub path: String,
    /// The Savepoint that it was found by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub savepoint_ref: Option<LocalRef>,
    /// Flink takes the files over.
    #[serde(default)]
    pub claim: bool,
    /// State that the program has no operator for is dropped.
    #[serde(default)]
    pub allow_non_restored_state: bool,
}

/// A submission that was decided on.
///
/// Written before the request. The JobID and the jar id together can never run twice: Flink refuses the JobID within one
/// JobManager process, and the jar id exists in one process only.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SubmitIntent {
    /// The JobID that Flink is told to use.
    pub job_id: JobId,
    /// The uploaded jar.
    pub jar_id: JarId,
    /// The JobManager process that the jar was uploaded to.
    #[schemars(length(max = 64))]
    pub job_manager: String,
    /// A hash of the request's body; only this body may be sent again.
    #[schemars(length(max = 64))]
    pub body_hash: String,
    /// The state that it starts from; every try takes the same. Absent for a start without state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore: Option<RestoreIntent>,
    /// How many times the request may have been sent.
    pub tries: i32,
    /// When the first request of this JobID and jar was decided on: the start of the window for repeats.
    pub first_try: Timestamp,
    /// The request is not sent after this time.
    pub not_after: Timestamp,
    /// Until then the request that was decided on last may still take effect.
    pub unresolved: Timestamp,
    /// The same for requests before the last one whose result is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub earlier_unresolved: Option<Timestamp>,
}

/// A cancellation that was decided on.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CancelIntent {
    /// The job.
    pub job_id: JobId,
    /// Why.
    pub purpose: CancelPurpose,
    /// The next start takes the newest retained checkpoint, which is read after the job's end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub last_state: bool,
}

/// A stop with savepoint that was decided on.
///
/// Flink answers a trigger id that it knows with the operation that it stands for, so that the request may be sent again to
/// one JobManager process. The directory, which no other stop has, finds the savepoint when the process has forgotten the
/// id: that takes `rest.async.store-duration`, or a restart.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StopIntent {
    /// The job.
    pub job_id: JobId,
    /// Why.
    pub purpose: CancelPurpose,
    /// The id that Flink is told to use.
    pub trigger_id: TriggerId,
    /// The directory that the savepoint goes under.
    #[schemars(length(max = MAX_PATH))]
    pub directory: String,
    /// Its format.
    pub format: SavepointFormat,
    /// How many stops of this job were decided on for this purpose.
    pub tries: i32,
    /// When it was decided on.
    pub decided: Timestamp,
    /// When the next step is due: another stop after one that failed; a cancellation when the job does not end after its
    /// savepoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Timestamp>,
    /// The savepoint, once it is complete. What is left is the end of the job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_PATH))]
    pub location: Option<String>,
}

/// A savepoint that is to become a Savepoint resource.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeepIntent {
    /// The name of the Savepoint.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Where the savepoint is.
    #[schemars(length(max = MAX_PATH))]
    pub path: String,
    /// The job whose state it is.
    pub job_id: JobId,
    /// Why it was taken.
    pub purpose: CancelPurpose,
    /// Its format.
    pub format: SavepointFormat,
    /// When it was complete.
    pub time: Timestamp,
}

/// The write-ahead record. Internal: its fields may change between versions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Intent {
    /// The installation that wrote it. Another installation leaves the resource alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    pub owner: Option<String>,
    /// A submission whose result is not known yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub submit: Option<SubmitIntent>,
    /// A stop with savepoint that has not been seen to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<StopIntent>,
    /// A cancellation that has not been seen to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel: Option<CancelIntent>,
    /// A savepoint that is to become a resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<KeepIntent>,
    /// Since when a cluster has not answered while the resource is being deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unanswered_since: Option<Timestamp>,
}
