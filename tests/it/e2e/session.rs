//! Where a session's cluster is: behind a Service, a `FlinkDeployment` of Apache's operator, or TLS and a password.

use devcluster::{
    fake::{FakeFlink, FakeOptions, FakeTls},
    pki::Authority,
    skip_real,
};
use flink_job_operator::api::{
    FlinkSession, FlinkSessionStatus, Phase, Reason, condition::find, session::SessionPhase,
};
use k8s_openapi::{
    api::core::v1::{Secret, Service},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api,
    api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams},
    runtime::{conditions, wait::await_condition},
};
use serde_json::{Value, json};

use crate::harness::{Behind, Kstatus, Scene, rbac};

/// A value that must appear nowhere.
const CANARY: &str = "canary-93c07a11be";

/// Creates the session with this spec.
async fn session(scene: &Scene<'_>, spec: Value) {
    let object = json!({ "apiVersion": "flinkjobs.dev/v1alpha1", "kind": "FlinkSession",
                         "metadata": { "name": "demo" }, "spec": spec });
    let _: FlinkSession = scene.create(object).await;
}

/// The session's status, as soon as it is in this phase for this reason.
async fn reaches(scene: &Scene<'_>, phase: SessionPhase, reason: Reason) -> FlinkSessionStatus {
    let is = |session: &FlinkSession| {
        let Some(status) = &session.status else { return false };
        let ready = find(&status.conditions, flink_job_operator::api::ConditionType::Ready);
        status.phase == Some(phase) && ready.is_some_and(|ready| ready.reason == reason.as_str())
    };
    let what = format!("session {phase:?}, reason {reason}");
    scene.session_is(&what, is).await.status.unwrap()
}

fn message(status: &FlinkSessionStatus) -> &str {
    let ready = find(&status.conditions, flink_job_operator::api::ConditionType::Ready);
    &ready.unwrap().message
}

#[tokio::test]
async fn a_service_leads_to_the_cluster_when_it_selects_pods() {
    if skip_real("a_service_leads_to_the_cluster_when_it_selects_pods") {
        return;
    }
    let scene = Scene::bare("service").await;
    session(
        &scene,
        json!({ "endpoint": { "serviceRef": { "name": "jobmanager" } } }),
    )
    .await;
    let status = reaches(&scene, SessionPhase::Pending, Reason::ClusterNotFound).await;
    assert!(
        message(&status).contains("Service \"jobmanager\" does not exist"),
        "{status:?}"
    );
    let job = json!({ "upgradeMode": "Stateless", "job": { "jarURI": "https://repo.example/x.jar" } });
    let job = scene.job("orders", job).await;
    let told = job
        .reaches(Phase::Pending, Reason::ClusterNotFound, Kstatus::InProgress)
        .await;
    assert!(
        told.conditions[0].message.contains("jobmanager"),
        "{:?}",
        told.conditions
    );

    // It would send the operator wherever its author likes.
    let service = json!({ "metadata": { "name": "jobmanager" },
                          "spec": { "type": "ExternalName", "externalName": "metadata.example" } });
    let _: Service = scene.create(service).await;
    let status = reaches(&scene, SessionPhase::Failed, Reason::InvalidSpec).await;
    assert!(
        message(&status).contains("ExternalName") && status.url.is_none(),
        "{status:?}"
    );

    let spec = json!({ "type": "ClusterIP", "externalName": null, "selector": { "app": "flink" },
                       "ports": [{ "port": 8081 }] });
    let _: Service = scene.merge("jobmanager", json!({ "spec": spec })).await;
    // No DNS here: it is the right address, and nobody answers.
    let status = reaches(&scene, SessionPhase::Unreachable, Reason::ClusterUnreachable).await;
    let url = format!("http://jobmanager.{}.svc.cluster.local:8081", scene.namespace);
    assert_eq!(status.url.as_deref(), Some(url.as_str()));
    job.delete().await;
    job.gone().await;
    scene.end().await;
}

/// As much of Apache's CRD as this needs.
async fn flink_deployments(scene: &Scene<'_>) -> Api<DynamicObject> {
    let any = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    let crd = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": "flinkdeployments.flink.apache.org" },
        "spec": {
            "group": "flink.apache.org", "scope": "Namespaced",
            "names": { "kind": "FlinkDeployment", "plural": "flinkdeployments" },
            "versions": [{ "name": "v1beta1", "served": true, "storage": true,
                           "subresources": { "status": {} }, "schema": { "openAPIV3Schema": any } }],
        },
    });
    let crds: Api<CustomResourceDefinition> = Api::all(scene.admin.clone());
    let name = "flinkdeployments.flink.apache.org";
    rbac::apply(&crds, crd).await;
    await_condition(crds, name, conditions::is_crd_established())
        .await
        .unwrap();
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("flink.apache.org", "v1beta1", "FlinkDeployment"));
    Api::namespaced_with(scene.admin.clone(), &scene.namespace, &kind)
}

#[tokio::test]
async fn a_flink_deployment_leads_to_its_cluster_when_its_jobmanager_is_ready() {
    if skip_real("a_flink_deployment_leads_to_its_cluster_when_its_jobmanager_is_ready") {
        return;
    }
    let scene = Scene::bare("deployment").await;
    let deployments = flink_deployments(&scene).await;
    session(&scene, json!({ "flinkDeploymentRef": { "name": "shared" } })).await;
    let status = reaches(&scene, SessionPhase::Pending, Reason::ClusterNotFound).await;
    assert!(
        message(&status).contains("FlinkDeployment \"shared\" does not exist"),
        "{status:?}"
    );

    let object = json!({ "apiVersion": "flink.apache.org/v1beta1", "kind": "FlinkDeployment",
                         "metadata": { "name": "shared" }, "spec": { "flinkVersion": "v2_3" } });
    let object = serde_json::from_value(object).unwrap();
    deployments.create(&PostParams::default(), &object).await.unwrap();
    let status = reaches(&scene, SessionPhase::Pending, Reason::WaitingForCluster).await;
    assert!(message(&status).contains("not deployed yet"), "{status:?}");

    let ready = json!({ "status": { "jobManagerDeploymentStatus": "READY" } });
    let parameters = PatchParams::default();
    deployments
        .patch_status("shared", &parameters, &Patch::Merge(&ready))
        .await
        .unwrap();
    let status = reaches(&scene, SessionPhase::Unreachable, Reason::ClusterUnreachable).await;
    let url = format!("http://shared-rest.{}.svc.cluster.local:8081", scene.namespace);
    assert_eq!(status.url.as_deref(), Some(url.as_str()));

    // A cluster that runs one job of its own takes no others.
    let application = json!({ "spec": { "job": { "jarURI": "local:///opt/app.jar" } } });
    deployments
        .patch("shared", &parameters, &Patch::Merge(&application))
        .await
        .unwrap();
    let status = reaches(&scene, SessionPhase::Failed, Reason::InvalidSpec).await;
    assert!(message(&status).contains("application cluster"), "{status:?}");
    scene.end().await;
}

#[tokio::test]
async fn credentials_go_only_to_the_host_that_their_owner_allows() {
    if skip_real("credentials_go_only_to_the_host_that_their_owner_allows") {
        return;
    }
    let scene = Scene::bare("secured").await;
    let authority = Authority::new("ours").unwrap();
    let options = FakeOptions {
        tls: Some(FakeTls {
            identity: authority.server("flink", &[]).unwrap(),
            client_ca_pem: None,
        }),
        authorization: Some(format!("Bearer {CANARY}")),
        ..FakeOptions::default()
    };
    let fake = FakeFlink::start(options).await.unwrap();
    scene.gate.put(Behind::Server(fake.address().to_string()));
    let endpoint = json!({
        "url": scene.gate.secured_url(),
        "auth": { "bearerSecretRef": { "name": "token", "key": "value" } },
        "tls": { "caSecretRef": { "name": "authority" } },
    });
    session(&scene, json!({ "endpoint": endpoint })).await;
    let status = reaches(&scene, SessionPhase::Pending, Reason::Unauthorized).await;
    assert!(message(&status).contains("kubectl create role"), "{status:?}");
    rbac::grant_secrets(&scene.admin, &scene.namespace).await;
    reaches(&scene, SessionPhase::Pending, Reason::ReferenceNotFound).await;

    let secret =
        |name: &str, key: &str, value: &str| json!({ "metadata": { "name": name }, "stringData": { key: value } });
    let _: Secret = scene.create(secret("authority", "ca.crt", &authority.pem())).await;
    let _: Secret = scene.create(secret("token", "value", "wrong")).await;
    let asked = async |words: &str| {
        let has = |session: &FlinkSession| {
            session
                .status
                .as_ref()
                .is_some_and(|status| message(status).contains(words))
        };
        scene.session_is(words, has).await;
    };
    asked("kubectl label secret token").await;
    let label = json!({ "metadata": { "labels": { "flinkjobs.dev/usable-by": "sessions" } } });
    let _: Secret = scene.merge("token", label.clone()).await;
    let _: Secret = scene.merge("authority", label).await;
    asked("kubectl annotate secret token").await;
    assert_eq!(fake.total_requests(), 0, "nothing was sent so far");
    let allowed = json!({ "metadata": { "annotations": { "flinkjobs.dev/allowed-host": "127.0.0.1" } } });
    let _: Secret = scene.merge("token", allowed).await;
    let status = reaches(&scene, SessionPhase::Unreachable, Reason::Unauthorized).await;
    assert!(message(&status).contains("401"), "{status:?}");

    let corrected = json!({ "stringData": { "value": CANARY } });
    let _: Secret = scene.merge("token", corrected).await;
    reaches(&scene, SessionPhase::Ready, Reason::Ready).await;
    let spec = json!({ "upgradeMode": "Stateless", "job": { "entryClass": "org.example.Streaming" } });
    let job = scene.job("orders", spec).await;
    job.runs().await;
    assert_eq!(fake.submissions().len(), 1);
    let events = scene.events().await.join("\n");
    assert!(!events.contains(CANARY), "in an Event: {events}");
    assert!(!scene.operator.log().contains(CANARY), "in the log");
    let stored = serde_json::to_string(&scene.api::<FlinkSession>().get("demo").await.unwrap()).unwrap();
    assert!(!stored.contains(CANARY), "in the session: {stored}");
    job.delete().await;
    job.gone().await;
    assert_eq!(fake.submissions().len(), 1);
    scene.end().await;
}
