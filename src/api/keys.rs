//! Names that the operator writes into metadata, and the annotations and labels that it reads.

/// Finalizer on a job resource: a job of it may run on a Flink cluster.
pub const JOB_FINALIZER: &str = "flinkjobs.dev/job";

/// Finalizer on a `FlinkSession`: jobs of it may run.
pub const SESSION_FINALIZER: &str = "flinkjobs.dev/session";

/// Finalizer on a `Savepoint`: Flink takes it, or its files are to be deleted with it.
pub const SAVEPOINT_FINALIZER: &str = "flinkjobs.dev/savepoint";

/// Label on a `Savepoint` that the operator made: `metadata.name` of the job.
pub const JOB_LABEL: &str = "flinkjobs.dev/job";

/// Label on a `Savepoint` that the operator made: `upgrade`, `suspend`, `deletion` or `schedule`.
pub const ORIGIN_LABEL: &str = "flinkjobs.dev/origin";

/// Annotation on a `Savepoint` that the operator made with `existing`: the Flink JobID whose state it is.
pub const JOB_ID_ANNOTATION: &str = "flinkjobs.dev/job-id";

/// Annotation on a `Savepoint` that the operator made with `existing`: when it was complete, in RFC 3339.
pub const COMPLETION_TIME_ANNOTATION: &str = "flinkjobs.dev/completion-time";

/// Label that its owner puts on a Secret to let the operator read it: `jobs` (variables) or `sessions` (REST credentials).
pub const USABLE_BY_LABEL: &str = "flinkjobs.dev/usable-by";

/// Annotation that its owner puts on a Secret with REST credentials: the one host that may receive them.
pub const ALLOWED_HOST_ANNOTATION: &str = "flinkjobs.dev/allowed-host";

/// Annotation on a Savepoint that the operator made: its format.
pub const FORMAT_ANNOTATION: &str = "flinkjobs.dev/format";

/// Field manager of our writes.
pub const FIELD_MANAGER: &str = "flink-job-operator";
