//! The cluster as a whole.

use std::time::Duration;

use serde::Deserialize;

use super::short_text;

/// `GET /overview`: the cluster at a glance.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ClusterOverview {
    /// Registered TaskManagers.
    #[serde(rename = "taskmanagers")]
    pub task_managers: u32,
    /// All slots.
    pub slots_total: u32,
    /// Free slots.
    pub slots_available: u32,
    /// Jobs that have not ended.
    pub jobs_running: u32,
    /// Jobs that ended with success and are still remembered.
    pub jobs_finished: u32,
    /// Jobs that were cancelled and are still remembered.
    pub jobs_cancelled: u32,
    /// Jobs that failed and are still remembered.
    pub jobs_failed: u32,
    /// Flink's version, such as `2.3.0`.
    #[serde(deserialize_with = "short_text")]
    pub flink_version: String,
}

/// `GET /config`: what the cluster allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterFeatures {
    /// Flink's version, such as `2.3.0`.
    pub flink_version: String,
    /// Whether jars can be uploaded and run (`web.submit.enable`).
    pub submission_enabled: bool,
    /// Whether the web UI offers to cancel (`web.cancel.enable`); the REST endpoint works without.
    pub cancel_enabled: bool,
    /// How old the answers about a job can be (`web.refresh-interval`).
    pub refresh_interval: Duration,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::flink) struct DashboardConfiguration {
    refresh_interval: u64,
    #[serde(deserialize_with = "short_text")]
    flink_version: String,
    features: Features,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Features {
    web_submit: bool,
    #[serde(default)]
    web_cancel: bool,
}

impl From<DashboardConfiguration> for ClusterFeatures {
    fn from(config: DashboardConfiguration) -> Self {
        Self {
            flink_version: config.flink_version,
            submission_enabled: config.features.web_submit,
            cancel_enabled: config.features.web_cancel,
            refresh_interval: Duration::from_millis(config.refresh_interval),
        }
    }
}
