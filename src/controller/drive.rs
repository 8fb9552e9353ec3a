//! The driver: observe, decide, then persist or act, one thing a turn.
//!
//! A turn either writes a changed status, guarded by the resourceVersion that was decided on, or performs one effect. An
//! effect runs only on a resource that the API server returned in this very drive: the reply to our own write, or a quorum
//! read. So whatever is done rests on a record that is durable, and that nobody has changed since.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use kube::{
    Api, ResourceExt,
    runtime::{controller::Action, reflector::ObjectRef},
};
use tracing::{debug, error};

use super::{
    act,
    context::{API_DEADLINE, Context, Shared},
    observe::Inputs,
    record, wants,
};
use crate::{
    api::FlinkSessionJob,
    flink::UidHash,
    job::{Effect, Next, Plan, decide},
    kubernetes::{ApiError, within},
    metrics::{Kind, ReconcileOutcome},
};

/// A plan that has not settled after so many turns goes to the end of the queue.
const MAX_TURNS: usize = 12;

/// The watch brings our own write at once; without it, the cache is looked at again after this time.
const BEHIND: Duration = Duration::from_secs(1);

/// Without any change a resource is looked at again after this time, give or take a quarter.
const RESYNC: Duration = Duration::from_secs(600);

/// A reconcile that could not be completed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server failed.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The resource has no UID or no namespace, which the API server never sends.
    #[error("the resource has no UID or no namespace")]
    Nameless,
}

/// Reconciles one job resource.
pub async fn reconcile(job: Arc<FlinkSessionJob>, ctx: Shared) -> Result<Action, Error> {
    let measured = ctx.metrics.reconcile(Kind::FlinkSessionJob);
    let result = drive(job, &ctx).await;
    measured.finish(match &result {
        Ok(action) if *action == Action::await_change() => ReconcileOutcome::Settled,
        Ok(_) => ReconcileOutcome::Scheduled,
        Err(Error::Api(error)) if error.is_conflict() => ReconcileOutcome::Conflict,
        Err(_) => ReconcileOutcome::Error,
    });
    result
}

/// What to do after a failed reconcile.
#[allow(
    clippy::needless_pass_by_value,
    reason = "the signature that kube's Controller asks for"
)]
pub fn failed(job: Arc<FlinkSessionJob>, error: &Error, ctx: Shared) -> Action {
    let Error::Api(cause) = error else {
        return Action::await_change();
    };
    if cause.is_conflict() || cause.is_not_found() {
        return Action::requeue(Duration::from_millis(200));
    }
    ctx.metrics.reconcile_error(Kind::FlinkSessionJob, cause.reason());
    let owner = UidHash::of(job.metadata.uid.as_deref().unwrap_or_default());
    let pause = ctx.memories.failed(owner);
    error!(namespace = job.namespace(), name = job.name_any(), %error, ?pause, "reconcile failed, tried again");
    Action::requeue(pause)
}

async fn drive(job: Arc<FlinkSessionJob>, ctx: &Shared) -> Result<Action, Error> {
    let (Some(uid), Some(namespace)) = (job.uid(), job.namespace()) else {
        return Err(Error::Nameless);
    };
    let owner = UidHash::of(&uid);
    if ctx.memories.is_behind(owner, job.metadata.resource_version.as_deref()) {
        return Ok(Action::requeue(BEHIND));
    }
    let api: Api<FlinkSessionJob> = Api::namespaced(ctx.client.clone(), &namespace);
    let mut job = job;
    let mut fresh = false;
    for _ in 0..MAX_TURNS {
        if !ctx.leadership.is_leader() {
            return Ok(Action::requeue(Duration::from_secs(1)));
        }
        let inputs = Inputs::gather(ctx, &job, owner);
        let observed = inputs.observed(ctx, &job);
        let plan = decide(&observed);
        debug!(name = %observed.meta.name, rule = plan.rule, "decided");
        if job.status.as_ref() != Some(&plan.status) {
            if wants::fulfil(ctx, &job, &inputs, &plan) {
                // A permit that is there at once: one write instead of two.
                continue;
            }
            job = Arc::new(record::status(ctx, &api, &job, owner, &plan).await?);
            fresh = true;
            plan.notes.into_iter().for_each(|note| ctx.note(job.as_ref(), note));
            continue;
        }
        let Some(effect) = plan.effect.clone() else {
            plan.notes.iter().cloned().for_each(|note| ctx.note(job.as_ref(), note));
            if wants::fulfil(ctx, &job, &inputs, &plan) {
                // Something that was asked for is there already.
                continue;
            }
            return Ok(settle(ctx, &inputs, &plan));
        };
        if !fresh {
            match reread(&api, &job).await? {
                Some(read) => job = Arc::new(read),
                None => return Ok(Action::await_change()),
            }
            fresh = true;
            continue;
        }
        wants::fulfil(ctx, &job, &inputs, &plan);
        match effect {
            Effect::AddFinalizer => job = Arc::new(record::add_finalizer(ctx, &api, &job, owner).await?),
            Effect::RemoveFinalizer => {
                record::remove_finalizer(&api, &job).await?;
                plan.notes.into_iter().for_each(|note| ctx.note(job.as_ref(), note));
                ctx.permits.give_back(owner);
                return Ok(Action::await_change());
            }
            Effect::Submit(submission) => {
                act::submit(ctx, &job, &inputs, *submission);
                return Ok(Action::await_change());
            }
            Effect::Cancel(job_id) => {
                act::cancel(ctx, &job, &inputs, job_id);
                return Ok(Action::await_change());
            }
            Effect::Release(job_id) => {
                act::release(ctx, &job, &inputs, job_id);
                return Ok(Action::await_change());
            }
        }
    }
    // A plan that never settles is a bug of ours; the model test looks for it.
    error!(name = job.name_any(), namespace, "no decision after {MAX_TURNS} turns");
    ctx.metrics.reconcile_error(Kind::FlinkSessionJob, "Unsettled");
    Ok(Action::requeue(Duration::from_secs(5)))
}

/// A quorum read of the same resource; None when it is gone or another has its name.
async fn reread(api: &Api<FlinkSessionJob>, job: &FlinkSessionJob) -> Result<Option<FlinkSessionJob>, Error> {
    let read = within(API_DEADLINE, "get FlinkSessionJob", api.get_opt(&job.name_any())).await?;
    Ok(read.filter(|read| read.metadata.uid == job.metadata.uid))
}

/// Nothing to do now.
fn settle(ctx: &Context, inputs: &Inputs, plan: &Plan) -> Action {
    let (busy, unsent) = ctx.memories.with(inputs.owner, |memory| {
        memory.errors = 0;
        (memory.running, memory.unsent.is_some())
    });
    if !(plan.wants.permit || busy || unsent) {
        ctx.permits.give_back(inputs.owner);
    }
    match plan.next {
        Next::At(time) => {
            let pause = time.duration_since(Timestamp::now());
            Action::requeue(pause.try_into().unwrap_or(Duration::from_millis(50)))
        }
        Next::OnChange => {
            // Spread by the mark, so that a fleet that was created at once is not looked at at once.
            let [spread, ..] = inputs.owner.0;
            Action::requeue(RESYNC * 3 / 4 + RESYNC * u32::from(spread) / 512)
        }
    }
}

/// The reference of a job for the queue.
pub(super) fn reference(job: &FlinkSessionJob) -> ObjectRef<FlinkSessionJob> {
    ObjectRef::from_obj(job)
}
