//! What the API server makes of the manifests.

use std::time::{Duration, Instant};

use devcluster::skip_real;
use flink_job_operator::api::{FlinkSession, FlinkSessionJob, Savepoint};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, CustomResourceExt};
use serde_json::{Value, json};

use super::{Ground, with};
use crate::harness::{Kstatus, PATIENCE, kstatus, plane};

#[tokio::test]
async fn the_crds_are_established_structural_and_told_in_columns() {
    if skip_real("the_crds_are_established_structural_and_told_in_columns") {
        return;
    }
    let admin = plane().await.client().await.unwrap();
    let crds: Api<CustomResourceDefinition> = Api::all(admin);
    for (name, short, own) in [
        (FlinkSessionJob::crd_name(), "fsj", ["Session", "Attempt"]),
        (FlinkSession::crd_name(), "fses", ["Flink", "Slots"]),
        (Savepoint::crd_name(), "fsp", ["Job", "Completed"]),
    ] {
        let crd = crds.get(name).await.unwrap();
        assert_eq!(crd.spec.names.short_names, Some(vec![short.to_owned()]));
        // With `all`, `kubectl delete all --all` would delete jobs.
        assert_eq!(crd.spec.names.categories, Some(vec!["flink".to_owned()]));
        let conditions = crd.status.unwrap().conditions.unwrap();
        let holds = |kind: &str| conditions.iter().any(|c| c.type_ == kind && c.status == "True");
        assert!(holds("Established") && holds("NamesAccepted"), "{conditions:?}");
        assert!(!holds("NonStructuralSchema"), "{conditions:?}");
        let columns = crd.spec.versions[0].additional_printer_columns.clone().unwrap();
        let (wide, narrow): (Vec<_>, Vec<_>) = columns
            .into_iter()
            .partition(|column| column.priority.unwrap_or_default() > 0);
        let named = |columns: &[_], name: &str| {
            columns
                .iter()
                .any(|column: &k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceColumnDefinition| {
                    column.name == name
                })
        };
        for column in ["Ready", "Phase", "Age"].iter().chain(&own) {
            assert!(named(&narrow, column), "{name}: {column}");
        }
        assert!(named(&wide, "Message"), "{name}");
    }
}

#[tokio::test]
async fn a_new_resource_is_in_progress_for_every_tool() {
    if skip_real("a_new_resource_is_in_progress_for_every_tool") {
        return;
    }
    // In a namespace of its own a session that points nowhere: asked right at its creation.
    let jobs = Ground::new("fresh", "FlinkSessionJob").await;
    let spec = json!({ "sessionRef": { "name": "none" }, "job": { "entryClass": "org.example.Main" } });
    let created = serde_json::to_value(jobs.create(&spec).await.unwrap()).unwrap();
    assert_eq!(created["status"], json!({ "observedGeneration": -1 }));
    assert_eq!(kstatus(&created), Kstatus::InProgress);
    // The only defaults of the spec: what a GitOps tool sees besides its own.
    let defaults = json!({ "state": "Running", "upgradeMode": "Savepoint" });
    assert_eq!(
        created["spec"],
        with(
            &spec,
            &[
                ("/state", defaults["state"].clone()),
                ("/upgradeMode", defaults["upgradeMode"].clone())
            ]
        )
    );

    let sessions = Ground::new("fresh", "FlinkSession").await;
    let spec = json!({ "flinkDeploymentRef": { "name": "none" } });
    let created = serde_json::to_value(sessions.create(&spec).await.unwrap()).unwrap();
    assert_eq!(created["status"], json!({ "observedGeneration": -1 }));
    assert_eq!(created["spec"], spec);

    let savepoints = Ground::new("fresh", "Savepoint").await;
    let spec = json!({ "jobRef": { "name": "none" } });
    let created = serde_json::to_value(savepoints.create(&spec).await.unwrap()).unwrap();
    assert_eq!(created["status"], json!({ "observedGeneration": -1 }));
    assert_eq!(kstatus(&created), Kstatus::InProgress);
}

/// The fields below a schema that have no description.
fn walk(at: &str, schema: &Value, bare: &mut Vec<String>) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let at = format!("{at}.{name}");
        let standard = ["apiVersion", "kind", "metadata"]
            .iter()
            .any(|own| at == format!(".{own}"));
        if !standard && property["description"].as_str().is_none_or(str::is_empty) {
            bare.push(at.clone());
        }
        walk(&at, property, bare);
        walk(&at, &property["items"], bare);
    }
}

#[tokio::test]
async fn explain_has_a_text_for_every_field() {
    if skip_real("explain_has_a_text_for_every_field") {
        return;
    }
    // What `kubectl explain` reads.
    let admin = plane().await.client().await.unwrap();
    let kinds = ["FlinkSession", "FlinkSessionJob", "Savepoint"].map(|kind| format!("dev.flinkjobs.v1alpha1.{kind}"));
    let begun = Instant::now();
    // The document follows the CRDs a moment later, one by one.
    let schemas = loop {
        let request = http::Request::get("/openapi/v3/apis/flinkjobs.dev/v1alpha1")
            .body(Vec::new())
            .unwrap();
        let found = admin.request::<Value>(request).await.unwrap_or_default();
        let schemas = found["components"]["schemas"].clone();
        if kinds.iter().all(|kind| schemas.get(kind).is_some()) {
            break schemas;
        }
        assert!(begun.elapsed() < PATIENCE, "{schemas}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let mut bare = Vec::new();
    for kind in kinds {
        let schema = &schemas[&kind];
        assert!(schema["description"].is_string(), "{kind}: {schema}");
        walk("", schema, &mut bare);
    }
    assert!(bare.is_empty(), "{bare:?}");
}

#[tokio::test]
async fn the_largest_spec_that_is_accepted_survives_in_a_status_of_32_kib() {
    if skip_real("the_largest_spec_that_is_accepted_survives_in_a_status_of_32_kib") {
        return;
    }
    let jobs = Ground::new("large", "FlinkSessionJob").await;
    let long = |length: usize| "x".repeat(length);
    let spec = json!({
        "sessionRef": { "name": "none" }, "state": "Draft", "description": long(512),
        "job": { "entryClass": "org.example.Main", "args": [long(4096), long(2048)], "jarURI": format!("https://{}", long(2040)) },
        "flinkConfiguration": { "a.b": long(4000), "c.d": long(2000) },
        "variables": { "v": long(4000) },
    });
    let created = jobs.create(&spec).await.unwrap();
    let name = created.metadata.name.unwrap();
    let status = json!({ "status": { "observedGeneration": 1, "acceptedSpec": created.data["spec"] } });
    let stored = jobs
        .api()
        .patch_status(
            &name,
            &kube::api::PatchParams::default(),
            &kube::api::Patch::Merge(&status),
        )
        .await
        .unwrap();
    // Nothing of it is pruned, or the job would be taken for a changed one.
    assert_eq!(stored.data["status"]["acceptedSpec"], created.data["spec"]);
    let size = serde_json::to_string(&stored.data["status"]).unwrap().len();
    assert!(size < 24 * 1024, "{size} bytes leave too little for the rest");
}
