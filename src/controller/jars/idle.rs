//! Jars that nobody needs any more.

use std::{collections::HashSet, sync::Arc, time::Instant};

use kube::runtime::reflector::Store;
use tracing::{info, warn};

use super::{Jars, OnCluster, Progress};
use crate::{
    api::{FlinkSessionJob, JobStatus},
    flink::JarId,
    registry::{Cluster, Reach, SessionKey},
};

impl Jars {
    /// Deletes the jars of a cluster that nobody needs any more. Call it once a minute.
    pub async fn sweep(&self, cluster: &Cluster, jobs: &Store<FlinkSessionJob>) {
        let state = cluster.state();
        let (Reach::Up, Some((process, _))) = (&state.reach, &state.job_manager) else {
            return;
        };
        if !state.submission_enabled {
            return;
        }
        let key = cluster.key();
        if self.known.lock().get(key) != Some(process) {
            self.look_through(cluster, process).await;
        }
        let idle: Vec<JarId> = {
            let on_cluster = self.on_cluster.lock();
            let jars = on_cluster.get(key).into_iter().flatten();
            jars.filter(|jar| jar.process == *process && jar.used.elapsed() > self.idle)
                .map(|jar| jar.jar_id.clone())
                .collect()
        };
        if idle.is_empty() {
            return;
        }
        let named: Vec<JarId> = jobs
            .state()
            .iter()
            .filter_map(|job| {
                job.status
                    .as_ref()
                    .and_then(JobStatus::submission)
                    .map(|intent| intent.jar_id.clone())
            })
            .collect();
        for jar_id in idle.into_iter().filter(|jar_id| !named.contains(jar_id)) {
            self.forget(key, &jar_id);
            match cluster.client().delete_jar(&jar_id).await {
                Ok(()) => {
                    info!(session = %key.name, namespace = %key.namespace, %jar_id, "deleted a jar that nobody needs");
                }
                Err(error) => {
                    warn!(session = %key.name, namespace = %key.namespace, %jar_id, %error, "a jar could not be deleted");
                    // It is looked for again, and found if it is still there.
                    self.known.lock().remove(key);
                }
            }
        }
    }

    /// Finds the jars that an earlier process of this installation left, to delete them when they stay idle.
    async fn look_through(&self, cluster: &Cluster, process: &Arc<str>) {
        let Ok(jars) = cluster.client().jars().await else {
            return;
        };
        let key = cluster.key();
        let prefix = format!("{}-", self.installation);
        let mut on_cluster = self.on_cluster.lock();
        let known = on_cluster.entry(key.clone()).or_default();
        known.retain(|jar| jar.process == *process);
        for jar in jars.into_iter().filter(|jar| jar.id.file_name().starts_with(&prefix)) {
            if !known.iter().any(|other| other.jar_id == jar.id) {
                known.push(OnCluster {
                    jar_id: jar.id,
                    process: Arc::clone(process),
                    used: Instant::now(),
                    uploaded: false,
                });
            }
        }
        self.known.lock().insert(key.clone(), Arc::clone(process));
    }

    /// Forgets what nobody asked for in a while, and everything of clusters that are not followed any more.
    pub fn forget_idle(&self, followed: &HashSet<SessionKey>) {
        let now = Instant::now();
        let old = |time: Instant| now.saturating_duration_since(time) > self.idle;
        self.entries.lock().retain(|need, entry| {
            let idle = match &entry.progress {
                Progress::Preparing => return true,
                Progress::Ready { at, .. } => old(*at),
                Progress::Refused { until, .. } | Progress::Retrying { until, .. } => old(*until),
            };
            followed.contains(&need.key) && !idle
        });
        // A turn that somebody holds or waits for is in use.
        self.uploads.lock().retain(|_, turn| Arc::strong_count(turn) > 1);
        self.on_cluster.lock().retain(|key, _| followed.contains(key));
        self.known.lock().retain(|key, _| followed.contains(key));
    }
}
