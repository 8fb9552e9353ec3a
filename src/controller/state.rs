//! What Flink tells of a job's state: read off the reconcile path, when a decision asks for it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use kube::runtime::reflector::ObjectRef;
use tracing::{debug, warn};

use super::{act::refusal, context::Shared, job::reference, observe::Inputs};
use crate::{
    api::{
        FlinkSessionJob, JobStatus, Reason,
        state::{CheckpointRetention, MAX_PATH, RestorePoint, StateKind},
    },
    flink::{
        CheckpointConfig, Checkpoints, FailureKind, FlinkError, JobId, OperationFailure, SavepointState,
        SavepointStatus, UidHash,
    },
    job::{Input, Refusal, StateSeen, StopSeen},
    registry::Cluster,
};

/// After a failed read the decision is not woken before this time.
const PAUSE: Duration = Duration::from_secs(2);

/// Flink's caches may be this much older than their configuration says: clocks, and a request on its way.
pub(super) const MARGIN: Duration = Duration::from_millis(500);

/// What is remembered of the state of one job.
#[derive(Debug, Default)]
pub(super) struct StateMemory {
    /// How its checkpoints are configured: that does not change while it lives.
    config: Option<(JobId, CheckpointConfig)>,
    /// What was read last.
    seen: Option<(JobId, Input<Arc<StateSeen>>)>,
    /// A job list that was begun then showed the job's end.
    ended: Option<(JobId, Instant)>,
    /// A read is under way.
    reading: bool,
    /// A stop is being asked about.
    asking: bool,
}

impl StateMemory {
    /// What was read of that job last.
    pub(super) fn of(&self, job_id: Option<JobId>) -> Input<Arc<StateSeen>> {
        match &self.seen {
            Some((id, seen)) if Some(*id) == job_id => seen.clone(),
            Some(_) | None => Input::Pending,
        }
    }

    /// A job list that was begun at that time shows the job's end.
    pub(super) fn has_ended(&mut self, job_id: JobId, listed: Instant) {
        if self.ended.is_none_or(|(id, _)| id != job_id) {
            self.ended = Some((job_id, listed));
        }
    }
}

/// Reads the checkpoints of the job of the current attempt, unless that is under way.
pub(super) fn read(ctx: &Shared, job: &Arc<FlinkSessionJob>, inputs: &Inputs) {
    let Some(cluster) = inputs.followed.clone() else { return };
    let Some(status) = job.status.as_ref() else { return };
    let Some(job_id) = status.job_id else { return };
    let owner = inputs.owner;
    let (busy, config, ended) = ctx.memories.with(owner, |memory| {
        let state = &mut memory.state;
        let config = state
            .config
            .clone()
            .filter(|(id, _)| *id == job_id)
            .map(|(_, config)| config);
        let ended = state.ended.filter(|(id, _)| *id == job_id).map(|(_, at)| at);
        (std::mem::replace(&mut state.reading, true), config, ended)
    });
    if busy {
        return;
    }
    let wanted = Wanted {
        job_id,
        config,
        ended,
        whole: needs_all(status) || ended.is_some(),
    };
    let (ctx, object) = (Arc::clone(ctx), reference(job));
    tokio::spawn(async move {
        let result = wanted.read(&ctx, &cluster, owner).await;
        publish(&ctx, owner, &object, job_id, result).await;
    });
}

/// Whether more than the configuration is needed of a job that takes no checkpoints by itself.
fn needs_all(status: &JobStatus) -> bool {
    let restored = status.state.as_ref().is_some_and(|state| state.restored_from.is_some());
    restored || status.stop().is_some()
}

struct Wanted {
    job_id: JobId,
    config: Option<CheckpointConfig>,
    ended: Option<Instant>,
    whole: bool,
}

impl Wanted {
    async fn read(&self, ctx: &Shared, cluster: &Cluster, owner: UidHash) -> Result<StateSeen, FlinkError> {
        if let Some(ended) = self.ended {
            // Before that, Flink may answer from what it knew before the end.
            let settled = ended + cluster.state().facts.savepoints.statistics_age + MARGIN;
            tokio::time::sleep_until(settled.into()).await;
        }
        let _turn = cluster.turn().await;
        let config = match &self.config {
            Some(config) => Some(config.clone()),
            None => self.configuration(ctx, cluster, owner).await?,
        };
        let retention = retention(config.as_ref());
        let read = Timestamp::now();
        let whole = self.whole || retention != CheckpointRetention::NoCheckpoints;
        let checkpoints = match config {
            Some(_) if whole => cluster.client().checkpoints(self.job_id).await?,
            Some(_) | None => Checkpoints::default(),
        };
        Ok(StateSeen {
            job_id: self.job_id,
            retention,
            interval: config.and_then(|config| config.interval),
            checkpoint: checkpoint(self.job_id, &checkpoints),
            savepoints: savepoints(&checkpoints),
            restored: checkpoints.restored.and_then(|restored| restored.path),
            read,
            last: self.ended.is_some(),
        })
    }

    /// None for a job that cannot take checkpoints at all.
    async fn configuration(
        &self,
        ctx: &Shared,
        cluster: &Cluster,
        owner: UidHash,
    ) -> Result<Option<CheckpointConfig>, FlinkError> {
        match cluster.client().checkpoint_config(self.job_id).await {
            Ok(config) => {
                let known = Some((self.job_id, config.clone()));
                ctx.memories.with(owner, |memory| memory.state.config = known);
                Ok(Some(config))
            }
            // `CheckpointConfigHandler`: a batch job.
            Err(FlinkError::NotFound(failure)) if failure.message.contains("Checkpointing is not enabled") => Ok(None),
            Err(error) => Err(error),
        }
    }
}

const fn retention(config: Option<&CheckpointConfig>) -> CheckpointRetention {
    match config {
        Some(config) if config.interval.is_some() => {
            if config.retained_on_cancellation {
                CheckpointRetention::Retained
            } else if config.retained_on_failure {
                CheckpointRetention::RetainedOnFailure
            } else {
                CheckpointRetention::DeletedOnEnd
            }
        }
        Some(_) | None => CheckpointRetention::NoCheckpoints,
    }
}

fn fits(path: &str) -> bool {
    path.chars().count() <= MAX_PATH
}

fn checkpoint(job_id: JobId, checkpoints: &Checkpoints) -> Option<RestorePoint> {
    let completed = checkpoints
        .completed
        .as_ref()
        .filter(|completed| !completed.discarded)?;
    let path = completed.path.clone().filter(|path| fits(path))?;
    Some(RestorePoint {
        kind: StateKind::Checkpoint,
        path,
        job_id: Some(job_id),
        time: completed.time,
        savepoint_ref: None,
        gone: false,
    })
}

fn savepoints(checkpoints: &Checkpoints) -> Vec<String> {
    let complete = checkpoints
        .savepoints
        .iter()
        .filter(|savepoint| savepoint.state == SavepointState::Completed);
    complete.filter_map(|savepoint| savepoint.path.clone()).collect()
}

async fn publish(
    ctx: &Shared,
    owner: UidHash,
    object: &ObjectRef<FlinkSessionJob>,
    job_id: JobId,
    result: Result<StateSeen, FlinkError>,
) {
    let seen = match result {
        Ok(seen) => Input::Ready(Arc::new(seen)),
        Err(FlinkError::NotFound(_)) => Input::Refused(Refusal::new(
            Reason::StateUnknown,
            "the cluster does not know the job any more",
        )),
        Err(error) => {
            debug!(resource = %object, %job_id, %error, "the job's checkpoints could not be read");
            Input::Retrying(refusal(&error))
        }
    };
    let failed = matches!(seen, Input::Retrying(_));
    if failed {
        tokio::time::sleep(PAUSE).await;
    }
    ctx.memories.with(owner, |memory| {
        memory.state.reading = false;
        // What was read before is still true of a cluster that does not answer just now.
        let keep = failed && matches!(memory.state.of(Some(job_id)), Input::Ready(_));
        if !keep {
            memory.state.seen = Some((job_id, seen));
        }
    });
    let _ = ctx.wake.jobs.send(object.clone());
}

/// Asks what became of the stop that is under way.
pub(super) fn ask_about_stop(ctx: &Shared, job: &Arc<FlinkSessionJob>, inputs: &Inputs) {
    let Some(cluster) = inputs.followed.clone() else { return };
    let Some(stop) = job.status.as_ref().and_then(|status| status.stop()).cloned() else {
        return;
    };
    let owner = inputs.owner;
    let busy = ctx
        .memories
        .with(owner, |memory| std::mem::replace(&mut memory.state.asking, true));
    if busy {
        return;
    }
    let (ctx, object) = (Arc::clone(ctx), reference(job));
    tokio::spawn(async move {
        let result = {
            let _turn = cluster.turn().await;
            cluster.client().savepoint_status(stop.job_id, stop.trigger_id).await
        };
        let redact = |text: &str| ctx.memories.with(owner, |memory| memory.redact(text));
        let seen = match result {
            Ok(status) => stop_seen(status, redact),
            Err(error) => {
                warn!(resource = %object, job_id = %stop.job_id, %error, "what became of a stop could not be asked");
                StopSeen::NotAsked(refusal(&error))
            }
        };
        ctx.memories.with(owner, |memory| {
            memory.state.asking = false;
            memory.stop_seen = Some((stop.trigger_id, Timestamp::now(), seen));
        });
        let _ = ctx.wake.jobs.send(object);
    });
}

fn stop_seen(status: SavepointStatus, redact: impl Fn(&str) -> String) -> StopSeen {
    match status {
        SavepointStatus::InProgress => StopSeen::InProgress,
        SavepointStatus::Unknown => StopSeen::Unknown,
        SavepointStatus::Completed { location }
        | SavepointStatus::Failed(OperationFailure {
            kind: FailureKind::StoppingFailed { location },
            ..
        }) => StopSeen::Taken(location),
        SavepointStatus::Failed(OperationFailure {
            kind: FailureKind::TasksNotRunning,
            ..
        }) => StopSeen::TooEarly,
        SavepointStatus::Failed(failure) => {
            let cause = failure.root_cause().map(ToString::to_string);
            StopSeen::Failed(redact(&cause.unwrap_or_else(|| "Flink gives no cause".to_owned())))
        }
    }
}
