//! The Savepoints of a world.

use flink_job_operator::api::{Savepoint, SavepointPhase, SavepointStatus};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, PostParams},
    runtime::wait::await_condition,
};
use serde_json::{Value, json};

use super::{
    Failure, WITHIN,
    cluster::Cluster,
    world::{World, object},
};

impl<C: Cluster> World<C> {
    pub(super) fn savepoint_api(&self) -> Api<Savepoint> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// All of them, by name. Their names are remembered for their paths.
    pub(super) async fn savepoints(&self) -> Result<Vec<Savepoint>, Failure> {
        let listed = self.savepoint_api().list(&ListParams::default()).await;
        let mut listed = listed.map_err(|error| error.to_string())?.items;
        listed.sort_by_key(ResourceExt::name_any);
        let mut names = self.names.lock();
        for savepoint in &listed {
            let status = savepoint.status.as_ref();
            if let Some(path) = status.and_then(|status| status.path.clone()) {
                names.entry(path).or_default().insert(savepoint.name_any());
            }
        }
        Ok(listed)
    }

    pub(super) async fn savepoint(&self, name: &str, spec: Value) {
        let savepoint: Savepoint = object("Savepoint", json!({ "metadata": { "name": name }, "spec": spec }));
        let created = self.savepoint_api().create(&PostParams::default(), &savepoint).await;
        created.unwrap();
    }

    pub(super) async fn until_savepoint(
        &self,
        name: &str,
        what: &str,
        holds: impl Fn(Option<&Savepoint>) -> bool,
    ) -> Result<Option<SavepointStatus>, Failure> {
        let reached = await_condition(self.savepoint_api(), name, holds);
        match tokio::time::timeout(WITHIN, reached).await {
            Ok(Ok(found)) => Ok(found.and_then(|found| found.status)),
            Ok(Err(error)) => Err(format!("the watch of {name} failed: {error}")),
            Err(_) => Err(format!("{name}: not {what} within {WITHIN:?}")),
        }
    }

    pub(super) async fn until_complete(&self, name: &str) -> Result<SavepointStatus, Failure> {
        let complete = |savepoint: Option<&Savepoint>| {
            let status = savepoint.and_then(|savepoint| savepoint.status.as_ref());
            status.is_some_and(|status| status.phase == Some(SavepointPhase::Completed))
        };
        let status = self.until_savepoint(name, "Completed", complete).await?;
        status.ok_or_else(|| format!("{name} is gone"))
    }

    pub(super) async fn until_no_savepoint(&self, name: &str) -> Result<(), Failure> {
        let gone = self.until_savepoint(name, "gone", |savepoint| savepoint.is_none());
        gone.await.map(drop)
    }

    pub(super) async fn delete_savepoint(&self, name: &str) {
        let deleted = self.savepoint_api().delete(name, &DeleteParams::default()).await;
        deleted.unwrap();
    }
}
