//! What a flow left behind: what happened in Flink, the files that are there, and what the resources say of it. Ids, times and
//! paths are replaced by what they stand for, so that it is the same for each run of a flow, whatever went wrong on the way.

use std::collections::BTreeMap;

use devcluster::fake::OperationKind;
use flink_job_operator::{
    api::{
        FlinkSessionJob, JobStatus, Phase, Savepoint, SavepointPhase,
        condition::{self, ConditionStatus, ConditionType},
        savepoint_status::SavepointOrigin,
        status::RunOutcome,
    },
    flink::{UidHash, is_same_place},
};
use kube::{ResourceExt, api::ListParams};

use super::{
    Failure,
    cluster::{Cluster, Ran},
    world::World,
};

/// A state that a job was, or can be, started from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    /// None.
    Empty,
    /// The savepoint that these Savepoints name, joined by `=`.
    Savepoint(String),
    /// The newest checkpoint that this Flink job left, counted from 0 in the order of acceptance.
    NewestCheckpoint(usize),
    /// Of a job that runs: a state of its own, or the one that it was started from.
    Own,
    /// Anything else: nothing that should be.
    Other(String),
}

/// A Flink job that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Job {
    /// The resource that it is of.
    pub(super) of: String,
    /// How often it was accepted.
    pub(super) times: usize,
    pub(super) from: State,
    pub(super) state: String,
}

/// A job resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Resource {
    pub(super) name: String,
    pub(super) phase: Option<Phase>,
    /// Ready is True, and speaks of this generation.
    pub(super) ready: bool,
    /// The Flink jobs that it names with their ends, oldest first.
    pub(super) runs: Vec<(usize, Option<RunOutcome>)>,
    /// What it says that the last of them was restored from, once Flink has confirmed it.
    pub(super) from: State,
    /// What it can be restored from.
    pub(super) latest: State,
    /// Whether something that was decided on has not been seen to its end.
    pub(super) under_way: bool,
    pub(super) finalizer: bool,
}

/// A Savepoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Registered {
    pub(super) name: String,
    pub(super) phase: Option<SavepointPhase>,
    /// Ready is True, and speaks of this generation.
    pub(super) ready: bool,
    pub(super) origin: Option<SavepointOrigin>,
    /// A job was seen to be restored from it.
    pub(super) verified: bool,
    /// Failed attempts, and directories that may hold one.
    pub(super) failures: usize,
    pub(super) finalizer: bool,
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Truth {
    /// In the order of acceptance.
    pub(super) jobs: Vec<Job>,
    /// The most jobs of one resource that ever ran at the same time.
    pub(super) at_once: usize,
    /// How many stops with savepoint were begun.
    pub(super) stops: usize,
    /// How many savepoints of jobs that go on were begun.
    pub(super) savepoints: usize,
    /// What was disposed of, by name. How often does not matter: a second time finds nothing.
    pub(super) disposed: Vec<String>,
    /// The savepoints whose files are all there, by name.
    pub(super) files: Vec<String>,
    /// Paths with a part of a savepoint.
    pub(super) parts: Vec<String>,
    pub(super) resources: Vec<Resource>,
    pub(super) registered: Vec<Registered>,
}

/// A job of one of our resources.
struct Ours {
    ran: Ran,
    of: String,
    times: usize,
}

/// What paths and ids stand for.
struct Names<'w, C> {
    cluster: &'w C,
    savepoints: BTreeMap<String, String>,
    jobs: Vec<Ours>,
}

impl<C: Cluster> Names<'_, C> {
    fn savepoint(&self, path: &str) -> Option<String> {
        let mut named = self.savepoints.iter();
        named
            .find(|(known, _)| is_same_place(known, path))
            .map(|(_, name)| name.clone())
    }

    fn state(&self, path: &str) -> State {
        if let Some(name) = self.savepoint(path) {
            return State::Savepoint(name);
        }
        let mut jobs = self.jobs.iter();
        let owner = jobs.position(|job| path.contains(&format!("/{}/chk-", job.ran.id)));
        let newest = owner.and_then(|owner| self.cluster.newest_checkpoint(&self.jobs[owner].ran.id));
        match (owner, newest) {
            (Some(owner), Some(newest)) if is_same_place(&newest, path) => State::NewestCheckpoint(owner),
            (_, newest) => State::Other(format!("{path}, while the newest checkpoint is {newest:?}")),
        }
    }

    fn job(&self, id: &str) -> Option<usize> {
        self.jobs.iter().position(|job| job.ran.id == id)
    }
}

impl<C: Cluster> World<C> {
    /// What is so now.
    pub(super) async fn truth(&self) -> Result<Truth, Failure> {
        let registered = self.savepoints().await?;
        let resources = self.jobs.list(&ListParams::default()).await;
        let mut resources = resources.map_err(|error| error.to_string())?.items;
        resources.sort_by_key(ResourceExt::name_any);
        let names = Names {
            cluster: &self.cluster,
            savepoints: self.joined_names(),
            jobs: self.ours()?,
        };
        let mut truth = Truth {
            jobs: Vec::new(),
            at_once: self.at_once()?,
            resources: resources.iter().map(|job| resource(job, &names)).collect(),
            registered: registered.iter().map(told).collect(),
            ..Truth::default()
        };
        for job in &names.jobs {
            let from = job.ran.from.as_deref();
            truth.jobs.push(Job {
                of: job.of.clone(),
                times: job.times,
                from: from.map_or(State::Empty, |from| names.state(from)),
                state: job.ran.state.clone(),
            });
        }
        self.asked_for(&names, &mut truth)?;
        for files in self.cluster.files() {
            if files.whole {
                truth.files.push(names.savepoint(&files.path).unwrap_or(files.path));
            } else {
                truth.parts.push(files.path);
            }
        }
        truth.files.sort();
        Ok(truth)
    }

    fn joined_names(&self) -> BTreeMap<String, String> {
        let known = self.names.lock();
        let joined = known.iter().map(|(path, names)| {
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            (path.clone(), names.join("="))
        });
        joined.collect()
    }

    /// The resources that were created, with the marks of their jobs.
    fn owners(&self) -> Vec<(String, UidHash)> {
        let created = self.created.lock();
        let owner = |(name, uid): &(String, String)| (name.clone(), UidHash::of(uid));
        created.iter().map(owner).collect()
    }

    /// The jobs of our resources, each once.
    fn ours(&self) -> Result<Vec<Ours>, Failure> {
        let owners = self.owners();
        let mut jobs: Vec<Ours> = Vec::new();
        for ran in self.cluster.ran()? {
            let mark = ran.id.get(8..24).unwrap_or_default();
            let Some((of, _)) = owners.iter().find(|(_, owner)| owner.to_string() == mark) else {
                continue;
            };
            match jobs.iter_mut().find(|known| known.ran.id == ran.id) {
                Some(known) => known.times += 1,
                None => jobs.push(Ours {
                    ran,
                    of: of.clone(),
                    times: 1,
                }),
            }
        }
        Ok(jobs)
    }

    fn at_once(&self) -> Result<usize, Failure> {
        let owners = self.owners().into_iter();
        let live = owners.map(|(_, owner)| self.cluster.most_live_of(owner));
        live.collect::<Result<Vec<_>, _>>()
            .map(|live| live.into_iter().max().unwrap_or_default())
    }

    fn asked_for(&self, names: &Names<'_, C>, truth: &mut Truth) -> Result<(), Failure> {
        for asked in self.cluster.asked()? {
            match asked.kind {
                OperationKind::Stop if names.job(&asked.of).is_some() => truth.stops += 1,
                OperationKind::Savepoint if names.job(&asked.of).is_some() => truth.savepoints += 1,
                OperationKind::Disposal => truth.disposed.extend(names.savepoint(&asked.of)),
                OperationKind::Stop | OperationKind::Savepoint => {}
            }
        }
        truth.disposed.sort();
        truth.disposed.dedup();
        Ok(())
    }

    /// Whether what happened is what should have, and every job counts on from where it was to.
    pub(super) async fn is_as(&self, expected: &Truth) -> Result<(), Failure> {
        let truth = self.truth().await?;
        if truth != *expected {
            return Err(difference(expected, &truth));
        }
        for ran in self.ran()? {
            let counts = self.cluster.counts_on(&ran);
            counts.map_err(|failure| format!("job {}: {failure}", ran.id))?;
        }
        Ok(())
    }

    /// The Flink jobs of this world's resources.
    pub(super) fn ran(&self) -> Result<Vec<Ran>, Failure> {
        Ok(self.ours()?.into_iter().map(|job| job.ran).collect())
    }

    /// Ends what runs in a cluster that outlives this world.
    pub(super) async fn clear(&self) {
        let jobs = self.ran().unwrap_or_default();
        let ids: Vec<String> = jobs.into_iter().map(|ran| ran.id).collect();
        self.cluster.clear(&ids).await;
    }
}

fn is_ready(conditions: &[flink_job_operator::api::Condition], generation: Option<i64>, observed: i64) -> bool {
    let ready = condition::find(conditions, ConditionType::Ready);
    generation == Some(observed) && ready.is_some_and(|ready| ready.status == ConditionStatus::True)
}

fn resource<C: Cluster>(job: &FlinkSessionJob, names: &Names<'_, C>) -> Resource {
    let status = job.status.clone().unwrap_or_default();
    let runs: Vec<_> = status
        .runs
        .iter()
        .rev()
        .map(|run| (names.job(&run.job_id.to_string()).unwrap_or(usize::MAX), run.outcome))
        .collect();
    let from = status.state.as_ref().and_then(|state| state.restored_from.as_ref());
    let restored = match from {
        None => State::Empty,
        Some(from) if from.confirmed == Some(true) => names.state(&from.path),
        Some(from) => State::Other(format!("{}, not confirmed", from.path)),
    };
    Resource {
        name: job.name_any(),
        phase: status.phase,
        ready: is_ready(&status.conditions, job.metadata.generation, status.observed_generation),
        latest: latest(&status, names),
        from: restored,
        under_way: status.submission().is_some()
            || status.cancellation().is_some()
            || status.stop().is_some()
            || status.keep().is_some(),
        finalizer: !job.finalizers().is_empty(),
        runs,
    }
}

fn latest<C: Cluster>(status: &JobStatus, names: &Names<'_, C>) -> State {
    let latest = status.latest_state().filter(|latest| !latest.gone);
    let from = status.state.as_ref().and_then(|state| state.restored_from.as_ref());
    match (latest, status.live_run()) {
        (None, Some(_)) if from.is_none() => State::Own,
        (Some(latest), Some(run))
            if latest.job_id == Some(run.job_id)
                || from.is_some_and(|from| is_same_place(&from.path, &latest.path)) =>
        {
            State::Own
        }
        (None, _) => State::Empty,
        (Some(latest), _) => names.state(&latest.path),
    }
}

fn told(savepoint: &Savepoint) -> Registered {
    let status = savepoint.status.clone().unwrap_or_default();
    let verified = condition::find(&status.conditions, ConditionType::Verified);
    let failures = status.failures.and_then(|failures| usize::try_from(failures).ok());
    Registered {
        name: savepoint.name_any(),
        phase: status.phase,
        ready: is_ready(
            &status.conditions,
            savepoint.metadata.generation,
            status.observed_generation,
        ),
        origin: status.origin,
        verified: verified.is_some_and(|verified| verified.status == ConditionStatus::True),
        failures: failures.unwrap_or_default() + status.abandoned_paths.len(),
        finalizer: !savepoint.finalizers().is_empty(),
    }
}

/// The lines that differ.
fn difference(expected: &Truth, truth: &Truth) -> Failure {
    let lines = |truth: &Truth| -> Vec<String> {
        let mut lines = vec![format!(
            "at once {}, stops {}, savepoints {}, disposed {:?}, files {:?}, parts {:?}",
            truth.at_once, truth.stops, truth.savepoints, truth.disposed, truth.files, truth.parts
        )];
        lines.extend(truth.jobs.iter().map(|job| format!("{job:?}")));
        lines.extend(truth.resources.iter().map(|resource| format!("{resource:?}")));
        lines.extend(truth.registered.iter().map(|registered| format!("{registered:?}")));
        lines
    };
    let (wanted, is) = (lines(expected), lines(truth));
    let missing = wanted
        .iter()
        .filter(|line| !is.contains(line))
        .map(|line| format!("\n  - {line}"));
    let instead = is
        .iter()
        .filter(|line| !wanted.contains(line))
        .map(|line| format!("\n  + {line}"));
    let lines: String = missing.chain(instead).collect();
    format!("not as it should be:{lines}")
}
