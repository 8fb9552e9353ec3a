//! Jars on the clusters: fetched by content, uploaded once for each content and JobManager process, shared by every job that
//! uses it, and deleted when nobody has needed it for a while.
//!
//! An upload changes nothing that matters, so it needs no record and no fresh resource. What is recorded is the jar's id, in
//! the intent of each submission: a jar that an intent names is never deleted.

mod idle;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use kube::runtime::reflector::ObjectRef;
use parking_lot::Mutex;
use tracing::{info, warn};

use super::context::Shared;
use crate::{
    api::{FlinkSessionJob, Reason},
    artifact::{ArtifactError, Fetched, Fetcher, JarSource, JarUri},
    flink::{InstallationId, JarContent, JarId},
    job::{Input, Refusal},
    registry::{Cluster, SessionKey},
};

/// For how long a jar that was fetched just now serves starts without asking its host again.
const FRESH: Duration = Duration::from_secs(10);

/// Which jar on which cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Need {
    key: SessionKey,
    /// Where it is; None for a job whose class is on the cluster.
    uri: Option<JarUri>,
    sha256: Option<Arc<str>>,
}

impl Need {
    /// The need of a job.
    #[must_use]
    pub fn new(key: &SessionKey, uri: Option<JarUri>, sha256: Option<&str>) -> Self {
        Self {
            key: key.clone(),
            uri,
            sha256: sha256.map(Into::into),
        }
    }
}

#[derive(Debug)]
enum Progress {
    Preparing,
    Ready {
        jar_id: JarId,
        process: Arc<str>,
        at: Instant,
    },
    Refused {
        refusal: Refusal,
        until: Instant,
    },
    Retrying {
        refusal: Refusal,
        until: Instant,
    },
}

#[derive(Debug)]
struct Entry {
    progress: Progress,
    waiters: HashSet<ObjectRef<FlinkSessionJob>>,
    failures: u32,
}

/// A jar of ours on a cluster.
#[derive(Debug, Clone)]
struct OnCluster {
    jar_id: JarId,
    process: Arc<str>,
    used: Instant,
    /// Whether this process of the operator uploaded it. Another's is deleted and never run: anybody can give a jar our name.
    uploaded: bool,
}

/// One upload at a time for each content and cluster.
type Uploads = Mutex<HashMap<(SessionKey, String), Arc<tokio::sync::Mutex<()>>>>;

/// The jars of this installation.
#[derive(Debug)]
pub struct Jars {
    fetcher: Fetcher,
    installation: InstallationId,
    /// A jar that nobody needed for this long is deleted.
    idle: Duration,
    entries: Mutex<HashMap<Need, Entry>>,
    on_cluster: Mutex<HashMap<SessionKey, Vec<OnCluster>>>,
    uploads: Uploads,
    /// Processes whose upload folder was looked through.
    known: Mutex<HashMap<SessionKey, Arc<str>>>,
}

impl Jars {
    /// No jars yet. Those that nobody needed for `idle` are deleted.
    #[must_use]
    pub fn new(fetcher: Fetcher, installation: InstallationId, idle: Duration) -> Self {
        Self {
            fetcher,
            installation,
            idle,
            entries: Mutex::default(),
            on_cluster: Mutex::default(),
            uploads: Mutex::default(),
            known: Mutex::default(),
        }
    }

    /// What fetches jars, and reads whatever else is in a store.
    #[must_use]
    pub fn fetcher(&self) -> &Fetcher {
        &self.fetcher
    }

    /// How far a jar is, on this JobManager process.
    #[must_use]
    pub fn state(&self, need: &Need, process: &str) -> Input<(JarId, String)> {
        let entries = self.entries.lock();
        let Some(entry) = entries.get(need) else {
            return Input::Pending;
        };
        match &entry.progress {
            Progress::Ready {
                jar_id,
                process: has,
                at,
            } if has.as_ref() == process && at.elapsed() < FRESH => Input::Ready((jar_id.clone(), process.to_owned())),
            Progress::Refused { refusal, until } if Instant::now() < *until => Input::Refused(refusal.clone()),
            Progress::Retrying { refusal, .. } => Input::Retrying(refusal.clone()),
            Progress::Preparing | Progress::Ready { .. } | Progress::Refused { .. } => Input::Pending,
        }
    }

    /// Makes a jar ready, unless that is under way; `object` is woken then.
    pub fn want(&self, ctx: &Shared, need: &Need, cluster: &Arc<Cluster>, object: ObjectRef<FlinkSessionJob>) {
        let now = Instant::now();
        let process = cluster.state().job_manager.as_ref().map(|(id, _)| Arc::clone(id));
        {
            let mut entries = self.entries.lock();
            let fresh = || Entry {
                progress: Progress::Preparing,
                waiters: HashSet::new(),
                failures: 0,
            };
            let known = entries.contains_key(need);
            let entry = entries.entry(need.clone()).or_insert_with(fresh);
            let busy = match &entry.progress {
                Progress::Preparing => known,
                Progress::Ready { process: has, at, .. } => Some(has) == process.as_ref() && at.elapsed() < FRESH,
                Progress::Refused { until, .. } | Progress::Retrying { until, .. } => now < *until,
            };
            entry.waiters.insert(object);
            if busy {
                return;
            }
            entry.progress = Progress::Preparing;
        }
        let (ctx, need, cluster) = (Arc::clone(ctx), need.clone(), Arc::clone(cluster));
        tokio::spawn(async move {
            let result = ctx.jars.prepare(&ctx, &need, &cluster).await;
            ctx.jars.finish(&ctx, &need, result);
        });
    }

    /// A jar turned out not to be on the cluster.
    pub fn forget(&self, key: &SessionKey, jar_id: &JarId) {
        if let Some(jars) = self.on_cluster.lock().get_mut(key) {
            jars.retain(|jar| jar.jar_id != *jar_id);
        }
        self.entries.lock().retain(|need, entry| {
            let gone = matches!(&entry.progress, Progress::Ready { jar_id: has, .. } if has == jar_id);
            need.key != *key || !gone
        });
    }

    fn finish(&self, ctx: &Shared, need: &Need, result: Result<(JarId, Arc<str>), (bool, Refusal)>) {
        let mut entries = self.entries.lock();
        let Some(entry) = entries.get_mut(need) else { return };
        let now = Instant::now();
        match result {
            Ok((jar_id, process)) => {
                entry.failures = 0;
                entry.progress = Progress::Ready {
                    jar_id,
                    process,
                    at: now,
                };
                for object in std::mem::take(&mut entry.waiters) {
                    let _ = ctx.wake.jobs.send(object);
                }
            }
            Err((permanent, refusal)) => {
                entry.failures = (entry.failures + 1).min(8);
                warn!(session = %need.key.name, namespace = %need.key.namespace, error = %refusal.message, "a jar could not be made ready");
                // A jar that is not there now may be published later: asked again, ever more rarely.
                let first = if permanent { 30 } else { 1 };
                let pause = Duration::from_secs((first << (entry.failures - 1)).min(600));
                let until = now + pause;
                entry.progress = if permanent {
                    Progress::Refused { refusal, until }
                } else {
                    Progress::Retrying { refusal, until }
                };
                let waiters = entry.waiters.clone();
                for object in &waiters {
                    let _ = ctx.wake.jobs.send(object.clone());
                }
                let ctx = Arc::clone(ctx);
                tokio::spawn(async move {
                    tokio::time::sleep_until((until + Duration::from_millis(10)).into()).await;
                    for object in waiters {
                        let _ = ctx.wake.jobs.send(object);
                    }
                });
            }
        }
    }

    async fn prepare(
        &self,
        ctx: &Shared,
        need: &Need,
        cluster: &Cluster,
    ) -> Result<(JarId, Arc<str>), (bool, Refusal)> {
        let fetched = self
            .fetch(need)
            .await
            .map_err(|error| (error.is_permanent(), of_artifact(&error)))?;
        self.upload(ctx, need, cluster, &fetched)
            .await
            .map_err(|refusal| (false, refusal))
    }

    async fn fetch(&self, need: &Need) -> Result<Fetched, ArtifactError> {
        let Some(uri) = &need.uri else {
            return self.fetcher.stub().await;
        };
        let source = JarSource {
            namespace: need.key.namespace.as_ref().to_owned(),
            uri: uri.clone(),
            sha256: need.sha256.as_deref().and_then(|sum| sum.parse().ok()),
        };
        self.fetcher.fetch(&source).await
    }

    /// Uploads a jar, unless this process of the JobManager has it.
    async fn upload(
        &self,
        ctx: &Shared,
        need: &Need,
        cluster: &Cluster,
        jar: &Fetched,
    ) -> Result<(JarId, Arc<str>), Refusal> {
        let name = format!("{}-{}.jar", self.installation, jar.sha256());
        let turn = Arc::clone(self.uploads.lock().entry((need.key.clone(), name.clone())).or_default());
        let _turn = turn.lock().await;
        let process = cluster.state().job_manager.as_ref().map(|(id, _)| Arc::clone(id));
        let Some(process) = process else {
            return Err(Refusal::new(
                Reason::WaitingForCluster,
                "the JobManager could not be identified yet",
            ));
        };
        if let Some(known) = self.known_jar(&need.key, &name, &process) {
            return Ok((known, process));
        }
        let failed = |error: String| {
            Refusal::new(
                Reason::WaitingForCluster,
                format!("the jar could not be uploaded: {error}"),
            )
        };
        let file = tokio::fs::File::open(jar.path())
            .await
            .map_err(|error| failed(error.to_string()))?;
        let content = JarContent::from_file(file, jar.size());
        let begun = Instant::now();
        let uploaded = cluster
            .client()
            .upload_jar(&name, content)
            .await
            .map_err(|error| failed(error.to_string()))?;
        info!(session = %need.key.name, namespace = %need.key.namespace, jar_id = %uploaded.id, bytes = jar.size(), took = ?begun.elapsed(), "uploaded a jar");
        ctx.metrics.jar_uploaded(jar.size());
        let stored: Arc<str> = uploaded
            .job_manager
            .map_or_else(|| Arc::clone(&process), |id| id.to_string().into());
        if stored != process {
            // Another process answered than the one that was identified.
            cluster.identify();
        }
        let entry = OnCluster {
            jar_id: uploaded.id.clone(),
            process: Arc::clone(&stored),
            used: Instant::now(),
            uploaded: true,
        };
        self.on_cluster.lock().entry(need.key.clone()).or_default().push(entry);
        Ok((uploaded.id, stored))
    }

    fn known_jar(&self, key: &SessionKey, name: &str, process: &Arc<str>) -> Option<JarId> {
        let mut on_cluster = self.on_cluster.lock();
        let jars = on_cluster.get_mut(key)?;
        jars.retain(|jar| jar.process == *process);
        let jar = jars
            .iter_mut()
            .find(|jar| jar.uploaded && jar.jar_id.file_name() == name)?;
        jar.used = Instant::now();
        Some(jar.jar_id.clone())
    }
}

fn of_artifact(error: &ArtifactError) -> Refusal {
    Refusal::new(error.reason(), error.to_string())
}
