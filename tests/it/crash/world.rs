//! One case's own world: a namespace, a fake Flink behind a proxy, a session, and operators.

use std::{
    collections::{BTreeMap, HashSet},
    fmt::Write,
    future::Future,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use devcluster::{
    fake::{FakeFlink, FakeJob, FakeOptions},
    process::Process,
    proxy::Proxy,
};
use flink_job_operator::{
    api::{
        FlinkSession, FlinkSessionJob, JobStatus, Phase,
        condition::{self, ConditionStatus, ConditionType},
        session::SessionPhase,
        status::RunOutcome,
    },
    flink::UidHash,
};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
    runtime::wait::await_condition,
};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::{Failure, WITHIN, ground::Ground};

pub(super) const SESSION: &str = "etl";
pub(super) const JOB: &str = "orders";

/// An operator process and its line to the API server.
pub(super) struct Operator {
    pub(super) process: Process,
    pub(super) kube: Proxy,
}

pub(super) struct World {
    ground: &'static Ground,
    pub(super) namespace: String,
    pub(super) fake: FakeFlink,
    pub(super) flink: Proxy,
    pub(super) jobs: Api<FlinkSessionJob>,
    /// More of the spec of each job.
    pub(super) more: Value,
    client: Client,
    endpoints: Mutex<Vec<String>>,
    logs: Mutex<Vec<std::path::PathBuf>>,
    started: AtomicU32,
}

impl World {
    pub(super) async fn new(options: FakeOptions) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let ground = Ground::shared().await;
        let client = ground.plane.client().await.unwrap();
        let namespace = format!("crash-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let object: Namespace = serde_json::from_value(json!({"metadata": {"name": namespace}})).unwrap();
        Api::all(client.clone())
            .create(&PostParams::default(), &object)
            .await
            .unwrap();
        let fake = FakeFlink::start(options).await.unwrap();
        let flink = Proxy::to_flink(&fake.url()).await.unwrap();
        let world = Self {
            ground,
            jobs: Api::namespaced(client.clone(), &namespace),
            namespace,
            fake,
            flink,
            more: json!({}),
            client,
            endpoints: Mutex::default(),
            logs: Mutex::default(),
            started: AtomicU32::new(0),
        };
        world.add_session(SESSION, &world.flink.url()).await;
        world
    }

    /// Adds a session; operators that are started from now on may use its address.
    pub(super) async fn add_session(&self, name: &str, url: &str) {
        self.endpoints.lock().push(url.to_owned());
        let session = json!({"metadata": {"name": name}, "spec": {"endpoint": {"url": url}}});
        let session: FlinkSession = object("FlinkSession", session);
        self.sessions().create(&PostParams::default(), &session).await.unwrap();
    }

    pub(super) fn sessions(&self) -> Api<FlinkSession> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Starts an operator with a line of its own to the API server.
    pub(super) async fn operator(&self) -> Operator {
        let kube = Proxy::to_api_server(self.ground.plane.kubeconfig(), Some(&self.namespace))
            .await
            .unwrap();
        Operator {
            process: self.start(&kube),
            kube,
        }
    }

    /// Starts it again, on the same line.
    pub(super) fn restart(&self, operator: &mut Operator) {
        operator.process = self.start(&operator.kube);
    }

    fn start(&self, kube: &Proxy) -> Process {
        let name = format!(
            "{}-{}",
            self.namespace,
            (b'a' + u8::try_from(self.started.fetch_add(1, Ordering::Relaxed)).unwrap()) as char
        );
        let kubeconfig = self.ground.supervisor.directory().join(format!("{name}.kubeconfig"));
        kube.write_kubeconfig(&kubeconfig).unwrap();
        let command = self
            .ground
            .operator(&name, &kubeconfig, &self.namespace, &self.endpoints.lock());
        let process = self.ground.supervisor.spawn(&name, &command).unwrap();
        self.logs.lock().push(process.log().to_owned());
        process
    }

    pub(super) async fn create(&self, name: &str) -> FlinkSessionJob {
        self.create_with(name, self.more.clone()).await
    }

    /// Creates a job; `more` is merged into its spec.
    pub(super) async fn create_with(&self, name: &str, more: Value) -> FlinkSessionJob {
        let mut spec = json!({
            "sessionRef": {"name": SESSION},
            "job": {"jarURI": self.ground.jar(), "entryClass": "CounterJob", "args": ["--generation", "1"]},
            "upgradeMode": "Stateless",
        });
        if let (Some(spec), Value::Object(more)) = (spec.as_object_mut(), more) {
            spec.extend(more);
        }
        let job: FlinkSessionJob = object("FlinkSessionJob", json!({"metadata": {"name": name}, "spec": spec}));
        self.jobs.create(&PostParams::default(), &job).await.unwrap()
    }

    /// Edits a job in a way that needs a restart.
    pub(super) async fn edit(&self, name: &str) {
        let args = [
            "--generation".to_owned(),
            jiff::Timestamp::now().as_nanosecond().to_string(),
        ];
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
    pub(super) async fn polls(&self, more: u64) -> Result<(), Failure> {
        let count = || self.fake.count("GET", "/jobs/overview");
        let wanted = count() + more;
        eventually("polls of the job list", async || {
            (count() >= wanted)
                .then_some(())
                .ok_or_else(|| format!("{} of {wanted}", count()))
        })
        .await
    }

    /// The jobs that the fake runs now, with a mark.
    pub(super) fn live_of(&self, uid: &str) -> Vec<String> {
        let mark = UidHash::of(uid).to_string();
        let live = |job: &FakeJob| !["CANCELED", "FAILED", "FINISHED"].contains(&job.state);
        let jobs = self.fake.jobs().into_iter();
        jobs.filter(|job| live(job) && job.id.get(8..24) == Some(mark.as_str()))
            .map(|job| job.id)
            .collect()
    }

    /// How often jobs with a mark were accepted, by JobID.
    pub(super) fn accepted_of(&self, uid: &str) -> BTreeMap<String, usize> {
        let mark = UidHash::of(uid).to_string();
        let mut accepted = BTreeMap::new();
        for submission in self.fake.submissions() {
            if submission.job_id.get(8..24) == Some(mark.as_str()) {
                *accepted.entry(submission.job_id).or_default() += 1;
            }
        }
        accepted
    }

    /// What holds whatever happened: no JobID was accepted twice, and no two jobs of one resource ever ran together.
    pub(super) fn never_twice(&self, uid: &str) -> Result<(), Failure> {
        let accepted = self.accepted_of(uid);
        let most = self.fake.most_live_of(UidHash::of(uid));
        if accepted.values().any(|n| *n > 1) || most > 1 {
            return Err(format!("ran twice: accepted {accepted:?}, {most} at a time"));
        }
        Ok(())
    }

    /// The job runs once, and its status says so; `attempts` jobs were started for it.
    pub(super) async fn runs_once(&self, name: &str, attempts: usize) -> Result<(), Failure> {
        let check = async || {
            let job = self.jobs.get(name).await.map_err(|error| error.to_string())?;
            if !is_running(Some(&job)) {
                return Err("it is not Running".to_owned());
            }
            self.tells_the_truth(&job)
        };
        eventually(&format!("{name} runs and its status is true"), check).await?;
        let job = self.jobs.get(name).await.map_err(|error| error.to_string())?;
        let uid = job.uid().unwrap_or_default();
        self.never_twice(&uid)?;
        let accepted = self.accepted_of(&uid);
        if accepted.len() != attempts {
            return Err(format!(
                "{attempts} submissions were to be made, and these were: {accepted:?}"
            ));
        }
        Ok(())
    }

    /// Nothing runs any more of a resource that is gone.
    pub(super) fn nothing_runs(&self, uid: &str) -> Result<(), Failure> {
        self.never_twice(uid)?;
        match self.live_of(uid).as_slice() {
            [] => Ok(()),
            live => Err(format!("these still run: {live:?}")),
        }
    }

    /// Whether the status says what the fake knows.
    pub(super) fn tells_the_truth(&self, job: &FlinkSessionJob) -> Result<(), Failure> {
        let status = job.status.clone().unwrap_or_default();
        let live = self.live_of(&job.uid().unwrap_or_default());
        let named: Vec<String> = status
            .live_run()
            .map(|run| run.job_id.to_string())
            .into_iter()
            .collect();
        let ready = condition::find(&status.conditions, ConditionType::Ready).map(|ready| ready.status);
        let wrong = |what: &str| Err(format!("{what}: the status names {named:?}, the fake runs {live:?}"));
        if live != named {
            return wrong("the live run");
        }
        let runs = status.phase == Some(Phase::Running);
        if runs == live.is_empty() {
            return wrong("the phase");
        }
        if status.observed_generation != job.metadata.generation.unwrap_or_default() {
            return wrong("the observed generation");
        }
        if runs != (ready == Some(ConditionStatus::True)) {
            return wrong("Ready");
        }
        if status.submission().is_some() || status.cancellation().is_some() {
            return wrong("an intent is left");
        }
        if runs && status.job_id.map(|id| id.to_string()).as_ref() != live.first() {
            return wrong("the JobID");
        }
        let ids: HashSet<_> = status.runs.iter().map(|run| run.job_id).collect();
        let ended = status.runs.iter().skip(1);
        if ids.len() != status.runs.len()
            || ended
                .clone()
                .any(|run| matches!(run.outcome, None | Some(RunOutcome::Unknown)))
        {
            return wrong("the runs");
        }
        Ok(())
    }

    /// Everything that helps to understand a failure.
    pub(super) async fn report(&self, failure: &str, operators: &[&Operator]) -> Failure {
        let mut report = format!("{failure}\nnamespace {}\n", self.namespace);
        for operator in operators {
            let _ = writeln!(report, "writes to the API server:");
            for write in operator.kube.writes() {
                let _ = writeln!(report, "  {write}");
            }
        }
        let _ = writeln!(report, "writes to Flink:");
        for write in self.flink.writes() {
            let _ = writeln!(report, "  {write}");
        }
        let _ = writeln!(report, "jobs of the fake: {:?}", self.fake.jobs());
        let listed = self.jobs.list(&kube::api::ListParams::default()).await;
        for job in listed.into_iter().flatten().take(3) {
            let status = serde_json::to_string(&job.status).unwrap_or_default();
            let _ = writeln!(
                report,
                "{} (finalizers {:?}): {status}",
                job.name_any(),
                job.finalizers()
            );
        }
        for log in self.logs.lock().iter() {
            let text = std::fs::read_to_string(log).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let last = lines.get(lines.len().saturating_sub(40)..).unwrap_or_default();
            let _ = writeln!(report, "the end of {}:\n{}", log.display(), last.join("\n"));
        }
        report
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
fn object<K: serde::de::DeserializeOwned>(kind: &str, mut value: Value) -> K {
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
