//! `FlinkSessionJob`: a job on a session cluster.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::{
    GoDuration, JobStatus,
    job::{
        Adopt, DeletionPolicy, DesiredState, JobProgram, LocalRef, Notification, OnUnknownResult, RestartPolicy,
        Restore, SavepointPolicy, SlotCheck, StringMap, UpgradeMode, VariableSource,
    },
};

/// A Flink job on a session cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash, CustomResource, KubeSchema, Serialize, Deserialize)]
#[kube(
    group = "flinkjobs.dev",
    version = "v1alpha1",
    kind = "FlinkSessionJob",
    namespaced,
    status = "JobStatus",
    derive = "PartialEq",
    doc = "A Flink job on a session cluster: submitted exactly once, upgraded and deleted as its policies say.",
    shortname = "fsj",
    category = "flink",
    selectable = ".spec.sessionRef.name",
    selectable = ".status.phase",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Session", type_ = "string", json_path = ".spec.sessionRef.name"),
    printcolumn(name = "Attempt", type_ = "integer", json_path = ".status.attempt"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Job-ID", type_ = "string", json_path = ".status.jobId", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].message", priority = 1),
    validation = Rule::new("has(self.spec.jobName) || self.metadata.name.matches('^[a-z0-9-]{1,57}$')").message("metadata.name is the Flink job name: at most 57 of a-z, 0-9 and '-'; or set spec.jobName")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.sessionRef == oldSelf.sessionRef").message("sessionRef is immutable: a job does not move between clusters; create another FlinkSessionJob").field_path(".sessionRef"))]
#[x_kube(validation = Rule::new("self.state != 'Draft' || oldSelf.state == 'Draft'").message("a job that was started cannot go back to Draft; use Suspended or Cancelled").field_path(".state"))]
#[x_kube(validation = Rule::new("!has(self.flinkConfiguration) || self.flinkConfiguration.map(k, size(k) + size(self.flinkConfiguration[k])).sum() <= 6144").message("flinkConfiguration is longer than 6144 characters; move what all jobs share to the cluster's configuration").field_path(".flinkConfiguration"))]
#[x_kube(validation = Rule::new("!has(self.variables) || self.variables.map(k, size(k) + size(self.variables[k])).sum() <= 4096").message("variables are longer than 4096 characters; use variablesFrom").field_path(".variables"))]
#[x_kube(validation = Rule::new("!has(self.flinkConfiguration) || self.flinkConfiguration.all(k, !k.startsWith('high-availability') && !k.startsWith('rest.') && !k.startsWith('security.') && !k.startsWith('kubernetes.') && !k.startsWith('jobmanager.') && !k.startsWith('taskmanager.') && !k.startsWith('$internal.') && !k.startsWith('env.') && !k.startsWith('plugin.') && !k.startsWith('web.') && !k.startsWith('blob.') && k != 'io.tmp.dirs')").message("flinkConfiguration sets a key that belongs to the cluster (high-availability*, rest.*, security.*, kubernetes.*, jobmanager.*, taskmanager.*, $internal.*, env.*, plugin.*, web.*, blob.*, io.tmp.dirs)").field_path(".flinkConfiguration"))]
#[x_kube(validation = Rule::new("!has(self.flinkConfiguration) || self.flinkConfiguration.all(k, !k.startsWith('execution.savepoint.') && !k.startsWith('execution.state-recovery.') && k != 'pipeline.jars' && k != 'pipeline.classpaths' && !k.matches('(?i)secret|token|password') && !k.matches('^(s3|fs).*key'))").message("flinkConfiguration sets a key that the operator sets itself (execution.savepoint.*, execution.state-recovery.*, pipeline.jars, pipeline.classpaths), or a credential (keys with secret, token, password, s3.*key*, fs.*key*), which belongs to the cluster").field_path(".flinkConfiguration"))]
#[x_kube(validation = Rule::new("!has(self.tags) || self.tags.all(k, size(k) > 0 && size(k) <= 128 && !k.startsWith(' ') && !k.startsWith('_sys_') && !k.matches('[=*<>|]') && size(self.tags[k]) <= 255)").message("a tag's key has 1 to 128 characters, none of =*<>|, no leading space and no prefix _sys_; its value has at most 255").field_path(".tags"))]
pub struct FlinkSessionJobSpec {
    /// The `FlinkSession` of this namespace that the job runs on. Immutable. It may be created after the job.
    pub session_ref: LocalRef,

    /// The job's name in Flink (`pipeline.name`); programs that name their job themselves override it. 1 to 57 of A-Z,
    /// a-z, 0-9, `_` and `-` after `${variables}` are expanded. Default: `metadata.name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 256),
        regex(pattern = r"^([A-Za-z0-9_-]|\$\{[A-Za-z_][A-Za-z0-9_.-]*\})+$")
    )]
    pub job_name: Option<String>,

    /// What the job is for. A change does not restart it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub description: Option<String>,

    /// What the job should be doing.
    #[serde(default)]
    pub state: DesiredState,

    /// The program.
    pub job: JobProgram,

    /// Flink configuration of the job; overrides the cluster's where a job may. Values may contain `${variables}`.
    #[serde(default, skip_serializing_if = "StringMap::is_empty")]
    #[schemars(schema_with = "bounded_map")]
    pub flink_configuration: StringMap,

    /// Values for `${name}` in `jobName`, `job.jarURI`, `job.args` and values of `flinkConfiguration`. `$${` stands for a
    /// literal `${`. They win over `variablesFrom`.
    #[serde(default, skip_serializing_if = "StringMap::is_empty")]
    #[schemars(schema_with = "bounded_map")]
    pub variables: StringMap,

    /// More variables, from ConfigMaps and Secrets of this namespace; later entries win. They are read at each start; a
    /// change of them does not restart the job.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub variables_from: Vec<VariableSource>,

    /// What a change that needs a restart does with the job's state. A change of this field does not restart the job.
    #[serde(default)]
    pub upgrade_mode: UpgradeMode,

    /// Where a first start, or a forced one, takes its state from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore: Option<Restore>,

    /// Re-submission after the job ended. A change does not restart the job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart_policy: Option<RestartPolicy>,

    /// What to do when it cannot be known whether a submission ran. Default: Fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_unknown_result: Option<OnUnknownResult>,

    /// How long Flink may take to answer a submission; the program's `main()` runs within it. Default: 60s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub submit_timeout: Option<GoDuration>,

    /// Whether free slots are compared with the parallelism before a submission. Default: Auto.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot_check: Option<SlotCheck>,

    /// Take over a job that runs already, instead of a first submission.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopt: Option<Adopt>,

    /// A change restarts the job by `upgradeMode`, and is the consent that `ResultUnknown`, `StateUnknown` and `JobLost`
    /// ask for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart_nonce: Option<i64>,

    /// What the deletion of this resource does with the job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,

    /// Scheduled savepoints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub savepoint_policy: Option<SavepointPolicy>,

    /// Where to send notifications.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub notifications: Vec<Notification>,

    /// Labels for people and reports, at most 20.
    #[serde(default, skip_serializing_if = "StringMap::is_empty")]
    #[schemars(schema_with = "tags_map")]
    pub tags: StringMap,
}

fn bounded_map(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "maxProperties": 128,
        "additionalProperties": { "type": "string", "maxLength": 4096 },
    })
}

fn tags_map(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "maxProperties": 20,
        "additionalProperties": { "type": "string", "maxLength": 255 },
    })
}

impl FlinkSessionJobSpec {
    /// `submitTimeout`, or its default of 60 seconds.
    #[must_use]
    pub fn submit_timeout(&self) -> std::time::Duration {
        self.submit_timeout
            .map_or(std::time::Duration::from_secs(60), GoDuration::get)
    }

    /// `deletionPolicy.timeout`, or its default of five minutes.
    #[must_use]
    pub fn deletion_timeout(&self) -> std::time::Duration {
        let timeout = self.deletion_policy.as_ref().and_then(|policy| policy.timeout);
        timeout.map_or(std::time::Duration::from_secs(300), GoDuration::get)
    }
}
