//! Events as they arrive on the real API server.

use std::time::{Duration, Instant};

use flink_job_operator::{
    events::{Event, EventLimits, EventQueue, EventType},
    kubernetes::{Limits, connect},
    metrics::Metrics,
};
use k8s_openapi::api::{core::v1::ObjectReference, events::v1::Event as StoredEvent};
use kube::{Api, Client, api::ListParams};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Ground, link::Link};

fn about(ground: &Ground, name: &str) -> ObjectReference {
    ObjectReference {
        api_version: Some("flinkjobs.dev/v1alpha1".into()),
        kind: Some("FlinkSessionJob".into()),
        namespace: Some(ground.namespace.clone()),
        name: Some(name.into()),
        uid: Some(format!("uid-of-{name}")),
        ..ObjectReference::default()
    }
}

fn failed(object: ObjectReference, note: &str) -> Event {
    Event {
        object,
        kind: EventType::Warning,
        reason: "JobFailed",
        action: "Observe",
        note: note.into(),
    }
}

struct Posting {
    queue: EventQueue,
    metrics: Metrics,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Posting {
    fn start(client: Client, limits: EventLimits) -> Self {
        let metrics = Metrics::new();
        let (queue, poster) = EventQueue::new(limits, metrics.clone());
        let shutdown = CancellationToken::new();
        let stop = shutdown.clone();
        let task = tokio::spawn(async move { poster.run(client, "pod-1_0badcafe", None, stop).await });
        Self {
            queue,
            metrics,
            shutdown,
            task,
        }
    }

    /// Stops the poster, which writes what still waits.
    async fn stop(self) -> Metrics {
        self.shutdown.cancel();
        self.task.await.unwrap();
        self.metrics
    }
}

async fn stored(ground: &Ground) -> Vec<StoredEvent> {
    let api: Api<StoredEvent> = Api::namespaced(ground.admin.clone(), &ground.namespace);
    api.list(&ListParams::default()).await.unwrap().items
}

async fn until<T>(mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = check().await {
            return value;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "it did not happen");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn an_event_is_complete_and_repetitions_are_counted_in_it() {
    let ground = Ground::new("events").await;
    let client = ground
        .client_with("events.k8s.io", "events", &["create", "patch"])
        .await;
    let limits = EventLimits {
        series_interval: Duration::from_millis(200),
        ..EventLimits::default()
    };
    let posting = Posting::start(client, limits);
    let note = format!("the job failed: {}", "java.lang.IllegalStateException: ö ".repeat(100));
    posting.queue.publish(failed(about(&ground, "top-speed"), &note));
    let event = until(async || stored(&ground).await.pop()).await;
    assert_eq!(event.type_.as_deref(), Some("Warning"));
    assert_eq!(event.reason.as_deref(), Some("JobFailed"));
    assert_eq!(event.action.as_deref(), Some("Observe"));
    assert_eq!(event.regarding, Some(about(&ground, "top-speed")));
    assert_eq!(
        event.reporting_controller.as_deref(),
        Some("flinkjobs.dev/flink-job-operator")
    );
    assert_eq!(event.reporting_instance.as_deref(), Some("pod-1_0badcafe"));
    assert!(event.note.unwrap().starts_with("the job failed: java.lang"));
    assert!(event.series.is_none() && event.event_time.is_some());

    for _ in 0..9 {
        posting.queue.publish(failed(about(&ground, "top-speed"), &note));
    }
    let series = until(async || stored(&ground).await.pop()?.series).await;
    assert_eq!(series.count, 10);
    posting
        .queue
        .publish(failed(about(&ground, "top-speed"), "another cause"));
    until(async || (stored(&ground).await.len() == 2).then_some(())).await;
    posting.stop().await;
}

#[tokio::test]
async fn a_reconcile_never_waits_and_nothing_is_lost_in_a_short_outage() {
    let ground = Ground::new("events").await;
    let config = ground.config().await;
    let link = Link::to(&config).await;
    let limits = Limits {
        deadline: Duration::from_secs(1),
        ..Limits::default()
    };
    let posting = Posting::start(connect(&link.config(&config), &limits).unwrap(), EventLimits::default());
    link.cut();
    let start = Instant::now();
    for n in 0..50 {
        posting
            .queue
            .publish(failed(about(&ground, &format!("job-{n}")), "why"));
    }
    assert!(start.elapsed() < limits.deadline, "{:?}", start.elapsed());
    // One try fails, with its reply or its request lost.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(stored(&ground).await.is_empty());
    link.mend();
    until(async || (stored(&ground).await.len() >= 50).then_some(())).await;
    let metrics = posting.stop().await.text();
    assert!(
        metrics.contains("flinkjobs_events_total{type=\"Warning\",outcome=\"Posted\"} 50"),
        "{metrics}"
    );
    assert_eq!(stored(&ground).await.len(), 50, "a repeated try makes no second Event");
}

#[tokio::test]
async fn what_waits_is_written_at_shutdown_and_what_is_refused_is_counted() {
    let ground = Ground::new("events").await;
    let posting = Posting::start(ground.client(&Limits::default()).await, EventLimits::default());
    let mut gone = about(&ground, "orphan");
    gone.namespace = Some("no-such-namespace".into());
    posting.queue.publish(failed(gone, "why"));
    for n in 0..5 {
        posting
            .queue
            .publish(failed(about(&ground, &format!("job-{n}")), "why"));
    }
    let metrics = posting.stop().await.text();
    assert_eq!(stored(&ground).await.len(), 5);
    assert!(
        metrics.contains("flinkjobs_events_total{type=\"Warning\",outcome=\"Failed\"} 1"),
        "{metrics}"
    );
    assert!(
        metrics.contains("flinkjobs_events_total{type=\"Warning\",outcome=\"Posted\"} 5"),
        "{metrics}"
    );
}

#[tokio::test]
async fn events_about_cluster_scoped_objects_are_in_default() {
    let ground = Ground::new("events").await;
    let posting = Posting::start(ground.client(&Limits::default()).await, EventLimits::default());
    let name = format!("cluster-scoped-{}", ground.namespace);
    let object = ObjectReference {
        api_version: Some("v1".into()),
        kind: Some("Namespace".into()),
        name: Some(name.clone()),
        ..ObjectReference::default()
    };
    posting.queue.publish(failed(object, "why"));
    posting.stop().await;
    let api: Api<StoredEvent> = Api::namespaced(ground.admin.clone(), "default");
    let events = api.list(&ListParams::default()).await.unwrap().items;
    assert!(
        events
            .iter()
            .any(|event| event.metadata.name.as_ref().unwrap().starts_with(&name))
    );
}
