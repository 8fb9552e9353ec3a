//! What is on record of a job's state: where it can be restored from, and what it was restored from.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::job::LocalRef;
use crate::flink::JobId;

/// The longest path of a savepoint or checkpoint, in characters: as long as an object's key in S3 may be, with its bucket
/// and scheme.
pub const MAX_PATH: usize = 1200;

/// What a restorable point is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum StateKind {
    /// Taken on request, owned by whoever asked.
    #[default]
    Savepoint,
    /// Taken by Flink, and retained.
    Checkpoint,
}

/// A state that a job can be started from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestorePoint {
    /// What it is.
    pub kind: StateKind,
    /// The folder that `_metadata` is in.
    #[schemars(length(max = MAX_PATH))]
    pub path: String,
    /// The Flink job whose state it is, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_id: Option<JobId>,
    /// The time of the state: when Flink began to take it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Timestamp>,
    /// The Savepoint that describes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub savepoint_ref: Option<LocalRef>,
    /// It is not restored from any more: a job claimed its files (`claimMode: Claim`), or Flink deletes them with the job.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gone: bool,
}

/// What an attempt was started from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestoredFrom {
    /// What it is.
    pub kind: StateKind,
    /// The folder that `_metadata` is in.
    #[schemars(length(max = MAX_PATH))]
    pub path: String,
    /// The Savepoint that it was found by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub savepoint_ref: Option<LocalRef>,
    /// The job owns its files now (`claimMode: Claim`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub claimed: bool,
    /// Whether Flink says that the job was restored from it. Absent until Flink was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed: Option<bool>,
}

/// What the start under way takes, or the next one, until a job was seen to run on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Resume {
    /// What `spec.restore` says: a first start, or one that `restore.nonce` forces.
    Restore,
    /// `latest`.
    Latest,
    /// The newest Savepoint of the job: `restartPolicy.restoreFrom: LatestSavepoint`.
    Savepoint,
    /// No state: `upgradeMode: Stateless`.
    Empty,
    /// It cannot be known whether a newer state than `latest` exists. A person has to choose.
    Unknown,
}

/// What becomes of a job's checkpoints when it ends, from `GET /jobs/:jobid/checkpoints/config`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum CheckpointRetention {
    /// The job takes none, but on request.
    NoCheckpoints,
    /// They are deleted whenever the job ends (`NO_EXTERNALIZED_CHECKPOINTS`).
    DeletedOnEnd,
    /// They stay when it fails, and are deleted when it is cancelled (`DELETE_ON_CANCELLATION`).
    RetainedOnFailure,
    /// They stay (`RETAIN_ON_CANCELLATION`).
    Retained,
}

/// What is known of a job's checkpoints, once for each attempt.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Checkpointing {
    /// The Flink job.
    pub job_id: JobId,
    /// What becomes of them.
    pub retention: CheckpointRetention,
    /// How often they are taken, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval_seconds: Option<i64>,
    /// They were read after the job's end: `latest` is the last of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub last: bool,
}

/// What is on record of a job's state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StateRecord {
    /// The newest state that the job can be restored from, as far as it was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest: Option<RestorePoint>,
    /// What the current attempt was started from. Absent for a start without state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored_from: Option<RestoredFrom>,
    /// What the start under way takes, or the next one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume: Option<Resume>,
    /// The checkpoints of the current attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpointing: Option<Checkpointing>,
    /// The newest slot of `savepointPolicy.schedule` that was seen to; at first, when the schedule was first seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduled: Option<Timestamp>,
    /// Digests of the paths whose files a job claimed; the newest ten.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10), inner(length(max = 64)))]
    pub claimed: Vec<String>,
}
