//! Every effect of a Savepoint on Flink. Each runs as a task of its own, whose outcome goes back into the queue: no
//! reconcile waits.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Preconditions},
    runtime::reflector::ObjectRef,
};
use tracing::{debug, info};

use super::observe::Inputs;
use crate::{
    api::{FlinkSessionJob, Reason, Savepoint},
    controller::{
        act::{NoReply, effect_of, not_after, refusal, savepoint_request, too_late},
        context::{API_DEADLINE, Context, Shared},
    },
    flink::{DisposalStatus, FailureKind, TriggerId, TriggerReply},
    job::{Refusal, SUBMIT_WITHIN},
    kubernetes::{ApiError, within},
    registry::{Cluster, SessionKey},
    savepoint::{DisposalOutcome, DisposalRequest, TriggerOutcome, TriggerRequest},
};

/// How often what became of a disposal is asked for.
const ASK: Duration = Duration::from_secs(1);

/// A cluster that does not say what became of a disposal is asked for so long.
const SILENT: Duration = Duration::from_secs(60);

/// A disposal that takes longer is asked for anew: Flink then says what is left to do.
const LONGEST_DISPOSAL: Duration = Duration::from_secs(600);

/// Asks for a savepoint.
pub(super) fn trigger(ctx: &Shared, savepoint: &Arc<Savepoint>, inputs: &Inputs, request: TriggerRequest) {
    let Some(cluster) = inputs.followed.clone() else { return };
    let owner = inputs.owner;
    let id = request.intent.trigger_id;
    let first = ctx.savepoint_memories.with(owner, |memory| {
        memory.running = true;
        memory.requests += 1;
        memory.polled = None;
        memory.unsent.take() == Some(id)
    });
    let not_after = not_after(request.intent.not_after);
    let (ctx, object) = (Arc::clone(ctx), ObjectRef::from_obj(savepoint.as_ref()));
    let job = savepoint.spec.job().map(ToOwned::to_owned);
    let task = ctx.metrics.task();
    tokio::spawn(async move {
        let outcome = match may_be_taken(&ctx, &object, job.as_deref(), &request).await {
            Ok(()) => {
                let _turn = cluster.turn().await;
                send(&ctx, &cluster, &request, not_after).await
            }
            Err(refusal) => TriggerOutcome::NotSent(refusal),
        };
        match outcome {
            TriggerOutcome::NotSent(_) | TriggerOutcome::Refused(_) => ctx.taking.ended(request.intent.job_id, id),
            TriggerOutcome::Accepted | TriggerOutcome::OtherTrigger | TriggerOutcome::Unknown(_) => {
                ctx.taking.note(request.intent.job_id, id);
            }
        }
        let word = match &outcome {
            TriggerOutcome::Accepted => "accepted",
            TriggerOutcome::OtherTrigger => "accepted under another id",
            TriggerOutcome::NotSent(_) => "not sent",
            TriggerOutcome::Refused(_) => "refused",
            TriggerOutcome::Unknown(_) => "not known",
        };
        let (job_id, directory) = (request.intent.job_id, &request.intent.directory);
        info!(resource = %object, %job_id, trigger_id = %id, directory, answer = word, "asked for a savepoint");
        ctx.savepoint_memories.with(owner, |memory| {
            memory.running = false;
            // Only while nothing of this attempt has ever left this process.
            if first && matches!(outcome, TriggerOutcome::NotSent(_)) {
                memory.unsent = Some(id);
            }
            memory.sent = Some((id, Timestamp::now(), outcome));
        });
        drop(task);
        let _ = ctx.wake.savepoints.send(object);
    });
}

/// Whether nobody has decided to end the job: Flink would complete the savepoint, and let a stop wait until it times out.
/// Asked after the intent was written, and noted for stops that are decided on from now on.
async fn may_be_taken(
    ctx: &Context,
    savepoint: &ObjectRef<Savepoint>,
    job: Option<&str>,
    request: &TriggerRequest,
) -> Result<(), Refusal> {
    ctx.taking.note(request.intent.job_id, request.intent.trigger_id);
    let namespace = savepoint.namespace.as_deref().unwrap_or_default();
    let jobs: Api<FlinkSessionJob> = Api::namespaced(ctx.client.clone(), namespace);
    let found = within(
        API_DEADLINE,
        "get FlinkSessionJob",
        jobs.get_opt(job.unwrap_or_default()),
    );
    let found = found
        .await
        .map_err(|error| Refusal::new(Reason::WaitingForCluster, error.to_string()))?;
    let ending = found.is_some_and(|job| job.status.is_some_and(|status| status.is_ending()));
    if ending {
        let message = "the job is being stopped or cancelled; the savepoint is taken when it runs again";
        return Err(Refusal::new(Reason::Restarting, message));
    }
    Ok(())
}

async fn send(ctx: &Context, cluster: &Cluster, request: &TriggerRequest, not_after: Instant) -> TriggerOutcome {
    if let Some(refusal) = too_late(ctx, not_after) {
        return TriggerOutcome::NotSent(refusal);
    }
    let intent = &request.intent;
    let body = savepoint_request(intent.trigger_id, &intent.directory, intent.format);
    match cluster.client().trigger_savepoint(intent.job_id, &body).await {
        Ok(TriggerReply::Accepted) => TriggerOutcome::Accepted,
        Ok(TriggerReply::OtherTrigger(_)) => TriggerOutcome::OtherTrigger,
        Err(error) => match effect_of(&error) {
            NoReply::NotSent => TriggerOutcome::NotSent(refusal(&error)),
            NoReply::Refused => TriggerOutcome::Refused(error.message().to_owned()),
            NoReply::Unknown => TriggerOutcome::Unknown(refusal(&error)),
        },
    }
}

/// Has the files deleted, and sees that to its end.
pub(super) fn dispose(ctx: &Shared, savepoint: &Arc<Savepoint>, inputs: &Inputs, request: DisposalRequest) {
    let owner = inputs.owner;
    let key = SessionKey::new(&inputs.namespace, &request.session);
    let cluster = ctx.registry.cluster(&key);
    ctx.savepoint_memories.with(owner, |memory| memory.running = true);
    let not_after = Instant::now() + SUBMIT_WITHIN;
    let (ctx, object) = (Arc::clone(ctx), ObjectRef::from_obj(savepoint.as_ref()));
    let task = ctx.metrics.task();
    tokio::spawn(async move {
        let outcome = match cluster {
            Some(cluster) => disposed(&ctx, &cluster, &request.path, not_after).await,
            None => DisposalOutcome::NoAnswer(Refusal::new(
                Reason::ClusterNotFound,
                "the cluster is not known any more",
            )),
        };
        info!(resource = %object, path = request.path, session = request.session, ?outcome, "disposed of a savepoint");
        ctx.savepoint_memories.with(owner, |memory| {
            memory.running = false;
            memory.disposed = Some((request.asked, Timestamp::now(), outcome));
        });
        drop(task);
        let _ = ctx.wake.savepoints.send(object);
    });
}

async fn disposed(ctx: &Context, cluster: &Cluster, path: &str, not_after: Instant) -> DisposalOutcome {
    let asked = {
        let _turn = cluster.turn().await;
        if let Some(refusal) = too_late(ctx, not_after) {
            return DisposalOutcome::NoAnswer(refusal);
        }
        cluster.client().dispose_savepoint(path).await
    };
    match asked {
        Ok(id) => until_disposed(cluster, id).await,
        Err(error) => DisposalOutcome::NoAnswer(refusal(&error)),
    }
}

async fn until_disposed(cluster: &Cluster, id: TriggerId) -> DisposalOutcome {
    let begun = Instant::now();
    let mut heard = begun;
    loop {
        let asked = {
            let _turn = cluster.turn().await;
            cluster.client().disposal_status(id).await
        };
        match asked {
            Ok(DisposalStatus::InProgress) => heard = Instant::now(),
            Ok(DisposalStatus::Completed) => return DisposalOutcome::Done,
            Ok(DisposalStatus::Failed(failure)) => {
                return match failure.kind {
                    FailureKind::NothingThere => DisposalOutcome::NothingThere,
                    FailureKind::NoMetadata => DisposalOutcome::NoMetadata,
                    FailureKind::JobNotRunning
                    | FailureKind::TasksNotRunning
                    | FailureKind::StoppingFailed { .. }
                    | FailureKind::Other => DisposalOutcome::Failed(failure),
                };
            }
            Ok(DisposalStatus::Unknown) => {
                let message = "the JobManager was restarted, or has forgotten about the disposal";
                return DisposalOutcome::NoAnswer(Refusal::new(Reason::ClusterUnreachable, message));
            }
            Err(error) if heard.elapsed() >= SILENT => return DisposalOutcome::NoAnswer(refusal(&error)),
            Err(error) => debug!(%error, "what became of a disposal could not be asked"),
        }
        if begun.elapsed() >= LONGEST_DISPOSAL {
            let message = "Flink has not deleted the files within 600s";
            return DisposalOutcome::NoAnswer(Refusal::new(Reason::ClusterUnreachable, message));
        }
        tokio::time::sleep(ASK).await;
    }
}

/// Deletes the resource: this version of it, or nothing.
pub(super) async fn delete(api: &Api<Savepoint>, savepoint: &Savepoint) -> Result<(), ApiError> {
    let parameters = DeleteParams {
        preconditions: Some(Preconditions {
            uid: savepoint.metadata.uid.clone(),
            resource_version: savepoint.metadata.resource_version.clone(),
        }),
        ..DeleteParams::default()
    };
    let name = savepoint.name_any();
    match within(API_DEADLINE, "delete Savepoint", api.delete(&name, &parameters)).await {
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) => Err(error),
        Ok(_) => {
            info!(
                namespace = savepoint.namespace(),
                name, "deleted a Savepoint that retention let go"
            );
            Ok(())
        }
    }
}
