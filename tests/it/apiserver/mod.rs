//! The API on a real API server: what it accepts, refuses and keeps; and the rights that the operator ships with.

mod jobs;
mod manifests;
mod rights;
mod savepoints;
mod sessions;

use std::sync::atomic::{AtomicU32, Ordering};

use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::harness::plane;

/// A namespace that no operator has to care about: nothing in it is reconciled before a test looks at it, since each
/// test looks at what the API server itself does.
struct Ground {
    admin: Client,
    namespace: String,
    kind: &'static str,
    number: AtomicU32,
}

impl Ground {
    async fn new(name: &str, kind: &'static str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let admin = plane().await.client().await.unwrap();
        let namespace = format!("api-{name}-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let object = serde_json::from_value(json!({ "metadata": { "name": namespace } })).unwrap();
        Api::<Namespace>::all(admin.clone())
            .create(&PostParams::default(), &object)
            .await
            .unwrap();
        let number = AtomicU32::new(1);
        Self {
            admin,
            namespace,
            kind,
            number,
        }
    }

    fn api(&self) -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk("flinkjobs.dev", "v1alpha1", self.kind);
        Api::namespaced_with(self.admin.clone(), &self.namespace, &ApiResource::from_gvk(&kind))
    }

    async fn create_named(&self, name: &str, spec: &Value) -> Result<DynamicObject, kube::Error> {
        let object = json!({
            "apiVersion": "flinkjobs.dev/v1alpha1", "kind": self.kind, "metadata": { "name": name }, "spec": spec,
        });
        let object = serde_json::from_value(object).unwrap();
        // Like kubectl: a field that does not exist is an error, not ignored.
        let strict = PostParams {
            dry_run: false,
            ..PostParams::default()
        };
        self.api().create(&strict, &object).await
    }

    async fn create(&self, spec: &Value) -> Result<DynamicObject, kube::Error> {
        let name = format!("x{}", self.number.fetch_add(1, Ordering::Relaxed));
        self.create_named(&name, spec).await
    }

    async fn patch(&self, name: &str, patch: Value) -> Result<DynamicObject, kube::Error> {
        self.api()
            .patch(name, &PatchParams::default(), &Patch::Merge(&patch))
            .await
    }
}

/// The message of a 422, which must name all of this.
fn refused(result: Result<DynamicObject, kube::Error>, case: &Value, words: &[&str]) {
    let message = match result {
        Err(kube::Error::Api(status)) if status.code == 422 => status.message.clone(),
        Err(error) => panic!("{case}: {error}"),
        Ok(_) => panic!("accepted: {case}"),
    };
    for word in words {
        assert!(message.contains(word), "{case}: {word:?} is not in {message:?}");
    }
}

/// A value with one field, named by a JSON pointer, set to something else; null removes it.
fn with(base: &Value, changes: &[(&str, Value)]) -> Value {
    let mut value = base.clone();
    for (pointer, change) in changes {
        let mut at = &mut value;
        for part in pointer.split('/').filter(|part| !part.is_empty()) {
            if at.is_null() {
                *at = json!({});
            }
            at = &mut at[part];
        }
        *at = change.clone();
    }
    value
}
