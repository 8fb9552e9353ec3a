use std::time::Duration;

use devcluster::{ControlPlane, control_plane::connect};
use k8s_openapi::api::{
    core::v1::{ConfigMap, Namespace},
    rbac::v1::{ClusterRole, ClusterRoleBinding},
};
use kube::{
    Api, Client,
    api::{ListParams, PostParams},
};
use serde_json::{Value, json};

fn from<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

#[tokio::test]
async fn is_ready_soon_and_says_its_version() {
    let plane = ControlPlane::start().await.unwrap();
    eprintln!("the API server was ready after {:?}", plane.ready_after());
    // 3 s on an idle machine of two cores; other tests run at the same time.
    assert!(
        plane.ready_after() < Duration::from_secs(60),
        "{:?}",
        plane.ready_after()
    );
    let version = plane.client().await.unwrap().apiserver_version().await.unwrap();
    assert_eq!(
        version.git_version,
        format!("v{}", devcluster::control_plane::KUBERNETES)
    );
    let directory = plane.directory().to_owned();
    assert!(directory.exists());
    assert!(plane.logs().join("kube-apiserver.log").exists());
    drop(plane);
    assert!(!directory.exists(), "{} is left", directory.display());
}

#[tokio::test]
async fn gives_a_user_only_what_rbac_allows() {
    let plane = ControlPlane::shared().await.unwrap();
    let admin = plane.client().await.unwrap();
    let namespace: Namespace = from(json!({"metadata": {"name": "rbac-test"}}));
    Api::<Namespace>::all(admin.clone())
        .create(&PostParams::default(), &namespace)
        .await
        .unwrap();

    let operator = connect(
        &plane
            .user("system:serviceaccount:rbac-test:operator", &["one", "two"])
            .unwrap(),
    )
    .await
    .unwrap();
    let list = |client: Client| async move {
        Api::<ConfigMap>::namespaced(client, "rbac-test")
            .list(&ListParams::default())
            .await
    };
    let refused = list(operator.clone()).await.unwrap_err().to_string();
    assert!(
        refused.contains("system:serviceaccount:rbac-test:operator"),
        "{refused}"
    );
    assert!(refused.contains("cannot list resource"), "{refused}");

    let role: ClusterRole = from(json!({"metadata": {"name": "reads-config-maps"},
        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}]}));
    Api::<ClusterRole>::all(admin.clone())
        .create(&PostParams::default(), &role)
        .await
        .unwrap();
    let binding: ClusterRoleBinding = from(json!({"metadata": {"name": "reads-config-maps"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "reads-config-maps"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "two"}]}));
    Api::<ClusterRoleBinding>::all(admin)
        .create(&PostParams::default(), &binding)
        .await
        .unwrap();
    // The authorizer sees a new binding through a watch.
    for _ in 0..1000 {
        if list(operator.clone()).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the role had no effect: {:?}", list(operator).await);
}

#[tokio::test]
async fn freezes_thaws_and_comes_back_after_a_kill() {
    let plane = ControlPlane::start().await.unwrap();
    let client = plane.client().await.unwrap();
    plane.freeze().unwrap();
    plane.freeze().unwrap(); // changes nothing
    let asked = tokio::time::timeout(Duration::from_millis(500), client.apiserver_version()).await;
    assert!(asked.is_err(), "a frozen server answered");
    plane.thaw().unwrap();
    client.apiserver_version().await.unwrap();

    let namespace: Namespace = from(json!({"metadata": {"name": "kept"}}));
    let namespaces = Api::<Namespace>::all(client);
    namespaces.create(&PostParams::default(), &namespace).await.unwrap();
    plane.kill_apiserver().unwrap();
    assert!(namespaces.get("kept").await.is_err());
    plane.restart_apiserver().await.unwrap();
    namespaces.get("kept").await.unwrap();
}
