//! `spec.state`: Draft, Running, Suspended, Cancelled.

use std::{fs, time::Duration};

use devcluster::{
    FlinkVersion,
    jars::{self, TestJob},
    skip_real,
};
use flink_job_operator::{
    api::{Phase, Reason, status::RunOutcome},
    flink::{ClusterEndpoint, FlinkClient, JarContent, JobId, RunReply, RunRequest},
};
use serde_json::json;

use crate::harness::{Job, Kstatus, Scene};

#[tokio::test]
async fn suspend_stops_the_job_and_resume_starts_another() {
    if skip_real("suspend_stops_the_job_and_resume_starts_another") {
        return;
    }
    let scene = Scene::new("suspend").await;
    let spec = Job::spec(&scene, TestJob::Counter, &[]).await;
    let job = scene.job("orders", spec).await;
    job.runs().await;
    job.edit(json!({ "state": "Suspended" })).await;
    let status = job.reaches(Phase::Suspended, Reason::Suspended, Kstatus::Current).await;
    assert_eq!(status.runs[0].outcome, Some(RunOutcome::Suspended));
    assert_eq!(job.states().await, ["CANCELED"]);
    scene.event("Normal Suspended FlinkSessionJob/orders").await;
    job.edit(json!({ "state": "Running" })).await;
    job.runs().await;
    assert_eq!(job.states().await, ["CANCELED", "RUNNING"]);
    scene.end().await;
}

#[tokio::test]
async fn cancelled_stays_cancelled_until_it_is_asked_to_run() {
    if skip_real("cancelled_stays_cancelled_until_it_is_asked_to_run") {
        return;
    }
    let scene = Scene::new("cancelled").await;
    let spec = Job::spec(&scene, TestJob::Counter, &[]).await;
    let job = scene.job("orders", spec).await;
    job.runs().await;
    job.edit(json!({ "state": "Cancelled" })).await;
    let status = job.reaches(Phase::Cancelled, Reason::Cancelled, Kstatus::Current).await;
    assert_eq!(status.runs[0].outcome, Some(RunOutcome::Cancelled));
    assert_eq!(status.flink_state.as_deref(), Some("CANCELED"));
    job.edit(json!({ "state": "Running" })).await;
    job.runs().await;
    assert_eq!(job.states().await, ["CANCELED", "RUNNING"]);
    scene.end().await;
}

#[tokio::test]
async fn a_draft_is_checked_and_never_submitted() {
    if skip_real("a_draft_is_checked_and_never_submitted") {
        return;
    }
    let scene = Scene::new("draft").await;
    let mut spec = Job::spec(&scene, TestJob::Counter, &["--name", "${who}"]).await;
    spec["state"] = json!("Draft");
    let job = scene.job("orders", spec).await;
    job.reaches(Phase::Draft, Reason::UndefinedVariable, Kstatus::Failed)
        .await;
    job.edit(json!({ "variables": { "who": "drafted" } })).await;
    job.reaches(Phase::Draft, Reason::Draft, Kstatus::Current).await;
    assert!(job.submissions().is_empty());
    job.edit(json!({ "state": "Running" })).await;
    job.runs().await;
    assert_eq!(job.submissions().len(), 1);
    scene.end().await;
}

#[tokio::test]
async fn a_job_created_suspended_does_not_run_before_it_is_asked_to() {
    if skip_real("a_job_created_suspended_does_not_run_before_it_is_asked_to") {
        return;
    }
    let scene = Scene::new("asleep").await;
    let mut spec = Job::spec(&scene, TestJob::Counter, &[]).await;
    spec["state"] = json!("Suspended");
    let job = scene.job("orders", spec).await;
    job.reaches(Phase::Suspended, Reason::Suspended, Kstatus::Current).await;
    assert!(job.submissions().is_empty());
    job.edit(json!({ "state": "Running" })).await;
    job.runs().await;
    assert_eq!(job.submissions().len(), 1);
    scene.end().await;
}

/// Starts a job past the operator, as a script does that sends an old request again.
async fn start_past_the_operator(scene: &Scene<'_>, id: JobId) {
    let client = FlinkClient::new(&ClusterEndpoint::new(scene.flink.rest_url().parse().unwrap())).unwrap();
    let jar = fs::read(jars::test_jobs(FlinkVersion::V2_3).await.unwrap()).unwrap();
    let uploaded = client.upload_jar("again.jar", JarContent::from_bytes(jar.into()));
    let run = RunRequest {
        entry_class: Some(TestJob::Counter.class()),
        ..RunRequest::new(id)
    };
    let jar = uploaded.await.unwrap().id;
    let started = client.run_jar(&jar, &run, Duration::from_secs(60)).await;
    assert_eq!(started, Ok(RunReply::Started));
}

#[tokio::test]
async fn a_suspended_job_that_comes_back_by_itself_is_stopped_and_reported() {
    if skip_real("a_suspended_job_that_comes_back_by_itself_is_stopped_and_reported") {
        return;
    }
    let scene = Scene::new("comes-back").await;
    let spec = Job::spec(&scene, TestJob::Counter, &[]).await;
    let job = scene.job("orders", spec).await;
    let id = job.runs().await.job_id.unwrap();
    job.edit(json!({ "state": "Suspended" })).await;
    job.reaches(Phase::Suspended, Reason::Suspended, Kstatus::Current).await;
    let back = JobId::new(id.installation(), id.owner(), id.attempt() + 1);
    start_past_the_operator(&scene, back).await;
    let told = scene.event("Warning ResultUnknown FlinkSessionJob/orders").await;
    assert!(told.contains(&back.to_string()), "{told}");
    scene
        .eventually("it was stopped", async || {
            (scene.flink_state(back).await == "CANCELED").then_some(())
        })
        .await;
    job.reaches(Phase::Suspended, Reason::Suspended, Kstatus::Current).await;
    // It is in nobody's way.
    job.edit(json!({ "state": "Running" })).await;
    let status = job.runs().await;
    assert_eq!(job.submissions(), [id, back, status.job_id.unwrap()]);
    scene.end().await;
}
