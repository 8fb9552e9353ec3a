//! Savepoints, stops and disposals: what is under way, and what became of it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{
    job::{Id, State},
    jobmanager::JobManager,
    options::Behavior,
    printed,
    snapshots::CHECKPOINTS,
    storage::{SavepointFiles, Snapshot, not_there},
};

const CHECKPOINT: &str = "org.apache.flink.runtime.checkpoint.CheckpointException";

/// What happens by itself at its time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    /// A job's state changes.
    Job(Id),
    /// The tasks of a job have written the savepoint of a trigger.
    Written(Id, Id),
    /// A job ends, as a trigger asked for.
    Stopped(Id, Id),
    /// A disposal ends.
    Disposed(Id),
}

/// What became of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is under way.
    Pending,
    /// A savepoint's path; empty for a disposal.
    Done(String),
    /// A chain of Java exceptions, outermost first.
    Failed(Vec<String>),
}

/// An operation of this process.
#[derive(Debug)]
pub(super) struct Operation {
    /// Where the savepoint is, or is being written; for disposals, what is deleted.
    path: String,
    stops_job: bool,
    /// What the tasks do while they write, and when it is complete.
    snapshot: Behavior,
    completion: Behavior,
    /// Whether the savepoint is complete: a stop goes on from there.
    written: bool,
    outcome: Option<(Instant, Outcome)>,
}

impl Operation {
    fn so_far(&self) -> Outcome {
        let ended = self.outcome.as_ref();
        ended.map_or(Outcome::Pending, |(_, outcome)| outcome.clone())
    }
}

/// The operations of a process: savepoints and stops by job and trigger, disposals by trigger.
#[derive(Default)]
pub(super) struct Operations {
    of_jobs: BTreeMap<(Id, Id), Operation>,
    disposals: BTreeMap<Id, Operation>,
}

/// A request for a savepoint or a stop, as it was understood.
pub(super) struct Trigger {
    pub(super) job: Id,
    pub(super) id: Id,
    pub(super) directory: String,
    pub(super) format: String,
    pub(super) stops_job: bool,
}

/// An operation that failed at once.
fn failed(path: String, now: Instant, causes: &[&str]) -> Operation {
    let causes = causes.iter().map(|&cause| cause.to_owned()).collect();
    Operation {
        path,
        stops_job: false,
        snapshot: Behavior::Works,
        completion: Behavior::Works,
        written: false,
        outcome: Some((now, Outcome::Failed(causes))),
    }
}

/// Looks for an operation, and forgets it when its outcome is older than `rest.async.store-duration`.
fn expire<'a, K: Ord>(
    operations: &'a mut BTreeMap<K, Operation>,
    key: &K,
    kept_for: Duration,
    now: Instant,
) -> Option<&'a Operation> {
    let ended = operations.get(key)?.outcome.as_ref().map(|(at, _)| *at);
    if ended.is_some_and(|at| at + kept_for <= now) {
        operations.remove(key);
    }
    operations.get(key)
}

impl JobManager {
    /// Begins a savepoint or a stop, unless its trigger is known already.
    pub(super) fn trigger(&mut self, trigger: &Trigger, now: Instant) {
        let key = (trigger.job, trigger.id);
        let kept_for = self.options.async_store_duration;
        expire(&mut self.process.operations.of_jobs, &key, kept_for, now);
        if !self.process.operations.of_jobs.contains_key(&key) {
            let operation = self.begin(trigger, now);
            self.process.operations.of_jobs.insert(key, operation);
        }
    }

    fn begin(&mut self, trigger: &Trigger, now: Instant) -> Operation {
        let id = trigger.job;
        let io = format!("{CHECKPOINT}: An Exception occurred while triggering the checkpoint. IO-problem detected.");
        let Some(job) = self.process.jobs.get(&id).filter(|job| job.live) else {
            let unknown = "org.apache.flink.runtime.messages.FlinkJobNotFoundException";
            return failed(
                String::new(),
                now,
                &[&format!("{unknown}: Could not find Flink job ({id})")],
            );
        };
        let settings = &job.settings;
        let cannot = (settings.native_only && trigger.format == "CANONICAL").then_some(Behavior::Fails);
        let (snapshot, completion) = (
            cannot.or(settings.on_snapshot).unwrap_or(self.options.snapshot),
            settings.on_complete.unwrap_or(self.options.completion),
        );
        let state = job.state(now);
        if state == State::Initializing {
            let told = "org.apache.flink.runtime.dispatcher.UnavailableDispatcherOperationException: Unable to get \
                JobMasterGateway for initializing job. The requested operation is not available while the JobManager is \
                initializing.";
            return failed(String::new(), now, &[told]);
        }
        if state != State::Running || !job.has_slots {
            let told = format!(
                "{CHECKPOINT}: Checkpoint triggering task Source: numbers (1/1) of job {id} is not being executed at the \
                 moment. Aborting checkpoint. Failure reason: Not all required tasks are currently running."
            );
            return failed(String::new(), now, &[&told]);
        }
        if trigger.directory.starts_with("/proc/") {
            let root = format!(
                "java.io.IOException: Failed to create savepoint directory at {}",
                trigger.directory
            );
            return failed(String::new(), now, &[&io, &root]);
        }
        if self.collides(trigger, now) {
            return failed(
                String::new(),
                now,
                &[&format!("{CHECKPOINT}: Checkpoint Coordinator is suspending.")],
            );
        }
        let path = self
            .storage
            .begin(id, trigger.id, &trigger.directory, &trigger.format, trigger.stops_job);
        if let Some(job) = self.process.jobs.get_mut(&id) {
            let number = job.checkpoint(now).map_or(0, |(n, _)| n) + job.taken() + 1;
            job.snapshots.push(Snapshot {
                number,
                path: path.clone(),
                format: trigger.format.clone(),
                stops_job: trigger.stops_job,
                triggered: now,
                ended: None,
            });
        }
        if snapshot != Behavior::Hangs {
            self.due(now + self.options.savepoint_takes, Due::Written(id, trigger.id));
        }
        Operation {
            path,
            stops_job: trigger.stops_job,
            snapshot,
            completion,
            written: false,
            outcome: None,
        }
    }

    /// A stop ends the savepoints that are under way. Two stops at once can fail the job and leave neither savepoint; here
    /// they always do. True when the new one fails with it.
    fn collides(&mut self, trigger: &Trigger, now: Instant) -> bool {
        let pending = self.pending(trigger.job);
        let stopping = pending.iter().any(|(_, stops_job)| *stops_job);
        if trigger.stops_job || stopping {
            self.abort(trigger.job, now);
        }
        if trigger.stops_job && stopping {
            self.task_fails(
                trigger.job,
                now,
                "java.lang.IllegalStateException: the task was asked to stop twice",
            );
        }
        stopping
    }

    fn pending(&self, job: Id) -> Vec<(Id, bool)> {
        let all = self
            .process
            .operations
            .of_jobs
            .range((job, Id([0; 16]))..=(job, Id([0xff; 16])));
        let pending = all.filter(|(_, operation)| operation.outcome.is_none());
        pending.map(|((_, id), operation)| (*id, operation.stops_job)).collect()
    }

    /// Ends what is under way for a job whose tasks stop running. A stop whose savepoint is complete says where it is.
    pub(super) fn abort(&mut self, job: Id, now: Instant) {
        for (trigger, _) in self.pending(job) {
            let Some(operation) = self.process.operations.of_jobs.get_mut(&(job, trigger)) else {
                continue;
            };
            let cause = if operation.written {
                let class = "org.apache.flink.runtime.scheduler.stopwithsavepoint.StopWithSavepointStoppingException";
                format!(
                    "{class}: A savepoint has been created at: {}, but the corresponding job {job} failed during stopping. \
                     The savepoint is consistent, but might have uncommitted transactions. If you want to commit the \
                     transaction please restart a job from this savepoint.",
                    operation.path
                )
            } else {
                format!("{CHECKPOINT}: Checkpoint Coordinator is suspending.")
            };
            operation.outcome = Some((now, Outcome::Failed(vec![cause])));
            let (path, written) = (operation.path.clone(), operation.written);
            if !written {
                self.in_history(job, &path, now, false);
            }
        }
    }

    fn in_history(&mut self, job: Id, path: &str, now: Instant, complete: bool) {
        let job = self.process.jobs.get_mut(&job);
        let snapshots = job.into_iter().flat_map(|job| job.snapshots.iter_mut());
        for snapshot in snapshots.filter(|snapshot| snapshot.path == path) {
            snapshot.ended = Some((now, complete));
        }
    }

    /// The tasks have written a savepoint, or fail in it.
    pub(super) fn written(&mut self, job: Id, trigger: Id, now: Instant) {
        let Some(operation) = self.process.operations.of_jobs.get_mut(&(job, trigger)) else {
            return;
        };
        if operation.outcome.is_some() || operation.written {
            return;
        }
        let path = operation.path.clone();
        if operation.snapshot == Behavior::Fails {
            let root = "java.lang.IllegalStateException: the task fails on purpose at the snapshot";
            let causes = vec![format!("{CHECKPOINT}: Task has failed."), root.to_owned()];
            operation.outcome = Some((now, Outcome::Failed(causes)));
            self.in_history(job, &path, now, false);
            self.task_fails(job, now, root);
            return;
        }
        operation.written = true;
        let (stops_job, completion) = (operation.stops_job, operation.completion);
        if !stops_job {
            operation.outcome = Some((now, Outcome::Done(path.clone())));
        }
        let count = self.process.jobs.get(&job).map_or(0, |job| job.count(now));
        if let Some(savepoint) = self.storage.at(&path) {
            (savepoint.files, savepoint.count) = (SavepointFiles::Complete, count);
        }
        self.in_history(job, &path, now, true);
        match (stops_job, completion) {
            (false, _) | (true, Behavior::Hangs) => {}
            (true, Behavior::Works) => self.due(now + self.options.stopping, Due::Stopped(job, trigger)),
            // As measured: it is FAILED then, whatever the restart strategy.
            (true, Behavior::Fails) => {
                let cause =
                    "java.lang.IllegalStateException: the task fails on purpose at the completion of a snapshot";
                self.abort(job, now);
                self.turn(
                    job,
                    now,
                    Some(printed::task_failure(cause)),
                    &[(Duration::ZERO, State::Failed)],
                );
            }
        }
    }

    /// A stop comes to its end.
    pub(super) fn stopped(&mut self, job: Id, trigger: Id, now: Instant) {
        let operation = self.process.operations.of_jobs.get_mut(&(job, trigger));
        if let Some(operation) = operation.filter(|operation| operation.outcome.is_none()) {
            operation.outcome = Some((now, Outcome::Done(operation.path.clone())));
            self.turn(job, now, None, &[(Duration::ZERO, State::Finished)]);
        }
    }

    /// A task fails: the job restarts or ends, as its strategy says.
    fn task_fails(&mut self, job: Id, now: Instant, cause: &str) {
        let found = self.process.jobs.get(&job);
        if found.is_some_and(|job| job.settings.is_restarted()) {
            let states = [
                (Duration::ZERO, State::Restarting),
                (Duration::from_millis(50), State::Running),
            ];
            self.turn(job, now, None, &states);
        } else {
            let failure = printed::task_failure(cause);
            self.turn(job, now, Some(failure), &[(Duration::ZERO, State::Failed)]);
        }
    }

    /// Begins to delete a savepoint. The id is new each time.
    pub(super) fn dispose(&mut self, path: &str, now: Instant) -> Id {
        let id = self.random_id();
        let behavior = self.options.disposal;
        if behavior != Behavior::Hangs {
            self.due(now + self.options.disposal_takes, Due::Disposed(id));
        }
        let operation = Operation {
            path: path.to_owned(),
            stops_job: false,
            snapshot: behavior,
            completion: Behavior::Works,
            written: false,
            outcome: None,
        };
        self.process.operations.disposals.insert(id, operation);
        id
    }

    /// A disposal comes to its end.
    pub(super) fn disposed(&mut self, id: Id, now: Instant) {
        let Some(operation) = self.process.operations.disposals.get(&id) else {
            return;
        };
        let (path, behavior) = (operation.path.clone(), operation.snapshot);
        let known = self.storage.at(&path).is_some() || path.starts_with(CHECKPOINTS);
        let root = match self.unreadable(&path, now) {
            Some(root) => Some(root),
            None if !known => Some(not_there(&path)),
            // The metadata goes first: what is left can be disposed of by nobody.
            None if behavior == Behavior::Fails => {
                self.storage.leave(&path, SavepointFiles::WithoutMetadata);
                Some(format!("java.io.IOException: Directory {path} is not empty"))
            }
            None => {
                self.storage.leave(&path, SavepointFiles::Gone);
                None
            }
        };
        let outer = format!("org.apache.flink.util.FlinkException: Could not dispose savepoint {path}.");
        let outcome = root.map_or_else(
            || Outcome::Done(String::new()),
            |root| Outcome::Failed(vec![outer, root]),
        );
        if let Some(operation) = self.process.operations.disposals.get_mut(&id) {
            operation.outcome = Some((now, outcome));
        }
    }

    /// What became of a savepoint or a stop; `None` when the trigger is unknown.
    pub(super) fn outcome_of_trigger(&mut self, job: Id, trigger: Id, now: Instant) -> Option<Outcome> {
        let key = (job, trigger);
        let kept_for = self.options.async_store_duration;
        let operation = expire(&mut self.process.operations.of_jobs, &key, kept_for, now)?;
        Some(operation.so_far())
    }

    /// What became of a disposal; `None` when the trigger is unknown.
    pub(super) fn outcome_of_disposal(&mut self, id: Id, now: Instant) -> Option<Outcome> {
        let kept_for = self.options.async_store_duration;
        let operation = expire(&mut self.process.operations.disposals, &id, kept_for, now)?;
        Some(operation.so_far())
    }
}
