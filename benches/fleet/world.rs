//! A control plane, fake clusters, and the resources on them.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use devcluster::{
    ControlPlane,
    fake::{FakeFlink, FakeOptions},
};
use flink_job_operator::api::{self, FlinkSession, FlinkSessionJob, Phase};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, PostParams},
    runtime::{WatchStreamExt, conditions, wait::await_condition, watcher},
};
use serde_json::{Value, json};

use crate::measure::ApiRequests;

pub struct World {
    pub plane: ControlPlane,
    pub client: Client,
    pub fakes: Vec<FakeFlink>,
    pub directory: tempfile::TempDir,
}

impl World {
    /// Starts one cluster for each of the options, and the session `s0`, `s1` … for it.
    pub async fn start(clusters: Vec<FakeOptions>) -> Self {
        let plane = ControlPlane::start().await.unwrap();
        let client = plane.client().await.unwrap();
        let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
        for crd in api::crds() {
            crds.create(&PostParams::default(), &crd).await.unwrap();
            let name = crd.name_any();
            await_condition(crds.clone(), &name, conditions::is_crd_established())
                .await
                .unwrap();
        }
        let mut fakes = Vec::new();
        let sessions: Api<FlinkSession> = Api::namespaced(client.clone(), "default");
        for (n, options) in clusters.into_iter().enumerate() {
            let fake = FakeFlink::start(options).await.unwrap();
            let session = serde_json::from_value(json!({
                "metadata": { "name": format!("s{n}") },
                "spec": { "endpoint": { "url": fake.url() } },
            }));
            sessions
                .create(&PostParams::default(), &session.unwrap())
                .await
                .unwrap();
            fakes.push(fake);
        }
        Self {
            plane,
            client,
            fakes,
            directory: tempfile::tempdir().unwrap(),
        }
    }

    pub fn jobs(&self) -> Api<FlinkSessionJob> {
        Api::namespaced(self.client.clone(), "default")
    }

    /// A job without state; the jobs go round the clusters.
    pub fn job(&self, name: &str, n: usize) -> FlinkSessionJob {
        job_on(n % self.fakes.len(), name, n, &json!({ "upgradeMode": "Stateless" }))
    }

    pub async fn wait_for_sessions(&self) {
        let sessions: Api<FlinkSession> = Api::namespaced(self.client.clone(), "default");
        loop {
            let list = sessions.list(&ListParams::default()).await.unwrap();
            let ready = |s: &FlinkSession| {
                s.status
                    .as_ref()
                    .is_some_and(|s| s.phase == Some(api::session::SessionPhase::Ready))
            };
            if list.items.iter().all(ready) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Creates jobs without state, and waits until all are Running: the time from the first create on.
    pub async fn run_jobs(&self, prefix: &str, jobs: usize) -> Duration {
        let jobs = (0..jobs).map(|n| self.job(&format!("{prefix}-{n}"), n));
        self.run(jobs.collect()).await
    }

    /// Creates jobs with eight creators and waits until all are Running: the time from the first create on.
    pub async fn run(&self, jobs: Vec<FlinkSessionJob>) -> Duration {
        let count = jobs.len();
        let api = self.jobs();
        let events = watcher(api.clone(), watcher::Config::default())
            .default_backoff()
            .applied_objects();
        let begun = Instant::now();
        let create = stream::iter(jobs)
            .map(|job| {
                let api = api.clone();
                async move { api.create(&PostParams::default(), &job).await.map(|_| ()) }
            })
            .buffer_unordered(8)
            .try_collect::<()>();
        let running = async {
            let mut running = HashSet::new();
            let mut events = std::pin::pin!(events);
            while running.len() < count {
                let job = tokio::time::timeout(Duration::from_secs(120), events.next()).await;
                let Ok(Some(Ok(job))) = job else {
                    panic!("{} of {count} jobs run", running.len())
                };
                if job
                    .status
                    .as_ref()
                    .is_some_and(|status| status.phase == Some(Phase::Running))
                {
                    running.insert(job.name_any());
                }
            }
        };
        let (created, ()) = tokio::join!(create, running);
        created.unwrap();
        begun.elapsed()
    }

    /// Waits until the API server has not served a write for five seconds.
    pub async fn wait_for_silence(&self) {
        let mut before = ApiRequests::read(self).await;
        loop {
            tokio::time::sleep(Duration::from_secs(5)).await;
            let now = ApiRequests::read(self).await;
            if now.since(&before).writes() == 0 {
                return;
            }
            before = now;
        }
    }

    /// Fails jobs one after the other: the longest time until a status said so.
    pub async fn failure_shows(&self, times: usize) -> Duration {
        let api = self.jobs();
        let mut worst = Duration::ZERO;
        for n in 0..times {
            let name = format!("fleet-{n}");
            let job = api.get(&name).await.unwrap();
            let id = job.status.unwrap().job_id.unwrap();
            let begun = Instant::now();
            assert!(self.fakes[n % self.fakes.len()].fail_job(id, "java.lang.IllegalStateException: broken"));
            let failed = |job: Option<&FlinkSessionJob>| {
                job.and_then(|job| job.status.as_ref())
                    .is_some_and(|status| status.phase == Some(Phase::Failed))
            };
            await_condition(api.clone(), &name, failed).await.unwrap();
            worst = worst.max(begun.elapsed());
        }
        worst
    }
}

/// A job on the cluster `s<session>`, with what stands in `more` in its spec.
pub fn job_on(session: usize, name: &str, n: usize, more: &Value) -> FlinkSessionJob {
    let mut job = json!({
        "metadata": { "name": name },
        "spec": {
            "sessionRef": { "name": format!("s{session}") },
            "job": { "entryClass": "org.example.Streaming", "args": ["--topic", format!("orders-{n}")], "parallelism": 1 },
        },
    });
    let (spec, more) = (job["spec"].as_object_mut().unwrap(), more.as_object().unwrap());
    spec.extend(more.clone());
    serde_json::from_value(job).unwrap()
}
