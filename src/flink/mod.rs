//! Flink's REST protocol: identities, wire types, errors and the client. The only module that knows Flink's URLs.

mod client;
mod endpoint;
mod error;
#[cfg(test)]
mod garbage;
pub mod id;
mod path;
mod reply;
mod request;
mod savepoint;
mod state;
mod text;
mod transport;

pub use client::FlinkClient;
pub use endpoint::{Auth, ClusterEndpoint, EndpointError, Secret, Tls};
pub use error::{Failure, FlinkError};
pub use id::{InstallationId, JarId, JobId, TriggerId, UidHash};
pub use path::{InvalidPath, StatePath, is_same_place, lies_under, one_spelling};
pub use reply::{
    Checkpoint, CheckpointConfig, Checkpoints, ClusterFeatures, ClusterOverview, DisposalStatus, FailureKind, Jar,
    JobDetails, JobFailure, JobManagerConfig, JobManagerIdentity, JobOverview, OperationFailure, RunReply,
    SavepointEntry, SavepointState, SavepointStatus, TriggerReply, Uploaded,
};
pub use request::{ClaimMode, JarContent, RunRequest, SavepointFormat, SavepointRequest};
pub use state::JobState;
pub use text::Cause;
pub use transport::Observer;
