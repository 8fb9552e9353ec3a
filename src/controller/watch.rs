//! The controllers: what wakes them, and how they are run.

use std::{sync::Arc, time::Duration};

use futures::{Stream, StreamExt, TryStreamExt, future};
use kube::{
    Api, Client, ResourceExt,
    runtime::{
        controller::{Action, Controller},
        reflector::{self, ObjectRef},
    },
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    changes::{changes, triggers, woken},
    claims::Claims,
    context::{Context, Settings, Shared},
    counts,
    drive::{self, Driven},
    jars::Jars,
    listing::{Listing, Seen},
    memory::Memories,
    permits::Permits,
    resolutions, savepoint, session, sweep,
    taking::Taking,
    turns::{self, Turns},
};
use crate::{
    api::{FlinkSession, FlinkSessionJob, Savepoint},
    artifact::Fetcher,
    events::EventQueue,
    flink::{InstallationId, UidHash},
    leader::Leadership,
    metrics::Metrics,
    notify::Notifier,
    registry::{Pace, Registry, SessionKey, Wake},
    server::Health,
};

/// What the controllers are made of.
pub struct Parts {
    /// The Kubernetes client.
    pub client: Client,
    /// This installation.
    pub installation: InstallationId,
    /// The administrator's settings.
    pub settings: Settings,
    /// How often clusters are asked.
    pub pace: Pace,
    /// Submissions at once for each cluster.
    pub submissions: usize,
    /// How often the sweeper looks; None is twice a minute.
    pub sweep_every: Option<Duration>,
    /// A jar that no job needed for this long is deleted from its cluster.
    pub jar_idle: Duration,
    /// Where jars come from.
    pub fetcher: Fetcher,
    /// Kubernetes Events.
    pub events: EventQueue,
    /// Notifications.
    pub notifier: Notifier,
    /// Metrics.
    pub metrics: Metrics,
    /// Whether this process may act.
    pub leadership: Leadership,
    /// Liveness and readiness.
    pub health: Health,
}

/// Runs the controllers until `shutdown`, or until leadership is lost.
#[allow(clippy::too_many_lines, reason = "it puts the parts together, one after the other")]
pub async fn run(parts: Parts, shutdown: CancellationToken) {
    let (jobs_wake, jobs_woken) = mpsc::unbounded_channel();
    let (sessions_wake, sessions_woken) = mpsc::unbounded_channel();
    let (savepoints_wake, savepoints_woken) = mpsc::unbounded_channel();
    let wake = Wake {
        jobs: jobs_wake,
        sessions: sessions_wake,
        savepoints: savepoints_wake,
    };
    let registry = Registry::new(wake.clone(), parts.pace, parts.metrics.clone());
    let (jobs, jobs_writer) = reflector::store();
    let (sessions, sessions_writer) = reflector::store();
    let (savepoints, savepoints_writer) = reflector::store();
    let ctx = Arc::new(Context {
        installation: parts.installation,
        settings: parts.settings,
        jars: Jars::new(parts.fetcher, parts.installation, parts.jar_idle),
        permits: Permits::new(parts.submissions, wake.jobs.clone()),
        memories: Memories::default(),
        savepoint_memories: Memories::default(),
        resolutions: resolutions::Resolutions::default(),
        events: parts.events,
        notifier: parts.notifier,
        metrics: parts.metrics.clone(),
        leadership: parts.leadership.clone(),
        client: parts.client.clone(),
        registry,
        wake,
        sessions: sessions.clone(),
        jobs: jobs.clone(),
        savepoints: savepoints.clone(),
        savepoint_index: savepoint::Index::default(),
        taking: Taking::default(),
    });
    counts::count(&ctx);
    let concurrency = ctx.settings.concurrency;
    let config = kube::runtime::controller::Config::default().concurrency(concurrency);

    let claims = Claims::new(Arc::clone(&ctx));
    let index = Arc::clone(&ctx);
    let job_changes =
        changes(Api::<FlinkSessionJob>::all(parts.client.clone()), jobs_writer).inspect_ok(move |event| {
            claims.apply(event);
            wake_all(&index, index.savepoint_index.job(event));
        });
    let job_triggers = triggers(job_changes, |job: &FlinkSessionJob| {
        job.status.as_ref().is_none_or(|s| s.job_id.is_none())
    });
    let (sessions_of, listing) = (Arc::clone(&ctx), Listing::default());
    let session_changes = changes(Api::<FlinkSession>::all(parts.client.clone()), sessions_writer)
        .inspect_ok(move |event| listing.apply(event, |seen| wake_jobs_of(&sessions_of, seen)));
    let session_triggers = triggers(session_changes, |session: &FlinkSession| {
        session.status.as_ref().is_none_or(|s| s.phase.is_none())
    });

    let index = Arc::clone(&ctx);
    let savepoint_changes =
        changes(Api::<Savepoint>::all(parts.client.clone()), savepoints_writer).inspect_ok(move |event| {
            savepoint::warn_unheld(&index, event);
            wake_all(&index, index.savepoint_index.savepoint(event));
        });
    let savepoint_triggers = triggers(savepoint_changes, |savepoint: &Savepoint| {
        savepoint.status.as_ref().is_none_or(|s| s.phase.is_none())
    });

    let stop = CancellationToken::new();
    let caches = parts.health.require("caches");
    let (ready_jobs, ready_sessions, ready_savepoints) = (jobs.clone(), sessions.clone(), savepoints.clone());
    // Reconciles wait for this and not for the store itself: kube 5's `Store::wait_until_ready` wakes only the task that
    // asked last, and each reconcile is a task of its own, which would hang for ever.
    let filled = CancellationToken::new();
    let all_filled = filled.clone();
    let ready = async move {
        // The first decision waits for all caches: a session that is not in the cache yet is not absent.
        let both = future::join(ready_jobs.wait_until_ready(), ready_sessions.wait_until_ready());
        let _ = future::join(both, ready_savepoints.wait_until_ready()).await;
        caches.set(true);
        all_filled.cancel();
    };
    // What a job hears of the cluster, those of its savepoints hear that wait for it.
    let waiting = Arc::clone(&ctx);
    let jobs_woken = woken(jobs_woken).inspect(move |job| {
        for savepoint in waiting.savepoint_index.waiting(job) {
            let _ = waiting.wake.savepoints.send(savepoint);
        }
    });
    let driven = Driving {
        ctx: Arc::clone(&ctx),
        config: config.clone(),
        filled,
        stop: stop.clone(),
    };
    let job_controller = driven.of(
        Controller::for_stream(job_triggers, jobs),
        jobs_woken,
        ctx.wake.jobs.clone(),
    );
    let savepoint_controller = driven.of(
        Controller::for_stream(savepoint_triggers, savepoints),
        woken(savepoints_woken),
        ctx.wake.savepoints.clone(),
    );
    let session_controller = Controller::for_stream(session_triggers, sessions)
        .with_config(config)
        .reconcile_on(woken(sessions_woken))
        .graceful_shutdown_on(stop.clone().cancelled_owned())
        .run(session::reconcile, session::failed, Arc::clone(&ctx))
        .for_each(|result| {
            logged("FlinkSession", result.err());
            future::ready(())
        });
    let sweeper = sweep::run(
        Arc::clone(&ctx),
        parts.sweep_every,
        parts.health.watch_loop("sweeper", Duration::from_secs(600)),
        stop.clone(),
    );
    let lost = parts.leadership.lost();
    let end = async {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = lost.cancelled() => {}
        }
        stop.cancel();
    };
    let work = future::join5(job_controller, savepoint_controller, session_controller, sweeper, ready);
    tokio::select! {
        // Effects under way are dropped with the runtime: their records are durable.
        () = async { end.await; tokio::time::sleep(Duration::from_secs(5)).await } => {}
        _ = work => {}
    }
    for cluster in ctx.registry.clusters() {
        ctx.registry.forget(cluster.key());
    }
}

/// What the controllers of the driven kinds have in common.
struct Driving {
    ctx: Shared,
    config: kube::runtime::controller::Config,
    /// All caches are filled: the first reconcile waits for that.
    filled: CancellationToken,
    stop: CancellationToken,
}

impl Driving {
    /// Drives the resources of a kind, until it is stopped.
    fn of<K: Driven, S: Stream<Item = ObjectRef<K>> + Send + 'static>(
        &self,
        controller: Controller<K>,
        woken: S,
        wake: mpsc::UnboundedSender<ObjectRef<K>>,
    ) -> impl Future<Output = ()> + use<K, S> {
        let filled = self.filled.clone();
        let turns = Arc::new(Turns::new(self.ctx.settings.concurrency, wake));
        let reconcile = move |object: Arc<K>, ctx: Shared| {
            let (filled, turns) = (filled.clone(), Arc::clone(&turns));
            async move {
                filled.cancelled().await;
                let Some(_turn) = turns.take(object.lane(&ctx), &ObjectRef::from_obj(object.as_ref())) else {
                    return Ok(Action::requeue(turns::LOOK_AGAIN));
                };
                drive::reconcile(object, ctx).await
            }
        };
        controller
            .with_config(self.config.clone())
            .reconcile_on(woken)
            .graceful_shutdown_on(self.stop.clone().cancelled_owned())
            .run(reconcile, drive::failed::<K>, Arc::clone(&self.ctx))
            .for_each(|result| {
                logged(&K::kind(&()), result.err());
                future::ready(())
            })
    }
}

/// Wakes those whom a change concerns, and forgets what is gone.
fn wake_all(ctx: &Context, woken: savepoint::Woken) {
    for owner in woken.gone {
        ctx.savepoint_memories.forget(owner);
    }
    for savepoint in woken.savepoints {
        let _ = ctx.wake.savepoints.send(savepoint);
    }
    for job in woken.jobs {
        if let Some(uid) = ctx.jobs.get(&job).and_then(|job| job.uid()) {
            let now = std::time::Instant::now();
            ctx.memories
                .with(UidHash::of(&uid), |memory| memory.savepoints_changed = Some(now));
        }
        let _ = ctx.wake.jobs.send(job);
    }
}

fn logged<E: std::error::Error>(kind: &str, error: Option<E>) {
    // A reconcile's own errors are logged where the pause is chosen; what is left are objects that went away.
    if let Some(error) = error {
        tracing::debug!(kind, %error, "not reconciled");
    }
}

/// A session came, changed or went: its jobs look again.
fn wake_jobs_of(ctx: &Context, seen: Seen<'_, FlinkSession>) {
    match seen {
        Seen::There { object, .. } => ctx.registry.wake_jobs(&key_of(&ObjectRef::from_obj(object)), None),
        Seen::Gone(object) => ctx.registry.forget(&key_of(&object)),
    }
}

fn key_of(session: &ObjectRef<FlinkSession>) -> SessionKey {
    SessionKey::new(session.namespace.as_deref().unwrap_or_default(), &session.name)
}
