//! The parts of a job's spec that all job kinds share.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::GoDuration;
use crate::flink::JobId;

/// What the job should be doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum DesiredState {
    /// Checked, never submitted. A job that was started cannot go back to Draft.
    Draft,
    /// Submitted and kept running.
    #[default]
    Running,
    /// Stopped by `upgradeMode`, ready to go on.
    Suspended,
    /// Cancelled; the resource stays.
    Cancelled,
}

/// The program.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.jarURI) || has(self.entryClass)").message("set jarURI, or entryClass when the class is on the cluster's class path"))]
#[x_kube(validation = Rule::new("!has(self.args) || self.args.map(a, size(a)).sum() <= 6144").message("args are longer than 6144 characters together; put large values into a file or a ConfigMap that the job reads").field_path(".args"))]
#[x_kube(validation = Rule::new("!has(self.sha256) || has(self.jarURI)").message("sha256 needs jarURI"))]
pub struct JobProgram {
    /// Where the jar is: `https://…` or `s3://bucket/key`. Leave it out when `entryClass` is on the cluster's class path.
    /// May contain `${variables}`.
    #[serde(rename = "jarURI", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub jar_uri: Option<String>,

    /// The SHA-256 of the jar, 64 hexadecimal digits, checked while it is fetched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9a-f]{64}$"), length(max = 64))]
    pub sha256: Option<String>,

    /// The class with `main()`. Default: the one that the jar's manifest names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        regex(pattern = r"^[A-Za-z_$][A-Za-z0-9_$]*(\.[A-Za-z_$][A-Za-z0-9_$]*)*$"),
        length(max = 512)
    )]
    pub entry_class: Option<String>,

    /// The arguments of `main()`, each passed as it is. May contain `${variables}`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(max = 4096)))]
    pub args: Vec<String>,

    /// The default parallelism of the job's operators. Default: the cluster's `parallelism.default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2000))]
    pub parallelism: Option<i32>,

    /// Further jars for the job's class path. Not available for session jobs in this version: a spec that has them is
    /// not accepted; build one jar instead.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub dependency_jars: Vec<Dependency>,

    /// Files that the job can read. Not available for session jobs in this version: a spec that has them is not accepted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub dependency_files: Vec<DependencyFile>,
}

/// A further jar.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Dependency {
    /// Where it is.
    #[schemars(length(min = 1, max = 2048))]
    pub uri: String,
    /// Its SHA-256, 64 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9a-f]{64}$"), length(max = 64))]
    pub sha256: Option<String>,
}

/// A file for the job.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DependencyFile {
    /// Where it is.
    #[schemars(length(min = 1, max = 2048))]
    pub uri: String,
    /// Its SHA-256, 64 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9a-f]{64}$"), length(max = 64))]
    pub sha256: Option<String>,
    /// The name under `userData/`.
    #[schemars(regex(pattern = r"^[A-Za-z0-9._-]+$"), length(min = 1, max = 128))]
    pub name: String,
}

/// A source of variables: every key of a ConfigMap or a Secret of this namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.configMapRef) != has(self.secretRef)").message("set exactly one of configMapRef and secretRef"))]
pub struct VariableSource {
    /// A ConfigMap of this namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_ref: Option<LocalRef>,
    /// A Secret of this namespace that carries the label `flinkjobs.dev/usable-by: jobs`. Its values may be used in
    /// `args` and in values of `flinkConfiguration`; Flink itself may show them in its UI and logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<LocalRef>,
}

/// The name of an object in the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct LocalRef {
    /// `metadata.name` of the object.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub name: String,
}

/// What a change that needs a restart does with the job's state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum UpgradeMode {
    /// Stop with a savepoint and start from it.
    #[default]
    Savepoint,
    /// Cancel and start from the newest retained checkpoint. Where none would be left, the job runs on.
    LastState,
    /// Cancel and start empty.
    Stateless,
}

/// Where a start takes its state from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum RestoreFrom {
    /// Start empty.
    #[default]
    None,
    /// The newest savepoint of this job.
    Latest,
    /// The oldest savepoint of this job.
    Earliest,
    /// The savepoint that `savepointRef` or `path` names.
    Named,
}

/// Who owns the files of a savepoint after a restore.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ClaimMode {
    /// The files stay as they are.
    #[default]
    NoClaim,
    /// Flink takes the files over and may delete them.
    Claim,
}

/// What to do when the state that was asked for does not exist.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum OnMissingState {
    /// Do not start.
    #[default]
    Fail,
    /// Start empty.
    StartEmpty,
}

/// Where a first start, or a forced one, takes its state from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(has(self.from) && self.from == 'Named') ? has(self.savepointRef) != has(self.path) : !has(self.savepointRef) && !has(self.path)").message("from: Named needs exactly one of savepointRef and path; the others take neither"))]
pub struct Restore {
    /// Where the state comes from. Default: None.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<RestoreFrom>,
    /// With `from: Named`: a `Savepoint` of this namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub savepoint_ref: Option<LocalRef>,
    /// With `from: Named`: the path of a savepoint or a retained checkpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub path: Option<String>,
    /// Accept state in the savepoint that no operator of the job takes. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_non_restored_state: Option<bool>,
    /// Who owns the files afterwards. Default: `NoClaim`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim_mode: Option<ClaimMode>,
    /// What to do when the state does not exist. Default: Fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_missing_state: Option<OnMissingState>,
    /// A change forces a restart from what stands here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<i64>,
}

/// Whether the operator submits a job again that ended FAILED.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum RestartType {
    /// The job stays Failed.
    #[default]
    Never,
    /// The job is submitted again, as `restoreFrom` says.
    OnFailure,
}

/// What a re-submission starts from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum RestartFrom {
    /// The newest of retained checkpoint and savepoint.
    #[default]
    LatestState,
    /// The newest savepoint.
    LatestSavepoint,
    /// Nothing.
    None,
}

/// What to do when the JobManager no longer knows the job.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum OnLost {
    /// Restore it, when a restorable point was recorded; else report it.
    #[default]
    Restore,
    /// Report it.
    Fail,
}

/// Re-submission after the job ended, apart from Flink's own restart strategy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestartPolicy {
    /// Whether to submit again after FAILED. Default: Never.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<RestartType>,
    /// What to start from. Default: `LatestState`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore_from: Option<RestartFrom>,
    /// How many restarts within any hour, 1 to 60; -1 is no limit. Default: -1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self == -1 || (self >= 1 && self <= 60)").message("maxRestartsPerHour is -1 (no limit) or 1 to 60"))]
    pub max_restarts_per_hour: Option<i32>,
    /// What to do when the JobManager no longer knows the job. Default: Restore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_lost: Option<OnLost>,
}

/// What to do when it cannot be known whether a submission ran.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum OnUnknownResult {
    /// Stop with `ResultUnknown`; a change of `restartNonce` starts again.
    #[default]
    Fail,
    /// Submit again. Right for jobs that do no harm when they run twice one after the other.
    Resubmit,
}

/// Whether free slots are compared with the parallelism before a submission.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum SlotCheck {
    /// Only where the cluster cannot grow.
    #[default]
    Auto,
    /// Always.
    Enforce,
    /// Never.
    Off,
}

/// A job that runs already.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Adopt {
    /// Its Flink JobID.
    pub job_id: JobId,
}

/// What the deletion of the resource does with the job.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum DeletionType {
    /// Cancel it.
    #[default]
    Cancel,
    /// Stop it with a savepoint, which stays as a `Savepoint`.
    Savepoint,
    /// Leave it running.
    Orphan,
}

/// What the deletion of the resource does with the job.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeletionPolicy {
    /// What to do with the job. Default: Cancel.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<DeletionType>,
    /// How long to wait for a cluster that does not answer, before the resource is released with the Event
    /// `JobMayStillRun`. Default: 5m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<GoDuration>,
}

/// The format of a savepoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum SavepointFormat {
    /// The state backend's own format: fast.
    #[default]
    Native,
    /// Flink's common format. Some sources do not support it.
    Canonical,
}

/// How many savepoints to keep.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Retention {
    /// The newest this many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub count: Option<i32>,
    /// Those that are younger than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age: Option<GoDuration>,
}

/// Where the savepoints of a job go, when they are taken, and how many are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SavepointPolicy {
    /// The directory that savepoints go under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub directory: Option<String>,
    /// The format. Default: Native.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<SavepointFormat>,
    /// When, as a cron expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub schedule: Option<String>,
    /// The IANA time zone of the schedule. Default: UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: Option<String>,
    /// How many to keep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
}

/// A key of a Secret in the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct SecretKeyRef {
    /// `metadata.name` of the Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub name: String,
    /// The key.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// Where to send a notification.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.url) != has(self.urlSecretRef)").message("set exactly one of url and urlSecretRef"))]
pub struct Notification {
    /// A name, unique in the list.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// The address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub url: Option<String>,
    /// The address, from a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url_secret_ref: Option<SecretKeyRef>,
    /// The reasons to notify of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(max = 64)))]
    pub on: Vec<String>,
}

/// Plain text by name.
pub type StringMap = BTreeMap<String, String>;
