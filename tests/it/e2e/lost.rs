//! A JobManager without high availability is killed and started again: what becomes of the jobs that ran on it. It dies
//! once for all these tests, for it takes a while.

use std::{fs, path::PathBuf};

use devcluster::{Flink, FlinkOptions, jars::TestJob, skip_real};
use flink_job_operator::{
    api::{
        FlinkSessionJob, JobStatus, Phase, Reason, SavepointPhase,
        state::StateKind,
        status::{PendingChange, RunOutcome},
    },
    flink::JobId,
};
use kube::Api;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::kept::{began_with, change, counted, counting, goes_on, without_checkpoints};
use crate::harness::{Gate, Job, Kstatus, Scene, operator, plane, taken::message};

/// What the jobs had counted when their savepoints were taken.
const COUNTED: u64 = 3;

/// A cluster whose JobManager was killed, and the namespace of the jobs.
struct Killed {
    flink: Flink,
    namespace: String,
    gate: &'static Gate,
}

/// The namespace after that.
async fn killed() -> Scene<'static> {
    static KILLED: OnceCell<Killed> = OnceCell::const_new();
    let killed = KILLED.get_or_init(kill).await;
    Scene::again(
        &killed.namespace,
        killed.gate,
        plane().await,
        operator().await,
        &killed.flink,
    )
    .await
}

async fn kill() -> Killed {
    let keys = [
        // A JobManager that comes back gets its TaskManagers back soon.
        ("heartbeat.timeout", "5000"),
        ("heartbeat.interval", "500"),
        ("cluster.registration.error-delay", "500"),
        ("cluster.registration.max-timeout", "1000"),
        // Otherwise Flink deletes the checkpoint that is on record as soon as there is a newer one.
        ("execution.checkpointing.num-retained", "1000"),
    ];
    let options = FlinkOptions {
        configuration: keys.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        ..FlinkOptions::default()
    };
    let flink = Flink::start(options).await.unwrap();
    let (namespace, gate, outdated) = {
        let scene = Scene::on("jobmanager", plane().await, operator().await, &flink).await;
        scene.session().await;
        with_state_on_record(&scene).await;
        without_state_on_record(&scene).await;
        let jobs: Api<FlinkSessionJob> = scene.api();
        let outdated = jobs.get("outdated").await.unwrap().status.unwrap();
        (
            scene.namespace,
            scene.gate,
            outdated.latest_state().unwrap().path.clone(),
        )
    };
    flink.kill_jobmanager().unwrap();
    // As it is where only the newest checkpoint is retained, which is Flink's default.
    fs::remove_dir_all(outdated.trim_start_matches("file:")).unwrap();
    flink.restart_jobmanager().await.unwrap();
    Killed { flink, namespace, gate }
}

/// Jobs that run: one with a savepoint on record, and two that were started from that and have checkpoints of their own on
/// record.
async fn with_state_on_record(scene: &Scene<'_>) {
    // A checkpoint would be newer than its savepoint.
    let mut spec = without_checkpoints(scene, "LastState").await;
    spec["restartPolicy"] = json!({ "onLost": "Fail" });
    let job = scene.job("left-alone", spec).await;
    let first = job.runs().await;
    counted(scene, &first, COUNTED).await;
    let spec = json!({ "jobRef": { "name": "left-alone" } });
    let path = scene.savepoint("left-alone", spec).await.completes().await.path;
    let latest = |job: &FlinkSessionJob| job.status.as_ref().and_then(JobStatus::latest_state).cloned();
    job.is("its savepoint is on record", |job| {
        latest(job).is_some_and(|latest| Some(latest.path) == path)
    })
    .await;
    let mut spec = counting(scene, "Savepoint").await;
    spec["restore"] = json!({ "from": "Named", "path": path });
    let outdated = scene.job("outdated", spec.clone()).await;
    let goes_on = scene.job("goes-on", spec).await;
    for job in [outdated, goes_on] {
        job.is("a checkpoint is on record, some seconds after the start", |job| {
            latest(job).is_some_and(|latest| latest.kind == StateKind::Checkpoint)
        })
        .await;
    }
}

/// Jobs that take no checkpoints, and at last two whose main methods are at work.
async fn without_state_on_record(scene: &Scene<'_>) {
    let bounded = Job::spec(scene, TestJob::Bounded, &["--seconds", "600"]).await;
    let mut nothing = Job::spec(scene, TestJob::Counter, &[]).await;
    nothing["upgradeMode"] = json!("Savepoint");
    for (name, spec) in [("bounded", bounded), ("nothing-kept", nothing)] {
        scene.job(name, spec).await.runs().await;
    }
    let starting = Job::spec(scene, TestJob::SleepingMain, &["--sleep-seconds", "20"]).await;
    let mut again = starting.clone();
    again["onUnknownResult"] = json!("Resubmit");
    scene.job("cut-off", starting).await;
    scene.job("cut-off-again", again).await;
    scene
        .eventually("both main methods are at work", async || {
            let mains = Job::ledger_at(scene).mains();
            let at_work = mains.iter().filter(|main| main.class == "SleepingMain").count();
            (at_work == 2).then_some(())
        })
        .await;
}

/// How often the main method of a job was called.
fn mains(job: &Job<'_>, scene: &Scene<'_>) -> usize {
    let mains = Job::ledger_at(scene).mains();
    let ids = mains
        .iter()
        .filter_map(|main| main.job_id.as_ref()?.parse::<JobId>().ok());
    ids.filter(|id| id.owner() == job.owner).count()
}

fn nonce() -> Value {
    json!({ "restartNonce": 1 })
}

#[tokio::test]
async fn a_streaming_job_goes_on_from_its_last_recorded_state_when_its_jobmanager_is_killed() {
    if skip_real("a_streaming_job_goes_on_from_its_last_recorded_state_when_its_jobmanager_is_killed") {
        return;
    }
    let scene = killed().await;
    let job = scene.existing("goes-on").await;
    let status = goes_on(&job, 2).await;
    assert!(began_with(&scene, &status).await >= COUNTED);
    assert_eq!(job.submissions().len(), 2, "one for each attempt");
    assert_eq!(status.runs[1].outcome, Some(RunOutcome::Lost));
    let from = status.state.unwrap().restored_from.unwrap();
    assert_eq!(from.kind, StateKind::Checkpoint);
    assert_eq!(Some(&from.path), status.runs[1].last_state.as_ref());
    assert_eq!(status.restarts.unwrap().total, 1);
    let told = scene.event("Normal Restarting FlinkSessionJob/goes-on").await;
    assert!(told.contains("the JobManager was replaced"), "{told}");
    scene.event("Normal Recovered FlinkSessionJob/goes-on").await;
    job.delete().await;
    job.gone().await;
}

/// The newest checkpoint of a Flink job in the store.
fn newest_checkpoint(scene: &Scene<'_>, id: JobId) -> PathBuf {
    let of_job = scene
        .flink
        .directory()
        .join(format!("{}-checkpoints/{id}", scene.namespace));
    let folders = fs::read_dir(of_job).unwrap().map(|entry| entry.unwrap().path());
    let complete = folders.filter(|folder| folder.join("_metadata").exists());
    let number = |folder: &PathBuf| -> u64 {
        let name = folder.file_name().unwrap().to_str().unwrap();
        name.strip_prefix("chk-").unwrap().parse().unwrap()
    };
    complete.max_by_key(number).unwrap()
}

#[tokio::test]
async fn a_lost_job_whose_recorded_checkpoint_was_replaced_never_starts_empty() {
    if skip_real("a_lost_job_whose_recorded_checkpoint_was_replaced_never_starts_empty") {
        return;
    }
    let scene = killed().await;
    let job = scene.existing("outdated").await;
    let status = job.reaches(Phase::Failed, Reason::StateNotFound, Kstatus::Failed).await;
    let told = &status.conditions[0].message;
    assert!(
        told.contains("num-retained") && told.contains("restore.nonce"),
        "{told}"
    );
    assert_eq!(job.states().await, ["absent", "FAILED"]);
    let path = newest_checkpoint(&scene, job.submissions()[0]);
    let restore = json!({ "from": "Named", "path": format!("file://{}", path.display()), "nonce": 1 });
    job.edit(json!({ "restore": restore })).await;
    let status = goes_on(&job, 3).await;
    assert!(began_with(&scene, &status).await >= COUNTED);
    job.delete().await;
    job.gone().await;
}

#[tokio::test]
async fn a_lost_job_with_on_lost_fail_stays_down_until_it_is_asked_to_go_on_from_its_state() {
    if skip_real("a_lost_job_with_on_lost_fail_stays_down_until_it_is_asked_to_go_on_from_its_state") {
        return;
    }
    let scene = killed().await;
    let job = scene.existing("left-alone").await;
    let lost = (Phase::Lost, Reason::JobLost, Kstatus::Failed);
    let status = job.reaches(lost.0, lost.1, lost.2).await;
    let told = &status.conditions[0].message;
    assert!(told.contains("restartNonce"), "{told}");
    scene.event("Warning JobLost FlinkSessionJob/left-alone").await;
    // An edit is not consent.
    job.edit(change()).await;
    let status = job.reaches(lost.0, lost.1, lost.2).await;
    assert_eq!(status.pending_change, Some(PendingChange::Restart));
    assert_eq!(job.submissions().len(), 1);
    job.edit(nonce()).await;
    let status = goes_on(&job, 2).await;
    assert!(began_with(&scene, &status).await >= COUNTED);
    assert_eq!(status.pending_change, Some(PendingChange::None));
    job.delete().await;
    job.gone().await;
}

#[tokio::test]
async fn a_bounded_job_that_was_lost_is_not_run_again_without_consent() {
    if skip_real("a_bounded_job_that_was_lost_is_not_run_again_without_consent") {
        return;
    }
    let scene = killed().await;
    let job = scene.existing("bounded").await;
    let status = job.reaches(Phase::Lost, Reason::JobLost, Kstatus::Failed).await;
    let told = &status.conditions[0].message;
    assert!(
        told.contains("Its result is not known") && told.contains("restartNonce"),
        "{told}"
    );
    // A Savepoint of it says as much, and does not wait.
    let spec = json!({ "jobRef": { "name": "bounded" } });
    let taken = scene.savepoint("of-bounded", spec).await;
    let abandoned = taken
        .reaches(SavepointPhase::Abandoned, Reason::JobLost, Kstatus::Failed)
        .await;
    assert!(message(&abandoned).contains("Lost"), "{}", message(&abandoned));
    assert_eq!((job.submissions().len(), mains(&job, &scene)), (1, 1));
    job.edit(nonce()).await;
    job.runs().await;
    assert_eq!((job.submissions().len(), mains(&job, &scene)), (2, 2));
    job.delete().await;
    job.gone().await;
}

#[tokio::test]
async fn a_lost_job_without_state_on_record_goes_on_from_the_savepoint_that_a_person_names() {
    if skip_real("a_lost_job_without_state_on_record_goes_on_from_the_savepoint_that_a_person_names") {
        return;
    }
    let scene = killed().await;
    let job = scene.existing("nothing-kept").await;
    let status = job.reaches(Phase::Lost, Reason::JobLost, Kstatus::Failed).await;
    let told = &status.conditions[0].message;
    assert!(
        told.contains("no state of it is on record") && told.contains("restore.nonce"),
        "{told}"
    );
    // One that was found in the store, say.
    let found = scene.existing_savepoint("left-alone").await.completes().await.path;
    let import = json!({ "jobRef": { "name": "nothing-kept" }, "existing": { "path": found } });
    scene.savepoint("found", import).await.completes().await;
    assert_eq!(job.submissions().len(), 1, "a Savepoint is no consent");
    job.edit(json!({ "restore": { "from": "Latest", "nonce": 1 } })).await;
    let status = goes_on(&job, 2).await;
    assert!(began_with(&scene, &status).await >= COUNTED);
    job.delete().await;
    job.gone().await;
}

#[tokio::test]
async fn a_start_that_a_dying_jobmanager_cut_off_is_not_repeated_without_consent() {
    if skip_real("a_start_that_a_dying_jobmanager_cut_off_is_not_repeated_without_consent") {
        return;
    }
    let scene = killed().await;
    let job = scene.existing("cut-off").await;
    let status = job.reaches(Phase::Failed, Reason::ResultUnknown, Kstatus::Failed).await;
    assert!(status.conditions[0].message.contains("restartNonce"), "{status:?}");
    assert_eq!(status.runs[0].outcome, Some(RunOutcome::Unknown));
    assert_eq!((job.submissions().len(), mains(&job, &scene)), (0, 1));
    job.edit(nonce()).await;
    job.runs().await;
    assert_eq!((job.submissions().len(), mains(&job, &scene)), (1, 2));
    job.delete().await;
    job.gone().await;
}

#[tokio::test]
async fn a_start_that_a_dying_jobmanager_cut_off_is_repeated_where_on_unknown_result_says_resubmit() {
    if skip_real("a_start_that_a_dying_jobmanager_cut_off_is_repeated_where_on_unknown_result_says_resubmit") {
        return;
    }
    let scene = killed().await;
    let job = scene.existing("cut-off-again").await;
    let status = job.runs().await;
    assert_eq!(status.runs[1].outcome, Some(RunOutcome::Unknown));
    assert_eq!((job.submissions().len(), mains(&job, &scene)), (1, 2));
    job.delete().await;
    job.gone().await;
}
