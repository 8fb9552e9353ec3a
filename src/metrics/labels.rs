//! The label values. All are closed sets: no label ever holds the name of an object, a namespace or a job.

use crate::api::savepoint_status::SavepointOrigin;

/// A closed set of label values.
pub(super) trait Label: Copy + Send + Sync + 'static {
    /// The label's name; empty for no label at all.
    const NAME: &'static str;
    /// Every value, in the order of [`Label::index`].
    const ALL: &'static [Self];
    fn index(self) -> usize;
    fn value(self) -> &'static str;
}

/// No second label.
impl Label for () {
    const NAME: &'static str = "";
    const ALL: &'static [Self] = &[()];
    fn index(self) -> usize {
        0
    }
    fn value(self) -> &'static str {
        ""
    }
}

macro_rules! label {
    ($(#[$doc:meta])* $label:literal $name:ident { $($(#[$value_doc:meta])* $value:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$value_doc])* $value),+
        }

        impl Label for $name {
            const NAME: &'static str = $label;
            const ALL: &'static [Self] = &[$(Self::$value),+];

            fn index(self) -> usize {
                self as usize
            }

            fn value(self) -> &'static str {
                match self {
                    $(Self::$value => stringify!($value)),+
                }
            }
        }
    };
}

label! {
    /// The kinds of resources that we reconcile.
    "kind" Kind {
        /// A session cluster.
        FlinkSession,
        /// A job on a session cluster.
        FlinkSessionJob,
        /// A job with a cluster of its own.
        FlinkJarJob,
        /// A savepoint.
        Savepoint,
    }
}

label! {
    /// What a reconcile came to.
    "outcome" ReconcileOutcome {
        /// Nothing is left to do until something changes.
        Settled,
        /// It goes on at a known time.
        Scheduled,
        /// The object had changed in the meantime; it is looked at again.
        Conflict,
        /// The API server failed, or a bug.
        Error,
        /// It was given up before its end: leadership was lost, or the process stops.
        Cancelled,
    }
}

label! {
    /// Flink's REST endpoints, as far as they are used.
    "endpoint" FlinkEndpoint {
        /// `GET /overview`.
        Overview,
        /// `GET /config`.
        Config,
        /// `GET /jobmanager/config`.
        JobManagerConfig,
        /// `GET /jobs/overview`.
        JobsOverview,
        /// `GET /jobs/:id`.
        Job,
        /// `GET /jobs/:id/exceptions`.
        JobExceptions,
        /// `GET /jobs/:id/checkpoints` and the configuration of checkpoints.
        JobCheckpoints,
        /// `PATCH /jobs/:id`.
        CancelJob,
        /// `POST /jobs/:id/stop`.
        StopJob,
        /// `POST /jobs/:id/savepoints` and the polls of savepoints and stops.
        Savepoint,
        /// `POST /savepoint-disposal` and its polls.
        DisposeSavepoint,
        /// `GET /jars`.
        Jars,
        /// `POST /jars/upload`.
        UploadJar,
        /// `POST /jars/:id/run`.
        RunJar,
        /// `DELETE /jars/:id`.
        DeleteJar,
    }
}

label! {
    /// What a request to Flink came to.
    "outcome" FlinkOutcome {
        /// Flink did what was asked.
        Done,
        /// Flink answered, and said no.
        Refused,
        /// Flink, or what stands before it, wants other credentials.
        Unauthorized,
        /// It provably never reached Flink.
        NotSent,
        /// It was sent, and no complete answer came.
        Unknown,
        /// The answer is not Flink's, or is too large.
        Unreadable,
    }
}

label! {
    /// What a poll of a cluster came to.
    "outcome" PollOutcome {
        /// Some job changed.
        Changed,
        /// Everything is as before.
        Unchanged,
        /// No usable answer.
        Failed,
    }
}

label! {
    /// What the submission of a job came to.
    "outcome" SubmissionOutcome {
        /// Flink took it.
        Accepted,
        /// Flink has this very job already: an earlier request was carried out.
        AlreadyThere,
        /// Flink refused it.
        Rejected,
        /// It provably never reached Flink.
        NotSent,
        /// It was sent, and no answer came; the job list tells.
        Unknown,
    }
}

label! {
    /// Why a savepoint is taken while its job runs on.
    "origin" Origin {
        /// Somebody created the resource.
        User,
        /// The job's `savepointPolicy`.
        Schedule,
    }
}

impl Origin {
    /// None for what is not taken while the job runs on.
    #[must_use]
    pub fn of(origin: SavepointOrigin) -> Option<Self> {
        match origin {
            SavepointOrigin::User => Some(Self::User),
            SavepointOrigin::Schedule => Some(Self::Schedule),
            SavepointOrigin::Upgrade
            | SavepointOrigin::Suspend
            | SavepointOrigin::Deletion
            | SavepointOrigin::Import => None,
        }
    }
}

label! {
    /// What an attempt to take a savepoint came to.
    "outcome" SavepointOutcome {
        /// It is there.
        Completed,
        /// It failed, or nobody knows what became of it.
        Failed,
    }
}

label! {
    /// What fetching an artifact came to.
    "outcome" ArtifactOutcome {
        /// Downloaded and verified.
        Fetched,
        /// Not downloaded again: the source says that it is unchanged.
        Unchanged,
        /// The source, the address or the content is not allowed, or there is none.
        Refused,
        /// The source failed or was too slow; tried again later.
        Failed,
    }
}

label! {
    /// An Event's type.
    "type" EventType {
        /// Something happened as it should.
        Normal,
        /// Something needs attention.
        Warning,
    }
}

label! {
    /// What became of an Event.
    "outcome" EventOutcome {
        /// A new Event was written.
        Posted,
        /// A repetition was counted in an Event that exists.
        Counted,
        /// It was dropped because too many waited, or one object had too many.
        Dropped,
        /// The API server did not take it.
        Failed,
    }
}

label! {
    /// What became of the delivery of a notification.
    "outcome" NotificationOutcome {
        /// The receiver has it.
        Delivered,
        /// The same event was sent to the same place before.
        Repeated,
        /// It was dropped because too many waited, or one resource had too many.
        Dropped,
        /// The receiver does not want it, or its address is not allowed.
        Refused,
        /// The receiver could not be reached, or failed, as often as it was tried.
        Failed,
    }
}
