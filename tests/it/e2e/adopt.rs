//! `spec.adopt`: a job that runs already is taken over.

use devcluster::{jars::TestJob, skip_real};
use flink_job_operator::{
    api::{FlinkSession, Phase, Reason},
    flink::JobId,
};
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;

use crate::harness::{Job, Kstatus, Scene};

#[tokio::test]
async fn a_running_job_is_taken_over_and_a_missing_one_is_not_invented() {
    if skip_real("a_running_job_is_taken_over_and_a_missing_one_is_not_invented") {
        return;
    }
    let scene = Scene::new("adopt").await;
    let mut spec = Job::spec(&scene, TestJob::Counter, &[]).await;
    spec["deletionPolicy"] = json!({ "type": "Orphan" });
    let former = scene.job("former", spec.clone()).await;
    let id: JobId = former.runs().await.job_id.unwrap();
    former.delete().await;
    former.gone().await;

    spec["deletionPolicy"] = json!({ "type": "Cancel" });
    spec["adopt"] = json!({ "jobId": "00000000000000000000000000000001" });
    let absent = scene.job("absent", spec.clone()).await;
    absent
        .reaches(Phase::Failed, Reason::ReferenceNotFound, Kstatus::Failed)
        .await;
    assert!(absent.submissions().is_empty());

    spec["adopt"] = json!({ "jobId": id.to_string() });
    let heir = scene.job("heir", spec).await;
    let status = heir.runs().await;
    assert_eq!(status.job_id, Some(id));
    assert!(heir.submissions().is_empty());
    scene.event("Normal Adopted FlinkSessionJob/heir").await;

    // From now on it is a job like any other.
    heir.edit(json!({ "flinkConfiguration": { "pipeline.object-reuse": "true" } }))
        .await;
    heir.is("the second attempt runs", |job| {
        let status = job.status.as_ref().unwrap();
        status.phase == Some(Phase::Running) && status.attempt == Some(2)
    })
    .await;
    assert_eq!(scene.flink_state(id).await, "CANCELED");
    assert_eq!(heir.submissions().len(), 1);
    scene.end().await;
}

#[tokio::test]
async fn a_session_is_served_whoever_creates_it_again() {
    if skip_real("a_session_is_served_whoever_creates_it_again") {
        return;
    }
    let scene = Scene::new("again").await;
    let spec = Job::spec(&scene, TestJob::Counter, &[]).await;
    let job = scene.job("orders", spec).await;
    let id = job.runs().await.job_id;
    let sessions = scene.api::<FlinkSession>();
    let old = sessions.get("demo").await.unwrap();
    // By force: its finalizer would have waited for the job.
    sessions
        .delete("demo", &kube::api::DeleteParams::default())
        .await
        .unwrap();
    scene
        .eventually("the session is gone", async || {
            let session = sessions.get_opt("demo").await.unwrap();
            if session.is_some() {
                let none = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
                let _ = sessions.patch("demo", &PatchParams::default(), &none).await;
            }
            session.is_none().then_some(())
        })
        .await;
    job.reaches(Phase::Unknown, Reason::ClusterNotFound, Kstatus::InProgress)
        .await;
    let fresh = FlinkSession::new("demo", old.spec);
    sessions.create(&PostParams::default(), &fresh).await.unwrap();
    let status = job.runs().await;
    assert_eq!((status.job_id, job.submissions().len()), (id, 1));
    scene.end().await;
}
