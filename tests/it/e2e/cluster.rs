//! Clusters that do not answer, forget, or are full.

use std::time::Duration;

use devcluster::{jars::TestJob, skip_real};
use flink_job_operator::api::{ConditionStatus, ConditionType, Phase, Reason, condition::find, status::RunOutcome};
use serde_json::json;

use crate::harness::{Behind, Job, Kstatus, Scene, operator, plane, small_flink};

#[tokio::test]
async fn an_unreachable_cluster_is_unknown_and_never_gone() {
    if skip_real("an_unreachable_cluster_is_unknown_and_never_gone") {
        return;
    }
    let scene = Scene::new("unreachable").await;
    let spec = Job::spec(&scene, TestJob::Counter, &[]).await;
    let job = scene.job("orders", spec).await;
    let id = job.runs().await.job_id;
    scene.gate.put(Behind::Nothing);
    let status = job
        .reaches(Phase::Unknown, Reason::ClusterUnreachable, Kstatus::InProgress)
        .await;
    assert_eq!((status.job_id, status.flink_state.as_deref()), (id, Some("RUNNING")));
    let cluster = find(&status.conditions, ConditionType::ClusterReady).unwrap();
    assert_eq!(cluster.status, ConditionStatus::Unknown);
    scene
        .session_is("unreachable", |session| {
            session
                .status
                .as_ref()
                .is_some_and(|status| status.phase == Some(flink_job_operator::api::session::SessionPhase::Unreachable))
        })
        .await;
    scene.event("Warning ClusterUnreachable FlinkSessionJob/orders").await;

    scene.gate.lead_to(scene.flink.rest_url());
    let status = job.runs().await;
    assert_eq!((status.job_id, job.submissions().len()), (id, 1));
    assert_eq!(status.runs.len(), 1);
    scene.end().await;
}

#[tokio::test]
async fn a_deletion_waits_for_a_silent_cluster_no_longer_than_its_timeout() {
    if skip_real("a_deletion_waits_for_a_silent_cluster_no_longer_than_its_timeout") {
        return;
    }
    let scene = Scene::new("timeout").await;
    let mut spec = Job::spec(&scene, TestJob::Counter, &[]).await;
    spec["deletionPolicy"] = json!({ "type": "Cancel", "timeout": "3s" });
    let (short, long) = (spec.clone(), {
        spec["deletionPolicy"]["timeout"] = json!("1h");
        spec
    });
    let (short, long) = tokio::join!(scene.job("short", short), scene.job("long", long));
    let (released, _) = tokio::join!(short.runs(), long.runs());
    scene.gate.put(Behind::Nothing);
    let unknown = (Phase::Unknown, Reason::ClusterUnreachable, Kstatus::InProgress);
    tokio::join!(
        short.reaches(unknown.0, unknown.1, unknown.2),
        long.reaches(unknown.0, unknown.1, unknown.2)
    );
    short.delete().await;
    long.delete().await;
    short.gone().await;
    scene.event("Warning JobMayStillRun FlinkSessionJob/short").await;
    let blocked = (Phase::Deleting, Reason::DeletionBlocked, Kstatus::Terminating);
    long.is("waits, and says so", |job| {
        let status = job.status.as_ref().unwrap();
        let ready = find(&status.conditions, ConditionType::Ready).unwrap();
        status.phase == Some(blocked.0) && ready.reason == blocked.1.as_str()
    })
    .await;
    scene.gate.lead_to(scene.flink.rest_url());
    long.gone().await;
    assert_eq!(long.states().await, ["CANCELED"]);
    scene.cancel_in_ui(released.job_id.unwrap()).await;
    scene.end().await;
}

#[tokio::test]
async fn a_job_that_its_jobmanager_forgot_is_lost_until_the_nonce_changes() {
    if skip_real("a_job_that_its_jobmanager_forgot_is_lost_until_the_nonce_changes") {
        return;
    }
    let small = small_flink().await;
    let flink = small.as_ref().unwrap();
    let scene = Scene::on("lost", plane().await, operator().await, flink).await;
    scene.session().await;
    let spec = Job::spec(&scene, TestJob::Counter, &[]).await;
    let job = scene.job("orders", spec).await;
    let before = job.runs().await;
    flink.kill_jobmanager().unwrap();
    job.reaches(Phase::Unknown, Reason::ClusterUnreachable, Kstatus::InProgress)
        .await;
    flink.restart_jobmanager().await.unwrap();
    let status = job.reaches(Phase::Lost, Reason::JobLost, Kstatus::Failed).await;
    assert_eq!(status.runs[0].outcome, Some(RunOutcome::Lost));
    assert!(status.conditions[0].message.contains("restartNonce"));
    scene.event("Warning JobLost FlinkSessionJob/orders").await;
    assert_eq!(job.submissions().len(), 1);

    flink.wait_for_taskmanagers().await.unwrap();
    job.edit(json!({ "restartNonce": 1 })).await;
    let after = job.runs().await;
    assert_ne!(after.job_id, before.job_id);
    assert_eq!(job.submissions().len(), 2);
    job.delete().await;
    job.gone().await;
    scene.end().await;
}

#[tokio::test]
async fn a_job_waits_for_free_slots() {
    if skip_real("a_job_waits_for_free_slots") {
        return;
    }
    let small = small_flink().await;
    let flink = small.as_ref().unwrap();
    let scene = Scene::on("slots", plane().await, operator().await, flink).await;
    scene.session().await;
    let spec = Job::spec(&scene, TestJob::Counter, &[]).await;
    let first = scene.job("first", spec.clone()).await;
    first.runs().await;
    scene
        .eventually("its task runs and has a slot", async || {
            (Job::ledger_at(&scene).sources().len() == 1).then_some(())
        })
        .await;
    let mut wide = spec;
    wide["job"]["parallelism"] = json!(2);
    let second = scene.job("second", wide).await;
    let status = second
        .reaches(Phase::Pending, Reason::InsufficientSlots, Kstatus::InProgress)
        .await;
    assert!(status.conditions[0].message.contains("2 task slots"), "{status:?}");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(second.submissions().is_empty());
    first.delete().await;
    first.gone().await;
    second.runs().await;
    assert_eq!(second.submissions().len(), 1);
    second.delete().await;
    second.gone().await;
    scene.end().await;
}
