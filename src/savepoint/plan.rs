//! What a decision about a savepoint says.

use jiff::Timestamp;

use crate::{
    api::{SavepointStatus, savepoint_status::TriggerIntent},
    plan,
};

/// A request for a savepoint, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TriggerRequest {
    /// What stands in the status.
    pub intent: TriggerIntent,
    /// The `FlinkSession` whose cluster is asked.
    pub session: String,
}

/// A request for a disposal, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DisposalRequest {
    /// What is deleted.
    pub path: String,
    /// The `FlinkSession` whose cluster is asked.
    pub session: String,
    /// When that was decided on, as it stands in the status.
    pub asked: Timestamp,
}

/// One thing to do. Each runs only on a resource that the API server returned just now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Put our finalizer on the resource.
    AddFinalizer,
    /// Take our finalizer off. A resource that is being deleted is gone after that.
    RemoveFinalizer,
    /// Ask for the savepoint.
    Trigger(Box<TriggerRequest>),
    /// Have the files deleted.
    Dispose(Box<DisposalRequest>),
    /// Delete the resource.
    Delete,
}

/// What the decision needs before it can go on. Each is idempotent and changes nothing that matters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[allow(clippy::struct_excessive_bools, reason = "a set of wishes, each of its own")]
pub struct Wants {
    /// Proof that the job does not exist.
    pub job_proof: bool,
    /// Who the JobManager is, from now on.
    pub identity: bool,
    /// What became of the savepoint.
    pub outcome: bool,
    /// The history of checkpoints, from now on.
    pub history: bool,
    /// Whether `_metadata` is there.
    pub metadata: bool,
    /// Who uses it, beyond doubt.
    pub proof: bool,
    /// Whether the namespace is being deleted.
    pub namespace: bool,
}

/// What a decision about a savepoint says.
pub type Plan = plan::Plan<SavepointStatus, Effect, Wants>;
