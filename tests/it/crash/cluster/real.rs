//! Plans on a real Flink, which lives on from one to the next. The JobManager's log tells what was accepted and begun, the
//! test job's ledger what really ran.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use devcluster::{
    Flink,
    fake::OperationKind,
    flink::{JobEvent, JobHistory},
    jars::{Ledger, TestJob},
};
use flink_job_operator::flink::UidHash;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::{Asked, Cluster, Failure, Files, Ground, Ran};
use crate::harness;

const ENDS: [&str; 3] = ["FINISHED", "CANCELED", "FAILED"];

pub(in crate::crash) struct RealFlink {
    flink: &'static Flink,
    http: reqwest::Client,
    history: Mutex<JobHistory>,
    /// For the ledger and the state of this namespace's jobs.
    folder: PathBuf,
}

impl RealFlink {
    fn events(&self) -> Result<Vec<JobEvent>, Failure> {
        let mut history = self.history.lock();
        history
            .events()
            .map(<[JobEvent]>::to_vec)
            .map_err(|error| error.to_string())
    }

    fn ledger(&self) -> Ledger {
        Ledger::at(self.folder.join("ledger"))
    }

    /// The number of the snapshot that a job was started from.
    fn restored(&self, job: &str) -> Result<Option<u64>, Failure> {
        let events = self.events()?;
        Ok(events.iter().find_map(|event| {
            let JobEvent::Restored { job_id, number, .. } = event else {
                return None;
            };
            (job_id == job).then_some(*number)
        }))
    }
}

/// The folders below this one whose names begin so.
fn below(folder: &Path, beginning: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for path in entries.map(|entry| entry.path()).filter(|path| path.is_dir()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(beginning) {
            found.push(path);
        } else {
            found.extend(below(&path, beginning));
        }
    }
    found
}

fn is_whole(folder: &Path) -> bool {
    folder.join("_metadata").exists()
}

impl Cluster for RealFlink {
    const PREFIX: &'static str = "real/";
    const NAME: &'static str = "Flink 2.3";
    const AT_ONCE: usize = 4;
    /// The size of a savepoint is told when Flink's statistics have it.
    const LATE: Duration = Duration::from_secs(8);

    async fn start(namespace: &str) -> Self {
        let flink = harness::flink().await;
        let folder = flink.directory().join(namespace);
        fs::create_dir_all(&folder).unwrap();
        Self {
            flink,
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            history: Mutex::new(flink.history().unwrap()),
            folder,
        }
    }

    fn url(&self) -> String {
        self.flink.rest_url().to_owned()
    }

    async fn program(&self, ground: &Ground) -> Value {
        let ledger = self.ledger();
        json!({
            "jarURI": ground.test_jobs().await,
            "entryClass": TestJob::Counter.class(),
            "args": ["--pause-ms", "50", "--ledger", ledger.path()],
            "parallelism": 1,
        })
    }

    fn directories(&self) -> (String, String) {
        let folder = |name: &str| format!("file://{}", self.folder.join(name).display());
        (folder("savepoints"), folder("checkpoints"))
    }

    fn ran(&self) -> Result<Vec<Ran>, Failure> {
        let events = self.events()?;
        let mut ran: Vec<Ran> = Vec::new();
        for event in events {
            match event {
                JobEvent::Accepted { job_id } => ran.push(Ran {
                    id: job_id,
                    from: None,
                    state: "INITIALIZING".to_owned(),
                }),
                JobEvent::Restored { job_id, path, .. } => {
                    let mut fresh = ran.iter_mut().filter(|ran| ran.id == job_id && ran.from.is_none());
                    if let Some(ran) = fresh.next() {
                        ran.from = Some(path);
                    }
                }
                JobEvent::Entered { job_id, state } => {
                    for ran in ran.iter_mut().filter(|ran| ran.id == job_id) {
                        ran.state.clone_from(&state);
                    }
                }
                JobEvent::Stop { .. } | JobEvent::Savepoint { .. } | JobEvent::Disposal { .. } => {}
            }
        }
        Ok(ran)
    }

    fn asked(&self) -> Result<Vec<Asked>, Failure> {
        let events = self.events()?.into_iter();
        let asked = events.filter_map(|event| {
            let (kind, of) = match event {
                JobEvent::Stop { job_id } => (OperationKind::Stop, job_id),
                JobEvent::Savepoint { job_id } => (OperationKind::Savepoint, job_id),
                JobEvent::Disposal { path } => (OperationKind::Disposal, path),
                JobEvent::Accepted { .. } | JobEvent::Restored { .. } | JobEvent::Entered { .. } => return None,
            };
            Some(Asked { kind, of })
        });
        Ok(asked.collect())
    }

    fn most_live_of(&self, mark: UidHash) -> Result<usize, Failure> {
        let mark = mark.to_string();
        let marked = |id: &str| id.get(8..24) == Some(mark.as_str());
        let (mut live, mut most) = (0_usize, 0);
        for event in self.events()? {
            if let JobEvent::Accepted { job_id } = &event
                && marked(job_id)
            {
                live += 1;
                most = most.max(live);
            }
            if let JobEvent::Entered { job_id, state } = &event
                && marked(job_id)
                && ENDS.contains(&state.as_str())
            {
                live = live.saturating_sub(1);
            }
        }
        Ok(most)
    }

    fn files(&self) -> Vec<Files> {
        let folders = below(&self.folder.join("savepoints"), "savepoint-").into_iter();
        let files = folders.map(|folder| Files {
            path: format!("file:{}", folder.display()),
            whole: is_whole(&folder),
        });
        files.collect()
    }

    fn newest_checkpoint(&self, job: &str) -> Option<String> {
        let all = below(&self.folder.join("checkpoints").join(job), "chk-").into_iter();
        let number = |folder: &PathBuf| -> Option<u64> {
            let name = folder.file_name()?.to_string_lossy().into_owned();
            name.strip_prefix("chk-")?.parse().ok()
        };
        let newest = all.filter(|folder| is_whole(folder)).max_by_key(number)?;
        Some(format!("file:{}", newest.display()))
    }

    fn counts_on(&self, ran: &Ran) -> Result<(), Failure> {
        let ledger = self.ledger();
        let starts: Vec<_> = ledger
            .sources()
            .into_iter()
            .filter(|start| start.job_id == ran.id)
            .collect();
        let [start] = starts.as_slice() else {
            return Err(format!("its source began {} times", starts.len()));
        };
        let expected = match self.restored(&ran.id)? {
            None => Some(0),
            Some(number) => {
                let snapshots = ledger.snapshots().into_iter().rev();
                let mut of_others = snapshots.filter(|one| one.checkpoint == number && one.job_id != ran.id);
                of_others.next().map(|one| one.count)
            }
        };
        if expected != Some(start.restored) {
            return Err(format!("it began with {}, not {expected:?}", start.restored));
        }
        let now = ledger.count(&ran.id).unwrap_or_default();
        if now <= start.restored {
            return Err(format!("it does not count on from {now}"));
        }
        Ok(())
    }

    async fn clear(&self, jobs: &[String]) {
        for job in jobs {
            let url = format!("{}/jobs/{job}?mode=cancel", self.flink.rest_url());
            // One that has ended is refused.
            let _ = self.http.patch(url).send().await;
        }
    }
}
