//! A job that failed, that somebody cancelled, or whose stop went wrong goes on from what it left, and one that cannot be
//! stopped with its state just now is not stopped without.

use std::{fs, path::PathBuf};

use devcluster::{jars::TestJob, skip_real};
use flink_job_operator::api::{ConditionType, JobStatus, Phase, Reason, condition::find, state::StateKind};
use serde_json::{Value, json};

use super::kept::{began_with, change, checkpointed, counted, counting, goes_on, without_checkpoints};
use crate::harness::{Job, Kstatus, Scene};

/// The file whose presence fails the job of [`failing`].
fn cause(scene: &Scene<'_>) -> PathBuf {
    scene.flink.directory().join(format!("{}.fail", scene.namespace))
}

/// A job that counts until a file appears, and whose last checkpoint holds some of that.
async fn failing(scene: &Scene<'_>, mode: &str, further: &[&str]) -> Value {
    let mut spec = counting(scene, mode).await;
    let when = cause(scene).display().to_string();
    let args = spec["job"]["args"].as_array_mut().unwrap();
    args.extend(["--fail-after-kept", "3", "--fail-when", &when].map(Value::from));
    args.extend(further.iter().copied().map(Value::from));
    spec["job"]["entryClass"] = json!(TestJob::FailingTask.class());
    spec
}

/// What the current attempt was started from.
fn from(status: &JobStatus) -> (StateKind, &str) {
    let from = status.state.as_ref().and_then(|state| state.restored_from.as_ref());
    from.map(|from| (from.kind, from.path.as_str())).unwrap()
}

/// The job says so.
pub(super) async fn says(job: &Job<'_>, phase: Phase, words: &str) -> JobStatus {
    let what = format!("{phase:?}: {words:?}");
    let said = job.is(&what, |job| {
        let status = job.status.as_ref().unwrap();
        let ready = find(&status.conditions, ConditionType::Ready);
        status.phase == Some(phase) && ready.is_some_and(|ready| ready.message.contains(words))
    });
    said.await.status.unwrap()
}

#[tokio::test]
async fn a_failed_job_whose_spec_is_mended_goes_on_from_its_last_checkpoint() {
    if skip_real("a_failed_job_whose_spec_is_mended_goes_on_from_its_last_checkpoint") {
        return;
    }
    let scene = Scene::new("mended").await;
    let job = scene.job("orders", failing(&scene, "Savepoint", &[]).await).await;
    job.runs().await;
    fs::write(cause(&scene), "").unwrap();
    job.reaches(Phase::Failed, Reason::JobFailed, Kstatus::Failed).await;
    let mended = counting(&scene, "Savepoint").await;
    job.edit(json!({ "job": mended["job"] })).await;
    let status = goes_on(&job, 2).await;
    assert_eq!(from(&status).0, StateKind::Checkpoint);
    assert!(began_with(&scene, &status).await >= 3);
    assert_eq!(job.states().await, ["FAILED", "RUNNING"]);
    scene.end().await;
}

#[tokio::test]
async fn a_failed_job_is_restarted_from_its_latest_savepoint_where_the_restart_policy_says_so() {
    if skip_real("a_failed_job_is_restarted_from_its_latest_savepoint_where_the_restart_policy_says_so") {
        return;
    }
    let scene = Scene::new("to-savepoint").await;
    let mut spec = failing(&scene, "Savepoint", &[]).await;
    spec["restartPolicy"] = json!({ "type": "OnFailure", "restoreFrom": "LatestSavepoint" });
    let job = scene.job("orders", spec).await;
    let first = job.runs().await;
    counted(&scene, &first, 3).await;
    let spec = json!({ "jobRef": { "name": "orders" } });
    let path = scene.savepoint("one", spec).await.completes().await.path.unwrap();
    // Its checkpoints are newer by now.
    let count = Job::ledger_at(&scene)
        .count(&first.job_id.unwrap().to_string())
        .unwrap();
    counted(&scene, &first, count + 5).await;
    fs::write(cause(&scene), "").unwrap();
    scene
        .eventually("it failed", async || {
            (scene.flink_state(first.job_id.unwrap()).await == "FAILED").then_some(())
        })
        .await;
    fs::remove_file(cause(&scene)).unwrap();
    let status = goes_on(&job, 2).await;
    assert_eq!(from(&status), (StateKind::Savepoint, path.as_str()));
    let restored = began_with(&scene, &status).await;
    assert!(restored >= 3 && restored < count + 5, "{restored} of {count}");
    assert_eq!(job.states().await, ["FAILED", "RUNNING"]);
    scene.end().await;
}

#[tokio::test]
async fn a_job_that_was_cancelled_goes_on_from_its_last_checkpoint_when_it_is_to_run_again() {
    if skip_real("a_job_that_was_cancelled_goes_on_from_its_last_checkpoint_when_it_is_to_run_again") {
        return;
    }
    let scene = Scene::new("cancelled").await;
    let (in_flink, as_asked) = (
        scene.job("in-flink", counting(&scene, "Savepoint").await).await,
        scene.job("as-asked", counting(&scene, "Savepoint").await).await,
    );
    let (first, other) = tokio::join!(in_flink.runs(), as_asked.runs());
    tokio::join!(checkpointed(&scene, &first, 3), checkpointed(&scene, &other, 3));
    scene.cancel_in_ui(first.job_id.unwrap()).await;
    as_asked.edit(json!({ "state": "Cancelled" })).await;
    in_flink
        .reaches(Phase::Cancelled, Reason::Cancelled, Kstatus::Failed)
        .await;
    as_asked
        .reaches(Phase::Cancelled, Reason::Cancelled, Kstatus::Current)
        .await;
    in_flink.edit(json!({ "restartNonce": 1 })).await;
    as_asked.edit(json!({ "state": "Running" })).await;
    for job in [in_flink, as_asked] {
        let status = goes_on(&job, 2).await;
        assert_eq!(from(&status).0, StateKind::Checkpoint);
        assert!(began_with(&scene, &status).await > 0);
        assert_eq!(job.states().await, ["CANCELED", "RUNNING"]);
    }
    scene.end().await;
}

// The savepoint is as good as any, whatever became of the job after it.
#[tokio::test]
async fn a_job_that_fails_while_it_is_stopped_goes_on_from_the_savepoint_of_the_stop() {
    if skip_real("a_job_that_fails_while_it_is_stopped_goes_on_from_the_savepoint_of_the_stop") {
        return;
    }
    let scene = Scene::new("fails-at-end").await;
    // The completion of a checkpoint would fail it before.
    let mut spec = without_checkpoints(&scene, "Savepoint").await;
    let args = spec["job"]["args"].as_array_mut().unwrap();
    args.extend(["--on-complete", "fail"].map(Value::from));
    let job = scene.job("orders", spec).await;
    let first = job.runs().await;
    counted(&scene, &first, 3).await;
    job.edit(change()).await;
    let status = goes_on(&job, 2).await;
    assert_eq!(job.states().await, ["FAILED", "RUNNING"]);
    assert_eq!(from(&status).0, StateKind::Savepoint);
    assert!(began_with(&scene, &status).await >= 3);
    scene.end().await;
}

#[tokio::test]
async fn a_job_that_flink_restarts_is_stopped_with_its_savepoint_when_it_runs_again() {
    if skip_real("a_job_that_flink_restarts_is_stopped_with_its_savepoint_when_it_runs_again") {
        return;
    }
    let scene = Scene::new("restarting").await;
    let mut spec = failing(&scene, "Savepoint", &["--restart", "as-configured"]).await;
    let configuration = spec["flinkConfiguration"].as_object_mut().unwrap();
    configuration.insert("restart-strategy.type".into(), json!("fixed-delay"));
    configuration.insert("restart-strategy.fixed-delay.attempts".into(), json!("100"));
    configuration.insert("restart-strategy.fixed-delay.delay".into(), json!("25 s"));
    let job = scene.job("orders", spec).await;
    job.runs().await;
    fs::write(cause(&scene), "").unwrap();
    job.reaches(Phase::Restarting, Reason::Restarting, Kstatus::InProgress)
        .await;
    job.edit(change()).await;
    let status = says(&job, Phase::Restarting, "not all tasks of the job run just now").await;
    assert_eq!(status.flink_state.as_deref(), Some("RESTARTING"));
    let told = find(&status.conditions, ConditionType::Ready).unwrap();
    assert_eq!(told.reason, Reason::Upgrading.as_str());
    assert!(told.message.contains("upgradeMode: LastState"), "{}", told.message);
    assert_eq!(job.submissions().len(), 1);
    fs::remove_file(cause(&scene)).unwrap();
    let status = goes_on(&job, 2).await;
    assert_eq!(job.states().await, ["FINISHED", "RUNNING"]);
    assert_eq!(from(&status).0, StateKind::Savepoint);
    assert!(began_with(&scene, &status).await >= 3);
    scene.end().await;
}

#[tokio::test]
async fn an_upgrade_from_the_last_checkpoint_waits_until_there_is_one() {
    if skip_real("an_upgrade_from_the_last_checkpoint_waits_until_there_is_one") {
        return;
    }
    let scene = Scene::new("no-checkpoint").await;
    let mut spec = counting(&scene, "LastState").await;
    let args = spec["job"]["args"].as_array_mut().unwrap();
    args.extend(["--on-snapshot", "hang"].map(Value::from));
    let job = scene.job("orders", spec).await;
    job.runs().await;
    job.edit(change()).await;
    let status = says(&job, Phase::Restarting, "no checkpoint of the job is complete yet").await;
    assert_eq!(status.flink_state.as_deref(), Some("RUNNING"));
    assert_eq!(job.states().await, ["RUNNING"]);
    // The user's word to do without.
    job.edit(json!({ "upgradeMode": "Stateless" })).await;
    job.is("the second attempt runs", |job| {
        let status = job.status.as_ref().unwrap();
        status.phase == Some(Phase::Running) && status.attempt == Some(2)
    })
    .await;
    assert_eq!(job.states().await, ["CANCELED", "RUNNING"]);
    scene.end().await;
}
