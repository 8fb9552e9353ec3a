//! The poller: one task for each cluster, never more than one request in flight.
//!
//! In steady state it asks for nothing but the job list, once an interval. The JobManager's identity and configuration are
//! read at the first contact, after every silence, and when somebody needs proof; slots only while a job waits for them,
//! or for the session's status after the job list changed.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::{
    Cluster, Facts, Reach, Registry, Snapshot, State, changed_owners,
    cluster::{OVERVIEW_AGE, Overview, down},
};
use crate::{
    flink::{FlinkClient, FlinkError, JobId, JobState, UidHash},
    job::JobSeen,
    metrics::PollOutcome,
};

/// How often a cluster is asked.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Between two polls when nothing is in transition.
    pub steady: Duration,
    /// Between two polls while a job of the cluster is in transition.
    pub transition: Duration,
    /// The longest pause for a cluster that does not answer.
    pub down: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            steady: Duration::from_secs(1),
            transition: Duration::from_millis(250),
            down: Duration::from_secs(15),
        }
    }
}

/// A cluster counts as down after this many polls in a row without an answer.
const FAILURES: u32 = 2;

/// Two polls are never closer than this, whatever is wanted: a thousand jobs that start at once want a thousand looks, and
/// each list of them costs the JobManager milliseconds.
const CLOSEST: Duration = Duration::from_millis(100);

/// The session's status shows slots at most this old after a change.
const STATUS_AGE: Duration = Duration::from_secs(10);

pub(super) fn spawn(cluster: Arc<Cluster>, registry: Registry, pace: Pace) {
    tokio::spawn(async move {
        let stopped = cluster.stopped.clone();
        let poller = Poller {
            cluster,
            registry,
            pace,
            failures: 0,
            changed: false,
        };
        // Dropping the poller in the middle of a request is safe: it only reads.
        stopped.run_until_cancelled(poller.run()).await;
    });
}

struct Poller {
    cluster: Arc<Cluster>,
    registry: Registry,
    pace: Pace,
    failures: u32,
    /// The job list changed since the slots were counted.
    changed: bool,
}

impl Poller {
    async fn run(mut self) {
        loop {
            let begun = Instant::now();
            self.poll(begun).await;
            let pause = self.pause();
            let _ = timeout(pause, self.cluster.poked.notified()).await;
            if let Some(rest) = CLOSEST.checked_sub(begun.elapsed()) {
                sleep(rest).await;
            }
        }
    }

    fn pause(&self) -> Duration {
        if self.failures > 0 {
            let doublings = self.failures.min(6) - 1;
            return (self.pace.steady * 2_u32.pow(doublings)).min(self.pace.down.max(self.pace.steady));
        }
        let now = Instant::now();
        let transition = self.cluster.wishes(|wishes| {
            wishes.attention.retain(|_, until| *until > now);
            !wishes.attention.is_empty()
        });
        if transition {
            self.pace.transition
        } else {
            self.pace.steady
        }
    }

    async fn poll(&mut self, begun: Instant) {
        let confirm = self.cluster.wishes(|wishes| std::mem::take(&mut wishes.confirm));
        let before = self.cluster.state();
        let client = self.cluster.client().clone();
        let jobs = match client.jobs_overview().await {
            Ok(jobs) => jobs,
            Err(error) => return self.failed(&before, &error, confirm),
        };
        let jobs = jobs.into_iter().map(|job| JobSeen {
            id: job.id,
            state: job.state,
            start_time: job.start_time(),
            end_time: job.end_time(),
            tasks_run: job.tasks_run,
        });
        let snapshot = Arc::new(Snapshot::new(begun, jobs.collect()));
        let changed = changed_owners(&before.snapshot, &snapshot);
        let mut state = State {
            reach: Reach::Up,
            snapshot,
            ..(*before).clone()
        };
        let contact = before.reach != Reach::Up || self.failures > 0;
        let vanished = changed.iter().any(|id| state.snapshot.job(*id).is_none());
        self.failures = 0;
        self.changed |= !changed.is_empty();
        if (contact || !confirm.is_empty() || vanished || state.job_manager.is_none())
            && let Err(error) = identify(&client, &mut state, contact).await
        {
            // Without its identity nothing may be concluded from what is missing.
            state.job_manager = None;
            if contact {
                return self.failed(&before, &error, confirm);
            }
        }
        if state.snapshot.started <= state.identified_since {
            // This list may be the one of the process before, which a recovered job is not in: it takes another.
            self.cluster
                .wishes(|wishes| wishes.confirm.extend(confirm.iter().copied()));
        }
        let counted = self.count_slots(&client, &mut state, contact).await;
        let outcome = if changed.is_empty() {
            PollOutcome::Unchanged
        } else {
            PollOutcome::Changed
        };
        self.registry.metrics.poll(outcome);
        self.publish(&before, state, &changed, confirm.into_iter().chain(counted));
    }

    /// Counts the slots where somebody waits for them, or the session's status is out of date. Returns who waited.
    async fn count_slots(&mut self, client: &FlinkClient, state: &mut State, contact: bool) -> Vec<UidHash> {
        let wanted = self.cluster.wishes(|wishes| !wishes.slots.is_empty());
        let age = state.overview.map(|overview| overview.started.elapsed());
        let older_than = |limit: Duration| age.is_none_or(|age| age >= limit);
        if contact || (wanted && older_than(OVERVIEW_AGE)) || (self.changed && older_than(STATUS_AGE)) {
            let started = Instant::now();
            let Ok(overview) = client.overview().await else {
                return Vec::new();
            };
            state.overview = Some(Overview {
                total: count(overview.slots_total),
                available: count(overview.slots_available),
                task_managers: count(overview.task_managers),
                started,
            });
            self.changed = false;
        } else {
            return Vec::new();
        }
        let snapshot = Arc::clone(&state.snapshot);
        self.cluster.wishes(|wishes| {
            // What runs by now is counted; what was granted long ago and never came is not waited for.
            wishes.reserved.retain(|_, reserved| {
                // Also when it has ended meanwhile: then its slots are free, and counted as such.
                let settled = snapshot
                    .job(reserved.job_id)
                    .is_some_and(|job| job.state == JobState::Running || !job.is_live());
                let counted = settled && snapshot.started > reserved.granted;
                !counted && reserved.granted.elapsed() < Duration::from_secs(120)
            });
            wishes.slots.drain().collect()
        })
    }

    /// Publishes a state and wakes whom it concerns.
    fn publish(&self, before: &State, state: State, changed: &[JobId], asked: impl Iterator<Item = UidHash>) {
        let key = self.cluster.key();
        let up = before.reach != Reach::Up;
        let replaced = before.job_manager.as_ref().map(|(id, _)| id) != state.job_manager.as_ref().map(|(id, _)| id);
        let slots = before.overview.map(|o| (o.total, o.available, o.task_managers))
            != state.overview.map(|o| (o.total, o.available, o.task_managers));
        if up {
            info!(session = %key.name, namespace = %key.namespace, url = %self.cluster.connection().url, "the cluster answers");
        }
        self.cluster.publish(state);
        if up || replaced {
            self.registry.wake_jobs(key, None);
        } else {
            self.registry.wake_jobs(key, Some(changed));
            asked.for_each(|owner| self.registry.wake_owner(key, owner));
        }
        if up || replaced || slots || !changed.is_empty() {
            self.registry.wake_session(key);
        }
    }

    fn failed(&mut self, before: &State, error: &FlinkError, confirm: HashSet<UidHash>) {
        self.registry.metrics.poll(PollOutcome::Failed);
        // A wish stands until a poll fulfils it.
        self.cluster.wishes(|wishes| wishes.confirm.extend(confirm));
        self.failures = self.failures.saturating_add(1);
        let refusal = down(error, &self.cluster.connection().url);
        let silent = before.reach != Reach::Up || self.failures >= FAILURES;
        if !silent || before.reach == Reach::Down(refusal.clone()) {
            return;
        }
        let key = self.cluster.key();
        warn!(session = %key.name, namespace = %key.namespace, %error, "the cluster does not answer");
        self.cluster.publish(State {
            reach: Reach::Down(refusal),
            job_manager: None,
            ..before.clone()
        });
        self.registry.wake_jobs(key, None);
        self.registry.wake_session(key);
    }
}

fn count(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// Reads who the JobManager is, and what it says about itself when that may have changed.
async fn identify(client: &FlinkClient, state: &mut State, contact: bool) -> Result<(), FlinkError> {
    let begun = Instant::now();
    let configuration = client.jobmanager_config().await?;
    let identity = configuration.identity().map(|id| id.to_string());
    let known = state.job_manager.take().map(|(id, _)| id);
    let same = known.as_deref().is_some_and(|known| Some(known) == identity.as_deref());
    if !same {
        state.identified_since = begun;
    }
    if !same || contact {
        state.facts = Facts::of(&configuration.0);
        let features = client.config().await?;
        state.flink_version = Some(features.flink_version.as_str().into());
        state.submission_enabled = features.submission_enabled;
    }
    state.job_manager = identity.map(|id| (known.filter(|_| same).unwrap_or_else(|| id.into()), begun));
    Ok(())
}
