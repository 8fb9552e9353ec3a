//! Savepoints and stops, from the trigger to the end.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::{
    job::{Id, State},
    jobmanager::JobManager,
    operations::{Course, Due, Operation, Outcome},
    options::Behavior,
    printed,
    record::{FakeOperation, OperationEnd, OperationKind},
    storage::{SavepointFiles, Snapshot},
};

const CHECKPOINT: &str = "org.apache.flink.runtime.checkpoint.CheckpointException";

/// A request for a savepoint or a stop, as it was understood.
pub(super) struct Trigger {
    pub(super) job: Id,
    pub(super) id: Id,
    pub(super) directory: String,
    pub(super) format: String,
    pub(super) stops_job: bool,
}

/// The failure of a file system, as it comes with a savepoint.
fn io_failure(root: String) -> Vec<String> {
    let outer = "An Exception occurred while triggering the checkpoint. IO-problem detected.";
    vec![format!("{CHECKPOINT}: {outer}"), root]
}

fn suspending() -> Vec<String> {
    vec![format!("{CHECKPOINT}: Checkpoint Coordinator is suspending.")]
}

impl JobManager {
    /// Begins a savepoint or a stop, unless its trigger is known already.
    pub(super) fn trigger(&mut self, trigger: &Trigger, now: Instant) {
        let key = (Some(trigger.job), trigger.id);
        if !self.is_new(key, now) {
            return;
        }
        let kind = if trigger.stops_job {
            OperationKind::Stop
        } else {
            OperationKind::Savepoint
        };
        let entry = self.note(FakeOperation {
            kind,
            job_id: Some(trigger.job.to_string()),
            trigger_id: trigger.id.to_string(),
            directory: trigger.directory.clone(),
            time: Timestamp::now(),
            location: None,
            end: OperationEnd::UnderWay,
        });
        let refused = self.refuses(trigger, now);
        let operation = Operation {
            entry,
            path: String::new(),
            stops_job: trigger.stops_job,
            course: Course::Works,
            completion: Behavior::Works,
            written: false,
            outcome: None,
        };
        self.process.operations.insert(key, operation);
        match refused {
            Some(causes) => self.end(key, now, Outcome::Failed(causes)),
            None => self.begin(trigger, kind, now),
        }
    }

    /// Why a trigger fails at once, if it does.
    fn refuses(&mut self, trigger: &Trigger, now: Instant) -> Option<Vec<String>> {
        let id = trigger.job;
        let Some(job) = self.process.jobs.get(&id).filter(|job| job.live) else {
            let unknown = "org.apache.flink.runtime.messages.FlinkJobNotFoundException";
            return Some(vec![format!("{unknown}: Could not find Flink job ({id})")]);
        };
        let state = job.state(now);
        if state == State::Initializing {
            let told = "org.apache.flink.runtime.dispatcher.UnavailableDispatcherOperationException: Unable to get \
                JobMasterGateway for initializing job. The requested operation is not available while the JobManager is \
                initializing.";
            return Some(vec![told.to_owned()]);
        }
        if state != State::Running || !job.has_slots() {
            return Some(vec![format!(
                "{CHECKPOINT}: Checkpoint triggering task Source: numbers (1/1) of job {id} is not being executed at the \
                 moment. Aborting checkpoint. Failure reason: Not all required tasks are currently running."
            )]);
        }
        if trigger.directory.starts_with("/proc/") {
            let told = "java.io.IOException: Failed to create savepoint directory at";
            return Some(io_failure(format!("{told} {}", trigger.directory)));
        }
        self.collides(trigger, now).then(suspending)
    }

    /// A stop ends the savepoints that are under way. Two stops at once can fail the job and leave neither savepoint; here
    /// they always do. True when the new one fails with it.
    fn collides(&mut self, trigger: &Trigger, now: Instant) -> bool {
        let pending = self.process.operations.of_job(trigger.job);
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

    fn begin(&mut self, trigger: &Trigger, kind: OperationKind, now: Instant) {
        let key = (Some(trigger.job), trigger.id);
        let Some(job) = self.process.jobs.get_mut(&trigger.job) else {
            return;
        };
        let path = self.storage.begin(
            trigger.job,
            trigger.id,
            &trigger.directory,
            &trigger.format,
            trigger.stops_job,
        );
        let number = job.next_number(now);
        job.snapshots.push(Snapshot {
            number,
            path: path.clone(),
            format: trigger.format.clone(),
            stops_job: trigger.stops_job,
            triggered: now,
            ended: None,
        });
        let settings = &job.settings;
        let cannot = settings.native_only && trigger.format == "CANONICAL";
        let (course, completion) = self.mishaps.course(kind).unwrap_or_else(|| {
            let snapshot = cannot.then_some(Behavior::Fails).or(settings.on_snapshot);
            (
                snapshot.unwrap_or(self.options.snapshot).into(),
                settings.on_complete.unwrap_or(self.options.completion),
            )
        });
        if course != Course::Hangs {
            self.due(
                now + self.options.savepoint_takes,
                Due::Written(trigger.job, trigger.id),
            );
        }
        if let Some(operation) = self.process.operations.under_way(key) {
            (operation.path, operation.course, operation.completion) = (path, course, completion);
        }
    }

    /// Ends what is under way for a job whose tasks stop running. A stop whose savepoint is complete has succeeded when the
    /// job has finished, and says else where the savepoint is.
    pub(super) fn abort(&mut self, job: Id, now: Instant) {
        let finished = self.process.jobs.get(&job).map(|job| job.state(now)) == Some(State::Finished);
        for (trigger, _) in self.process.operations.of_job(job) {
            let key = (Some(job), trigger);
            let Some(operation) = self.process.operations.under_way(key) else {
                continue;
            };
            let path = operation.path.clone();
            match (operation.written, finished) {
                (false, _) => self.fail(job, trigger, now, suspending()),
                (true, true) => self.end(key, now, Outcome::Done(path)),
                (true, false) => {
                    let class =
                        "org.apache.flink.runtime.scheduler.stopwithsavepoint.StopWithSavepointStoppingException";
                    let told = format!(
                        "{class}: A savepoint has been created at: {path}, but the corresponding job {job} failed during \
                         stopping. The savepoint is consistent, but might have uncommitted transactions. If you want to \
                         commit the transaction please restart a job from this savepoint."
                    );
                    self.end(key, now, Outcome::Failed(vec![told]));
                }
            }
        }
    }

    /// A savepoint or a stop fails before the savepoint is complete. Flink deletes what there is of it.
    fn fail(&mut self, job: Id, trigger: Id, now: Instant, causes: Vec<String>) {
        let key = (Some(job), trigger);
        if let Some(operation) = self.process.operations.under_way(key) {
            let path = operation.path.clone();
            self.storage.leave(&path, SavepointFiles::Gone);
            self.in_history(job, &path, now, false);
        }
        self.end(key, now, Outcome::Failed(causes));
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
        let under_way = self.process.operations.under_way((Some(job), trigger));
        let Some(operation) = under_way.filter(|operation| !operation.written) else {
            return;
        };
        match operation.course.clone() {
            Course::Works => self.complete(job, trigger, now),
            Course::Hangs => {}
            Course::Fails(root) => self.fail(job, trigger, now, io_failure(root)),
            Course::Harms => {
                let root = "java.lang.IllegalStateException: the task fails on purpose at the snapshot";
                let causes = vec![format!("{CHECKPOINT}: Task has failed."), root.to_owned()];
                self.fail(job, trigger, now, causes);
                self.task_fails(job, now, root);
            }
        }
    }

    /// A savepoint is complete; a stop goes on.
    fn complete(&mut self, job: Id, trigger: Id, now: Instant) {
        let key = (Some(job), trigger);
        let Some(operation) = self.process.operations.under_way(key) else {
            return;
        };
        operation.written = true;
        let (path, entry) = (operation.path.clone(), operation.entry);
        let (stops_job, completion) = (operation.stops_job, operation.completion);
        if let Some(entry) = self.record.operations.get_mut(entry) {
            entry.location = Some(path.clone());
        }
        let count = self.process.jobs.get(&job).map_or(0, |job| job.count(now));
        if let Some(savepoint) = self.storage.at(&path) {
            (savepoint.files, savepoint.count) = (SavepointFiles::Complete, count);
        }
        self.in_history(job, &path, now, true);
        if !stops_job {
            self.end(key, now, Outcome::Done(path));
            return;
        }
        if let Some(job) = self.process.jobs.get_mut(&job) {
            job.halt(now);
        }
        match completion {
            Behavior::Hangs => {}
            Behavior::Works => self.due(now + self.options.stopping, Due::Stopped(job, trigger)),
            // As measured: it is FAILED then, whatever the restart strategy.
            Behavior::Fails => {
                let cause =
                    "java.lang.IllegalStateException: the task fails on purpose at the completion of a snapshot";
                let failure = printed::task_failure(cause);
                self.turn(job, now, Some(failure), &[(Duration::ZERO, State::Failed)]);
            }
        }
    }

    /// A stop comes to its end.
    pub(super) fn stopped(&mut self, job: Id, trigger: Id, now: Instant) {
        if self.process.operations.under_way((Some(job), trigger)).is_some() {
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
}
