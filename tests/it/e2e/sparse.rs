//! A cluster with one slot and without a directory for savepoints, and one with a short memory of jobs that have ended.

use std::time::Duration;

use devcluster::{Flink, FlinkOptions, jars::TestJob, skip_real};
use flink_job_operator::api::{Phase, Reason, SavepointPhase, status::RunOutcome};
use serde_json::json;
use tokio::sync::{Mutex, MutexGuard};

use super::{
    goes_on::says,
    kept::{began_with, change, counted, counting, goes_on},
};
use crate::harness::{Job, Kstatus, Scene, operator, plane, taken::message};

/// The cluster with one slot and no directory. One test at a time has it.
async fn sparse() -> MutexGuard<'static, Option<Flink>> {
    static SPARSE: Mutex<Option<Flink>> = Mutex::const_new(None);
    let mut sparse = SPARSE.lock().await;
    if sparse.is_none() {
        *sparse = Some(with("execution.checkpointing.savepoint-dir", "").await);
    }
    sparse
}

/// A cluster with one slot, and with `value` at `key`.
async fn with(key: &str, value: &str) -> Flink {
    let options = FlinkOptions {
        slots: 1,
        configuration: [(key.to_owned(), value.to_owned())].into(),
        ..FlinkOptions::default()
    };
    Flink::start(options).await.unwrap()
}

#[tokio::test]
async fn a_finished_job_that_flink_forgets_stays_finished_and_is_not_run_again() {
    if skip_real("a_finished_job_that_flink_forgets_stays_finished_and_is_not_run_again") {
        return;
    }
    // Its own: a test that asks Flink how a job ended must not find it forgotten.
    let forgetful = with("jobstore.expiration-time", "10").await;
    let scene = Scene::on("forgotten", plane().await, operator().await, &forgetful).await;
    scene.session().await;
    let spec = Job::spec(&scene, TestJob::Bounded, &[]).await;
    let job = scene.job("report", spec).await;
    let finished = (Phase::Finished, Reason::Finished, Kstatus::Current);
    let id = job.reaches(finished.0, finished.1, finished.2).await.job_id.unwrap();
    scene
        .eventually("Flink has forgotten it", async || {
            (scene.flink_state(id).await == "absent").then_some(())
        })
        .await;
    // As long as two polls take.
    tokio::time::sleep(Duration::from_secs(1)).await;
    job.edit(json!({ "description": "still done" })).await;
    let status = job.reaches(finished.0, finished.1, finished.2).await;
    assert_eq!(status.runs[0].outcome, Some(RunOutcome::Finished));
    assert_eq!((job.submissions(), Job::ledger_at(&scene).mains().len()), (vec![id], 1));
    // But when it is asked for.
    job.edit(json!({ "restartNonce": 1 })).await;
    let again = job.is("the second run has finished", |job| {
        let status = job.status.as_ref().unwrap();
        status.phase == Some(Phase::Finished) && status.attempt == Some(2)
    });
    again.await;
    assert_eq!(Job::ledger_at(&scene).mains().len(), 2);
    job.delete().await;
    job.gone().await;
    scene.end().await;
}

#[tokio::test]
async fn where_no_directory_is_named_no_savepoint_is_taken_and_the_job_runs_on() {
    if skip_real("where_no_directory_is_named_no_savepoint_is_taken_and_the_job_runs_on") {
        return;
    }
    let sparse = sparse().await;
    let scene = Scene::on("nowhere", plane().await, operator().await, sparse.as_ref().unwrap()).await;
    scene.session().await;
    let mut spec = counting(&scene, "Savepoint").await;
    let policy = spec.as_object_mut().unwrap().remove("savepointPolicy").unwrap();
    let job = scene.job("orders", spec).await;
    let first = job.runs().await;
    counted(&scene, &first, 3).await;
    let taken = scene.savepoint("one", json!({ "jobRef": { "name": "orders" } })).await;
    let status = taken
        .reaches(SavepointPhase::Failed, Reason::SavepointFailed, Kstatus::Failed)
        .await;
    for field in [
        "spec.trigger.directory",
        "spec.savepointPolicy.directory",
        "execution.checkpointing.savepoint-dir",
    ] {
        assert!(message(&status).contains(field), "{}", message(&status));
    }
    job.edit(change()).await;
    let status = job
        .reaches(Phase::Running, Reason::SavepointFailed, Kstatus::Failed)
        .await;
    let told = &status.conditions[0].message;
    assert!(told.contains("spec.savepointPolicy.directory"), "{told}");
    assert_eq!(job.states().await, ["RUNNING"]);
    // With one, the change goes on from its state.
    job.edit(json!({ "savepointPolicy": policy })).await;
    let status = goes_on(&job, 2).await;
    assert!(began_with(&scene, &status).await >= 3);
    job.delete().await;
    job.gone().await;
    scene.end().await;
}

#[tokio::test]
async fn a_job_whose_tasks_wait_for_a_slot_is_stopped_when_they_run() {
    if skip_real("a_job_whose_tasks_wait_for_a_slot_is_stopped_when_they_run") {
        return;
    }
    let sparse = sparse().await;
    let scene = Scene::on("no-slot", plane().await, operator().await, sparse.as_ref().unwrap()).await;
    scene.session().await;
    let spec = Job::spec(&scene, TestJob::Counter, &[]).await;
    let first = scene.job("first", spec).await;
    first.runs().await;
    scene
        .eventually("its task runs and has the slot", async || {
            (Job::ledger_at(&scene).sources().len() == 1).then_some(())
        })
        .await;
    let mut spec = counting(&scene, "Savepoint").await;
    spec["slotCheck"] = json!("Off");
    let job = scene.job("orders", spec).await;
    job.is("Flink has it", |job| {
        let status = job.status.as_ref();
        status.is_some_and(|status| status.flink_state.is_some())
    })
    .await;
    job.edit(change()).await;
    says(&job, Phase::Restarting, "not all tasks of the job run just now").await;
    // Flink calls it that.
    assert_eq!(job.states().await, ["RUNNING"]);
    assert_eq!(Job::ledger_at(&scene).sources().len(), 1, "its tasks never ran");
    first.delete().await;
    first.gone().await;
    goes_on(&job, 2).await;
    assert_eq!(job.states().await, ["FINISHED", "RUNNING"]);
    job.delete().await;
    job.gone().await;
    scene.end().await;
}
