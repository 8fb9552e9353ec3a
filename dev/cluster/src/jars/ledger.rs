//! What really ran, as the test jobs wrote it down.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A start of a main method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MainStart {
    /// The class, without its package.
    pub class: String,
    /// The id that the submission asked for, 32 hexadecimal digits.
    pub job_id: Option<String>,
}

/// A start of a job's source: a run of the job, or a restart of its task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceStart {
    /// The job's id, 32 hexadecimal digits.
    pub job_id: String,
    /// 0, or how often Flink had restarted the task by then.
    pub attempt: u32,
    /// The count that was restored; 0 for an empty start.
    pub restored: u64,
}

/// A snapshot that a job's task wrote: part of a checkpoint or a savepoint, which may fail all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotTaken {
    /// The job's id, 32 hexadecimal digits.
    pub job_id: String,
    /// The number of the checkpoint or savepoint.
    pub checkpoint: u64,
    /// The count in it.
    pub count: u64,
}

/// The file that test jobs get with `--ledger`.
#[derive(Debug, Clone)]
pub struct Ledger {
    path: PathBuf,
}

impl Ledger {
    /// The ledger at this path; the file is made by the first job that starts.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The path, for the arguments of a job.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The starts of main methods so far. A retry of a submission may run a main method again and still start one job.
    #[must_use]
    pub fn mains(&self) -> Vec<MainStart> {
        self.lines(|words| match words {
            ["main", class, "-"] => Some(MainStart {
                class: (*class).to_owned(),
                job_id: None,
            }),
            ["main", class, id] => Some(MainStart {
                class: (*class).to_owned(),
                job_id: Some((*id).to_owned()),
            }),
            _ => None,
        })
    }

    /// The starts of sources so far.
    #[must_use]
    pub fn sources(&self) -> Vec<SourceStart> {
        self.lines(|words| {
            let ["source", job_id, attempt, restored] = words else {
                return None;
            };
            let (attempt, restored) = (attempt.parse().ok()?, restored.parse().ok()?);
            Some(SourceStart {
                job_id: (*job_id).to_owned(),
                attempt,
                restored,
            })
        })
    }

    /// The snapshots so far.
    #[must_use]
    pub fn snapshots(&self) -> Vec<SnapshotTaken> {
        self.lines(|words| {
            let ["snapshot", job_id, checkpoint, count] = words else {
                return None;
            };
            let (checkpoint, count) = (checkpoint.parse().ok()?, count.parse().ok()?);
            Some(SnapshotTaken {
                job_id: (*job_id).to_owned(),
                checkpoint,
                count,
            })
        })
    }

    /// What a job has counted: all of it once it is FINISHED, else as of up to a tenth of a second before. A restart of its
    /// task takes it back to what was restored. `None` before the first start.
    #[must_use]
    pub fn count(&self, job_id: &str) -> Option<u64> {
        let counts = self.lines(|words| match words {
            ["source" | "count" | "snapshot" | "end", id, _, count] if *id == job_id => count.parse().ok(),
            _ => None,
        });
        counts.last().copied()
    }

    fn lines<T>(&self, read: impl Fn(&[&str]) -> Option<T>) -> Vec<T> {
        // No file: nothing has started.
        let text = fs::read_to_string(&self.path).unwrap_or_default();
        text.lines()
            .filter_map(|line| read(&line.split(' ').collect::<Vec<_>>()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_snapshots_and_counts_are_read_and_other_lines_skipped() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::at(folder.path().join("ledger"));
        assert_eq!((ledger.sources(), ledger.count("a")), (Vec::new(), None));
        let lines = "main CounterJob a\nsource a 0 5\ncount a 0 17\nsource b 0 0\nsnapshot a 3 20\ncount b 0 9\nend a 0 21\n\
            source a 1 20\ncount a 1 x\ncount";
        fs::write(ledger.path(), lines).unwrap();
        let sources: Vec<_> = ledger
            .sources()
            .iter()
            .map(|start| (start.attempt, start.restored))
            .collect();
        assert_eq!(sources, [(0, 5), (0, 0), (1, 20)]);
        let snapshot = SnapshotTaken {
            job_id: "a".to_owned(),
            checkpoint: 3,
            count: 20,
        };
        assert_eq!(ledger.snapshots(), [snapshot]);
        assert_eq!((ledger.count("a"), ledger.count("b")), (Some(20), Some(9)));
        assert_eq!(ledger.mains().len(), 1);
    }
}
