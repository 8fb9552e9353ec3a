//! The operator's metrics, in `OpenMetrics` text.
//!
//! Names begin with `flinkjobs_` and use base units (seconds, bytes). Labels are closed sets ([`Kind`], [`FlinkEndpoint`],
//! the outcomes, and the reasons of the API contract): the number of time series does not grow with the number of
//! resources, and no name of a user's object, no address and no secret can get into one.

mod labels;
mod process;
mod scrape;
mod table;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use prometheus_client::{
    encoding::text::encode,
    metrics::{
        counter::Counter,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

pub use labels::{
    ArtifactOutcome, EventOutcome, EventType, FlinkEndpoint, FlinkOutcome, Kind, NotificationOutcome, Origin,
    PollOutcome, ReconcileOutcome, SavepointOutcome, SubmissionOutcome,
};
use scrape::Sources;
pub use scrape::StateSafety;
use table::Table;

use crate::leader::Leadership;

/// All metrics of one process. Cheap to clone; an update is a few atomic additions and allocates nothing.
#[derive(Debug, Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    registry: Registry,
    sources: Arc<Sources>,
    reconciles: Table<Kind, ReconcileOutcome, Counter>,
    reconcile_seconds: Table<Kind, (), Histogram>,
    reconciles_running: Table<Kind, (), Gauge>,
    flink_requests: Table<FlinkEndpoint, FlinkOutcome, Counter>,
    flink_seconds: Table<FlinkEndpoint, (), Histogram>,
    polls: Table<PollOutcome, (), Counter>,
    submissions: Table<SubmissionOutcome, (), Counter>,
    submissions_waiting: Gauge,
    savepoint_seconds: Table<Origin, SavepointOutcome, Histogram>,
    jar_uploads: Counter,
    jar_upload_bytes: Counter,
    artifacts: Table<ArtifactOutcome, (), Counter>,
    artifact_bytes: Counter,
    orphans: Gauge,
    tasks_running: Gauge,
    events: Table<EventType, EventOutcome, Counter>,
    notifications: Table<NotificationOutcome, (), Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// From 1 ms to 33 s.
fn call_histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 16))
}

/// From 0.1 ms, a reconcile with nothing to do, to 26 s.
fn reconcile_histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.0001, 4.0, 10))
}

/// From 0.1 s to 27 min.
fn savepoint_histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.1, 4.0, 8))
}

impl Metrics {
    /// The media type of [`Metrics::text`].
    pub const CONTENT_TYPE: &'static str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

    /// Metrics that all stand at zero.
    #[must_use]
    pub fn new() -> Self {
        let mut inner = Inner {
            registry: Registry::default(),
            sources: Arc::default(),
            reconciles: Table::new(Counter::default),
            reconcile_seconds: Table::new(reconcile_histogram),
            reconciles_running: Table::new(Gauge::default),
            flink_requests: Table::new(Counter::default),
            flink_seconds: Table::new(call_histogram),
            polls: Table::new(Counter::default),
            submissions: Table::new(Counter::default),
            submissions_waiting: Gauge::default(),
            savepoint_seconds: Table::new(savepoint_histogram),
            jar_uploads: Counter::default(),
            jar_upload_bytes: Counter::default(),
            artifacts: Table::new(Counter::default),
            artifact_bytes: Counter::default(),
            orphans: Gauge::default(),
            tasks_running: Gauge::default(),
            events: Table::new(Counter::default),
            notifications: Table::new(Counter::default),
        };
        inner.register();
        Self { inner: Arc::new(inner) }
    }

    /// Everything, as text for a scrape.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::with_capacity(32 * 1024);
        // Writing into a String cannot fail; the text up to then is still of use.
        if encode(&mut text, &self.inner.registry).is_err() {
            tracing::error!("metrics could not be printed");
        }
        text
    }

    /// A reconcile begins. Finish it with its outcome; dropped, it counts as cancelled.
    #[must_use]
    pub fn reconcile(&self, kind: Kind) -> Reconcile {
        if let Some(running) = self.inner.reconciles_running.of(kind, ()) {
            running.inc();
        }
        Reconcile {
            metrics: self.clone(),
            kind,
            started: Instant::now(),
            outcome: ReconcileOutcome::Cancelled,
        }
    }

    /// A reconcile failed for this reason: a word of the API contract, or of [`crate::kubernetes::ApiError::reason`].
    pub fn reconcile_error(&self, kind: Kind, reason: &'static str) {
        self.inner.sources.errors.count(kind, reason);
    }

    /// Counts the resources of a kind at each scrape, by phase: deleted ones leave nothing behind. `count` adds to the
    /// phases that it finds, and should not take longer than a walk over a cache.
    pub fn count_resources(
        &self,
        kind: Kind,
        count: impl Fn(&mut BTreeMap<&'static str, u64>) + Send + Sync + 'static,
    ) {
        self.inner.sources.resources.write().push((kind, Box::new(count)));
    }

    /// Tells at each scrape how safe the state of all running jobs is.
    pub fn show_state_safety(&self, safety: impl Fn() -> StateSafety + Send + Sync + 'static) {
        *self.inner.sources.safety.write() = Some(Box::new(safety));
    }

    /// Shows from now on whether this process leads.
    pub fn show_leadership(&self, leadership: Leadership) {
        *self.inner.sources.leadership.write() = Some(leadership);
    }

    /// A request to Flink came to an end.
    pub fn flink_request(&self, endpoint: FlinkEndpoint, outcome: FlinkOutcome, took: Duration) {
        if let Some(counter) = self.inner.flink_requests.of(endpoint, outcome) {
            counter.inc();
        }
        if let Some(histogram) = self.inner.flink_seconds.of(endpoint, ()) {
            histogram.observe(took.as_secs_f64());
        }
    }

    /// A poll of a cluster came to an end.
    pub fn poll(&self, outcome: PollOutcome) {
        if let Some(counter) = self.inner.polls.of(outcome, ()) {
            counter.inc();
        }
    }

    /// The submission of a job came to an end.
    pub fn submission(&self, outcome: SubmissionOutcome) {
        if let Some(counter) = self.inner.submissions.of(outcome, ()) {
            counter.inc();
        }
    }

    /// A submission waits for its turn, until the guard is dropped.
    #[must_use]
    pub fn submission_waits(&self) -> Running {
        Running::new(&self.inner.submissions_waiting)
    }

    /// An attempt to take a savepoint came to its end.
    pub fn savepoint(&self, origin: Origin, outcome: SavepointOutcome, took: Duration) {
        if let Some(histogram) = self.inner.savepoint_seconds.of(origin, outcome) {
            histogram.observe(took.as_secs_f64());
        }
    }

    /// A jar of this size was uploaded to Flink.
    pub fn jar_uploaded(&self, bytes: u64) {
        self.inner.jar_uploads.inc();
        self.inner.jar_upload_bytes.inc_by(bytes);
    }

    /// Fetching an artifact came to this, after so many bytes.
    pub fn artifact(&self, outcome: ArtifactOutcome, bytes: u64) {
        if let Some(counter) = self.inner.artifacts.of(outcome, ()) {
            counter.inc();
        }
        self.inner.artifact_bytes.inc_by(bytes);
    }

    /// Running jobs that carry our mark and belong to no resource, as the last sweep found them.
    pub fn set_orphans(&self, orphans: usize) {
        self.inner.orphans.set(i64::try_from(orphans).unwrap_or(i64::MAX));
    }

    /// A task outside a reconcile (a long effect) runs until the guard is dropped.
    #[must_use]
    pub fn task(&self) -> Running {
        Running::new(&self.inner.tasks_running)
    }

    /// Something became of an Event.
    pub fn event(&self, kind: EventType, outcome: EventOutcome) {
        if let Some(counter) = self.inner.events.of(kind, outcome) {
            counter.inc();
        }
    }

    /// So many deliveries of notifications came to this.
    pub fn notification(&self, outcome: NotificationOutcome, times: usize) {
        if let Some(counter) = self.inner.notifications.of(outcome, ()) {
            counter.inc_by(times as u64);
        }
    }
}

impl Inner {
    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register_collector(Box::new(self.sources.clone()));
        registry.register_collector(Box::new(process::Process));
        let r = registry.sub_registry_with_prefix("flinkjobs");
        r.register("reconciles", "Reconciles that came to an end", self.reconciles.clone());
        let seconds = self.reconcile_seconds.clone();
        r.register_with_unit(
            "reconcile_duration",
            "Time that reconciles took",
            Unit::Seconds,
            seconds,
        );
        r.register(
            "reconciles_running",
            "Reconciles that run now",
            self.reconciles_running.clone(),
        );
        r.register("flink_requests", "Requests to Flink", self.flink_requests.clone());
        let seconds = self.flink_seconds.clone();
        r.register_with_unit(
            "flink_request_duration",
            "Time that requests to Flink took",
            Unit::Seconds,
            seconds,
        );
        r.register("flink_polls", "Polls of clusters", self.polls.clone());
        r.register("submissions", "Submissions of jobs", self.submissions.clone());
        r.register(
            "submissions_waiting",
            "Submissions that wait for their turn",
            self.submissions_waiting.clone(),
        );
        let seconds = self.savepoint_seconds.clone();
        r.register_with_unit(
            "savepoint_duration",
            "Time that attempts to take savepoints took",
            Unit::Seconds,
            seconds,
        );
        r.register("jar_uploads", "Jars uploaded to Flink", self.jar_uploads.clone());
        r.register_with_unit(
            "jar_upload",
            "Size of the jars uploaded to Flink",
            Unit::Bytes,
            self.jar_upload_bytes.clone(),
        );
        r.register("artifacts", "Artifacts asked for", self.artifacts.clone());
        r.register_with_unit(
            "artifact_download",
            "Downloaded from artifact stores",
            Unit::Bytes,
            self.artifact_bytes.clone(),
        );
        r.register(
            "orphans",
            "Running jobs with our mark that belong to no resource",
            self.orphans.clone(),
        );
        r.register("tasks_running", "Long effects that run now", self.tasks_running.clone());
        r.register("events", "Kubernetes Events", self.events.clone());
        r.register(
            "notifications",
            "Deliveries of notifications",
            self.notifications.clone(),
        );
    }
}

/// A reconcile under way.
#[derive(Debug)]
pub struct Reconcile {
    metrics: Metrics,
    kind: Kind,
    started: Instant,
    outcome: ReconcileOutcome,
}

impl Reconcile {
    /// It came to this.
    pub fn finish(mut self, outcome: ReconcileOutcome) {
        self.outcome = outcome;
    }
}

impl Drop for Reconcile {
    fn drop(&mut self) {
        let inner = &self.metrics.inner;
        if let Some(running) = inner.reconciles_running.of(self.kind, ()) {
            running.dec();
        }
        if let Some(counter) = inner.reconciles.of(self.kind, self.outcome) {
            counter.inc();
        }
        if let Some(histogram) = inner.reconcile_seconds.of(self.kind, ()) {
            histogram.observe(self.started.elapsed().as_secs_f64());
        }
    }
}

/// Something that is counted in a gauge while it exists.
#[derive(Debug)]
pub struct Running {
    gauge: Gauge,
}

impl Running {
    fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self { gauge: gauge.clone() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashMap};

    use super::*;

    fn used() -> Metrics {
        let metrics = Metrics::new();
        metrics
            .reconcile(Kind::FlinkSessionJob)
            .finish(ReconcileOutcome::Settled);
        drop(metrics.reconcile(Kind::FlinkSession));
        metrics.reconcile_error(Kind::FlinkSessionJob, "ApiConflict");
        metrics.reconcile_error(Kind::FlinkSessionJob, "ApiConflict");
        metrics.count_resources(Kind::FlinkSessionJob, |phases| {
            *phases.entry("Running").or_default() += 2;
            *phases.entry("Failed").or_default() += 1;
        });
        metrics.show_state_safety(|| StateSafety {
            safe: 5,
            unsafe_: 2,
            unknown: 1,
            oldest_seconds: Some(7.5),
        });
        metrics.show_leadership(Leadership::always());
        metrics.flink_request(FlinkEndpoint::RunJar, FlinkOutcome::Done, Duration::from_millis(30));
        metrics.poll(PollOutcome::Unchanged);
        metrics.submission(SubmissionOutcome::Accepted);
        metrics.jar_uploaded(1000);
        metrics.artifact(ArtifactOutcome::Fetched, 1000);
        metrics.set_orphans(3);
        metrics.event(EventType::Warning, EventOutcome::Dropped);
        metrics.notification(NotificationOutcome::Repeated, 2);
        metrics
    }

    /// Checks the text against the rules of `OpenMetrics` 1.0 that can be broken here; returns all samples.
    fn parse(text: &str) -> HashMap<String, f64> {
        const LABELS: [&str; 10] = [
            "kind", "outcome", "endpoint", "reason", "phase", "type", "version", "origin", "le", "status",
        ];
        let body = text.strip_suffix("# EOF\n").expect("ends with EOF");
        let (mut families, mut samples) = (BTreeSet::new(), HashMap::new());
        let (mut name, mut of_type, mut unit) = (String::new(), String::new(), String::new());
        for line in body.lines() {
            if let Some(rest) = line.strip_prefix("# ") {
                let [keyword, family, value] = rest.splitn(3, ' ').collect::<Vec<_>>()[..] else {
                    panic!("{line}")
                };
                match keyword {
                    "HELP" => {
                        assert!(families.insert(family.to_owned()), "{family} comes twice");
                        (name, of_type, unit) = (family.into(), String::new(), String::new());
                        assert!(value.ends_with('.') && !value.ends_with(".."), "{line}");
                    }
                    "TYPE" => of_type = value.into(),
                    "UNIT" => unit = value.into(),
                    other => panic!("{other}"),
                }
                assert_eq!(name, family);
                continue;
            }
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (metric, labels) = series
                .split_once('{')
                .map_or((series, ""), |(m, l)| (m, l.strip_suffix('}').unwrap()));
            assert!(
                metric.starts_with("flinkjobs_") || metric.starts_with("process_"),
                "{line}"
            );
            assert!(
                unit.is_empty() || name.ends_with(&format!("_{unit}")),
                "{name} lacks its unit {unit}"
            );
            let suffixes: &[&str] = match of_type.as_str() {
                "counter" => &["_total"],
                "gauge" => &[""],
                "histogram" => &["_bucket", "_sum", "_count"],
                other => panic!("{name}: {other}"),
            };
            assert!(
                suffixes.iter().any(|suffix| metric == format!("{name}{suffix}")),
                "{metric} in {name}"
            );
            for label in labels.split(',').filter(|label| !label.is_empty()) {
                let (key, value) = label.split_once('=').unwrap();
                assert!(LABELS.contains(&key), "{line}");
                assert!(
                    value.len() > 2 && value.starts_with('"') && value.ends_with('"'),
                    "{line}"
                );
            }
            assert!(
                samples.insert(series.to_owned(), value.parse().unwrap()).is_none(),
                "{series} comes twice"
            );
        }
        samples
    }

    #[test]
    fn the_text_is_open_metrics() {
        let text = used().text();
        let samples = parse(&text);
        for (series, value) in [
            (
                "flinkjobs_reconciles_total{kind=\"FlinkSessionJob\",outcome=\"Settled\"}",
                1.0,
            ),
            (
                "flinkjobs_reconciles_total{kind=\"FlinkSession\",outcome=\"Cancelled\"}",
                1.0,
            ),
            ("flinkjobs_reconciles_running{kind=\"FlinkSession\"}", 0.0),
            (
                "flinkjobs_reconcile_errors_total{kind=\"FlinkSessionJob\",reason=\"ApiConflict\"}",
                2.0,
            ),
            ("flinkjobs_resources{kind=\"FlinkSessionJob\",phase=\"Running\"}", 2.0),
            ("flinkjobs_resources{kind=\"FlinkSessionJob\",phase=\"Failed\"}", 1.0),
            ("flinkjobs_state_safe{status=\"True\"}", 5.0),
            ("flinkjobs_state_safe{status=\"False\"}", 2.0),
            ("flinkjobs_state_safe{status=\"Unknown\"}", 1.0),
            ("flinkjobs_state_age_max_seconds", 7.5),
            ("flinkjobs_leader", 1.0),
            (
                "flinkjobs_flink_requests_total{endpoint=\"RunJar\",outcome=\"Done\"}",
                1.0,
            ),
            (
                "flinkjobs_flink_request_duration_seconds_count{endpoint=\"RunJar\"}",
                1.0,
            ),
            ("flinkjobs_flink_polls_total{outcome=\"Unchanged\"}", 1.0),
            ("flinkjobs_submissions_total{outcome=\"Accepted\"}", 1.0),
            ("flinkjobs_jar_upload_bytes_total", 1000.0),
            ("flinkjobs_artifacts_total{outcome=\"Fetched\"}", 1.0),
            ("flinkjobs_orphans", 3.0),
            ("flinkjobs_events_total{type=\"Warning\",outcome=\"Dropped\"}", 1.0),
            ("flinkjobs_notifications_total{outcome=\"Repeated\"}", 2.0),
        ] {
            assert_eq!(samples.get(series), Some(&value), "{series} in\n{text}");
        }
        assert!(samples["process_resident_memory_bytes"] > 1e6);
        assert!(samples.len() < 600, "{} series are too many", samples.len());
    }

    #[test]
    fn fresh_metrics_are_valid_and_in_a_fixed_order() {
        parse(&Metrics::new().text());
        let order = |text: String| {
            text.lines()
                .map(|line| line.rsplit_once(' ').unwrap().0.to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(order(used().text()), order(used().text()));
    }

    #[test]
    fn what_is_gone_leaves_nothing_behind() {
        let metrics = Metrics::new();
        let present = Arc::new(std::sync::atomic::AtomicU64::new(1));
        let count = present.clone();
        metrics.count_resources(Kind::FlinkSession, move |phases| {
            if count.load(std::sync::atomic::Ordering::Relaxed) > 0 {
                *phases.entry("Ready").or_default() += 1;
            }
        });
        assert!(
            metrics
                .text()
                .contains("flinkjobs_resources{kind=\"FlinkSession\",phase=\"Ready\"} 1")
        );
        present.store(0, std::sync::atomic::Ordering::Relaxed);
        assert!(!metrics.text().contains("flinkjobs_resources"));
    }

    #[test]
    fn guards_count_while_they_live() {
        let metrics = Metrics::new();
        let (task, waiting) = (metrics.task(), metrics.submission_waits());
        let during = parse(&metrics.text());
        assert_eq!(
            (
                during["flinkjobs_tasks_running"],
                during["flinkjobs_submissions_waiting"]
            ),
            (1.0, 1.0)
        );
        drop((task, waiting));
        let after = parse(&metrics.text());
        assert_eq!(
            (after["flinkjobs_tasks_running"], after["flinkjobs_submissions_waiting"]),
            (0.0, 0.0)
        );
    }
}
