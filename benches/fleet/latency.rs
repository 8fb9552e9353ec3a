//! One job at a time on an idle operator: how long until Flink is asked to run it, and until its status says Running.

use std::time::Duration;

use devcluster::fake::FakeOptions;
use flink_job_operator::api::{FlinkSessionJob, Phase};
use jiff::Timestamp;
use kube::{ResourceExt, api::PostParams, runtime::wait::await_condition};

use crate::{measure::percentile, operator::Operator, table::Table, world::World};

pub async fn one_at_a_time(table: &mut Table, times: usize) {
    let name = format!("one job, idle operator, n = {times}");
    eprintln!("{name}");
    let world = World::start(vec![FakeOptions::default()]).await;
    let mut operator = Operator::start(&world);
    world.wait_for_sessions().await;
    // The first job uploads the jar.
    world.run_jobs("warm", 1).await;
    let api = world.jobs();
    let (mut to_run, mut to_status) = (Vec::new(), Vec::new());
    for n in 0..times {
        // Idle: the attention for the job before is over every now and then.
        tokio::time::sleep(Duration::from_millis(150)).await;
        let known = world.fakes[0].submissions().len();
        let job = api
            .create(&PostParams::default(), &world.job(&format!("one-{n}"), n))
            .await
            .unwrap();
        let created = Timestamp::now();
        let running = |job: Option<&FlinkSessionJob>| {
            job.and_then(|job| job.status.as_ref())
                .is_some_and(|status| status.phase == Some(Phase::Running))
        };
        await_condition(api.clone(), &job.name_any(), running).await.unwrap();
        let shown = Timestamp::now();
        let accepted = world.fakes[0].submissions()[known].time;
        to_run.push(millis(created, accepted));
        to_status.push(millis(accepted, shown));
    }
    operator.stop();
    let (p50, p99) = (percentile(&mut to_run, 50), percentile(&mut to_run, 99));
    table.row(
        &name,
        "reply to the create → accepted by Flink, p50 / p99",
        format!("{p50:.0} / {p99:.0} ms"),
        Some((p99, 100.0)),
    );
    let (p50, p99) = (percentile(&mut to_status, 50), percentile(&mut to_status, 99));
    table.row(
        &name,
        "accepted by Flink → Running in status, p50 / p99",
        format!("{p50:.0} / {p99:.0} ms"),
        Some((p99, 1000.0)),
    );
}

fn millis(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64() * 1000.0
}
