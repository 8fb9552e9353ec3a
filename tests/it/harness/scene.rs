//! A test's namespace, with an operator that serves it and a gate that leads to a Flink.

use std::{
    fmt::Write,
    sync::atomic::{AtomicU32, Ordering},
    time::Instant,
};

use devcluster::{ControlPlane, Flink};
use flink_job_operator::{
    api::{FlinkSession, FlinkSessionJob, Savepoint},
    flink::{JobId, UidHash},
};
use k8s_openapi::api::{core::v1::Namespace, events::v1::Event};
use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Job, Operator, PATIENCE, gate::Gate};

/// The session that most tests use.
pub const SESSION: &str = "demo";

/// Everything a test needs. Its Flink jobs are cancelled when it ends well.
pub struct Scene<'a> {
    /// The test's own.
    pub namespace: String,
    /// The administrator.
    pub admin: Client,
    /// The operator.
    pub operator: &'a Operator,
    /// What the session leads to.
    pub gate: &'static Gate,
    /// The Flink behind the gate.
    pub flink: &'a Flink,
    http: reqwest::Client,
}

impl Scene<'static> {
    /// On the shared servers, without a session.
    pub async fn bare(name: &str) -> Self {
        let flink = super::flink().await;
        Scene::on(name, super::plane().await, super::operator().await, flink).await
    }

    /// On the shared servers, with a session.
    pub async fn new(name: &str) -> Self {
        let scene = Self::bare(name).await;
        scene.session().await;
        scene
    }
}

impl<'a> Scene<'a> {
    /// On these servers, without a session.
    pub async fn on(name: &str, plane: &ControlPlane, operator: &'a Operator, flink: &'a Flink) -> Self {
        Self::within(Self::namespace(name, plane).await, plane, operator, flink).await
    }

    /// Makes a namespace with a name that begins so.
    pub async fn namespace(name: &str, plane: &ControlPlane) -> String {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        devcluster::install_crypto();
        let admin = plane.client().await.unwrap();
        let namespace = format!("{name}-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let object = serde_json::from_value(json!({ "metadata": { "name": namespace } })).unwrap();
        let namespaces: Api<Namespace> = Api::all(admin.clone());
        namespaces.create(&PostParams::default(), &object).await.unwrap();
        namespace
    }

    /// On these servers, in a namespace that is there, without a session.
    pub async fn within(namespace: String, plane: &ControlPlane, operator: &'a Operator, flink: &'a Flink) -> Self {
        let gate = Gate::take();
        gate.lead_to(flink.rest_url());
        Self::again(&namespace, gate, plane, operator, flink).await
    }

    /// A namespace that another test has made, by a runtime that clients cannot be taken over from.
    pub async fn again(
        namespace: &str,
        gate: &'static Gate,
        plane: &ControlPlane,
        operator: &'a Operator,
        flink: &'a Flink,
    ) -> Self {
        Self {
            namespace: namespace.to_owned(),
            admin: plane.client().await.unwrap(),
            operator,
            gate,
            flink,
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
        }
    }

    /// The API of a kind in this namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
    {
        Api::namespaced(self.admin.clone(), &self.namespace)
    }

    /// Creates an object in this namespace.
    pub async fn create<K>(&self, object: Value) -> K
    where
        K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + serde::Serialize
            + DeserializeOwned,
    {
        let object: K = serde_json::from_value(object).unwrap();
        self.api().create(&PostParams::default(), &object).await.unwrap()
    }

    /// Creates the session, by way of the gate.
    pub async fn session(&self) -> FlinkSession {
        let spec = json!({ "endpoint": { "url": self.gate.url() } });
        self.create(json!({ "apiVersion": "flinkjobs.dev/v1alpha1", "kind": "FlinkSession",
                            "metadata": { "name": SESSION }, "spec": spec }))
            .await
    }

    /// Creates a job with this spec; the session is filled in.
    pub async fn job(&self, name: &str, mut spec: Value) -> Job<'_> {
        if spec.get("sessionRef").is_none() {
            spec["sessionRef"] = json!({ "name": SESSION });
        }
        let created: FlinkSessionJob = self
            .create(
                json!({ "apiVersion": "flinkjobs.dev/v1alpha1", "kind": "FlinkSessionJob",
                            "metadata": { "name": name }, "spec": spec }),
            )
            .await;
        Job::new(self, name, &created.uid().unwrap())
    }

    /// A job that is there.
    pub async fn existing(&self, name: &str) -> Job<'_> {
        let job: FlinkSessionJob = self.api().get(name).await.unwrap();
        Job::new(self, name, &job.uid().unwrap())
    }

    /// Merges a patch into an object.
    pub async fn merge<K>(&self, name: &str, patch: Value) -> K
    where
        K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned,
    {
        let parameters = PatchParams::default();
        self.api()
            .patch(name, &parameters, &Patch::Merge(&patch))
            .await
            .unwrap()
    }

    /// The session, as soon as it is so.
    pub async fn session_is(&self, what: &str, test: impl Fn(&FlinkSession) -> bool) -> FlinkSession {
        let sessions: Api<FlinkSession> = self.api();
        self.eventually(what, async || {
            sessions.get_opt(SESSION).await.unwrap().filter(|session| test(session))
        })
        .await
    }

    /// Asks again and again, and fails with everything that is known of the namespace.
    pub async fn eventually<T>(&self, what: &str, ask: impl AsyncFn() -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            let late = begun.elapsed() > PATIENCE;
            assert!(!late, "not after {PATIENCE:?}: {what}\n{}", self.report().await);
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    }

    /// All Events of this namespace as `Type Reason kind/name: note`.
    pub async fn events(&self) -> Vec<String> {
        let list = self.api::<Event>().list(&ListParams::default()).await.unwrap();
        let line = |event: Event| {
            let about = event.regarding.unwrap_or_default();
            format!(
                "{} {} {}/{}: {}",
                event.type_.unwrap_or_default(),
                event.reason.unwrap_or_default(),
                about.kind.unwrap_or_default(),
                about.name.unwrap_or_default(),
                event.note.unwrap_or_default()
            )
        };
        list.items.into_iter().map(line).collect()
    }

    /// Waits for an Event that begins like this.
    pub async fn event(&self, beginning: &str) -> String {
        self.eventually(&format!("an Event {beginning:?}"), async || {
            self.events()
                .await
                .into_iter()
                .find(|event| event.starts_with(beginning))
        })
        .await
    }

    /// The lines of the operator's log about this namespace.
    pub fn log(&self) -> Vec<String> {
        let log = self.operator.log();
        let lines = log.lines().filter(|line| line.contains(&self.namespace));
        lines.map(str::to_owned).collect()
    }

    /// What a person would look at.
    pub async fn report(&self) -> String {
        let mut text = String::new();
        for session in self.api::<FlinkSession>().list(&ListParams::default()).await.unwrap() {
            let status = serde_json::to_string(&session.status).unwrap();
            writeln!(text, "\nFlinkSession {}: {status}", session.name_any()).unwrap();
        }
        for job in self
            .api::<FlinkSessionJob>()
            .list(&ListParams::default())
            .await
            .unwrap()
        {
            let job = serde_json::to_string_pretty(&job).unwrap();
            writeln!(text, "\n{job}").unwrap();
        }
        for savepoint in self.api::<Savepoint>().list(&ListParams::default()).await.unwrap() {
            let savepoint = serde_json::to_string_pretty(&savepoint).unwrap();
            writeln!(text, "\n{savepoint}").unwrap();
        }
        for event in self.events().await {
            writeln!(text, "{event}").unwrap();
        }
        let log = self.log();
        for line in log.iter().skip(log.len().saturating_sub(40)) {
            writeln!(text, "{line}").unwrap();
        }
        writeln!(text, "Flink's logs: {}", self.flink.logs().display()).unwrap();
        text
    }

    /// The JobIDs with this owner's mark that Flink accepted, in order.
    pub fn submissions(&self, owner: UidHash) -> Vec<JobId> {
        let accepted = self.flink.submissions().unwrap().into_iter();
        accepted
            .filter_map(|one| one.job_id.parse::<JobId>().ok())
            .filter(|id| id.owner() == owner)
            .collect()
    }

    /// GET of Flink's REST API, past the gate.
    pub async fn flink_get(&self, path: &str) -> Value {
        let url = format!("{}{path}", self.flink.rest_url());
        self.http.get(url).send().await.unwrap().json().await.unwrap()
    }

    /// The state of a job, as Flink tells it.
    pub async fn flink_state(&self, id: JobId) -> String {
        let all = self.flink_get("/jobs/overview").await;
        let jobs = all["jobs"].as_array().cloned().unwrap_or_default();
        let found = jobs.into_iter().find(|job| job["jid"] == id.to_string());
        found.map_or_else(|| "absent".into(), |job| job["state"].as_str().unwrap().to_owned())
    }

    /// Cancels a job as a user of the web UI does.
    pub async fn cancel_in_ui(&self, id: JobId) {
        let url = format!("{}/jobs/{id}?mode=cancel", self.flink.rest_url());
        let answer = self.http.patch(url).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.status());
    }

    /// Ends all jobs of this namespace, and looks through the operator's log.
    pub async fn end(self) {
        let jobs: Api<FlinkSessionJob> = self.api();
        for job in jobs.list(&ListParams::default()).await.unwrap() {
            let _ = jobs.delete(&job.name_any(), &kube::api::DeleteParams::default()).await;
        }
        self.operator.check_log();
        // The jobs are cancelled after the end of the test.
        self.gate.lead_to(self.flink.rest_url());
    }
}
