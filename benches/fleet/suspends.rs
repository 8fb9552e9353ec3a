//! A thousand jobs are suspended at once, with savepoints that take half a minute, while others on another cluster want to be
//! started, and fail.

use std::time::{Duration, Instant};

use devcluster::fake::{FakeOptions, OperationEnd, OperationKind};
use flink_job_operator::api::Phase;
use futures::{StreamExt, TryStreamExt, stream};
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;

use crate::{
    measure::{ApiRequests, Usage, besides_the_poll, percentile},
    operator::Operator,
    table::Table,
    watch::{Seen, Watching},
    world::{World, job_on},
};

const JOBS: usize = 1000;
const SAVEPOINT: Duration = Duration::from_secs(30);
/// How many write the new specs.
const PATCHERS: usize = 16;
/// Jobs of the other cluster that are failed, one every five seconds.
const VICTIMS: usize = 20;

fn suspended(n: usize) -> String {
    format!("suspended-{n}")
}

/// The other cluster: what was asked of it, and when.
#[derive(Default)]
struct Others {
    created: Vec<(String, Instant)>,
    failed: Vec<(String, Instant)>,
}

impl Others {
    /// How long each took until it was shown in that phase, in seconds.
    fn took(of: &[(String, Instant)], phase: Phase, seen: &Seen) -> Vec<f64> {
        of.iter()
            .map(|(name, begun)| seconds(*begun, seen.phase(name, phase).unwrap()))
            .collect()
    }

    fn are_shown(&self, seen: &Seen) -> bool {
        let shown = |of: &[(String, Instant)], phase| of.iter().all(|(name, _)| seen.phase(name, phase).is_some());
        shown(&self.created, Phase::Running) && shown(&self.failed, Phase::Failed)
    }
}

fn seconds(from: Instant, to: Instant) -> f64 {
    to.saturating_duration_since(from).as_secs_f64()
}

pub async fn at_once(table: &mut Table, latency: Duration) {
    let name = format!("{JOBS} suspends at once, {} ms", latency.as_millis());
    eprintln!("{name}: {JOBS} jobs are started");
    let other = FakeOptions {
        latency,
        ..FakeOptions::default()
    };
    let busy = FakeOptions {
        savepoint_takes: SAVEPOINT,
        ..other.clone()
    };
    let world = World::start(vec![busy, other]).await;
    let mut operator = Operator::start(&world);
    world.wait_for_sessions().await;
    let stateful = json!({ "upgradeMode": "Savepoint", "savepointPolicy": { "directory": "s3://bench/savepoints" } });
    let stateless = json!({ "upgradeMode": "Stateless" });
    let jobs = (0..JOBS).map(|n| job_on(0, &suspended(n), n, &stateful));
    let victims = (0..VICTIMS).map(|n| job_on(1, &format!("victim-{n}"), n, &stateless));
    world.run(jobs.chain(victims).collect()).await;
    world.wait_for_silence().await;

    eprintln!("{name}: they are suspended");
    let watching = Watching::start(&world);
    let ready = |seen: &Seen| (0..JOBS).all(|n| seen.versions(&suspended(n)) > 0);
    assert!(
        watching.until(Duration::from_secs(60), ready).await,
        "the watch brings all jobs"
    );
    world.fakes.iter().for_each(devcluster::fake::FakeFlink::reset_counts);
    let (requests, before) = (ApiRequests::read(&world).await, Usage::of(operator.pid()));
    let begun = Instant::now();
    let all = async {
        patch(&world).await;
        let patched = begun.elapsed();
        let over = |seen: &Seen| (0..JOBS).all(|n| end(seen, n).is_some());
        assert!(
            watching.until(Duration::from_secs(300), over).await,
            "all are suspended within five minutes"
        );
        patched
    };
    let mut others = Others::default();
    let patched = tokio::select! {
        patched = all => patched,
        () = disturb(&world, &mut others) => unreachable!("it goes on until all are suspended"),
    };
    let (after, requests) = (
        Usage::of(operator.pid()),
        ApiRequests::read(&world).await.since(&requests),
    );
    let shown = watching
        .until(Duration::from_secs(60), |seen| others.are_shown(seen))
        .await;
    assert!(shown, "what became of the other cluster's jobs is shown");

    table.row(
        &name,
        "the patches, by 16 at once",
        format!("{:.1} s", patched.as_secs_f64()),
        None,
    );
    watching.read(|seen| suspensions(table, &name, begun, seen));
    watching.read(|seen| neighbours(table, &name, &others, seen));
    let cpu = after.cpu.saturating_sub(before.cpu).as_secs_f64();
    table.row(&name, "… of these, the operator's CPU", format!("{cpu:.1} s"), None);
    table.row(
        &name,
        "peak memory, since the start of the jobs",
        format!("{:.1} MiB", after.peak_mib),
        Some((after.peak_mib, 80.0)),
    );
    table.row(
        &name,
        "polls of the job list",
        world.fakes[0].count("GET", "/jobs/overview").to_string(),
        None,
    );
    table.row(
        &name,
        "other requests to Flink",
        besides_the_poll(&world.fakes[0]).1,
        None,
    );
    table.row(
        &name,
        "requests to the API server, patches and creates included",
        requests.to_string(),
        None,
    );
    operator.stop();
    judge(&world);
}

/// Sets `state: Suspended` in all of them.
async fn patch(world: &World) {
    let api = world.jobs();
    let patched = stream::iter(0..JOBS)
        .map(|n| {
            let api = api.clone();
            async move {
                let patch = Patch::Merge(json!({ "spec": { "state": "Suspended" } }));
                let name = suspended(n);
                api.patch(&name, &PatchParams::default(), &patch).await.map(|_| ())
            }
        })
        .buffer_unordered(PATCHERS)
        .try_collect::<()>();
    patched.await.unwrap();
}

/// Creates a job on the other cluster every second, and fails one every five, for ever.
async fn disturb(world: &World, others: &mut Others) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    for n in 0_usize.. {
        ticks.tick().await;
        let job = job_on(1, &format!("other-{n}"), n, &json!({ "upgradeMode": "Stateless" }));
        let created = world.jobs().create(&PostParams::default(), &job).await.unwrap();
        others
            .created
            .push((created.metadata.name.unwrap_or_default(), Instant::now()));
        if n % 5 == 2 && n / 5 < VICTIMS {
            let victim = format!("victim-{}", n / 5);
            let id = world.jobs().get(&victim).await.unwrap().status.unwrap().job_id.unwrap();
            let begun = Instant::now();
            assert!(world.fakes[1].fail_job(id, "java.lang.IllegalStateException: broken"));
            others.failed.push((victim, begun));
        }
    }
}

/// When the nth job was seen as suspended, with its Savepoint complete.
fn end(seen: &Seen, n: usize) -> Option<Instant> {
    let name = suspended(n);
    Some(seen.phase(&name, Phase::Suspended)?.max(seen.kept(&name)?))
}

fn suspensions(table: &mut Table, name: &str, begun: Instant, seen: &Seen) {
    let mut took: Vec<f64> = (0..JOBS)
        .filter_map(|n| end(seen, n))
        .map(|at| seconds(begun, at))
        .collect();
    let (half, last) = (percentile(&mut took, 50), percentile(&mut took, 100));
    table.row(
        name,
        "first patch to Suspended with a complete Savepoint, p50 / last, savepoints of 30 s",
        format!("{half:.1} / {last:.1} s"),
        Some((last, 60.0)),
    );
}

fn neighbours(table: &mut Table, name: &str, others: &Others, seen: &Seen) {
    let mut running = Others::took(&others.created, Phase::Running, seen);
    let [half, most, last] = [50, 99, 100].map(|percent| percentile(&mut running, percent));
    table.row(
        name,
        "meanwhile, jobs on another cluster: reply to the create → Running, p50 / p99 / worst",
        format!("{half:.2} / {most:.2} / {last:.2} s, n = {}", running.len()),
        Some((last, 2.0)),
    );
    let heard = |(name, created): &(String, Instant)| seen.first(name).map(|at| seconds(*created, at));
    let mut heard: Vec<f64> = others.created.iter().filter_map(heard).collect();
    let last = percentile(&mut heard, 100);
    table.row(
        name,
        "… of these, until the API server tells a watch of the new job, worst",
        format!("{last:.2} s"),
        None,
    );
    let mut failed = Others::took(&others.failed, Phase::Failed, seen);
    let last = percentile(&mut failed, 100);
    table.row(
        name,
        "meanwhile, a failure of a job there shows in its status, worst",
        format!("{last:.2} s, n = {}", failed.len()),
        Some((last, 2.0)),
    );
}

/// Each job was stopped once, and each stop left a savepoint.
fn judge(world: &World) {
    let operations = world.fakes[0].operations();
    let stops = operations
        .iter()
        .filter(|operation| operation.kind == OperationKind::Stop && operation.end == OperationEnd::Completed);
    assert_eq!(
        (stops.count(), operations.len()),
        (JOBS, JOBS),
        "each job was stopped once"
    );
}
