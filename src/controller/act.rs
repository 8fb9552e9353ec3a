//! Every effect on Flink. Each runs as a task of its own, whose outcome goes back into the queue: no reconcile waits.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use kube::{Api, ResourceExt, api::PostParams, runtime::reflector::ObjectRef};
use tracing::{info, warn};

use super::{
    context::{API_DEADLINE, Context, Shared},
    drive::reference,
    observe::Inputs,
};
use crate::{
    api::{
        FlinkSession, FlinkSessionJob, Reason,
        keys::FIELD_MANAGER,
        session::{MAX_RELEASED, ReleasedJob},
    },
    flink::{FlinkError, JobId, RunReply, RunRequest, UidHash},
    job::{Refusal, Submission, SubmitOutcome},
    kubernetes::within,
    metrics::SubmissionOutcome,
};

fn refusal(error: &FlinkError) -> Refusal {
    let reason = Reason::ALL
        .iter()
        .copied()
        .find(|reason| reason.as_str() == error.reason());
    Refusal::new(reason.unwrap_or(Reason::ClusterUnreachable), error.to_string())
}

/// Sends a submission.
pub(super) fn submit(ctx: &Shared, job: &Arc<FlinkSessionJob>, inputs: &Inputs, submission: Submission) {
    let Some(cluster) = inputs.followed.clone() else { return };
    let owner = inputs.owner;
    ctx.memories.with(owner, |memory| {
        memory.running = true;
        memory.unsent = None;
    });
    cluster.reserve(owner, submission.job_id, submission.program.parallelism.unwrap_or(1));
    // The time that is left by the record's clock, counted on from here by one that nobody sets.
    let left = submission.not_after.duration_since(Timestamp::now());
    let not_after = Instant::now() + Duration::try_from(left).unwrap_or_default();
    let (ctx, object, key) = (Arc::clone(ctx), reference(job), inputs.key.clone());
    let task = ctx.metrics.task();
    tokio::spawn(async move {
        let outcome = send(&ctx, &cluster, &submission, not_after, owner, &object).await;
        if matches!(outcome, SubmitOutcome::JarMissing) {
            ctx.jars.forget(&key, &submission.jar_id);
            // Either somebody deleted the jar, or this is another process than the one that was identified.
            cluster.identify();
        }
        let started = matches!(
            outcome,
            SubmitOutcome::Accepted | SubmitOutcome::Duplicate | SubmitOutcome::Unknown(_)
        );
        if !started {
            cluster.unreserve(owner);
        }
        ctx.memories.with(owner, |memory| {
            memory.running = false;
            memory.submitted = Some((submission.job_id, submission.tries, outcome));
        });
        ctx.permits.give_back(owner);
        cluster.attend(owner);
        cluster.poke();
        drop(task);
        let _ = ctx.wake.jobs.send(object);
    });
}

async fn send(
    ctx: &Context,
    cluster: &crate::registry::Cluster,
    submission: &Submission,
    not_after: Instant,
    owner: UidHash,
    resource: &ObjectRef<FlinkSessionJob>,
) -> SubmitOutcome {
    let program = &submission.program;
    let request = RunRequest {
        entry_class: program.entry_class.clone(),
        args: program.args.clone(),
        parallelism: program.parallelism.and_then(|n| u32::try_from(n).ok()),
        flink_configuration: program.configuration.clone(),
        ..RunRequest::new(submission.job_id)
    };
    // The last look before the request leaves: a process that was frozen must not send what another has taken over.
    if Instant::now() >= not_after || !ctx.leadership.is_leader() {
        ctx.metrics.submission(SubmissionOutcome::NotSent);
        let message = "this process was held up, or lost its leadership, between its decision and the request";
        return SubmitOutcome::NotSent(Refusal::new(Reason::SubmissionTimeout, message));
    }
    let begun = Instant::now();
    let result = cluster
        .client()
        .run_jar(&submission.jar_id, &request, submission.timeout)
        .await;
    let took = begun.elapsed();
    let (job_id, resource) = (submission.job_id, resource.to_string());
    let redacted = |text: &str| ctx.memories.with(owner, |memory| memory.redact(text));
    let refusal = |error: &FlinkError| {
        let refusal = refusal(error);
        Refusal {
            message: redacted(&refusal.message),
            ..refusal
        }
    };
    let outcome = match result {
        Ok(RunReply::Started) => SubmitOutcome::Accepted,
        Ok(RunReply::OtherJob(other)) => SubmitOutcome::OtherJob(other),
        Err(FlinkError::Duplicate(_)) => SubmitOutcome::Duplicate,
        Err(FlinkError::JarMissing(_)) => SubmitOutcome::JarMissing,
        Err(error @ (FlinkError::NotSent(_) | FlinkError::Unauthorized(_) | FlinkError::SubmissionDisabled(_))) => {
            SubmitOutcome::NotSent(refusal(&error))
        }
        Err(error @ (FlinkError::Rejected { .. } | FlinkError::NotFound(_) | FlinkError::Conflict(_))) => {
            SubmitOutcome::Rejected(redacted(error.message()))
        }
        Err(
            error @ (FlinkError::Timeout(_)
            | FlinkError::Lost(_)
            | FlinkError::Unavailable(_)
            | FlinkError::NotFlink(_)
            | FlinkError::TooLarge(_)),
        ) => SubmitOutcome::Unknown(refusal(&error)),
    };
    let (counted, word) = match &outcome {
        SubmitOutcome::Accepted => (SubmissionOutcome::Accepted, "accepted"),
        SubmitOutcome::Duplicate => (SubmissionOutcome::AlreadyThere, "already there"),
        SubmitOutcome::OtherJob(_) => (SubmissionOutcome::Accepted, "accepted under another JobID"),
        SubmitOutcome::NotSent(_) => (SubmissionOutcome::NotSent, "not sent"),
        SubmitOutcome::JarMissing => (SubmissionOutcome::Rejected, "the jar is missing"),
        SubmitOutcome::Rejected(_) => (SubmissionOutcome::Rejected, "rejected"),
        SubmitOutcome::Unknown(_) => (SubmissionOutcome::Unknown, "not known"),
    };
    ctx.metrics.submission(counted);
    info!(%resource, %job_id, jar_id = %submission.jar_id, tries = submission.tries, outcome = word, ?took, "submitted a job");
    outcome
}

/// Cancels a job.
pub(super) fn cancel(ctx: &Shared, job: &Arc<FlinkSessionJob>, inputs: &Inputs, job_id: JobId) {
    let Some(cluster) = inputs.followed.clone() else { return };
    let owner = inputs.owner;
    ctx.memories.with(owner, |memory| memory.running = true);
    let (ctx, object) = (Arc::clone(ctx), reference(job));
    let task = ctx.metrics.task();
    tokio::spawn(async move {
        let error = if ctx.leadership.is_leader() {
            // Unknown or ended already: the job list will tell, which is what counts.
            match cluster.client().cancel(job_id).await {
                Ok(()) | Err(FlinkError::NotFound(_) | FlinkError::Conflict(_)) => None,
                Err(error) => Some(refusal(&error)),
            }
        } else {
            Some(Refusal::new(
                Reason::ClusterUnreachable,
                "this process lost its leadership",
            ))
        };
        info!(resource = %object, %job_id, error = error.as_ref().map(|error| error.message.as_str()), "cancelled a job");
        ctx.memories.with(owner, |memory| {
            memory.running = false;
            memory.cancelled = Some((job_id, Timestamp::now(), error));
        });
        cluster.attend(owner);
        cluster.poke();
        drop(task);
        let _ = ctx.wake.jobs.send(object);
    });
}

/// Records in the session that a job was left running.
pub(super) fn release(ctx: &Shared, job: &Arc<FlinkSessionJob>, inputs: &Inputs, job_id: JobId) {
    let owner = inputs.owner;
    ctx.memories.with(owner, |memory| memory.running = true);
    let (ctx, object, key, name) = (Arc::clone(ctx), reference(job), inputs.key.clone(), job.name_any());
    let task = ctx.metrics.task();
    tokio::spawn(async move {
        let sessions: Api<FlinkSession> = Api::namespaced(ctx.client.clone(), &key.namespace);
        let recorded = record_release(&sessions, &key.name, &name, job_id).await;
        match &recorded {
            Ok(()) => info!(%job_id, session = %key.name, "recorded a job as released"),
            Err(error) => warn!(%job_id, %error, "a released job could not be recorded, tried again"),
        }
        if recorded.is_err() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        ctx.memories.with(owner, |memory| {
            memory.running = false;
            memory.released = recorded.is_ok().then_some(job_id);
        });
        drop(task);
        let _ = ctx.wake.jobs.send(object);
    });
}

async fn record_release(
    sessions: &Api<FlinkSession>,
    session: &str,
    name: &str,
    job_id: JobId,
) -> Result<(), crate::kubernetes::ApiError> {
    let mut found = within(API_DEADLINE, "get FlinkSession", sessions.get(session)).await?;
    let status = found.status.get_or_insert_default();
    if status.released.iter().any(|released| released.job_id == job_id) {
        return Ok(());
    }
    status.released.insert(
        0,
        ReleasedJob {
            job_id,
            name: name.to_owned(),
            time: Timestamp::now(),
        },
    );
    status.released.truncate(MAX_RELEASED);
    let parameters = PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    };
    let call = sessions.replace_status(session, &parameters, &found);
    within(API_DEADLINE, "replace status of FlinkSession", call)
        .await
        .map(|_| ())
}
