//! A job is lost with its JobManager, and its checkpoints are in a store that the operator may look into.

use bytes::Bytes;
use flink_job_operator::api::{FlinkSessionJob, state::StateKind};
use serde_json::json;

use super::{
    Failure, chosen,
    cluster::{Cluster, steady},
    ground::Flags,
    passed,
    world::{JOB, World, eventually, is_running},
};
use crate::artifact::s3::Store;

/// The checkpoint that the status names.
fn recorded(job: Option<&FlinkSessionJob>) -> Option<&str> {
    let latest = job?.status.as_ref()?.latest_state()?;
    (latest.kind == StateKind::Checkpoint).then_some(latest.path.as_str())
}

/// Leaks a flag's value, which lives as long as the test.
fn value(text: String) -> &'static str {
    Box::leak(text.into_boxed_str())
}

async fn lost(world: &World, store: &Store) -> Result<(), Failure> {
    world.until_session_ready().await?;
    let configuration = json!({
        "execution.checkpointing.interval": "3 s",
        "execution.checkpointing.dir": "s3://state/etl",
        "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
    });
    let more = json!({ "upgradeMode": "LastState", "flinkConfiguration": configuration });
    world.create_with(JOB, more).await;
    let job = world
        .until(JOB, "running with a checkpoint on record", |job| {
            recorded(job).is_some()
        })
        .await?;
    let on_record = recorded(job.as_ref()).unwrap_or_default().to_owned();
    let first = world.cluster.ran()?.remove(0).id;
    // Flink replaces it. The next one is seconds away then.
    eventually("a newer checkpoint", async || {
        let newest = world.cluster.newest_checkpoint(&first);
        (newest.as_deref() != Some(&on_record))
            .then_some(())
            .ok_or_else(|| format!("{newest:?}"))
    })
    .await?;
    let newest = world.cluster.newest_checkpoint(&first).ok_or("no checkpoint")?;
    let folder = newest
        .trim_start_matches("s3://")
        .rsplit_once('/')
        .ok_or("no folder")?
        .0;
    for name in [
        &newest.trim_start_matches("s3://")[folder.len() + 1..],
        "shared",
        // It was being taken.
        "chk-1000",
    ] {
        let file = if name == "chk-1000" { "part" } else { "_metadata" };
        store.put(&format!("{folder}/{name}/{file}"), Bytes::from_static(b"x"));
    }
    let restarted = world.cluster.restart_jobmanager(false).await;
    restarted.map_err(|error| error.to_string())?;
    world
        .until(JOB, "running again", |job| {
            let attempt = job.and_then(|job| job.status.as_ref()?.attempt);
            is_running(job) && attempt == Some(2)
        })
        .await?;
    world.polls(4).await?;
    let from: Vec<_> = world.cluster.ran()?.into_iter().map(|ran| ran.from).collect();
    if from == [None, Some(newest.clone())] && newest != on_record {
        return world.runs_once(JOB, 2).await;
    }
    Err(format!(
        "{on_record} was on record, {newest} is in the store; started from {from:?}"
    ))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_job_goes_on_from_the_newest_checkpoint_in_the_store() {
    if devcluster::skip_real("crash::stored") || !chosen("stored") {
        return;
    }
    let store = Store::default();
    let endpoint = store.start().await;
    let world = World::new(steady()).await;
    let flags = Flags::from([
        ("--s3-endpoint", value(endpoint.to_string())),
        ("--s3-anonymous", ""),
        ("--state-prefix", value(format!("{}=s3://state/etl/", world.namespace))),
    ]);
    let operator = world.operator_with(flags).await;
    passed(world.judge(lost(&world, &store).await, &[&operator]).await);
}
