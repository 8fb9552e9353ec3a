//! What users do with jobs and savepoints.

mod expected;
mod kind;

use std::fmt;

use flink_job_operator::api::{
    FlinkSessionJob, Phase, Reason, Savepoint,
    condition::{self, ConditionType},
};
use kube::ResourceExt;
use serde_json::{Value, json};

use super::{
    Failure,
    cluster::Cluster,
    world::{JOB, World, eventually},
};

pub(super) use kind::Kind;

/// A Savepoint that is taken, one that is taken after it, and one that names the first.
const ONE: &str = "one";
const TWO: &str = "two";
const IMPORT: &str = "import";
/// A job that is started from an import.
const NEXT: &str = "next";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    Create,
    /// An edit, with `upgradeMode: Stateless`.
    Upgrade,
    UpgradeSavepoint,
    UpgradeLastState,
    /// With a savepoint.
    Suspend,
    /// Of a job that was suspended with a savepoint.
    Resume,
    /// A savepoint of a job that goes on.
    Savepoint,
    /// A savepoint that is there is registered, and another job starts from it.
    Import,
    /// Two Savepoints that dispose of their files are deleted; one of them is needed.
    Dispose,
    Delete,
    /// The deletion of a job that leaves a savepoint behind.
    DeleteSavepoint,
}

impl Flow {
    pub(super) const ALL: [Self; 11] = [
        Self::Create,
        Self::Upgrade,
        Self::UpgradeSavepoint,
        Self::UpgradeLastState,
        Self::Suspend,
        Self::Resume,
        Self::Savepoint,
        Self::Import,
        Self::Dispose,
        Self::Delete,
        Self::DeleteSavepoint,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Upgrade => "upgrade-stateless",
            Self::UpgradeSavepoint => "upgrade-savepoint",
            Self::UpgradeLastState => "upgrade-last-state",
            Self::Suspend => "suspend",
            Self::Resume => "resume",
            Self::Savepoint => "savepoint",
            Self::Import => "import",
            Self::Dispose => "dispose",
            Self::Delete => "delete",
            Self::DeleteSavepoint => "delete-savepoint",
        }
    }

    /// The spec of this flow's jobs: they count, and keep their state in checkpoints and savepoints.
    pub(super) async fn spec<C: Cluster>(self, world: &World<C>) -> Value {
        let (savepoints, checkpoints) = world.cluster.directories();
        let mut program = world.program().await;
        // Without checkpoints of its own, a job needs its newest savepoint.
        if self != Self::Dispose
            && let Some(args) = program["args"].as_array_mut()
        {
            args.extend([json!("--checkpoint-ms"), json!("200")]);
        }
        let mode = match self {
            Self::UpgradeSavepoint | Self::Suspend | Self::Resume | Self::DeleteSavepoint => "Savepoint",
            Self::UpgradeLastState => "LastState",
            Self::Create | Self::Upgrade | Self::Savepoint | Self::Import | Self::Dispose | Self::Delete => "Stateless",
        };
        let deletion = if self == Self::DeleteSavepoint {
            "Savepoint"
        } else {
            "Cancel"
        };
        json!({
            "job": program,
            "upgradeMode": mode,
            "savepointPolicy": { "directory": savepoints },
            "deletionPolicy": { "type": deletion },
            // Free slots are asked for when they were not for a while: that may take a write more.
            "slotCheck": "Off",
            "flinkConfiguration": {
                "execution.checkpointing.dir": checkpoints,
                "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
            },
        })
    }

    /// What the user does. Tells the UID of a job that is new.
    pub(super) async fn begin<C: Cluster>(self, world: &World<C>) -> Option<String> {
        match self {
            Self::Create => return world.create(JOB).await.uid(),
            Self::Upgrade | Self::UpgradeSavepoint | Self::UpgradeLastState => world.edit(JOB).await,
            Self::Suspend => world.patch(JOB, json!({ "spec": { "state": "Suspended" } })).await,
            Self::Resume => world.patch(JOB, json!({ "spec": { "state": "Running" } })).await,
            Self::Savepoint => world.savepoint(ONE, of_job(&json!({}))).await,
            Self::Import => {
                let path = world.path_of(ONE);
                let existing = json!({ "existing": { "path": path } });
                world.savepoint(IMPORT, existing).await;
                let from = json!({ "from": "Named", "savepointRef": { "name": IMPORT } });
                let mut spec = world.more.clone();
                spec["restore"] = from;
                world.create_with(NEXT, spec).await;
            }
            Self::Dispose => {
                world.delete_savepoint(ONE).await;
                world.delete_savepoint(TWO).await;
            }
            Self::Delete | Self::DeleteSavepoint => world.delete(JOB).await,
        }
        None
    }

    /// Waits until the resources say that it is done.
    pub(super) async fn ends<C: Cluster>(self, world: &World<C>) -> Result<(), Failure> {
        match self {
            Self::Create | Self::Upgrade | Self::UpgradeSavepoint | Self::UpgradeLastState | Self::Resume => {
                world.until_running(JOB).await.map(drop)
            }
            Self::Suspend => world.until(JOB, "Suspended", is_suspended).await.map(drop),
            Self::Savepoint => world.until_complete(ONE).await.map(drop),
            Self::Import => {
                world.until_complete(IMPORT).await?;
                world.until_running(NEXT).await.map(drop)
            }
            Self::Dispose => {
                world.until_no_savepoint(ONE).await?;
                world.until_savepoint(TWO, "kept", is_blocked).await.map(drop)
            }
            Self::Delete | Self::DeleteSavepoint => world.until_gone(JOB).await,
        }
    }

    /// Brings a new world to where the flow begins, and tells the job's UID when it is there.
    pub(super) async fn prepare<C: Cluster>(self, world: &World<C>) -> Result<Option<String>, Failure> {
        world.until_session_ready().await?;
        if self == Self::Create {
            return Ok(None);
        }
        let uid = world.create(JOB).await.uid();
        world.until_running(JOB).await?;
        if world.more["savepointPolicy"].is_object() {
            world.until_it_has_state(self != Self::Dispose).await?;
        }
        match self {
            Self::Resume => {
                Self::Suspend.begin(world).await;
                Self::Suspend.ends(world).await?;
            }
            Self::Import => {
                world.savepoint(ONE, of_job(&json!({}))).await;
                world.until_complete(ONE).await?;
            }
            Self::Dispose => {
                for name in [ONE, TWO] {
                    world
                        .savepoint(name, of_job(&json!({ "deletionPolicy": "Dispose" })))
                        .await;
                    world.until_complete(name).await?;
                }
                world
                    .until_savepoint(ONE, "needed by nobody", |one| uses(one) == Some(0))
                    .await?;
                world.until_savepoint(TWO, "needed", |two| uses(two) == Some(1)).await?;
            }
            Self::Create
            | Self::Upgrade
            | Self::UpgradeSavepoint
            | Self::UpgradeLastState
            | Self::Suspend
            | Self::Savepoint
            | Self::Delete
            | Self::DeleteSavepoint => {}
        }
        // Their names are known from now on.
        world.savepoints().await?;
        Ok(uid)
    }
}

impl<C: Cluster> World<C> {
    /// Waits until the job counts, and until all that the operator writes of its checkpoints is written.
    async fn until_it_has_state(&self, in_checkpoints: bool) -> Result<(), Failure> {
        eventually("the job counts", async || {
            for ran in self.ran()? {
                self.cluster.counts_on(&ran)?;
                if in_checkpoints && self.cluster.newest_checkpoint(&ran.id).is_none() {
                    return Err("it has no checkpoint".to_owned());
                }
            }
            Ok(())
        })
        .await?;
        let read = |job: Option<&FlinkSessionJob>| {
            let state = job.and_then(|job| job.status.as_ref()?.state.as_ref());
            !in_checkpoints || state.is_some_and(|state| state.checkpointing.is_some())
        };
        self.until(JOB, "known by its checkpoints", read).await.map(drop)
    }

    /// The path of a Savepoint that was seen.
    fn path_of(&self, name: &str) -> String {
        let known = self.names.lock();
        let mut paths = known.iter().filter(|(_, names)| names.contains(name));
        paths.next().map(|(path, _)| path.clone()).unwrap_or_default()
    }
}

fn of_job(more: &Value) -> Value {
    let mut spec = json!({ "jobRef": { "name": JOB } });
    if let (Some(spec), Value::Object(more)) = (spec.as_object_mut(), more.clone()) {
        spec.extend(more);
    }
    spec
}

fn is_suspended(job: Option<&FlinkSessionJob>) -> bool {
    let Some(job) = job else { return false };
    job.status.as_ref().is_some_and(|status| {
        status.phase == Some(Phase::Suspended) && Some(status.observed_generation) == job.metadata.generation
    })
}

fn is_blocked(savepoint: Option<&Savepoint>) -> bool {
    let status = savepoint.and_then(|savepoint| savepoint.status.as_ref());
    let ready = status.and_then(|status| condition::find(&status.conditions, ConditionType::Ready));
    ready.is_some_and(|ready| ready.reason == Reason::DeletionBlocked.as_str())
}

/// How many jobs a Savepoint with a finalizer is needed by.
fn uses(savepoint: Option<&Savepoint>) -> Option<usize> {
    let savepoint = savepoint.filter(|savepoint| !savepoint.finalizers().is_empty())?;
    Some(savepoint.status.as_ref()?.used_by.len())
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
