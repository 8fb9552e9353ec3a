//! The requests for savepoints that this process has sent lately, by job: a stop with savepoint does not go out beside one.
//!
//! Of two at once, Flink completes the savepoint and lets the stop wait until `execution.checkpointing.timeout`, in which the
//! job takes no checkpoints either (2.3.0). Decisions are made from caches, which may not show yet what the other has
//! written. So each writes its intent first, and looks for the other's before its request goes out: the savepoint at the
//! job, by a quorum read, and the stop here. Whoever comes second sees the first.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use crate::flink::{JobId, TriggerId};

/// By then the caches show that it is under way.
const LAG: Duration = Duration::from_secs(10);

/// The requests, with when each was sent or answered.
#[derive(Debug, Default)]
pub(super) struct Taking(Mutex<HashMap<JobId, (TriggerId, Instant)>>);

impl Taking {
    /// A request is about to be sent, or was answered.
    pub(super) fn note(&self, job_id: JobId, trigger_id: TriggerId) {
        let mut taking = self.0.lock();
        taking.retain(|_, (_, at)| at.elapsed() < LAG);
        taking.insert(job_id, (trigger_id, Instant::now()));
    }

    /// Nothing is taken by that request, or not any more.
    pub(super) fn ended(&self, job_id: JobId, trigger_id: TriggerId) {
        let mut taking = self.0.lock();
        if taking.get(&job_id).is_some_and(|(id, _)| *id == trigger_id) {
            taking.remove(&job_id);
        }
    }

    /// Whether a savepoint of the job may be under way that the caches do not show yet.
    pub(super) fn is_of(&self, job_id: JobId) -> bool {
        self.0.lock().get(&job_id).is_some_and(|(_, at)| at.elapsed() < LAG)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_taken_from_until_that_request_has_ended() {
        let (taking, job) = (Taking::default(), JobId([1; 16]));
        let [one, two] = ["one", "two"].map(|mark| TriggerId::new(mark, 1));
        assert!(!taking.is_of(job));
        taking.note(job, one);
        assert!(taking.is_of(job) && !taking.is_of(JobId([2; 16])));
        taking.note(job, two);
        taking.ended(job, one);
        assert!(taking.is_of(job), "another one is under way");
        taking.ended(job, two);
        assert!(!taking.is_of(job) && taking.0.lock().is_empty());
    }
}
