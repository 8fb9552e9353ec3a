//! What a decision about a job says.

use std::time::Duration;

use jiff::Timestamp;

use super::{Program, ScheduledSavepoint};
use crate::{
    api::{
        JobStatus,
        intent::{KeepIntent, RestoreIntent},
        job::SavepointFormat,
    },
    flink::{JarId, JobId, TriggerId},
    plan,
};

pub use crate::plan::{Next, Note, NoteKind};

/// A submission, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    /// The JobID that Flink is told to use.
    pub job_id: JobId,
    /// The jar.
    pub jar_id: JarId,
    /// How many times it may have been sent, this time included.
    pub tries: i32,
    /// It is not sent after this time.
    pub not_after: Timestamp,
    /// How long Flink may take to answer.
    pub timeout: Duration,
    /// The body.
    pub program: Program,
    /// The state that the job starts from.
    pub restore: Option<RestoreIntent>,
}

/// A stop with savepoint, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    /// The job.
    pub job_id: JobId,
    /// The id that Flink is told to use.
    pub trigger_id: TriggerId,
    /// The directory that the savepoint goes under.
    pub directory: String,
    /// Its format.
    pub format: SavepointFormat,
    /// It is not sent after this time.
    pub not_after: Timestamp,
}

/// One thing to do. Each runs only on a resource that the API server returned just now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Put our finalizer on the resource.
    AddFinalizer,
    /// Take our finalizer off: the resource is gone after that.
    RemoveFinalizer,
    /// Run the program.
    Submit(Box<Submission>),
    /// Stop a job with a savepoint.
    Stop(Box<Stop>),
    /// Cancel a job.
    Cancel(JobId),
    /// Make a savepoint a resource.
    Keep(Box<KeepIntent>),
    /// Create a Savepoint that the schedule asks for.
    Schedule(Box<ScheduledSavepoint>),
    /// Record a job in its session as released.
    Release(JobId),
}

/// What the decision needs before it can go on. Each is idempotent and changes nothing that matters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[allow(clippy::struct_excessive_bools, reason = "a set of wishes, each of its own")]
pub struct Wants {
    /// A job list that is begun from now on, and the JobManager's identity after it.
    pub confirm: bool,
    /// The program, variables expanded.
    pub program: bool,
    /// The jar on the cluster.
    pub jar: bool,
    /// The free slots.
    pub slots: bool,
    /// The permit to submit.
    pub permit: bool,
    /// Why the job failed.
    pub failure_cause: bool,
    /// The checkpoints of the job of the current attempt, read from now on.
    pub state: bool,
    /// The Savepoints of this job, read from now on.
    pub savepoints: bool,
    /// A look into the store that the checkpoints of a lost job are in.
    pub stored: bool,
    /// What became of the stop that is under way, asked from now on.
    pub stop: bool,
    /// Proof that the session does not exist.
    pub session_proof: bool,
    /// Whether the namespace is being deleted.
    pub namespace: bool,
    /// A job of this resource is in transition: poll faster.
    pub attention: bool,
}

/// What a decision about a job says.
pub type Plan = plan::Plan<JobStatus, Effect, Wants>;

impl Plan {
    /// Asks too whether the namespace is being deleted.
    #[must_use]
    pub fn and_namespace(mut self) -> Self {
        self.wants.namespace = true;
        self
    }
}
