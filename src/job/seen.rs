//! What Flink tells of a job's state: its checkpoints, and what became of a stop with savepoint.

use std::time::Duration;

use jiff::Timestamp;

use super::Refusal;
use crate::{
    api::state::{CheckpointRetention, RestorePoint, StateKind},
    flink::JobId,
};

/// The checkpoints of one job, as they were read once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateSeen {
    /// The job.
    pub job_id: JobId,
    /// What becomes of its checkpoints.
    pub retention: CheckpointRetention,
    /// How often they are taken; None when they are not.
    pub interval: Option<Duration>,
    /// The newest completed checkpoint that can be restored from.
    pub checkpoint: Option<RestorePoint>,
    /// The paths of completed savepoints that the process remembers, newest first.
    pub savepoints: Vec<String>,
    /// What the job was restored from.
    pub restored: Option<String>,
    /// When it was read.
    pub read: Timestamp,
    /// It was read after the job's end, and so late that Flink did not answer from a cache: there comes nothing after it.
    pub last: bool,
}

/// How a request to stop with savepoint was answered.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum StopAnswer {
    /// Flink took it.
    Accepted,
    /// It provably did not reach Flink.
    NotSent(Refusal),
    /// Flink refused it.
    Refused(Refusal),
    /// Nothing is known.
    Unknown(Refusal),
}

/// What became of a stop with savepoint.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum StopSeen {
    /// It is under way.
    InProgress,
    /// The savepoint is complete, at this path. The job has finished, or failed at its very end.
    Taken(String),
    /// It failed, for the reason given.
    Failed(String),
    /// A task did not run when the request came. Nothing was done.
    TooEarly,
    /// The JobManager does not know the request: it never came, or was forgotten.
    Unknown,
    /// Flink could not be asked.
    NotAsked(Refusal),
}

/// A `Savepoint` resource that a start could take its state from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavepointKnown {
    /// `metadata.name`.
    pub name: String,
    /// What it is.
    pub kind: StateKind,
    /// The job that `spec.jobRef` names.
    pub job: Option<String>,
    /// How it stands.
    pub standing: SavepointStanding,
    /// The Flink job whose state it is.
    pub job_id: Option<JobId>,
}

/// How a `Savepoint` stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SavepointStanding {
    /// It is there, at this path, since that time.
    Completed {
        /// Where.
        path: String,
        /// Since when.
        time: Timestamp,
    },
    /// It is being taken.
    Pending,
    /// There is nothing to restore from, for the reason given.
    Unusable(String),
}
