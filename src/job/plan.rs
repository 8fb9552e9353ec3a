//! What a decision says.

use std::time::Duration;

use jiff::Timestamp;

use super::Program;
use crate::{
    api::{JobStatus, Reason},
    flink::{JarId, JobId},
};

/// A submission, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    /// The JobID that Flink is told to use.
    pub job_id: JobId,
    /// The jar.
    pub jar_id: JarId,
    /// How many times it may have been sent, this time included.
    pub tries: i32,
    /// It is not sent after this time.
    pub not_after: Timestamp,
    /// How long Flink may take to answer.
    pub timeout: Duration,
    /// The body.
    pub program: Program,
}

/// One thing to do. Each runs only on a resource that the API server returned just now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Put our finalizer on the resource.
    AddFinalizer,
    /// Take our finalizer off: the resource is gone after that.
    RemoveFinalizer,
    /// Run the program.
    Submit(Box<Submission>),
    /// Cancel a job.
    Cancel(JobId),
    /// Record a job in its session as released.
    Release(JobId),
}

/// What the decision needs before it can go on. Each is idempotent and changes nothing that matters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[allow(clippy::struct_excessive_bools, reason = "a set of wishes, each of its own")]
pub struct Wants {
    /// A job list that is begun from now on, and the JobManager's identity after it.
    pub confirm: bool,
    /// The program, variables expanded.
    pub program: bool,
    /// The jar on the cluster.
    pub jar: bool,
    /// The free slots.
    pub slots: bool,
    /// The permit to submit.
    pub permit: bool,
    /// Why the job failed.
    pub failure_cause: bool,
    /// Proof that the session does not exist.
    pub session_proof: bool,
    /// Whether the namespace is being deleted.
    pub namespace: bool,
    /// A job of this resource is in transition: poll faster.
    pub attention: bool,
}

/// When to decide again if nothing happens before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Next {
    /// Only when something changes.
    OnChange,
    /// At this time.
    At(Timestamp),
}

/// How loud an Event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NoteKind {
    /// As it should be.
    Normal,
    /// Somebody should look.
    Warning,
}

/// An Event to publish once the status is persisted, or at once when there is nothing to persist.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Note {
    /// How loud.
    pub kind: NoteKind,
    /// The stable word.
    pub reason: Reason,
    /// What happened.
    pub message: String,
}

/// What a decision says.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The rule that decided, for logs and tests.
    pub rule: &'static str,
    /// The status as it should be. Persisted before anything else.
    pub status: JobStatus,
    /// What to do when the status is persisted.
    pub effect: Option<Effect>,
    /// Events.
    pub notes: Vec<Note>,
    /// What is needed to go on.
    pub wants: Wants,
    /// When to decide again.
    pub next: Next,
}

impl Plan {
    /// A plan that leaves everything as it is.
    #[must_use]
    pub fn keep(rule: &'static str, status: &JobStatus) -> Self {
        Self::with(rule, status.clone())
    }

    /// A plan for a status.
    #[must_use]
    pub fn with(rule: &'static str, status: JobStatus) -> Self {
        Self {
            rule,
            status,
            effect: None,
            notes: Vec::new(),
            wants: Wants::default(),
            next: Next::OnChange,
        }
    }

    /// Adds an effect.
    #[must_use]
    pub fn then(mut self, effect: Effect) -> Self {
        self.effect = Some(effect);
        self
    }

    /// Adds an Event.
    #[must_use]
    pub fn note(mut self, kind: NoteKind, reason: Reason, message: impl Into<String>) -> Self {
        self.notes.push(Note {
            kind,
            reason,
            message: message.into(),
        });
        self
    }

    /// Adds what is needed.
    #[must_use]
    pub fn want(mut self, wants: Wants) -> Self {
        self.wants = wants;
        self
    }

    /// Decides again at that time at the latest.
    #[must_use]
    pub fn at(mut self, time: Timestamp) -> Self {
        self.next = Next::At(time);
        self
    }
}
