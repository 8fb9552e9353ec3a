//! Every write to a resource that is driven: its status, and our finalizer.

use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;
use tracing::debug;

use super::{
    context::{API_DEADLINE, Context},
    drive::{Driven, PlanOf, Unstored},
};
use crate::{
    api::keys::FIELD_MANAGER,
    flink::UidHash,
    kubernetes::{ApiError, within},
    plan::Plan,
};

/// Writes the status of a plan. Fails with a conflict when the resource is not the one that was decided on, and with
/// [`ApiError::Pruned`] when it was not stored as it was sent.
pub(super) async fn status<K: Driven>(
    ctx: &Context,
    api: &Api<K>,
    object: &K,
    owner: UidHash,
    plan: &PlanOf<K>,
) -> Result<K, ApiError> {
    let mut wanted = object.with_status(plan.status.clone());
    let (from, to) = (object.meta(), wanted.meta_mut());
    to.namespace.clone_from(&from.namespace);
    to.uid.clone_from(&from.uid);
    to.resource_version.clone_from(&from.resource_version);
    let parameters = PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    };
    let (name, call) = (object.name_any(), K::CALLS.status);
    let stored = within(API_DEADLINE, call, api.replace_status(&name, &parameters, &wanted)).await?;
    debug!(name, rule = plan.rule, "recorded");
    K::memories(ctx).wrote(owner, stored.meta().resource_version.as_deref());
    if stored.status() != Some(&plan.status) {
        // What is to be done must be on record as a whole before it is done.
        let mut wanted = Plan::with(plan.rule, plan.status.clone());
        wanted.notes.clone_from(&plan.notes);
        let unstored = Unstored {
            stored: stored.status().cloned(),
            plan: wanted,
        };
        K::memories(ctx).with(owner, |memory| *K::unstored(memory) = Some(unstored));
        return Err(ApiError::Pruned { call });
    }
    object.recorded(ctx, owner, plan);
    Ok(stored)
}

/// Puts our finalizer on the resource.
pub(super) async fn add_finalizer<K: Driven>(
    ctx: &Context,
    api: &Api<K>,
    object: &K,
    owner: UidHash,
) -> Result<K, ApiError> {
    let mut finalizers = object.finalizers().to_vec();
    finalizers.push(K::FINALIZER.to_owned());
    let stored = finalizers_to(api, object, &finalizers, K::CALLS.add_finalizer).await?;
    K::memories(ctx).wrote(owner, stored.meta().resource_version.as_deref());
    Ok(stored)
}

/// Takes our finalizer off. None when the resource is gone, or goes with that.
pub(super) async fn remove_finalizer<K: Driven>(
    ctx: &Context,
    api: &Api<K>,
    object: &K,
    owner: UidHash,
) -> Result<Option<K>, ApiError> {
    let finalizers: Vec<String> = object
        .finalizers()
        .iter()
        .filter(|name| *name != K::FINALIZER)
        .cloned()
        .collect();
    match finalizers_to(api, object, &finalizers, K::CALLS.remove_finalizer).await {
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
        Ok(stored) if stored.meta().deletion_timestamp.is_some() => Ok(None),
        Ok(stored) => {
            K::memories(ctx).wrote(owner, stored.meta().resource_version.as_deref());
            Ok(Some(stored))
        }
    }
}

/// A merge patch that names UID and resourceVersion: it applies to this version of this resource or not at all.
async fn finalizers_to<K: Driven>(
    api: &Api<K>,
    object: &K,
    finalizers: &[String],
    call: &'static str,
) -> Result<K, ApiError> {
    let patch = json!({ "metadata": {
        "uid": object.meta().uid,
        "resourceVersion": object.meta().resource_version,
        "finalizers": finalizers,
    }});
    let parameters = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    within(
        API_DEADLINE,
        call,
        api.patch(&object.name_any(), &parameters, &Patch::Merge(&patch)),
    )
    .await
}
