//! Savepoints on a schedule.

use devcluster::{jars::TestJob, skip_real};
use flink_job_operator::api::{Savepoint, SavepointPhase, savepoint_status::SavepointOrigin};
use kube::{ResourceExt, api::ListParams};
use serde_json::json;

use crate::harness::{Job, Scene};

#[tokio::test]
async fn a_schedule_takes_savepoints_of_a_job_that_runs() {
    if skip_real("a_schedule_takes_savepoints_of_a_job_that_runs") {
        return;
    }
    let scene = Scene::new("scheduled").await;
    let directory = scene.flink.directory().join(format!("{}-savepoints", scene.namespace));
    let mut spec = Job::spec(&scene, TestJob::Counter, &[]).await;
    spec["savepointPolicy"] = json!({
        "directory": format!("file://{}", directory.display()), "schedule": "* * * * *",
        "timeZone": "Europe/Berlin", "retention": { "count": 1 } });
    let job = scene.job("orders", spec).await;
    let first = job.runs().await;
    let taken = scene
        .eventually("a savepoint was taken", async || {
            let listed = scene.api::<Savepoint>().list(&ListParams::default()).await.unwrap();
            let completed = |savepoint: &Savepoint| {
                let status = savepoint.status.as_ref();
                status.and_then(|status| status.phase) == Some(SavepointPhase::Completed)
            };
            listed.items.into_iter().find(completed)
        })
        .await;
    assert!(
        taken.name_any().starts_with("orders-schedule-2"),
        "{}",
        taken.name_any()
    );
    let name = taken.name_any();
    let status = taken.status.unwrap();
    assert_eq!(status.origin, Some(SavepointOrigin::Schedule));
    assert_eq!(status.job_id, first.job_id);
    let path = status.path.unwrap();
    let files = path.trim_start_matches("file:").replacen("//", "/", 1);
    assert!(std::path::Path::new(&files).join("_metadata").exists(), "{path}");
    // It is the newest state that the job can be restored from.
    job.is("the savepoint is on record", |job| {
        let state = job.status.as_ref().and_then(|status| status.state.as_ref());
        let latest = state.and_then(|state| state.latest.as_ref());
        latest.is_some_and(|latest| latest.path == path)
    })
    .await;
    // The next slot's takes its place, and it goes with its files.
    let other = scene
        .eventually("the next savepoint took its place", async || {
            let listed = scene.api::<Savepoint>().list(&ListParams::default()).await.unwrap();
            let names: Vec<_> = listed.items.iter().map(ResourceExt::name_any).collect();
            names
                .into_iter()
                .next()
                .filter(|other| listed.items.len() == 1 && *other != name)
        })
        .await;
    assert!(other > name, "{other} after {name}");
    assert!(!std::path::Path::new(&files).exists(), "{path}");
    scene.end().await;
}
