//! What a decision says, about a resource of any kind.
//!
//! The decision cores ([`crate::job`], [`crate::savepoint`]) return one; the driver carries it out.

use jiff::Timestamp;

use crate::api::Reason;

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

/// What a decision says: `S` is the status of the kind, `E` its effects, `W` what it may want.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan<S, E, W> {
    /// The rule that decided, for logs and tests.
    pub rule: &'static str,
    /// The status as it should be. Persisted before anything else.
    pub status: S,
    /// What to do when the status is persisted.
    pub effect: Option<E>,
    /// Events.
    pub notes: Vec<Note>,
    /// What is needed to go on.
    pub wants: W,
    /// When to decide again.
    pub next: Next,
}

impl<S: Clone, E, W: Default> Plan<S, E, W> {
    /// A plan that leaves everything as it is.
    #[must_use]
    pub fn keep(rule: &'static str, status: &S) -> Self {
        Self::with(rule, status.clone())
    }

    /// A plan for a status.
    #[must_use]
    pub fn with(rule: &'static str, status: S) -> Self {
        Self {
            rule,
            status,
            effect: None,
            notes: Vec::new(),
            wants: W::default(),
            next: Next::OnChange,
        }
    }

    /// Adds an effect.
    #[must_use]
    pub fn then(mut self, effect: E) -> Self {
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
    pub fn want(mut self, wants: W) -> Self {
        self.wants = wants;
        self
    }

    /// Decides again at that time, unless it is to be sooner.
    #[must_use]
    pub fn by(mut self, time: Timestamp) -> Self {
        self.next = match self.next {
            Next::At(sooner) => Next::At(sooner.min(time)),
            Next::OnChange => Next::At(time),
        };
        self
    }

    /// Decides again at that time at the latest.
    #[must_use]
    pub fn at(mut self, time: Timestamp) -> Self {
        self.next = Next::At(time);
        self
    }
}
