//! Disposals, and what can be read from a path.

use std::time::Instant;

use jiff::Timestamp;

use super::{
    job::{Id, Job},
    jobmanager::JobManager,
    operations::{Course, Due, Operation, Outcome},
    options::Behavior,
    record::{FakeOperation, OperationEnd, OperationKind},
    storage::{SavepointFiles, directory, not_there, spelled},
};

/// Where checkpoints are when nothing else is configured.
const CHECKPOINTS: &str = "file:/checkpoints";

/// The job whose checkpoint a path names, by Flink's layout: `<directory>/<job>/chk-<n>`.
fn owner(path: &str) -> Option<Id> {
    let path = directory(path);
    let (of_job, checkpoint) = path.rsplit_once('/')?;
    checkpoint.strip_prefix("chk-")?;
    of_job.rsplit_once('/')?.1.parse().ok()
}

impl JobManager {
    /// The directory of all checkpoints, for jobs that name none.
    pub(super) fn checkpoints(&self) -> &str {
        let names = ["execution.checkpointing.dir", "state.checkpoints.dir"];
        let mut entries = self.options.configuration.iter();
        let configured = entries.find(|(key, _)| names.contains(&key.as_str()));
        configured.map_or(CHECKPOINTS, |(_, directory)| directory)
    }

    /// Where a job's newest checkpoint is, and the count in it.
    fn newest_checkpoint(&self, job: &Job, now: Instant) -> Option<(String, u64)> {
        let checkpoint = job.checkpoint(now)?;
        Some((self.checkpoint_path(job, checkpoint.number), checkpoint.count))
    }

    pub(super) fn checkpoint_path(&self, job: &Job, number: u32) -> String {
        let configured = job.settings.checkpoint_directory.as_deref();
        let directory = configured.unwrap_or_else(|| self.checkpoints());
        format!("{}/{}/chk-{number}", spelled(directory), job.id)
    }

    /// The checkpoint of a job that can be read now, and the count in it.
    pub(super) fn kept_checkpoint(&self, id: Id, now: Instant) -> Option<(String, u64)> {
        match self.process.jobs.get(&id) {
            Some(job) if !job.settings.keeps_checkpoint(job.state(now)) => None,
            Some(job) => self
                .newest_checkpoint(job, now)
                .or_else(|| self.storage.checkpoint_of(id)),
            None => self.storage.checkpoint_of(id),
        }
    }

    /// A job leaves the memory of the process; its checkpoint stays where it is.
    pub(super) fn leave_checkpoint(&mut self, job: &Job, now: Instant) {
        let kept = job.settings.keeps_checkpoint(job.state(now));
        let newest = self.newest_checkpoint(job, now).filter(|_| kept);
        self.storage.keep_checkpoint(job.id, newest);
    }

    /// Why no job can start from a path: a Java exception. Paths that this fake knows nothing of can be started from.
    pub(super) fn unreadable(&mut self, path: &str, now: Instant) -> Option<String> {
        if let Some(why) = self.storage.unreadable(path) {
            return Some(why);
        }
        let id = owner(path).filter(|id| self.knows_checkpoints_of(*id))?;
        let kept = self
            .kept_checkpoint(id, now)
            .is_some_and(|(kept, _)| kept == directory(path));
        (!kept).then(|| not_there(path))
    }

    fn knows_checkpoints_of(&self, id: Id) -> bool {
        self.process.jobs.contains_key(&id) || self.storage.had_job(id)
    }

    /// Reads a savepoint or a checkpoint: the count in it.
    pub(super) fn restore(&mut self, path: &str, now: Instant) -> u64 {
        if let Some(savepoint) = self.storage.at(path) {
            savepoint.restores += 1;
            return savepoint.count;
        }
        let kept = owner(path).and_then(|id| self.kept_checkpoint(id, now));
        kept.map_or(0, |(_, count)| count)
    }

    /// Begins to delete a savepoint. The id is new each time.
    pub(super) fn dispose(&mut self, path: &str, now: Instant) -> Id {
        let id = self.random_id();
        let entry = self.note(FakeOperation {
            kind: OperationKind::Disposal,
            job_id: None,
            trigger_id: id.to_string(),
            directory: path.to_owned(),
            time: Timestamp::now(),
            location: None,
            end: OperationEnd::UnderWay,
        });
        let planned = self.mishaps.course(OperationKind::Disposal);
        let course = planned.map_or_else(|| self.options.disposal.into(), |(course, _)| course);
        if course != Course::Hangs {
            self.due(now + self.options.disposal_takes, Due::Disposed(id));
        }
        let operation = Operation {
            entry,
            path: path.to_owned(),
            stops_job: false,
            course,
            completion: Behavior::Works,
            written: false,
            outcome: None,
        };
        self.process.operations.insert((None, id), operation);
        id
    }

    /// A disposal comes to its end.
    pub(super) fn disposed(&mut self, id: Id, now: Instant) {
        let Some(operation) = self.process.operations.under_way((None, id)) else {
            return;
        };
        let (path, course) = (operation.path.clone(), operation.course.clone());
        let known = self.storage.at(&path).is_some() || owner(&path).is_some_and(|id| self.knows_checkpoints_of(id));
        let root = match (self.unreadable(&path, now), course) {
            (Some(root), _) | (None, Course::Fails(root)) => Some(root),
            (None, _) if !known => Some(not_there(&path)),
            // The metadata goes first: what is left can be disposed of by nobody.
            (None, Course::Harms) => {
                self.storage.leave(&path, SavepointFiles::WithoutMetadata);
                Some(format!("java.io.IOException: Directory {path} is not empty"))
            }
            (None, Course::Works | Course::Hangs) => {
                self.storage.leave(&path, SavepointFiles::Gone);
                None
            }
        };
        let outer = format!("org.apache.flink.util.FlinkException: Could not dispose savepoint {path}.");
        let outcome = root.map_or_else(
            || Outcome::Done(String::new()),
            |root| Outcome::Failed(vec![outer, root]),
        );
        self.end((None, id), now, outcome);
    }
}
