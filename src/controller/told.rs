//! What happens to a job, told to those whom its spec names.

use jiff::Timestamp;

use super::context::Context;
use crate::{
    api::{FlinkSessionJob, FlinkSessionJobSpec, Phase, Reason, Savepoint, job::Notification},
    job::{Note, Refusal},
    notify::{self, Notice, Subject},
};

/// What the administrator does not allow in `spec.notifications`.
pub(super) fn refused(ctx: &Context, spec: &FlinkSessionJobSpec) -> Option<Refusal> {
    if spec.notifications.is_empty() {
        return None;
    }
    let why = ctx.settings.notifications.check(&spec.notifications).err()?;
    Some(Refusal::new(Reason::InvalidSpec, why))
}

/// Tells what happened to a job.
pub(super) fn job(ctx: &Context, job: &FlinkSessionJob, note: &Note) {
    let targets = notify::targets(&job.spec.notifications, note.reason);
    if targets.is_empty() {
        return;
    }
    let status = job.status.as_ref();
    ctx.notifier.publish(Notice {
        subject: Subject::of(job),
        reason: note.reason,
        phase: status.and_then(|status| status.phase).map_or("", Phase::as_str),
        message: note.message.clone(),
        time: status
            .and_then(|status| status.updated_at)
            .unwrap_or_else(Timestamp::now),
        job_id: status.and_then(|status| status.job_id),
        attempt: status.and_then(|status| status.attempt),
        targets,
    });
}

/// Tells what happened to a savepoint, to those whom its job names.
pub(super) fn savepoint(ctx: &Context, savepoint: &Savepoint, note: &Note) {
    let listed = notifications_of_job(ctx, savepoint);
    let targets = notify::targets(&listed, note.reason);
    if targets.is_empty() {
        return;
    }
    let status = savepoint.status.as_ref();
    ctx.notifier.publish(Notice {
        subject: Subject::of(savepoint),
        reason: note.reason,
        phase: status
            .and_then(|status| status.phase)
            .map_or("", |phase| phase.as_str()),
        message: note.message.clone(),
        time: status
            .and_then(|status| status.updated_at)
            .unwrap_or_else(Timestamp::now),
        job_id: status.and_then(|status| status.job_id),
        attempt: None,
        targets,
    });
}

fn notifications_of_job(ctx: &Context, savepoint: &Savepoint) -> Vec<Notification> {
    let key = savepoint.spec.job_ref.as_ref().map(|job| {
        let namespace = savepoint.metadata.namespace.as_deref().unwrap_or_default();
        kube::runtime::reflector::ObjectRef::new(&job.name).within(namespace)
    });
    let job = key.and_then(|key| ctx.jobs.get(&key));
    job.map(|job| job.spec.notifications.clone()).unwrap_or_default()
}
