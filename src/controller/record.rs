//! Every write to a job resource.

use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;
use tracing::debug;

use super::context::{API_DEADLINE, Context};
use crate::{
    api::{
        FlinkSessionJob, JobStatus,
        keys::{FIELD_MANAGER, JOB_FINALIZER},
    },
    flink::{JobId, UidHash},
    job::Plan,
    kubernetes::{ApiError, within},
};

fn submission(status: Option<&JobStatus>) -> Option<(JobId, i32)> {
    status
        .and_then(JobStatus::submission)
        .map(|intent| (intent.job_id, intent.tries))
}

/// Writes the status of a plan. Fails with a conflict when the resource is not the one that was decided on.
pub(super) async fn status(
    ctx: &Context,
    api: &Api<FlinkSessionJob>,
    job: &FlinkSessionJob,
    owner: UidHash,
    plan: &Plan,
) -> Result<FlinkSessionJob, ApiError> {
    let mut wanted = FlinkSessionJob::new(&job.name_any(), job.spec.clone());
    wanted.metadata.namespace.clone_from(&job.metadata.namespace);
    wanted.metadata.uid.clone_from(&job.metadata.uid);
    wanted
        .metadata
        .resource_version
        .clone_from(&job.metadata.resource_version);
    wanted.status = Some(plan.status.clone());
    let parameters = PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    };
    let name = job.name_any();
    let call = api.replace_status(&name, &parameters, &wanted);
    let stored = within(API_DEADLINE, "replace status of FlinkSessionJob", call).await?;
    debug!(name = job.name_any(), rule = plan.rule, phase = ?plan.status.phase, "recorded");
    ctx.memories.wrote(owner, stored.metadata.resource_version.as_deref());
    let decided = submission(Some(&plan.status));
    if decided.is_some() && decided != submission(job.status.as_ref()) {
        ctx.memories.with(owner, |memory| memory.unsent = decided);
    }
    Ok(stored)
}

/// Puts our finalizer on the resource.
pub(super) async fn add_finalizer(
    ctx: &Context,
    api: &Api<FlinkSessionJob>,
    job: &FlinkSessionJob,
    owner: UidHash,
) -> Result<FlinkSessionJob, ApiError> {
    let mut finalizers = job.finalizers().to_vec();
    finalizers.push(JOB_FINALIZER.to_owned());
    let stored = finalizers_to(api, job, &finalizers, "add finalizer to FlinkSessionJob").await?;
    ctx.memories.wrote(owner, stored.metadata.resource_version.as_deref());
    Ok(stored)
}

/// Takes our finalizer off.
pub(super) async fn remove_finalizer(api: &Api<FlinkSessionJob>, job: &FlinkSessionJob) -> Result<(), ApiError> {
    let finalizers: Vec<String> = job
        .finalizers()
        .iter()
        .filter(|name| *name != JOB_FINALIZER)
        .cloned()
        .collect();
    match finalizers_to(api, job, &finalizers, "remove finalizer from FlinkSessionJob").await {
        Err(error) if !error.is_not_found() => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// A merge patch that names UID and resourceVersion: it applies to this version of this resource or not at all.
async fn finalizers_to(
    api: &Api<FlinkSessionJob>,
    job: &FlinkSessionJob,
    finalizers: &[String],
    call: &'static str,
) -> Result<FlinkSessionJob, ApiError> {
    let patch = json!({ "metadata": {
        "uid": job.metadata.uid,
        "resourceVersion": job.metadata.resource_version,
        "finalizers": finalizers,
    }});
    let parameters = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    within(
        API_DEADLINE,
        call,
        api.patch(&job.name_any(), &parameters, &Patch::Merge(&patch)),
    )
    .await
}
