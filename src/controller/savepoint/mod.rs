//! How a `Savepoint` is driven.

mod act;
mod index;
mod memory;
mod metadata;
mod observe;
mod unheld;
mod wants;

use std::sync::Arc;

use kube::{Api, ResourceExt, runtime::reflector::ObjectRef};

pub(in crate::controller) use index::{Index, Woken};
pub use memory::SavepointMemory;
use observe::Inputs;
pub(in crate::controller) use unheld::warn as warn_unheld;

use super::{
    context::{Context, Shared, session_key},
    drive::{Calls, Done, Driven, UnstoredOf, calls},
    memory::Memories,
    record, told,
};
use crate::{
    api::{Savepoint, SavepointPhase, SavepointStatus, keys::SAVEPOINT_FINALIZER},
    flink::UidHash,
    job::Note,
    kubernetes::ApiError,
    metrics::{Kind, Origin, SavepointOutcome},
    registry::SessionKey,
    savepoint::{Effect, Plan, Wants, decide},
};

impl Driven for Savepoint {
    type Status = SavepointStatus;
    type Effect = Effect;
    type Wants = Wants;
    type Inputs = Inputs;
    type Memory = SavepointMemory;

    const KIND: Kind = Kind::Savepoint;
    const FINALIZER: &'static str = SAVEPOINT_FINALIZER;
    const CALLS: Calls = calls!("Savepoint");

    fn lane(&self, ctx: &Context) -> SessionKey {
        let namespace = self.namespace().unwrap_or_default();
        let job = self.spec.job().map(|job| ObjectRef::new(job).within(&namespace));
        let job = job.and_then(|job| ctx.jobs.get(&job));
        job.map_or_else(|| SessionKey::new(&namespace, ""), |job| session_key(&job))
    }

    fn memories(ctx: &Context) -> &Memories<SavepointMemory> {
        &ctx.savepoint_memories
    }

    fn unstored(memory: &mut SavepointMemory) -> &mut Option<UnstoredOf<Self>> {
        &mut memory.unstored
    }

    fn status(&self) -> Option<&SavepointStatus> {
        self.status.as_ref()
    }

    fn with_status(&self, status: SavepointStatus) -> Self {
        let mut savepoint = Self::new(&self.name_any(), self.spec.clone());
        savepoint.status = Some(status);
        savepoint
    }

    fn gather(&self, ctx: &Context, owner: UidHash) -> Inputs {
        Inputs::gather(ctx, self, owner)
    }

    fn decide(&self, ctx: &Context, inputs: &Inputs) -> Plan {
        decide(&inputs.observed(ctx, self))
    }

    fn fulfil(self: &Arc<Self>, ctx: &Shared, inputs: &Inputs, plan: &Plan) -> bool {
        wants::fulfil(ctx, self, inputs, plan);
        false
    }

    async fn read(&self, _: &Context, _: &Inputs, _: &Plan) -> Result<bool, ApiError> {
        Ok(false)
    }

    fn recorded(&self, ctx: &Context, owner: UidHash, plan: &Plan) {
        let nothing = SavepointStatus::default();
        let before = self.status.as_ref().unwrap_or(&nothing);
        let trigger = |status: &SavepointStatus| status.triggered().map(|trigger| trigger.trigger_id);
        let (old, new) = (trigger(before), trigger(&plan.status));
        if old != new {
            ctx.savepoint_memories.with(owner, |memory| memory.unsent = new);
        }
        if old.is_some() && new.is_none() {
            ended(ctx, before, &plan.status);
        }
    }

    async fn perform(
        self: &Arc<Self>,
        ctx: &Shared,
        api: &Api<Self>,
        inputs: &Inputs,
        effect: Effect,
    ) -> Result<Done<Self>, ApiError> {
        let owner = inputs.owner;
        match effect {
            Effect::AddFinalizer => {
                let returned = record::add_finalizer(ctx, api, self, owner).await?;
                return Ok(Done::Returned(Box::new(returned)));
            }
            Effect::RemoveFinalizer => {
                // It has one while it is taken, too.
                let deleted = self.metadata.deletion_timestamp.is_some();
                ctx.savepoint_memories.with(owner, |memory| memory.let_go = deleted);
                let returned = record::remove_finalizer(ctx, api, self, owner).await?;
                return Ok(returned.map_or(Done::UnderWay, |returned| Done::Returned(Box::new(returned))));
            }
            Effect::Trigger(request) => act::trigger(ctx, self, inputs, *request),
            Effect::Dispose(request) => act::dispose(ctx, self, inputs, *request),
            Effect::Delete => act::delete(api, self).await?,
        }
        Ok(Done::UnderWay)
    }

    fn told(&self, ctx: &Context, note: &Note) {
        told::savepoint(ctx, self, note);
    }

    fn at_rest(_: &Context, _: UidHash, _: &Plan) {}
}

/// An attempt came to its end; one that was dropped before it was sent does not count.
fn ended(ctx: &Context, before: &SavepointStatus, after: &SavepointStatus) {
    let outcome = if after.phase == Some(SavepointPhase::Completed) {
        SavepointOutcome::Completed
    } else if after.failure != before.failure {
        SavepointOutcome::Failed
    } else {
        return;
    };
    let (Some(begun), Some(origin)) = (before.start_time, after.origin.and_then(Origin::of)) else {
        return;
    };
    let end = after.completion_time.filter(|_| outcome == SavepointOutcome::Completed);
    let end = end.or(after.updated_at).unwrap_or(begun);
    let took = end.duration_since(begun).try_into().unwrap_or_default();
    ctx.metrics.savepoint(origin, outcome, took);
}
