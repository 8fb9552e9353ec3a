//! The status of a job resource: what people read. The write-ahead record in it is described in [`super::intent`].

use jiff::Timestamp;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Condition, FlinkSessionJobSpec,
    state::{MAX_PATH, RestorePoint, Resume, StateRecord},
};
use crate::flink::JobId;

pub use super::intent::{CancelIntent, CancelPurpose, Intent, KeepIntent, RestoreIntent, StopIntent, SubmitIntent};

/// One word for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// Checked, not submitted.
    Draft,
    /// Waits for something outside: the cluster, slots, its turn.
    Pending,
    /// A submission is under way.
    Submitting,
    /// The job runs.
    Running,
    /// Flink restarts the job, or the operator replaces it.
    Restarting,
    /// The job is being stopped for `state: Suspended`.
    Suspending,
    /// Stopped as asked.
    Suspended,
    /// The job is being cancelled.
    Cancelling,
    /// The job was cancelled.
    Cancelled,
    /// The job ended by itself, with success.
    Finished,
    /// The job ended with an error, or cannot be started.
    Failed,
    /// The cluster no longer knows the job.
    Lost,
    /// The cluster does not answer.
    Unknown,
    /// The resource is being deleted.
    Deleting,
}

impl Phase {
    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "Draft",
            Self::Pending => "Pending",
            Self::Submitting => "Submitting",
            Self::Running => "Running",
            Self::Restarting => "Restarting",
            Self::Suspending => "Suspending",
            Self::Suspended => "Suspended",
            Self::Cancelling => "Cancelling",
            Self::Cancelled => "Cancelled",
            Self::Finished => "Finished",
            Self::Failed => "Failed",
            Self::Lost => "Lost",
            Self::Unknown => "Unknown",
            Self::Deleting => "Deleting",
        }
    }
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum RunOutcome {
    /// By itself, with success.
    Finished,
    /// With an error.
    Failed,
    /// Cancelled by someone in Flink.
    Canceled,
    /// Cancelled by the operator, to roll out a new spec or a new nonce.
    Replaced,
    /// Cancelled by the operator for `state: Suspended`.
    Suspended,
    /// Cancelled by the operator for `state: Cancelled` or a deletion.
    Cancelled,
    /// Flink refused the submission; no job ran.
    Rejected,
    /// The cluster no longer knows the job.
    Lost,
    /// It cannot be known whether the submission ran.
    Unknown,
}

/// One attempt to run the job.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// Counts the attempts from 1.
    pub attempt: i64,
    /// The Flink JobID.
    pub job_id: JobId,
    /// When Flink started it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_time: Option<Timestamp>,
    /// How it ended. Absent while the job lives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<RunOutcome>,
    /// The JobManager process that ran it, as far as it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub job_manager: Option<String>,
    /// The savepoint or checkpoint that it was started from. Left out of older attempts when paths are long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_PATH))]
    pub restored_from: Option<String>,
    /// The newest state on record when it ended. Left out of older attempts when paths are long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_PATH))]
    pub last_state: Option<String>,
}

impl Run {
    /// A run that nothing is known of yet.
    #[must_use]
    pub const fn new(attempt: i64, job_id: JobId) -> Self {
        Self {
            attempt,
            job_id,
            start_time: None,
            end_time: None,
            outcome: None,
            job_manager: None,
            restored_from: None,
            last_state: None,
        }
    }
}

/// Why a job failed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// One stable word.
    #[schemars(length(max = 64))]
    pub reason: String,
    /// What happened.
    #[schemars(length(max = 1024))]
    pub message: String,
    /// When.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Timestamp>,
    /// The innermost exception: its class and the first line of its message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub root_cause: Option<String>,
}

/// Restarts by the operator after a failure.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Restarts {
    /// All of them.
    #[serde(default)]
    pub total: i64,
    /// Those of the last hour, newest first: the window of `restartPolicy.maxRestartsPerHour`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 60))]
    pub last_hour: Vec<Timestamp>,
    /// When the job is started again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_time: Option<Timestamp>,
    /// `maxRestartsPerHour` is spent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub exhausted: bool,
}

/// What applying the current spec does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum PendingChange {
    /// Nothing: it is applied.
    None,
    /// It is taken over without a restart.
    Live,
    /// It restarts the job.
    Restart,
}

/// What is known of a job.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobStatus {
    /// The generation of the spec that this status was decided on; -1 before the first decision.
    #[serde(default = "never")]
    pub observed_generation: i64,

    /// One word for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,

    /// The registry id: 20 characters, derived from the UID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 20))]
    pub id: Option<String>,

    /// When the state last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<Timestamp>,

    /// The Flink JobID of the latest attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_id: Option<JobId>,

    /// Counts the attempts from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<i64>,

    /// The state of the job in Flink's own words, as last seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub flink_state: Option<String>,

    /// The REST address of the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub job_manager_address: Option<String>,

    /// The job's page in Flink's web UI.
    #[serde(rename = "webUIUrl", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 640))]
    pub web_ui_url: Option<String>,

    /// When Flink started the job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Timestamp>,

    /// When the job ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_time: Option<Timestamp>,

    /// The parallelism that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallelism: Option<i32>,

    /// Why the job failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,

    /// Restarts by the operator after a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarts: Option<Restarts>,

    /// Where the job's state is, and what it was restored from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub state: Option<StateRecord>,

    /// What applying the current spec does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_change: Option<PendingChange>,

    /// The latest attempts, newest first, at most ten.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub runs: Vec<Run>,

    /// The write-ahead record of the exactly-once protocol. Internal: do not edit, and do not build on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub intent: Option<Intent>,

    /// The spec that was last accepted, with its variables unexpanded. Internal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_object")]
    pub accepted_spec: Option<Box<FlinkSessionJobSpec>>,

    /// What holds, for tools.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".to_owned()]))]
    pub conditions: Vec<Condition>,
}

fn never() -> i64 {
    -1
}

fn any_object(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true, "x-kubernetes-map-type": "atomic" })
}

impl Default for JobStatus {
    fn default() -> Self {
        Self {
            observed_generation: never(),
            phase: None,
            id: None,
            updated_at: None,
            job_id: None,
            attempt: None,
            flink_state: None,
            job_manager_address: None,
            web_ui_url: None,
            start_time: None,
            end_time: None,
            parallelism: None,
            failure: None,
            restarts: None,
            state: None,
            pending_change: None,
            runs: Vec::new(),
            intent: None,
            accepted_spec: None,
            conditions: Vec::new(),
        }
    }
}

impl JobStatus {
    /// The run that is believed to live.
    #[must_use]
    pub fn live_run(&self) -> Option<&Run> {
        self.runs.first().filter(|run| run.outcome.is_none())
    }

    /// How the latest run ended; None while it lives, and before the first.
    #[must_use]
    pub fn last_outcome(&self) -> Option<RunOutcome> {
        self.runs.first().and_then(|run| run.outcome)
    }

    /// The submission whose result is not known.
    #[must_use]
    pub fn submission(&self) -> Option<&SubmitIntent> {
        self.intent.as_ref().and_then(|intent| intent.submit.as_ref())
    }

    /// The cancellation that has not been seen to its end.
    #[must_use]
    pub fn cancellation(&self) -> Option<&CancelIntent> {
        self.intent.as_ref().and_then(|intent| intent.cancel.as_ref())
    }

    /// The stop with savepoint that has not been seen to its end.
    #[must_use]
    pub fn stop(&self) -> Option<&StopIntent> {
        self.intent.as_ref().and_then(|intent| intent.stop.as_ref())
    }

    /// Whether it was decided to end the job's run: with a savepoint, or by a cancellation.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        self.stop().is_some() || self.cancellation().is_some()
    }

    /// The savepoint that is to become a resource.
    #[must_use]
    pub fn keep(&self) -> Option<&KeepIntent> {
        self.intent.as_ref().and_then(|intent| intent.keep.as_ref())
    }

    /// What the start under way takes, or the next one.
    #[must_use]
    pub fn resume(&self) -> Option<Resume> {
        self.state.as_ref().and_then(|state| state.resume)
    }

    /// The newest state on record.
    #[must_use]
    pub fn latest_state(&self) -> Option<&RestorePoint> {
        self.state.as_ref().and_then(|state| state.latest.as_ref())
    }

    /// What is on record of the job's state, made when it is not there.
    pub fn state_mut(&mut self) -> &mut StateRecord {
        self.state.get_or_insert_default()
    }

    /// The write-ahead record, made when it is not there.
    pub fn intent_mut(&mut self) -> &mut Intent {
        self.intent.get_or_insert_default()
    }
}
