//! What the cases about state share: jobs that run, outcomes, and a look at the files.

use std::{fs, path::PathBuf, time::Duration};

use devcluster::{
    fake::SavepointFiles,
    jars::{Ledger, TestJob},
};
use flink_job_operator::flink::{
    DisposalStatus, FailureKind, JarId, JobId, OperationFailure, RunReply, RunRequest, SavepointFormat,
    SavepointRequest, SavepointStatus, TriggerId,
};

use super::target::{PATIENCE, Server, Target, new_id, request};

/// A trigger that no other case uses.
pub fn new_trigger() -> TriggerId {
    TriggerId(new_id().0)
}

/// The path of a savepoint that must be complete.
pub fn completed(status: SavepointStatus) -> String {
    let SavepointStatus::Completed { location } = status else {
        panic!("{status:?}");
    };
    location
}

/// The failure of a savepoint that must have failed.
pub fn failed(status: SavepointStatus) -> OperationFailure {
    let SavepointStatus::Failed(failure) = status else {
        panic!("{status:?}");
    };
    failure
}

/// Asks until there is an answer.
pub async fn sooner_or_later<T>(what: &str, ask: impl AsyncFn() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.expect(what)
}

/// What is left of a savepoint's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    All,
    NoMetadata,
    Nothing,
}

impl Target {
    /// A native savepoint in a directory of its own, which does not exist yet.
    pub fn savepoint_request(&self) -> SavepointRequest {
        let trigger_id = new_trigger();
        let parent = self
            .real()
            .map_or_else(|| "/state".to_owned(), |flink| flink.directory().display().to_string());
        SavepointRequest {
            trigger_id,
            target_directory: format!("{parent}/savepoints/{trigger_id}"),
            format: SavepointFormat::Native,
        }
    }

    fn ledger(&self) -> Option<Ledger> {
        self.real()
            .map(|flink| Ledger::at(flink.directory().join("state.ledger")))
    }

    /// A run of the job that counts, in the ledger.
    pub fn counting(&self, args: &[&str]) -> RunRequest {
        let mut run = request(new_id(), TestJob::Counter, args);
        if let Some(ledger) = self.ledger() {
            let path = ledger.path().display().to_string();
            run.args.extend(["--ledger".to_owned(), path]);
        }
        run
    }

    /// The same, restarted by Flink when a task fails. Without checkpoints: they would fail before the savepoint does.
    pub fn restarted(&self, args: &[&str]) -> RunRequest {
        let mut run = self.counting(args);
        for (key, value) in [
            ("restart-strategy.type", "fixed-delay"),
            ("restart-strategy.fixed-delay.attempts", "3"),
            ("restart-strategy.fixed-delay.delay", "50 ms"),
        ] {
            run.flink_configuration.insert(key.to_owned(), value.to_owned());
        }
        run
    }

    /// Runs it, and waits until its tasks do.
    pub async fn run_counting(&self, jar: &JarId, run: &RunRequest) -> JobId {
        assert_eq!(self.client.run_jar(jar, run, PATIENCE).await, Ok(RunReply::Started));
        self.tasks_run(run.job_id).await;
        // So that there is something to count.
        tokio::time::sleep(Duration::from_millis(200)).await;
        run.job_id
    }

    /// A job whose tasks run.
    pub async fn running(&self, jar: &JarId, args: &[&str]) -> JobId {
        self.run_counting(jar, &self.counting(args)).await
    }

    /// A job that was started from a savepoint, and has its count.
    pub async fn restored(&self, jar: &JarId, from: &str) -> JobId {
        let run = RunRequest {
            savepoint_path: Some(from.to_owned()),
            ..self.counting(&[])
        };
        let job = self.run_counting(jar, &run).await;
        let restored = sooner_or_later("what it was restored from", async || {
            self.client.checkpoints(job).await.unwrap().restored
        });
        assert_eq!(restored.await.path.as_deref(), Some(from));
        assert!(self.restored_count(job) > 0, "{job} started empty");
        job
    }

    /// The count with which a job's source started.
    pub fn restored_count(&self, id: JobId) -> u64 {
        let id = id.to_string();
        match &self.server {
            Server::Fake(fake) => {
                let jobs = fake.jobs();
                jobs.iter().find(|job| job.id == id).map_or(0, |job| job.restored_count)
            }
            Server::Shared(_) | Server::Own(_) => {
                let sources = self.ledger().map(|ledger| ledger.sources()).unwrap_or_default();
                sources
                    .iter()
                    .find(|start| start.job_id == id)
                    .map_or(0, |start| start.restored)
            }
        }
    }

    /// What a job has counted so far, or in all.
    pub fn count(&self, id: JobId) -> u64 {
        let id = id.to_string();
        match &self.server {
            Server::Fake(fake) => {
                let jobs = fake.jobs();
                jobs.iter().find(|job| job.id == id).map_or(0, |job| job.count)
            }
            Server::Shared(_) | Server::Own(_) => self.ledger().and_then(|ledger| ledger.count(&id)).unwrap_or(0),
        }
    }

    /// Waits until all tasks of a job run. The job list is not late, as the details of a job are.
    pub async fn tasks_run(&self, id: JobId) {
        let id = id.to_string();
        sooner_or_later("all tasks run", async || {
            let (_, body) = self.raw("GET", "/jobs/overview", None).await;
            let list: serde_json::Value = serde_json::from_str(&body).unwrap();
            let jobs = list["jobs"].as_array().unwrap();
            let job = jobs.iter().find(|job| job["jid"] == id.as_str())?;
            let tasks = &job["tasks"];
            (tasks["total"] != 0 && tasks["running"] == tasks["total"]).then_some(())
        })
        .await;
    }

    /// What became of a savepoint or a stop, once something has.
    pub async fn outcome(&self, job: JobId, trigger: TriggerId) -> SavepointStatus {
        sooner_or_later("the outcome of a savepoint", async || {
            let status = self.client.savepoint_status(job, trigger).await.unwrap();
            (status != SavepointStatus::InProgress).then_some(status)
        })
        .await
    }

    /// Disposes of a savepoint, to the end.
    pub async fn dispose(&self, path: &str) -> DisposalStatus {
        let trigger = self.client.dispose_savepoint(path).await.unwrap();
        sooner_or_later("the outcome of a disposal", async || {
            let status = self.client.disposal_status(trigger).await.unwrap();
            (status != DisposalStatus::InProgress).then_some(status)
        })
        .await
    }

    /// Why a disposal fails that must.
    pub async fn dispose_in_vain(&self, path: &str) -> FailureKind {
        let status = self.dispose(path).await;
        let DisposalStatus::Failed(failure) = status else {
            panic!("{status:?}");
        };
        failure.kind
    }

    /// How many savepoints are in a directory, or under way.
    pub fn savepoints_in(&self, directory: &str) -> usize {
        match &self.server {
            Server::Fake(fake) => {
                let within = format!("file:{directory}/");
                let all = fake.savepoints();
                all.iter()
                    .filter(|savepoint| savepoint.path.starts_with(&within) && savepoint.files != SavepointFiles::Gone)
                    .count()
            }
            Server::Shared(_) | Server::Own(_) => fs::read_dir(directory).map_or(0, Iterator::count),
        }
    }

    /// What is left of a savepoint.
    pub fn left_of(&self, location: &str) -> Left {
        match &self.server {
            Server::Fake(fake) => {
                let all = fake.savepoints();
                let files = all
                    .iter()
                    .find(|savepoint| savepoint.path == location)
                    .map(|savepoint| savepoint.files);
                match files {
                    None | Some(SavepointFiles::Gone) => Left::Nothing,
                    Some(SavepointFiles::Complete) => Left::All,
                    Some(SavepointFiles::Partial | SavepointFiles::WithoutMetadata) => Left::NoMetadata,
                }
            }
            Server::Shared(_) | Server::Own(_) => {
                let path = local(location);
                match (path.join("_metadata").exists(), path.exists()) {
                    (true, _) => Left::All,
                    (false, true) => Left::NoMetadata,
                    (false, false) => Left::Nothing,
                }
            }
        }
    }

    /// Deletes a savepoint's `_metadata` behind Flink's back.
    pub fn delete_metadata(&self, location: &str) {
        match &self.server {
            Server::Fake(fake) => assert!(fake.set_savepoint_files(location, SavepointFiles::WithoutMetadata)),
            Server::Shared(_) | Server::Own(_) => fs::remove_file(local(location).join("_metadata")).unwrap(),
        }
    }
}

fn local(location: &str) -> PathBuf {
    location.trim_start_matches("file:").into()
}
