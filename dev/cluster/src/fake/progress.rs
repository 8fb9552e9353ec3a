//! How far a job has come: what it has counted, and its checkpoints. Both follow from the timeline, so that ten thousand jobs
//! with checkpoints cost nothing.

use std::time::{Duration, Instant};

use super::{
    job::{Job, State},
    options::Behavior,
    program::Program,
};

/// The time between two counts.
const PACE: Duration = Duration::from_millis(10);

/// A completed checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Checkpoint {
    pub(super) number: u32,
    pub(super) triggered: Instant,
    /// The count in it.
    pub(super) count: u64,
}

/// What came before the tasks last began to run.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Progress {
    /// When they were last stopped, to be started again.
    interrupted: Option<Instant>,
    /// The count that they began with.
    count: u64,
    /// How many numbers were given to checkpoints and savepoints.
    numbers: u32,
    newest: Option<Checkpoint>,
    /// From when on they count no more.
    halted: Option<Instant>,
}

fn times(period: Duration, each: Duration) -> u32 {
    u32::try_from(period.as_nanos() / each.as_nanos().max(1)).unwrap_or(u32::MAX)
}

impl Job {
    /// From when to when its tasks have run, since they were last started.
    fn period(&self, now: Instant) -> Option<(Instant, Instant)> {
        let (running, left) = self.last_stay(State::Running, now)?;
        if self.progress.interrupted.is_some_and(|at| running < at) {
            return None;
        }
        let began = running.max(self.slots_since?);
        let until = [left, self.progress.halted]
            .into_iter()
            .flatten()
            .fold(now, Instant::min);
        (began <= until).then_some((began, until))
    }

    /// How many checkpoints it has completed since its tasks were last started, and when it triggered the newest.
    fn completed(&self, now: Instant) -> Option<(u32, Instant)> {
        let interval = self.settings.checkpoint_interval?;
        if self.settings.on_snapshot.is_some_and(|how| how != Behavior::Works) {
            return None;
        }
        let (began, until) = self.period(now)?;
        let passed = times(until.duration_since(began), interval);
        let done = passed.saturating_add(u32::from(self.settings.checkpoints_at_once));
        (done > 0).then(|| (done, began + interval * passed))
    }

    /// How many savepoints were triggered since its tasks were last started, up to a time.
    fn savepoints(&self, until: Instant) -> u32 {
        let began = self.period(until).map(|(began, _)| began);
        let within = |at: Instant| began.is_some_and(|began| began <= at) && at <= until;
        let savepoints = self.snapshots.iter().filter(|snapshot| within(snapshot.triggered));
        u32::try_from(savepoints.count()).unwrap_or(u32::MAX)
    }

    /// The newest completed checkpoint. Checkpoints and savepoints are counted together.
    pub(super) fn checkpoint(&self, now: Instant) -> Option<Checkpoint> {
        let Some((done, triggered)) = self.completed(now) else {
            return self.progress.newest;
        };
        Some(Checkpoint {
            number: self.progress.numbers + done + self.savepoints(triggered),
            triggered,
            count: self.count(triggered),
        })
    }

    /// The number of a savepoint that is triggered now.
    pub(super) fn next_number(&self, now: Instant) -> u32 {
        let done = self.completed(now).map_or(0, |(done, _)| done);
        self.progress.numbers + done + self.savepoints(now) + 1
    }

    /// What it has counted: a hundred a second since its tasks run, on top of what was restored.
    pub(super) fn count(&self, now: Instant) -> u64 {
        let ran = self.period(now).map_or(Duration::ZERO, |(began, until)| until - began);
        self.progress.count + u64::from(times(ran, PACE))
    }

    /// How many records its task counts before it fails by itself, and how long that takes.
    pub(super) fn fails_after(&self) -> Option<(u32, Duration)> {
        let Program::FailingTask { records, kept } = self.program else {
            return None;
        };
        let counted = PACE * records;
        let Some(kept) = kept else {
            return Some((records, counted));
        };
        let interval = self.settings.checkpoint_interval?;
        let first = u32::from(!self.settings.checkpoints_at_once);
        let checkpoints = u32::try_from((PACE * kept).as_nanos().div_ceil(interval.as_nanos().max(1))).ok()?;
        let fails = counted.max(interval.checked_mul(checkpoints.max(first))?);
        Some((times(fails, PACE), fails))
    }

    /// It starts with what it is restored from.
    pub(super) fn restore(&mut self, count: u64) {
        self.restored_count = count;
        self.progress.count = count;
    }

    /// Its tasks count no more from then on: they have written the savepoint of a stop, fail, or their process is dead.
    pub(super) fn halt(&mut self, at: Instant) {
        let before = self.progress.halted;
        self.progress.halted = Some(before.map_or(at, |before| before.min(at)));
    }

    /// Its tasks stop, to be started again: then from the newest checkpoint, or from what the job was started with.
    pub(super) fn interrupt(&mut self, now: Instant) {
        let newest = self.checkpoint(now);
        self.progress = Progress {
            interrupted: Some(now),
            count: newest.map_or(self.restored_count, |checkpoint| checkpoint.count),
            numbers: self.next_number(now) - 1,
            newest,
            halted: None,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{
        job::{Id, Pace},
        storage::Snapshot,
    };

    fn job(now: Instant, interval: Duration) -> Job {
        let mut job = Job::new(Id([1; 16]), "j".to_owned(), 1, Program::Streaming, None);
        job.settings.checkpoint_interval = Some(interval);
        job.start(
            now,
            Pace {
                initializing: Duration::ZERO,
                created: Duration::ZERO,
            },
        );
        job.deploy(now);
        job
    }

    fn savepoint(triggered: Instant, number: u32) -> Snapshot {
        Snapshot {
            number,
            path: String::new(),
            format: String::new(),
            stops_job: false,
            triggered,
            ended: None,
        }
    }

    #[test]
    fn checkpoints_and_savepoints_are_counted_together() {
        let now = Instant::now();
        let at = |seconds| now + Duration::from_secs(seconds);
        let mut job = job(now, Duration::from_secs(10));
        assert_eq!((job.checkpoint(at(9)), job.next_number(at(9))), (None, 1));
        assert_eq!(job.checkpoint(at(10)).map(|c| (c.number, c.count)), Some((1, 1000)));
        assert_eq!(job.next_number(at(15)), 2);
        job.snapshots.push(savepoint(at(15), 2));
        assert_eq!(job.checkpoint(at(19)).map(|c| c.number), Some(1));
        assert_eq!(job.checkpoint(at(20)).map(|c| c.number), Some(3));
        assert_eq!(job.next_number(at(21)), 4);
        job.settings.checkpoints_at_once = true;
        assert_eq!(job.checkpoint(at(0)).map(|c| (c.number, c.count)), Some((1, 0)));
    }

    #[test]
    fn a_restart_goes_back_to_the_newest_checkpoint() {
        let now = Instant::now();
        let at = |seconds| now + Duration::from_secs(seconds);
        let mut job = job(now, Duration::from_secs(10));
        job.interrupt(at(25));
        job.turn(
            at(25),
            &[
                (Duration::ZERO, State::Restarting),
                (Duration::from_secs(5), State::Running),
            ],
        );
        assert_eq!((job.count(at(29)), job.count(at(31))), (2000, 2100));
        assert_eq!(
            job.checkpoint(at(39)).map(|c| (c.number, c.triggered)),
            Some((2, at(20)))
        );
        assert_eq!(job.checkpoint(at(40)).map(|c| (c.number, c.count)), Some((3, 3000)));
    }

    #[test]
    fn a_task_fails_when_what_is_asked_for_is_complete_and_counts_no_further() {
        let now = Instant::now();
        let seconds = Duration::from_secs(10);
        let fails = |records, kept, at_once, interval| {
            let mut job = job(now, seconds);
            job.program = Program::FailingTask { records, kept };
            (job.settings.checkpoints_at_once, job.settings.checkpoint_interval) = (at_once, interval);
            job.fails_after()
        };
        assert_eq!(fails(7, None, true, None), Some((7, Duration::from_millis(70))));
        assert_eq!(fails(0, Some(0), true, Some(seconds)), Some((0, Duration::ZERO)));
        assert_eq!(fails(0, Some(0), false, Some(seconds)), Some((1000, seconds)));
        assert_eq!(fails(0, Some(1000), true, Some(seconds)), Some((1000, seconds)));
        assert_eq!(fails(0, Some(1001), true, Some(seconds)), Some((2000, 2 * seconds)));
        assert_eq!(fails(3000, Some(1), true, Some(seconds)), Some((3000, 3 * seconds)));
        assert_eq!(fails(0, Some(1), true, None), None, "no checkpoint is ever complete");

        let mut failing = job(now, seconds);
        failing.program = Program::FailingTask {
            records: 0,
            kept: Some(5),
        };
        let failed = failing.deploy(now).unwrap();
        assert!(failed > now + seconds);
        assert_eq!(failing.state(failed), State::Failed);
        let newest = failing.checkpoint(failed).unwrap();
        assert_eq!((newest.number, newest.count, failing.count(failed)), (1, 1000, 1000));
        failing.freeze(now + Duration::from_secs(3));
        assert_eq!(failing.count(failed), 300, "its process was dead before");
    }

    #[test]
    fn what_has_ended_or_has_no_slots_counts_no_more() {
        let now = Instant::now();
        let at = |seconds| now + Duration::from_secs(seconds);
        let mut stopped = job(now, Duration::from_secs(10));
        stopped.halt(at(3));
        assert_eq!(stopped.count(at(9)), 300);
        let mut cancelled = job(now, Duration::from_secs(10));
        cancelled.turn(at(15), &[(Duration::ZERO, State::Canceled)]);
        assert_eq!(
            (cancelled.count(at(99)), cancelled.checkpoint(at(99)).map(|c| c.number)),
            (1500, Some(1))
        );
        let mut waiting = job(now, Duration::from_secs(10));
        waiting.slots_since = None;
        assert_eq!((waiting.count(at(99)), waiting.checkpoint(at(99))), (0, None));
        waiting.deploy(at(99));
        assert_eq!(waiting.count(at(100)), 100);
    }
}
