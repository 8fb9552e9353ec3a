//! One case's own world: a namespace, a Flink behind a proxy, a session, and operators.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use devcluster::{
    fake::{FakeFlink, FakeOptions},
    process::Process,
    proxy::{Proxy, Read},
};
use flink_job_operator::{
    api::{FlinkSession, FlinkSessionJob, JobStatus, Phase, session::SessionPhase},
    flink::InstallationId,
    kubernetes::IDENTITY_KEY,
};
use k8s_openapi::api::{
    core::v1::{ConfigMap, Namespace},
    events::v1::Event,
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
    runtime::wait::await_condition,
};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::{
    Failure, WITHIN,
    cluster::Cluster,
    ground::{Flags, Ground},
};
use crate::harness::rbac;

pub(super) const SESSION: &str = "etl";
pub(super) const JOB: &str = "orders";
const IDENTITY: &str = "flink-job-operator-identity";

/// An operator process and its line to the API server.
pub(super) struct Operator {
    pub(super) process: Process,
    pub(super) kube: Proxy,
    flags: Flags,
}

pub(super) struct World<C = FakeFlink> {
    ground: Arc<Ground>,
    /// Whether operators see all namespaces, and not only this one.
    wide: bool,
    pub(super) namespace: String,
    pub(super) cluster: C,
    pub(super) flink: Proxy,
    pub(super) jobs: Api<FlinkSessionJob>,
    /// More of the spec of each job.
    pub(super) more: Value,
    pub(super) client: Client,
    endpoints: Mutex<Vec<String>>,
    pub(super) logs: Mutex<Vec<std::path::PathBuf>>,
    started: AtomicU32,
    /// The job resources that were created: their names and UIDs.
    pub(super) created: Mutex<Vec<(String, String)>>,
    /// The names that Savepoints give to paths, also of those that are gone.
    pub(super) names: Mutex<BTreeMap<String, BTreeSet<String>>>,
}

/// A name that no other world has.
fn fresh_namespace() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("crash-{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

impl World {
    /// A world beside others on one API server: its operators see its namespace only.
    pub(super) async fn new(options: FakeOptions) -> Self {
        let fake = FakeFlink::start(options).await.unwrap();
        Self::on(Ground::shared().await, false, fresh_namespace(), fake).await
    }

    /// A world with an API server of its own: its operators see all namespaces.
    pub(super) async fn wide(options: FakeOptions) -> Self {
        let fake = FakeFlink::start(options).await.unwrap();
        Self::on(Arc::new(Ground::start().await), true, fresh_namespace(), fake).await
    }
}

impl<C: Cluster> World<C> {
    /// A world for a plan.
    pub(super) async fn of_plan() -> Self {
        let namespace = fresh_namespace();
        let cluster = C::start(&namespace).await;
        Self::on(Ground::shared().await, false, namespace, cluster).await
    }

    async fn on(ground: Arc<Ground>, wide: bool, namespace: String, cluster: C) -> Self {
        let client = ground.plane.client().await.unwrap();
        let flink = Proxy::to_flink(&cluster.url()).await.unwrap();
        let world = Self {
            ground,
            wide,
            jobs: Api::namespaced(client.clone(), &namespace),
            namespace,
            cluster,
            flink,
            more: json!({}),
            client,
            endpoints: Mutex::default(),
            logs: Mutex::default(),
            started: AtomicU32::new(0),
            created: Mutex::default(),
            names: Mutex::default(),
        };
        world.add_namespace(&world.namespace).await;
        rbac::install_in(&world.client, &world.namespace).await;
        world.add_session(SESSION, &world.flink.url()).await;
        world
    }

    /// The program of this world's jobs.
    pub(super) async fn program(&self) -> Value {
        self.cluster.program(&self.ground).await
    }

    pub(super) async fn add_namespace(&self, name: &str) {
        let object: Namespace = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
        let namespaces = Api::all(self.client.clone());
        namespaces.create(&PostParams::default(), &object).await.unwrap();
    }

    /// Adds a session; operators that are started from now on may use its address.
    pub(super) async fn add_session(&self, name: &str, url: &str) {
        self.add_session_in(&self.namespace, name, url).await;
    }

    pub(super) async fn add_session_in(&self, namespace: &str, name: &str, url: &str) {
        self.endpoints.lock().push(url.to_owned());
        let session = json!({"metadata": {"name": name}, "spec": {"endpoint": {"url": url}}});
        let session: FlinkSession = object("FlinkSession", session);
        let sessions = Api::namespaced(self.client.clone(), namespace);
        sessions.create(&PostParams::default(), &session).await.unwrap();
    }

    pub(super) fn sessions(&self) -> Api<FlinkSession> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Starts an operator with a line of its own to the API server.
    pub(super) async fn operator(&self) -> Operator {
        self.operator_with(Flags::new()).await
    }

    /// Starts an operator with some flags of its own.
    pub(super) async fn operator_with(&self, flags: Flags) -> Operator {
        let narrow = (!self.wide).then_some(self.namespace.as_str());
        let kube = Proxy::to_api_server(&self.ground.user, narrow).await.unwrap();
        Operator {
            process: self.start(&kube, &flags),
            kube,
            flags,
        }
    }

    /// Starts it again, on the same line.
    pub(super) fn restart(&self, operator: &mut Operator) {
        operator.process = self.start(&operator.kube, &operator.flags);
    }

    fn start(&self, kube: &Proxy, flags: &Flags) -> Process {
        let name = format!(
            "{}-{}",
            self.namespace,
            (b'a' + u8::try_from(self.started.fetch_add(1, Ordering::Relaxed)).unwrap()) as char
        );
        let kubeconfig = self.ground.supervisor.directory().join(format!("{name}.kubeconfig"));
        kube.write_kubeconfig(&kubeconfig).unwrap();
        let command = self
            .ground
            .operator(&name, &kubeconfig, &self.namespace, &self.endpoints.lock(), flags);
        let process = self.ground.supervisor.spawn(&name, &command).unwrap();
        self.logs.lock().push(process.log().to_owned());
        process
    }

    pub(super) async fn create(&self, name: &str) -> FlinkSessionJob {
        self.create_with(name, self.more.clone()).await
    }

    /// Creates a job; `more` is merged into its spec.
    pub(super) async fn create_with(&self, name: &str, more: Value) -> FlinkSessionJob {
        self.create_in(&self.namespace, name, more).await
    }

    pub(super) async fn create_in(&self, namespace: &str, name: &str, more: Value) -> FlinkSessionJob {
        let mut spec = json!({
            "sessionRef": {"name": SESSION},
            "job": {"jarURI": self.ground.jar(), "entryClass": "CounterJob", "args": ["--generation", "1"]},
            "upgradeMode": "Stateless",
        });
        if let (Some(spec), Value::Object(more)) = (spec.as_object_mut(), more) {
            spec.extend(more);
        }
        let job: FlinkSessionJob = object("FlinkSessionJob", json!({"metadata": {"name": name}, "spec": spec}));
        let jobs = Api::namespaced(self.client.clone(), namespace);
        let job: FlinkSessionJob = jobs.create(&PostParams::default(), &job).await.unwrap();
        self.created
            .lock()
            .push((name.to_owned(), job.uid().unwrap_or_default()));
        job
    }

    /// The spec of a program with another jar than the other jobs have.
    pub(super) fn other_program(&self) -> Value {
        json!({"job": {"jarURI": self.ground.other_jar(), "entryClass": "CounterJob"}})
    }

    /// Edits a job in a way that needs a restart.
    pub(super) async fn edit(&self, name: &str) {
        let mut args = self.more["job"]["args"].as_array().cloned().unwrap_or_default();
        let now = jiff::Timestamp::now().as_nanosecond().to_string();
        args.extend([json!("--generation"), json!(now)]);
        self.patch(name, json!({"spec": {"job": {"args": args}}})).await;
    }

    pub(super) async fn patch(&self, name: &str, change: Value) {
        self.jobs
            .patch(name, &PatchParams::default(), &Patch::Merge(change))
            .await
            .unwrap();
    }

    pub(super) async fn delete(&self, name: &str) {
        self.jobs.delete(name, &DeleteParams::default()).await.unwrap();
    }

    /// The id of the operator's installation, once it has made one.
    pub(super) async fn installation(&self) -> Result<InstallationId, Failure> {
        let configmaps: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.namespace);
        let there = await_condition(configmaps, IDENTITY, |found: Option<&ConfigMap>| found.is_some());
        let found = tokio::time::timeout(WITHIN, there)
            .await
            .map_err(|_| "no installation id".to_owned())?
            .map_err(|error| error.to_string())?;
        let id = found
            .and_then(|found| found.data)
            .unwrap_or_default()
            .remove(IDENTITY_KEY);
        id.and_then(|id| id.parse().ok())
            .ok_or_else(|| "no installation id".to_owned())
    }

    /// The Events about a resource, as reason and note.
    pub(super) async fn events_about(&self, name: &str) -> Result<Vec<(String, String)>, Failure> {
        let events: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let listed = events.list(&ListParams::default()).await;
        let listed = listed.map_err(|error| error.to_string())?;
        let about = |event: &Event| {
            let regarding = event.regarding.as_ref();
            regarding.is_some_and(|object| object.name.as_deref() == Some(name))
        };
        let words = |event: Event| (event.reason.unwrap_or_default(), event.note.unwrap_or_default());
        Ok(listed.items.into_iter().filter(about).map(words).collect())
    }

    /// Waits for a state of a job resource.
    pub(super) async fn until(
        &self,
        name: &str,
        what: &str,
        holds: impl Fn(Option<&FlinkSessionJob>) -> bool,
    ) -> Result<Option<FlinkSessionJob>, Failure> {
        let reached = await_condition(self.jobs.clone(), name, holds);
        match tokio::time::timeout(WITHIN, reached).await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error)) => Err(format!("the watch of {name} failed: {error}")),
            Err(_) => Err(format!("{name}: not {what} within {WITHIN:?}")),
        }
    }

    pub(super) async fn until_running(&self, name: &str) -> Result<JobStatus, Failure> {
        let found = self.until(name, "Running", is_running).await?;
        found
            .and_then(|job| job.status)
            .ok_or_else(|| format!("{name} is gone"))
    }

    pub(super) async fn until_gone(&self, name: &str) -> Result<(), Failure> {
        self.until(name, "gone", |job| job.is_none()).await.map(drop)
    }

    pub(super) async fn until_session_ready(&self) -> Result<(), Failure> {
        let ready = |session: Option<&FlinkSession>| {
            session
                .and_then(|session| session.status.as_ref())
                .is_some_and(|status| status.phase == Some(SessionPhase::Ready))
        };
        let reached = await_condition(self.sessions(), SESSION, ready);
        tokio::time::timeout(WITHIN, reached)
            .await
            .map_err(|_| "the session is not Ready".to_owned())?
            .map(drop)
            .map_err(|error| error.to_string())
    }

    /// Waits until the cluster was polled so many times more: whoever is to act on what is there has seen it.
    pub(super) async fn polls(&self, more: usize) -> Result<(), Failure> {
        let is_poll = |read: &Read| read.path == "/jobs/overview" && read.status.is_some();
        let count = || self.flink.reads().iter().filter(|read| is_poll(read)).count();
        let wanted = count() + more;
        eventually("polls of the job list", async || {
            (count() >= wanted)
                .then_some(())
                .ok_or_else(|| format!("{} of {wanted}", count()))
        })
        .await
    }
}

/// Whether the job runs, by its status, on its present spec.
pub(super) fn is_running(job: Option<&FlinkSessionJob>) -> bool {
    let Some(job) = job else { return false };
    job.status.as_ref().is_some_and(|status| {
        status.phase == Some(Phase::Running)
            && Some(status.observed_generation) == job.metadata.generation
            && status.pending_change != Some(flink_job_operator::api::status::PendingChange::Restart)
    })
}

/// A resource from the parts that matter.
pub(super) fn object<K: serde::de::DeserializeOwned>(kind: &str, mut value: Value) -> K {
    if let Some(object) = value.as_object_mut() {
        object.insert("apiVersion".to_owned(), json!("flinkjobs.dev/v1alpha1"));
        object.insert("kind".to_owned(), json!(kind));
    }
    serde_json::from_value(value).unwrap()
}

/// Asks again and again, for what no watch tells, and fails with the last answer.
pub(super) async fn eventually<F: Future<Output = Result<(), Failure>>>(
    what: &str,
    check: impl Fn() -> F,
) -> Result<(), Failure> {
    let start = Instant::now();
    loop {
        match check().await {
            Ok(()) => return Ok(()),
            Err(last) if start.elapsed() > WITHIN => return Err(format!("{what}: not within {WITHIN:?}: {last}")),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}
