//! The writes that the protocol rests on. Events and Leases are beside it, as is the status of a session, which says how the
//! cluster is: what it may say of jobs that were released comes with no flow here.

use devcluster::proxy::{Moment, Rule, Write};

/// A kind of write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::crash) enum Kind {
    PutStatus,
    PatchFinalizer,
    CreateSavepoint,
    PutSavepointStatus,
    PatchSavepoint,
    Upload,
    Run,
    Cancel,
    Stop,
    Trigger,
    Disposal,
}

impl Kind {
    pub(in crate::crash) const ALL: [Self; 11] = [
        Self::PutStatus,
        Self::PatchFinalizer,
        Self::CreateSavepoint,
        Self::PutSavepointStatus,
        Self::PatchSavepoint,
        Self::Upload,
        Self::Run,
        Self::Cancel,
        Self::Stop,
        Self::Trigger,
        Self::Disposal,
    ];

    pub(in crate::crash) const fn as_str(self) -> &'static str {
        match self {
            Self::PutStatus => "put-status",
            Self::PatchFinalizer => "patch-finalizer",
            Self::CreateSavepoint => "create-savepoint",
            Self::PutSavepointStatus => "put-savepoint-status",
            Self::PatchSavepoint => "patch-savepoint",
            Self::Upload => "upload",
            Self::Run => "run",
            Self::Cancel => "cancel",
            Self::Stop => "stop",
            Self::Trigger => "savepoint-trigger",
            Self::Disposal => "savepoint-disposal",
        }
    }

    const fn pattern(self) -> (&'static str, &'static str) {
        match self {
            Self::PutStatus => (
                "PUT",
                "/apis/flinkjobs.dev/v1alpha1/namespaces/*/flinksessionjobs/*/status",
            ),
            Self::PatchFinalizer => ("PATCH", "/apis/flinkjobs.dev/v1alpha1/namespaces/*/flinksessionjobs/*"),
            Self::CreateSavepoint => ("POST", "/apis/flinkjobs.dev/v1alpha1/namespaces/*/savepoints"),
            Self::PutSavepointStatus => ("PUT", "/apis/flinkjobs.dev/v1alpha1/namespaces/*/savepoints/*/status"),
            Self::PatchSavepoint => ("PATCH", "/apis/flinkjobs.dev/v1alpha1/namespaces/*/savepoints/*"),
            Self::Upload => ("POST", "/jars/upload"),
            Self::Run => ("POST", "/jars/*/run"),
            Self::Cancel => ("PATCH", "/jobs/*"),
            Self::Stop => ("POST", "/jobs/*/stop"),
            Self::Trigger => ("POST", "/jobs/*/savepoints"),
            Self::Disposal => ("POST", "/savepoint-disposal"),
        }
    }

    /// Whether it goes to Flink, and not to the API server.
    pub(in crate::crash) const fn is_flinks(self) -> bool {
        match self {
            Self::Upload | Self::Run | Self::Cancel | Self::Stop | Self::Trigger | Self::Disposal => true,
            Self::PutStatus
            | Self::PatchFinalizer
            | Self::CreateSavepoint
            | Self::PutSavepointStatus
            | Self::PatchSavepoint => false,
        }
    }

    /// Whether it tells how things are, so that one may do for two.
    pub(in crate::crash) const fn is_status(self) -> bool {
        matches!(self, Self::PutStatus | Self::PutSavepointStatus)
    }

    /// Whether state can be doubled or lost by it alone.
    pub(in crate::crash) const fn is_grave(self) -> bool {
        matches!(
            self,
            Self::Run | Self::Stop | Self::Trigger | Self::Disposal | Self::CreateSavepoint
        )
    }

    pub(in crate::crash) fn rule(self, nth: u64, moment: Moment) -> Rule {
        let (method, path) = self.pattern();
        Rule::on(method, path, moment).nth(nth)
    }

    pub(in crate::crash) fn is(self, write: &Write) -> bool {
        self.rule(1, Moment::BeforeForward).matches(&write.method, &write.path)
    }
}
