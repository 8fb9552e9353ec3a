//! Variables that are not there, and secrets that must not be seen.

use devcluster::{jars::TestJob, skip_real};
use flink_job_operator::api::{FlinkSessionJob, Phase, Reason};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, api::ListParams};
use serde_json::json;

use crate::harness::{Job, Kstatus, Scene, rbac};

/// A value that must appear nowhere.
const CANARY: &str = "canary-5f1c9b7e2d";

#[tokio::test]
async fn an_undefined_variable() {
    if skip_real("an_undefined_variable") {
        return;
    }
    let scene = Scene::new("undefined").await;
    let spec = Job::spec(&scene, TestJob::Counter, &["--name", "${nowhere}"]).await;
    let job = scene.job("orders", spec).await;
    let status = job
        .reaches(Phase::Failed, Reason::UndefinedVariable, Kstatus::Failed)
        .await;
    assert!(status.conditions[0].message.contains("nowhere"));
    job.edit(json!({ "variables": { "nowhere": "defined" } })).await;
    job.runs().await;
    assert_eq!(job.submissions().len(), 1);
    scene.end().await;
}

#[tokio::test]
async fn a_secret_is_used_only_where_its_owner_and_the_administrator_allow_it() {
    if skip_real("a_secret_is_used_only_where_its_owner_and_the_administrator_allow_it") {
        return;
    }
    let scene = Scene::new("secret").await;
    let secret = json!({ "metadata": { "name": "database" }, "stringData": { "password": CANARY } });
    let _: Secret = scene.create(secret).await;
    let mut spec = Job::spec(&scene, TestJob::Counter, &["--password", "${password}"]).await;
    spec["variablesFrom"] = json!([{ "secretRef": { "name": "database" } }]);
    let job = scene.job("orders", spec).await;
    // Not by the operator's own rights.
    let unauthorized = (Phase::Failed, Reason::Unauthorized, Kstatus::Failed);
    let status = job.reaches(unauthorized.0, unauthorized.1, unauthorized.2).await;
    assert!(
        status.conditions[0].message.contains("kubectl create role"),
        "{status:?}"
    );
    rbac::grant_secrets(&scene.admin, &scene.namespace).await;
    // Nor without the owner's word.
    job.is("the label is asked for", |job| {
        let status = job.status.as_ref().unwrap();
        status.conditions[0].message.contains("kubectl label secret")
    })
    .await;
    assert!(job.submissions().is_empty());
    let label = json!({ "metadata": { "labels": { "flinkjobs.dev/usable-by": "jobs" } } });
    let _: Secret = scene.merge("database", label).await;
    job.runs().await;

    // Where Flink gives it back, and where our own words could hold it.
    job.edit(json!({ "job": { "entryClass": TestJob::ThrowingMain.class(), "args": ["${password}", "${password}"] } }))
        .await;
    job.is("the program is refused", |job| {
        let status = job.status.as_ref().unwrap();
        status.phase == Some(Phase::Failed)
    })
    .await;
    job.edit(json!({ "jobName": "x-${password}", "state": "Running" }))
        .await;
    job.is("a secret in a name is refused", |job| {
        Some(job.status.as_ref().unwrap().observed_generation) == job.metadata.generation
    })
    .await;

    let jobs: Api<FlinkSessionJob> = scene.api();
    let stored = serde_json::to_string(&jobs.list(&ListParams::default()).await.unwrap()).unwrap();
    assert!(!stored.contains(CANARY), "in a resource: {stored}");
    let events = scene.events().await.join("\n");
    assert!(!events.contains(CANARY), "in an Event: {events}");
    assert!(!scene.operator.log().contains(CANARY), "in the log");
    let (_, metrics) = scene.operator.http("/metrics").await.unwrap();
    assert!(!metrics.contains(CANARY), "in the metrics");
    scene.end().await;
}
