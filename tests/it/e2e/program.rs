//! Programs that misbehave.

use devcluster::{jars::TestJob, skip_real};
use flink_job_operator::api::{Phase, Reason};
use serde_json::json;

use crate::harness::{Job, Kstatus, Scene};

/// A program that Flink refuses, and another that it takes, in the same resource.
async fn rejected(name: &str, class: TestJob, words: &str) {
    let scene = Scene::new(name).await;
    let spec = Job::spec(&scene, class, &[]).await;
    let job = scene.job("orders", spec).await;
    let status = job
        .reaches(Phase::Failed, Reason::SubmissionRejected, Kstatus::Failed)
        .await;
    let message = &status.conditions[0].message;
    assert!(message.contains(words), "{message}");
    assert!(!message.contains("\tat ") && !message.contains(".java:"), "{message}");
    scene.event("Warning SubmissionRejected FlinkSessionJob/orders").await;
    // It was asked once: what Flink refuses is not tried again by itself.
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    assert_eq!(Job::ledger_at(&scene).mains().len(), 1);
    job.edit(json!({ "job": { "entryClass": TestJob::Counter.class() } }))
        .await;
    job.runs().await;
    assert_eq!(job.states().await.last().map(String::as_str), Some("RUNNING"));
    scene.end().await;
}

#[tokio::test]
async fn a_main_that_throws() {
    if !skip_real("a_main_that_throws") {
        rejected("throws", TestJob::ThrowingMain, "main throws on purpose").await;
    }
}

#[tokio::test]
async fn a_main_that_never_executes() {
    if !skip_real("a_main_that_never_executes") {
        rejected("never", TestJob::NoExecute, "No jobs included").await;
    }
}

#[tokio::test]
async fn a_main_that_executes_twice_runs_one_job_at_most() {
    if skip_real("a_main_that_executes_twice_runs_one_job_at_most") {
        return;
    }
    let scene = Scene::new("twice").await;
    let spec = Job::spec(&scene, TestJob::TwoExecutes, &[]).await;
    let job = scene.job("orders", spec).await;
    // What Flink answers to it differs: what counts is that the status tells what runs, and that it is one job at most.
    let status = job
        .is("settled", |job| {
            let phase = job.status.as_ref().and_then(|status| status.phase);
            matches!(phase, Some(Phase::Running | Phase::Failed))
        })
        .await
        .status
        .unwrap();
    let accepted = job.submissions();
    assert!(accepted.len() <= 1, "{accepted:?}");
    let live = job.states().await.iter().filter(|state| *state == "RUNNING").count();
    assert_eq!(live == 1, status.phase == Some(Phase::Running), "{status:?}");
    job.delete().await;
    job.gone().await;
    assert!(!job.states().await.contains(&"RUNNING".to_owned()));
    scene.end().await;
}

#[tokio::test]
async fn a_class_that_the_jar_does_not_have() {
    if skip_real("a_class_that_the_jar_does_not_have") {
        return;
    }
    let scene = Scene::new("noclass").await;
    let mut spec = Job::spec(&scene, TestJob::Counter, &[]).await;
    spec["job"]["entryClass"] = json!("dev.flinkjobs.testjobs.Absent");
    let job = scene.job("orders", spec).await;
    let status = job
        .reaches(Phase::Failed, Reason::SubmissionRejected, Kstatus::Failed)
        .await;
    assert!(status.conditions[0].message.contains("dev.flinkjobs.testjobs.Absent"));
    assert!(job.submissions().is_empty());
    scene.end().await;
}
