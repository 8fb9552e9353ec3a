//! What tests read off the fake.

use std::{collections::BTreeMap, fmt::Display, time::Instant};

use super::{
    EffectSeen, FakeFlink, FakeOperation, FakeSavepoint, SavepointFiles, Submission,
    job::{Job, Mark},
    jobmanager::{self, JobManager},
};

/// A job as the fake has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FakeJob {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its state, in Flink's word.
    pub state: &'static str,
    /// Its parallelism.
    pub parallelism: u32,
    /// The count that it was restored with; 0 for an empty start.
    pub restored_count: u64,
    /// What it has counted by now, or when it ended.
    pub count: u64,
    /// Where its newest checkpoint is, if it is kept.
    pub checkpoint: Option<String>,
}

/// An uploaded jar as the fake has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FakeJar {
    /// Its id.
    pub id: String,
    /// The name it was uploaded under.
    pub name: String,
    /// Its size in bytes.
    pub length: u64,
    /// The SHA-256 of its content, in lower-case hexadecimal digits.
    pub sha256: String,
}

impl FakeFlink {
    fn read<T>(&self, read: impl FnOnce(&JobManager, Instant) -> T) -> T {
        self.with(|jm, now| read(jm, now))
    }

    /// The jobs in its list.
    #[must_use]
    pub fn jobs(&self) -> Vec<FakeJob> {
        let job = |jm: &JobManager, job: &Job, now| FakeJob {
            id: job.id.to_string(),
            name: job.name.clone(),
            state: job.state(now).word(),
            parallelism: job.parallelism,
            restored_count: job.restored_count,
            count: job.count(now),
            checkpoint: jm.kept_checkpoint(job.id, now).map(|(path, _)| path),
        };
        self.read(|jm, now| jm.process.jobs.values().map(|j| job(jm, j, now)).collect())
    }

    /// The jars in its upload folder.
    #[must_use]
    pub fn jars(&self) -> Vec<FakeJar> {
        let jar = |(id, jar): (&String, &jobmanager::Jar)| FakeJar {
            id: id.clone(),
            name: jar.name.clone(),
            length: jar.length,
            sha256: jar.sha256.clone(),
        };
        self.read(|jm, _| jm.process.jars.iter().map(jar).collect())
    }

    /// Requests so far for one endpoint, given as method and template: `GET`, `/jobs/overview`.
    #[must_use]
    pub fn count(&self, method: &str, endpoint: &str) -> u64 {
        let requests = self.requests();
        let matching = requests.iter().filter(|((m, e), _)| m == method && *e == endpoint);
        matching.map(|(_, n)| n).sum()
    }

    /// Requests so far, by method and template. `unknown` stands for paths that are not here.
    #[must_use]
    pub fn requests(&self) -> BTreeMap<(String, &'static str), u64> {
        self.read(|jm, _| jm.record.requests.clone())
    }

    /// All requests so far.
    #[must_use]
    pub fn total_requests(&self) -> u64 {
        self.read(|jm, _| jm.record.requests.values().sum())
    }

    /// The most requests for one endpoint that were ever handled at the same time, those that hang included.
    #[must_use]
    pub fn most_at_once(&self, method: &str, endpoint: &str) -> usize {
        self.read(|jm, _| jm.record.most_at_once(method, endpoint))
    }

    /// Bytes of bodies that were answered so far.
    #[must_use]
    pub fn body_bytes_sent(&self) -> u64 {
        self.read(|jm, _| jm.record.body_bytes_sent)
    }

    /// Every POST, PATCH and DELETE so far, in order of arrival.
    #[must_use]
    pub fn effects(&self) -> Vec<EffectSeen> {
        self.read(|jm, _| jm.record.effects.clone())
    }

    /// Forgets the counts of requests and bytes, and the effects; not the submissions and operations.
    pub fn reset_counts(&self) {
        let record = &mut self.shared.jobmanager.lock().record;
        record.requests.clear();
        record.effects.clear();
        record.body_bytes_sent = 0;
    }

    /// Every accepted submission, across restarts, in order.
    #[must_use]
    pub fn submissions(&self) -> Vec<Submission> {
        self.read(|jm, _| jm.record.submissions.clone())
    }

    /// How often a job with this id was accepted. More than one means that it ran twice.
    #[must_use]
    pub fn starts(&self, id: impl Display) -> usize {
        let id = id.to_string();
        self.read(|jm, _| {
            jm.record
                .submissions
                .iter()
                .filter(|submission| submission.job_id == id)
                .count()
        })
    }

    /// Every savepoint, stop and disposal that was accepted, across restarts, in order. A trigger that is in it twice has acted
    /// twice.
    #[must_use]
    pub fn operations(&self) -> Vec<FakeOperation> {
        self.read(|jm, _| jm.record.operations.clone())
    }

    /// Every savepoint that was ever begun, across restarts, in order.
    #[must_use]
    pub fn savepoints(&self) -> Vec<FakeSavepoint> {
        self.read(|jm, _| jm.storage.savepoints.clone())
    }

    /// Deletes files of a savepoint behind Flink's back. False when there is none at this path.
    pub fn set_savepoint_files(&self, path: &str, files: SavepointFiles) -> bool {
        let jm = &mut *self.shared.jobmanager.lock();
        jm.storage.at(path).map(|savepoint| savepoint.files = files).is_some()
    }

    /// How often a `main()` was started.
    #[must_use]
    pub fn main_calls(&self) -> u64 {
        self.read(|jm, _| jm.record.main_calls)
    }

    /// How often a job was recovered by a new JobManager.
    #[must_use]
    pub fn recoveries(&self) -> u64 {
        self.read(|jm, _| jm.record.recoveries)
    }

    /// The most jobs that ever ran at the same time with one mark: bytes 4 to 12 of the JobID, 16 hexadecimal digits.
    #[must_use]
    pub fn most_live_of(&self, mark: impl Display) -> usize {
        let mark = mark.to_string().parse::<Mark>();
        self.read(|jm, _| mark.map_or(0, |mark| jm.record.most_live_of(mark)))
    }

    /// The mark that ever had the most jobs running at the same time, and how many. More than one is a double run.
    #[must_use]
    pub fn most_live(&self) -> Option<(String, usize)> {
        self.read(|jm, _| jm.record.most_live().map(|(mark, n)| (mark.to_string(), n)))
    }
}
