//! Everything that a decision about a savepoint is made from.

use std::time::Duration;

use jiff::Timestamp;

use super::Usage;
use crate::{
    api::{
        FlinkSessionJobSpec, JobStatus, SavepointSpec, SavepointStatus, job::SavepointFormat,
        savepoint_status::SavepointOrigin, state::MAX_PATH,
    },
    flink::{Checkpoints, InstallationId, JobId, OperationFailure, SavepointStatus as Told, TriggerId},
    job::{ClusterView, JobSeen, Refusal},
    registry::SavepointFacts,
    state_prefix::StatePrefixes,
};

/// What the labels and annotations of a Savepoint say that the operator made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Made {
    /// Why.
    pub origin: Option<SavepointOrigin>,
    /// The Flink job whose state it is.
    pub job_id: Option<JobId>,
    /// When it was complete.
    pub completion_time: Option<Timestamp>,
    /// Its format.
    pub format: Option<SavepointFormat>,
}

/// The facts of the resource's metadata that matter.
#[derive(Debug, Clone, Copy)]
pub struct Meta<'a> {
    /// `metadata.namespace`.
    pub namespace: &'a str,
    /// `metadata.name`.
    pub name: &'a str,
    /// `metadata.uid`.
    pub uid: &'a str,
    /// `metadata.generation`.
    pub generation: i64,
    /// `metadata.creationTimestamp`.
    pub created: Timestamp,
    /// `metadata.deletionTimestamp`.
    pub deleting: Option<Timestamp>,
    /// Our finalizer is there.
    pub finalizer: bool,
    /// What labels and annotations say.
    pub made: Made,
}

/// A job resource.
#[derive(Debug, Clone, Copy)]
pub struct Job<'a> {
    /// `metadata.generation`.
    pub generation: i64,
    /// It is being deleted.
    pub deleting: bool,
    /// Its spec.
    pub spec: &'a FlinkSessionJobSpec,
    /// Its status.
    pub status: &'a JobStatus,
}

/// The job that `spec.jobRef` names.
#[derive(Debug, Clone, Copy)]
pub enum JobView<'a> {
    /// None is named.
    NotNamed,
    /// It is not in the cache.
    Absent {
        /// A quorum read proved that it does not exist.
        proven: bool,
    },
    /// It is there.
    Present(Job<'a>),
}

/// A cluster that answers.
#[derive(Debug, Clone)]
pub struct Cluster<'a> {
    /// Those of the jobs that the statuses name which are in the newest job list.
    pub jobs: Vec<JobSeen>,
    /// The JobManager process, when it could be read.
    pub job_manager: Option<&'a str>,
    /// The process was identified after the outcome was asked for last ([`Task::polled`]).
    pub identified_since_poll: bool,
    /// What it says about savepoints.
    pub facts: &'a SavepointFacts,
}

impl Cluster<'_> {
    /// The job of that id, if it is listed.
    #[must_use]
    pub fn job(&self, id: JobId) -> Option<&JobSeen> {
        self.jobs.iter().find(|job| job.id == id)
    }
}

/// A `FlinkSession` of the namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionSeen<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its cluster answers.
    pub up: bool,
}

/// Another Savepoint of the same job.
#[derive(Debug, Clone, Copy)]
pub struct Sibling<'a> {
    /// `metadata.name`.
    pub name: &'a str,
    /// `metadata.uid`.
    pub uid: &'a str,
    /// `metadata.creationTimestamp`.
    pub created: Timestamp,
    /// It is being deleted.
    pub deleting: bool,
    /// It is to be taken, not registered.
    pub is_taken: bool,
    /// Its status.
    pub status: &'a SavepointStatus,
}

/// What a request for a savepoint came to, as this process saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TriggerOutcome {
    /// Flink has it.
    Accepted,
    /// Flink gave it another id: it does not know the field.
    OtherTrigger,
    /// It provably did not reach Flink.
    NotSent(Refusal),
    /// Flink refused it.
    Refused(String),
    /// Nothing is known.
    Unknown(Refusal),
}

/// The outcome of a savepoint, as it was asked for last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Polled {
    /// The trigger.
    pub id: TriggerId,
    /// When the request was begun.
    pub at: Timestamp,
    /// What Flink said; or that it did not answer.
    pub told: Result<Told, Refusal>,
    /// When the request was begun that found it under way last.
    pub under_way: Option<Timestamp>,
}

/// What a disposal came to, as this process saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DisposalOutcome {
    /// The files are deleted.
    Done,
    /// Nothing was there.
    NothingThere,
    /// The metadata is gone, other files may be left: nobody can dispose of them any more.
    NoMetadata,
    /// It failed; part of the files may be deleted.
    Failed(OperationFailure),
    /// Flink did not answer, or forgot about it.
    NoAnswer(Refusal),
}

/// Effects of this process on this resource.
#[derive(Debug, Clone, Default)]
pub struct Task {
    /// A request is under way.
    pub running: bool,
    /// The trigger that this process has written down and certainly not sent.
    pub unsent: Option<TriggerId>,
    /// The trigger that was sent last, when its answer came, and what it came to.
    pub sent: Option<(TriggerId, Timestamp, TriggerOutcome)>,
    /// The outcome that was asked for last. Not one that was asked for before the last request.
    pub polled: Option<Polled>,
    /// The disposal that ended last: by the time when it was decided to ask Flink, when it ended, and what it came to.
    pub disposed: Option<(Timestamp, Timestamp, DisposalOutcome)>,
}

/// The history of checkpoints of the Flink job.
#[derive(Debug, Clone, Copy)]
pub struct History<'a> {
    /// What Flink told; None when it does not know the job.
    pub checkpoints: Option<&'a Checkpoints>,
    /// How long after the last poll of the outcome the request was begun; None when it was before.
    pub since_poll: Option<Duration>,
}

/// Whether `_metadata` of an import is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Metadata {
    /// The operator cannot read the store, for this reason.
    OutOfReach(String),
    /// Not looked at yet.
    Pending,
    /// It is.
    There,
    /// It is not.
    Missing,
    /// The store did not say.
    Unreadable(String),
}

/// What quorum lists say that were begun after this very version of the resource was written.
#[derive(Debug, Clone)]
pub struct Proof<'a> {
    /// Who uses it.
    pub usage: Usage,
    /// The other Savepoints of its job.
    pub siblings: Vec<Sibling<'a>>,
}

/// All inputs of a decision.
#[derive(Debug)]
pub struct Observed<'a> {
    /// The wall clock.
    pub now: Timestamp,
    /// This installation.
    pub installation: InstallationId,
    /// The resource's metadata.
    pub meta: Meta<'a>,
    /// Its spec.
    pub spec: &'a SavepointSpec,
    /// Its status.
    pub status: &'a SavepointStatus,
    /// Where the state of the namespace may be.
    pub prefixes: &'a StatePrefixes,
    /// The job.
    pub job: JobView<'a>,
    /// The cluster: that of the attempt under way, else the job's.
    pub cluster: ClusterView<Cluster<'a>>,
    /// The sessions of the namespace, by name.
    pub sessions: Vec<SessionSeen<'a>>,
    /// The other Savepoints of the job.
    pub siblings: Vec<Sibling<'a>>,
    /// Who uses it.
    pub usage: Usage,
    /// The same, and the siblings, beyond doubt.
    pub proof: Option<Proof<'a>>,
    /// Effects of this process.
    pub task: Task,
    /// The history of the Flink job: that of the attempt, else the one that runs.
    pub history: Option<History<'a>>,
    /// Whether `_metadata` of an import is there.
    pub metadata: Metadata,
    /// The namespace is being deleted.
    pub namespace_terminating: bool,
}

impl<'a> Observed<'a> {
    /// The cluster, if it answers.
    #[must_use]
    pub fn up(&self) -> Option<&Cluster<'a>> {
        match &self.cluster {
            ClusterView::Up(cluster) => Some(cluster),
            ClusterView::NotPolled | ClusterView::Down(_) => None,
        }
    }

    /// The job, if it is there.
    #[must_use]
    pub fn job(&self) -> Option<&Job<'a>> {
        match &self.job {
            JobView::Present(job) => Some(job),
            JobView::NotNamed | JobView::Absent { .. } => None,
        }
    }
}

/// The longest directory of an attempt, in bytes: Flink adds `/savepoint-<6>-<12>`.
pub(super) const LONGEST_DIRECTORY: usize = MAX_PATH - 32;
