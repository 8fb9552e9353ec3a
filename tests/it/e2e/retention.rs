//! `savepointPolicy.retention`: which of the savepoints that the operator took are disposed of.

use std::path::Path;

use devcluster::skip_real;
use flink_job_operator::api::Savepoint;
use kube::{ResourceExt, api::ListParams};
use serde_json::{Value, json};

use super::kept::{checkpointed, counted, counting, goes_on};
use crate::harness::{Job, Scene};

/// The names of a job's Savepoints, in order.
async fn names(scene: &Scene<'_>, job: &str) -> Vec<String> {
    let of_job = ListParams::default().fields(&format!("spec.jobRef.name={job}"));
    let listed = scene.api::<Savepoint>().list(&of_job).await.unwrap();
    listed.items.iter().map(ResourceExt::name_any).collect()
}

/// Upgraded twice, each time with a savepoint, after one that a person took. The newest is kept, whatever the policy
/// says, and so is that person's.
async fn upgraded(scene: &Scene<'_>, name: &str, retention: Value) {
    let mut spec = counting(scene, "Savepoint").await;
    spec["savepointPolicy"]["retention"] = retention;
    let job = scene.job(name, spec).await;
    let first = job.runs().await;
    counted(scene, &first, 1).await;
    let own = format!("{name}-own");
    let taken = scene.savepoint(&own, json!({ "jobRef": { "name": name } })).await;
    taken.completes().await;
    let mut paths = Vec::new();
    for attempt in 2..=3 {
        job.edit(json!({ "flinkConfiguration": { "pipeline.name": format!("{name}-{attempt}") } }))
            .await;
        let status = goes_on(&job, attempt).await;
        paths.push(status.state.unwrap().restored_from.unwrap().path);
    }
    let kept = [format!("{name}-2-upgrade"), own];
    scene
        .eventually(&format!("the older savepoints of {name} are gone"), async || {
            (names(scene, name).await == kept).then_some(())
        })
        .await;
    let there = |path: &String| Path::new(path.strip_prefix("file:").unwrap()).exists();
    let left: Vec<bool> = paths.iter().map(there).collect();
    assert_eq!(left, [false, true], "{paths:?}");
    still_there(scene, &job, &kept).await;
}

/// The job is safe on newer state by now; its newest savepoint stays all the same.
async fn still_there(scene: &Scene<'_>, job: &Job<'_>, kept: &[String]) {
    let status = job.runs().await;
    checkpointed(scene, &status, 1).await;
    assert_eq!(names(scene, &job.name).await, kept);
}

#[tokio::test]
async fn retention_by_count_keeps_the_newest_and_what_people_took() {
    if skip_real("retention_by_count_keeps_the_newest_and_what_people_took") {
        return;
    }
    let scene = Scene::new("by-count").await;
    upgraded(&scene, "counted", json!({ "count": 1 })).await;
    scene.end().await;
}

#[tokio::test]
async fn retention_by_age_keeps_the_newest_and_what_people_took() {
    if skip_real("retention_by_age_keeps_the_newest_and_what_people_took") {
        return;
    }
    let scene = Scene::new("by-age").await;
    upgraded(&scene, "aged", json!({ "age": "2s" })).await;
    scene.end().await;
}
