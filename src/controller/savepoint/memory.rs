//! What this process remembers of a Savepoint between reconciles. Nothing of it is needed for safety.

use std::{collections::HashSet, sync::Arc, time::Instant};

use jiff::Timestamp;

use crate::{
    api::Savepoint,
    controller::drive::UnstoredOf,
    flink::{Checkpoints, JobId, TriggerId},
    savepoint::{DisposalOutcome, Metadata, Polled, TriggerOutcome, Usage},
};

/// The history of checkpoints of a job, as it was read last.
#[derive(Debug, Clone)]
pub(super) struct HistoryRead {
    pub(super) job_id: JobId,
    /// When the request was begun.
    pub(super) begun: Instant,
    /// What Flink told; None when it does not know the job.
    pub(super) checkpoints: Option<Arc<Checkpoints>>,
}

/// What quorum lists said.
#[derive(Debug, Clone)]
pub(super) struct ProofRead {
    /// They were begun after this version of the resource was written.
    pub(super) version: String,
    pub(super) usage: Usage,
    pub(super) siblings: Vec<Arc<Savepoint>>,
}

/// What is found out beside the reconciles, one of a kind at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Question {
    /// What became of the attempt.
    Outcome,
    /// The history of checkpoints.
    History,
    /// Who needs the savepoint.
    Users,
    /// Whether `_metadata` is there.
    Metadata,
}

/// Memory of one Savepoint.
#[derive(Debug, Default)]
pub struct SavepointMemory {
    /// A request is under way.
    pub(super) running: bool,
    /// What is being found out.
    pub(super) open: HashSet<Question>,
    /// The trigger that was written down and not sent.
    pub(super) unsent: Option<TriggerId>,
    /// The trigger that was sent last.
    pub(super) sent: Option<(TriggerId, Timestamp, TriggerOutcome)>,
    /// How many requests were sent: an outcome that was asked for before one of them says nothing about it.
    pub(super) requests: u64,
    /// The outcome that was asked for last, and when the request was begun.
    pub(super) polled: Option<(Polled, Instant)>,
    /// The disposal that ended last.
    pub(super) disposed: Option<(Timestamp, Timestamp, DisposalOutcome)>,
    /// The history of checkpoints.
    pub(super) history: Option<HistoryRead>,
    /// When a quorum read proved that the job does not exist.
    pub(super) job_absent: Option<Instant>,
    /// What the lists said.
    pub(super) proof: Option<ProofRead>,
    /// Whether `_metadata` is there.
    pub(super) metadata: Option<Metadata>,
    /// The namespace is being deleted.
    pub(super) namespace_terminating: bool,
    /// Its finalizer was taken off for its deletion: what becomes of its files is told.
    pub(super) let_go: bool,
    /// What could not be stored as it was decided.
    pub(super) unstored: Option<UnstoredOf<Savepoint>>,
}

impl SavepointMemory {
    /// Whether this trigger was written down by this process, and never sent.
    pub(in crate::controller) fn is_unsent(&self, trigger_id: TriggerId) -> bool {
        self.unsent == Some(trigger_id)
    }
}
