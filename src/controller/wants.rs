//! What a decision asks for before it can go on. Each wish is idempotent, and fulfilled off the reconcile path.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, ResourceExt};
use tracing::warn;

use super::{
    context::{API_DEADLINE, Shared},
    job::reference,
    observe::Inputs,
    program, state, stored,
};
use crate::{
    api::{FlinkSession, FlinkSessionJob, Reason},
    flink::{FlinkError, JobFailure, JobId},
    job::{Input, Permit, Plan, Refusal, after},
    kubernetes::within,
    registry::Cluster,
};

/// From what a job fails with to its end, while its other tasks are cancelled; longer when they hang.
const CANCELLATION: Duration = Duration::from_secs(2);

/// Sees to what the plan wants. True when something of it is there already, so that it is worth deciding again at once.
pub(super) fn fulfil(ctx: &Shared, job: &Arc<FlinkSessionJob>, inputs: &Inputs, plan: &Plan) -> bool {
    let wants = plan.wants;
    let owner = inputs.owner;
    let mut there = false;
    if let Some(cluster) = &inputs.followed {
        if wants.confirm {
            let version = job.resource_version().unwrap_or_default();
            let asked = ctx.memories.with(owner, |memory| {
                let known = memory.confirm.as_ref().is_some_and(|(asked, _)| *asked == version);
                if !known {
                    memory.confirm = Some((version, Instant::now()));
                }
                !known
            });
            if asked {
                cluster.confirm(owner);
            }
        }
        if wants.attention {
            cluster.attend(owner);
        }
        if wants.slots {
            cluster.want_slots(owner);
        }
        if wants.failure_cause {
            failure_cause(ctx, job, inputs);
        }
        if wants.state {
            state::read(ctx, job, inputs);
        }
        if wants.stop {
            state::ask_about_stop(ctx, job, inputs);
        }
        if wants.jar
            && let Some(need) = &inputs.jar_need
        {
            ctx.jars.want(ctx, need, cluster, reference(job));
        }
    }
    if wants.stored {
        stored::look(ctx, job, owner);
    }
    if wants.program {
        program::want(ctx, job, inputs.session.as_ref(), owner);
    }
    if wants.permit
        && let Some(cluster) = &inputs.followed
        && ctx.permits.state(owner) != Permit::Granted
    {
        there |= ctx.permits.ask(&cluster.connection().url, owner, &reference(job));
    }
    if wants.namespace && !inputs.namespace_terminating {
        look_at_namespace(ctx, job, inputs);
    }
    if wants.session_proof {
        prove_session_absent(ctx, job, inputs);
    }
    there
}

/// Asks Flink once why the job failed.
fn failure_cause(ctx: &Shared, job: &Arc<FlinkSessionJob>, inputs: &Inputs) {
    let Some(cluster) = inputs.followed.clone() else { return };
    let Some(job_id) = job.status.as_ref().and_then(|status| status.job_id) else {
        return;
    };
    let owner = inputs.owner;
    let first = ctx.memories.with(owner, |memory| {
        let first = memory.failure_cause.as_ref().is_none_or(|(id, _)| *id != job_id);
        if first {
            memory.failure_cause = Some((job_id, Input::Pending));
        }
        first
    });
    if !first {
        return;
    }
    let (ctx, object) = (Arc::clone(ctx), reference(job));
    tokio::spawn(async move {
        let cause = match last_failure(&cluster, job_id).await {
            Ok(failure) => failure.and_then(|failure| failure.root_cause().map(ToString::to_string)),
            Err(error) => {
                warn!(%job_id, %error, "why the job failed could not be read");
                None
            }
        };
        let cause = match cause {
            Some(cause) => Input::Ready(ctx.memories.with(owner, |memory| memory.redact(&cause))),
            None => Input::Refused(Refusal::new(Reason::JobFailed, "Flink gives no cause")),
        };
        ctx.memories
            .with(owner, |memory| memory.failure_cause = Some((job_id, cause)));
        let _ = ctx.wake.jobs.send(object);
    });
}

/// What the job ended with. Flink answers from a copy of the job that may have been made before its end, for as long as
/// `web.refresh-interval` says (`ExecutionGraphCache`); then it is asked once more.
async fn last_failure(cluster: &Cluster, job_id: JobId) -> Result<Option<JobFailure>, FlinkError> {
    let state = cluster.state();
    let ended = state.snapshot.job(job_id).and_then(|job| job.end_time);
    let is_last = |failure: &JobFailure| match (failure.time, ended) {
        (Some(time), Some(ended)) => after(time, CANCELLATION) >= ended,
        (None, _) | (_, None) => true,
    };
    let newest = cluster.client().job_exceptions(job_id, 1).await?.into_iter().next();
    if newest.as_ref().is_some_and(is_last) {
        return Ok(newest);
    }
    tokio::time::sleep(state.facts.savepoints.statistics_age + state::MARGIN).await;
    let again = cluster.client().job_exceptions(job_id, 1).await?.into_iter().next();
    Ok(again.or(newest))
}

/// A quorum read of a session that the cache does not have, and of the namespace's own state.
fn prove_session_absent(ctx: &Shared, job: &Arc<FlinkSessionJob>, inputs: &Inputs) {
    let (ctx, object, key, owner) = (Arc::clone(ctx), reference(job), inputs.key.clone(), inputs.owner);
    let asked = Instant::now();
    tokio::spawn(async move {
        let sessions: Api<FlinkSession> = Api::namespaced(ctx.client.clone(), &key.namespace);
        match within(API_DEADLINE, "get FlinkSession", sessions.get_opt(&key.name)).await {
            Ok(None) => ctx.memories.with(owner, |memory| memory.session_absent = Some(asked)),
            Ok(Some(_)) => return,
            Err(error) => {
                warn!(%error, "could not prove that the session is gone");
                tokio::time::sleep(std::time::Duration::from_secs(2)).await;
            }
        }
        let _ = ctx.wake.jobs.send(object);
    });
}

/// Finds out whether the namespace is being deleted.
fn look_at_namespace(ctx: &Shared, job: &Arc<FlinkSessionJob>, inputs: &Inputs) {
    let (ctx, object, owner) = (Arc::clone(ctx), reference(job), inputs.owner);
    let namespace = inputs.key.namespace.to_string();
    tokio::spawn(async move {
        if is_terminating(&ctx, &namespace).await {
            ctx.memories.with(owner, |memory| memory.namespace_terminating = true);
            let _ = ctx.wake.jobs.send(object);
        }
    });
}

/// Whether a namespace is being deleted. False when the operator may not read namespaces.
pub(super) async fn is_terminating(ctx: &Shared, namespace: &str) -> bool {
    let namespaces: Api<Namespace> = Api::all(ctx.client.clone());
    let read = within(API_DEADLINE, "get Namespace", namespaces.get_opt(namespace)).await;
    read.is_ok_and(|found| found.is_some_and(|found| found.metadata.deletion_timestamp.is_some()))
}
