//! The files of savepoints: those that were there already, those that are deleted with their resource, and those that
//! are not.

use std::fs;

use devcluster::{jars::TestJob, skip_real};
use flink_job_operator::api::{
    ConditionStatus, ConditionType, FlinkSession, Reason, Savepoint, SavepointPhase, SavepointStatus, condition::find,
    savepoint_status::SavepointOrigin,
};
use kube::{Api, api::DeleteParams};
use serde_json::{Value, json};

use super::kept::{counting, goes_on};
use crate::harness::{
    Job, Kstatus, Scene,
    taken::{Taken, files, message},
};

fn disposed(job: &str) -> Value {
    json!({ "jobRef": { "name": job }, "deletionPolicy": "Dispose" })
}

pub(super) fn verified(status: &SavepointStatus) -> ConditionStatus {
    find(&status.conditions, ConditionType::Verified).unwrap().status
}

/// It says so that jobs need it.
async fn blocked(taken: &Taken<'_>) -> SavepointStatus {
    let blocked = taken.is("its deletion is blocked", |savepoint| {
        let status = savepoint.status.as_ref().unwrap();
        find(&status.conditions, ConditionType::Ready).unwrap().reason == Reason::DeletionBlocked.as_str()
    });
    blocked.await.status.unwrap()
}

#[tokio::test]
async fn files_go_with_their_resource_where_that_is_asked_for_and_nobody_needs_them() {
    if skip_real("files_go_with_their_resource_where_that_is_asked_for_and_nobody_needs_them") {
        return;
    }
    let scene = Scene::new("dispose").await;
    let job = scene.job("orders", counting(&scene, "Stateless").await).await;
    job.runs().await;
    let taken = scene.savepoint("one", disposed("orders")).await;
    let status = taken.completes().await;
    assert!(files(&status).join("_metadata").exists());
    // A job names it: a draft, which has not even started.
    let mut spec = counting(&scene, "Stateless").await;
    spec["state"] = json!("Draft");
    spec["restore"] = json!({ "from": "Named", "savepointRef": { "name": "one" } });
    let next = scene.job("next", spec).await;
    let used = taken.is("says who needs it", |savepoint| {
        let users = &savepoint.status.as_ref().unwrap().used_by;
        users.contains(&"FlinkSessionJob/next".to_owned())
    });
    used.await;
    taken.delete().await;
    let status = blocked(&taken).await;
    assert!(
        message(&status).contains("FlinkSessionJob/next"),
        "{}",
        message(&status)
    );
    assert!(files(&status).join("_metadata").exists());
    next.delete().await;
    taken.gone().await;
    assert!(!files(&status).exists(), "{}", files(&status).display());
    scene.event("Normal Disposing Savepoint/one").await;
    assert_eq!(job.states().await, ["RUNNING"]);
    scene.end().await;
}

#[tokio::test]
async fn what_a_running_job_started_from_is_verified_and_kept_until_it_has_state_of_its_own() {
    if skip_real("what_a_running_job_started_from_is_verified_and_kept_until_it_has_state_of_its_own") {
        return;
    }
    let scene = Scene::new("in-use").await;
    let job = scene.job("orders", counting(&scene, "Stateless").await).await;
    job.runs().await;
    let taken = scene.savepoint("one", disposed("orders")).await;
    let status = taken.completes().await;
    assert_eq!(verified(&status), ConditionStatus::Unknown);
    let path = status.path.clone().unwrap();
    // From now on, only who starts from it needs it.
    job.delete().await;
    job.gone().await;
    // An import of the same place, by another spelling; it is never disposed of, for no prefix says whose it is.
    let existing = json!({ "path": format!("{path}/_metadata") });
    let import = scene
        .savepoint("import", json!({ "existing": existing, "deletionPolicy": "Dispose" }))
        .await;
    let imported = import.completes().await;
    assert_eq!(
        (imported.path.as_ref(), imported.origin),
        (Some(&path), Some(SavepointOrigin::Import))
    );
    assert!(message(&imported).contains("not looked at"), "{}", message(&imported));
    // Without checkpoints of its own, the next job is safe on the savepoint only.
    let mut spec = Job::spec(&scene, TestJob::Counter, &[]).await;
    spec["restore"] = json!({ "from": "Named", "path": path });
    let next = scene.job("next", spec).await;
    goes_on(&next, 1).await;
    for savepoint in [&taken, &import] {
        let seen = savepoint.is("a job was restored from it", |savepoint| {
            verified(savepoint.status.as_ref().unwrap()) == ConditionStatus::True
        });
        assert_eq!(seen.await.status.unwrap().used_by, ["FlinkSessionJob/next"]);
    }
    taken.delete().await;
    blocked(&taken).await;
    // The user's word: the files stay, the resource goes.
    taken.edit(json!({ "deletionPolicy": "Retain" })).await;
    taken.gone().await;
    assert!(files(&status).join("_metadata").exists());
    next.delete().await;
    next.gone().await;
    import.delete().await;
    import.gone().await;
    let told = scene.event("Warning DeletionBlocked Savepoint/import").await;
    assert!(told.contains(&path) && told.contains("--state-prefix"), "{told}");
    assert!(files(&status).join("_metadata").exists());
    scene.end().await;
}

#[tokio::test]
async fn what_is_gone_or_half_gone_holds_up_no_deletion() {
    if skip_real("what_is_gone_or_half_gone_holds_up_no_deletion") {
        return;
    }
    let scene = Scene::new("half-gone").await;
    let job = scene.job("orders", counting(&scene, "Stateless").await).await;
    job.runs().await;
    let gone = scene.savepoint("gone", disposed("orders")).await;
    let half = scene.savepoint("half", disposed("orders")).await;
    let status = half.completes().await;
    fs::remove_dir_all(files(&gone.completes().await)).unwrap();
    // The newest state of a job is needed by it.
    job.delete().await;
    job.gone().await;
    gone.delete().await;
    gone.gone().await;
    fs::remove_file(files(&status).join("_metadata")).unwrap();
    half.delete().await;
    half.gone().await;
    let told = scene.event("Warning DeletionBlocked Savepoint/half").await;
    assert!(told.contains(status.path.as_deref().unwrap()), "{told}");
    scene.end().await;
}

#[tokio::test]
async fn without_a_cluster_a_disposal_waits_and_says_what_for() {
    if skip_real("without_a_cluster_a_disposal_waits_and_says_what_for") {
        return;
    }
    let scene = Scene::new("no-cluster").await;
    let job = scene.job("orders", counting(&scene, "Stateless").await).await;
    job.runs().await;
    let taken = scene.savepoint("one", disposed("orders")).await;
    let status = taken.completes().await;
    job.delete().await;
    job.gone().await;
    let sessions: Api<FlinkSession> = scene.api();
    let names = crate::harness::SESSION;
    sessions.delete(names, &DeleteParams::default()).await.unwrap();
    scene
        .eventually("the session is gone", async || {
            sessions.get_opt(names).await.unwrap().is_none().then_some(())
        })
        .await;
    taken.delete().await;
    let waits = taken.is("says what it waits for", |savepoint: &Savepoint| {
        let status = savepoint.status.as_ref().unwrap();
        status.phase == Some(SavepointPhase::Disposing) && message(status).contains("the resource goes without that at")
    });
    waits.await;
    // One that comes back is asked.
    scene.session().await;
    taken.gone().await;
    assert!(!files(&status).exists());
    scene.end().await;
}

#[tokio::test]
async fn an_import_that_cannot_be_says_why() {
    if skip_real("an_import_that_cannot_be_says_why") {
        return;
    }
    let scene = Scene::bare("bad-import").await;
    for (n, path) in ["s3://bucket", "s3://key:secret@bucket/x"].into_iter().enumerate() {
        let import = scene
            .savepoint(&format!("import-{n}"), json!({ "existing": { "path": path } }))
            .await;
        let status = import
            .reaches(SavepointPhase::Failed, Reason::InvalidSpec, Kstatus::Failed)
            .await;
        assert!(
            message(&status).starts_with("spec.existing.path cannot be used"),
            "{}",
            message(&status)
        );
        assert!(!message(&status).contains("secret"), "{}", message(&status));
        import.delete().await;
        import.gone().await;
    }
    scene.end().await;
}
