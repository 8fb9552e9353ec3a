//! Flink's REST protocol: identities, wire types, errors and the client. The only module that knows Flink's URLs.

pub mod id;
mod state;

pub use id::{InstallationId, JarId, JobId, UidHash};
pub use state::JobState;
