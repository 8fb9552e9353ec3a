//! What users do with one job, and the writes that the operator answers with.

use std::fmt;

use devcluster::proxy::{Moment, Rule, Write};
use kube::ResourceExt;

use super::{
    Failure,
    world::{JOB, World},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    Create,
    Upgrade,
    Delete,
}

impl Flow {
    pub(super) const ALL: [Self; 3] = [Self::Create, Self::Upgrade, Self::Delete];

    /// What the user does. Tells the UID of a job that is new.
    pub(super) async fn begin(self, world: &World) -> Option<String> {
        match self {
            Self::Create => return world.create(JOB).await.uid(),
            Self::Upgrade => world.edit(JOB).await,
            Self::Delete => world.delete(JOB).await,
        }
        None
    }

    /// Waits until the status says that it is done.
    pub(super) async fn ends(self, world: &World) -> Result<(), Failure> {
        match self {
            Self::Create | Self::Upgrade => world.until_running(JOB).await.map(drop),
            Self::Delete => world.until_gone(JOB).await,
        }
    }

    /// Brings a new world to where the flow begins, and tells the job's UID when it is there.
    pub(super) async fn prepare(self, world: &World) -> Result<Option<String>, Failure> {
        world.until_session_ready().await?;
        if self == Self::Create {
            return Ok(None);
        }
        let uid = world.create(JOB).await.uid();
        world.until_running(JOB).await?;
        // What the operator writes last is not the next flow's.
        world.polls(4).await?;
        Ok(uid)
    }

    /// What must hold in the end.
    pub(super) async fn check(self, world: &World, uid: &str) -> Result<(), Failure> {
        match self {
            Self::Create => world.runs_once(JOB, 1).await,
            Self::Upgrade => world.runs_once(JOB, 2).await,
            Self::Delete => world.nothing_runs(uid),
        }
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Create => "create",
            Self::Upgrade => "upgrade",
            Self::Delete => "delete",
        })
    }
}

/// A kind of write that the protocol rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    PutStatus,
    PatchFinalizer,
    Upload,
    Run,
    Cancel,
}

impl Kind {
    pub(super) const ALL: [Self; 5] = [
        Self::PutStatus,
        Self::PatchFinalizer,
        Self::Upload,
        Self::Run,
        Self::Cancel,
    ];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::PutStatus => "put-status",
            Self::PatchFinalizer => "patch-finalizer",
            Self::Upload => "upload",
            Self::Run => "run",
            Self::Cancel => "cancel",
        }
    }

    const fn pattern(self) -> (&'static str, &'static str) {
        match self {
            Self::PutStatus => (
                "PUT",
                "/apis/flinkjobs.dev/v1alpha1/namespaces/*/flinksessionjobs/*/status",
            ),
            Self::PatchFinalizer => ("PATCH", "/apis/flinkjobs.dev/v1alpha1/namespaces/*/flinksessionjobs/*"),
            Self::Upload => ("POST", "/jars/upload"),
            Self::Run => ("POST", "/jars/*/run"),
            Self::Cancel => ("PATCH", "/jobs/*"),
        }
    }

    /// Whether it goes to Flink, and not to the API server.
    pub(super) const fn is_flinks(self) -> bool {
        matches!(self, Self::Upload | Self::Run | Self::Cancel)
    }

    pub(super) fn rule(self, nth: u64, moment: Moment) -> Rule {
        let (method, path) = self.pattern();
        Rule::on(method, path, moment).nth(nth)
    }

    pub(super) fn is(self, write: &Write) -> bool {
        self.rule(1, Moment::BeforeForward).matches(&write.method, &write.path)
    }
}
