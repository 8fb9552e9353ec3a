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
    job::reference,
    observe::Inputs,
    restorable,
};
use crate::{
    api::{
        FlinkSession, FlinkSessionJob, Reason,
        keys::FIELD_MANAGER,
        session::{MAX_RELEASED, ReleasedJob},
    },
    flink::{
        ClaimMode, FlinkError, JobId, RunReply, RunRequest, SavepointFormat, SavepointRequest, TriggerId, TriggerReply,
        UidHash,
    },
    job::{Refusal, Stop, StopAnswer, Submission, SubmitOutcome},
    kubernetes::within,
    metrics::SubmissionOutcome,
};

pub(super) fn refusal(error: &FlinkError) -> Refusal {
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
    let not_after = not_after(submission.not_after);
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
    let restore = submission.restore.as_ref();
    let request = RunRequest {
        entry_class: program.entry_class.clone(),
        args: program.args.clone(),
        parallelism: program.parallelism.and_then(|n| u32::try_from(n).ok()),
        flink_configuration: program.configuration.clone(),
        savepoint_path: restore.map(|restore| restore.path.clone()),
        claim_mode: restore.map(|restore| {
            if restore.claim {
                ClaimMode::Claim
            } else {
                ClaimMode::NoClaim
            }
        }),
        allow_non_restored_state: restore.is_some_and(|restore| restore.allow_non_restored_state),
        ..RunRequest::new(submission.job_id)
    };
    let kept = match restore {
        Some(restore) => restorable::is_kept(ctx, resource.namespace.as_deref().unwrap_or_default(), restore).await,
        None => Ok(()),
    };
    if let Some(refusal) = kept.err().or_else(|| too_late(ctx, not_after)) {
        ctx.metrics.submission(SubmissionOutcome::NotSent);
        return SubmitOutcome::NotSent(refusal);
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

/// Stops a job with a savepoint.
pub(super) fn stop(ctx: &Shared, job: &Arc<FlinkSessionJob>, inputs: &Inputs, stop: Stop) {
    let Some(cluster) = inputs.followed.clone() else { return };
    let owner = inputs.owner;
    let first = ctx.memories.with(owner, |memory| {
        memory.running = true;
        memory.stop_unsent.take() == Some(stop.trigger_id)
    });
    let not_after = not_after(stop.not_after);
    let (ctx, object) = (Arc::clone(ctx), reference(job));
    let task = ctx.metrics.task();
    tokio::spawn(async move {
        let answer = {
            let _turn = cluster.turn().await;
            send_stop(&ctx, &cluster, &stop, not_after, first).await
        };
        let word = match &answer {
            StopAnswer::Accepted => "accepted",
            StopAnswer::NotSent(_) => "not sent",
            StopAnswer::Refused(_) => "refused",
            StopAnswer::Unknown(_) => "not known",
        };
        info!(resource = %object, job_id = %stop.job_id, trigger_id = %stop.trigger_id, directory = stop.directory, answer = word, "stops a job with a savepoint");
        ctx.memories.with(owner, |memory| {
            memory.running = false;
            // Only while nothing of this stop has ever left this process.
            if first && matches!(answer, StopAnswer::NotSent(_)) {
                memory.stop_unsent = Some(stop.trigger_id);
            }
            memory.stop_sent = Some((stop.trigger_id, Timestamp::now(), answer));
        });
        cluster.attend(owner);
        cluster.poke();
        drop(task);
        let _ = ctx.wake.jobs.send(object);
    });
}

async fn send_stop(
    ctx: &Context,
    cluster: &crate::registry::Cluster,
    stop: &Stop,
    not_after: Instant,
    first: bool,
) -> StopAnswer {
    if let Some(refusal) = too_late(ctx, not_after) {
        return StopAnswer::NotSent(refusal);
    }
    if first && ctx.taking.is_of(stop.job_id) {
        let message = "a Savepoint of the job is being taken";
        return StopAnswer::NotSent(Refusal::new(Reason::InProgress, message));
    }
    let request = savepoint_request(stop.trigger_id, &stop.directory, stop.format);
    match cluster.client().stop_with_savepoint(stop.job_id, &request).await {
        // A cluster that takes no ids has taken the request all the same: its savepoint is found by its directory.
        Ok(TriggerReply::Accepted | TriggerReply::OtherTrigger(_)) => StopAnswer::Accepted,
        Err(error) => match effect_of(&error) {
            NoReply::NotSent => StopAnswer::NotSent(refusal(&error)),
            NoReply::Refused => StopAnswer::Refused(refusal(&error)),
            NoReply::Unknown => StopAnswer::Unknown(refusal(&error)),
        },
    }
}

/// A request for a savepoint, in Flink's words.
pub(super) fn savepoint_request(
    trigger_id: TriggerId,
    directory: &str,
    format: crate::api::job::SavepointFormat,
) -> SavepointRequest {
    SavepointRequest {
        trigger_id,
        target_directory: directory.to_owned(),
        format: match format {
            crate::api::job::SavepointFormat::Native => SavepointFormat::Native,
            crate::api::job::SavepointFormat::Canonical => SavepointFormat::Canonical,
        },
    }
}

/// What a request did that was not answered as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoReply {
    /// Nothing: it did not reach Flink.
    NotSent,
    /// Nothing: Flink refused it.
    Refused,
    /// Nobody knows.
    Unknown,
}

/// What a request for a savepoint, or a stop, did that came to this error.
pub(super) fn effect_of(error: &FlinkError) -> NoReply {
    match error {
        FlinkError::NotSent(_) | FlinkError::Unauthorized(_) => NoReply::NotSent,
        FlinkError::Rejected { .. }
        | FlinkError::NotFound(_)
        | FlinkError::Conflict(_)
        | FlinkError::Duplicate(_)
        | FlinkError::JarMissing(_)
        | FlinkError::SubmissionDisabled(_) => NoReply::Refused,
        FlinkError::Timeout(_)
        | FlinkError::Lost(_)
        | FlinkError::Unavailable(_)
        | FlinkError::NotFlink(_)
        | FlinkError::TooLarge(_) => NoReply::Unknown,
    }
}

/// Until when a request may be sent that is to be sent by that time: counted on from here by a clock that nobody sets.
pub(super) fn not_after(time: Timestamp) -> Instant {
    let left = time.duration_since(Timestamp::now());
    Instant::now() + Duration::try_from(left).unwrap_or_default()
}

/// Why a request is not sent any more: the last look before it leaves. A process that was frozen must not send what another
/// has taken over.
pub(super) fn too_late(ctx: &Context, not_after: Instant) -> Option<Refusal> {
    let may = Instant::now() < not_after && ctx.leadership.is_leader();
    let message = "this process was held up, or lost its leadership, between its decision and the request";
    (!may).then(|| Refusal::new(Reason::SubmissionTimeout, message))
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
