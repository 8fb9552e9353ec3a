//! Sessions whose address leads to something that is no Flink, or none that takes jobs.

use devcluster::{
    fake::{FakeFlink, FakeOptions},
    jars::TestJob,
    skip_real,
};
use flink_job_operator::api::{FlinkSession, Phase, Reason, session::SessionPhase};
use serde_json::json;

use crate::harness::{Behind, Job, Kstatus, Scene};

/// The job waits while the gate is as `spoil` leaves it, and runs once a Flink is behind it.
async fn waits(name: &str, spoil: impl FnOnce(&Scene<'_>)) {
    let scene = Scene::bare(name).await;
    spoil(&scene);
    scene.session().await;
    let spec = Job::spec(&scene, TestJob::Counter, &[]).await;
    let job = scene.job("orders", spec).await;
    job.reaches(Phase::Pending, Reason::WaitingForCluster, Kstatus::InProgress)
        .await;
    scene
        .session_is("unreachable", |session| {
            session.status.as_ref().and_then(|status| status.phase) == Some(SessionPhase::Unreachable)
        })
        .await;
    assert!(job.submissions().is_empty());
    scene.gate.lead_to(scene.flink.rest_url());
    job.runs().await;
    assert_eq!(job.submissions().len(), 1);
    scene.end().await;
}

#[tokio::test]
async fn an_endpoint_that_is_down() {
    if !skip_real("an_endpoint_that_is_down") {
        waits("down", |scene| scene.gate.put(Behind::Nothing)).await;
    }
}

#[tokio::test]
async fn an_endpoint_that_never_answers() {
    if !skip_real("an_endpoint_that_never_answers") {
        waits("silent", |scene| scene.gate.put(Behind::Silence)).await;
    }
}

#[tokio::test]
async fn an_endpoint_that_returns_html() {
    if !skip_real("an_endpoint_that_returns_html") {
        let page = "<html><body>Welcome to the proxy</body></html>";
        waits("html", |scene| scene.gate.say("200 OK", "text/html", page)).await;
    }
}

#[tokio::test]
async fn an_endpoint_that_returns_503() {
    if !skip_real("an_endpoint_that_returns_503") {
        waits("busy", |scene| {
            scene
                .gate
                .say("503 Service Unavailable", "application/json", "{\"errors\":[]}");
        })
        .await;
    }
}

#[tokio::test]
async fn an_endpoint_that_returns_garbage() {
    if !skip_real("an_endpoint_that_returns_garbage") {
        waits("garbage", |scene| {
            scene
                .gate
                .say("200 OK", "application/json", "{\"jobs\": 7, \u{0}\u{fffd}");
        })
        .await;
    }
}

#[tokio::test]
async fn a_cluster_that_takes_no_jars() {
    if skip_real("a_cluster_that_takes_no_jars") {
        return;
    }
    let scene = Scene::bare("nojars").await;
    let options = FakeOptions {
        submission_enabled: false,
        ..FakeOptions::default()
    };
    let closed = FakeFlink::start(options).await.unwrap();
    scene.gate.lead_to(&closed.url());
    scene.session().await;
    let spec = Job::spec(&scene, TestJob::Counter, &[]).await;
    let job = scene.job("orders", spec).await;
    let status = job
        .reaches(Phase::Failed, Reason::SubmissionDisabled, Kstatus::Failed)
        .await;
    assert!(status.conditions[0].message.contains("web.submit.enable"));
    assert!(closed.submissions().is_empty());
    scene.end().await;
}

#[tokio::test]
async fn an_address_that_the_administrator_does_not_allow() {
    if skip_real("an_address_that_the_administrator_does_not_allow") {
        return;
    }
    let scene = Scene::bare("denied").await;
    let spec = json!({ "endpoint": { "url": "http://169.254.169.254:8081" } });
    let _: FlinkSession = scene
        .create(json!({ "apiVersion": "flinkjobs.dev/v1alpha1", "kind": "FlinkSession",
                        "metadata": { "name": "demo" }, "spec": spec }))
        .await;
    let session = scene
        .session_is("failed", |session| {
            session.status.as_ref().and_then(|status| status.phase) == Some(SessionPhase::Failed)
        })
        .await;
    let ready = session.status.unwrap().conditions.remove(0);
    assert_eq!(ready.reason, "InvalidSpec");
    assert!(ready.message.contains("--allowed-endpoint"), "{}", ready.message);
    let spec = Job::spec(&scene, TestJob::Counter, &[]).await;
    let job = scene.job("orders", spec).await;
    job.reaches(Phase::Pending, Reason::ClusterNotFound, Kstatus::InProgress)
        .await;
    scene.end().await;
}
