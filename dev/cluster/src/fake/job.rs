//! One job of the fake: a timeline of states, part of which may lie in the future.

use std::{
    fmt,
    str::FromStr,
    time::{Duration, Instant},
};

use super::{program::Program, progress::Progress, settings::Settings, storage::Snapshot};

/// A JobID.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Id(pub(super) [u8; 16]);

/// The bytes 4 to 12 of a JobID, in which the operator writes whose job it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Mark(pub(super) [u8; 8]);

impl Id {
    pub(super) fn mark(self) -> Mark {
        let mut mark = [0; 8];
        mark.iter_mut()
            .zip(self.0.iter().skip(4))
            .for_each(|(to, from)| *to = *from);
        Mark(mark)
    }
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

fn read_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.len() != 2 * N || !text.is_ascii() {
        return None;
    }
    for (n, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * n..2 * n + 2)?, 16).ok()?;
    }
    Some(bytes)
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl FromStr for Id {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        read_hex(text).map(Self).ok_or(())
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl FromStr for Mark {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        read_hex(text).map(Self).ok_or(())
    }
}

/// The states that the fake's jobs pass through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    Initializing,
    Created,
    Running,
    Restarting,
    Cancelling,
    Canceled,
    Failed,
    Finished,
}

impl State {
    pub(super) const ALL: [Self; 8] = [
        Self::Initializing,
        Self::Created,
        Self::Running,
        Self::Restarting,
        Self::Cancelling,
        Self::Canceled,
        Self::Failed,
        Self::Finished,
    ];

    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Initializing => "INITIALIZING",
            Self::Created => "CREATED",
            Self::Running => "RUNNING",
            Self::Restarting => "RESTARTING",
            Self::Cancelling => "CANCELLING",
            Self::Canceled => "CANCELED",
            Self::Failed => "FAILED",
            Self::Finished => "FINISHED",
        }
    }

    pub(super) const fn is_terminal(self) -> bool {
        matches!(self, Self::Canceled | Self::Failed | Self::Finished)
    }
}

/// How long a job stays in the states that it passes through.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    pub(super) initializing: Duration,
    pub(super) created: Duration,
}

/// Between the failure of a task and that of its job.
const FAILING: Duration = Duration::from_millis(50);

/// A job.
pub(super) struct Job {
    pub(super) id: Id,
    pub(super) name: String,
    pub(super) parallelism: u32,
    pub(super) program: Program,
    pub(super) savepoint: Option<String>,
    pub(super) settings: Settings,
    /// The count that it was restored with.
    pub(super) restored_count: u64,
    pub(super) progress: Progress,
    /// The savepoints that its process remembers, oldest first.
    pub(super) snapshots: Vec<Snapshot>,
    /// In the order of time; entries after now have not happened yet.
    timeline: Vec<(Instant, State)>,
    /// Why it fails, once it does: a printed Java exception.
    pub(super) failure: Option<String>,
    /// Since when its tasks have slots. Without, they stay SCHEDULED while the job is RUNNING already.
    pub(super) slots_since: Option<Instant>,
    /// Whether it still counts as running; settled when its end is processed.
    pub(super) live: bool,
}

impl Job {
    pub(super) fn new(id: Id, name: String, parallelism: u32, program: Program, savepoint: Option<String>) -> Self {
        Self {
            id,
            name,
            parallelism,
            program,
            savepoint,
            settings: Settings::default(),
            restored_count: 0,
            progress: Progress::default(),
            snapshots: Vec::new(),
            timeline: Vec::new(),
            failure: None,
            slots_since: None,
            live: true,
        }
    }

    /// Starts, or starts again after a recovery. Returns the times at which the state will change.
    pub(super) fn start(&mut self, now: Instant, pace: Pace) -> Vec<Instant> {
        self.timeline.retain(|(at, _)| *at <= now);
        let created = now + pace.initializing;
        let running = created + pace.created;
        self.timeline.extend([
            (now, State::Initializing),
            (created, State::Created),
            (running, State::Running),
        ]);
        vec![created, running]
    }

    pub(super) fn has_slots(&self) -> bool {
        self.slots_since.is_some()
    }

    /// Gives the tasks their slots: from here on the program makes progress.
    pub(super) fn deploy(&mut self, now: Instant) -> Option<Instant> {
        self.slots_since = Some(now);
        let running = self.timeline.last().map_or(now, |(at, _)| now.max(*at));
        let (at, state) = if let Program::Bounded { runs_for } = self.program {
            (running + runs_for, State::Finished)
        } else {
            let (records, counts_for) = self.fails_after()?;
            let cause = format!("java.lang.IllegalStateException: the task fails on purpose after {records} records");
            self.failure = Some(super::printed::task_failure(&cause));
            self.halt(running + counts_for);
            (running + counts_for + FAILING, State::Failed)
        };
        self.timeline.push((at, state));
        Some(at)
    }

    /// Drops what has not happened yet and enters states from now on.
    pub(super) fn turn(&mut self, now: Instant, states: &[(Duration, State)]) -> Vec<Instant> {
        self.timeline.retain(|(at, _)| *at <= now);
        let entries: Vec<_> = states.iter().map(|(after, state)| (now + *after, *state)).collect();
        self.timeline.extend(&entries);
        entries.into_iter().map(|(at, _)| at).collect()
    }

    /// Nothing happens any more: the process that would make it happen is dead.
    pub(super) fn freeze(&mut self, now: Instant) {
        self.timeline.retain(|(at, _)| *at <= now);
        self.halt(now);
    }

    fn entered(&self, now: Instant) -> Option<(Instant, State)> {
        self.timeline.iter().rev().find(|(at, _)| *at <= now).copied()
    }

    pub(super) fn state(&self, now: Instant) -> State {
        self.entered(now).map_or(State::Initializing, |(_, state)| state)
    }

    /// When it last entered a state.
    pub(super) fn last_entered(&self, state: State, now: Instant) -> Option<Instant> {
        self.timeline
            .iter()
            .rev()
            .find(|(at, s)| *s == state && *at <= now)
            .map(|(at, _)| *at)
    }

    /// When it last entered a state, and when it left it, if it has.
    pub(super) fn last_stay(&self, state: State, now: Instant) -> Option<(Instant, Option<Instant>)> {
        let past = self.timeline.iter().rev().filter(|(at, _)| *at <= now);
        let mut left = None;
        for (at, entered) in past {
            if *entered == state {
                return Some((*at, left));
            }
            left = Some(*at);
        }
        None
    }

    pub(super) fn started(&self) -> Option<Instant> {
        self.timeline.first().map(|(at, _)| *at)
    }

    pub(super) fn modified(&self, now: Instant) -> Option<Instant> {
        self.entered(now).map(|(at, _)| at)
    }

    /// When it ended, if it has.
    pub(super) fn ended(&self, now: Instant) -> Option<Instant> {
        self.entered(now)
            .filter(|(_, state)| state.is_terminal())
            .map(|(at, _)| at)
    }
}
