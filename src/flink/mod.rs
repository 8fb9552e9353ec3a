//! Flink's REST protocol: identities, wire types, errors and the client. The only module that knows Flink's URLs.

mod checkpoints;
mod client;
mod endpoint;
mod error;
#[cfg(test)]
mod garbage;
pub mod id;
mod job_manager;
mod reply;
mod request;
mod state;
mod text;
mod transport;

pub use checkpoints::{Checkpoint, Checkpoints};
pub use client::FlinkClient;
pub use endpoint::{Auth, ClusterEndpoint, EndpointError, Secret, Tls};
pub use error::{Failure, FlinkError};
pub use id::{InstallationId, JarId, JobId, UidHash};
pub use job_manager::{JobManagerConfig, JobManagerIdentity};
pub use reply::{ClusterFeatures, ClusterOverview, Jar, JobDetails, JobFailure, JobOverview, RunReply, Uploaded};
pub use request::{ClaimMode, JarContent, RunRequest};
pub use state::JobState;
pub use text::Cause;
pub use transport::Observer;
