//! The fleet benchmark: many session jobs on fake Flink clusters, against a real API server, beside a bare client that does
//! only the least work needed in the same run.
//!
//! `cargo bench --bench fleet` runs the small fleet and the latencies; `cargo bench --bench fleet -- --large` adds ten
//! thousand jobs on twenty clusters. Two parts about state run by themselves, each in five minutes:
//! `cargo bench --bench fleet -- --suspends` suspends a thousand jobs at once, and `cargo bench --bench fleet -- --checkpoints`
//! looks at the steady state of jobs that take checkpoints. It prints a table, and what fell short of its target by how
//! much; it fails nothing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::too_many_lines,
    reason = "like a test, a benchmark ends where something goes wrong, and it prints its table"
)]

mod bare;
mod checkpoints;
mod latency;
mod measure;
mod operator;
mod suspends;
mod table;
mod watch;
mod world;

use std::time::{Duration, Instant};

use devcluster::fake::FakeOptions;
use flink_job_operator::api::JobStatus;
use measure::{ApiRequests, Usage};
use operator::Operator;
use table::Table;
use world::World;

fn main() {
    // `cargo test --benches` and `cargo bench` pass flags of their own.
    if std::env::args().any(|arg| arg == "--test" || arg == "--list") {
        return;
    }
    let asked = |flag: &str| std::env::args().any(|arg| arg == flag);
    let (large, quick) = (asked("--large"), asked("--quick"));
    let (suspends, checkpoints) = (asked("--suspends"), asked("--checkpoints"));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut table = Table::new();
        let latencies = [Duration::ZERO, Duration::from_millis(20)];
        let latencies = latencies.into_iter().take(if quick { 1 } else { 2 });
        if suspends {
            for latency in latencies.clone() {
                suspends::at_once(&mut table, latency).await;
            }
        }
        if checkpoints {
            checkpoints::steady_state(&mut table, if quick { 60 } else { 180 }).await;
        }
        if !(suspends || checkpoints) {
            for latency in latencies {
                fleet(&mut table, 1000, 1, latency, if quick { 10 } else { 60 }).await;
            }
            latency::one_at_a_time(&mut table, if quick { 30 } else { 200 }).await;
        }
        if large {
            fleet(&mut table, 10_000, 20, Duration::ZERO, if quick { 10 } else { 60 }).await;
        }
        table.print();
    });
}

/// The targets of a fleet.
struct Targets {
    memory_mib: f64,
    cpu_seconds: f64,
}

/// `jobs` jobs on `clusters` clusters: from the first create to the last Running, and then a steady state.
async fn fleet(table: &mut Table, jobs: usize, clusters: usize, latency: Duration, steady_seconds: u64) {
    let name = format!("{jobs} jobs, {clusters} cluster(s), {} ms", latency.as_millis());
    let options = FakeOptions {
        latency,
        ..FakeOptions::default()
    };
    let world = World::start(vec![options; clusters]).await;
    eprintln!("{name}: the bare client");
    let bare = bare::run(&world, jobs, JobStatus::default()).await;
    table.row(
        &name,
        "bare client with a status of two fields, first create to the last write",
        format!("{:.2} s", bare.as_secs_f64()),
        None,
    );

    eprintln!("{name}: the operator");
    let count = || world.fakes.iter().map(|fake| fake.submissions().len()).sum::<usize>();
    let known = count();
    let mut operator = Operator::start(&world);
    world.wait_for_sessions().await;
    let requests = ApiRequests::read(&world).await;
    let ours = world.run_jobs("fleet", jobs).await;
    let requests = ApiRequests::read(&world).await.since(&requests);
    let cpu = Usage::of(operator.pid()).cpu.as_secs_f64();
    let ratio = ours.as_secs_f64() / bare.as_secs_f64();
    let target = (jobs <= 1000).then_some((ratio, 1.5));
    table.row(
        &name,
        "operator, first create to all Running, 8 submissions to a cluster at once",
        format!("{:.2} s ({ratio:.2} x bare)", ours.as_secs_f64()),
        target,
    );
    table.row(&name, "… of these, the operator's CPU", format!("{cpu:.2} s"), None);
    table.row(
        &name,
        "… requests to the API server, creates included",
        requests.to_string(),
        None,
    );
    let asked: u64 = world
        .fakes
        .iter()
        .map(devcluster::fake::FakeFlink::total_requests)
        .sum();
    table.row(&name, "… requests to Flink", asked.to_string(), None);
    assert_eq!(count() - known, jobs, "each job ran exactly once");

    // What the start leaves behind: attention for five seconds, the session's numbers within twenty, Events at their rate.
    eprintln!("{name}: until nothing is written any more");
    world.wait_for_silence().await;
    eprintln!("{name}: {steady_seconds} s of steady state");
    world.fakes.iter().for_each(devcluster::fake::FakeFlink::reset_counts);
    let writes = ApiRequests::read(&world).await;
    let before = Usage::of(operator.pid());
    let begun = Instant::now();
    tokio::time::sleep(Duration::from_secs(steady_seconds)).await;
    let after = Usage::of(operator.pid());
    let ticks = begun.elapsed().as_secs_f64();
    let written = ApiRequests::read(&world).await.since(&writes);
    let requests: u64 = world
        .fakes
        .iter()
        .map(devcluster::fake::FakeFlink::total_requests)
        .sum();
    let targets = if jobs <= 1000 {
        Targets {
            memory_mib: 60.0,
            cpu_seconds: 1.0,
        }
    } else {
        Targets {
            memory_mib: 250.0,
            cpu_seconds: 10.0,
        }
    };
    let cpu = after.cpu.saturating_sub(before.cpu).as_secs_f64() * 60.0 / ticks;
    let cpu_target = (jobs <= 1000).then_some((cpu, targets.cpu_seconds));
    // Ten seconds have eleven ticks when they begin with one.
    let per_tick = requests as f64 / (ticks.floor() + 1.0) / clusters as f64;
    table.row(
        &name,
        "peak memory",
        format!("{:.1} MiB", after.peak_mib),
        Some((after.peak_mib, targets.memory_mib)),
    );
    table.row(&name, "CPU in 60 s of steady state", format!("{cpu:.2} s"), cpu_target);
    table.row(
        &name,
        "Flink requests for each cluster and tick",
        format!("{per_tick:.3}"),
        Some((per_tick, 1.0)),
    );
    let writes_target = Some((f64::from(u32::try_from(written.writes()).unwrap()), 0.0));
    table.row(
        &name,
        "writes to the API server in steady state",
        written.to_string(),
        writes_target,
    );

    let status = world.jobs().get("fleet-0").await.unwrap().status.unwrap();
    let worst = world.failure_shows(20).await;
    table.row(
        &name,
        "a failure in Flink shows in status, worst of 20",
        format!("{:.2} s", worst.as_secs_f64()),
        Some((worst.as_secs_f64(), 2.0)),
    );
    operator.stop();

    eprintln!("{name}: the bare client with the operator's status");
    let same = bare::run(&world, jobs, status).await;
    let ratio = ours.as_secs_f64() / same.as_secs_f64();
    table.row(
        &name,
        "bare client with the operator's status",
        format!("{:.2} s (the operator: {ratio:.2} x)", same.as_secs_f64()),
        None,
    );
}
