//! The custom resources of group `flinkjobs.dev/v1alpha1`: types, defaults, CEL rules, conditions and reasons.
//!
//! What is written here is what `kubectl explain` prints. Rules that CEL can express stand on the types and are
//! refused by the API server; the others are checked in the reconcile and end in conditions.

pub mod condition;
mod crd;
mod duration;
pub mod intent;
pub mod job;
pub mod keys;
mod reason;
pub mod savepoint;
pub mod savepoint_status;
pub mod session;
pub mod session_job;
pub mod state;
pub mod status;

pub use condition::{Condition, ConditionStatus, ConditionType};
pub use crd::{all as crds, to_yaml};
pub use duration::GoDuration;
pub use reason::Reason;
pub use savepoint::{Savepoint, SavepointSpec};
pub use savepoint_status::{SavepointPhase, SavepointStatus};
pub use session::{FlinkSession, FlinkSessionSpec, FlinkSessionStatus};
pub use session_job::{FlinkSessionJob, FlinkSessionJobSpec};
pub use status::{JobStatus, Phase};

/// The API group of all kinds.
pub const GROUP: &str = "flinkjobs.dev";

/// The API version of all kinds.
pub const VERSION: &str = "v1alpha1";
