//! Names that the operator writes into metadata, and the annotations and labels that it reads.

/// Finalizer on a job resource: a job of it may run on a Flink cluster.
pub const JOB_FINALIZER: &str = "flinkjobs.dev/job";

/// Finalizer on a `FlinkSession`: jobs of it may run.
pub const SESSION_FINALIZER: &str = "flinkjobs.dev/session";

/// Label that its owner puts on a Secret to let the operator read it: `jobs` (variables) or `sessions` (REST credentials).
pub const USABLE_BY_LABEL: &str = "flinkjobs.dev/usable-by";

/// Annotation that its owner puts on a Secret with REST credentials: the one host that may receive them.
pub const ALLOWED_HOST_ANNOTATION: &str = "flinkjobs.dev/allowed-host";

/// Field manager of our writes.
pub const FIELD_MANAGER: &str = "flink-job-operator";
