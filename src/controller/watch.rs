//! Watch streams, caches and queues.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures::{Stream, StreamExt, TryStreamExt, future, stream};
use kube::{
    Api, Client, Resource, ResourceExt,
    runtime::{
        WatchStreamExt,
        controller::Controller,
        predicates,
        reflector::{self, ObjectRef, Store},
        utils::Predicate,
        watcher,
    },
};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{
    context::{Context, Settings, Shared, session_key},
    drive,
    jars::Jars,
    memory::Memories,
    permits::Permits,
    resolutions, session, sweep,
};
use crate::{
    api::{FlinkSession, FlinkSessionJob},
    artifact::Fetcher,
    events::EventQueue,
    flink::{InstallationId, UidHash},
    leader::Leadership,
    metrics::{Kind, Metrics},
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
    let wake = Wake {
        jobs: jobs_wake,
        sessions: sessions_wake,
    };
    let registry = Registry::new(wake.clone(), parts.pace, parts.metrics.clone());
    let (jobs, jobs_writer) = reflector::store();
    let (sessions, sessions_writer) = reflector::store();
    let ctx = Arc::new(Context {
        installation: parts.installation,
        settings: parts.settings,
        jars: Jars::new(parts.fetcher, parts.installation, parts.jar_idle),
        permits: Permits::new(parts.submissions, wake.jobs.clone()),
        memories: Memories::default(),
        resolutions: resolutions::Resolutions::default(),
        events: parts.events,
        metrics: parts.metrics.clone(),
        leadership: parts.leadership.clone(),
        client: parts.client.clone(),
        registry,
        wake,
        sessions: sessions.clone(),
        jobs: jobs.clone(),
    });
    count(&ctx);
    let concurrency = ctx.settings.concurrency;
    let config = kube::runtime::controller::Config::default().concurrency(concurrency);

    let index = Index::new(Arc::clone(&ctx));
    let job_changes = changes(Api::<FlinkSessionJob>::all(parts.client.clone()), jobs_writer)
        .inspect_ok(move |event| index.apply(event));
    let job_triggers = triggers(job_changes, |job: &FlinkSessionJob| {
        job.status.as_ref().is_none_or(|s| s.job_id.is_none())
    });
    let sessions_of = Arc::clone(&ctx);
    let session_changes = changes(Api::<FlinkSession>::all(parts.client.clone()), sessions_writer)
        .inspect_ok(move |event| wake_jobs_of(&sessions_of, event));
    let session_triggers = triggers(session_changes, |session: &FlinkSession| {
        session.status.as_ref().is_none_or(|s| s.phase.is_none())
    });

    let stop = CancellationToken::new();
    let caches = parts.health.require("caches");
    let (ready_jobs, ready_sessions) = (jobs.clone(), sessions.clone());
    // Reconciles wait for this and not for the store itself: kube 5's `Store::wait_until_ready` wakes only the task that
    // asked last, and each reconcile is a task of its own, which would hang for ever.
    let filled = CancellationToken::new();
    let all_filled = filled.clone();
    let ready = async move {
        // The first decision waits for both caches: a session that is not in the cache yet is not absent.
        let _ = future::join(ready_jobs.wait_until_ready(), ready_sessions.wait_until_ready()).await;
        caches.set(true);
        all_filled.cancel();
    };
    let job_controller = Controller::for_stream(job_triggers, jobs)
        .with_config(config.clone())
        .reconcile_on(woken(jobs_woken))
        .graceful_shutdown_on(stop.clone().cancelled_owned())
        .run(
            move |job, ctx| gated(filled.clone(), job, ctx),
            drive::failed,
            Arc::clone(&ctx),
        )
        .for_each(|result| {
            logged("FlinkSessionJob", result.err());
            future::ready(())
        });
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
    let work = future::join4(job_controller, session_controller, sweeper, ready);
    tokio::select! {
        // Effects under way are dropped with the runtime: their records are durable.
        () = async { end.await; tokio::time::sleep(Duration::from_secs(5)).await } => {}
        _ = work => {}
    }
    for cluster in ctx.registry.clusters() {
        ctx.registry.forget(cluster.key());
    }
}

/// The first reconcile of a job waits until the sessions are in the cache too.
async fn gated(
    ready: CancellationToken,
    job: Arc<FlinkSessionJob>,
    ctx: Shared,
) -> Result<kube::runtime::controller::Action, drive::Error> {
    ready.cancelled().await;
    drive::reconcile(job, ctx).await
}

fn logged<E: std::error::Error>(kind: &'static str, error: Option<E>) {
    // A reconcile's own errors are logged where the pause is chosen; what is left are objects that went away.
    if let Some(error) = error {
        tracing::debug!(kind, %error, "not reconciled");
    }
}

type Change<K> = Result<watcher::Event<K>, watcher::Error>;

/// The watch of a kind, kept in a cache. Nobody needs managed fields, and they are half of an object.
fn changes<K>(api: Api<K>, writer: reflector::store::Writer<K>) -> impl Stream<Item = Change<K>>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Send + Sync + 'static,
{
    let mut told = std::time::Instant::now().checked_sub(Duration::from_secs(3600));
    watcher(api, watcher::Config::default())
        .default_backoff()
        .modify(|object| {
            object.managed_fields_mut().clear();
            object
                .annotations_mut()
                .remove("kubectl.kubernetes.io/last-applied-configuration");
        })
        .reflect(writer)
        .inspect_err(move |error| {
            if told.is_none_or(|told| told.elapsed() > Duration::from_secs(60)) {
                warn!(kind = %K::kind(&()), %error, "the watch failed and is taken up again");
                told = Some(std::time::Instant::now());
            }
        })
}

/// What of a watch wakes the reconcile: not our own status writes, but a status that somebody emptied (`blank`).
fn triggers<K>(
    changes: impl Stream<Item = Change<K>>,
    blank: impl Fn(&K) -> bool + Send + 'static,
) -> impl Stream<Item = Result<K, watcher::Error>>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    let state = move |object: &K| {
        let deleting = object.meta().deletion_timestamp.is_some();
        Some(u64::from(deleting) << 1 | u64::from(blank(object)))
    };
    let relevant = predicates::generation.combine(predicates::finalizers).combine(state);
    changes
        .applied_objects()
        .predicate_filter(relevant, kube::runtime::PredicateConfig::default())
}

/// A queue as a stream.
fn woken<T: Send + 'static>(queue: mpsc::UnboundedReceiver<T>) -> impl Stream<Item = T> + Send {
    stream::unfold(queue, |mut queue| async move {
        queue.recv().await.map(|item| (item, queue))
    })
}

/// The index of job resources by UID: it feeds the registry's claims and forgets what is gone.
struct Index {
    ctx: Shared,
    known: Mutex<HashMap<ObjectRef<FlinkSessionJob>, (String, SessionKey)>>,
    listing: Mutex<Option<Vec<ObjectRef<FlinkSessionJob>>>>,
}

impl Index {
    fn new(ctx: Shared) -> Self {
        Self {
            ctx,
            known: Mutex::default(),
            listing: Mutex::default(),
        }
    }

    fn apply(&self, event: &watcher::Event<FlinkSessionJob>) {
        match event {
            watcher::Event::Init => *self.listing.lock() = Some(Vec::new()),
            watcher::Event::InitApply(job) => {
                self.claim(job);
                if let Some(listed) = self.listing.lock().as_mut() {
                    listed.push(ObjectRef::from_obj(job));
                }
            }
            watcher::Event::InitDone => self.retain_listed(),
            watcher::Event::Apply(job) => self.claim(job),
            watcher::Event::Delete(job) => self.release(&ObjectRef::from_obj(job)),
        }
    }

    fn claim(&self, job: &FlinkSessionJob) {
        let Some(uid) = job.uid() else { return };
        let object = ObjectRef::from_obj(job);
        let key = session_key(job);
        let before = self.known.lock().insert(object.clone(), (uid.clone(), key.clone()));
        if let Some((old, old_key)) = before
            && old != uid
        {
            // The same name, another resource.
            self.forget(&object, &old, &old_key);
        }
        let status = job.status.as_ref();
        let foreign = |id: &crate::flink::JobId| id.owner() != UidHash::of(&uid);
        let adopted = status
            .and_then(|status| status.job_id)
            .or_else(|| job.spec.adopt.as_ref().map(|adopt| adopt.job_id));
        self.ctx
            .registry
            .claim(&key, UidHash::of(&uid), object, adopted.filter(foreign));
    }

    fn release(&self, object: &ObjectRef<FlinkSessionJob>) {
        if let Some((uid, key)) = self.known.lock().remove(object) {
            self.forget(object, &uid, &key);
        }
    }

    fn forget(&self, object: &ObjectRef<FlinkSessionJob>, uid: &str, key: &SessionKey) {
        let owner = UidHash::of(uid);
        self.ctx.registry.release(key, owner, object);
        self.ctx.permits.give_back(owner);
        self.ctx.memories.forget(owner);
        // A session that is being deleted may wait for this.
        let session = ObjectRef::new(&key.name).within(&key.namespace);
        let _ = self.ctx.wake.sessions.send(session);
    }

    /// After a relist: what was not listed is gone.
    fn retain_listed(&self) {
        let Some(listed) = self.listing.lock().take() else {
            return;
        };
        let listed: std::collections::HashSet<_> = listed.into_iter().collect();
        let gone: Vec<_> = self
            .known
            .lock()
            .keys()
            .filter(|object| !listed.contains(object))
            .cloned()
            .collect();
        for object in &gone {
            self.release(object);
        }
    }
}

/// A session came, changed or went: its jobs look again.
fn wake_jobs_of(ctx: &Context, event: &watcher::Event<FlinkSession>) {
    let session = match event {
        watcher::Event::Apply(session) | watcher::Event::Delete(session) | watcher::Event::InitApply(session) => {
            session
        }
        watcher::Event::Init | watcher::Event::InitDone => return,
    };
    let key = SessionKey::new(&session.namespace().unwrap_or_default(), &session.name_any());
    if let watcher::Event::Delete(_) = event {
        ctx.registry.forget(&key);
    } else {
        ctx.registry.wake_jobs(&key, None);
    }
}

/// Counts resources by phase at each scrape.
fn count(ctx: &Shared) {
    let jobs: Store<FlinkSessionJob> = ctx.jobs.clone();
    ctx.metrics.count_resources(Kind::FlinkSessionJob, move |phases| {
        for job in jobs.state() {
            let phase = job.status.as_ref().and_then(|status| status.phase);
            *phases
                .entry(phase.map_or("None", crate::api::Phase::as_str))
                .or_default() += 1;
        }
    });
    let sessions: Store<FlinkSession> = ctx.sessions.clone();
    ctx.metrics.count_resources(Kind::FlinkSession, move |phases| {
        for session in sessions.state() {
            let phase = session.status.as_ref().and_then(|status| status.phase);
            *phases
                .entry(phase.map_or("None", crate::api::session::SessionPhase::as_str))
                .or_default() += 1;
        }
    });
}
