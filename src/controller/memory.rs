//! What this process remembers of a resource between reconciles. Nothing of it is needed for safety: a process that
//! forgot everything decides from the status alone.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use parking_lot::Mutex;

use super::{drive::UnstoredOf, restorable::SavepointsRead, state::StateMemory};

use crate::{
    api::FlinkSessionJob,
    artifact::JarUri,
    flink::{JobId, TriggerId, UidHash},
    job::{Input, Program, Redactor, Refusal, StopAnswer, StopSeen, SubmitOutcome},
};

/// How long a cache may lag behind our own write.
const TRUSTED: Duration = Duration::from_secs(30);

/// A program that was made from a spec.
#[derive(Debug, Clone)]
pub struct LoadedProgram {
    /// The generations of the job and of the session that it was made from.
    pub made_from: (i64, i64),
    /// The program, or why there is none.
    pub result: Input<Arc<Program>>,
    /// Where the jar is, variables expanded.
    pub jar_uri: Option<JarUri>,
    /// Takes secrets out of messages.
    pub redactor: Redactor,
    /// When it was made.
    pub made: Instant,
}

/// Memory of one resource.
#[derive(Debug, Default)]
pub struct Memory {
    /// An effect is under way.
    pub running: bool,
    /// The submission that ended last.
    pub submitted: Option<(JobId, i32, SubmitOutcome)>,
    /// The cancellation that was sent last.
    pub cancelled: Option<(JobId, Timestamp, Option<Refusal>)>,
    /// The job that was recorded in its session as released.
    pub released: Option<JobId>,
    /// The submission that was written down and not sent.
    pub unsent: Option<(JobId, i32)>,
    /// Since when absence is to be proven, and for which version of the resource.
    pub confirm: Option<(String, Instant)>,
    /// Why a job failed.
    pub failure_cause: Option<(JobId, Input<String>)>,
    /// When a quorum read proved that the session does not exist.
    pub session_absent: Option<Instant>,
    /// The namespace is being deleted.
    pub namespace_terminating: bool,
    /// The program of the current spec.
    pub program: Option<LoadedProgram>,
    /// The program is being loaded.
    pub loading: bool,
    /// What is remembered of the job's state.
    pub(super) state: StateMemory,
    /// The stop that was written down and not sent.
    pub stop_unsent: Option<TriggerId>,
    /// The request to stop with savepoint that was sent last.
    pub stop_sent: Option<(TriggerId, Timestamp, StopAnswer)>,
    /// What became of a stop.
    pub stop_seen: Option<(TriggerId, Timestamp, StopSeen)>,
    /// The scheduled Savepoint that was created, by its slot.
    pub scheduled: Option<(Timestamp, Result<(), Refusal>)>,
    /// What was read of the job's Savepoints.
    pub(super) savepoints: Option<SavepointsRead>,
    /// When one of them changed last.
    pub(super) savepoints_changed: Option<Instant>,
    /// The newest checkpoint that the store has of a job, by the folder that was looked into.
    pub(super) stored: Option<(String, Input<Option<String>>)>,
    /// The savepoint that was made a resource, by its path.
    pub kept: Option<(String, Result<String, Refusal>)>,
    /// What could not be stored as it was decided.
    pub(super) unstored: Option<UnstoredOf<FlinkSessionJob>>,
}

/// What is remembered of one resource, of whatever kind.
#[derive(Debug, Default)]
struct Entry<M> {
    /// The version that the API server gave to our last write, and when.
    written: Option<(u64, Instant)>,
    /// Failed reconciles in a row.
    errors: u32,
    /// What else its kind remembers.
    memory: M,
}

/// The memories of all resources of a kind, by the hash of their UIDs.
#[derive(Debug)]
pub struct Memories<M> {
    map: Mutex<HashMap<UidHash, Entry<M>>>,
}

impl<M> Default for Memories<M> {
    fn default() -> Self {
        Self { map: Mutex::default() }
    }
}

impl Memory {
    /// Takes the secrets of the program out of a message of Flink's.
    #[must_use]
    pub fn redact(&self, message: &str) -> String {
        match &self.program {
            Some(program) => program.redactor.redact(message),
            None => message.to_owned(),
        }
    }
}

/// A resourceVersion as a number. Kubernetes 1.35 and later promise that those of one kind can be compared so; any other is
/// no number, and nothing is concluded from it.
fn version(resource_version: Option<&str>) -> Option<u64> {
    resource_version.and_then(|version| version.parse().ok())
}

impl<M: Default> Memories<M> {
    /// Notes the version of our own last write.
    pub fn wrote(&self, owner: UidHash, resource_version: Option<&str>) {
        let written = version(resource_version).map(|written| (written, Instant::now()));
        self.map.lock().entry(owner).or_default().written = written;
    }

    /// Whether a cached resource lacks our own last write: whatever is decided on it, the API server would refuse. Not for
    /// ever: an API server that was restored from a backup counts on from an older version.
    #[must_use]
    pub fn is_behind(&self, owner: UidHash, resource_version: Option<&str>) -> bool {
        let known = self.map.lock().get(&owner).and_then(|entry| entry.written);
        matches!((version(resource_version), known), (Some(cached), Some((written, at))) if cached < written && at.elapsed() < TRUSTED)
    }

    /// Reads or changes the memory of a resource.
    pub fn with<T>(&self, owner: UidHash, change: impl FnOnce(&mut M) -> T) -> T {
        change(&mut self.map.lock().entry(owner).or_default().memory)
    }

    /// Forgets a resource.
    pub fn forget(&self, owner: UidHash) {
        self.map.lock().remove(&owner);
    }

    /// The pause after a failed reconcile: 200 ms doubling up to half a minute.
    pub fn failed(&self, owner: UidHash) -> Duration {
        let mut map = self.map.lock();
        let errors = &mut map.entry(owner).or_default().errors;
        *errors = (*errors + 1).min(9);
        Duration::from_millis(100 * 2_u64.pow(*errors)).min(Duration::from_secs(30))
    }

    /// A reconcile came to its end.
    pub fn settled(&self, owner: UidHash) {
        self.map.lock().entry(owner).or_default().errors = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_is_behind_until_it_shows_our_own_write() {
        let (memories, owner) = (Memories::<()>::default(), UidHash::of("a"));
        assert!(!memories.is_behind(owner, Some("7")));
        memories.wrote(owner, Some("10"));
        let behind = ["9", "10", "11", "100", "x"].map(|cached| memories.is_behind(owner, Some(cached)));
        assert_eq!(behind, [true, false, false, false, false]);
        memories.wrote(owner, Some("not a number"));
        assert!(!memories.is_behind(owner, Some("9")));
    }
}
