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

    fn lines<T>(&self, read: impl Fn(&[&str]) -> Option<T>) -> Vec<T> {
        // No file: nothing has started.
        let text = fs::read_to_string(&self.path).unwrap_or_default();
        text.lines()
            .filter_map(|line| read(&line.split(' ').collect::<Vec<_>>()))
            .collect()
    }
}
