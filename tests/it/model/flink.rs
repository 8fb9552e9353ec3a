//! Flink, as adversarial as it was measured to be: it forgets, restarts, answers late or not at all, and starts what it
//! was asked to start even when nobody waits for the answer any more.

use std::{rc::Rc, time::Duration};

use flink_job_operator::{
    api::state::CheckpointRetention,
    flink::{JarId, JobId, JobState},
    job::{RetryWindow, SubmitOutcome},
};
use jiff::Timestamp;

use super::states::States;

/// A job list.
pub type Jobs = Vec<(JobId, JobState)>;

pub fn live(jobs: &Jobs) -> impl Iterator<Item = JobId> {
    jobs.iter()
        .filter(|(_, state)| !state.is_globally_terminal())
        .map(|(id, _)| *id)
}

pub fn find(jobs: &Jobs, id: JobId) -> Option<JobState> {
    jobs.iter().find(|(other, _)| *other == id).map(|(_, state)| *state)
}

/// A run request under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Post {
    pub job_id: JobId,
    pub tries: i32,
    /// The state that it starts from.
    pub restore: Option<String>,
    /// The process that has the jar.
    pub process: u8,
    /// It does not take effect after this.
    pub expires: Timestamp,
    /// The operator process that waits for the answer.
    pub waiter: Option<usize>,
}

/// How a cluster is set up.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    pub ha: bool,
    pub window: RetryWindow,
    /// What becomes of the jobs' checkpoints; None where nobody asks.
    pub retention: Option<CheckpointRetention>,
    /// How many checkpoints a job completes.
    pub checkpoints: u8,
}

impl Setup {
    /// The retry window, where it has an end.
    pub fn window_length(self) -> Duration {
        match self.window {
            RetryWindow::For(window) => window,
            RetryWindow::Unlimited | RetryWindow::Durable | RetryWindow::Closed(_) => Duration::ZERO,
        }
    }

    /// Uploaded jars survive the process.
    pub fn uploads_survive(self) -> bool {
        matches!(self.window, RetryWindow::Closed(_))
    }
}

/// What is true on the cluster.
#[derive(Debug, Clone)]
pub struct Flink {
    pub process: u8,
    pub jobs: Rc<Jobs>,
    /// JobIDs that this process refuses.
    pub known: Vec<JobId>,
    /// Every job that was ever started, when, and how it ended.
    pub history: Vec<(JobId, Timestamp, Option<JobState>)>,
    pub posts: Vec<Post>,
    /// It does not answer.
    pub down: bool,
    pub states: States,
}

impl Flink {
    pub fn new() -> Self {
        Self {
            process: 1,
            jobs: Rc::default(),
            known: Vec::new(),
            history: Vec::new(),
            posts: Vec::new(),
            down: false,
            states: States::default(),
        }
    }

    pub fn started(&self, id: JobId) -> bool {
        self.history.iter().any(|(other, ..)| *other == id)
    }

    pub fn fate(&self, id: JobId) -> Option<JobState> {
        self.history
            .iter()
            .find(|(other, ..)| *other == id)
            .and_then(|(.., fate)| *fate)
    }

    fn set(&mut self, id: JobId, state: JobState) {
        let jobs = Rc::make_mut(&mut self.jobs);
        match jobs.iter_mut().find(|(other, _)| *other == id) {
            Some((_, old)) => *old = state,
            None => jobs.push((id, state)),
        }
        jobs.sort();
    }

    /// A job that lives ends. False when it does not live.
    pub fn end(&mut self, id: JobId, state: JobState) -> bool {
        if find(&self.jobs, id).is_none_or(JobState::is_globally_terminal) {
            return false;
        }
        self.set(id, state);
        self.history
            .iter_mut()
            .filter(|(other, ..)| *other == id)
            .for_each(|(.., fate)| *fate = Some(state));
        self.states.end(id);
        true
    }

    /// Whether a request can still start its job.
    pub fn can_start(&self, post: &Post, setup: Setup) -> bool {
        self.has_jar(post.process, setup) && !self.known.contains(&post.job_id)
    }

    fn has_jar(&self, process: u8, setup: Setup) -> bool {
        process == self.process || setup.uploads_survive()
    }

    /// Handles a request. The second value says what must never happen.
    pub fn run(&mut self, post: &Post, now: Timestamp, setup: Setup) -> (SubmitOutcome, Option<&'static str>) {
        if !self.has_jar(post.process, setup) {
            return (SubmitOutcome::JarMissing, None);
        }
        if self.known.contains(&post.job_id) {
            return (SubmitOutcome::Duplicate, None);
        }
        let mut bug = None;
        if self.started(post.job_id) {
            bug = Some("I1: a job was started a second time under its JobID");
        } else if live(&self.jobs).next().is_some() {
            bug = Some("I1: two jobs of one resource run at once");
        }
        self.known.push(post.job_id);
        self.history.push((post.job_id, now, None));
        self.states.begin(post.job_id, post.restore.clone());
        self.set(post.job_id, JobState::Running);
        (SubmitOutcome::Accepted, bug)
    }

    /// The JobManager is replaced.
    pub fn restart(&mut self, setup: Setup) {
        self.process += 1;
        self.states.restart();
        let jobs = Rc::make_mut(&mut self.jobs);
        if setup.ha {
            jobs.retain(|(_, state)| !state.is_globally_terminal());
        } else {
            jobs.clear();
        }
        if setup.window != RetryWindow::Durable {
            self.known = self.jobs.iter().map(|(id, _)| *id).collect();
        }
    }

    /// An ended job leaves the job list; and the memory of the process, where that is short.
    pub fn forget(&mut self, now: Timestamp, setup: Setup) -> bool {
        let (age, wholly) = match setup.window {
            RetryWindow::Unlimited | RetryWindow::Durable => (Duration::ZERO, false),
            RetryWindow::For(window) => (window * 4, true),
            RetryWindow::Closed(_) => (Duration::ZERO, true),
        };
        let old = |id: JobId| {
            self.history
                .iter()
                .any(|(other, born, _)| *other == id && now >= *born + age)
        };
        let ended = self
            .jobs
            .iter()
            .find(|(id, state)| state.is_globally_terminal() && old(*id));
        let Some((id, _)) = ended.copied() else { return false };
        Rc::make_mut(&mut self.jobs).retain(|(other, _)| *other != id);
        if wholly {
            self.known.retain(|other| *other != id);
        }
        true
    }
}

pub fn jar(process: u8) -> JarId {
    format!("00000000-0000-0000-0000-0000000000{process:02}_x.jar")
        .parse()
        .unwrap()
}

pub fn process_of(jar_id: &JarId) -> u8 {
    (1..=9).find(|process| jar(*process) == *jar_id).unwrap()
}

pub fn process_name(process: u8) -> String {
    format!("flink-web-{process}")
}
