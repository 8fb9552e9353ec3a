//! `Savepoint`: the state of a job, taken on request or registered.

use std::time::Duration;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{GoDuration, SavepointStatus, job::SavepointFormat, state::StateKind};

/// The longest directory and path that a spec may name, in characters: with what the operator and Flink add, it stays within
/// [`MAX_PATH`](super::state::MAX_PATH).
pub const MAX_DIRECTORY: usize = 768;

/// The longest path of an import, in characters.
const MAX_IMPORT: usize = 1100;

/// A savepoint.
#[allow(clippy::duplicated_attributes, reason = "each printer column has a type_ of its own")]
#[derive(Debug, Clone, PartialEq, Eq, Hash, CustomResource, KubeSchema, Serialize, Deserialize)]
#[kube(
    group = "flinkjobs.dev",
    version = "v1alpha1",
    kind = "Savepoint",
    namespaced,
    status = "SavepointStatus",
    derive = "PartialEq",
    doc = "The state of a Flink job: taken when this resource is created, or registered by its path.",
    shortname = "fsp",
    category = "flink",
    selectable = ".spec.jobRef.name",
    selectable = ".status.phase",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status"
    ),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Job", type_ = "string", json_path = ".spec.jobRef.name"),
    printcolumn(name = "Origin", type_ = "string", json_path = ".status.origin"),
    printcolumn(name = "Completed", type_ = "date", json_path = ".status.completionTime"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Path", type_ = "string", json_path = ".status.path", priority = 1),
    printcolumn(name = "Job-ID", type_ = "string", json_path = ".status.jobId", priority = 1),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].message",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!(has(self.trigger) && has(self.existing))").message("set at most one of trigger and existing"))]
#[x_kube(validation = Rule::new("has(self.jobRef) || has(self.existing)").message("jobRef names the job whose state is taken; only an existing savepoint can do without"))]
#[x_kube(validation = Rule::new("has(self.jobRef) == has(oldSelf.jobRef) && (!has(self.jobRef) || self.jobRef == oldSelf.jobRef) && has(self.trigger) == has(oldSelf.trigger) && (!has(self.trigger) || self.trigger == oldSelf.trigger) && has(self.existing) == has(oldSelf.existing) && (!has(self.existing) || self.existing == oldSelf.existing)").message("a Savepoint is immutable but for deletionPolicy; create another one"))]
pub struct SavepointSpec {
    /// The job whose state it is. Optional where `existing` is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_ref: Option<JobRef>,

    /// Take a savepoint of the running job. This is what happens when neither `trigger` nor `existing` is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<Trigger>,

    /// Register a savepoint or a retained checkpoint that is there already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub existing: Option<Existing>,

    /// What the deletion of this resource does with the files. May be changed at any time. Default: Retain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DisposalPolicy>,
}

/// A job resource of the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct JobRef {
    /// The kind. Default: `FlinkSessionJob`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<JobKind>,
    /// `metadata.name`.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub name: String,
}

/// The kinds of jobs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum JobKind {
    /// A job on a session cluster.
    #[default]
    FlinkSessionJob,
}

/// How to take a savepoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.timeout) || (duration(self.timeout) >= duration('1s') && duration(self.timeout) <= duration('24h'))").message("timeout is between 1s and 24h").field_path(".timeout"))]
#[x_kube(validation = Rule::new("!has(self.directory) || !self.directory.matches('(^|/)[.][.]?(/|$)')").message("directory contains . or ..; write it without").field_path(".directory"))]
pub struct Trigger {
    /// The format. Native is fast; Canonical can be read by other state backends, and not every job can write it: one that
    /// cannot is restarted by the attempt. Default: Native.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<SavepointFormat>,
    /// The directory that the savepoint goes under, each attempt in one of its own. Default: the job's
    /// `savepointPolicy.directory`, else `execution.checkpointing.savepoint-dir` of the job or its cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = MAX_DIRECTORY), regex(pattern = r"^[a-z][a-z0-9+.-]*:/[^\\]+$"))]
    pub directory: Option<String>,
    /// How long an attempt may take, and how long is waited for a job that does not run. Default: 10m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<GoDuration>,
    /// How many attempts may fail before the Savepoint is Failed: one more than this is made, each later than the one
    /// before. Default: 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub backoff_limit: Option<i32>,
}

/// What is there already.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("!self.path.matches('(^|/)[.][.]?(/|$)')").message("path contains . or ..; write it without").field_path(".path"))]
pub struct Existing {
    /// The directory that `_metadata` is in, as Flink's file systems spell it, such as `s3://bucket/savepoints/x`. A `/` or
    /// `/_metadata` at the end is left out.
    #[schemars(length(min = 1, max = MAX_IMPORT), regex(pattern = r"^[a-z][a-z0-9+.-]*:/[^\\]+$"))]
    pub path: String,
    /// What it is. Default: Savepoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<StateKind>,
    /// Whether to look for `_metadata`, where the operator can read the store: S3, under a `--state-prefix` of the
    /// namespace. Default: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<bool>,
}

/// What the deletion of a Savepoint does with its files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum DisposalPolicy {
    /// They stay.
    #[default]
    Retain,
    /// Flink deletes them. Those of an import stay all the same, unless they lie under a `--state-prefix` of the namespace.
    Dispose,
}

impl SavepointSpec {
    /// `trigger.timeout`, or its default of ten minutes.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        let timeout = self.trigger.as_ref().and_then(|trigger| trigger.timeout);
        timeout.map_or(Duration::from_secs(600), GoDuration::get)
    }

    /// `trigger.backoffLimit`, or its default of three.
    #[must_use]
    pub fn backoff_limit(&self) -> i32 {
        let limit = self.trigger.as_ref().and_then(|trigger| trigger.backoff_limit);
        limit.unwrap_or(3)
    }

    /// `trigger.format`, or its default.
    #[must_use]
    pub fn format(&self) -> SavepointFormat {
        let format = self.trigger.as_ref().and_then(|trigger| trigger.format);
        format.unwrap_or_default()
    }

    /// `metadata.name` of the job whose state it is.
    #[must_use]
    pub fn job(&self) -> Option<&str> {
        self.job_ref.as_ref().map(|job| job.name.as_str())
    }

    /// Whether the deletion of the resource deletes the files.
    #[must_use]
    pub fn disposes(&self) -> bool {
        self.deletion_policy == Some(DisposalPolicy::Dispose)
    }
}
