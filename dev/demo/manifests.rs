//! The CRDs and the manifests of `examples/`.

use std::{fs, path::Path, time::Duration};

use flink_job_operator::api::{self, FlinkSession, FlinkSessionJob, Savepoint};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams},
    runtime::wait::{await_condition, conditions},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::Failure;

const MANAGER: &str = "cargo-demo";
const ESTABLISHED_WITHIN: Duration = Duration::from_secs(30);
const TICK: Duration = Duration::from_millis(100);

/// Installs the CRDs, as `kubectl apply --server-side -f crds/` does. Returns the kinds.
pub(crate) async fn install_crds(client: &Client) -> Result<Vec<String>, Failure> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let mut kinds = Vec::new();
    for crd in api::crds() {
        let name = crd.name_any();
        api.patch(&name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(&crd))
            .await
            .map_err(|error| format!("CRD {name} cannot be installed: {error}"))?;
        let established = await_condition(api.clone(), &name, conditions::is_crd_established());
        match tokio::time::timeout(ESTABLISHED_WITHIN, established).await {
            Ok(established) => established.map(drop)?,
            Err(_) => return Err(format!("CRD {name} was not established in {ESTABLISHED_WITHIN:?}").into()),
        }
        kinds.push(crd.spec.names.kind);
    }
    Ok(kinds)
}

/// The manifests of `examples/`, with the addresses of this demo.
pub(crate) struct Examples {
    session: Value,
    job: Value,
    client: Client,
    namespace: String,
}

impl Examples {
    /// Puts the addresses into the manifests. A cluster that names no directory for savepoints runs the job without them.
    pub(crate) fn new(
        client: &Client,
        namespace: &str,
        flink_url: &str,
        jar_url: &str,
        savepoints: bool,
    ) -> Result<Self, Failure> {
        let mut session: Value = serde_saphyr::from_str(include_str!("../../examples/session.yaml"))?;
        let mut job: Value = serde_saphyr::from_str(include_str!("../../examples/job.yaml"))?;
        put(&mut session, "/spec/endpoint", json!({ "url": flink_url }))?;
        put(&mut job, "/spec/job/jarURI", json!(jar_url))?;
        if !savepoints {
            put(&mut job, "/spec/upgradeMode", json!("Stateless"))?;
        }
        for manifest in [&mut session, &mut job] {
            let meta = manifest.pointer_mut("/metadata").and_then(Value::as_object_mut);
            meta.ok_or("an example has no metadata")?
                .insert("namespace".to_owned(), json!(namespace));
        }
        Ok(Self {
            session,
            job,
            client: client.clone(),
            namespace: namespace.to_owned(),
        })
    }

    /// The name of the job.
    pub(crate) fn job_name(&self) -> Result<&str, Failure> {
        name(&self.job)
    }

    /// The jobs of the namespace.
    pub(crate) fn jobs(&self) -> Api<FlinkSessionJob> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn sessions(&self) -> Api<FlinkSession> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Fails when the cluster has such resources already: they would be somebody else's.
    pub(crate) async fn refuse_existing(&self) -> Result<(), Failure> {
        let (session, job) = (name(&self.session)?, name(&self.job)?);
        let found = if self.jobs().get_opt(job).await?.is_some() {
            format!("FlinkSessionJob {}/{job}", self.namespace)
        } else if self.sessions().get_opt(session).await?.is_some() {
            format!("FlinkSession {}/{session}", self.namespace)
        } else {
            return Ok(());
        };
        Err(format!("{found} exists already; delete it, or choose another --namespace").into())
    }

    /// Writes the manifests into a folder, where the user finds them.
    pub(crate) fn write(&self, folder: &Path) -> Result<(), Failure> {
        fs::create_dir_all(folder)?;
        fs::write(folder.join("session.yaml"), serde_saphyr::to_string(&self.session)?)?;
        fs::write(folder.join("job.yaml"), serde_saphyr::to_string(&self.job)?)?;
        Ok(())
    }

    /// Applies both.
    pub(crate) async fn apply(&self) -> Result<(), Failure> {
        apply(&self.sessions(), &self.session).await?;
        apply(&self.jobs(), &self.job).await
    }

    /// The savepoints of the namespace.
    fn savepoints(&self) -> Api<Savepoint> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Deletes everything and waits until it is gone: the job, its savepoints with their files, and the session, in the
    /// order in which each is needed no more.
    pub(crate) async fn delete(&self) -> Result<(), Failure> {
        let job = name(&self.job)?;
        delete(&self.jobs(), job).await?;
        while self.jobs().get_opt(job).await?.is_some() {
            tokio::time::sleep(TICK).await;
        }
        self.dispose(job).await?;
        let session = name(&self.session)?;
        delete(&self.sessions(), session).await?;
        while self.sessions().get_opt(session).await?.is_some() {
            tokio::time::sleep(TICK).await;
        }
        Ok(())
    }

    /// Deletes the savepoints of a job, and their files.
    async fn dispose(&self, job: &str) -> Result<(), Failure> {
        let savepoints = self.savepoints();
        let of_job = |savepoint: &Savepoint| savepoint.spec.job_ref.as_ref().is_some_and(|found| found.name == job);
        let mut left: Vec<_> = savepoints.list(&ListParams::default()).await?.items;
        left.retain(of_job);
        let with_files = json!({ "spec": { "deletionPolicy": "Dispose" } });
        for savepoint in &left {
            let name = savepoint.name_any();
            let params = PatchParams::default();
            savepoints.patch(&name, &params, &Patch::Merge(&with_files)).await?;
            // The operator notes that there is something to do when it goes. One that goes before keeps its files.
            let noted = |savepoint: Option<&Savepoint>| savepoint.is_none_or(|one| !one.finalizers().is_empty());
            await_condition(savepoints.clone(), &name, noted).await?;
            delete(&savepoints, &name).await?;
        }
        while !left.is_empty() {
            tokio::time::sleep(TICK).await;
            left = savepoints.list(&ListParams::default()).await?.items;
            left.retain(of_job);
        }
        Ok(())
    }
}

async fn apply<K>(api: &Api<K>, manifest: &Value) -> Result<(), Failure>
where
    K: Clone + DeserializeOwned + std::fmt::Debug,
{
    let params = PatchParams::apply(MANAGER).force().validation_strict();
    let name = name(manifest)?;
    api.patch(name, &params, &Patch::Apply(manifest))
        .await
        .map_err(|error| format!("{name} cannot be applied: {error}"))?;
    Ok(())
}

async fn delete<K>(api: &Api<K>, name: &str) -> Result<(), Failure>
where
    K: Clone + DeserializeOwned + std::fmt::Debug,
{
    match api.delete(name, &DeleteParams::default()).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        deleted => Ok(deleted.map(drop)?),
    }
}

fn name(manifest: &Value) -> Result<&str, Failure> {
    let name = manifest.pointer("/metadata/name").and_then(Value::as_str);
    name.ok_or_else(|| "an example has no name".into())
}

fn put(manifest: &mut Value, pointer: &str, value: Value) -> Result<(), Failure> {
    let place = manifest.pointer_mut(pointer);
    *place.ok_or_else(|| format!("an example has no {pointer}"))? = value;
    Ok(())
}
