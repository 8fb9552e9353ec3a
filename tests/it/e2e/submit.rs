//! A resource becomes one job.

use devcluster::{jars::TestJob, skip_real};
use flink_job_operator::api::{FlinkSessionJob, Phase, Reason, keys::JOB_FINALIZER};
use kube::ResourceExt;
use serde_json::json;

use crate::harness::{Job, Kstatus, Scene};

#[tokio::test]
async fn a_job_is_submitted_once_and_its_status_tells() {
    if skip_real("a_job_is_submitted_once_and_its_status_tells") {
        return;
    }
    let scene = Scene::new("submit").await;
    // A job that is seen before its session waits, and says so in an Event.
    scene
        .session_is("ready", |session| {
            let status = session.status.as_ref();
            status.is_some_and(|status| status.submission_enabled == Some(true))
        })
        .await;
    let spec = Job::spec(&scene, TestJob::Counter, &[]).await;
    let job = scene.job("orders", spec).await;
    let status = job.runs().await;

    let id = status.job_id.unwrap();
    assert_eq!(job.submissions(), [id]);
    assert_eq!(id.owner(), job.owner);
    assert_eq!((status.attempt, status.parallelism), (Some(1), Some(1)));
    assert!(status.start_time.is_some() && status.end_time.is_none() && status.failure.is_none());
    assert_eq!(status.id.as_ref().map(String::len), Some(20));
    assert_eq!(status.runs.len(), 1);
    let address = status.job_manager_address.unwrap();
    assert_eq!(address.trim_end_matches('/'), scene.gate.url());
    let page = status.web_ui_url.unwrap();
    assert!(
        page.starts_with(scene.gate.url()) && page.contains(&id.to_string()),
        "{page}"
    );
    assert_eq!(scene.flink_state(id).await, "RUNNING");

    let starts = scene
        .eventually("the source starts", async || {
            Some(Job::ledger_at(&scene).sources()).filter(|starts| !starts.is_empty())
        })
        .await;
    assert_eq!(starts.len(), 1, "{starts:?}");
    assert_eq!(starts[0].job_id, id.to_string());

    let stored: FlinkSessionJob = scene.api().get("orders").await.unwrap();
    assert_eq!(stored.finalizers(), [JOB_FINALIZER]);
    scene.event("Normal Running FlinkSessionJob/orders").await;
    let told = scene.events().await;
    let of_job: Vec<_> = told
        .iter()
        .filter(|event| event.contains("FlinkSessionJob/orders"))
        .collect();
    assert_eq!(of_job.len(), 1, "one Event for a start: {of_job:?}");

    let session = scene.session_is("ready, with our job", |session| {
        let status = session.status.clone().unwrap_or_default();
        status.submission_enabled == Some(true) && status.slots.is_some_and(|slots| slots.total == 160)
    });
    let session = session.await.status.unwrap();
    assert_eq!(session.flink_version.as_deref(), Some("2.3.0"));
    scene.end().await;
}

#[tokio::test]
async fn a_job_waits_for_its_session_and_starts_once() {
    if skip_real("a_job_waits_for_its_session_and_starts_once") {
        return;
    }
    let scene = Scene::bare("early").await;
    let spec = Job::spec(&scene, TestJob::Counter, &[]).await;
    let job = scene.job("early", spec).await;
    job.reaches(Phase::Pending, Reason::ClusterNotFound, Kstatus::InProgress)
        .await;
    assert!(job.submissions().is_empty());
    scene.session().await;
    job.runs().await;
    assert_eq!(job.submissions().len(), 1);
    scene.end().await;
}

#[tokio::test]
async fn the_same_name_in_two_namespaces_is_two_jobs() {
    if skip_real("the_same_name_in_two_namespaces_is_two_jobs") {
        return;
    }
    let (one, two) = tokio::join!(Scene::new("twin"), Scene::new("twin"));
    let spec = Job::spec(&one, TestJob::Counter, &[]).await;
    let (first, second) = tokio::join!(one.job("twin", spec.clone()), two.job("twin", spec));
    let (a, b) = tokio::join!(first.runs(), second.runs());
    assert_ne!(a.job_id, b.job_id);
    first.delete().await;
    first.gone().await;
    assert_eq!(first.states().await, ["CANCELED"]);
    assert_eq!(second.states().await, ["RUNNING"]);
    one.end().await;
    two.end().await;
}

#[tokio::test]
async fn a_bounded_job_finishes_and_an_edit_runs_it_again() {
    if skip_real("a_bounded_job_finishes_and_an_edit_runs_it_again") {
        return;
    }
    let scene = Scene::new("bounded").await;
    let spec = Job::spec(&scene, TestJob::Bounded, &["--seconds", "15"]).await;
    let job = scene.job("report", spec).await;
    job.runs().await;
    let status = job.reaches(Phase::Finished, Reason::Finished, Kstatus::Current).await;
    assert_eq!(status.flink_state.as_deref(), Some("FINISHED"));
    assert!(status.end_time >= status.start_time && status.end_time.is_some());
    scene.event("Normal Finished FlinkSessionJob/report").await;
    assert_eq!(job.submissions().len(), 1);

    job.edit(json!({ "flinkConfiguration": { "pipeline.object-reuse": "true" } }))
        .await;
    job.is("finished a second time", |job| {
        let status = job.status.as_ref().unwrap();
        status.phase == Some(Phase::Finished) && status.attempt == Some(2)
    })
    .await;
    assert_eq!(job.submissions().len(), 2);
    scene.end().await;
}

#[tokio::test]
async fn a_bounded_job_that_ends_before_it_is_seen_has_finished_once() {
    if skip_real("a_bounded_job_that_ends_before_it_is_seen_has_finished_once") {
        return;
    }
    let scene = Scene::new("quick").await;
    let spec = Job::spec(&scene, TestJob::Bounded, &["--pause-ms", "0"]).await;
    let job = scene.job("quick", spec).await;
    let status = job.reaches(Phase::Finished, Reason::Finished, Kstatus::Current).await;
    assert_eq!((job.submissions().len(), status.runs.len()), (1, 1));
    scene.end().await;
}

#[tokio::test]
async fn jobs_of_a_session_share_one_uploaded_jar() {
    if skip_real("jobs_of_a_session_share_one_uploaded_jar") {
        return;
    }
    let scene = Scene::new("shared").await;
    let spec = Job::spec(&scene, TestJob::Counter, &[]).await;
    let (one, two, three) = tokio::join!(
        scene.job("one", spec.clone()),
        scene.job("two", spec.clone()),
        scene.job("three", spec)
    );
    tokio::join!(one.runs(), two.runs(), three.runs());
    let uploads = scene
        .log()
        .iter()
        .filter(|line| line.contains("uploaded a jar"))
        .count();
    assert_eq!(uploads, 1);
    scene.end().await;
}

#[tokio::test]
async fn variables_reach_the_program_and_a_missing_config_map_is_waited_for() {
    if skip_real("variables_reach_the_program_and_a_missing_config_map_is_waited_for") {
        return;
    }
    let scene = Scene::new("variables").await;
    let mut spec = Job::spec(&scene, TestJob::Counter, &["--name", "orders-${region}"]).await;
    spec["variablesFrom"] = json!([{ "configMapRef": { "name": "regions" } }]);
    let job = scene.job("vars", spec).await;
    job.reaches(Phase::Failed, Reason::ReferenceNotFound, Kstatus::Failed)
        .await;
    scene
        .create::<k8s_openapi::api::core::v1::ConfigMap>(
            json!({ "metadata": { "name": "regions" }, "data": { "region": "north" } }),
        )
        .await;
    let status = job.runs().await;
    let seen = scene.flink_get(&format!("/jobs/{}", status.job_id.unwrap())).await;
    assert_eq!(seen["name"], "orders-north");
    scene.end().await;
}
