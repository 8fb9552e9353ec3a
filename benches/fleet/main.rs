//! The fleet benchmark: many session jobs on fake Flink clusters, against a real API server, beside a bare client that does
//! only the least work needed in the same run.
//!
//! `cargo bench --bench fleet` runs the small fleet and the latencies; `cargo bench --bench fleet -- --large` adds ten
//! thousand jobs on twenty clusters. It prints a table, and what fell short of its target by how much; it fails nothing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::too_many_lines,
    reason = "like a test, a benchmark ends where something goes wrong, and it prints its table"
)]

mod bare;
mod latency;
mod measure;
mod operator;
mod table;
mod world;

use std::time::{Duration, Instant};

use measure::{ApiWrites, Usage};
use operator::Operator;
use table::Table;
use world::World;

fn main() {
    // `cargo test --benches` and `cargo bench` pass flags of their own.
    if std::env::args().any(|arg| arg == "--test" || arg == "--list") {
        return;
    }
    let large = std::env::args().any(|arg| arg == "--large");
    let quick = std::env::args().any(|arg| arg == "--quick");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut table = Table::new();
        for latency in [Duration::ZERO, Duration::from_millis(20)] {
            fleet(&mut table, 1000, 1, latency, if quick { 10 } else { 60 }).await;
        }
        latency::one_at_a_time(&mut table, if quick { 30 } else { 200 }).await;
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
    let world = World::start(clusters, latency).await;
    eprintln!("{name}: the bare client");
    let bare = bare::run(&world, jobs).await;
    table.row(
        &name,
        "bare client, creation to the last status write",
        format!("{:.2} s", bare.as_secs_f64()),
        None,
    );

    eprintln!("{name}: the operator");
    let count = || world.fakes.iter().map(|fake| fake.submissions().len()).sum::<usize>();
    let known = count();
    let mut operator = Operator::start(&world);
    world.wait_for_sessions().await;
    let ours = world.run_jobs("fleet", jobs).await;
    let ratio = ours.as_secs_f64() / bare.as_secs_f64();
    let target = (jobs <= 1000).then_some((ratio, 1.5));
    table.row(
        &name,
        "operator, first create to all Running",
        format!("{:.2} s ({ratio:.2} x bare)", ours.as_secs_f64()),
        target,
    );
    assert_eq!(count() - known, jobs, "each job ran exactly once");

    eprintln!("{name}: {steady_seconds} s of steady state");
    // What the start leaves behind: session numbers within ten seconds, attention for five.
    tokio::time::sleep(Duration::from_secs(15)).await;
    world.fakes.iter().for_each(devcluster::fake::FakeFlink::reset_counts);
    let writes = ApiWrites::read(&world).await;
    let before = Usage::of(operator.pid());
    let begun = Instant::now();
    tokio::time::sleep(Duration::from_secs(steady_seconds)).await;
    let after = Usage::of(operator.pid());
    let ticks = begun.elapsed().as_secs_f64();
    let written = ApiWrites::read(&world).await.since(&writes);
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
    let per_tick = f64::from(u32::try_from(requests).unwrap()) / ticks / f64::from(u32::try_from(clusters).unwrap());
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
    let writes_target = Some((f64::from(u32::try_from(written).unwrap()), 0.0));
    table.row(
        &name,
        "writes to the API server in steady state",
        written.to_string(),
        writes_target,
    );

    let worst = world.failure_shows(20).await;
    table.row(
        &name,
        "a failure in Flink shows in status, worst of 20",
        format!("{:.2} s", worst.as_secs_f64()),
        Some((worst.as_secs_f64(), 2.0)),
    );
    operator.stop();
}
