//! Savepoints that are taken on request: of jobs that run, of jobs that do not, and those that fail.

use devcluster::{
    FlinkVersion,
    jars::{self, STATE_MACHINE, TestJob},
    skip_real,
};
use flink_job_operator::{
    api::{Phase, Reason, SavepointPhase, savepoint_status::SavepointOrigin},
    flink::TriggerId,
};
use serde_json::json;

use super::kept::{checkpointed, counted, counting, goes_on, savepoints, without_checkpoints};
use crate::harness::{
    Job, Kstatus, Scene, jar_host,
    taken::{files, message},
};

#[tokio::test]
async fn a_savepoint_is_taken_of_a_job_that_runs_on() {
    if skip_real("a_savepoint_is_taken_of_a_job_that_runs_on") {
        return;
    }
    let scene = Scene::new("savepoint").await;
    // A checkpoint would be newer, and what the job needs.
    let spec = without_checkpoints(&scene, "Stateless").await;
    let job = scene.job("orders", spec).await;
    let first = job.runs().await;
    counted(&scene, &first, 1).await;
    let taken = scene.savepoint("one", json!({ "jobRef": { "name": "orders" } })).await;
    let status = taken.completes().await;
    let directory = savepoints(&scene).join(&scene.namespace).join("orders").join(format!(
        "{}-{}",
        taken.uid,
        status.attempt.unwrap()
    ));
    assert!(files(&status).starts_with(&directory), "{status:?}");
    assert!(files(&status).join("_metadata").exists(), "{status:?}");
    assert_eq!(
        (status.job_id, status.origin),
        (first.job_id, Some(SavepointOrigin::User))
    );
    let attempt = u32::try_from(status.attempt.unwrap()).unwrap();
    assert_eq!(status.trigger_id, Some(TriggerId::new(&taken.uid, attempt)));
    assert_eq!(status.id.as_deref().map(str::len), Some(20));
    assert!(status.start_time.unwrap() <= status.completion_time.unwrap());
    taken
        .is(
            "its size is told, its job needs it, and its deletion has nothing to do",
            |savepoint| {
                let status = savepoint.status.as_ref().unwrap();
                status.size_bytes.is_some_and(|size| size > 0)
                    && status.used_by == ["FlinkSessionJob/orders"]
                    && savepoint.metadata.finalizers.is_none()
            },
        )
        .await;
    scene.event("Normal InProgress Savepoint/one").await;
    scene.event("Normal Completed Savepoint/one").await;
    assert_eq!(job.states().await, ["RUNNING"]);
    // What is retained stays when its resource goes.
    taken.delete().await;
    taken.gone().await;
    assert!(files(&status).join("_metadata").exists());
    let took = "flinkjobs_savepoint_duration_seconds_count{origin=\"User\",outcome=\"Completed\"}";
    assert!(scene.operator.metric(took).await >= 1.0);
    scene.end().await;
}

#[tokio::test]
async fn two_savepoints_of_one_job_are_taken_one_after_the_other() {
    if skip_real("two_savepoints_of_one_job_are_taken_one_after_the_other") {
        return;
    }
    let scene = Scene::new("savepoints").await;
    let job = scene.job("orders", counting(&scene, "Stateless").await).await;
    let spec = || json!({ "jobRef": { "name": "orders" } });
    // Both are there before the job.
    let (one, two) = (
        scene.savepoint("one", spec()).await,
        scene.savepoint("two", spec()).await,
    );
    job.runs().await;
    let (first, second) = (one.completes().await, two.completes().await);
    assert_ne!(first.path, second.path);
    let (a, b) = (
        (first.start_time, first.completion_time),
        (second.start_time, second.completion_time),
    );
    assert!(a.1 <= b.0 || b.1 <= a.0, "{a:?} {b:?}");
    assert!(files(&first).join("_metadata").exists() && files(&second).join("_metadata").exists());
    scene.end().await;
}

#[tokio::test]
async fn a_directory_that_cannot_be_written_to_fails_the_savepoint_and_not_the_job() {
    if skip_real("a_directory_that_cannot_be_written_to_fails_the_savepoint_and_not_the_job") {
        return;
    }
    let scene = Scene::new("bad-directory").await;
    let job = scene.job("orders", counting(&scene, "Stateless").await).await;
    job.runs().await;
    let trigger = json!({ "directory": "file:///proc/nope", "backoffLimit": 1 });
    let taken = scene
        .savepoint("one", json!({ "jobRef": { "name": "orders" }, "trigger": trigger }))
        .await;
    let status = taken
        .reaches(SavepointPhase::Pending, Reason::SavepointFailed, Kstatus::InProgress)
        .await;
    assert!(message(&status).starts_with("tried again at "), "{}", message(&status));
    let status = taken
        .reaches(SavepointPhase::Failed, Reason::SavepointFailed, Kstatus::Failed)
        .await;
    assert!(message(&status).contains("/proc/nope"), "{}", message(&status));
    assert!(
        message(&status).contains("can write to the directory"),
        "{}",
        message(&status)
    );
    assert_eq!((status.failures, status.intent), (Some(2), None));
    assert!(status.failure.unwrap().root_cause.is_some());
    scene.event("Warning SavepointFailed Savepoint/one").await;
    assert_eq!(job.submissions().len(), 1);
    taken.delete().await;
    taken.gone().await;
    scene.end().await;
}

#[tokio::test]
async fn a_job_that_does_not_run_is_waited_for_or_not() {
    if skip_real("a_job_that_does_not_run_is_waited_for_or_not") {
        return;
    }
    let scene = Scene::new("not-running").await;
    let of = |job: &str| json!({ "jobRef": { "name": job } });
    // It does not exist; a job of one `apply` may still come.
    let gone = scene.savepoint("of-nothing", of("nothing")).await;
    gone.reaches(SavepointPhase::Pending, Reason::ReferenceNotFound, Kstatus::InProgress)
        .await;
    // A draft, and one that has finished.
    let mut draft = counting(&scene, "Stateless").await;
    draft["state"] = json!("Draft");
    let draft = scene.job("draft", draft).await;
    draft.reaches(Phase::Draft, Reason::Draft, Kstatus::Current).await;
    let of_draft = scene.savepoint("of-draft", of("draft")).await;
    let status = of_draft
        .reaches(SavepointPhase::Abandoned, Reason::Draft, Kstatus::Failed)
        .await;
    assert!(
        message(&status).contains("create the Savepoint again"),
        "{}",
        message(&status)
    );
    let bounded = Job::spec(&scene, TestJob::Bounded, &[]).await;
    let finished = scene.job("finished", bounded).await;
    finished
        .reaches(Phase::Finished, Reason::Finished, Kstatus::Current)
        .await;
    let of_finished = scene.savepoint("of-finished", of("finished")).await;
    of_finished
        .reaches(SavepointPhase::Abandoned, Reason::Finished, Kstatus::Failed)
        .await;
    // One whose jar is not there yet: it may still come.
    let mut waiting = counting(&scene, "Stateless").await;
    let jar = waiting["job"]["jarURI"].clone();
    waiting["job"]["jarURI"] = json!(format!(
        "{}/absent.jar",
        jar.as_str().unwrap().rsplit_once('/').unwrap().0
    ));
    let waiting = scene.job("waiting", waiting).await;
    let timeout = json!({ "jobRef": { "name": "waiting" }, "trigger": { "timeout": "5m" } });
    let of_waiting = scene.savepoint("of-waiting", timeout).await;
    waiting
        .is("says that there is no jar", |job| {
            job.status.as_ref().is_some_and(|status| status.phase.is_some())
        })
        .await;
    waiting.edit(json!({ "job": { "jarURI": jar } })).await;
    waiting.runs().await;
    let status = of_waiting.is("comes to an end", |savepoint| {
        let phase = savepoint.status.as_ref().and_then(|status| status.phase);
        matches!(phase, Some(SavepointPhase::Completed | SavepointPhase::Abandoned))
    });
    status.await;
    gone.reaches(SavepointPhase::Abandoned, Reason::ReferenceNotFound, Kstatus::Failed)
        .await;
    scene.end().await;
}

// 2.3.0's own example cannot write the canonical format: the attempt fails a task, and the job restarts.
#[tokio::test]
async fn a_format_that_the_job_cannot_write_is_not_tried_twice() {
    if skip_real("a_format_that_the_job_cannot_write_is_not_tried_twice") {
        return;
    }
    let scene = Scene::new("canonical").await;
    let mut spec = counting(&scene, "Stateless").await;
    spec["job"]["jarURI"] = json!(state_machine().await);
    spec["job"]["entryClass"] = json!(STATE_MACHINE);
    // Without checkpoints Flink restarts nothing by itself.
    spec["flinkConfiguration"]["execution.checkpointing.interval"] = json!("1s");
    spec["job"]["args"] = json!([]);
    let job = scene.job("orders", spec).await;
    job.runs().await;
    let of = |format: &str| json!({ "jobRef": { "name": "orders" }, "trigger": { "format": format } });
    let taken = scene.savepoint("canonical", of("Canonical")).await;
    let status = taken
        .reaches(SavepointPhase::Failed, Reason::SavepointFailed, Kstatus::Failed)
        .await;
    assert_eq!(status.failures, Some(1), "{status:?}");
    assert!(message(&status).contains("format: Native"), "{}", message(&status));
    let native = scene.savepoint("native", of("Native")).await;
    native.completes().await;
    assert_eq!(job.submissions().len(), 1);
    scene.end().await;
}

/// The address of the example, as it comes with Flink.
pub(super) async fn state_machine() -> String {
    let jar = jars::example(FlinkVersion::V2_3).await.unwrap();
    jar_host().serve_file("/state-machine.jar", &jar).unwrap();
    jar_host().url("/state-machine.jar")
}

#[tokio::test]
async fn a_job_starts_from_a_savepoint_by_its_name_as_soon_as_that_is_there() {
    if skip_real("a_job_starts_from_a_savepoint_by_its_name_as_soon_as_that_is_there") {
        return;
    }
    let scene = Scene::new("by-name").await;
    let job = scene.job("orders", counting(&scene, "Stateless").await).await;
    let first = job.runs().await;
    checkpointed(&scene, &first, 2).await;
    // Two jobs: one names a Savepoint that is not there yet, one takes its newest, of which there is none.
    let mut spec = counting(&scene, "Stateless").await;
    spec["restore"] = json!({ "from": "Named", "savepointRef": { "name": "one" } });
    let named = scene.job("named", spec).await;
    named
        .reaches(Phase::Pending, Reason::ReferenceNotFound, Kstatus::InProgress)
        .await;
    let mut spec = counting(&scene, "Stateless").await;
    spec["restore"] = json!({ "from": "Latest" });
    let latest = scene.job("latest", spec).await;
    let status = latest
        .reaches(Phase::Failed, Reason::StateNotFound, Kstatus::Failed)
        .await;
    assert!(
        status.conditions[0]
            .message
            .contains("no completed Savepoint names this job"),
        "{status:?}"
    );

    let taken = scene.savepoint("one", json!({ "jobRef": { "name": "orders" } })).await;
    let path = taken.completes().await.path.unwrap();
    let status = goes_on(&named, 1).await;
    let from = status.state.unwrap().restored_from.unwrap();
    assert_eq!(
        (from.path.as_ref(), from.savepoint_ref.unwrap().name.as_str()),
        (path.as_str(), "one")
    );
    // It registers the same state as its own.
    let import = json!({ "jobRef": { "name": "latest" }, "existing": { "path": path } });
    scene.savepoint("import", import).await.completes().await;
    let status = goes_on(&latest, 1).await;
    assert_eq!(status.state.unwrap().restored_from.unwrap().path, path);
    assert_eq!((named.submissions().len(), latest.submissions().len()), (1, 1));
    // The newest state of the job that it was taken of.
    job.is("its ledger has the savepoint, or a checkpoint after it", |job| {
        let state = job.status.as_ref().unwrap().state.as_ref();
        state.is_some_and(|state| state.latest.is_some())
    })
    .await;
    scene.end().await;
}

// A stop would break it off, and with it the state that somebody asked for.
#[tokio::test]
async fn an_upgrade_waits_for_a_savepoint_that_is_being_taken() {
    if skip_real("an_upgrade_waits_for_a_savepoint_that_is_being_taken") {
        return;
    }
    let scene = Scene::new("taken-first").await;
    let job = scene.job("orders", counting(&scene, "Savepoint").await).await;
    let first = job.runs().await;
    checkpointed(&scene, &first, 1).await;
    let taken = scene.savepoint("one", json!({ "jobRef": { "name": "orders" } })).await;
    job.edit(json!({ "flinkConfiguration": { "pipeline.object-reuse": "true" } }))
        .await;
    let status = goes_on(&job, 2).await;
    // Whichever came first: both savepoints are whole, or the one that was asked for is taken of the next attempt.
    let savepoint = taken.completes().await;
    assert!(files(&savepoint).join("_metadata").exists());
    let from = status.state.unwrap().restored_from.unwrap();
    assert_ne!(savepoint.path.as_deref(), Some(from.path.as_str()));
    assert_eq!(job.states().await, ["FINISHED", "RUNNING"]);
    scene.end().await;
}
