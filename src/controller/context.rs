//! What every reconcile shares.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{Client, Resource, ResourceExt, runtime::reflector::Store};

use super::{
    jars::Jars,
    memory::{Memories, Memory},
    permits::Permits,
    resolutions::Resolutions,
    savepoint::{self, SavepointMemory},
    taking::Taking,
};
use crate::{
    api::{FlinkSession, FlinkSessionJob, Reason, Savepoint},
    events::{Event, EventQueue, EventType},
    flink::InstallationId,
    job::{Note, NoteKind},
    leader::Leadership,
    metrics::Metrics,
    notify::{Notifier, NotifyPolicy},
    outbound::UrlPrefix,
    registry::{Registry, SessionKey, Wake},
    state_prefix::StatePrefixes,
};

/// The deadline of one call to the API server.
pub const API_DEADLINE: Duration = Duration::from_secs(15);

/// What the sweeper does with a job that carries our mark and belongs to no resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum OrphanPolicy {
    /// Tell about it.
    Report,
    /// Cancel it.
    Cancel,
}

/// The administrator's settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Addresses that a `FlinkSession` may name in `spec.endpoint.url`.
    pub allowed_endpoints: Vec<UrlPrefix>,
    /// Where the savepoints and checkpoints of a namespace may be.
    pub state_prefixes: StatePrefixes,
    /// Where notifications may go.
    pub notifications: NotifyPolicy,
    /// The domain of the Kubernetes cluster's Services.
    pub cluster_domain: String,
    /// What to do with orphans.
    pub orphans: OrphanPolicy,
    /// Reconciles at once for each kind; a quarter of them for one Flink cluster at the most.
    pub concurrency: u16,
}

/// What every reconcile shares.
pub struct Context {
    /// The Kubernetes client.
    pub client: Client,
    /// This installation.
    pub installation: InstallationId,
    /// The administrator's settings.
    pub settings: Settings,
    /// The live index of jobs.
    pub registry: Registry,
    /// The queues of the controllers.
    pub wake: Wake,
    /// Jars on the clusters.
    pub jars: Jars,
    /// Permits to submit.
    pub permits: Permits,
    /// What this process remembers of each job.
    pub memories: Memories<Memory>,
    /// What this process remembers of each savepoint.
    pub savepoint_memories: Memories<SavepointMemory>,
    /// When sessions were resolved.
    pub(super) resolutions: Resolutions,
    /// Kubernetes Events.
    pub events: EventQueue,
    /// Notifications.
    pub notifier: Notifier,
    /// Metrics.
    pub metrics: Metrics,
    /// Whether this process may act.
    pub leadership: Leadership,
    /// All sessions.
    pub sessions: Store<FlinkSession>,
    /// All jobs.
    pub jobs: Store<FlinkSessionJob>,
    /// All savepoints.
    pub savepoints: Store<Savepoint>,
    /// Which savepoints have to do with which jobs.
    pub(super) savepoint_index: savepoint::Index,
    /// The requests for savepoints that are under way.
    pub(super) taking: Taking,
}

impl Context {
    /// Publishes an Event about a resource.
    pub fn note<K>(&self, object: &K, note: Note)
    where
        K: Resource<DynamicType = ()>,
    {
        let kind = match note.kind {
            NoteKind::Normal => EventType::Normal,
            NoteKind::Warning => EventType::Warning,
        };
        self.tell(object, kind, note.reason, note.message);
    }

    /// Publishes an Event about a resource.
    pub fn tell<K>(&self, object: &K, kind: EventType, reason: Reason, message: String)
    where
        K: Resource<DynamicType = ()>,
    {
        let object: ObjectReference = object.object_ref(&());
        self.events.publish(Event {
            object,
            kind,
            reason: reason.as_str(),
            action: "Reconcile",
            note: message,
        });
    }
}

/// The session that a job names.
#[must_use]
pub fn session_key(job: &FlinkSessionJob) -> SessionKey {
    SessionKey::new(&job.namespace().unwrap_or_default(), &job.spec.session_ref.name)
}

/// Shared context.
pub type Shared = Arc<Context>;
