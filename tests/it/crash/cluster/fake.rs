//! Plans on the fake.

use std::time::Duration;

use devcluster::fake::{FakeFlink, FakeOptions, OperationKind, SavepointFiles};
use flink_job_operator::flink::{UidHash, is_same_place};
use serde_json::{Value, json};

use super::{Asked, Cluster, Failure, Files, Ground, Ran};

/// A cluster whose jobs pass through no state that a poll sees only if it comes in time: each run of a flow makes the same
/// writes, so that every plan comes to its moment.
pub(in crate::crash) fn steady() -> FakeOptions {
    FakeOptions {
        initializing: Duration::ZERO,
        created: Duration::ZERO,
        cancelling: Duration::ZERO,
        savepoint_takes: Duration::ZERO,
        stopping: Duration::ZERO,
        disposal_takes: Duration::ZERO,
        ..FakeOptions::default()
    }
}

impl Cluster for FakeFlink {
    const PREFIX: &'static str = "";
    const NAME: &'static str = "fake";
    const AT_ONCE: usize = 8;
    const LATE: Duration = Duration::from_secs(1);

    async fn start(_: &str) -> Self {
        Self::start(steady()).await.unwrap()
    }

    fn url(&self) -> String {
        Self::url(self)
    }

    async fn program(&self, ground: &Ground) -> Value {
        json!({ "jarURI": ground.jar(), "entryClass": "CounterJob", "args": ["--generation", "1"] })
    }

    fn directories(&self) -> (String, String) {
        (
            "s3://bucket/savepoints".to_owned(),
            "s3://bucket/checkpoints".to_owned(),
        )
    }

    fn ran(&self) -> Result<Vec<Ran>, Failure> {
        let jobs = self.jobs();
        let state = |id: &str| jobs.iter().find(|job| job.id == id).map_or("absent", |job| job.state);
        let accepted = self.submissions().into_iter();
        let ran = accepted.map(|accepted| Ran {
            state: state(&accepted.job_id).to_owned(),
            id: accepted.job_id,
            from: accepted.savepoint_path,
        });
        Ok(ran.collect())
    }

    fn asked(&self) -> Result<Vec<Asked>, Failure> {
        let asked = self.operations().into_iter().map(|operation| Asked {
            kind: operation.kind,
            of: match operation.kind {
                OperationKind::Disposal => operation.directory,
                OperationKind::Savepoint | OperationKind::Stop => operation.job_id.unwrap_or_default(),
            },
        });
        Ok(asked.collect())
    }

    fn most_live_of(&self, mark: UidHash) -> Result<usize, Failure> {
        Ok(Self::most_live_of(self, mark))
    }

    fn files(&self) -> Vec<Files> {
        let there = self.savepoints().into_iter();
        there
            .filter(|savepoint| savepoint.files != SavepointFiles::Gone)
            .map(|savepoint| Files {
                path: savepoint.path,
                whole: savepoint.files == SavepointFiles::Complete,
            })
            .collect()
    }

    fn newest_checkpoint(&self, job: &str) -> Option<String> {
        let jobs = self.jobs();
        jobs.into_iter().find(|one| one.id == job)?.checkpoint
    }

    fn counts_on(&self, ran: &Ran) -> Result<(), Failure> {
        let Some(job) = self.jobs().into_iter().find(|job| job.id == ran.id) else {
            return Ok(());
        };
        let savepoints = self.savepoints();
        let from = ran.from.as_ref();
        let savepoint = from.and_then(|from| savepoints.iter().find(|one| is_same_place(&one.path, from)));
        let expected = match (from, savepoint) {
            (None, _) => 0,
            (Some(_), Some(savepoint)) => savepoint.count,
            // The fake starts nothing from a checkpoint that is not the newest.
            (Some(_), None) => job.restored_count,
        };
        if job.restored_count == expected {
            return Ok(());
        }
        Err(format!("it began with {}, not {expected}: {job:?}", job.restored_count))
    }

    async fn clear(&self, _: &[String]) {}
}
