//! The controller of `FlinkSession`: where the cluster is, what it says, and when the resource may go.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams, PostParams},
    runtime::controller::Action,
};
use serde_json::json;
use tracing::error;

use super::{
    context::{API_DEADLINE, Context, Shared},
    endpoint::{self, Resolved},
    resolutions::CREDENTIALS_AGAIN,
    users,
};
use crate::{
    api::{
        FlinkSession, FlinkSessionStatus, Reason,
        condition::{self, ConditionStatus, ConditionType},
        keys::{FIELD_MANAGER, SESSION_FINALIZER},
        session::{JobCounts, SessionPhase, Slots},
    },
    flink::JobState,
    job::{Refusal, registry_id},
    kubernetes::{ApiError, within},
    metrics::{EventType, Kind, ReconcileOutcome},
    registry::{Reach, SessionKey, State},
};

/// A session whose target is not there yet is looked at again after this time.
const UNRESOLVED_AGAIN: Duration = Duration::from_secs(5);

/// Credentials that the cluster refused are read again after this time: their owner corrects them in the Secret.
const REFUSED_AGAIN: Duration = Duration::from_secs(10);

/// The numbers in the status are written at most this often.
const NUMBERS_EVERY: Duration = Duration::from_secs(10);

/// Reconciles one session.
pub async fn reconcile(session: Arc<FlinkSession>, ctx: Shared) -> Result<Action, super::Error> {
    let measured = ctx.metrics.reconcile(Kind::FlinkSession);
    let result = drive(&session, &ctx).await;
    measured.finish(match &result {
        Ok(_) => ReconcileOutcome::Scheduled,
        Err(super::Error::Api(error)) if error.is_conflict() => ReconcileOutcome::Conflict,
        Err(_) => ReconcileOutcome::Error,
    });
    result
}

/// What to do after a failed reconcile.
#[allow(
    clippy::needless_pass_by_value,
    reason = "the signature that kube's Controller asks for"
)]
pub fn failed(session: Arc<FlinkSession>, error: &super::Error, ctx: Shared) -> Action {
    let super::Error::Api(cause) = error else {
        return Action::await_change();
    };
    if cause.is_conflict() || cause.is_not_found() {
        return Action::requeue(Duration::from_millis(200));
    }
    ctx.metrics.reconcile_error(Kind::FlinkSession, cause.reason());
    error!(namespace = session.namespace(), name = session.name_any(), %error, "reconcile failed, tried again");
    Action::requeue(Duration::from_secs(2))
}

async fn drive(session: &FlinkSession, ctx: &Shared) -> Result<Action, super::Error> {
    let namespace = session.namespace().ok_or(super::Error::Nameless)?;
    let api: Api<FlinkSession> = Api::namespaced(ctx.client.clone(), &namespace);
    let key = SessionKey::new(&namespace, &session.name_any());
    if !ctx.leadership.is_leader() {
        return Ok(Action::requeue(Duration::from_secs(1)));
    }
    let deleting = session.metadata.deletion_timestamp.is_some();
    let finalizer = session.finalizers().iter().any(|name| name == SESSION_FINALIZER);
    if deleting && !finalizer {
        ctx.registry.forget(&key);
        return Ok(Action::await_change());
    }
    if !deleting && !finalizer {
        finalizers(&api, session, true).await?;
        return Ok(Action::requeue(Duration::from_millis(10)));
    }
    let resolved = match ctx.resolutions.still_good(ctx, &key, session) {
        Some(connection) => Resolved::At(Box::new(connection)),
        None => endpoint::resolve(ctx, session).await?,
    };
    let state = match &resolved {
        Resolved::At(connection) => {
            ctx.resolutions.note(&key, session);
            Some(ctx.registry.follow(&key, connection.as_ref().clone()).state())
        }
        Resolved::Not { .. } => {
            if ctx.registry.cluster(&key).is_some() && !matches!(&resolved, Resolved::Not { transient: true, .. }) {
                ctx.registry.forget(&key);
            }
            None
        }
    };
    let users = if deleting {
        users::users(ctx, session, &namespace, Timestamp::now()).await?
    } else {
        Vec::new()
    };
    if deleting && users.is_empty() {
        finalizers(&api, session, false).await?;
        ctx.registry.forget(&key);
        return Ok(Action::await_change());
    }
    let pause = write(ctx, &api, session, &resolved, state.as_deref(), &users).await?;
    let auth = session
        .spec
        .endpoint
        .as_ref()
        .is_some_and(|endpoint| endpoint.auth.is_some() || endpoint.tls.is_some());
    let refused = state
        .as_ref()
        .is_some_and(|state| matches!(&state.reach, Reach::Down(refusal) if refusal.reason == Reason::Unauthorized));
    Ok(match (&resolved, pause) {
        (Resolved::Not { .. }, _) => Action::requeue(UNRESOLVED_AGAIN),
        _ if auth && refused => Action::requeue(REFUSED_AGAIN),
        (_, Some(pause)) => Action::requeue(pause),
        _ if deleting => Action::requeue(Duration::from_secs(2)),
        _ if auth => Action::requeue(CREDENTIALS_AGAIN),
        _ if session.spec.flink_deployment_ref.is_some() => Action::requeue(Duration::from_secs(30)),
        _ => Action::await_change(),
    })
}

async fn finalizers(api: &Api<FlinkSession>, session: &FlinkSession, wanted: bool) -> Result<(), ApiError> {
    let mut finalizers: Vec<String> = session
        .finalizers()
        .iter()
        .filter(|name| *name != SESSION_FINALIZER)
        .cloned()
        .collect();
    if wanted {
        finalizers.push(SESSION_FINALIZER.to_owned());
    }
    let patch = json!({ "metadata": {
        "uid": session.metadata.uid,
        "resourceVersion": session.metadata.resource_version,
        "finalizers": finalizers,
    }});
    let parameters = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let (name, patch) = (session.name_any(), Patch::Merge(&patch));
    let call = api.patch(&name, &parameters, &patch);
    match within(API_DEADLINE, "patch finalizers of FlinkSession", call).await {
        Err(error) if !error.is_not_found() => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Writes the status when it changed. Returns when to look again if the write was put off.
async fn write(
    ctx: &Context,
    api: &Api<FlinkSession>,
    session: &FlinkSession,
    resolved: &Resolved,
    state: Option<&State>,
    users: &[String],
) -> Result<Option<Duration>, ApiError> {
    let old = session.status.clone().unwrap_or_default();
    let now = Timestamp::now();
    let mut status = wanted(session, &old, resolved, state, users, now);
    if status == old {
        return Ok(None);
    }
    let words = |status: &FlinkSessionStatus| {
        let conditions = status
            .conditions
            .iter()
            .map(|c| (c.r#type, c.status, c.reason.clone()))
            .collect::<Vec<_>>();
        (
            status.phase,
            status.observed_generation,
            status.url.clone(),
            status.submission_enabled,
            conditions,
        )
    };
    let urgent = words(&status) != words(&old);
    if !urgent
        && let Some(last) = old.updated_at
        && let Ok(age) = Duration::try_from(now.duration_since(last))
        && age < NUMBERS_EVERY
    {
        return Ok(Some((NUMBERS_EVERY.saturating_sub(age)).max(Duration::from_millis(50))));
    }
    status.updated_at = Some(now);
    let mut stored = FlinkSession::new(&session.name_any(), session.spec.clone());
    stored.metadata.namespace.clone_from(&session.metadata.namespace);
    stored.metadata.uid.clone_from(&session.metadata.uid);
    stored
        .metadata
        .resource_version
        .clone_from(&session.metadata.resource_version);
    let ready = condition::find(&status.conditions, ConditionType::Ready).cloned();
    let before = condition::find(&old.conditions, ConditionType::Ready).map(|ready| ready.reason.clone());
    stored.status = Some(status);
    let parameters = PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    };
    let name = session.name_any();
    let call = api.replace_status(&name, &parameters, &stored);
    within(API_DEADLINE, "replace status of FlinkSession", call).await?;
    if let Some(ready) = ready.filter(|ready| Some(&ready.reason) != before.as_ref())
        && let Some(reason) = Reason::ALL
            .iter()
            .copied()
            .find(|reason| reason.as_str() == ready.reason)
    {
        let kind = if ready.status == ConditionStatus::True {
            EventType::Normal
        } else {
            EventType::Warning
        };
        ctx.tell(session, kind, reason, ready.message);
    }
    Ok(None)
}

fn wanted(
    session: &FlinkSession,
    old: &FlinkSessionStatus,
    resolved: &Resolved,
    state: Option<&State>,
    users: &[String],
    now: Timestamp,
) -> FlinkSessionStatus {
    use ConditionType::{Ready, Reconciling, Stalled};
    let mut status = old.clone();
    let generation = session.metadata.generation.unwrap_or_default();
    status.observed_generation = generation;
    status
        .id
        .get_or_insert_with(|| registry_id(session.metadata.uid.as_deref().unwrap_or_default()));
    if let Resolved::At(connection) = resolved {
        status.url = Some(connection.url.to_string());
    }
    if let Some(state) = state.filter(|state| state.reach == Reach::Up) {
        facts(&mut status, state);
        released(&mut status, state);
    }
    let (phase, standing, refusal) = verdict(resolved, state, users, session.metadata.deletion_timestamp.is_some());
    status.phase = Some(phase);
    let mut put = |kind, value, reason, message: &str| {
        condition::set(&mut status.conditions, kind, value, reason, message, generation, now);
    };
    put(Ready, standing.0, refusal.reason, &refusal.message);
    match standing.1 {
        Some(Stalled) => put(Stalled, ConditionStatus::True, refusal.reason, &refusal.message),
        Some(_) => put(Reconciling, ConditionStatus::True, refusal.reason, &refusal.message),
        None => {}
    }
    for kind in [Reconciling, Stalled]
        .into_iter()
        .filter(|kind| standing.1 != Some(*kind))
    {
        condition::remove(&mut status.conditions, kind);
    }
    status
}

fn facts(status: &mut FlinkSessionStatus, state: &State) {
    status.flink_version = state.flink_version.as_ref().map(ToString::to_string);
    status.submission_enabled = Some(state.submission_enabled);
    if let Some(overview) = state.overview {
        status.task_managers = Some(overview.task_managers);
        status.slots = Some(Slots {
            total: overview.total,
            available: overview.available,
        });
    }
    let mut counts = JobCounts::default();
    for job in state.snapshot.jobs() {
        let count = match job.state {
            JobState::Finished => &mut counts.finished,
            JobState::Canceled => &mut counts.cancelled,
            JobState::Failed => &mut counts.failed,
            JobState::Initializing
            | JobState::Created
            | JobState::Running
            | JobState::Failing
            | JobState::Cancelling
            | JobState::Restarting
            | JobState::Suspended
            | JobState::Reconciling
            | JobState::Unknown => &mut counts.running,
        };
        *count += 1;
    }
    status.jobs = Some(counts);
}

/// A released job that has ended needs no protection from the sweeper any more.
fn released(status: &mut FlinkSessionStatus, state: &State) {
    status.released.retain(|released| {
        state
            .snapshot
            .job(released.job_id)
            .is_none_or(crate::job::JobSeen::is_live)
    });
}

type Standing = (ConditionStatus, Option<ConditionType>);

fn verdict(
    resolved: &Resolved,
    state: Option<&State>,
    users: &[String],
    deleting: bool,
) -> (SessionPhase, Standing, Refusal) {
    let reconciling = (ConditionStatus::False, Some(ConditionType::Reconciling));
    if deleting {
        let some = users.iter().take(5).map(String::as_str).collect::<Vec<_>>().join(", ");
        let more = users.len().saturating_sub(5);
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        let message = format!("the session goes when these have ended or are deleted: {some}{more}");
        return (
            SessionPhase::Deleting,
            reconciling,
            Refusal::new(Reason::DeletionBlocked, message),
        );
    }
    let state = match resolved {
        Resolved::Not {
            refusal,
            transient: true,
        } => return (SessionPhase::Pending, reconciling, refusal.clone()),
        Resolved::Not {
            refusal,
            transient: false,
        } => {
            let stalled = (ConditionStatus::False, Some(ConditionType::Stalled));
            return (SessionPhase::Failed, stalled, refusal.clone());
        }
        Resolved::At(_) => state,
    };
    match state.map(|state| &state.reach) {
        Some(Reach::Up) => {
            let refusal = Refusal::new(Reason::Ready, "the cluster answers and is followed");
            (SessionPhase::Ready, (ConditionStatus::True, None), refusal)
        }
        Some(Reach::Down(refusal)) if refusal.reason == Reason::Unauthorized => (
            SessionPhase::Unreachable,
            (ConditionStatus::False, Some(ConditionType::Stalled)),
            refusal.clone(),
        ),
        Some(Reach::Down(refusal)) => (SessionPhase::Unreachable, reconciling, refusal.clone()),
        Some(Reach::NotPolled) | None => (
            SessionPhase::Pending,
            reconciling,
            Refusal::new(Reason::WaitingForCluster, "the cluster is being asked"),
        ),
    }
}
