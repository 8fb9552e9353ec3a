//! The status of a `Savepoint`, and the write-ahead record in it.

use jiff::Timestamp;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Condition, job::SavepointFormat, state::MAX_PATH, status::Failure};
use crate::flink::{JobId, TriggerId};

/// How many directories of attempts are kept whose end is not known.
pub const MAX_ABANDONED: usize = 10;

/// How many users of a savepoint are named.
pub const MAX_USERS: usize = 10;

/// Who made a savepoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum SavepointOrigin {
    /// Whoever created this resource.
    User,
    /// A change of the job.
    Upgrade,
    /// `state: Suspended`.
    Suspend,
    /// The deletion of the job.
    Deletion,
    /// The job's `savepointPolicy`.
    Schedule,
    /// It was there already, and was registered.
    Import,
}

impl SavepointOrigin {
    /// Reads the word of the label [`ORIGIN_LABEL`](super::keys::ORIGIN_LABEL): what the operator made.
    #[must_use]
    pub fn of_label(word: &str) -> Option<Self> {
        match word {
            "upgrade" => Some(Self::Upgrade),
            "suspend" => Some(Self::Suspend),
            "deletion" => Some(Self::Deletion),
            "schedule" => Some(Self::Schedule),
            _ => None,
        }
    }

    /// Whether the operator made it, so that the job's `savepointPolicy.retention` applies to it.
    #[must_use]
    pub const fn is_made_by_operator(self) -> bool {
        match self {
            Self::Upgrade | Self::Suspend | Self::Deletion | Self::Schedule => true,
            Self::User | Self::Import => false,
        }
    }
}

/// One word for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum SavepointPhase {
    /// Waits for the job, its cluster, its turn, or the next attempt.
    Pending,
    /// Flink takes it.
    InProgress,
    /// It is there.
    Completed,
    /// It could not be taken, or is not there.
    Failed,
    /// Its job does not run and is not expected to; nothing will be taken.
    Abandoned,
    /// Flink deletes its files.
    Disposing,
}

impl SavepointPhase {
    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::InProgress => "InProgress",
            Self::Completed => "Completed",
            Self::Failed => "Failed",
            Self::Abandoned => "Abandoned",
            Self::Disposing => "Disposing",
        }
    }
}

/// An attempt that was decided on, written down before Flink is asked.
///
/// Flink answers a trigger id that it knows with the operation that it stands for, so that the request may be sent again to
/// one JobManager process. The directory, which no other attempt has, finds the savepoint when the process has forgotten the
/// id: that takes `rest.async.store-duration`, or a restart.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TriggerIntent {
    /// The Flink job.
    pub job_id: JobId,
    /// The id that Flink is told to use.
    pub trigger_id: TriggerId,
    /// Counts the attempts from 1.
    pub attempt: i32,
    /// The directory of this attempt.
    #[schemars(length(max = MAX_PATH))]
    pub directory: String,
    /// Its format.
    pub format: SavepointFormat,
    /// The JobManager process that is asked.
    #[schemars(length(max = 64))]
    pub job_manager: String,
    /// When it was decided on: nothing of it happened before.
    pub decided: Timestamp,
    /// The request is not sent after this time.
    pub not_after: Timestamp,
}

/// A disposal that was decided on.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DisposeIntent {
    /// When it was decided on. Nothing restores from the path any more.
    pub decided: Timestamp,
    /// When Flink was asked last, or was about to be. Absent: it was not, and everything is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Timestamp>,
    /// The `FlinkSession` whose cluster is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub session: Option<String>,
    /// How many times it failed.
    #[serde(default)]
    pub failures: i32,
    /// It failed: Flink is asked again at this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again: Option<Timestamp>,
}

/// The write-ahead record. Internal: its fields may change between versions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SavepointIntent {
    /// The installation that wrote it. Another installation leaves the resource alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    pub owner: Option<String>,
    /// The attempt that is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<TriggerIntent>,
    /// An attempt failed: the next is made at this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again: Option<Timestamp>,
    /// Since when a job that does not run is waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_since: Option<Timestamp>,
    /// The disposal that is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dispose: Option<DisposeIntent>,
    /// Since when no cluster has answered that could delete the files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unanswered_since: Option<Timestamp>,
}

/// What is known of a savepoint.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SavepointStatus {
    /// The generation of the spec that this status was decided on; -1 before the first decision.
    #[serde(default = "never")]
    pub observed_generation: i64,
    /// One word for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<SavepointPhase>,
    /// The registry id: 20 characters, derived from the UID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 20))]
    pub id: Option<String>,
    /// When the state last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<Timestamp>,
    /// Who made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<SavepointOrigin>,
    /// Where it is: the directory that `_metadata` is in, as `restore.path` of a job takes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_PATH))]
    pub path: Option<String>,
    /// Its format.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<SavepointFormat>,
    /// Its size, where Flink tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<i64>,
    /// The Flink JobID whose state it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_id: Option<JobId>,
    /// The `FlinkSession` whose cluster was asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub session: Option<String>,
    /// Flink's id of the latest attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger_id: Option<TriggerId>,
    /// Counts the attempts from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<i32>,
    /// How many attempts failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failures: Option<i32>,
    /// When the latest attempt began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Timestamp>,
    /// When it was complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Timestamp>,
    /// Why the latest attempt failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// Directories of attempts whose end is not known, newest first: files may be there that nobody uses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_ABANDONED), inner(length(max = MAX_PATH)))]
    pub abandoned_paths: Vec<String>,
    /// The jobs that run on this state, or name it to start from, as `KIND/NAME`; at most ten are named. It is not disposed
    /// of while there are any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_USERS), inner(length(max = 280)))]
    pub used_by: Vec<String>,
    /// The job that took the files over (`claimMode: Claim`), as `KIND/NAME`. They are neither disposed of nor restored from
    /// again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 280))]
    pub claimed_by: Option<String>,
    /// The write-ahead record. Internal: do not edit, and do not build on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub intent: Option<SavepointIntent>,
    /// What holds, for tools.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".to_owned()]))]
    pub conditions: Vec<Condition>,
}

fn never() -> i64 {
    -1
}

impl Default for SavepointStatus {
    fn default() -> Self {
        Self {
            observed_generation: never(),
            phase: None,
            id: None,
            updated_at: None,
            origin: None,
            path: None,
            format: None,
            size_bytes: None,
            job_id: None,
            session: None,
            trigger_id: None,
            attempt: None,
            failures: None,
            start_time: None,
            completion_time: None,
            failure: None,
            abandoned_paths: Vec::new(),
            used_by: Vec::new(),
            claimed_by: None,
            intent: None,
            conditions: Vec::new(),
        }
    }
}

impl SavepointStatus {
    /// The attempt that is under way.
    #[must_use]
    pub fn triggered(&self) -> Option<&TriggerIntent> {
        self.intent.as_ref().and_then(|intent| intent.trigger.as_ref())
    }

    /// The disposal that is under way.
    #[must_use]
    pub fn disposal(&self) -> Option<&DisposeIntent> {
        self.intent.as_ref().and_then(|intent| intent.dispose.as_ref())
    }

    /// The write-ahead record, made when it is not there.
    pub fn intent_mut(&mut self) -> &mut SavepointIntent {
        self.intent.get_or_insert_default()
    }

    /// Whether the operator made it, so that the job's `savepointPolicy.retention` applies to it.
    #[must_use]
    pub fn is_made_by_operator(&self) -> bool {
        self.origin.is_some_and(SavepointOrigin::is_made_by_operator)
    }

    /// Whether a job may start from it: it is complete, it stays, and no job owns its files.
    #[must_use]
    pub fn is_restorable(&self) -> bool {
        self.phase == Some(SavepointPhase::Completed) && self.path.is_some() && self.claimed_by.is_none()
    }
}
