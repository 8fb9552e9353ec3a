//! A changed spec replaces the job, or leaves it alone.

use devcluster::{jars::TestJob, skip_real};
use flink_job_operator::api::{Phase, Reason, status::RunOutcome};
use serde_json::{Value, json};

use crate::harness::{Job, Kstatus, Scene};

/// The second attempt of a job runs, and the first is over: it had ended before the second started.
async fn replaced(scene: &Scene<'_>, job: &Job<'_>) {
    job.is("a second attempt runs", |job| {
        let status = job.status.as_ref().unwrap();
        status.phase == Some(Phase::Running) && status.attempt == Some(2)
    })
    .await;
    let status = job.runs().await;
    let submitted = job.submissions();
    assert_eq!(submitted.len(), 2, "one accepted submission for each attempt");
    assert_eq!(Some(submitted[1]), status.job_id);
    assert_eq!(job.states().await, ["CANCELED", "RUNNING"]);
    assert_eq!(status.runs[1].outcome, Some(RunOutcome::Replaced));
    let (mut ended, mut started) = (Value::Null, Value::Null);
    for seen in scene.flink_get("/jobs/overview").await["jobs"].as_array().unwrap() {
        if seen["jid"] == submitted[0].to_string() {
            ended = seen["end-time"].clone();
        } else if seen["jid"] == submitted[1].to_string() {
            started = seen["start-time"].clone();
        }
    }
    assert!(
        ended.as_i64().unwrap() <= started.as_i64().unwrap(),
        "{ended} {started}"
    );
}

#[tokio::test]
async fn a_stateless_upgrade_cancels_first_and_starts_once() {
    if skip_real("a_stateless_upgrade_cancels_first_and_starts_once") {
        return;
    }
    let scene = Scene::new("upgrade").await;
    let spec = Job::spec(&scene, TestJob::Counter, &[]).await;
    let job = scene.job("orders", spec).await;
    job.runs().await;
    job.edit(json!({ "flinkConfiguration": { "pipeline.object-reuse": "true" } }))
        .await;
    replaced(&scene, &job).await;
    assert_eq!(Job::ledger_at(&scene).mains().len(), 2);
    scene.event("Normal Upgrading FlinkSessionJob/orders").await;
    scene.end().await;
}

#[tokio::test]
async fn a_changed_nonce_restarts_the_job() {
    if skip_real("a_changed_nonce_restarts_the_job") {
        return;
    }
    let scene = Scene::new("nonce").await;
    let spec = Job::spec(&scene, TestJob::Counter, &[]).await;
    let job = scene.job("orders", spec).await;
    job.runs().await;
    job.edit(json!({ "restartNonce": 1 })).await;
    replaced(&scene, &job).await;
    scene.end().await;
}

#[tokio::test]
async fn a_live_field_is_taken_over_without_a_restart() {
    if skip_real("a_live_field_is_taken_over_without_a_restart") {
        return;
    }
    let scene = Scene::new("live").await;
    let spec = Job::spec(&scene, TestJob::Counter, &[]).await;
    let job = scene.job("orders", spec).await;
    job.runs().await;
    job.edit(json!({
        "description": "counts orders", "tags": { "team": "orders" }, "slotCheck": "Off", "submitTimeout": "90s",
        "upgradeMode": "LastState", "onUnknownResult": "Resubmit", "deletionPolicy": { "type": "Cancel", "timeout": "1m" },
        "restartPolicy": { "type": "Never" },
    }))
    .await;
    let status = job.runs().await;
    assert_eq!(
        status.accepted_spec.unwrap().submit_timeout,
        Some("90s".parse().unwrap())
    );
    assert_eq!(job.states().await, ["RUNNING"]);
    scene.end().await;
}

#[tokio::test]
async fn a_bad_spec_on_a_running_job_recovers_without_a_restart() {
    if skip_real("a_bad_spec_on_a_running_job_recovers_without_a_restart") {
        return;
    }
    let scene = Scene::new("badspec").await;
    let spec = Job::spec(&scene, TestJob::Counter, &[]).await;
    let good = spec["job"]["args"].clone();
    let job = scene.job("orders", spec).await;
    job.runs().await;

    let mut bad = good.as_array().unwrap().clone();
    bad.push(json!("${undefined}"));
    job.edit(json!({ "job": { "args": bad } })).await;
    let status = job
        .reaches(Phase::Running, Reason::UndefinedVariable, Kstatus::Failed)
        .await;
    assert!(status.conditions[0].message.contains("undefined"));
    assert_eq!(job.states().await, ["RUNNING"]);
    scene.event("Warning UndefinedVariable FlinkSessionJob/orders").await;

    let missing = crate::harness::jar_host().url("/nothing-is-here.jar");
    job.edit(json!({ "job": { "args": good, "jarURI": missing } })).await;
    job.reaches(Phase::Running, Reason::ArtifactNotFound, Kstatus::Failed)
        .await;

    job.edit(json!({ "job": { "jarURI": crate::harness::serve_jar("/test-jobs.jar").await } }))
        .await;
    let status = job.runs().await;
    assert_eq!((job.submissions().len(), status.attempt), (1, Some(1)));
    scene.end().await;
}
