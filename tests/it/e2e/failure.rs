//! Jobs that end by themselves or by somebody else's hand.

use devcluster::{jars::TestJob, skip_real};
use flink_job_operator::api::{Phase, Reason, status::RunOutcome};
use serde_json::json;

use crate::harness::{Job, Kstatus, Scene};

#[tokio::test]
async fn a_failed_job_shows_its_root_cause_and_stays_failed() {
    if skip_real("a_failed_job_shows_its_root_cause_and_stays_failed") {
        return;
    }
    let scene = Scene::new("fails").await;
    let spec = Job::spec(&scene, TestJob::FailingTask, &["--fail-after", "5"]).await;
    let job = scene.job("orders", spec).await;
    let status = job.reaches(Phase::Failed, Reason::JobFailed, Kstatus::Failed).await;
    let failure = status.failure.unwrap();
    let cause = failure.root_cause.clone().unwrap_or_else(|| panic!("{failure:?}"));
    assert!(
        cause.contains("IllegalStateException") && cause.contains("the task fails on purpose"),
        "{cause}"
    );
    assert!(failure.time.is_some() && status.end_time.is_some());
    assert_eq!(status.runs[0].outcome, Some(RunOutcome::Failed));
    let event = scene.event("Warning JobFailed FlinkSessionJob/orders").await;
    assert!(event.contains("the task fails on purpose"), "{event}");

    // A change of a field that restarts nothing starts nothing.
    job.edit(json!({ "description": "still failed" })).await;
    job.reaches(Phase::Failed, Reason::JobFailed, Kstatus::Failed).await;
    assert_eq!(job.submissions().len(), 1);
    let counter = Job::spec(&scene, TestJob::Counter, &[]).await;
    job.edit(counter).await;
    job.runs().await;
    assert_eq!(job.states().await, ["FAILED", "RUNNING"]);
    scene.end().await;
}

#[tokio::test]
async fn a_job_that_is_cancelled_in_flink_stays_so_until_the_nonce_changes() {
    if skip_real("a_job_that_is_cancelled_in_flink_stays_so_until_the_nonce_changes") {
        return;
    }
    let scene = Scene::new("uicancel").await;
    let spec = Job::spec(&scene, TestJob::Counter, &[]).await;
    let job = scene.job("orders", spec).await;
    let status = job.runs().await;
    scene.cancel_in_ui(status.job_id.unwrap()).await;
    let status = job.reaches(Phase::Cancelled, Reason::Cancelled, Kstatus::Failed).await;
    assert!(status.conditions[0].message.contains("restartNonce"));
    assert_eq!(status.runs[0].outcome, Some(RunOutcome::Canceled));
    scene.event("Warning Cancelled FlinkSessionJob/orders").await;
    // An edit is not consent.
    job.edit(json!({ "flinkConfiguration": { "pipeline.object-reuse": "true" } }))
        .await;
    job.reaches(Phase::Cancelled, Reason::Cancelled, Kstatus::Failed).await;
    assert_eq!(job.submissions().len(), 1);
    job.edit(json!({ "restartNonce": 1 })).await;
    job.runs().await;
    assert_eq!(job.states().await, ["CANCELED", "RUNNING"]);
    scene.end().await;
}
