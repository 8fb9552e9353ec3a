//! Everything that a decision is made from.

use std::time::Duration;

use jiff::Timestamp;

use super::{
    Program, Refusal,
    seen::{SavepointKnown, StateSeen, StopAnswer, StopSeen},
};
use crate::{
    api::{FlinkSessionJobSpec, JobStatus, Reason, state::RestorePoint},
    flink::{InstallationId, JarId, JobId, JobState, TriggerId, UidHash},
    state_prefix::StatePrefixes,
};

/// The facts of the resource's metadata that matter.
#[derive(Debug, Clone, Copy)]
pub struct Meta<'a> {
    /// `metadata.namespace`.
    pub namespace: &'a str,
    /// `metadata.name`.
    pub name: &'a str,
    /// `metadata.uid`.
    pub uid: &'a str,
    /// The hash of the UID: the mark of this resource's jobs.
    pub owner: UidHash,
    /// `metadata.generation`.
    pub generation: i64,
    /// `metadata.deletionTimestamp` is set.
    pub deleting: bool,
    /// Our finalizer is there.
    pub finalizer: bool,
}

/// A job in Flink's job list that carries this resource's mark, or that its status or `spec.adopt` names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct JobSeen {
    /// Its id.
    pub id: JobId,
    /// Its state.
    pub state: JobState,
    /// When it started.
    pub start_time: Option<Timestamp>,
    /// When it ended.
    pub end_time: Option<Timestamp>,
    /// Whether all its tasks run, or have finished. `RUNNING` alone does not say so.
    pub tasks_run: bool,
}

impl JobSeen {
    /// Flink can take a savepoint of it. It refuses while a task waits for a slot, is deployed, or reads its state
    /// (`CheckpointFailureReason.NOT_ALL_REQUIRED_TASKS_RUNNING`).
    #[must_use]
    pub fn takes_savepoints(&self) -> bool {
        self.state == JobState::Running && self.tasks_run
    }

    /// It has not ended, as far as Flink knows.
    #[must_use]
    pub fn is_live(&self) -> bool {
        !self.state.is_globally_terminal()
    }
}

/// How far a Savepoint of a job is that is being taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UnderWay {
    /// It was decided on, and Flink has not been asked: it gives way to a stop.
    Intended,
    /// Flink was asked for it, as far as anybody knows.
    Asked,
}

/// For how long a submission of one JobID and jar id may be repeated on one JobManager process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RetryWindow {
    /// The process never forgets a JobID.
    Unlimited,
    /// It remembers a JobID at least four times as long.
    For(Duration),
    /// No process of this cluster ever forgets a JobID: high availability, and both result stores are kept.
    Durable,
    /// Repeating is not safe, for the reason given.
    Closed(&'static str),
}

/// Task slots, as counted when a job waits for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Slots {
    /// Not counted yet.
    Unknown,
    /// The cluster can grow; there is nothing to compare with.
    Growing,
    /// This many are free and not granted to another submission.
    Free(i32),
}

/// A cluster that answers.
#[derive(Debug, Clone)]
pub struct Cluster<'a> {
    /// The REST address without credentials.
    pub url: &'a str,
    /// The jobs with this resource's mark, or named in its status (`jobId`, `runs`, `intent`) or in `spec.adopt`, in the
    /// newest job list.
    pub jobs: Vec<JobSeen>,
    /// The JobManager process, when it could be read.
    pub job_manager: Option<&'a str>,
    /// The newest job list was begun after the plan asked to confirm ([`super::Wants::confirm`]) on this very version of
    /// the resource, and the process was identified as `job_manager` both before that list was begun and after it. What is
    /// not in the list then does not exist. (A list that the old process answered, followed by the identity of the new
    /// one, proves nothing: the new one may have recovered a job that the list lacks.)
    pub confirmed: bool,
    /// Whether submissions may be repeated.
    pub retry_window: RetryWindow,
    /// The cluster takes jars.
    pub submission_enabled: bool,
    /// The free slots.
    pub slots: Slots,
    /// Where the cluster puts savepoints by default.
    pub savepoint_directory: Option<&'a str>,
}

impl Cluster<'_> {
    /// The job of that id, if it is listed.
    #[must_use]
    pub fn job(&self, id: JobId) -> Option<&JobSeen> {
        self.jobs.iter().find(|job| job.id == id)
    }
}

/// What is known of a cluster: `C` where it answers.
#[derive(Debug, Clone)]
pub enum ClusterView<C> {
    /// It was not asked yet.
    NotPolled,
    /// It does not answer, or not as Flink does; or its session does not say where it is, or does not exist.
    Down(Refusal),
    /// It answers.
    Up(C),
}

/// The session that the job runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Session {
    /// It is there.
    Present {
        /// It is being deleted.
        deleting: bool,
    },
    /// It is not in the cache.
    Absent {
        /// A quorum read proved that it does not exist.
        proven: bool,
    },
}

/// Something that is made ready off the reconcile path.
#[derive(Debug, Clone)]
pub enum Input<T> {
    /// Nobody asked for it, or it is being made ready.
    Pending,
    /// Here it is.
    Ready(T),
    /// It cannot be had until a person changes something.
    Refused(Refusal),
    /// It could not be had now; it is tried again.
    Retrying(Refusal),
}

/// The permit to submit: at most eight at once for each cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Permit {
    /// Held.
    Granted,
    /// Not held. `long` when it was asked for more than ten seconds ago.
    Waiting {
        /// It was asked for more than ten seconds ago.
        long: bool,
    },
}

/// How a submission ended, as this process saw it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SubmitOutcome {
    /// Flink started the job under the JobID that was asked for.
    Accepted,
    /// Flink knows the JobID already.
    Duplicate,
    /// Flink started another job instead.
    OtherJob(JobId),
    /// The request provably did not reach Flink, or Flink refused it before it looked at the job.
    NotSent(Refusal),
    /// The jar is not there: another JobManager process.
    JarMissing,
    /// `main()` ended with an error.
    Rejected(String),
    /// Nothing is known.
    Unknown(Refusal),
}

/// An effect of this process on this resource.
#[derive(Debug, Clone, Default)]
pub struct Task {
    /// One is under way.
    pub running: bool,
    /// The submission that ended last, by JobID and number of tries, and how.
    pub submitted: Option<(JobId, i32, SubmitOutcome)>,
    /// The cancellation that was sent last, and when its answer came; the error if it failed.
    pub cancelled: Option<(JobId, Timestamp, Option<Refusal>)>,
    /// The job that was recorded in its session as released.
    pub released: Option<JobId>,
    /// The submission, by JobID and number of tries, that this process has written down and certainly not sent.
    pub unsent: Option<(JobId, i32)>,
    /// The stop that this process has written down and certainly not sent.
    pub stop_unsent: Option<TriggerId>,
    /// The request to stop with savepoint that was sent last, when its answer came, and the answer.
    pub stop_sent: Option<(TriggerId, Timestamp, StopAnswer)>,
    /// What became of a stop, when this process asked last, and when that was.
    pub stop_seen: Option<(TriggerId, Timestamp, StopSeen)>,
    /// The savepoint, by its path, that was made a resource, and the name it has; or why it could not be.
    pub kept: Option<(String, Result<String, Refusal>)>,
    /// The slot whose scheduled Savepoint was created, or why it could not be.
    pub scheduled: Option<(Timestamp, Result<(), Refusal>)>,
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
    pub spec: &'a FlinkSessionJobSpec,
    /// Its status.
    pub status: &'a JobStatus,
    /// Its session.
    pub session: Session,
    /// Its cluster.
    pub cluster: ClusterView<Cluster<'a>>,
    /// The program of the spec, variables expanded.
    pub program: Input<&'a Program>,
    /// The program's jar on the cluster: its id, and the JobManager process that has it.
    pub jar: Input<(JarId, String)>,
    /// The permit to submit.
    pub permit: Permit,
    /// Effects of this process.
    pub task: Task,
    /// Why the job of the live run, or of the submission, failed: exception class and first line. Asked for by
    /// [`super::Wants::failure_cause`].
    pub failure_cause: Input<String>,
    /// The state of the job of the current attempt. Asked for by [`super::Wants::state`].
    pub state: Input<&'a StateSeen>,
    /// The Savepoints of this job, and the one that `spec.restore` names. Asked for by [`super::Wants::savepoints`].
    pub savepoints: Input<&'a [SavepointKnown]>,
    /// The newest complete checkpoint that the store has of a lost job, by its path; None where it has none. Asked for by
    /// [`super::Wants::stored`]. Refused where the operator cannot read the store.
    pub stored: Input<Option<String>>,
    /// Another job, as `KIND/NAME`, that took over the files at `spec.restore.path`.
    pub claimed_by: Option<&'a str>,
    /// The newest Savepoint of the current attempt.
    pub newest_savepoint: Option<RestorePoint>,
    /// A Savepoint of this job is being taken right now: a stop would break it off, or hang beside it.
    pub savepoint_under_way: Option<UnderWay>,
    /// The namespace is being deleted.
    pub namespace_terminating: bool,
    /// Configuration keys of the spec that cannot take effect for a session job.
    pub ineffective: &'a [String],
    /// What the administrator's settings refuse in the spec.
    pub refused: Option<&'a Refusal>,
    /// Where the state of the namespace may be.
    pub prefixes: &'a StatePrefixes,
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

    /// The session is there, and nothing was heard of its cluster yet: nothing is said about either.
    pub(super) fn not_polled(&self) -> bool {
        matches!(
            (&self.cluster, self.session),
            (ClusterView::NotPolled, Session::Present { .. })
        )
    }

    /// The jobs that carry this resource's mark and have not ended.
    pub fn marked_live(&self) -> impl Iterator<Item = &JobSeen> {
        let owner = self.meta.owner;
        self.up()
            .into_iter()
            .flat_map(|cluster| &cluster.jobs)
            .filter(move |job| job.id.owner() == owner && job.is_live())
    }

    /// What was read of the state of that job.
    #[must_use]
    pub fn state_of(&self, job_id: JobId) -> Option<&'a StateSeen> {
        match self.state {
            Input::Ready(seen) if seen.job_id == job_id => Some(seen),
            Input::Ready(_) | Input::Pending | Input::Refused(_) | Input::Retrying(_) => None,
        }
    }

    /// How the last submission ended, if this process knows.
    #[must_use]
    pub fn submit_outcome(&self) -> Option<&SubmitOutcome> {
        let intent = self.status.submission()?;
        let (job_id, tries, outcome) = self.task.submitted.as_ref()?;
        (*job_id == intent.job_id && *tries == intent.tries).then_some(outcome)
    }

    /// Why the cluster cannot be used, in the words of a condition.
    #[must_use]
    pub fn down(&self) -> Refusal {
        match (&self.cluster, self.session) {
            (_, Session::Absent { .. }) => Refusal::new(
                Reason::ClusterNotFound,
                format!(
                    "FlinkSession {:?} does not exist in this namespace; {} when it appears",
                    self.spec.session_ref.name,
                    if self.status.live_run().is_some() || self.status.submission().is_some() {
                        "its cluster may still run the job, which is followed again"
                    } else {
                        "the job starts"
                    }
                ),
            ),
            (ClusterView::Down(refusal), _) => refusal.clone(),
            (ClusterView::NotPolled | ClusterView::Up(_), _) => {
                Refusal::new(Reason::WaitingForCluster, "the cluster has not been asked yet")
            }
        }
    }
}
