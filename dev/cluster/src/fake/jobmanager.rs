//! The memory of the fake's JobManager: its jobs, its jars, and every id it ever saw. Time is an argument.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashSet, VecDeque},
    time::{Duration, Instant},
};

use bytes::Bytes;
use jiff::Timestamp;

use super::{
    FakeOptions,
    job::{Id, Job, Pace, State},
    mishaps::Mishaps,
    operations::{Due, Operations},
    printed,
    record::Record,
    storage::Storage,
};

/// What is known of an uploaded jar. Its bytes are not kept.
#[derive(Debug, Clone)]
pub(super) struct Jar {
    pub(super) name: String,
    pub(super) uploaded: Timestamp,
    pub(super) length: u64,
    pub(super) sha256: String,
    pub(super) is_zip: bool,
}

/// One process.
pub(super) struct Process {
    pub(super) identity: [u8; 16],
    pub(super) jobs: BTreeMap<Id, Job>,
    pub(super) jars: BTreeMap<String, Jar>,
    pub(super) operations: Operations,
    /// The ids that are refused as duplicates. A process without HA forgets none.
    remembered: HashSet<Id>,
    free_slots: u32,
    /// Jobs whose tasks wait for slots, in order.
    waiting: VecDeque<Id>,
}

/// The JobManager and the record of what it did.
pub(super) struct JobManager {
    pub(super) options: FakeOptions,
    pub(super) process: Process,
    pub(super) record: Record,
    pub(super) storage: Storage,
    pub(super) mishaps: Mishaps,
    /// Times at which something changes by itself.
    upcoming: BinaryHeap<Reverse<(Instant, Due)>>,
    /// The body of the job list, until something changes.
    overview: Option<Bytes>,
    epoch: (Instant, Timestamp),
    ids_made: u64,
}

impl JobManager {
    pub(super) fn new(options: FakeOptions, now: Instant) -> Self {
        let identity = options.identity.unwrap_or_else(random);
        Self {
            process: Process::new(identity, options.slots()),
            options,
            record: Record::default(),
            storage: Storage::default(),
            mishaps: Mishaps::default(),
            upcoming: BinaryHeap::new(),
            overview: None,
            epoch: (now, Timestamp::now()),
            ids_made: 0,
        }
    }

    fn pace(&self) -> Pace {
        Pace {
            initializing: self.options.initializing,
            created: self.options.created,
        }
    }

    /// Milliseconds since 1970; -1 for "not yet", as Flink writes it.
    pub(super) fn millis(&self, at: Option<Instant>) -> i64 {
        let (start, wall) = self.epoch;
        let since = |at: Instant| i64::try_from(at.saturating_duration_since(start).as_millis()).unwrap_or_default();
        at.map_or(-1, |at| wall.as_millisecond() + since(at))
    }

    /// An id that no request named.
    pub(super) fn random_id(&mut self) -> Id {
        self.ids_made += 1;
        Id(random())
    }

    /// Lets everything happen that is due: states, ends, slots that become free, forgotten jobs.
    pub(super) fn advance(&mut self, now: Instant) {
        while let Some(Reverse((at, due))) = self.upcoming.peek().copied() {
            if at > now {
                break;
            }
            self.upcoming.pop();
            match due {
                Due::Job(id) => {
                    self.overview = None;
                    self.settle(id, at);
                }
                Due::Written(job, trigger) => self.written(job, trigger, at),
                Due::Stopped(job, trigger) => self.stopped(job, trigger, at),
                Due::Disposed(trigger) => self.disposed(trigger, at),
            }
        }
    }

    pub(super) fn due(&mut self, at: Instant, what: Due) {
        self.upcoming.push(Reverse((at, what)));
    }

    fn settle(&mut self, id: Id, at: Instant) {
        let Some(job) = self.process.jobs.get_mut(&id) else {
            return;
        };
        let Some(ended) = job.ended(at) else { return };
        let (parallelism, had_slots) = (job.parallelism, job.has_slots());
        if job.live {
            job.live = false;
            self.record.ended(id);
            self.due(ended + self.options.expiration, Due::Job(id));
            self.abort(id, at);
            if had_slots {
                self.process.free_slots += parallelism;
            }
            self.give_slots(at);
        } else if ended + self.options.expiration <= at {
            if let Some(job) = self.process.jobs.remove(&id) {
                self.leave_checkpoint(&job, at);
            }
            if self.options.forgets_expired {
                self.process.remembered.remove(&id);
            }
        }
    }

    fn give_slots(&mut self, now: Instant) {
        while let Some(id) = self.process.waiting.front().copied() {
            let Some(job) = self.process.jobs.get_mut(&id).filter(|job| job.live) else {
                self.process.waiting.pop_front();
                continue;
            };
            if job.parallelism > self.process.free_slots {
                break;
            }
            self.process.free_slots -= job.parallelism;
            self.process.waiting.pop_front();
            if let Some(at) = job.deploy(now) {
                self.due(at, Due::Job(id));
            }
        }
    }

    fn schedule(&mut self, id: Id, times: Vec<Instant>) {
        self.overview = None;
        self.upcoming
            .extend(times.into_iter().map(|at| Reverse((at, Due::Job(id)))));
    }

    /// Whether a submission with this id is refused.
    pub(super) fn is_duplicate(&self, id: Id) -> bool {
        self.process.remembered.contains(&id)
    }

    /// Accepts a job.
    pub(super) fn accept(&mut self, mut job: Job, now: Instant) {
        let id = job.id;
        let times = job.start(now, self.pace());
        self.record.began(id);
        self.process.remembered.insert(id);
        self.process.jobs.insert(id, job);
        self.process.waiting.push_back(id);
        self.schedule(id, times);
        self.give_slots(now);
    }

    /// Registers a job that fails before it was initialized: its id is used up.
    pub(super) fn accept_failed(&mut self, mut job: Job, causes: &[String], now: Instant) {
        let id = job.id;
        job.failure = Some(printed::initialization_failure(causes));
        let times = job.turn(
            now,
            &[(Duration::ZERO, State::Initializing), (Duration::ZERO, State::Failed)],
        );
        self.record.began(id);
        self.process.remembered.insert(id);
        self.process.jobs.insert(id, job);
        self.schedule(id, times);
        self.advance(now);
    }

    /// Sends a live job into other states. False when there is no such job, or it ended.
    pub(super) fn turn(&mut self, id: Id, now: Instant, failure: Option<String>, states: &[(Duration, State)]) -> bool {
        let Some(job) = self.process.jobs.get_mut(&id).filter(|job| job.live) else {
            return false;
        };
        if failure.is_some() {
            job.failure = failure;
        }
        if states.iter().any(|(_, state)| *state == State::Running) {
            job.interrupt(now);
        }
        let times = job.turn(now, states);
        self.abort(id, now);
        self.schedule(id, times);
        self.advance(now);
        true
    }

    /// Cancels a live job.
    pub(super) fn cancel(&mut self, id: Id, now: Instant) -> bool {
        let takes = self.options.cancelling;
        self.turn(
            id,
            now,
            None,
            &[(Duration::ZERO, State::Cancelling), (takes, State::Canceled)],
        )
    }

    /// Drops a job from the list, as an expired archive does. Its id stays refused unless `forgets_expired`.
    pub(super) fn forget(&mut self, id: Id, now: Instant) -> bool {
        let Some(job) = self.process.jobs.remove(&id) else {
            return false;
        };
        self.overview = None;
        self.leave_checkpoint(&job, now);
        if job.live {
            self.record.ended(id);
            if job.has_slots() {
                self.process.free_slots += job.parallelism;
            }
        }
        if self.options.forgets_expired {
            self.process.remembered.remove(&id);
        }
        self.give_slots(now);
        true
    }

    /// The process dies: nothing of it happens any more.
    pub(super) fn die(&mut self, now: Instant) {
        self.advance(now);
        self.upcoming.clear();
        self.lose_operations();
        self.process.jobs.values_mut().for_each(|job| job.freeze(now));
    }

    /// A new process takes over. With `keep_jobs` it recovers those that had not ended, as one with high availability does;
    /// without, they are gone. Jars and the memory of ended jobs are gone either way.
    pub(super) fn restart(&mut self, keep_jobs: bool, now: Instant) {
        let fresh = Process::new(random(), self.options.slots());
        let old = std::mem::replace(&mut self.process, fresh);
        self.overview = None;
        if self.options.upload_dir {
            self.process.jars = old.jars;
        }
        for (id, mut job) in old.jobs {
            if !(job.live && keep_jobs) {
                self.leave_checkpoint(&job, now);
                if job.live {
                    self.record.ended(id);
                }
                continue;
            }
            job.interrupt(now);
            job.slots_since = None;
            job.snapshots.clear();
            let times = job.start(now, self.pace());
            self.record.recoveries += 1;
            self.process.remembered.insert(id);
            self.process.waiting.push_back(id);
            self.process.jobs.insert(id, job);
            self.schedule(id, times);
        }
        self.give_slots(now);
    }

    pub(super) fn free_slots(&self) -> u32 {
        self.process.free_slots
    }

    /// The body of the job list; made once for each change. Its durations are those of that moment.
    pub(super) fn overview(&mut self, make: impl FnOnce(&Self) -> Bytes) -> Bytes {
        if let Some(body) = &self.overview {
            return body.clone();
        }
        let body = make(self);
        self.overview = Some(body.clone());
        body
    }
}

impl Process {
    fn new(identity: [u8; 16], slots: u32) -> Self {
        Self {
            identity,
            jobs: BTreeMap::new(),
            jars: BTreeMap::new(),
            operations: Operations::default(),
            remembered: HashSet::new(),
            free_slots: slots,
            waiting: VecDeque::new(),
        }
    }
}

/// Sixteen bytes that nobody else has. Not for secrets.
pub(super) fn random() -> [u8; 16] {
    use std::hash::{BuildHasher, RandomState};
    // Each `RandomState` has keys of its own.
    let half = || RandomState::new().hash_one(0_u8).to_be_bytes();
    let mut bytes = [0; 16];
    let made = half().into_iter().chain(half());
    bytes.iter_mut().zip(made).for_each(|(to, from)| *to = from);
    bytes
}

/// Sixteen bytes as a UUID is written.
pub(super) fn uuid(bytes: [u8; 16]) -> String {
    let hex = Id(bytes).to_string();
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::program::Program;

    fn job(n: u8, parallelism: u32, program: Program) -> Job {
        Job::new(Id([n; 16]), "j".to_owned(), parallelism, program, None)
    }

    #[test]
    fn a_bounded_job_passes_through_its_states_and_is_forgotten() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let options = FakeOptions {
            initializing: Duration::from_millis(10),
            created: Duration::from_millis(10),
            expiration: Duration::from_millis(100),
            ..FakeOptions::default()
        };
        let mut jm = JobManager::new(options, start);
        let runs_for = Duration::from_millis(30);
        jm.accept(job(1, 1, Program::Bounded { runs_for }), start);
        for (millis, state) in [
            (0, State::Initializing),
            (10, State::Created),
            (20, State::Running),
            (49, State::Running),
            (50, State::Finished),
        ] {
            jm.advance(at(millis));
            assert_eq!(jm.process.jobs[&Id([1; 16])].state(at(millis)), state, "{millis} ms");
        }
        jm.advance(at(150));
        assert!(jm.process.jobs.is_empty() && jm.is_duplicate(Id([1; 16])));
    }

    #[test]
    fn slots_are_given_in_order() {
        let now = Instant::now();
        let options = FakeOptions {
            slots: 2,
            cancelling: Duration::ZERO,
            ..FakeOptions::default()
        };
        let mut jm = JobManager::new(options, now);
        jm.accept(job(1, 2, Program::Streaming), now);
        jm.accept(job(2, 1, Program::Streaming), now);
        assert_eq!((jm.free_slots(), jm.process.jobs[&Id([2; 16])].has_slots()), (0, false));
        assert!(jm.cancel(Id([1; 16]), now));
        assert_eq!((jm.free_slots(), jm.process.jobs[&Id([2; 16])].has_slots()), (1, true));
        assert!(!jm.cancel(Id([1; 16]), now), "it has ended");
    }

    #[test]
    fn two_live_jobs_of_one_mark_are_counted() {
        let now = Instant::now();
        let mut jm = JobManager::new(FakeOptions::default(), now);
        let (mut first, mut second) = ([7; 16], [7; 16]);
        (first[15], second[15]) = (1, 2);
        jm.accept(Job::new(Id(first), "a".into(), 1, Program::Streaming, None), now);
        jm.cancel(Id(first), now);
        let later = now + Duration::from_secs(1);
        jm.advance(later);
        jm.accept(Job::new(Id(second), "b".into(), 1, Program::Streaming, None), later);
        assert_eq!(jm.record.most_live_of(Id(first).mark()), 1);
        jm.restart(true, later);
        assert_eq!((jm.record.recoveries, jm.record.most_live_of(Id(first).mark())), (1, 1));
        jm.accept(Job::new(Id(first), "a".into(), 1, Program::Streaming, None), later);
        assert_eq!(jm.record.most_live().map(|(_, n)| n), Some(2));
    }
}
