//! `CustomResourceDefinition`s of another version than the operator's.

use std::time::Duration;

use devcluster::{ControlPlane, jars::TestJob, skip_real};
use flink_job_operator::api::FlinkSessionJob;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::json;

use crate::harness::{Job, Operator, Scene, flink, install};

/// Takes a field out of the status of jobs, as if the CRD were from before it was added, and waits until the API server
/// drops what is written to it.
async fn outdate(scene: &Scene<'_>, field: &str) {
    let crds: Api<CustomResourceDefinition> = Api::all(scene.admin.clone());
    let at = format!("/spec/versions/0/schema/openAPIV3Schema/properties/status/properties/{field}");
    let removed = serde_json::from_value(json!([{ "op": "remove", "path": at }])).unwrap();
    let (name, patch) = ("flinksessionjobs.flinkjobs.dev", Patch::Json::<()>(removed));
    crds.patch(name, &PatchParams::default(), &patch).await.unwrap();
    let mut spec = Job::spec(scene, TestJob::Counter, &[]).await;
    spec["state"] = json!("Draft");
    let probe = scene.job("probe", spec).await;
    let jobs: Api<FlinkSessionJob> = scene.api();
    scene
        .eventually("the API server drops the field", async || {
            let (parameters, status) = (PatchParams::default(), Patch::Merge(json!({ "status": { field: 7 } })));
            let patched = jobs.patch_status("probe", &parameters, &status).await.unwrap();
            let stored = serde_json::to_value(patched.status).unwrap();
            stored[field].is_null().then_some(())
        })
        .await;
    probe.delete().await;
    probe.gone().await;
}

#[tokio::test]
async fn with_outdated_crds_nothing_is_started_and_the_operator_says_what_to_apply() {
    if skip_real("with_outdated_crds_nothing_is_started_and_the_operator_says_what_to_apply") {
        return;
    }
    let plane = ControlPlane::start().await.unwrap();
    install(&plane.client().await.unwrap()).await;
    let operator = Operator::start(&plane, "15s").await;
    let scene = Scene::on("outdated", &plane, &operator, flink().await).await;
    outdate(&scene, "attempt").await;
    scene.session().await;
    let spec = Job::spec(&scene, TestJob::Counter, &[]).await;
    let job = scene.job("orders", spec).await;
    let told = "apply its crds directory";
    scene
        .eventually("the operator's log says so", async || {
            let log = scene.log();
            log.iter().any(|line| line.contains(told)).then_some(())
        })
        .await;
    // It tries again, more and more seldom.
    let pruned = "flinkjobs_reconcile_errors_total{kind=\"FlinkSessionJob\",reason=\"ApiPruned\"}";
    let jobs: Api<FlinkSessionJob> = scene.api();
    let version = async || jobs.get("orders").await.unwrap().resource_version();
    let mut writes = 0;
    let mut last = version().await;
    for _ in 0..80 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = version().await;
        writes += usize::from(now != last);
        last = now;
    }
    assert!(job.submissions().is_empty(), "{}", scene.report().await);
    assert!(writes <= 8, "{writes} writes in 8 s");
    let tried = operator.metric(pruned).await;
    assert!((2.0..=16.0).contains(&tried), "{tried} tries");

    install(&scene.admin).await;
    job.runs().await;
    assert_eq!(job.submissions().len(), 1);
    job.delete().await;
    job.gone().await;
    operator.check_log();
}
