//! How a `FlinkSessionJob` is driven.

use std::sync::Arc;

use kube::{Api, ResourceExt, runtime::reflector::ObjectRef};

use super::{
    act,
    context::{Context, Shared, session_key},
    drive::{Calls, Done, Driven, UnstoredOf, calls},
    keep,
    memory::{Memories, Memory},
    observe::Inputs,
    record, restorable, told, wants,
};
use crate::{
    api::{FlinkSessionJob, JobStatus, keys::JOB_FINALIZER},
    flink::{JobId, UidHash},
    job::{Effect, Note, Plan, Wants, decide},
    kubernetes::ApiError,
    metrics::Kind,
    registry::SessionKey,
};

fn submission(status: Option<&JobStatus>) -> Option<(JobId, i32)> {
    status
        .and_then(JobStatus::submission)
        .map(|intent| (intent.job_id, intent.tries))
}

impl Driven for FlinkSessionJob {
    type Status = JobStatus;
    type Effect = Effect;
    type Wants = Wants;
    type Inputs = Inputs;
    type Memory = Memory;

    const KIND: Kind = Kind::FlinkSessionJob;
    const FINALIZER: &'static str = JOB_FINALIZER;
    const CALLS: Calls = calls!("FlinkSessionJob");

    fn lane(&self, _: &Context) -> SessionKey {
        session_key(self)
    }

    fn memories(ctx: &Context) -> &Memories<Memory> {
        &ctx.memories
    }

    fn unstored(memory: &mut Memory) -> &mut Option<UnstoredOf<Self>> {
        &mut memory.unstored
    }

    fn status(&self) -> Option<&JobStatus> {
        self.status.as_ref()
    }

    fn with_status(&self, status: JobStatus) -> Self {
        let mut job = Self::new(&self.name_any(), self.spec.clone());
        job.status = Some(status);
        job
    }

    fn gather(&self, ctx: &Context, owner: UidHash) -> Inputs {
        Inputs::gather(ctx, self, owner)
    }

    fn decide(&self, ctx: &Context, inputs: &Inputs) -> Plan {
        decide(&inputs.observed(ctx, self))
    }

    fn fulfil(self: &Arc<Self>, ctx: &Shared, inputs: &Inputs, plan: &Plan) -> bool {
        wants::fulfil(ctx, self, inputs, plan)
    }

    async fn read(&self, ctx: &Context, inputs: &Inputs, plan: &Plan) -> Result<bool, ApiError> {
        let wanted = plan.wants.savepoints && !inputs.knows_savepoints();
        if wanted {
            restorable::read(ctx, self, inputs.owner).await?;
        }
        Ok(wanted)
    }

    fn recorded(&self, ctx: &Context, owner: UidHash, plan: &Plan) {
        let decided = submission(Some(&plan.status));
        if decided.is_some() && decided != submission(self.status.as_ref()) {
            ctx.memories.with(owner, |memory| memory.unsent = decided);
        }
        let trigger = |status: &JobStatus| status.stop().map(|stop| stop.trigger_id);
        let stop = trigger(&plan.status);
        if stop.is_some() && stop != self.status.as_ref().and_then(trigger) {
            ctx.memories.with(owner, |memory| memory.stop_unsent = stop);
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
                record::remove_finalizer(ctx, api, self, owner).await?;
                ctx.permits.give_back(owner);
            }
            Effect::Keep(intent) => {
                let kept = keep::create(ctx, self, &intent).await?;
                ctx.memories
                    .with(owner, |memory| memory.kept = Some((intent.path.clone(), kept)));
                return Ok(Done::Changed);
            }
            Effect::Schedule(savepoint) => {
                let outcome = keep::schedule(ctx, self, &savepoint).await?;
                ctx.memories
                    .with(owner, |memory| memory.scheduled = Some((savepoint.slot, outcome)));
                return Ok(Done::Changed);
            }
            Effect::Submit(submission) => act::submit(ctx, self, inputs, *submission),
            Effect::Stop(stop) => act::stop(ctx, self, inputs, *stop),
            Effect::Cancel(job_id) => act::cancel(ctx, self, inputs, job_id),
            Effect::Release(job_id) => act::release(ctx, self, inputs, job_id),
        }
        Ok(Done::UnderWay)
    }

    fn told(&self, ctx: &Context, note: &Note) {
        told::job(ctx, self, note);
    }

    fn at_rest(ctx: &Context, owner: UidHash, plan: &Plan) {
        let (busy, unsent) = ctx
            .memories
            .with(owner, |memory| (memory.running, memory.unsent.is_some()));
        if !(plan.wants.permit || busy || unsent) {
            ctx.permits.give_back(owner);
        }
    }
}

/// The reference of a job for the queue.
pub(super) fn reference(job: &FlinkSessionJob) -> ObjectRef<FlinkSessionJob> {
    ObjectRef::from_obj(job)
}
