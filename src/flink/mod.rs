//! Flink's REST protocol: identities, wire types, errors and the client. The only module that knows Flink's URLs.

mod client;
mod endpoint;
mod error;
#[cfg(test)]
mod garbage;
pub mod id;
mod reply;
mod request;
mod state;
mod text;
mod transport;

pub use client::FlinkClient;
pub use endpoint::{Auth, ClusterEndpoint, EndpointError, Secret, Tls};
pub use error::{Failure, FlinkError};
pub use id::{InstallationId, JarId, JobId, UidHash};
pub use reply::{
    Checkpoint, Checkpoints, ClusterFeatures, ClusterOverview, Jar, JobDetails, JobFailure, JobManagerConfig,
    JobManagerIdentity, JobOverview, RunReply, Uploaded,
};
pub use request::{ClaimMode, JarContent, RunRequest};
pub use state::JobState;
pub use text::Cause;
pub use transport::Observer;
