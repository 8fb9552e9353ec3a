//! The state of Flink's jobs: stops with savepoint, checkpoints, and what a job was started from.
//!
//! Every state has a number, and a later one of whatever job has a higher number. It stands at the end of its path, so that
//! a start can be compared with what there was. Flink knows the id of a stop in one process, and for a while.

use flink_job_operator::{
    flink::{JobId, JobState, TriggerId},
    job::Stop,
};
use jiff::Timestamp;

use super::flink::{Flink, find};

/// A request to stop with savepoint, under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StopPost {
    pub stop: Stop,
    /// It does not take effect after this.
    pub expires: Timestamp,
    /// The process that it is sent to.
    pub process: u8,
    /// The operator process that waits for the answer.
    pub waiter: Option<usize>,
}

/// What became of a stop, by Flink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    Open,
    /// The savepoint is complete; the job hangs in its end, and the stop stays open.
    Hangs(String),
    Taken(String),
    Failed,
}

/// A stop that this process knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    pub job_id: JobId,
    pub trigger_id: TriggerId,
    pub directory: String,
    pub fate: Fate,
}

/// What a job has of state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    pub job_id: JobId,
    /// What the process says that it was restored from.
    pub restored: Option<String>,
    /// How many checkpoints it took.
    pub count: u8,
    /// Its newest checkpoint.
    pub newest: Option<u8>,
    /// The newest checkpoint by the process's memory.
    pub told: Option<u8>,
    /// Completed savepoints by the process's memory.
    pub savepoints: Vec<String>,
}

/// How a stop ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The savepoint is complete, and the job has finished.
    Taken,
    /// The savepoint is complete, and the job never ends.
    Hangs,
    /// There is no savepoint, and the job runs on.
    Fails,
    /// The savepoint is complete, and the job failed right after it.
    Breaks,
    /// The savepoint is complete, and the job failed right after it and was restarted by Flink.
    RunsOn,
}

#[derive(Debug, Clone, Default)]
pub struct States {
    /// How many states there ever were.
    pub clock: u8,
    pub jobs: Vec<Kept>,
    pub stops: Vec<Known>,
    pub posts: Vec<StopPost>,
    /// The savepoints that stops completed.
    pub taken: Vec<String>,
}

/// The number of the state at a path.
pub fn number(path: &str) -> u8 {
    path.rsplit('-').next().unwrap().parse().unwrap()
}

pub fn checkpoint(number: u8) -> String {
    format!("s3://b/checkpoints/chk-{number}")
}

impl States {
    pub fn of(&self, id: JobId) -> Option<&Kept> {
        self.jobs.iter().find(|job| job.job_id == id)
    }

    fn of_mut(&mut self, id: JobId) -> Option<&mut Kept> {
        self.jobs.iter_mut().find(|job| job.job_id == id)
    }

    pub fn known(&self, id: TriggerId) -> Option<&Known> {
        self.stops.iter().find(|stop| stop.trigger_id == id)
    }

    /// A job starts.
    pub fn begin(&mut self, job_id: JobId, restored: Option<String>) {
        self.jobs.push(Kept {
            job_id,
            restored,
            count: 0,
            newest: None,
            told: None,
            savepoints: Vec::new(),
        });
    }

    /// A job ended: no stop of it is open any more.
    pub fn end(&mut self, job_id: JobId) {
        for stop in self.stops.iter_mut().filter(|stop| stop.job_id == job_id) {
            stop.fate = match std::mem::replace(&mut stop.fate, Fate::Failed) {
                Fate::Hangs(path) | Fate::Taken(path) => Fate::Taken(path),
                Fate::Open | Fate::Failed => Fate::Failed,
            };
        }
    }

    /// The process is replaced: the memory of stops and checkpoints is gone, a job goes on from its newest checkpoint.
    pub fn restart(&mut self) {
        self.stops.clear();
        for job in &mut self.jobs {
            job.restored = job.newest.map(checkpoint).or_else(|| job.restored.take());
            job.told = None;
            job.count = 0;
            job.savepoints.clear();
        }
    }
}

impl Flink {
    /// A checkpoint of the live job is complete.
    pub fn checkpoint(&mut self, at_most: u8) -> bool {
        let running = self.jobs.iter().find(|(_, state)| *state == JobState::Running);
        let Some(id) = running.map(|(id, _)| *id) else {
            return false;
        };
        let next = self.states.clock + 1;
        let Some(job) = self.states.of_mut(id).filter(|job| job.count < at_most) else {
            return false;
        };
        job.count += 1;
        (job.newest, job.told) = (Some(next), Some(next));
        self.states.clock = next;
        true
    }

    /// Takes a request to stop. The same id stands for the same stop, as long as it is known.
    pub fn stop(&mut self, stop: &Stop) {
        if self.states.known(stop.trigger_id).is_some() {
            return;
        }
        let runs = find(&self.jobs, stop.job_id) == Some(JobState::Running);
        let another = |known: &Known| known.job_id == stop.job_id && known.fate == Fate::Open;
        let clash = self.states.stops.iter().any(another);
        self.states.stops.push(Known {
            job_id: stop.job_id,
            trigger_id: stop.trigger_id,
            directory: stop.directory.clone(),
            fate: if runs { Fate::Open } else { Fate::Failed },
        });
        if clash {
            // Two stops at once can fail the job, and leave neither savepoint.
            self.end(stop.job_id, JobState::Failed);
        }
    }

    /// A stop that is open comes to an end. None when there is none.
    pub fn end_stop(&mut self, end: End) -> bool {
        let next = self.states.clock + 1;
        let Some(stop) = self.states.stops.iter_mut().find(|stop| stop.fate == Fate::Open) else {
            return false;
        };
        let job_id = stop.job_id;
        if end == End::Fails {
            stop.fate = Fate::Failed;
            return true;
        }
        let path = format!("{}/savepoint-{next}", stop.directory);
        stop.fate = if end == End::Hangs {
            Fate::Hangs(path.clone())
        } else {
            Fate::Taken(path.clone())
        };
        self.states.clock = next;
        self.states.taken.push(path.clone());
        if let Some(job) = self.states.of_mut(job_id) {
            job.savepoints.insert(0, path);
        }
        match end {
            End::Taken => self.end(job_id, JobState::Finished),
            End::Breaks => self.end(job_id, JobState::Failed),
            End::Hangs | End::Fails | End::RunsOn => true,
        }
    }

    /// What became of stops is forgotten, some time after their end.
    pub fn forget_stops(&mut self) -> bool {
        let before = self.states.stops.len();
        self.states
            .stops
            .retain(|stop| matches!(stop.fate, Fate::Open | Fate::Hangs(_)));
        before != self.states.stops.len()
    }
}
