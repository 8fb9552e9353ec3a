//! The rules of `charts/flink-job-operator/rbac.yaml`, and their application.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use k8s_openapi::api::{
    authorization::v1::SubjectAccessReview,
    rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding},
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

/// The operator's own namespace.
pub const NAMESPACE: &str = "flink-job-operator";
/// The user that the operator is.
pub const USER: &str = "system:serviceaccount:flink-job-operator:flink-job-operator";

const NAME: &str = "flink-job-operator";
const FILE: &str = include_str!("../../../charts/flink-job-operator/rbac.yaml");

/// The lists of rules by their names.
pub fn rules() -> BTreeMap<String, Vec<PolicyRule>> {
    serde_saphyr::from_str(FILE).unwrap()
}

fn of(name: &str) -> Vec<PolicyRule> {
    rules().remove(name).unwrap()
}

fn subjects() -> Value {
    json!([{ "kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACE }])
}

/// Applies an object as the administrator.
pub async fn apply<K>(api: &Api<K>, object: Value) -> K
where
    K: Clone + DeserializeOwned + Serialize + std::fmt::Debug,
{
    let name = object["metadata"]["name"].as_str().unwrap().to_owned();
    let parameters = PatchParams::apply("tests").force();
    api.patch(&name, &parameters, &Patch::Apply(&object)).await.unwrap()
}

fn role_ref(kind: &str, name: &str) -> Value {
    json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name })
}

/// Gives the operator what the chart gives it, and waits until the API server knows.
pub async fn install(admin: &Client) {
    let v1 = "rbac.authorization.k8s.io/v1";
    let metadata = json!({ "name": NAME });
    let role = json!({ "apiVersion": v1, "kind": "ClusterRole", "metadata": metadata, "rules": of("cluster") });
    apply(&Api::<ClusterRole>::all(admin.clone()), role).await;
    let binding = json!({
        "apiVersion": v1, "kind": "ClusterRoleBinding", "metadata": metadata,
        "roleRef": role_ref("ClusterRole", NAME), "subjects": subjects(),
    });
    apply(&Api::<ClusterRoleBinding>::all(admin.clone()), binding).await;
    install_in(admin, NAMESPACE).await;
}

/// Gives the operator what it needs in a namespace that it is installed in, and waits until the API server knows.
pub async fn install_in(admin: &Client, namespace: &str) {
    grant(admin, namespace, NAME, of("own")).await;
    let jobs = json!({ "group": "flinkjobs.dev", "resource": "flinksessionjobs", "verb": "list" });
    let own = json!({ "namespace": namespace, "resource": "configmaps", "verb": "create" });
    for right in [jobs, own] {
        until_allowed(admin, USER, &right).await;
    }
}

/// Waits until the user has that right: the authorizer learns of roles and bindings by a watch.
pub async fn until_allowed(admin: &Client, user: &str, right: &Value) {
    let reviews: Api<SubjectAccessReview> = Api::all(admin.clone());
    let question = json!({ "metadata": {}, "spec": {
        "user": user,
        "groups": ["system:serviceaccounts"],
        "resourceAttributes": right,
    }});
    let question: SubjectAccessReview = serde_json::from_value(question).unwrap();
    let begun = Instant::now();
    loop {
        let answer = reviews.create(&PostParams::default(), &question).await.unwrap();
        if answer.status.is_some_and(|status| status.allowed) {
            return;
        }
        assert!(
            begun.elapsed() < super::PATIENCE,
            "{user} never got this right: {right}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Lets the operator read the Secrets of a namespace.
pub async fn grant_secrets(admin: &Client, namespace: &str) {
    grant(admin, namespace, "flink-job-operator-secrets", of("secrets")).await;
}

async fn grant(admin: &Client, namespace: &str, name: &str, rules: Vec<PolicyRule>) {
    let v1 = "rbac.authorization.k8s.io/v1";
    let metadata = json!({ "name": name });
    let role = json!({ "apiVersion": v1, "kind": "Role", "metadata": metadata, "rules": rules });
    apply(&Api::<Role>::namespaced(admin.clone(), namespace), role).await;
    let binding = json!({
        "apiVersion": v1, "kind": "RoleBinding", "metadata": metadata,
        "roleRef": role_ref("Role", name), "subjects": subjects(),
    });
    apply(&Api::<RoleBinding>::namespaced(admin.clone(), namespace), binding).await;
}
