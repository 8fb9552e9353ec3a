//! `FlinkSession`: a session cluster that jobs run on.

use jiff::Timestamp;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Condition,
    job::{LocalRef, SecretKeyRef},
};
use crate::flink::JobId;

/// A Flink session cluster.
#[allow(clippy::duplicated_attributes, reason = "each printer column has a type_ of its own")]
#[derive(Debug, Clone, PartialEq, Eq, CustomResource, KubeSchema, Serialize, Deserialize)]
#[kube(
    group = "flinkjobs.dev",
    version = "v1alpha1",
    kind = "FlinkSession",
    namespaced,
    status = "FlinkSessionStatus",
    derive = "PartialEq",
    doc = "A Flink session cluster: one that runs already, or one of Apache's Flink operator.",
    shortname = "fses",
    category = "flink",
    selectable = ".status.phase",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status"
    ),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Flink", type_ = "string", json_path = ".status.flinkVersion"),
    printcolumn(name = "Slots", type_ = "integer", json_path = ".status.slots.total"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "URL", type_ = "string", json_path = ".status.url", priority = 1),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].message",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.endpoint) != has(self.flinkDeploymentRef)").message("set exactly one of endpoint and flinkDeploymentRef"))]
#[x_kube(validation = Rule::new("has(self.endpoint) == has(oldSelf.endpoint) && has(self.flinkDeploymentRef) == has(oldSelf.flinkDeploymentRef)").message("a session does not move to another cluster; create another FlinkSession"))]
#[x_kube(validation = Rule::new("!has(self.flinkDeploymentRef) || !has(oldSelf.flinkDeploymentRef) || self.flinkDeploymentRef == oldSelf.flinkDeploymentRef").message("flinkDeploymentRef is immutable: a session does not move to another cluster; create another FlinkSession").field_path(".flinkDeploymentRef"))]
#[x_kube(validation = Rule::new("!has(self.endpoint) || !has(oldSelf.endpoint) || (has(self.endpoint.url) == has(oldSelf.endpoint.url) && (!has(self.endpoint.url) || self.endpoint.url == oldSelf.endpoint.url) && has(self.endpoint.serviceRef) == has(oldSelf.endpoint.serviceRef) && (!has(self.endpoint.serviceRef) || self.endpoint.serviceRef == oldSelf.endpoint.serviceRef))").message("url and serviceRef are immutable: a session does not move to another cluster; create another FlinkSession").field_path(".endpoint"))]
pub struct FlinkSessionSpec {
    /// A session cluster that runs already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Endpoint>,

    /// A session cluster of Apache's Flink operator: a `FlinkDeployment` of this namespace without `spec.job`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flink_deployment_ref: Option<LocalRef>,

    /// What jobs on this cluster may do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_policy: Option<JobPolicy>,
}

/// Where a running cluster's REST API is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.serviceRef) != has(self.url)").message("set exactly one of serviceRef and url"))]
#[x_kube(validation = Rule::new("!has(self.auth) || !has(self.url) || self.url.startsWith('https://') || self.url.matches('^http://(127\\\\.[0-9.]+|localhost|\\\\[::1\\\\])(:[0-9]+)?(/.*)?$')").message("credentials are not sent over plain http; use https"))]
#[x_kube(validation = Rule::new("!has(self.auth) || !has(self.serviceRef) || (has(self.serviceRef.scheme) && self.serviceRef.scheme == 'https')").message("credentials are not sent over plain http; set serviceRef.scheme: https"))]
pub struct Endpoint {
    /// A Service of this namespace, with a selector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_ref: Option<ServiceRef>,

    /// An address. Only where the administrator allows it with `--allowed-endpoint`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512), regex(pattern = r"^https?://[^@\s]+$"))]
    pub url: Option<String>,

    /// Credentials for the REST API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,

    /// TLS settings for the REST API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
}

/// A Service's port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceRef {
    /// `metadata.name` of the Service.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// The port. Default: 8081.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i32>,
    /// `http` (default) or `https`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<Scheme>,
}

/// A URL's scheme.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// Plain text.
    #[default]
    Http,
    /// TLS.
    Https,
}

/// Credentials, in a Secret of this namespace that carries the label `flinkjobs.dev/usable-by: sessions` and the
/// annotation `flinkjobs.dev/allowed-host` with the endpoint's host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.basicSecretRef) != has(self.bearerSecretRef)").message("set exactly one of basicSecretRef and bearerSecretRef"))]
pub struct Auth {
    /// A Secret with the keys `username` and `password`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basic_secret_ref: Option<LocalRef>,
    /// A key of a Secret that holds a bearer token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bearer_secret_ref: Option<SecretKeyRef>,
}

/// TLS settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    /// A Secret whose key `ca.crt` holds the authorities to trust instead of the public ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<LocalRef>,
    /// A Secret of type `kubernetes.io/tls` with our client certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_cert_secret_ref: Option<LocalRef>,
    /// The name that the server's certificate must have. Default: the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[A-Za-z0-9.-]+$"))]
    pub server_name: Option<String>,
}

/// What jobs on a cluster may do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobPolicy {
    /// Configuration keys that jobs may not set, besides the built-in ones. `*` at the end stands for any rest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 256)))]
    pub denied_configuration: Vec<String>,
}

/// One word for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum SessionPhase {
    /// Not asked yet, or what it points at does not exist.
    Pending,
    /// It answers.
    Ready,
    /// It does not answer.
    Unreachable,
    /// It cannot be used as it is specified.
    Failed,
    /// It is being deleted.
    Deleting,
}

impl SessionPhase {
    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Ready => "Ready",
            Self::Unreachable => "Unreachable",
            Self::Failed => "Failed",
            Self::Deleting => "Deleting",
        }
    }
}

/// Task slots.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Slots {
    /// All.
    pub total: i32,
    /// Those that are free.
    pub available: i32,
}

/// How many jobs the cluster lists, by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobCounts {
    /// Not ended yet.
    pub running: i32,
    /// Ended with success.
    pub finished: i32,
    /// Cancelled.
    pub cancelled: i32,
    /// Ended with an error.
    pub failed: i32,
}

/// How many released jobs a session records.
pub const MAX_RELEASED: usize = 100;

/// A job that the deletion of its resource left running.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReleasedJob {
    /// Its Flink JobID.
    pub job_id: JobId,
    /// The resource that it belonged to.
    #[schemars(length(max = 253))]
    pub name: String,
    /// When it was released.
    pub time: Timestamp,
}

/// What is known of the cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct FlinkSessionStatus {
    /// The generation of the spec that this status was decided on; -1 before the first decision.
    #[serde(default = "never")]
    pub observed_generation: i64,
    /// One word for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<SessionPhase>,
    /// The registry id: 20 characters, derived from the UID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 20))]
    pub id: Option<String>,
    /// When the state last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<Timestamp>,
    /// The REST address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub url: Option<String>,
    /// Flink's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub flink_version: Option<String>,
    /// Registered TaskManagers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_managers: Option<i32>,
    /// Task slots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slots: Option<Slots>,
    /// How many jobs the cluster lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jobs: Option<JobCounts>,
    /// Whether the cluster accepts jars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub submission_enabled: Option<bool>,
    /// Jobs that the deletion of their resource left running (`deletionPolicy.type: Orphan`); the newest hundred.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub released: Vec<ReleasedJob>,
    /// What holds, for tools.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".to_owned()]))]
    pub conditions: Vec<Condition>,
}

fn never() -> i64 {
    -1
}

impl Default for FlinkSessionStatus {
    fn default() -> Self {
        Self {
            observed_generation: never(),
            phase: None,
            id: None,
            updated_at: None,
            url: None,
            flink_version: None,
            task_managers: None,
            slots: None,
            jobs: None,
            submission_enabled: None,
            released: Vec::new(),
            conditions: Vec::new(),
        }
    }
}
