//! Savepoints, stops and disposals of a process: what is under way, and what became of it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{
    job::Id,
    jobmanager::JobManager,
    options::Behavior,
    record::{FakeOperation, OperationEnd},
};

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

/// Names an operation: the job, but for disposals, and the trigger.
pub(super) type Key = (Option<Id>, Id);

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

/// How the first part of an operation goes: tasks write a savepoint, or files are deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Course {
    /// To its end.
    Works,
    /// It fails, and does harm: to the job, or to the files that are left.
    Harms,
    /// It fails with this Java exception, and that is all.
    Fails(String),
    /// It never ends.
    Hangs,
}

impl From<Behavior> for Course {
    fn from(behavior: Behavior) -> Self {
        match behavior {
            Behavior::Works => Self::Works,
            Behavior::Fails => Self::Harms,
            Behavior::Hangs => Self::Hangs,
        }
    }
}

/// An operation of this process.
#[derive(Debug)]
pub(super) struct Operation {
    /// Its place in the record.
    pub(super) entry: usize,
    /// Where the savepoint is, or is being written; for disposals, what is deleted.
    pub(super) path: String,
    pub(super) stops_job: bool,
    pub(super) course: Course,
    /// What tasks do when the savepoint of a stop is complete.
    pub(super) completion: Behavior,
    /// Whether the savepoint is complete: a stop goes on from there.
    pub(super) written: bool,
    pub(super) outcome: Option<(Instant, Outcome)>,
}

/// The operations that a process remembers.
#[derive(Default)]
pub(super) struct Operations(BTreeMap<Key, Operation>);

impl Operations {
    pub(super) fn insert(&mut self, key: Key, operation: Operation) {
        self.0.insert(key, operation);
    }

    /// An operation that is under way.
    pub(super) fn under_way(&mut self, key: Key) -> Option<&mut Operation> {
        self.0.get_mut(&key).filter(|operation| operation.outcome.is_none())
    }

    /// Looks for an operation, and forgets it when its outcome is older than `rest.async.store-duration`.
    pub(super) fn remembered(&mut self, key: Key, kept_for: Duration, now: Instant) -> Option<&Operation> {
        let ended = self.0.get(&key)?.outcome.as_ref().map(|(at, _)| *at);
        if ended.is_some_and(|at| at + kept_for <= now) {
            self.0.remove(&key);
        }
        self.0.get(&key)
    }

    /// The triggers of a job that are under way, and whether they stop it.
    pub(super) fn of_job(&self, job: Id) -> Vec<(Id, bool)> {
        let all = self.0.range((Some(job), Id([0; 16]))..=(Some(job), Id([0xff; 16])));
        let pending = all.filter(|(_, operation)| operation.outcome.is_none());
        pending.map(|((_, id), operation)| (*id, operation.stops_job)).collect()
    }

    /// Forgets every outcome. What is under way stays.
    pub(super) fn forget_outcomes(&mut self) {
        self.0.retain(|_, operation| operation.outcome.is_none());
    }

    /// The places in the record of what is under way.
    pub(super) fn pending_entries(&self) -> impl Iterator<Item = usize> {
        let pending = self.0.values().filter(|operation| operation.outcome.is_none());
        pending.map(|operation| operation.entry)
    }
}

impl JobManager {
    /// Whether the trigger is unknown, or forgotten by now.
    pub(super) fn is_new(&mut self, key: Key, now: Instant) -> bool {
        let kept_for = self.options.async_store_duration;
        self.process.operations.remembered(key, kept_for, now).is_none()
    }

    /// What became of an operation; `None` when the trigger is unknown.
    pub(super) fn outcome(&mut self, key: Key, now: Instant) -> Option<Outcome> {
        let kept_for = self.options.async_store_duration;
        let operation = self.process.operations.remembered(key, kept_for, now)?;
        let ended = operation.outcome.as_ref();
        Some(ended.map_or(Outcome::Pending, |(_, outcome)| outcome.clone()))
    }

    /// Ends an operation, here and in the record.
    pub(super) fn end(&mut self, key: Key, now: Instant, outcome: Outcome) {
        let Some(operation) = self.process.operations.under_way(key) else {
            return;
        };
        if let Some(entry) = self.record.operations.get_mut(operation.entry) {
            entry.end = match &outcome {
                Outcome::Pending => OperationEnd::UnderWay,
                Outcome::Done(_) => OperationEnd::Completed,
                Outcome::Failed(_) => OperationEnd::Failed,
            };
        }
        operation.outcome = Some((now, outcome));
    }

    /// Puts an accepted operation on record. Returns its place.
    pub(super) fn note(&mut self, operation: FakeOperation) -> usize {
        self.record.operations.push(operation);
        self.record.operations.len() - 1
    }

    /// What is under way is lost with the process.
    pub(super) fn lose_operations(&mut self) {
        for entry in self.process.operations.pending_entries() {
            if let Some(entry) = self.record.operations.get_mut(entry) {
                entry.end = OperationEnd::Lost;
            }
        }
    }
}
