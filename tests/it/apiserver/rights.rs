//! The rules in `charts/flink-job-operator/rbac.yaml`.

use devcluster::skip_real;
use k8s_openapi::api::authorization::v1::SelfSubjectAccessReview;
use kube::{Api, Client, api::PostParams};
use serde_json::json;

use crate::harness::{plane, rbac};

/// Every right, one a line: `list group/resource verb`.
fn rights() -> Vec<String> {
    let mut rights = Vec::new();
    for (list, rules) in rbac::rules() {
        for rule in rules {
            assert!(rule.non_resource_urls.is_none() && rule.resource_names.is_none());
            for group in rule.api_groups.iter().flatten() {
                for resource in rule.resources.iter().flatten() {
                    rights.extend(
                        rule.verbs
                            .iter()
                            .map(|verb| format!("{list} {group}/{resource} {verb}")),
                    );
                }
            }
        }
    }
    rights.sort();
    rights
}

#[test]
fn the_rules_are_these_and_no_others() {
    let golden = "\
        cluster /configmaps get\n\
        cluster /namespaces get\n\
        cluster /services get\n\
        cluster events.k8s.io/events create\n\
        cluster events.k8s.io/events patch\n\
        cluster flink.apache.org/flinkdeployments get\n\
        cluster flinkjobs.dev/flinksessionjobs get\n\
        cluster flinkjobs.dev/flinksessionjobs list\n\
        cluster flinkjobs.dev/flinksessionjobs patch\n\
        cluster flinkjobs.dev/flinksessionjobs watch\n\
        cluster flinkjobs.dev/flinksessionjobs/status update\n\
        cluster flinkjobs.dev/flinksessions get\n\
        cluster flinkjobs.dev/flinksessions list\n\
        cluster flinkjobs.dev/flinksessions patch\n\
        cluster flinkjobs.dev/flinksessions watch\n\
        cluster flinkjobs.dev/flinksessions/status update\n\
        cluster flinkjobs.dev/savepoints create\n\
        cluster flinkjobs.dev/savepoints delete\n\
        cluster flinkjobs.dev/savepoints get\n\
        cluster flinkjobs.dev/savepoints list\n\
        cluster flinkjobs.dev/savepoints patch\n\
        cluster flinkjobs.dev/savepoints watch\n\
        cluster flinkjobs.dev/savepoints/status update\n\
        own /configmaps create\n\
        own /configmaps get\n\
        own coordination.k8s.io/leases create\n\
        own coordination.k8s.io/leases get\n\
        own coordination.k8s.io/leases update\n\
        secrets /secrets get";
    let rights = rights();
    assert_eq!(rights.join("\n"), golden);
    for right in &rights {
        assert!(!right.contains('*'), "{right}");
        let dangerous = [
            "escalate",
            "bind",
            "impersonate",
            "/pods",
            "/exec",
            "delete",
            "serviceaccounts",
        ];
        // Savepoints that retention lets go; nothing else is ever deleted.
        let known = right == "cluster flinkjobs.dev/savepoints delete";
        assert!(known || !dangerous.iter().any(|word| right.contains(word)), "{right}");
        assert!(!right.contains("/secrets") || right.starts_with("secrets "), "{right}");
    }
}

async fn may(client: &Client, namespace: &str, group: &str, resource: &str, verb: &str) -> bool {
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let review: SelfSubjectAccessReview = serde_json::from_value(json!({ "spec": { "resourceAttributes": {
        "namespace": namespace, "group": group, "resource": resource, "subresource": subresource, "verb": verb,
    }}}))
    .unwrap();
    let reviews: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let answer = reviews.create(&PostParams::default(), &review).await.unwrap();
    answer.status.unwrap().allowed
}

#[tokio::test]
async fn the_operators_user_may_do_its_work_and_no_more() {
    if skip_real("the_operators_user_may_do_its_work_and_no_more") {
        return;
    }
    let plane = plane().await;
    let kubeconfig = plane.user(rbac::USER, &["system:serviceaccounts"]).unwrap();
    let client = devcluster::control_plane::connect(&kubeconfig).await.unwrap();
    let jobs = "flinkjobs.dev";
    for (namespace, group, resource, verb, expected) in [
        ("default", jobs, "flinksessionjobs", "watch", true),
        ("default", jobs, "flinksessionjobs", "patch", true),
        ("default", jobs, "flinksessionjobs", "update", false),
        ("default", jobs, "flinksessionjobs", "delete", false),
        ("default", jobs, "flinksessionjobs", "create", false),
        ("default", jobs, "flinksessionjobs/status", "update", true),
        ("default", jobs, "savepoints", "create", true),
        ("default", jobs, "savepoints", "delete", true),
        ("default", jobs, "savepoints", "deletecollection", false),
        ("default", jobs, "savepoints", "update", false),
        ("default", jobs, "savepoints/status", "update", true),
        ("default", "", "secrets", "get", false),
        (rbac::NAMESPACE, "", "secrets", "get", false),
        ("", "", "secrets", "list", false),
        ("default", "", "configmaps", "get", true),
        ("default", "", "configmaps", "list", false),
        ("default", "", "configmaps", "create", false),
        (rbac::NAMESPACE, "", "configmaps", "create", true),
        (rbac::NAMESPACE, "", "configmaps", "update", false),
        ("default", "coordination.k8s.io", "leases", "get", false),
        (rbac::NAMESPACE, "coordination.k8s.io", "leases", "update", true),
        ("default", "", "pods", "get", false),
        ("default", "", "pods/exec", "create", false),
        ("default", "", "services", "get", true),
        ("default", "", "services", "update", false),
        ("", "rbac.authorization.k8s.io", "clusterroles", "escalate", false),
        ("", "rbac.authorization.k8s.io", "clusterroles", "bind", false),
        ("", "", "users", "impersonate", false),
    ] {
        let allowed = may(&client, namespace, group, resource, verb).await;
        assert_eq!(allowed, expected, "{verb} {group}/{resource} in {namespace:?}");
    }
}
