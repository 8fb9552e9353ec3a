//! The steady state of jobs that take checkpoints, beside jobs that take none.

use std::time::{Duration, Instant};

use devcluster::fake::FakeOptions;
use serde_json::json;

use crate::{
    measure::{ApiRequests, Usage, besides_the_poll},
    operator::Operator,
    table::Table,
    watch::Watching,
    world::{World, job_on},
};

/// Jobs of each kind, each kind on a cluster of its own.
const JOBS: usize = 200;

/// What was counted of one kind of jobs.
struct Kind {
    session: usize,
    name: &'static str,
    /// The most requests to Flink, and writes, of a job in a minute.
    most: f64,
}

const KINDS: [Kind; 2] = [
    Kind {
        session: 0,
        name: "with",
        most: 1.0,
    },
    Kind {
        session: 1,
        name: "without",
        most: 0.0,
    },
];

impl Kind {
    fn job(&self, n: usize) -> String {
        format!("{}-{n}", self.name)
    }

    /// How many versions of its jobs were seen so far.
    fn versions(&self, watching: &Watching) -> usize {
        watching.read(|seen| (0..JOBS).map(|n| seen.versions(&self.job(n))).sum())
    }
}

pub async fn steady_state(table: &mut Table, seconds: u64) {
    let name = format!("{JOBS} jobs with checkpoints every second, {JOBS} without");
    eprintln!("{name}: they are started");
    let world = World::start(vec![FakeOptions::default(); 2]).await;
    let mut operator = Operator::start(&world);
    world.wait_for_sessions().await;
    let with = json!({ "upgradeMode": "LastState", "flinkConfiguration": {
        "execution.checkpointing.interval": "1 s",
        "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
    }});
    let without = json!({ "upgradeMode": "Stateless" });
    let specs = [with, without];
    let jobs = KINDS
        .iter()
        .zip(&specs)
        .flat_map(|(kind, spec)| (0..JOBS).map(move |n| job_on(kind.session, &kind.job(n), n, spec)));
    world.run(jobs.collect()).await;
    // Two readings of each job's checkpoints: what the start left behind is over.
    tokio::time::sleep(Duration::from_secs(130)).await;

    eprintln!("{name}: {seconds} s of steady state");
    let watching = Watching::start(&world);
    let all = |seen: &crate::watch::Seen| KINDS.iter().all(|k| (0..JOBS).all(|n| seen.versions(&k.job(n)) > 0));
    assert!(
        watching.until(Duration::from_secs(60), all).await,
        "the watch brings all jobs"
    );
    world.fakes.iter().for_each(devcluster::fake::FakeFlink::reset_counts);
    let versions = KINDS.each_ref().map(|kind| kind.versions(&watching));
    let (requests, before) = (ApiRequests::read(&world).await, Usage::of(operator.pid()));
    let begun = Instant::now();
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let minutes = begun.elapsed().as_secs_f64() / 60.0;
    let after = Usage::of(operator.pid());
    let asked = KINDS
        .each_ref()
        .map(|kind| besides_the_poll(&world.fakes[kind.session]));
    let requests = ApiRequests::read(&world).await.since(&requests);

    for ((kind, before), (asked, told)) in KINDS.iter().zip(versions).zip(asked) {
        let of_each = |count: f64| count / JOBS as f64 / minutes;
        let requests = of_each(asked as f64);
        table.row(
            &name,
            &format!("jobs {} checkpoints: requests to Flink for each and minute", kind.name),
            format!("{requests:.3}, besides the poll: {told}"),
            Some((requests, kind.most)),
        );
        let written = of_each((kind.versions(&watching) - before) as f64);
        table.row(
            &name,
            &format!("jobs {} checkpoints: writes for each and minute", kind.name),
            format!("{written:.3}"),
            Some((written, kind.most)),
        );
    }
    let others = requests.writes() - requests.writes_of("flinksessionjobs/status");
    table.row(
        &name,
        "all requests to the API server",
        requests.to_string(),
        Some((others as f64, 0.0)),
    );
    let cpu = after.cpu.saturating_sub(before.cpu).as_secs_f64() / minutes;
    table.row(&name, "CPU in a minute", format!("{cpu:.2} s"), None);
    table.row(&name, "peak memory", format!("{:.1} MiB", after.peak_mib), None);
    operator.stop();
}
