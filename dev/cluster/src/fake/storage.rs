//! The files of savepoints: a ledger that outlives processes, as a file system does.

use std::{
    collections::{BTreeMap, HashMap},
    time::Instant,
};

use super::job::Id;

/// How far a savepoint's directory can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SavepointFiles {
    /// Being written, or left behind when the process died: no `_metadata`.
    Partial,
    /// All of it is there: a job can start from it.
    Complete,
    /// It was complete, and its `_metadata` is gone, while other files are left.
    WithoutMetadata,
    /// Nothing is left.
    Gone,
}

/// A savepoint's directory, as tests see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FakeSavepoint {
    /// Its path, in Flink's spelling.
    pub path: String,
    /// The job it is of.
    pub job_id: String,
    /// The trigger that made it.
    pub trigger_id: String,
    /// `CANONICAL` or `NATIVE`.
    pub format: String,
    /// Whether the job was to end with it.
    pub stops_job: bool,
    /// What is there of it.
    pub files: SavepointFiles,
    /// The count in it: jobs count a hundred a second.
    pub count: u64,
    /// How often a job was started from it.
    pub restores: u64,
}

/// The files that there ever were.
#[derive(Default)]
pub(super) struct Storage {
    /// Savepoints, in the order in which they were begun.
    pub(super) savepoints: Vec<FakeSavepoint>,
    /// Their places, by path.
    places: HashMap<String, usize>,
    /// The newest checkpoints, and the counts in them, of jobs that no process remembers. `None`: not kept.
    checkpoints: HashMap<Id, Option<(String, u64)>>,
    /// Checkpoints that were disposed of, wholly or in part.
    disposed: BTreeMap<String, SavepointFiles>,
}

impl Storage {
    /// Makes a savepoint's directory in another. Returns its path.
    pub(super) fn begin(&mut self, job: Id, trigger: Id, directory: &str, format: &str, stops_job: bool) -> String {
        let hex = job.to_string();
        let unique = Id(super::jobmanager::random()).to_string();
        let path = format!(
            "{}/savepoint-{}-{}",
            spelled(directory),
            hex.get(..6).unwrap_or_default(),
            unique.get(..12).unwrap_or_default()
        );
        self.places.insert(path.clone(), self.savepoints.len());
        self.savepoints.push(FakeSavepoint {
            path: path.clone(),
            job_id: hex,
            trigger_id: trigger.to_string(),
            format: format.to_owned(),
            stops_job,
            files: SavepointFiles::Partial,
            count: 0,
            restores: 0,
        });
        path
    }

    /// The savepoint at a path, which may name its `_metadata`.
    pub(super) fn at(&mut self, path: &str) -> Option<&mut FakeSavepoint> {
        let place = self.places.get(&directory(path))?;
        self.savepoints.get_mut(*place)
    }

    /// Deletes a savepoint or a checkpoint, or a part of it.
    pub(super) fn leave(&mut self, path: &str, files: SavepointFiles) {
        match self.at(path) {
            Some(savepoint) => savepoint.files = files,
            None => _ = self.disposed.insert(directory(path), files),
        }
    }

    /// A job leaves the memory of its process; the newest of its checkpoints stays, or none.
    pub(super) fn keep_checkpoint(&mut self, job: Id, newest: Option<(String, u64)>) {
        self.checkpoints.insert(job, newest);
    }

    /// Whether there was a job that no process remembers.
    pub(super) fn had_job(&self, job: Id) -> bool {
        self.checkpoints.contains_key(&job)
    }

    /// The checkpoint that such a job left behind, and the count in it.
    pub(super) fn checkpoint_of(&self, job: Id) -> Option<(String, u64)> {
        self.checkpoints.get(&job).cloned().flatten()
    }

    /// Why there is no reading from a path: a printed Java exception. Paths that were never written here are not looked at.
    pub(super) fn unreadable(&mut self, path: &str) -> Option<String> {
        let files = match self.disposed.get(&directory(path)) {
            Some(files) => *files,
            None => self.at(path)?.files,
        };
        match files {
            SavepointFiles::Complete => None,
            SavepointFiles::Gone => Some(not_there(path)),
            SavepointFiles::Partial | SavepointFiles::WithoutMetadata => Some(no_metadata(path)),
        }
    }
}

/// The directory of a savepoint or a checkpoint, which may be named by its `_metadata`.
pub(super) fn directory(path: &str) -> String {
    let path = spelled(path);
    path.strip_suffix("/_metadata")
        .map_or_else(|| path.clone(), str::to_owned)
}

/// Flink's spelling of a directory: `file:/a` for `/a` and `file:///a`, and no slash at the end.
pub(super) fn spelled(directory: &str) -> String {
    let path = directory.trim_end_matches('/');
    match path.strip_prefix("file:///") {
        Some(rest) => format!("file:/{rest}"),
        None if path.starts_with('/') => format!("file:{path}"),
        None => path.to_owned(),
    }
}

pub(super) fn not_there(path: &str) -> String {
    format!(
        "java.io.FileNotFoundException: Cannot find checkpoint or savepoint file/directory '{path}' on file system 'file'."
    )
}

fn no_metadata(path: &str) -> String {
    format!(
        "java.io.FileNotFoundException: Cannot find meta data file '_metadata' in directory '{path}'. Please try to load \
         the checkpoint/savepoint directly from the metadata file instead of the directory."
    )
}

/// A savepoint in a job's history.
#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    pub(super) number: u32,
    pub(super) path: String,
    pub(super) format: String,
    pub(super) stops_job: bool,
    pub(super) triggered: Instant,
    /// When it ended, and whether it is complete.
    pub(super) ended: Option<(Instant, bool)>,
}
