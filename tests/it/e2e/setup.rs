//! Flink clusters that are set up in other ways: classes of their own, no web submission, high availability, the older
//! version.

use std::{
    fs,
    path::{Path, PathBuf},
};

use devcluster::{
    Flink, FlinkOptions, FlinkVersion,
    fake::{FakeFlink, FakeOptions},
    jars::{self, TestJob},
    skip_real,
};
use flink_job_operator::api::{FlinkSession, Phase, Reason};
use k8s_openapi::api::{
    core::v1::{Namespace, ServiceAccount},
    rbac::v1::{Role, RoleBinding},
};
use kube::{Api, api::PostParams};
use serde_json::{Value, json};

use super::kept::{checkpointed, counted, counting, restored};
use crate::harness::{Job, Kstatus, Scene, jar_host, operator, plane, rbac};

fn keys(keys: &[(&str, &str)]) -> Vec<(String, String)> {
    keys.iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

#[tokio::test]
async fn a_job_whose_class_is_on_the_cluster_needs_no_jar() {
    if skip_real("a_job_whose_class_is_on_the_cluster_needs_no_jar") {
        return;
    }
    let options = FlinkOptions {
        slots: 2,
        libraries: vec![jars::test_jobs(FlinkVersion::V2_3).await.unwrap()],
        ..FlinkOptions::default()
    };
    let flink = Flink::start(options).await.unwrap();
    let scene = Scene::on("jarless", plane().await, operator().await, &flink).await;
    scene.session().await;
    let mut spec = Job::spec(&scene, TestJob::Counter, &[]).await;
    spec["job"].as_object_mut().unwrap().remove("jarURI");
    let job = scene.job("orders", spec).await;
    let first = job.runs().await;
    job.edit(json!({ "restartNonce": 1 })).await;
    let again = job.is("runs again", |job| {
        let status = job.status.as_ref().unwrap();
        status.phase == Some(Phase::Running) && status.job_id != first.job_id
    });
    again.await;
    assert_eq!(job.submissions().len(), 2);
    let jars = scene.flink_get("/jars").await;
    assert_eq!(
        jars["files"].as_array().map(Vec::len),
        Some(1),
        "one stub for all: {jars}"
    );
    job.delete().await;
    job.gone().await;
    scene.end().await;
}

#[tokio::test]
async fn a_real_cluster_that_takes_no_jars_is_named() {
    if skip_real("a_real_cluster_that_takes_no_jars_is_named") {
        return;
    }
    let options = FlinkOptions {
        task_managers: 0,
        configuration: keys(&[("web.submit.enable", "false")]),
        ..FlinkOptions::default()
    };
    let flink = Flink::start(options).await.unwrap();
    let scene = Scene::on("closed", plane().await, operator().await, &flink).await;
    scene.session().await;
    let spec = Job::spec(&scene, TestJob::Counter, &[]).await;
    let job = scene.job("orders", spec).await;
    let status = job
        .reaches(Phase::Failed, Reason::SubmissionDisabled, Kstatus::Failed)
        .await;
    assert!(status.conditions[0].message.contains("web.submit.enable"), "{status:?}");
    let session = scene
        .session_is("the session says so too", |session| {
            session
                .status
                .as_ref()
                .is_some_and(|status| status.submission_enabled == Some(false))
        })
        .await;
    assert_eq!(session.status.unwrap().flink_version.as_deref(), Some("2.3.0"));
    job.delete().await;
    job.gone().await;
    scene.end().await;
}

#[tokio::test]
async fn the_older_version_runs_replaces_and_ends_jobs() {
    if skip_real("the_older_version_runs_replaces_and_ends_jobs") {
        return;
    }
    let flink = Flink::start(FlinkOptions {
        version: FlinkVersion::V1_20,
        slots: 2,
        ..FlinkOptions::default()
    });
    let flink = flink.await.unwrap();
    let scene = Scene::on("older", plane().await, operator().await, &flink).await;
    scene.session().await;
    let jar = jars::test_jobs(FlinkVersion::V1_20).await.unwrap();
    let mut spec = Job::spec(&scene, TestJob::Counter, &[]).await;
    jar_host().serve_file("/test-jobs-1.20.jar", &jar).unwrap();
    spec["job"]["jarURI"] = json!(jar_host().url("/test-jobs-1.20.jar"));
    let job = scene.job("orders", spec).await;
    let first = job.runs().await;
    job.edit(json!({ "restartNonce": 1 })).await;
    job.is("runs again", |job| {
        let status = job.status.as_ref().unwrap();
        status.phase == Some(Phase::Running) && status.job_id != first.job_id
    })
    .await;
    assert_eq!(job.submissions().len(), 2);
    assert_eq!(scene.flink_state(first.job_id.unwrap()).await, "CANCELED");
    job.delete().await;
    job.gone().await;
    scene.end().await;
}

/// What a JobManager needs that keeps its jobs in ConfigMaps of the API server: an identity that may write them, in a
/// kubeconfig.
async fn kubernetes_access(namespace: &str, folder: &Path) -> PathBuf {
    let admin = plane().await.client().await.unwrap();
    let (rbac_v1, name) = ("rbac.authorization.k8s.io/v1", json!({ "name": "flink" }));
    let object = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace } });
    rbac::apply(&Api::<Namespace>::all(admin.clone()), object).await;
    let accounts = Api::<ServiceAccount>::namespaced(admin.clone(), namespace);
    let account = json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": name });
    rbac::apply(&accounts, account).await;
    let rules = json!([{ "apiGroups": [""], "resources": ["configmaps"], "verbs": ["*"] }]);
    let role = json!({ "apiVersion": rbac_v1, "kind": "Role", "metadata": name, "rules": rules });
    rbac::apply(&Api::<Role>::namespaced(admin.clone(), namespace), role).await;
    let binding = json!({
        "apiVersion": rbac_v1, "kind": "RoleBinding", "metadata": name,
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "flink" },
        "subjects": [{ "kind": "ServiceAccount", "name": "flink", "namespace": namespace }],
    });
    rbac::apply(&Api::<RoleBinding>::namespaced(admin, namespace), binding).await;

    let request = serde_json::from_value(json!({ "spec": { "audiences": [], "expirationSeconds": 3600 } })).unwrap();
    let token = accounts
        .create_token_request("flink", &PostParams::default(), &request)
        .await
        .unwrap();
    let server: Value = serde_json::from_slice(&fs::read(plane().await.kubeconfig()).unwrap()).unwrap();
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "flink",
        "clusters": [{ "name": "flink", "cluster": server["clusters"][0]["cluster"] }],
        "users": [{ "name": "flink", "user": { "token": token.status.unwrap().token } }],
        "contexts": [{ "name": "flink", "context": { "cluster": "flink", "user": "flink", "namespace": namespace } }],
    });
    let path = folder.join("kubeconfig");
    fs::write(&path, kubeconfig.to_string()).unwrap();
    path
}

#[tokio::test]
async fn a_job_goes_on_from_its_checkpoint_when_a_jobmanager_with_high_availability_is_killed() {
    if skip_real("a_job_goes_on_from_its_checkpoint_when_a_jobmanager_with_high_availability_is_killed") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = kubernetes_access("flink-ha", folder.path()).await;
    let storage = format!("file://{}", folder.path().join("ha").display());
    let options = FlinkOptions {
        slots: 2,
        configuration: keys(&[
            ("high-availability.type", "kubernetes"),
            ("high-availability.storageDir", &storage),
            ("kubernetes.cluster-id", "recovering"),
            ("kubernetes.namespace", "flink-ha"),
            ("kubernetes.config.file", kubeconfig.to_str().unwrap()),
        ]),
        ..FlinkOptions::default()
    };
    let flink = Flink::start(options).await.unwrap();
    let scene = Scene::on("recovery", plane().await, operator().await, &flink).await;
    scene.session().await;
    let spec = counting(&scene, "Stateless").await;
    let job = scene.job("orders", spec).await;
    let first = job.runs().await;
    checkpointed(&scene, &first, 2).await;
    counted(&scene, &first, 5).await;

    flink.kill_jobmanager().unwrap();
    job.reaches(Phase::Unknown, Reason::ClusterUnreachable, Kstatus::InProgress)
        .await;
    flink.restart_jobmanager().await.unwrap();
    let recovered = job.runs().await;
    assert_eq!((recovered.job_id, recovered.attempt), (first.job_id, Some(1)));
    let counts = restored(&scene, 2).await;
    assert!(counts[0] == 0 && counts[1] > 0, "{counts:?}");
    assert_eq!(recovered.runs.len(), 1);
    assert_eq!(
        scene
            .log()
            .iter()
            .filter(|line| line.contains("submitted a job"))
            .count(),
        1
    );

    // The jar that was uploaded to the process before is gone; this one is asked for its own.
    job.edit(json!({ "restartNonce": 1 })).await;
    job.is("runs again", |job| {
        let status = job.status.as_ref().unwrap();
        status.phase == Some(Phase::Running) && status.job_id != first.job_id
    })
    .await;
    assert_eq!(scene.flink_state(first.job_id.unwrap()).await, "CANCELED");
    job.delete().await;
    job.gone().await;
    scene.end().await;
}

#[tokio::test]
async fn a_version_never_heard_of_holds_up_no_deletion() {
    if skip_real("a_version_never_heard_of_holds_up_no_deletion") {
        return;
    }
    let scene = Scene::bare("version").await;
    for (name, version) in [("older", "1.9.3"), ("newer", "9.0-SNAPSHOT")] {
        let options = FakeOptions {
            version: version.to_owned(),
            ..FakeOptions::default()
        };
        let fake = FakeFlink::start(options).await.unwrap();
        scene.gate.lead_to(&fake.url());
        if name == "older" {
            scene.session().await;
        }
        let spec = json!({ "upgradeMode": "Stateless", "job": { "entryClass": "org.example.Streaming" } });
        let job = scene.job(name, spec).await;
        job.runs().await;
        let known = |session: &FlinkSession| {
            session
                .status
                .as_ref()
                .and_then(|status| status.flink_version.as_deref())
                == Some(version)
        };
        scene.session_is("its version is told", known).await;
        job.delete().await;
        job.gone().await;
        assert_eq!((fake.submissions().len(), fake.most_live_of(job.owner)), (1, 1));
    }
    scene.end().await;
}
