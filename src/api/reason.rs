//! Reasons: the stable words in conditions, Events and metrics.

use std::fmt;

macro_rules! reasons {
    ($($(#[doc = $doc:literal])* $name:ident,)*) => {
        /// Why a condition has its status. The same word stands in conditions, Events and metrics.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason {
            $($(#[doc = $doc])* $name,)*
        }

        impl Reason {
            /// Every reason there is.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The word.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }

            /// What it means, as its documentation says.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($($doc),*).trim_ascii(),)*
                }
            }
        }
    };
}

reasons! {
    /// The spec can be run.
    Accepted,
    /// The cluster answers and takes jobs.
    Ready,
    /// The job runs.
    Running,
    /// The job ended by itself, with success.
    Finished,
    /// The job was stopped by `state: Suspended`.
    Suspended,
    /// The job was cancelled: by `state: Cancelled`, or by someone in Flink.
    Cancelled,
    /// The job is checked but not submitted.
    Draft,
    /// A submission is under way.
    Submitting,
    /// A new spec is being rolled out.
    Upgrading,
    /// The job starts from state.
    Restoring,
    /// Flink restarts the job, or the operator submits it again.
    Restarting,
    /// The job runs again after it had failed, was lost or could not be seen.
    Recovered,
    /// The cluster is not ready for a submission.
    WaitingForCluster,
    /// The `FlinkSession` does not exist, or what it points at does not.
    ClusterNotFound,
    /// The cluster does not answer.
    ClusterUnreachable,
    /// The cluster does not accept jars (`web.submit.enable: false`).
    SubmissionDisabled,
    /// The cluster has fewer free slots than the job needs.
    InsufficientSlots,
    /// Other submissions to the same cluster go first.
    Queued,
    /// The jar could not be found or fetched.
    ArtifactNotFound,
    /// The jar's host refused the request, or its address is one that the operator does not connect to.
    ArtifactForbidden,
    /// The jar is larger than the administrator allows.
    ArtifactTooLarge,
    /// The jar is not the one that `sha256` names.
    ChecksumMismatch,
    /// The spec cannot be run as it is.
    InvalidSpec,
    /// The spec uses a variable that is not defined.
    UndefinedVariable,
    /// The spec names an object that does not exist.
    ReferenceNotFound,
    /// The spec sets a configuration key that jobs may not set.
    ConfigurationDenied,
    /// Flink refused the submission: the program ended with an error before a job started.
    SubmissionRejected,
    /// Flink did not answer the submission in `submitTimeout`.
    SubmissionTimeout,
    /// It cannot be known whether a submission ran.
    ResultUnknown,
    /// The job ended with an error.
    JobFailed,
    /// The cluster no longer knows a job that ran.
    JobLost,
    /// The restart budget is used up.
    RestartsExhausted,
    /// A savepoint failed.
    SavepointFailed,
    /// The state that was asked for does not exist.
    StateNotFound,
    /// What runs, or its state, cannot be known.
    StateUnknown,
    /// The newest state that the job can be restored from is older than it should be.
    StateOutdated,
    /// Two jobs write checkpoints to one directory.
    CheckpointPathConflict,
    /// A deletion waits.
    DeletionBlocked,
    /// A resource was released although its job may still run.
    JobMayStillRun,
    /// The cluster, or the API server, refused our credentials.
    Unauthorized,
    /// The cluster's configuration makes repeated submissions unsafe.
    IdempotencyWeak,
    /// The change needs what this job, or this version, does not offer.
    UpgradeModeUnsupported,
    /// Configuration keys belong to the cluster and have no effect on a session job.
    ClusterScopedOption,
    /// Flink takes a savepoint.
    InProgress,
    /// A savepoint is complete.
    Completed,
    /// Flink deletes the files of a savepoint.
    Disposing,
    /// A job that ran already was taken over.
    Adopted,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
