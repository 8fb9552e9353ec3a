//! `JobState`: Flink's own words for where a job is.

use std::fmt;

/// The state of a job, as `org.apache.flink.api.common.JobStatus` spells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum JobState {
    /// The job is submitted, its JobMaster is not up yet.
    Initializing,
    /// The JobMaster is up, no task was deployed yet.
    Created,
    /// Tasks are deployed.
    Running,
    /// A failure is being handled.
    Failing,
    /// Ended with an error.
    Failed,
    /// A cancellation is under way.
    Cancelling,
    /// Cancelled.
    Canceled,
    /// Ended with success.
    Finished,
    /// Tasks are being restarted.
    Restarting,
    /// Stopped on this JobManager, to be recovered by another.
    Suspended,
    /// Waits for TaskManagers to report after a recovery.
    Reconciling,
    /// A word that this version does not know.
    Unknown,
}

impl JobState {
    /// Reads Flink's word.
    #[must_use]
    pub fn from_word(word: &str) -> Self {
        match word {
            "INITIALIZING" => Self::Initializing,
            "CREATED" => Self::Created,
            "RUNNING" => Self::Running,
            "FAILING" => Self::Failing,
            "FAILED" => Self::Failed,
            "CANCELLING" => Self::Cancelling,
            "CANCELED" => Self::Canceled,
            "FINISHED" => Self::Finished,
            "RESTARTING" => Self::Restarting,
            "SUSPENDED" => Self::Suspended,
            "RECONCILING" => Self::Reconciling,
            _ => Self::Unknown,
        }
    }

    /// Flink's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Initializing => "INITIALIZING",
            Self::Created => "CREATED",
            Self::Running => "RUNNING",
            Self::Failing => "FAILING",
            Self::Failed => "FAILED",
            Self::Cancelling => "CANCELLING",
            Self::Canceled => "CANCELED",
            Self::Finished => "FINISHED",
            Self::Restarting => "RESTARTING",
            Self::Suspended => "SUSPENDED",
            Self::Reconciling => "RECONCILING",
            Self::Unknown => "UNKNOWN",
        }
    }

    /// Whether the job has ended for good (Flink: "globally terminal").
    #[must_use]
    pub const fn is_globally_terminal(self) -> bool {
        matches!(self, Self::Failed | Self::Canceled | Self::Finished)
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
