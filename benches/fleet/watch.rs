//! What the watches bring, and when: the phases of jobs and of their Savepoints, and how often each job changed.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use flink_job_operator::api::{FlinkSessionJob, Phase, Savepoint, SavepointPhase};
use futures::StreamExt;
use kube::{
    Api, ResourceExt,
    runtime::{WatchStreamExt, watcher},
};
use parking_lot::Mutex;
use tokio::task::JoinSet;

use crate::world::World;

/// What was seen so far.
#[derive(Default)]
pub struct Seen {
    first: HashMap<String, Instant>,
    phases: HashMap<(String, Phase), Instant>,
    /// The jobs with a Savepoint that is complete, and when the first of them was seen.
    kept: HashMap<String, Instant>,
    versions: HashMap<String, HashSet<String>>,
}

impl Seen {
    /// When a job was first seen at all: the operator hears of it no earlier.
    pub fn first(&self, job: &str) -> Option<Instant> {
        self.first.get(job).copied()
    }

    /// When a job was first seen in a phase.
    pub fn phase(&self, job: &str, phase: Phase) -> Option<Instant> {
        self.phases.get(&(job.to_owned(), phase)).copied()
    }

    /// When a complete Savepoint of a job was first seen.
    pub fn kept(&self, job: &str) -> Option<Instant> {
        self.kept.get(job).copied()
    }

    /// How many versions of a job were seen.
    pub fn versions(&self, job: &str) -> usize {
        self.versions.get(job).map_or(0, HashSet::len)
    }
}

/// Watches that run until this is dropped.
pub struct Watching {
    seen: Arc<Mutex<Seen>>,
    _tasks: JoinSet<()>,
}

impl Watching {
    pub fn start(world: &World) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let mut tasks = JoinSet::new();
        let jobs = watcher(world.jobs(), watcher::Config::default());
        let of_jobs = Arc::clone(&seen);
        tasks.spawn(jobs.default_backoff().applied_objects().for_each(move |job| {
            if let Ok(job) = job {
                job_is(&mut of_jobs.lock(), &job);
            }
            std::future::ready(())
        }));
        let api: Api<Savepoint> = Api::namespaced(world.client.clone(), "default");
        let savepoints = watcher(api, watcher::Config::default());
        let of_savepoints = Arc::clone(&seen);
        tasks.spawn(
            savepoints
                .default_backoff()
                .applied_objects()
                .for_each(move |savepoint| {
                    if let Ok(savepoint) = savepoint {
                        savepoint_is(&mut of_savepoints.lock(), &savepoint);
                    }
                    std::future::ready(())
                }),
        );
        Self { seen, _tasks: tasks }
    }

    /// Reads what was seen so far.
    pub fn read<T>(&self, read: impl FnOnce(&Seen) -> T) -> T {
        read(&self.seen.lock())
    }

    /// Waits until that was seen; false when it was not within the time.
    pub async fn until(&self, within: Duration, seen: impl Fn(&Seen) -> bool) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < within {
            if self.read(&seen) {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        false
    }
}

fn job_is(seen: &mut Seen, job: &FlinkSessionJob) {
    let name = job.name_any();
    let version = job.resource_version().unwrap_or_default();
    seen.first.entry(name.clone()).or_insert_with(Instant::now);
    seen.versions.entry(name.clone()).or_default().insert(version);
    if let Some(phase) = job.status.as_ref().and_then(|status| status.phase) {
        seen.phases.entry((name, phase)).or_insert_with(Instant::now);
    }
}

fn savepoint_is(seen: &mut Seen, savepoint: &Savepoint) {
    let phase = savepoint.status.as_ref().and_then(|status| status.phase);
    if let (Some(SavepointPhase::Completed), Some(job)) = (phase, savepoint.spec.job()) {
        seen.kept.entry(job.to_owned()).or_insert_with(Instant::now);
    }
}
