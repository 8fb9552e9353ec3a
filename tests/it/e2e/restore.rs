//! `spec.restore`: where a first start, or one that `restore.nonce` forces, takes its state from.

use std::{fs, path::Path};

use devcluster::{jars::STATE_MACHINE, skip_real};
use flink_job_operator::api::{
    ConditionStatus, ConditionType, JobStatus, Phase, Reason, Savepoint, condition::find, state::StateKind,
};
use serde_json::{Value, json};

use super::{
    kept::{began_with, checkpointed, counted, counting, goes_on, restored},
    savepoint::state_machine,
    savepoint_files::verified,
};
use crate::harness::{Job, Kstatus, Scene, taken::Taken};

/// What a job has counted before its state is taken.
const COUNTED: u64 = 3;

fn named(path: &str) -> Value {
    json!({ "from": "Named", "path": path })
}

/// The job `orders` runs and has something to lose.
async fn orders<'s>(scene: &'s Scene<'_>) -> (Job<'s>, JobStatus) {
    let job = scene.job("orders", counting(scene, "Stateless").await).await;
    let first = job.runs().await;
    counted(scene, &first, COUNTED).await;
    (job, first)
}

/// A savepoint of it, and its path.
async fn saved<'s>(scene: &'s Scene<'_>, name: &str) -> (Taken<'s>, String) {
    let taken = scene.savepoint(name, json!({ "jobRef": { "name": "orders" } })).await;
    let path = taken.completes().await.path.unwrap();
    (taken, path)
}

/// Another job that starts from what its spec says.
async fn next<'s>(scene: &'s Scene<'_>, name: &str, restore: Value) -> Job<'s> {
    let mut spec = counting(scene, "Stateless").await;
    spec["restore"] = restore;
    scene.job(name, spec).await
}

/// What the current attempt was started from.
fn from(status: &JobStatus) -> (StateKind, &str) {
    let state = status.state.as_ref().unwrap();
    let from = state.restored_from.as_ref().unwrap();
    (from.kind, &from.path)
}

async fn proves_itself(savepoint: &Taken<'_>) {
    let seen = |savepoint: &Savepoint| verified(savepoint.status.as_ref().unwrap()) == ConditionStatus::True;
    savepoint.is("a job was restored from it", seen).await;
}

#[tokio::test]
async fn a_savepoint_of_another_job_is_registered_by_its_path_and_starts_new_jobs() {
    if skip_real("a_savepoint_of_another_job_is_registered_by_its_path_and_starts_new_jobs") {
        return;
    }
    let scene = Scene::new("registered").await;
    let (job, _) = orders(&scene).await;
    let (_, path) = saved(&scene, "taken").await;
    let existing = json!({ "path": path });
    let of_job = json!({ "jobRef": { "name": "orders" }, "existing": existing });
    for (name, spec) in [("with-job", of_job), ("without-job", json!({ "existing": existing }))] {
        let import = scene.savepoint(name, spec).await;
        assert_eq!(verified(&import.completes().await), ConditionStatus::Unknown);
        let restore = json!({ "from": "Named", "savepointRef": { "name": name } });
        let started = next(&scene, &format!("from-{name}"), restore).await;
        let status = goes_on(&started, 1).await;
        assert_eq!(from(&status), (StateKind::Savepoint, path.as_str()));
        assert!(began_with(&scene, &status).await >= COUNTED);
        proves_itself(&import).await;
        started.delete().await;
        started.gone().await;
    }
    let started = next(&scene, "from-path", named(&path)).await;
    assert!(began_with(&scene, &goes_on(&started, 1).await).await >= COUNTED);
    assert_eq!(job.states().await, ["RUNNING"]);
    scene.end().await;
}

#[tokio::test]
async fn a_retained_checkpoint_starts_a_new_job_by_its_path_or_as_a_registered_savepoint() {
    if skip_real("a_retained_checkpoint_starts_a_new_job_by_its_path_or_as_a_registered_savepoint") {
        return;
    }
    let scene = Scene::new("retained").await;
    let mut spec = counting(&scene, "LastState").await;
    spec["flinkConfiguration"]["execution.checkpointing.num-retained"] = json!("50");
    let job = scene.job("orders", spec).await;
    let first = job.runs().await;
    counted(&scene, &first, COUNTED).await;
    checkpointed(&scene, &first, 3).await;
    job.edit(json!({ "state": "Cancelled" })).await;
    let ended = job
        .is("its last checkpoint is on record", |job| {
            let status = job.status.as_ref().unwrap();
            let read = status.state.as_ref().and_then(|state| state.checkpointing.as_ref());
            status.phase == Some(Phase::Cancelled) && read.is_some_and(|read| read.last)
        })
        .await;
    let ended = ended.status.unwrap();
    let told = find(&ended.conditions, ConditionType::ConfigEffective).unwrap();
    assert!(
        told.message.contains("execution.checkpointing.num-retained"),
        "{}",
        told.message
    );
    let latest = ended.state.unwrap().latest.unwrap();
    assert_eq!(latest.kind, StateKind::Checkpoint);
    // The cluster keeps one of each job, whatever the job says.
    let newest = Path::new(latest.path.strip_prefix("file:").unwrap());
    let entries = fs::read_dir(newest.parent().unwrap()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let kept: Vec<String> = names.filter(|name| name.starts_with("chk-")).collect();
    assert_eq!(kept, [newest.file_name().unwrap().to_str().unwrap()]);

    let existing = json!({ "path": latest.path, "kind": "Checkpoint" });
    let import = scene.savepoint("import", json!({ "existing": existing })).await;
    import.completes().await;
    let restore = json!({ "from": "Named", "savepointRef": { "name": "import" } });
    let (by_name, by_path) = (
        next(&scene, "by-name", restore).await,
        next(&scene, "by-path", named(&latest.path)).await,
    );
    let status = goes_on(&by_name, 1).await;
    assert_eq!(from(&status), (StateKind::Checkpoint, latest.path.as_str()));
    assert!(began_with(&scene, &status).await > 0);
    assert!(began_with(&scene, &goes_on(&by_path, 1).await).await > 0);
    proves_itself(&import).await;
    scene.end().await;
}

#[tokio::test]
async fn a_new_restore_nonce_takes_a_running_job_back_to_its_earliest_or_its_latest_savepoint() {
    if skip_real("a_new_restore_nonce_takes_a_running_job_back_to_its_earliest_or_its_latest_savepoint") {
        return;
    }
    let scene = Scene::new("back").await;
    let (job, first) = orders(&scene).await;
    let (_, one) = saved(&scene, "one").await;
    let count = Job::ledger_at(&scene).count(&first.job_id.unwrap().to_string());
    counted(&scene, &first, count.unwrap() + 2).await;
    let (_, two) = saved(&scene, "two").await;
    // What stands there is not acted upon before the nonce changes.
    job.edit(json!({ "restore": { "from": "Earliest" } })).await;
    assert_eq!(job.runs().await.attempt, Some(1));
    job.edit(json!({ "restore": { "nonce": 1 } })).await;
    let earlier = goes_on(&job, 2).await;
    assert_eq!(from(&earlier), (StateKind::Savepoint, one.as_str()));
    job.edit(json!({ "restore": { "from": "Latest", "nonce": 2 } })).await;
    let later = goes_on(&job, 3).await;
    assert_eq!(from(&later), (StateKind::Savepoint, two.as_str()));
    let counts = restored(&scene, 3).await;
    assert!(
        counts[0] == 0 && counts[1] >= COUNTED && counts[2] > counts[1],
        "{counts:?}"
    );
    assert_eq!(job.states().await, ["CANCELED", "CANCELED", "RUNNING"]);
    scene.end().await;
}

#[tokio::test]
async fn files_that_a_job_claimed_are_never_started_from_again() {
    if skip_real("files_that_a_job_claimed_are_never_started_from_again") {
        return;
    }
    let scene = Scene::new("claimed").await;
    orders(&scene).await;
    let (taken, path) = saved(&scene, "one").await;
    let mut restore = named(&path);
    restore["claimMode"] = json!("Claim");
    let owner = next(&scene, "owner", restore).await;
    let status = goes_on(&owner, 1).await;
    assert!(began_with(&scene, &status).await >= COUNTED);
    assert!(status.state.unwrap().restored_from.unwrap().claimed);
    let claimed = |savepoint: &Savepoint| {
        let by = savepoint
            .status
            .as_ref()
            .and_then(|status| status.claimed_by.as_deref());
        by == Some("FlinkSessionJob/owner")
    };
    taken.is("its files belong to the job", claimed).await;

    let starts = Job::ledger_at(&scene).sources().len();
    owner.edit(json!({ "restore": { "nonce": 1 } })).await;
    let refused = owner
        .reaches(Phase::Running, Reason::StateNotFound, Kstatus::Failed)
        .await;
    assert!(
        refused.conditions[0].message.contains("claimMode: Claim"),
        "{refused:?}"
    );
    let by_name = json!({ "from": "Named", "savepointRef": { "name": "one" } });
    for (name, restore) in [("by-name", by_name), ("by-path", named(&path))] {
        let other = next(&scene, name, restore).await;
        let refused = other
            .reaches(Phase::Failed, Reason::StateNotFound, Kstatus::Failed)
            .await;
        let told = &refused.conditions[0].message;
        assert!(
            told.contains("claimMode: Claim") || told.contains("FlinkSessionJob/owner"),
            "{told}"
        );
        assert_eq!(other.submissions().len(), 0);
    }
    assert_eq!(owner.states().await, ["RUNNING"]);
    assert_eq!(Job::ledger_at(&scene).sources().len(), starts);
    scene.end().await;
}

#[tokio::test]
async fn state_of_another_program_is_refused_unless_it_may_be_dropped() {
    if skip_real("state_of_another_program_is_refused_unless_it_may_be_dropped") {
        return;
    }
    let scene = Scene::new("other-program").await;
    orders(&scene).await;
    let (_, path) = saved(&scene, "one").await;
    let mut spec = counting(&scene, "Stateless").await;
    spec["job"]["jarURI"] = json!(state_machine().await);
    spec["job"]["entryClass"] = json!(STATE_MACHINE);
    spec["job"]["args"] = json!([]);
    spec["restore"] = named(&path);
    let job = scene.job("other", spec).await;
    let status = job.reaches(Phase::Failed, Reason::StateNotFound, Kstatus::Failed).await;
    let told = &status.conditions[0].message;
    assert!(
        told.contains(&path) && told.contains("restore.allowNonRestoredState"),
        "{told}"
    );
    // An edit alone is not enough, for it would be the same again.
    job.edit(json!({ "restore": { "allowNonRestoredState": true, "nonce": 1 } }))
        .await;
    goes_on(&job, 2).await;
    assert_eq!(job.states().await, ["FAILED", "RUNNING"]);
    scene.end().await;
}

#[tokio::test]
async fn a_savepoint_whose_files_were_disposed_of_starts_nothing() {
    if skip_real("a_savepoint_whose_files_were_disposed_of_starts_nothing") {
        return;
    }
    let scene = Scene::new("disposed-of").await;
    let (job, _) = orders(&scene).await;
    let (taken, path) = saved(&scene, "one").await;
    taken.edit(json!({ "deletionPolicy": "Dispose" })).await;
    taken
        .is("its deletion waits", |savepoint| {
            savepoint.metadata.finalizers.is_some()
        })
        .await;
    job.delete().await;
    job.gone().await;
    taken.delete().await;
    taken.gone().await;
    let starts = Job::ledger_at(&scene).sources().len();
    let by_path = next(&scene, "by-path", named(&path)).await;
    let status = by_path
        .reaches(Phase::Failed, Reason::StateNotFound, Kstatus::Failed)
        .await;
    let told = &status.conditions[0].message;
    assert!(told.contains(&path) && told.contains("restore.nonce"), "{told}");
    let restore = json!({ "from": "Named", "savepointRef": { "name": "one" } });
    let by_name = next(&scene, "by-name", restore).await;
    by_name
        .reaches(Phase::Pending, Reason::ReferenceNotFound, Kstatus::InProgress)
        .await;
    assert!(by_name.submissions().is_empty());
    assert_eq!(Job::ledger_at(&scene).sources().len(), starts, "no empty start");
    scene.end().await;
}

#[tokio::test]
async fn start_empty_is_for_a_first_start_and_not_for_a_job_that_has_lost_its_state() {
    if skip_real("start_empty_is_for_a_first_start_and_not_for_a_job_that_has_lost_its_state") {
        return;
    }
    let scene = Scene::new("start-empty").await;
    let mut spec = counting(&scene, "LastState").await;
    spec["restore"] = json!({ "from": "Latest", "onMissingState": "StartEmpty" });
    let job = scene.job("orders", spec).await;
    let first = job.runs().await;
    assert_eq!(began_with(&scene, &first).await, 0);
    checkpointed(&scene, &first, 2).await;
    job.edit(json!({ "state": "Suspended" })).await;
    let suspended = job.reaches(Phase::Suspended, Reason::Suspended, Kstatus::Current).await;
    assert_eq!(suspended.latest_state().unwrap().kind, StateKind::Checkpoint);
    let checkpoints = scene.flink.directory().join(format!("{}-checkpoints", scene.namespace));
    fs::remove_dir_all(checkpoints).unwrap();
    job.edit(json!({ "state": "Running" })).await;
    let status = job.reaches(Phase::Failed, Reason::StateNotFound, Kstatus::Failed).await;
    assert!(status.conditions[0].message.contains("restore.nonce"), "{status:?}");
    assert_eq!(job.states().await, ["CANCELED", "FAILED"]);
    assert_eq!(restored(&scene, 1).await, [0], "no second start");
    // The user's word.
    job.edit(json!({ "restore": { "nonce": 1 } })).await;
    let status = job.runs().await;
    assert_eq!((status.attempt, began_with(&scene, &status).await), (Some(3), 0));
    scene.end().await;
}
