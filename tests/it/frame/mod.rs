//! The operator's frame on a real API server: client, identity, leader election, Events; and its own HTTP server.

mod events;
mod kubernetes;
mod leader;
mod link;
mod server;
mod telemetry;

use std::sync::atomic::{AtomicU32, Ordering};

use devcluster::ControlPlane;
use flink_job_operator::kubernetes::{Limits, Target, connect};
use k8s_openapi::api::{
    core::v1::Namespace,
    rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject},
};
use kube::{Api, Client, Config, api::PostParams};
use serde_json::json;

use crate::harness::rbac;

/// The shared API server, a namespace of this test's own, and the administrator's client.
struct Ground {
    plane: &'static ControlPlane,
    admin: Client,
    namespace: String,
}

impl Ground {
    async fn new(name: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let plane = ControlPlane::shared().await.unwrap();
        let admin = plane.client().await.unwrap();
        let namespace = format!("{name}-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let mut object = Namespace::default();
        object.metadata.name = Some(namespace.clone());
        Api::all(admin.clone())
            .create(&PostParams::default(), &object)
            .await
            .unwrap();
        Self {
            plane,
            admin,
            namespace,
        }
    }

    /// The configuration of our own client as the administrator.
    async fn config(&self) -> Config {
        let target = Target {
            kubeconfig: Some(self.plane.kubeconfig().to_owned()),
            context: None,
        };
        target.config().await.unwrap()
    }

    /// Our own client as the administrator.
    async fn client(&self, limits: &Limits) -> Client {
        connect(&self.config().await, limits).unwrap()
    }

    /// Our own client as a user who may do only that, in this namespace.
    async fn client_with(&self, group: &str, resource: &str, verbs: &[&str]) -> Client {
        let user = format!("{}-{resource}", self.namespace);
        let kubeconfig = self.plane.user(&user, &[]).unwrap();
        let mut role = Role::default();
        role.metadata.name = Some(user.clone());
        role.rules = Some(vec![PolicyRule {
            api_groups: Some(vec![group.into()]),
            resources: Some(vec![resource.into()]),
            verbs: verbs.iter().map(|&verb| verb.into()).collect(),
            ..PolicyRule::default()
        }]);
        let mut binding = RoleBinding {
            role_ref: RoleRef {
                api_group: "rbac.authorization.k8s.io".into(),
                kind: "Role".into(),
                name: user.clone(),
            },
            subjects: Some(vec![Subject {
                kind: "User".into(),
                name: user.clone(),
                ..Subject::default()
            }]),
            ..RoleBinding::default()
        };
        binding.metadata.name = Some(user.clone());
        let options = PostParams::default();
        Api::namespaced(self.admin.clone(), &self.namespace)
            .create(&options, &role)
            .await
            .unwrap();
        Api::namespaced(self.admin.clone(), &self.namespace)
            .create(&options, &binding)
            .await
            .unwrap();
        for verb in verbs {
            let right = json!({
                "namespace": self.namespace, "group": group, "resource": resource, "verb": verb });
            rbac::until_allowed(&self.admin, &user, &right).await;
        }
        let config = Target {
            kubeconfig: Some(kubeconfig),
            context: None,
        }
        .config()
        .await
        .unwrap();
        connect(&config, &Limits::default()).unwrap()
    }
}
