//! Checkpoints and savepoints of a job.

use jiff::Timestamp;
use serde::Deserialize;

use super::instant;

/// `GET /jobs/:jobid/checkpoints`: the points that a job could be restored from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Checkpoints {
    /// The newest completed checkpoint.
    pub completed: Option<Checkpoint>,
    /// The newest completed savepoint.
    pub savepoint: Option<Checkpoint>,
    /// What the job was last restored from.
    pub restored: Option<Checkpoint>,
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
}

#[derive(Deserialize)]
pub(in crate::flink) struct CheckpointingStatistics {
    latest: LatestCheckpoints,
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
}

impl From<CheckpointingStatistics> for Checkpoints {
    fn from(statistics: CheckpointingStatistics) -> Self {
        let point = |info: CheckpointInfo| Checkpoint {
            id: info.id,
            // Flink's text for a checkpoint that lives nowhere by itself.
            path: info
                .external_path
                .filter(|path| !path.starts_with('<') && path.len() <= 2048),
            time: instant(info.trigger_timestamp),
            is_savepoint: info.is_savepoint,
            discarded: info.discarded,
        };
        let latest = statistics.latest;
        Self {
            completed: latest.completed.map(point),
            savepoint: latest.savepoint.map(point),
            restored: latest.restored.map(point),
        }
    }
}
