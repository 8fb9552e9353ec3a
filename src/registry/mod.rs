//! The job registry: the live index of the jobs that really exist on each Flink cluster.
//!
//! One poller for each cluster reads the job list once an interval and feeds every resource of that cluster; only
//! *changes* wake a reconcile. The registry is an observation: it is thrown away on restart, and nothing durable rests on
//! it. What it says about absence counts only when a job list was begun after the question ([`Cluster::confirm`]).

mod cluster;
mod facts;
mod poller;
mod snapshot;

use std::{collections::HashMap, sync::Arc};

use kube::runtime::reflector::ObjectRef;
use parking_lot::RwLock;
use tokio::sync::mpsc;

pub use cluster::{Cluster, Connection, Reach, State};
pub use facts::{Facts, Growth, SAVEPOINT_DIRECTORIES, SavepointFacts};
pub use poller::Pace;
pub use snapshot::{Snapshot, changed_owners};

use crate::{
    api::{FlinkSession, FlinkSessionJob, Savepoint},
    flink::{JobId, UidHash},
    metrics::Metrics,
};

/// A `FlinkSession`, by namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionKey {
    /// `metadata.namespace`.
    pub namespace: Arc<str>,
    /// `metadata.name`.
    pub name: Arc<str>,
}

impl SessionKey {
    /// The key of a session.
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    fn object(&self) -> ObjectRef<FlinkSession> {
        ObjectRef::new(&self.name).within(&self.namespace)
    }
}

/// Whom a change concerns.
#[derive(Debug, Default)]
struct Claims {
    /// Resources by the mark of their jobs, for each session.
    owners: HashMap<SessionKey, HashMap<UidHash, ObjectRef<FlinkSessionJob>>>,
    /// Jobs without a mark that a resource has taken over.
    adopted: HashMap<JobId, ObjectRef<FlinkSessionJob>>,
}

/// Where changes go: the queues of the controllers.
#[derive(Debug, Clone)]
pub struct Wake {
    /// Job resources to reconcile.
    pub jobs: mpsc::UnboundedSender<ObjectRef<FlinkSessionJob>>,
    /// Sessions to reconcile.
    pub sessions: mpsc::UnboundedSender<ObjectRef<FlinkSession>>,
    /// Savepoints to reconcile.
    pub savepoints: mpsc::UnboundedSender<ObjectRef<Savepoint>>,
}

/// The index of clusters and of the resources that have jobs on them.
#[derive(Debug, Clone)]
pub struct Registry {
    clusters: Arc<RwLock<HashMap<SessionKey, Arc<Cluster>>>>,
    claims: Arc<RwLock<Claims>>,
    wake: Wake,
    pace: Pace,
    metrics: Metrics,
}

impl Registry {
    /// An empty registry.
    #[must_use]
    pub fn new(wake: Wake, pace: Pace, metrics: Metrics) -> Self {
        Self {
            clusters: Arc::default(),
            claims: Arc::default(),
            wake,
            pace,
            metrics,
        }
    }

    /// The cluster of a session, when it is known where that is.
    #[must_use]
    pub fn cluster(&self, key: &SessionKey) -> Option<Arc<Cluster>> {
        self.clusters.read().get(key).cloned()
    }

    /// Follows a cluster at this connection. A session that is followed at the same one already keeps its poller.
    #[must_use]
    pub fn follow(&self, key: &SessionKey, connection: Connection) -> Arc<Cluster> {
        let mut clusters = self.clusters.write();
        if let Some(cluster) = clusters.get(key)
            && cluster.connection() == &connection
        {
            return Arc::clone(cluster);
        }
        let cluster = Arc::new(Cluster::new(key.clone(), connection));
        if let Some(old) = clusters.insert(key.clone(), Arc::clone(&cluster)) {
            old.stop();
        }
        poller::spawn(Arc::clone(&cluster), self.clone(), self.pace);
        cluster
    }

    /// Stops following a cluster.
    pub fn forget(&self, key: &SessionKey) {
        if let Some(cluster) = self.clusters.write().remove(key) {
            cluster.stop();
        }
        self.wake_jobs(key, None);
    }

    /// Every cluster that is followed.
    #[must_use]
    pub fn clusters(&self) -> Vec<Arc<Cluster>> {
        self.clusters.read().values().cloned().collect()
    }

    /// A resource has, or may have, jobs on the session's cluster.
    pub fn claim(&self, key: &SessionKey, owner: UidHash, object: ObjectRef<FlinkSessionJob>, adopted: Option<JobId>) {
        let mut claims = self.claims.write();
        if let Some(job_id) = adopted {
            claims.adopted.insert(job_id, object.clone());
        }
        claims.owners.entry(key.clone()).or_default().insert(owner, object);
    }

    /// A resource is gone.
    pub fn release(&self, key: &SessionKey, owner: UidHash, object: &ObjectRef<FlinkSessionJob>) {
        let mut claims = self.claims.write();
        claims.adopted.retain(|_, other| other != object);
        if let Some(owners) = claims.owners.get_mut(key) {
            owners.remove(&owner);
            if owners.is_empty() {
                claims.owners.remove(key);
            }
        }
    }

    /// Whether a resource with this mark is known: one of this session, or of another, which may lead to the same cluster.
    #[must_use]
    pub fn is_claimed(&self, key: &SessionKey, owner: UidHash) -> bool {
        let claims = self.claims.read();
        let here = claims.owners.get(key).is_some_and(|owners| owners.contains_key(&owner));
        here || claims.owners.values().any(|owners| owners.contains_key(&owner))
    }

    /// Wakes the resources with these marks, or all of the session.
    pub(crate) fn wake_jobs(&self, key: &SessionKey, changed: Option<&[JobId]>) {
        let claims = self.claims.read();
        let Some(owners) = claims.owners.get(key) else { return };
        let send = |object: &ObjectRef<FlinkSessionJob>| {
            // The receiver is gone only when the process ends.
            let _ = self.wake.jobs.send(object.clone());
        };
        match changed {
            None => owners.values().for_each(send),
            Some(ids) => {
                let by_mark = ids.iter().filter_map(|id| owners.get(&id.owner()));
                let by_id = ids.iter().filter_map(|id| claims.adopted.get(id));
                by_mark.chain(by_id).for_each(send);
            }
        }
    }

    /// Wakes the resource with this mark.
    fn wake_owner(&self, key: &SessionKey, owner: UidHash) {
        let claims = self.claims.read();
        if let Some(object) = claims.owners.get(key).and_then(|owners| owners.get(&owner)) {
            let _ = self.wake.jobs.send(object.clone());
        }
    }

    fn wake_session(&self, key: &SessionKey) {
        let _ = self.wake.sessions.send(key.object());
    }
}
