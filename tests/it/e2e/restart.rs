//! The operator dies and comes back, and costs nothing in between. These tests have an API server of their own.

use std::time::Duration;

use devcluster::{ControlPlane, jars::TestJob, skip_real};
use flink_job_operator::api::{FlinkSession, FlinkSessionJob, JobStatus};
use kube::{
    Api, ResourceExt,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::json;

use crate::harness::{Job, Operator, Scene, flink, install};

/// An API server with an operator that may be killed.
async fn own() -> (ControlPlane, Operator) {
    let plane = ControlPlane::start().await.unwrap();
    install(&plane.client().await.unwrap()).await;
    let operator = Operator::start(&plane, "15s").await;
    (plane, operator)
}

/// The versions of all resources: they move with every write.
async fn versions(scene: &Scene<'_>) -> Vec<Option<String>> {
    let jobs: Api<FlinkSessionJob> = scene.api();
    let sessions: Api<FlinkSession> = scene.api();
    let mut versions = Vec::new();
    for job in jobs.list(&ListParams::default()).await.unwrap() {
        versions.push(job.resource_version());
    }
    for session in sessions.list(&ListParams::default()).await.unwrap() {
        versions.push(session.resource_version());
    }
    versions
}

#[tokio::test]
async fn a_killed_operator_comes_back_and_submits_nothing() {
    if skip_real("a_killed_operator_comes_back_and_submits_nothing") {
        return;
    }
    let (plane, mut operator) = own().await;
    let (ids, namespace) = {
        let scene = Scene::on("killed", &plane, &operator, flink().await).await;
        scene.session().await;
        let spec = Job::spec(&scene, TestJob::Counter, &[]).await;
        let (one, two) = tokio::join!(scene.job("one", spec.clone()), scene.job("two", spec));
        let (a, b) = tokio::join!(one.runs(), two.runs());
        ([(one.owner, a.job_id), (two.owner, b.job_id)], scene.namespace)
    };
    operator.kill();
    operator.restart().await;
    let scene = Scene::on("after", &plane, &operator, flink().await).await;
    // The lease of the process that was killed has to run out first.
    scene
        .eventually("it leads", async || {
            (operator.metric("flinkjobs_leader").await > 0.0).then_some(())
        })
        .await;
    let jobs: Api<FlinkSessionJob> = Api::namespaced(scene.admin.clone(), &namespace);

    // It follows them again: what is asked of one is done.
    let edit = json!({ "spec": { "state": "Cancelled" } });
    jobs.patch("one", &PatchParams::default(), &Patch::Merge(&edit))
        .await
        .unwrap();
    scene
        .eventually("the first job is cancelled", async || {
            let status = jobs.get("one").await.unwrap().status?;
            (status.phase == Some(flink_job_operator::api::Phase::Cancelled)).then_some(())
        })
        .await;
    for (owner, id) in ids {
        assert_eq!(scene.submissions(owner), [id.unwrap()]);
    }
    assert_eq!(scene.flink_state(ids[1].1.unwrap()).await, "RUNNING");

    // A record that is lost is found again by the mark of the job that runs.
    operator.kill();
    let emptied = json!({ "status": null });
    jobs.patch_status("two", &PatchParams::default(), &Patch::Merge(&emptied))
        .await
        .unwrap();
    assert_eq!(jobs.get("two").await.unwrap().status.unwrap(), JobStatus::default());
    drop(scene);
    operator.restart().await;
    let scene = Scene::on("found", &plane, &operator, flink().await).await;
    let status = scene
        .eventually("the second job is adopted", async || {
            let status = jobs.get("two").await.unwrap().status?;
            (status.phase == Some(flink_job_operator::api::Phase::Running)).then_some(status)
        })
        .await;
    assert_eq!(status.job_id, ids[1].1);
    assert_eq!(scene.submissions(ids[1].0), [ids[1].1.unwrap()]);
    let events: Api<k8s_openapi::api::events::v1::Event> = Api::namespaced(scene.admin.clone(), &namespace);
    scene
        .eventually("the Event Adopted", async || {
            let events = events.list(&ListParams::default()).await.unwrap();
            events
                .into_iter()
                .find(|event| event.reason.as_deref() == Some("Adopted"))
        })
        .await;

    // Also while it runs.
    jobs.patch_status("two", &PatchParams::default(), &Patch::Merge(&emptied))
        .await
        .unwrap();
    let status = scene
        .eventually("the second job is adopted again", async || {
            let status = jobs.get("two").await.unwrap().status?;
            (status.phase == Some(flink_job_operator::api::Phase::Running)).then_some(status)
        })
        .await;
    assert_eq!(status.job_id, ids[1].1);
    assert_eq!(scene.submissions(ids[1].0).len(), 1);
    jobs.delete("two", &kube::api::DeleteParams::default()).await.unwrap();
    scene
        .eventually("the second job is gone", async || {
            jobs.get_opt("two").await.unwrap().is_none().then_some(())
        })
        .await;
    assert_eq!(scene.flink_state(ids[1].1.unwrap()).await, "CANCELED");
    operator.check_log();
}

#[allow(clippy::float_cmp, reason = "counters are whole numbers")]
#[tokio::test]
async fn a_steady_state_is_silent() {
    if skip_real("a_steady_state_is_silent") {
        return;
    }
    let (plane, operator) = own().await;
    let scene = Scene::on("steady", &plane, &operator, flink().await).await;
    scene.session().await;
    let spec = Job::spec(&scene, TestJob::Counter, &[]).await;
    let (one, two) = tokio::join!(scene.job("one", spec.clone()), scene.job("two", spec));
    tokio::join!(one.runs(), two.runs());
    scene.event("Normal Running FlinkSessionJob/one").await;
    scene.event("Normal Running FlinkSessionJob/two").await;

    // The session's numbers settle after ten seconds; other tests' jobs on the same Flink move them now and then.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (log, before) = (operator.log(), versions(&scene).await);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (later, after) = (operator.log(), versions(&scene).await);
    assert_eq!(&later[log.len()..], "", "no line in steady state");
    assert_eq!(before[..2], after[..2], "no write to a job in steady state");

    assert_eq!(operator.http("/readyz").await.unwrap().0, 200);
    assert_eq!(operator.http("/healthz").await.unwrap().0, 200);
    assert_eq!(operator.http("/nothing").await.unwrap().0, 404);
    let running = operator.metric("flinkjobs_resources{kind=\"FlinkSessionJob\",phase=\"Running\"}");
    assert_eq!(running.await, 2.0);
    assert_eq!(operator.metric("flinkjobs_leader").await, 1.0);
    assert_eq!(operator.metric("flinkjobs_orphans").await, 0.0);
    let accepted = operator
        .metric("flinkjobs_submissions_total{outcome=\"Accepted\"}")
        .await;
    assert_eq!(accepted, 2.0);
    for job in [&one, &two] {
        job.delete().await;
        job.gone().await;
    }
    operator.check_log();
}
