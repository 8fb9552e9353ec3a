//! State that survives: each mode of upgrade, suspend and resume, restarts, deletion. A job counts, and its source writes
//! down at each start what count it was restored with.

use std::path::PathBuf;

use devcluster::{jars::TestJob, skip_real};
use flink_job_operator::api::{
    JobStatus, Phase, Reason, Savepoint,
    state::StateKind,
    status::{PendingChange, RunOutcome},
};
use kube::api::ListParams;
use serde_json::{Value, json};

use crate::harness::{Job, Kstatus, Scene};

/// Where the savepoints of a scene go.
pub(super) fn savepoints(scene: &Scene<'_>) -> PathBuf {
    scene.flink.directory().join(format!("{}-savepoints", scene.namespace))
}

/// The spec of a job that counts, with checkpoints twice a second that outlive its cancellation.
pub(super) async fn counting(scene: &Scene<'_>, mode: &str) -> Value {
    let mut spec = Job::spec(scene, TestJob::Counter, &["--checkpoint-ms", "500"]).await;
    let checkpoints = scene.flink.directory().join(format!("{}-checkpoints", scene.namespace));
    spec["upgradeMode"] = json!(mode);
    spec["savepointPolicy"] = json!({ "directory": format!("file://{}", savepoints(scene).display()) });
    spec["flinkConfiguration"] = json!({
        "execution.checkpointing.dir": format!("file://{}", checkpoints.display()),
        "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
    });
    spec
}

/// A change that takes a restart.
pub(super) fn change() -> Value {
    json!({ "flinkConfiguration": { "pipeline.object-reuse": "true" } })
}

/// The spec of a job that counts, and whose only state is what it is asked for.
pub(super) async fn without_checkpoints(scene: &Scene<'_>, mode: &str) -> Value {
    let mut spec = counting(scene, mode).await;
    let mut bare = Job::spec(scene, TestJob::Counter, &[]).await;
    spec["job"]["args"] = bare["job"]["args"].take();
    spec
}

/// Waits until Flink has completed that many checkpoints of the job of the status, the last one with a count in it.
pub(super) async fn checkpointed(scene: &Scene<'_>, status: &JobStatus, many: u64) {
    counted(scene, status, 1).await;
    let path = format!("/jobs/{}/checkpoints", status.job_id.unwrap());
    let at_least = async |many| {
        let completed = async || scene.flink_get(&path).await["counts"]["completed"].as_u64();
        scene
            .eventually("checkpoints", async || {
                completed().await.filter(|completed| *completed >= many)
            })
            .await
    };
    // One that was under way may have begun before.
    let before = at_least(0).await;
    at_least(many.max(before + 2)).await;
}

/// Waits until the job of the status has counted that far.
pub(super) async fn counted(scene: &Scene<'_>, status: &JobStatus, many: u64) {
    let id = status.job_id.unwrap().to_string();
    let ledger = Job::ledger_at(scene);
    scene
        .eventually("it counts", async || ledger.count(&id).filter(|count| *count >= many))
        .await;
}

/// The count that the source of the status's job began with, at its last start.
pub(super) async fn began_with(scene: &Scene<'_>, status: &JobStatus) -> u64 {
    let id = status.job_id.unwrap().to_string();
    scene
        .eventually("the source started", async || {
            let starts = Job::ledger_at(scene).sources();
            let own = starts.iter().rev().find(|start| start.job_id == id);
            own.map(|start| start.restored)
        })
        .await
}

/// The counts that so many starts of sources began with. A job is RUNNING a moment before its source starts.
pub(super) async fn restored(scene: &Scene<'_>, starts: usize) -> Vec<u64> {
    let counts = scene
        .eventually("the sources started", async || {
            let sources = Job::ledger_at(scene).sources();
            let counts: Vec<u64> = sources.iter().map(|start| start.restored).collect();
            (counts.len() >= starts).then_some(counts)
        })
        .await;
    assert_eq!(counts.len(), starts, "{counts:?}");
    counts
}

/// The nth attempt runs, and Flink says that it was restored.
pub(super) async fn goes_on(job: &Job<'_>, attempt: i64) -> JobStatus {
    job.is("the next attempt was restored", |job| {
        let status = job.status.as_ref().unwrap();
        let from = status.state.as_ref().and_then(|state| state.restored_from.as_ref());
        status.phase == Some(Phase::Running)
            && status.attempt == Some(attempt)
            && from.is_some_and(|from| from.confirmed == Some(true))
    })
    .await;
    job.runs().await
}

async fn resources(scene: &Scene<'_>) -> Vec<Savepoint> {
    scene
        .api::<Savepoint>()
        .list(&ListParams::default())
        .await
        .unwrap()
        .items
}

#[tokio::test]
async fn an_upgrade_with_a_savepoint_keeps_the_state() {
    if skip_real("an_upgrade_with_a_savepoint_keeps_the_state") {
        return;
    }
    let scene = Scene::new("upgrade-savepoint").await;
    let job = scene.job("orders", counting(&scene, "Savepoint").await).await;
    let first = job.runs().await;
    checkpointed(&scene, &first, 2).await;
    job.edit(change()).await;
    let status = goes_on(&job, 2).await;

    assert_eq!(job.states().await, ["FINISHED", "RUNNING"]);
    assert_eq!(job.submissions().len(), 2, "one accepted submission for each attempt");
    let counts = restored(&scene, 2).await;
    assert!(counts[0] == 0 && counts[1] > 0, "{counts:?}");
    let state = status.state.unwrap();
    let from = state.restored_from.unwrap();
    assert_eq!(from.kind, StateKind::Savepoint);
    assert_eq!(state.resume, None, "the start is over");
    assert_eq!(status.runs[1].outcome, Some(RunOutcome::Replaced));
    assert_eq!(status.runs[1].last_state.as_ref(), Some(&from.path));
    assert_eq!(status.runs[0].restored_from.as_ref(), Some(&from.path));
    // It outlives the job.
    let kept = resources(&scene).await;
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].metadata.name.as_deref(), Some("orders-1-upgrade"));
    assert_eq!(kept[0].spec.existing.as_ref().unwrap().path, from.path);
    assert_eq!(kept[0].metadata.owner_references, None);
    let files = from.path.strip_prefix("file:").unwrap();
    assert!(std::path::Path::new(files).join("_metadata").exists(), "{files}");
    scene.event("Normal Upgrading FlinkSessionJob/orders").await;
    scene.end().await;
}

#[tokio::test]
async fn an_upgrade_from_the_last_checkpoint_keeps_the_state() {
    if skip_real("an_upgrade_from_the_last_checkpoint_keeps_the_state") {
        return;
    }
    let scene = Scene::new("upgrade-last").await;
    let job = scene.job("orders", counting(&scene, "LastState").await).await;
    let first = job.runs().await;
    checkpointed(&scene, &first, 2).await;
    job.edit(change()).await;
    let status = goes_on(&job, 2).await;

    assert_eq!(job.states().await, ["CANCELED", "RUNNING"]);
    let newest = scene
        .flink_get(&format!("/jobs/{}/checkpoints", first.job_id.unwrap()))
        .await["latest"]["completed"]["external_path"]
        .clone();
    let state = status.state.unwrap();
    let from = state.restored_from.unwrap();
    assert_eq!(
        json!(from.path),
        newest,
        "the newest that was complete when the job ended"
    );
    assert_eq!(from.kind, StateKind::Checkpoint);
    assert!(restored(&scene, 2).await[1] > 0);
    assert!(resources(&scene).await.is_empty());
    scene.end().await;
}

#[tokio::test]
async fn last_state_is_refused_where_no_checkpoint_would_be_left() {
    if skip_real("last_state_is_refused_where_no_checkpoint_would_be_left") {
        return;
    }
    let scene = Scene::new("no-last").await;
    let mut spec = counting(&scene, "LastState").await;
    spec["flinkConfiguration"]["execution.checkpointing.externalized-checkpoint-retention"] =
        json!("DELETE_ON_CANCELLATION");
    let job = scene.job("orders", spec).await;
    let first = job.runs().await;
    checkpointed(&scene, &first, 1).await;
    for desired in [change(), json!({ "state": "Suspended" })] {
        job.edit(desired).await;
        let status = job
            .reaches(Phase::Running, Reason::UpgradeModeUnsupported, Kstatus::Failed)
            .await;
        assert_eq!(status.pending_change, Some(PendingChange::Restart));
        let message = &status.conditions[0].message;
        assert!(message.contains("RETAIN_ON_CANCELLATION"), "{message}");
    }
    assert_eq!(job.states().await, ["RUNNING"]);
    scene.end().await;
}

#[tokio::test]
async fn suspend_and_resume_keep_the_state() {
    if skip_real("suspend_and_resume_keep_the_state") {
        return;
    }
    let scene = Scene::new("suspend").await;
    for (name, mode, ended) in [
        ("with-savepoint", "Savepoint", "FINISHED"),
        ("from-checkpoint", "LastState", "CANCELED"),
    ] {
        let job = scene.job(name, counting(&scene, mode).await).await;
        let first = job.runs().await;
        checkpointed(&scene, &first, 2).await;
        job.edit(json!({ "state": "Suspended" })).await;
        job.reaches(Phase::Suspended, Reason::Suspended, Kstatus::Current).await;
        assert_eq!(job.states().await, [ended]);
        job.edit(json!({ "state": "Running" })).await;
        let status = goes_on(&job, 2).await;
        assert_eq!(job.states().await, [ended, "RUNNING"]);
        let count = began_with(&scene, &status).await;
        assert!(count > 0, "{name}: {count}");
    }
    scene.end().await;
}

#[tokio::test]
async fn a_job_that_failed_goes_on_from_its_last_checkpoint() {
    if skip_real("a_job_that_failed_goes_on_from_its_last_checkpoint") {
        return;
    }
    let scene = Scene::new("restarts").await;
    let mut spec = counting(&scene, "Savepoint").await;
    let args = spec["job"]["args"].as_array_mut().unwrap();
    args.extend([json!("--fail-after-kept"), json!("12")]);
    spec["job"]["entryClass"] = json!(TestJob::FailingTask.class());
    spec["restartPolicy"] = json!({ "type": "OnFailure", "maxRestartsPerHour": 2 });
    let job = scene.job("orders", spec).await;
    for attempt in [2, 3] {
        job.is(&format!("attempt {attempt}"), |job| {
            let status = job.status.as_ref();
            status.and_then(|status| status.attempt) >= Some(attempt)
        })
        .await;
    }
    let status = job
        .reaches(Phase::Failed, Reason::RestartsExhausted, Kstatus::Failed)
        .await;
    assert_eq!(job.states().await, ["FAILED", "FAILED", "FAILED"]);
    let restarts = status.restarts.unwrap();
    assert_eq!(
        (restarts.total, restarts.last_hour.len(), restarts.exhausted),
        (2, 2, true)
    );
    let counts = restored(&scene, 3).await;
    assert!(
        counts[0] == 0 && counts[1] >= 12 && counts[2] >= counts[1] + 12,
        "{counts:?}"
    );
    scene.end().await;
}

#[tokio::test]
async fn a_deletion_with_a_savepoint_leaves_it_behind() {
    if skip_real("a_deletion_with_a_savepoint_leaves_it_behind") {
        return;
    }
    let scene = Scene::new("delete-savepoint").await;
    let mut spec = counting(&scene, "Savepoint").await;
    spec["deletionPolicy"] = json!({ "type": "Savepoint" });
    let job = scene.job("orders", spec).await;
    let first = job.runs().await;
    checkpointed(&scene, &first, 1).await;
    job.delete().await;
    job.gone().await;
    assert_eq!(job.states().await, ["FINISHED"]);
    let kept = resources(&scene).await;
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].metadata.name.as_deref(), Some("orders-1-deletion"));
    // A new job takes the state over.
    let path = kept[0].spec.existing.as_ref().unwrap().path.clone();
    let mut spec = counting(&scene, "Savepoint").await;
    spec["restore"] = json!({ "from": "Named", "path": path });
    let next = scene.job("again", spec).await;
    let status = goes_on(&next, 1).await;
    assert!(restored(&scene, 2).await[1] > 0);
    assert_eq!(status.state.unwrap().restored_from.unwrap().path, path);
    scene.end().await;
}

#[tokio::test]
async fn a_savepoint_that_fails_leaves_the_job_running() {
    if skip_real("a_savepoint_that_fails_leaves_the_job_running") {
        return;
    }
    let scene = Scene::new("no-savepoint").await;
    let mut spec = counting(&scene, "Savepoint").await;
    spec["savepointPolicy"]["directory"] = json!("file:///proc/nope");
    let job = scene.job("orders", spec).await;
    let first = job.runs().await;
    checkpointed(&scene, &first, 1).await;
    job.edit(json!({ "state": "Suspended" })).await;
    let status = job
        .reaches(Phase::Suspending, Reason::SavepointFailed, Kstatus::InProgress)
        .await;
    let message = &status.conditions[0].message;
    assert!(
        message.contains("the job goes on") && message.contains("/proc/nope"),
        "{message}"
    );
    assert_eq!(job.states().await, ["RUNNING"]);
    // A place that can be written to: no other word is needed.
    let directory = format!("file://{}", savepoints(&scene).display());
    job.edit(json!({ "savepointPolicy": { "directory": directory } })).await;
    job.reaches(Phase::Suspended, Reason::Suspended, Kstatus::Current).await;
    assert_eq!(job.states().await, ["FINISHED"]);
    scene.end().await;
}

#[tokio::test]
async fn a_start_from_nothing_that_is_a_savepoint_says_so() {
    if skip_real("a_start_from_nothing_that_is_a_savepoint_says_so") {
        return;
    }
    let scene = Scene::new("no-state").await;
    let mut spec = counting(&scene, "Savepoint").await;
    spec["restore"] = json!({ "from": "Named", "path": "file:///tmp/there-is-nothing-here" });
    spec["restartPolicy"] = json!({ "type": "OnFailure" });
    let job = scene.job("orders", spec).await;
    let status = job.reaches(Phase::Failed, Reason::StateNotFound, Kstatus::Failed).await;
    let failure = status.failure.unwrap();
    assert!(failure.message.contains("there-is-nothing-here"), "{}", failure.message);
    assert!(failure.message.contains("restore.nonce"), "{}", failure.message);
    assert!(Job::ledger_at(&scene).sources().is_empty(), "nothing ran");
    // The user's word.
    job.edit(json!({ "restore": { "from": "None", "path": null, "nonce": 1 } }))
        .await;
    job.runs().await;
    assert_eq!(restored(&scene, 1).await, [0]);
    scene.end().await;
}
