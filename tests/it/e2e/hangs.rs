//! A job that hangs in its snapshots: nothing is taken from it by force, and every wait says what it is for.

use devcluster::skip_real;
use flink_job_operator::api::{ConditionType, Phase, Reason, Savepoint, SavepointPhase, condition::find};
use serde_json::{Value, json};

use super::kept::{change, counted, without_checkpoints};
use crate::harness::{
    Kstatus, Scene,
    taken::{Taken, message},
};

/// A job that takes no checkpoints by itself, and hangs in each savepoint until Flink gives that up.
async fn hanging(scene: &Scene<'_>, mode: &str) -> Value {
    let mut spec = without_checkpoints(scene, mode).await;
    let args = spec["job"]["args"].as_array_mut().unwrap();
    args.extend(["--on-snapshot", "hang"].map(Value::from));
    spec["flinkConfiguration"]["execution.checkpointing.timeout"] = json!("25 s");
    spec
}

/// A Savepoint that Flink is taking: it was asked, so that the record of that is complete.
async fn under_way<'s>(scene: &'s Scene<'_>, name: &str, spec: Value) -> Taken<'s> {
    let taken = scene.savepoint(name, spec).await;
    let asked = format!("asked for a savepoint resource=Savepoint.v1alpha1.flinkjobs.dev/{name}.");
    scene
        .eventually("Flink is asked", async || {
            let log = scene.log();
            log.iter().any(|line| line.contains(&asked)).then_some(())
        })
        .await;
    taken
        .reaches(SavepointPhase::InProgress, Reason::InProgress, Kstatus::InProgress)
        .await;
    taken
}

fn once() -> Value {
    json!({ "jobRef": { "name": "orders" }, "trigger": { "backoffLimit": 0 } })
}

#[tokio::test]
async fn an_upgrade_waits_for_a_savepoint_that_hangs_until_the_user_does_without_the_state() {
    if skip_real("an_upgrade_waits_for_a_savepoint_that_hangs_until_the_user_does_without_the_state") {
        return;
    }
    let scene = Scene::new("hangs").await;
    let job = scene.job("orders", hanging(&scene, "Savepoint").await).await;
    let first = job.runs().await;
    counted(&scene, &first, 1).await;
    let taken = under_way(&scene, "one", once()).await;
    job.edit(change()).await;
    // First for the one that was asked for.
    let said = job.is("says what it waits for", |job| {
        let status = job.status.as_ref().unwrap();
        let ready = find(&status.conditions, ConditionType::Ready).unwrap();
        status.phase == Some(Phase::Restarting) && ready.message.contains("a Savepoint of the job is being taken")
    });
    said.await;
    let status = taken
        .reaches(SavepointPhase::Failed, Reason::SavepointFailed, Kstatus::Failed)
        .await;
    assert!(
        message(&status).contains("expired before completing"),
        "{}",
        message(&status)
    );
    // Then for its own, which fails as well.
    let status = job
        .reaches(Phase::Restarting, Reason::SavepointFailed, Kstatus::InProgress)
        .await;
    let told = &status.conditions[0].message;
    assert!(
        told.contains("the job goes on") && told.contains("upgradeMode"),
        "{told}"
    );
    assert_eq!(job.states().await, ["RUNNING"]);
    job.edit(json!({ "upgradeMode": "Stateless" })).await;
    job.is("the second attempt runs", |job| {
        let status = job.status.as_ref().unwrap();
        status.phase == Some(Phase::Running) && status.attempt == Some(2)
    })
    .await;
    assert_eq!(job.states().await, ["CANCELED", "RUNNING"]);
    scene.end().await;
}

#[tokio::test]
async fn a_savepoint_that_is_deleted_while_flink_takes_it_goes_and_says_where_files_may_be() {
    if skip_real("a_savepoint_that_is_deleted_while_flink_takes_it_goes_and_says_where_files_may_be") {
        return;
    }
    let scene = Scene::new("deleted-early").await;
    let job = scene.job("orders", hanging(&scene, "Stateless").await).await;
    let first = job.runs().await;
    counted(&scene, &first, 1).await;
    let kept = under_way(&scene, "kept", once()).await;
    kept.delete().await;
    kept.gone().await;
    let told = scene.event("Warning StateUnknown Savepoint/kept").await;
    assert!(told.contains(&kept.uid), "it names the directory: {told}");
    // One whose files are to go with it is seen to its end.
    let mut spec = once();
    spec["deletionPolicy"] = json!("Dispose");
    let disposed = under_way(&scene, "disposed", spec).await;
    disposed.delete().await;
    let stays = |savepoint: &Savepoint| {
        let status = savepoint.status.as_ref();
        status.and_then(|status| status.phase) == Some(SavepointPhase::InProgress)
    };
    disposed.is("stays until that is over", stays).await;
    disposed.gone().await;
    assert_eq!(job.states().await, ["RUNNING"]);
    scene.end().await;
}
