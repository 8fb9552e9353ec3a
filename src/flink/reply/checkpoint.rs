//! Checkpoints and savepoints of a job.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::{first, instant, short_text};

/// `GET /jobs/:jobid/checkpoints`: the points that a job could be restored from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Checkpoints {
    /// The newest completed checkpoint.
    pub completed: Option<Checkpoint>,
    /// The newest completed savepoint.
    pub savepoint: Option<Checkpoint>,
    /// What the job was last restored from.
    pub restored: Option<Checkpoint>,
    /// The savepoints that the process remembers, newest first, among the last checkpoints (`web.checkpoints.history`,
    /// 10 by default). Empty after a restart of the JobManager.
    pub savepoints: Vec<SavepointEntry>,
}

/// A savepoint in the history: how one is found whose trigger was forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavepointEntry {
    /// Its number within the job, counted together with checkpoints.
    pub id: i64,
    /// Where it is in its life.
    pub state: SavepointState,
    /// Whether the job was to end with it (`SYNC_SAVEPOINT`).
    pub stops_job: bool,
    /// Its directory, once it is complete.
    pub path: Option<String>,
    /// When it was triggered.
    pub time: Option<Timestamp>,
    /// When it was complete.
    pub completed: Option<Timestamp>,
    /// The size of the state in it, in bytes; once it is complete.
    pub size: Option<i64>,
}

/// Where a savepoint in the history is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SavepointState {
    /// Under way.
    InProgress,
    /// Complete.
    Completed,
    /// Failed.
    Failed,
    /// A word that this version does not know.
    #[serde(other)]
    Unknown,
}

/// `GET /jobs/:jobid/checkpoints/config`: how a job's state is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointConfig {
    /// How often a checkpoint is taken; `None` when none are.
    pub interval: Option<Duration>,
    /// Whether the newest checkpoint outlives the job's cancellation.
    pub retained_on_cancellation: bool,
    /// Whether the newest checkpoint outlives the job's failure.
    pub retained_on_failure: bool,
    /// The class of the checkpoint storage, such as `FileSystemCheckpointStorage`. With `JobManagerCheckpointStorage`,
    /// checkpoints are lost with the process.
    pub storage: String,
    /// The class of the state backend, such as `HashMapStateBackend`.
    pub state_backend: String,
}

#[derive(Deserialize)]
pub(in crate::flink) struct CheckpointConfigInfo {
    interval: i64,
    externalization: Externalization,
    #[serde(default, deserialize_with = "short_text")]
    checkpoint_storage: String,
    #[serde(default, deserialize_with = "short_text")]
    state_backend: String,
}

#[derive(Deserialize)]
struct Externalization {
    enabled: bool,
    delete_on_cancellation: bool,
}

impl From<CheckpointConfigInfo> for CheckpointConfig {
    fn from(info: CheckpointConfigInfo) -> Self {
        // Flink writes the largest number for "never".
        let interval = u64::try_from(info.interval).ok().filter(|_| info.interval < i64::MAX);
        let Externalization {
            enabled,
            delete_on_cancellation,
        } = info.externalization;
        Self {
            interval: interval.filter(|millis| *millis > 0).map(Duration::from_millis),
            retained_on_cancellation: enabled && !delete_on_cancellation,
            retained_on_failure: enabled,
            storage: info.checkpoint_storage,
            state_backend: info.state_backend,
        }
    }
}

/// A checkpoint or a savepoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Its number within the job.
    pub id: i64,
    /// Its directory; `None` when it was not written to a place of its own.
    pub path: Option<String>,
    /// When it was triggered, or when the job was restored from it.
    pub time: Option<Timestamp>,
    /// Whether it is a savepoint.
    pub is_savepoint: bool,
    /// Whether its files were removed since.
    pub discarded: bool,
    /// When it was complete; not told of what the job was restored from.
    pub completed: Option<Timestamp>,
    /// The size of the state in it, in bytes; not told of what the job was restored from.
    pub size: Option<i64>,
}

#[derive(Deserialize)]
pub(in crate::flink) struct CheckpointingStatistics {
    latest: LatestCheckpoints,
    #[serde(default, deserialize_with = "first::<256, _, _>")]
    history: Vec<HistoryEntry>,
}

#[derive(Deserialize)]
struct HistoryEntry {
    id: i64,
    status: SavepointState,
    is_savepoint: bool,
    #[serde(default)]
    checkpoint_type: Option<String>,
    #[serde(default)]
    trigger_timestamp: i64,
    #[serde(default)]
    external_path: Option<String>,
    #[serde(default)]
    end_to_end_duration: i64,
    #[serde(default)]
    state_size: Option<i64>,
}

impl From<HistoryEntry> for SavepointEntry {
    fn from(entry: HistoryEntry) -> Self {
        let complete = entry.status == SavepointState::Completed;
        let end = end(entry.trigger_timestamp, entry.end_to_end_duration);
        Self {
            completed: end.filter(|_| complete),
            size: entry.state_size.filter(|size| complete && *size >= 0),
            id: entry.id,
            state: entry.status,
            stops_job: entry.checkpoint_type.as_deref() == Some("SYNC_SAVEPOINT"),
            path: own_place(entry.external_path),
            time: instant(entry.trigger_timestamp),
        }
    }
}

/// When something ended that was begun at that time, and took so many milliseconds.
fn end(begun: i64, took: i64) -> Option<Timestamp> {
    let took = SignedDuration::from_millis(took.max(0));
    instant(begun)?.checked_add(took).ok()
}

/// Leaves out Flink's text for a checkpoint that lives nowhere by itself, and what is too long to be kept.
fn own_place(path: Option<String>) -> Option<String> {
    path.filter(|path| !path.starts_with('<') && path.len() <= 2048)
}

#[derive(Deserialize)]
struct LatestCheckpoints {
    #[serde(default)]
    completed: Option<CheckpointInfo>,
    #[serde(default)]
    savepoint: Option<CheckpointInfo>,
    #[serde(default)]
    restored: Option<CheckpointInfo>,
}

#[derive(Deserialize)]
struct CheckpointInfo {
    id: i64,
    #[serde(default)]
    external_path: Option<String>,
    #[serde(default, alias = "restore_timestamp")]
    trigger_timestamp: i64,
    #[serde(default)]
    is_savepoint: bool,
    #[serde(default)]
    discarded: bool,
    #[serde(default)]
    end_to_end_duration: Option<i64>,
    #[serde(default)]
    state_size: Option<i64>,
}

impl From<CheckpointingStatistics> for Checkpoints {
    fn from(statistics: CheckpointingStatistics) -> Self {
        let point = |info: CheckpointInfo| Checkpoint {
            id: info.id,
            path: own_place(info.external_path),
            time: instant(info.trigger_timestamp),
            is_savepoint: info.is_savepoint,
            discarded: info.discarded,
            completed: info
                .end_to_end_duration
                .and_then(|took| end(info.trigger_timestamp, took)),
            size: info.state_size.filter(|size| *size >= 0),
        };
        let latest = statistics.latest;
        let savepoints = statistics.history.into_iter().filter(|entry| entry.is_savepoint);
        Self {
            completed: latest.completed.map(point),
            savepoint: latest.savepoint.map(point),
            restored: latest.restored.map(point),
            savepoints: savepoints.map(SavepointEntry::from).collect(),
        }
    }
}
