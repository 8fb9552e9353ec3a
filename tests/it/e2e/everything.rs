//! A job, its session, its savepoints and their namespace are deleted at the same moment.

use devcluster::skip_real;
use flink_job_operator::{
    api::{FlinkSession, FlinkSessionJob, Savepoint},
    flink::JobId,
};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api,
    api::{DeleteParams, ListParams, PostParams},
};
use serde_json::json;

use super::kept::{counted, counting};
use crate::harness::{Behind, SESSION, Scene, taken::files};

/// What is deleted.
#[derive(Debug, Clone, Copy)]
enum What {
    Namespace,
    Job,
    Session,
    Savepoints,
}

/// As a person does, or the namespace's own end: nothing waits for anything.
async fn delete(scene: &Scene<'_>, what: What) {
    let now = DeleteParams::default();
    match what {
        What::Namespace => {
            let namespaces: Api<Namespace> = Api::all(scene.admin.clone());
            namespaces.delete(&scene.namespace, &now).await.unwrap();
        }
        What::Job => {
            let jobs: Api<FlinkSessionJob> = scene.api();
            jobs.delete("orders", &now).await.unwrap();
        }
        What::Session => {
            let sessions: Api<FlinkSession> = scene.api();
            sessions.delete(SESSION, &now).await.unwrap();
        }
        What::Savepoints => {
            let savepoints: Api<Savepoint> = scene.api();
            for name in ["kept", "disposed"] {
                savepoints.delete(name, &now).await.unwrap();
            }
        }
    }
}

async fn left<K>(api: Api<K>) -> usize
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    api.list(&ListParams::default()).await.unwrap().items.len()
}

/// Nothing of ours is left, and the namespace can go: its contents are what it would wait for.
async fn all_gone(scene: &Scene<'_>) {
    scene
        .eventually("everything is gone", async || {
            let left = [
                left(scene.api::<FlinkSessionJob>()).await,
                left(scene.api::<FlinkSession>()).await,
                left(scene.api::<Savepoint>()).await,
            ];
            (left == [0, 0, 0]).then_some(())
        })
        .await;
    let namespaces: Api<Namespace> = Api::all(scene.admin.clone());
    let mut namespace = namespaces.get(&scene.namespace).await.unwrap();
    if namespace.metadata.deletion_timestamp.is_some() {
        // What the controller manager does, which is not there.
        namespace.spec.get_or_insert_default().finalizers = None;
        let parameters = PostParams::default();
        let finalize = namespaces.replace_subresource("finalize", &scene.namespace, &parameters, &namespace);
        finalize.await.unwrap();
        assert_eq!(namespaces.get_opt(&scene.namespace).await.unwrap(), None);
    }
}

/// What people hear of a namespace: Events as long as it takes any, then the log.
async fn told(scene: &Scene<'_>, word: &str) -> Vec<String> {
    let mut told = scene.events().await;
    told.extend(scene.log());
    told.retain(|line| line.contains(word));
    told
}

/// A job that has counted, with a savepoint whose files stay and one whose files go with it. The job is cancelled, or stopped
/// with a savepoint.
async fn furnished(scene: &Scene<'_>, deletion: &str) -> (JobId, [std::path::PathBuf; 2]) {
    let mut spec = counting(scene, "Savepoint").await;
    spec["deletionPolicy"] = json!({ "type": deletion });
    let job = scene.job("orders", spec).await;
    let first = job.runs().await;
    counted(scene, &first, 2).await;
    let of_job = json!({ "jobRef": { "name": "orders" } });
    let kept = scene.savepoint("kept", of_job.clone()).await.completes().await;
    let mut disposed = of_job;
    disposed["deletionPolicy"] = json!("Dispose");
    let disposed = scene.savepoint("disposed", disposed).await.completes().await;
    (first.job_id.unwrap(), [files(&kept), files(&disposed)])
}

async fn in_this_order(name: &str, order: [What; 3], namespace: Option<usize>) {
    let scene = Scene::new(name).await;
    let (id, [kept, disposed]) = furnished(&scene, "Cancel").await;
    let mut order = order.to_vec();
    if let Some(at) = namespace {
        order.insert(at, What::Namespace);
    }
    for what in order {
        delete(&scene, what).await;
    }
    all_gone(&scene).await;
    assert_eq!(scene.flink_state(id).await, "CANCELED", "{name}");
    assert!(kept.join("_metadata").exists(), "{name}");
    assert!(!disposed.exists(), "{name}: its files go with it");
    let wrong = told(&scene, "JobMayStillRun").await;
    assert!(wrong.is_empty(), "{name}: {wrong:?}");
    scene.end().await;
}

#[tokio::test]
async fn a_job_its_session_and_its_savepoints_that_are_deleted_at_once_go_in_any_order() {
    if skip_real("a_job_its_session_and_its_savepoints_that_are_deleted_at_once_go_in_any_order") {
        return;
    }
    tokio::join!(
        in_this_order("job-first", [What::Job, What::Session, What::Savepoints], None),
        in_this_order("savepoints-first", [What::Savepoints, What::Session, What::Job], None),
        in_this_order("session-first", [What::Session, What::Job, What::Savepoints], None),
    );
}

#[tokio::test]
async fn a_namespace_that_is_deleted_with_everything_in_it_ends_in_any_order() {
    if skip_real("a_namespace_that_is_deleted_with_everything_in_it_ends_in_any_order") {
        return;
    }
    tokio::join!(
        in_this_order("ns-first", [What::Session, What::Savepoints, What::Job], Some(0)),
        in_this_order("ns-last", [What::Savepoints, What::Job, What::Session], Some(3)),
    );
}

#[tokio::test]
async fn the_last_savepoint_of_a_job_whose_namespace_is_deleted_is_named_in_the_log() {
    if skip_real("the_last_savepoint_of_a_job_whose_namespace_is_deleted_is_named_in_the_log") {
        return;
    }
    let scene = Scene::new("last-words").await;
    let (id, _) = furnished(&scene, "Savepoint").await;
    for what in [What::Namespace, What::Savepoints, What::Job, What::Session] {
        delete(&scene, what).await;
    }
    all_gone(&scene).await;
    assert_eq!(scene.flink_state(id).await, "FINISHED");
    let directory = format!("{}-savepoints/{}/orders/{id}-", scene.namespace, scene.namespace);
    let line = scene
        .eventually("the log names it", async || told(&scene, &directory).await.pop())
        .await;
    let (_, after) = line.split_once("file:").unwrap();
    let path = after.split([' ', ';', '"']).next().unwrap();
    let path = path.replacen("//", "/", usize::from(path.starts_with("//")));
    assert!(std::path::Path::new(&path).join("_metadata").exists(), "{line}");
    scene.end().await;
}

#[tokio::test]
async fn a_namespace_that_is_deleted_while_its_cluster_is_away_ends_and_says_what_may_still_run() {
    if skip_real("a_namespace_that_is_deleted_while_its_cluster_is_away_ends_and_says_what_may_still_run") {
        return;
    }
    let scene = Scene::new("away").await;
    let mut spec = counting(&scene, "Savepoint").await;
    spec["deletionPolicy"] = json!({ "type": "Savepoint", "timeout": "4s" });
    let job = scene.job("orders", spec).await;
    let id = job.runs().await.job_id.unwrap();
    scene.gate.put(Behind::Nothing);
    for what in [What::Namespace, What::Job, What::Session] {
        delete(&scene, what).await;
    }
    all_gone(&scene).await;
    assert_eq!(scene.flink_state(id).await, "RUNNING");
    let line = scene
        .eventually("the log says so", async || told(&scene, "JobMayStillRun").await.pop())
        .await;
    assert!(line.contains(&id.to_string()), "{line}");
    scene.cancel_in_ui(id).await;
    scene.end().await;
}
