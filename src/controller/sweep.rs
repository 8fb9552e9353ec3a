//! The sweeper: jobs that carry this installation's mark and belong to no resource, and jars that nobody needs.
//!
//! In steady state it costs nothing: it looks at the registry's job lists and the cache, and asks the API server only when
//! a job seems to belong to nobody.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use jiff::Timestamp;
use kube::{Api, ResourceExt, api::ListParams, runtime::reflector::ObjectRef};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    context::{OrphanPolicy, Shared},
    quorum::{self, LIST_DEADLINE, PAGE},
};
use crate::{
    api::{FlinkSession, FlinkSessionJob, Reason, session::MAX_RELEASED},
    flink::{JobId, UidHash},
    kubernetes::{ApiError, within},
    metrics::EventType,
    registry::{Cluster, Reach, SessionKey},
    server::Beat,
};

/// How often the sweeper looks.
const EVERY: Duration = Duration::from_secs(30);

/// Jobs that belonged to nobody at the last look.
type Suspects = HashSet<(SessionKey, JobId)>;

/// Sweeps until `shutdown`.
pub(super) async fn run(ctx: Shared, every: Option<Duration>, beat: Beat, shutdown: CancellationToken) {
    let mut suspects = Suspects::new();
    let every = every.unwrap_or(EVERY);
    let mut rounds = 0_u32;
    while shutdown.run_until_cancelled(tokio::time::sleep(every)).await.is_some() {
        beat.tick();
        if !ctx.leadership.is_leader() {
            continue;
        }
        suspects = orphans(&ctx, suspects).await;
        rounds = rounds.wrapping_add(1);
        if rounds.is_multiple_of(2) {
            let clusters = ctx.registry.clusters();
            for cluster in &clusters {
                ctx.jars.sweep(cluster, &ctx.jobs).await;
                beat.tick();
            }
            ctx.jars
                .forget_idle(&clusters.iter().map(|cluster| cluster.key().clone()).collect());
        }
    }
}

/// Our live jobs on a cluster that no known resource claims.
fn candidates(ctx: &Shared, cluster: &Cluster) -> Vec<JobId> {
    let state = cluster.state();
    if state.reach != Reach::Up {
        return Vec::new();
    }
    let key = cluster.key();
    // Of all sessions: several may name this cluster.
    let released = released(ctx.sessions.state().iter().map(AsRef::as_ref));
    let ours = state
        .snapshot
        .jobs()
        .iter()
        .filter(|job| job.is_live() && job.id.installation() == ctx.installation);
    let unclaimed = ours.filter(|job| !ctx.registry.is_claimed(key, job.id.owner()) && !released.contains(&job.id));
    unclaimed.map(|job| job.id).collect()
}

/// The jobs that the deletion of their resources left running on purpose.
fn released<'a>(sessions: impl Iterator<Item = &'a FlinkSession>) -> HashSet<JobId> {
    let recorded = sessions.filter_map(|session| session.status.as_ref());
    recorded
        .flat_map(|status| status.released.iter().map(|job| job.job_id))
        .collect()
}

/// One look. A job is an orphan when two looks, each with a list of all resources that was begun after the job list,
/// found nobody that it belongs to.
async fn orphans(ctx: &Shared, before: Suspects) -> Suspects {
    let mut found: Vec<(SessionKey, JobId)> = Vec::new();
    for cluster in ctx.registry.clusters() {
        found.extend(
            candidates(ctx, &cluster)
                .into_iter()
                .map(|id| (cluster.key().clone(), id)),
        );
    }
    if found.is_empty() {
        ctx.metrics.set_orphans(0);
        return Suspects::new();
    }
    let owners = match all_owners(ctx).await {
        Ok(owners) => owners,
        Err(error) => {
            warn!(%error, "could not list all jobs to look for orphans");
            return before;
        }
    };
    found.retain(|(_, id)| !owners.contains(&id.owner()));
    if found.is_empty() {
        ctx.metrics.set_orphans(0);
        return Suspects::new();
    }
    // After the jobs: a release is recorded before its resource goes, and a cache may be behind.
    let sessions = match quorum::all::<FlinkSession>(
        &Api::all(ctx.client.clone()),
        ListParams::default(),
        "list FlinkSessions",
    )
    .await
    {
        Ok(sessions) => sessions,
        Err(error) => {
            warn!(%error, "could not list all sessions to look for orphans");
            return before;
        }
    };
    let released = released(sessions.iter());
    found.retain(|(_, id)| !released.contains(id));
    ctx.metrics.set_orphans(found.len());
    let created: HashMap<SessionKey, Timestamp> = sessions
        .iter()
        .filter_map(|session| {
            let key = SessionKey::new(&session.namespace()?, &session.name_any());
            Some((key, session.metadata.creation_timestamp.as_ref()?.0))
        })
        .collect();
    let full = |session: &FlinkSession| {
        let released = session.status.as_ref().map(|status| status.released.len());
        released.is_some_and(|released| released >= MAX_RELEASED)
    };
    // A full record may have lost the job.
    let complete = !sessions.iter().any(full);
    let mut now = Suspects::new();
    for suspect in found {
        if before.contains(&suspect) {
            let on_purpose = !complete || is_older(ctx, &suspect, created.get(&suspect.0).copied());
            confirmed(ctx, &suspect, on_purpose).await;
        }
        now.insert(suspect);
    }
    now
}

/// The marks of all resources, in all namespaces, without any selector, by a quorum list.
async fn all_owners(ctx: &Shared) -> Result<HashSet<UidHash>, ApiError> {
    let jobs: Api<FlinkSessionJob> = Api::all(ctx.client.clone());
    let mut owners = HashSet::new();
    let mut parameters = ListParams::default().limit(PAGE);
    loop {
        let page = within(LIST_DEADLINE, "list FlinkSessionJobs", jobs.list_metadata(&parameters)).await?;
        owners.extend(
            page.items
                .iter()
                .filter_map(ResourceExt::uid)
                .map(|uid| UidHash::of(&uid)),
        );
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => parameters = parameters.continue_token(&token),
            None => return Ok(owners),
        }
    }
}

/// Whether a job is older than the session: what another session recorded of it, such as its release, is gone with that
/// one. Flink's start time counts on from a failover, the attempt from the record of the submission.
fn is_older(ctx: &Shared, (key, job_id): &(SessionKey, JobId), created: Option<Timestamp>) -> bool {
    let cluster = ctx.registry.cluster(key);
    let started = cluster.and_then(|cluster| cluster.state().snapshot.job(*job_id)?.start_time);
    let submitted = Timestamp::from_second(i64::from(job_id.attempt())).ok();
    created.is_none_or(|created| started.into_iter().chain(submitted).any(|time| time < created))
}

/// Tells about an orphan, and cancels it where the administrator wants that and nobody can have meant to keep it.
async fn confirmed(ctx: &Shared, (key, job_id): &(SessionKey, JobId), on_purpose: bool) {
    let Some(cluster) = ctx.registry.cluster(key) else {
        return;
    };
    let cancels = ctx.settings.orphans == OrphanPolicy::Cancel && !on_purpose;
    let what = if cancels {
        "it is cancelled"
    } else if on_purpose {
        "it may have been left running on purpose (it is older than its FlinkSession, or more jobs were released than \
         sessions record): cancel it in Flink if it was not"
    } else {
        "cancel it in Flink, or start the operator with --orphans cancel"
    };
    let message =
        format!("Flink job {job_id} carries this installation's mark and belongs to no FlinkSessionJob; {what}");
    warn!(session = %key.name, namespace = %key.namespace, %job_id, cancels, "found an orphan");
    if let Some(session) = ctx.sessions.get(&ObjectRef::new(&key.name).within(&key.namespace)) {
        ctx.tell(session.as_ref(), EventType::Warning, Reason::JobMayStillRun, message);
    }
    if cancels && ctx.leadership.is_leader() {
        match cluster.client().cancel(*job_id).await {
            Ok(()) => info!(session = %key.name, namespace = %key.namespace, %job_id, "cancelled an orphan"),
            Err(error) => {
                warn!(session = %key.name, namespace = %key.namespace, %job_id, %error, "an orphan could not be cancelled");
            }
        }
    }
}
