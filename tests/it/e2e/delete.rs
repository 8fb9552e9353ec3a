//! The deletion of jobs and sessions.

use devcluster::{jars::TestJob, skip_real};
use flink_job_operator::api::{ConditionType, FlinkSession, Phase, Reason, condition::find};
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use crate::harness::{Job, Kstatus, Scene};

#[tokio::test]
async fn deletion_cancels_the_job_first() {
    if skip_real("deletion_cancels_the_job_first") {
        return;
    }
    let scene = Scene::new("delete").await;
    let spec = Job::spec(&scene, TestJob::Counter, &[]).await;
    let job = scene.job("orders", spec).await;
    job.runs().await;
    job.delete().await;
    job.gone().await;
    assert_eq!(job.states().await, ["CANCELED"]);
    scene.end().await;
}

#[tokio::test]
async fn an_orphan_runs_on_and_is_recorded_in_its_session() {
    if skip_real("an_orphan_runs_on_and_is_recorded_in_its_session") {
        return;
    }
    let scene = Scene::new("orphan").await;
    let mut spec = Job::spec(&scene, TestJob::Counter, &[]).await;
    spec["deletionPolicy"] = json!({ "type": "Orphan" });
    let job = scene.job("orders", spec).await;
    let id = job.runs().await.job_id.unwrap();
    job.delete().await;
    job.gone().await;
    assert_eq!(scene.flink_state(id).await, "RUNNING");
    let session: FlinkSession = scene.api().get("demo").await.unwrap();
    let released = session.status.unwrap().released;
    assert_eq!((released.len(), released[0].job_id), (1, id));
    assert_eq!(released[0].name, "orders");

    // What has ended needs no protection any more.
    scene.cancel_in_ui(id).await;
    scene
        .session_is("the released job is forgotten after its end", |session| {
            session.status.as_ref().is_some_and(|status| status.released.is_empty())
        })
        .await;
    scene.end().await;
}

#[tokio::test]
async fn jobs_that_run_nothing_go_at_once() {
    if skip_real("jobs_that_run_nothing_go_at_once") {
        return;
    }
    let scene = Scene::new("nothing").await;
    let mut spec = Job::spec(&scene, TestJob::Counter, &[]).await;
    spec["state"] = json!("Draft");
    let draft = scene.job("draft", spec).await;
    let finished = Job::spec(&scene, TestJob::Bounded, &[]).await;
    let finished = scene.job("finished", finished).await;
    draft.reaches(Phase::Draft, Reason::Draft, Kstatus::Current).await;
    finished
        .reaches(Phase::Finished, Reason::Finished, Kstatus::Current)
        .await;
    // Not even a cluster is needed for that.
    scene.gate.put(crate::harness::Behind::Nothing);
    draft.delete().await;
    finished.delete().await;
    tokio::join!(draft.gone(), finished.gone());
    assert!(draft.submissions().is_empty());
    assert_eq!(finished.states().await, ["FINISHED"]);
    scene.end().await;
}

#[tokio::test]
async fn a_job_whose_session_is_gone_is_released_with_a_warning() {
    if skip_real("a_job_whose_session_is_gone_is_released_with_a_warning") {
        return;
    }
    let scene = Scene::new("gone").await;
    let spec = Job::spec(&scene, TestJob::Counter, &[]).await;
    let job = scene.job("orders", spec).await;
    let id = job.runs().await.job_id.unwrap();
    // Somebody removes the session by force.
    let sessions = scene.api::<FlinkSession>();
    sessions.delete("demo", &DeleteParams::default()).await.unwrap();
    scene
        .eventually("the session is gone", async || {
            let Some(session) = sessions.get_opt("demo").await.unwrap() else {
                return Some(());
            };
            if !session.metadata.finalizers.unwrap_or_default().is_empty() {
                let none = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
                let _ = sessions.patch("demo", &PatchParams::default(), &none).await;
            }
            None
        })
        .await;
    job.reaches(Phase::Unknown, Reason::ClusterNotFound, Kstatus::InProgress)
        .await;
    job.delete().await;
    job.gone().await;
    let event = scene.event("Warning JobMayStillRun FlinkSessionJob/orders").await;
    assert!(event.contains(&id.to_string()), "{event}");
    assert_eq!(scene.flink_state(id).await, "RUNNING");
    scene.cancel_in_ui(id).await;
    scene.end().await;
}

#[tokio::test]
async fn a_session_stays_until_its_jobs_have_ended() {
    if skip_real("a_session_stays_until_its_jobs_have_ended") {
        return;
    }
    let scene = Scene::new("session").await;
    let spec = Job::spec(&scene, TestJob::Counter, &[]).await;
    let job = scene.job("orders", spec.clone()).await;
    job.runs().await;
    scene
        .api::<FlinkSession>()
        .delete("demo", &DeleteParams::default())
        .await
        .unwrap();
    scene
        .session_is("it says for whom it waits", |session| {
            let conditions = session.status.as_ref().map(|status| status.conditions.as_slice());
            let ready = find(conditions.unwrap_or_default(), ConditionType::Ready);
            ready.is_some_and(|ready| ready.reason == "DeletionBlocked" && ready.message.contains("orders"))
        })
        .await;
    // It serves its jobs, and takes no new ones.
    assert_eq!(job.states().await, ["RUNNING"]);
    let late = scene.job("late", spec).await;
    late.reaches(Phase::Pending, Reason::WaitingForCluster, Kstatus::InProgress)
        .await;
    assert!(late.submissions().is_empty());
    job.delete().await;
    job.gone().await;
    assert_eq!(job.states().await, ["CANCELED"]);
    let sessions = scene.api::<FlinkSession>();
    scene
        .eventually("the session is gone", async || {
            sessions.get_opt("demo").await.unwrap().is_none().then_some(())
        })
        .await;
    late.reaches(Phase::Pending, Reason::ClusterNotFound, Kstatus::InProgress)
        .await;
    scene.end().await;
}
