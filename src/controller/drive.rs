//! The driver: observe, decide, then persist or act, one thing a turn.
//!
//! A turn either writes a changed status, guarded by the resourceVersion that was decided on, or performs one effect. An
//! effect runs only on a resource that the API server returned in this very drive: the reply to our own write, or a quorum
//! read. So whatever is done rests on a record that is durable, and that nobody has changed since.

use std::{fmt::Debug, future::Future, sync::Arc, time::Duration};

use jiff::Timestamp;
use kube::{Api, Resource, ResourceExt, core::NamespaceResourceScope, runtime::controller::Action};
use serde::{Serialize, de::DeserializeOwned};
use tracing::{debug, error};

use super::{
    context::{API_DEADLINE, Context, Shared},
    memory::Memories,
    record,
};
use crate::{
    flink::UidHash,
    kubernetes::{ApiError, within},
    metrics::{Kind, ReconcileOutcome},
    plan::{Next, Note, Plan},
    registry::SessionKey,
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

/// What is called for a kind, in the words of an error.
pub(super) struct Calls {
    pub(super) get: &'static str,
    pub(super) status: &'static str,
    pub(super) add_finalizer: &'static str,
    pub(super) remove_finalizer: &'static str,
}

macro_rules! calls {
    ($kind:literal) => {
        $crate::controller::drive::Calls {
            get: concat!("get ", $kind),
            status: concat!("replace status of ", $kind),
            add_finalizer: concat!("add finalizer to ", $kind),
            remove_finalizer: concat!("remove finalizer from ", $kind),
        }
    };
}
pub(super) use calls;

/// What a decision about a kind says.
pub(super) type PlanOf<K> = Plan<<K as Driven>::Status, <K as Driven>::Effect, <K as Driven>::Wants>;

/// A status that the API server stored without some of its fields.
#[derive(Debug)]
pub(super) struct Unstored<S, E, W> {
    /// What is stored.
    pub(super) stored: Option<S>,
    /// What was decided, without what was to follow.
    pub(super) plan: Plan<S, E, W>,
}

/// What could not be stored of a kind.
pub(super) type UnstoredOf<K> = Unstored<<K as Driven>::Status, <K as Driven>::Effect, <K as Driven>::Wants>;

/// What an effect came to.
pub(super) enum Done<K> {
    /// The API server returned this.
    Returned(Box<K>),
    /// Go on with what the API server says now.
    Changed,
    /// It is under way, and wakes the resource when it ends; or there is nothing left to drive.
    UnderWay,
}

/// A kind that is driven by a pure decision.
pub(super) trait Driven:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + Serialize
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
    /// `status`.
    type Status: Clone + PartialEq + Send + Sync;
    /// What a plan may do.
    type Effect: Clone + Send + Sync;
    /// What a plan may ask for.
    type Wants: Default + Send + Sync;
    /// What a decision is made from.
    type Inputs: Send + Sync;
    /// What this process remembers of a resource.
    type Memory: Default + Send;

    /// In metrics.
    const KIND: Kind;
    /// Our finalizer.
    const FINALIZER: &'static str;
    /// In errors.
    const CALLS: Calls;

    /// The cluster that it has to do with: those of one cluster share their turns.
    fn lane(&self, ctx: &Context) -> SessionKey;
    /// The memories of the kind.
    fn memories(ctx: &Context) -> &Memories<Self::Memory>;
    /// What could not be stored as it was decided.
    fn unstored(memory: &mut Self::Memory) -> &mut Option<UnstoredOf<Self>>;
    /// The status, if there is one.
    fn status(&self) -> Option<&Self::Status>;
    /// A resource of this name and spec with that status.
    fn with_status(&self, status: Self::Status) -> Self;
    /// Gathers what a decision is made from. Synchronous, and without side effects.
    fn gather(&self, ctx: &Context, owner: UidHash) -> Self::Inputs;
    /// Decides.
    fn decide(&self, ctx: &Context, inputs: &Self::Inputs) -> PlanOf<Self>;
    /// Sees to what the plan wants. True when something of it is there already, so that it is worth deciding again at once.
    fn fulfil(self: &Arc<Self>, ctx: &Shared, inputs: &Self::Inputs, plan: &PlanOf<Self>) -> bool;
    /// Reads what the plan wants to know from the API server before it goes on. True when something was read.
    fn read(
        &self,
        ctx: &Context,
        inputs: &Self::Inputs,
        plan: &PlanOf<Self>,
    ) -> impl Future<Output = Result<bool, ApiError>> + Send;
    /// The status of the plan was written in place of this resource's.
    fn recorded(&self, ctx: &Context, owner: UidHash, plan: &PlanOf<Self>);
    /// Performs an effect on a resource that the API server has just returned. Never waits for Flink.
    fn perform(
        self: &Arc<Self>,
        ctx: &Shared,
        api: &Api<Self>,
        inputs: &Self::Inputs,
        effect: Self::Effect,
    ) -> impl Future<Output = Result<Done<Self>, ApiError>> + Send;
    /// Tells those who want to hear of it what happened to this resource.
    fn told(&self, ctx: &Context, note: &Note);
    /// There is nothing to do now.
    fn at_rest(ctx: &Context, owner: UidHash, plan: &PlanOf<Self>);
}

/// Reconciles one resource.
pub(super) async fn reconcile<K: Driven>(object: Arc<K>, ctx: Shared) -> Result<Action, Error> {
    let measured = ctx.metrics.reconcile(K::KIND);
    let result = drive(object, &ctx).await;
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
pub(super) fn failed<K: Driven>(object: Arc<K>, error: &Error, ctx: Shared) -> Action {
    let Error::Api(cause) = error else {
        return Action::await_change();
    };
    if cause.is_conflict() || cause.is_not_found() {
        return Action::requeue(Duration::from_millis(200));
    }
    ctx.metrics.reconcile_error(K::KIND, cause.reason());
    let owner = UidHash::of(object.meta().uid.as_deref().unwrap_or_default());
    let pause = K::memories(&ctx).failed(owner);
    error!(namespace = object.namespace(), name = object.name_any(), %error, ?pause, "reconcile failed, tried again");
    Action::requeue(pause)
}

async fn drive<K: Driven>(object: Arc<K>, ctx: &Shared) -> Result<Action, Error> {
    let (Some(uid), Some(namespace)) = (object.uid(), object.namespace()) else {
        return Err(Error::Nameless);
    };
    let owner = UidHash::of(&uid);
    if K::memories(ctx).is_behind(owner, object.meta().resource_version.as_deref()) {
        return Ok(Action::requeue(BEHIND));
    }
    let api: Api<K> = Api::namespaced(ctx.client.clone(), &namespace);
    let completed = complete(ctx, &api, object.as_ref(), owner).await?;
    let mut fresh = completed.is_some();
    let mut object = completed.unwrap_or(object);
    let mut rule = "";
    for _ in 0..MAX_TURNS {
        if !ctx.leadership.is_leader() {
            return Ok(Action::requeue(Duration::from_secs(1)));
        }
        let inputs = object.gather(ctx, owner);
        let plan = object.decide(ctx, &inputs);
        debug!(name = %object.name_any(), rule = plan.rule, "decided");
        rule = plan.rule;
        if object.read(ctx, &inputs, &plan).await? {
            continue;
        }
        if object.status() != Some(&plan.status) {
            if object.fulfil(ctx, &inputs, &plan) {
                // A permit that is there at once: one write instead of two.
                continue;
            }
            object = Arc::new(record::status(ctx, &api, &object, owner, &plan).await?);
            fresh = true;
            plan.notes.into_iter().for_each(|note| tell(ctx, &object, note));
            continue;
        }
        let Some(effect) = plan.effect.clone() else {
            plan.notes.iter().cloned().for_each(|note| tell(ctx, &object, note));
            if object.fulfil(ctx, &inputs, &plan) {
                // Something that was asked for is there already.
                continue;
            }
            return Ok(settle::<K>(ctx, owner, &plan));
        };
        if !fresh {
            match reread(&api, &object).await? {
                Some(read) => object = Arc::new(read),
                None => return Ok(Action::await_change()),
            }
            fresh = true;
            continue;
        }
        object.fulfil(ctx, &inputs, &plan);
        let done = object.perform(ctx, &api, &inputs, effect).await?;
        plan.notes.into_iter().for_each(|note| tell(ctx, &object, note));
        match done {
            Done::Returned(returned) => object = Arc::from(returned),
            Done::Changed => fresh = false,
            Done::UnderWay => return Ok(Action::await_change()),
        }
    }
    Ok(unsettled(ctx, object.as_ref(), rule))
}

/// Nothing is decided on half a record: what was not stored as it was decided is written again before anything else. A resource
/// that is being deleted is not held up by that, nor one whose status somebody has changed since.
async fn complete<K: Driven>(
    ctx: &Shared,
    api: &Api<K>,
    object: &K,
    owner: UidHash,
) -> Result<Option<Arc<K>>, ApiError> {
    let unstored = K::memories(ctx).with(owner, |memory| K::unstored(memory).take());
    let holds = |unstored: &UnstoredOf<K>| {
        unstored.stored.as_ref() == object.status() && object.meta().deletion_timestamp.is_none()
    };
    let Some(unstored) = unstored.filter(holds) else {
        return Ok(None);
    };
    match record::status(ctx, api, object, owner, &unstored.plan).await {
        Ok(stored) => {
            let stored = Arc::new(stored);
            unstored
                .plan
                .notes
                .into_iter()
                .for_each(|note| tell(ctx, &stored, note));
            Ok(Some(stored))
        }
        Err(error) => {
            K::memories(ctx).with(owner, |memory| {
                K::unstored(memory).get_or_insert(unstored);
            });
            Err(error)
        }
    }
}

fn tell<K: Driven>(ctx: &Context, object: &Arc<K>, note: Note) {
    object.told(ctx, &note);
    ctx.note(object.as_ref(), note);
}

/// A plan that never settles is a bug of ours; the model test looks for it.
fn unsettled<K: Driven>(ctx: &Context, object: &K, rule: &str) -> Action {
    error!(
        name = object.name_any(),
        namespace = object.namespace(),
        rule,
        "no decision after {MAX_TURNS} turns"
    );
    ctx.metrics.reconcile_error(K::KIND, "Unsettled");
    Action::requeue(Duration::from_secs(5))
}

/// A quorum read of the same resource; None when it is gone or another has its name.
async fn reread<K: Driven>(api: &Api<K>, object: &K) -> Result<Option<K>, Error> {
    let read = within(API_DEADLINE, K::CALLS.get, api.get_opt(&object.name_any())).await?;
    Ok(read.filter(|read| read.meta().uid == object.meta().uid))
}

/// Nothing to do now.
fn settle<K: Driven>(ctx: &Context, owner: UidHash, plan: &PlanOf<K>) -> Action {
    K::memories(ctx).settled(owner);
    K::at_rest(ctx, owner, plan);
    match plan.next {
        Next::At(time) => {
            let pause = time.duration_since(Timestamp::now());
            Action::requeue(pause.try_into().unwrap_or(Duration::from_millis(50)))
        }
        Next::OnChange => {
            // Spread by the mark, so that a fleet that was created at once is not looked at at once.
            let [spread, ..] = owner.0;
            Action::requeue(RESYNC * 3 / 4 + RESYNC * u32::from(spread) / 512)
        }
    }
}
