//! Jars that cannot be had, or are not what they should be.

use std::time::Duration;

use devcluster::{
    JarHost,
    jar_host::Fault,
    jars::{self, TestJob},
    skip_real,
};
use flink_job_operator::api::{JobStatus, Phase, Reason};
use serde_json::{Value, json};

use crate::harness::{Job, Kstatus, Scene, jar_host, serve_jar};

/// A spec whose jar is a file of the test's own.
async fn spec_of(scene: &Scene<'_>, file: &str) -> (Value, String) {
    let path = format!("/{}/{file}", scene.namespace);
    let mut spec = Job::spec(scene, TestJob::Counter, &[]).await;
    spec["job"]["jarURI"] = json!(serve_jar(&path).await);
    (spec, path)
}

/// The job is refused for that reason, and runs once it is corrected, in the same resource.
async fn refused_then_corrected(scene: &Scene<'_>, spec: Value, reason: Reason, correction: Value) -> JobStatus {
    let job = scene.job("orders", spec).await;
    let status = job.reaches(Phase::Failed, reason, Kstatus::Failed).await;
    assert!(job.submissions().is_empty());
    scene.event(&format!("Warning {reason} FlinkSessionJob/orders")).await;
    job.edit(correction).await;
    job.runs().await;
    assert_eq!(job.submissions().len(), 1);
    status
}

#[tokio::test]
async fn a_missing_jar() {
    if skip_real("a_missing_jar") {
        return;
    }
    let scene = Scene::new("missing").await;
    let (mut spec, _) = spec_of(&scene, "there.jar").await;
    let good = spec["job"]["jarURI"].clone();
    spec["job"]["jarURI"] = json!(jar_host().url("/missing.jar"));
    let correction = json!({ "job": { "jarURI": good } });
    let status = refused_then_corrected(&scene, spec, Reason::ArtifactNotFound, correction).await;
    let message = &status.conditions[0].message;
    assert!(message.contains("404") && message.contains("missing.jar"), "{message}");
    scene.end().await;
}

#[tokio::test]
async fn a_forbidden_jar() {
    if skip_real("a_forbidden_jar") {
        return;
    }
    let scene = Scene::new("forbidden").await;
    let (spec, path) = spec_of(&scene, "locked.jar").await;
    jar_host().fault(&path, Fault::Status(403));
    let good = json!({ "job": { "jarURI": serve_jar("/test-jobs.jar").await } });
    refused_then_corrected(&scene, spec, Reason::ArtifactForbidden, good).await;
    scene.end().await;
}

#[tokio::test]
async fn a_jar_that_is_too_large() {
    if skip_real("a_jar_that_is_too_large") {
        return;
    }
    let scene = Scene::new("large").await;
    let (spec, path) = spec_of(&scene, "endless.jar").await;
    jar_host().fault(&path, Fault::Endless);
    let good = json!({ "job": { "jarURI": serve_jar("/test-jobs.jar").await } });
    let status = refused_then_corrected(&scene, spec, Reason::ArtifactTooLarge, good).await;
    assert!(status.conditions[0].message.contains("5000000 bytes"));
    scene.end().await;
}

#[tokio::test]
async fn a_slow_jar_holds_up_nobody_else() {
    if skip_real("a_slow_jar_holds_up_nobody_else") {
        return;
    }
    let scene = Scene::new("slow").await;
    let (spec, path) = spec_of(&scene, "slow.jar").await;
    jar_host().fault(&path, Fault::Delay(Duration::from_secs(3600)));
    let slow = scene.job("slow", spec).await;
    let quick = Job::spec(&scene, TestJob::Counter, &[]).await;
    let quick = scene.job("quick", quick).await;
    quick.runs().await;
    assert!(slow.submissions().is_empty(), "the quick one was first");
    jar_host().mend(&path);
    slow.runs().await;
    scene.end().await;
}

#[tokio::test]
async fn a_jar_with_another_checksum() {
    if skip_real("a_jar_with_another_checksum") {
        return;
    }
    let scene = Scene::new("checksum").await;
    let (mut spec, _) = spec_of(&scene, "checked.jar").await;
    spec["job"]["sha256"] = json!("0".repeat(64));
    let correction = json!({ "job": { "sha256": null } });
    refused_then_corrected(&scene, spec, Reason::ChecksumMismatch, correction).await;
    scene.end().await;
}

#[tokio::test]
async fn a_file_that_is_not_a_jar() {
    if skip_real("a_file_that_is_not_a_jar") {
        return;
    }
    let scene = Scene::new("notjar").await;
    let (spec, path) = spec_of(&scene, "page.jar").await;
    jar_host().serve(&path, "<!DOCTYPE html><html><body>Please log in</body></html>");
    let good = json!({ "job": { "jarURI": serve_jar("/test-jobs.jar").await } });
    let status = refused_then_corrected(&scene, spec, Reason::ArtifactNotFound, good).await;
    assert!(status.conditions[0].message.contains("not a jar"));
    scene.end().await;
}

#[tokio::test]
async fn a_redirect_to_a_private_address_is_not_followed() {
    if skip_real("a_redirect_to_a_private_address_is_not_followed") {
        return;
    }
    let scene = Scene::new("redirect").await;
    let (spec, path) = spec_of(&scene, "moved.jar").await;
    // Of the same machine, but nothing that the administrator allows.
    let inner = JarHost::start().unwrap();
    let jar = jars::test_jobs(devcluster::FlinkVersion::V2_3).await.unwrap();
    inner.serve_file("/metadata", &jar).unwrap();
    jar_host().fault(&path, Fault::Redirect(inner.url("/metadata")));
    let good = json!({ "job": { "jarURI": serve_jar("/test-jobs.jar").await } });
    refused_then_corrected(&scene, spec, Reason::ArtifactForbidden, good).await;
    assert!(inner.requests().is_empty(), "it was asked: {:?}", inner.requests());
    scene.end().await;
}

#[tokio::test]
async fn a_host_that_is_down_is_tried_again() {
    if skip_real("a_host_that_is_down_is_tried_again") {
        return;
    }
    let scene = Scene::new("hostdown").await;
    let (spec, path) = spec_of(&scene, "later.jar").await;
    jar_host().fault(&path, Fault::Status(503));
    let job = scene.job("orders", spec).await;
    let status = job
        .reaches(Phase::Pending, Reason::Submitting, Kstatus::InProgress)
        .await;
    assert!(status.conditions[0].message.contains("503"), "{status:?}");
    jar_host().mend(&path);
    job.runs().await;
    assert_eq!(job.submissions().len(), 1);
    scene.end().await;
}
