//! Notifications on real connections, to receivers that do not always do well.

mod delivery;
mod hosts;
pub mod receiver;
mod refused;
mod secrets;

use std::{
    collections::HashMap,
    convert::Infallible,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use flink_job_operator::{
    api::{FlinkSessionJob, Reason, job::Notification},
    artifact::{Lookup, SystemLookup},
    metrics::Metrics,
    notify::{Notice, Notifier, NotifyPolicy, Subject, targets},
};
use futures::future::BoxFuture;
use http::{Request as HttpRequest, Response as HttpResponse};
use jiff::Timestamp;
use kube::{Client, client::Body};
use receiver::{Answer, Receiver};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long a step may take on a machine that does many other things.
const PATIENCE: Duration = Duration::from_secs(20);

/// An API server that has only these Secrets, and counts how often it was asked.
#[derive(Clone, Default)]
struct Secrets {
    found: Arc<parking_lot::Mutex<Vec<Value>>>,
    asked: Arc<AtomicU64>,
}

impl Secrets {
    fn put(&self, name: &str, label: &str, url: &str) {
        let data = json!({ "url": k8s_openapi::ByteString(url.as_bytes().to_vec()) });
        let metadata = json!({ "name": name, "namespace": "etl", "labels": { "flinkjobs.dev/usable-by": label } });
        let mut found = self.found.lock();
        found.retain(|secret| secret["metadata"]["name"] != name);
        found.push(json!({ "apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data }));
    }

    fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    fn client(&self) -> Client {
        let this = self.clone();
        let service = tower::service_fn(move |request: HttpRequest<Body>| {
            this.asked.fetch_add(1, Ordering::Relaxed);
            let name = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
            let found = this
                .found
                .lock()
                .iter()
                .find(|secret| secret["metadata"]["name"] == name)
                .cloned();
            let refusal = |code: u16, reason: &str| json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": reason });
            let (status, body) = match found {
                Some(secret) => (200, secret),
                None if name == "forbidden" => (403, refusal(403, "Forbidden")),
                None if name == "broken" => (500, refusal(500, "InternalError")),
                None => (404, refusal(404, "NotFound")),
            };
            let response = HttpResponse::builder().status(status);
            let response = response.body(Body::from(serde_json::to_vec(&body).unwrap())).unwrap();
            async move { Ok::<_, Infallible>(response) }
        });
        Client::new(service, "etl")
    }
}

/// A name server with these names, and no others.
struct Names(HashMap<&'static str, IpAddr>);

impl Lookup for Names {
    fn lookup(&self, host: String) -> BoxFuture<'static, std::io::Result<Vec<IpAddr>>> {
        let found = self.0.get(host.as_str()).copied();
        Box::pin(async move { Ok(vec![found.ok_or_else(|| std::io::Error::other("no such name"))?]) })
    }
}

fn names<const N: usize>(names: [(&'static str, &str); N]) -> Names {
    Names(names.map(|(name, ip)| (name, ip.parse().unwrap())).into())
}

/// A notifier with a running courier.
struct Ground {
    notifier: Notifier,
    metrics: Metrics,
    secrets: Secrets,
    shutdown: CancellationToken,
    courier: JoinHandle<()>,
}

impl Ground {
    /// Allowed are the prefixes; without any, public https. Retries come soon.
    fn new(allowed: &[&str]) -> Self {
        Self::with(allowed, SystemLookup, |_| {})
    }

    fn with(allowed: &[&str], lookup: impl Lookup, change: impl FnOnce(&mut NotifyPolicy)) -> Self {
        let mut policy = NotifyPolicy {
            allowed: allowed.iter().map(|prefix| prefix.parse().expect(prefix)).collect(),
            ..NotifyPolicy::default()
        };
        policy.limits.first_pause = Duration::from_millis(20);
        policy.limits.longest_pause = Duration::from_millis(80);
        change(&mut policy);
        let (metrics, secrets) = (Metrics::new(), Secrets::default());
        let (client, clock) = (secrets.client(), Timestamp::now);
        let (notifier, courier) = Notifier::with_lookup(client, policy, metrics.clone(), clock, lookup).unwrap();
        let shutdown = CancellationToken::new();
        let courier = tokio::spawn(courier.run(None, shutdown.clone()));
        Self {
            notifier,
            metrics,
            secrets,
            shutdown,
            courier,
        }
    }

    /// Tells an address about a failure of a job.
    fn tell(&self, job: &str, url: &str) {
        self.publish(job, &[hook(json!({ "url": url }))]);
    }

    fn tell_secret(&self, job: &str, secret: &str) {
        self.publish(
            job,
            &[hook(json!({ "urlSecretRef": { "name": secret, "key": "url" } }))],
        );
    }

    fn publish(&self, job: &str, entries: &[Notification]) {
        self.notifier.publish(notice(job, entries));
    }

    fn count(&self, outcome: &str) -> u64 {
        let series = format!("flinkjobs_notifications_total{{outcome=\"{outcome}\"}} ");
        let text = self.metrics.text();
        text.lines()
            .find_map(|line| line.strip_prefix(&series))
            .unwrap()
            .parse()
            .unwrap()
    }

    /// Waits until so many deliveries came to this, and checks that no delivery came to anything else.
    async fn outcome(&self, outcome: &str, times: u64) {
        let began = Instant::now();
        while self.count(outcome) < times {
            assert!(
                began.elapsed() < PATIENCE,
                "not {times} times {outcome}:\n{}",
                self.metrics.text()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        for other in ["Delivered", "Repeated", "Dropped", "Refused", "Failed"] {
            let expected = if other == outcome { times } else { 0 };
            assert_eq!(self.count(other), expected, "{other}");
        }
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        self.courier.abort();
    }
}

fn hook(place: Value) -> Notification {
    let mut entry = place;
    entry["name"] = json!("hook");
    entry["on"] = json!(["Failed"]);
    serde_json::from_value(entry).unwrap()
}

fn notice(job: &str, entries: &[Notification]) -> Notice {
    let resource: FlinkSessionJob = serde_json::from_value(json!({
        "apiVersion": "flinkjobs.dev/v1alpha1",
        "kind": "FlinkSessionJob",
        "metadata": { "name": job, "namespace": "etl", "uid": format!("uid-of-{job}"), "generation": 3 },
        "spec": { "sessionRef": { "name": "s" }, "job": { "jarURI": "https://repo.example/x.jar" } },
    }))
    .unwrap();
    Notice {
        subject: Subject::of(&resource),
        reason: Reason::JobFailed,
        phase: "Failed",
        message: "it failed".to_owned(),
        time: "2026-11-21T05:00:00Z".parse().unwrap(),
        job_id: None,
        attempt: Some(1),
        targets: targets(entries, Reason::JobFailed),
    }
}
