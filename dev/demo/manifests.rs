//! The CRDs and the manifests of `examples/`.

use std::{fs, path::Path, time::Duration};

use flink_job_operator::api::{self, FlinkSession, FlinkSessionJob};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
    runtime::wait::{await_condition, conditions},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::Failure;

const MANAGER: &str = "cargo-demo";
const ESTABLISHED_WITHIN: Duration = Duration::from_secs(30);

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
    /// Puts the addresses into the manifests.
    pub(crate) fn new(client: &Client, namespace: &str, flink_url: &str, jar_url: &str) -> Result<Self, Failure> {
        let mut session: Value = serde_saphyr::from_str(include_str!("../../examples/session.yaml"))?;
        let mut job: Value = serde_saphyr::from_str(include_str!("../../examples/job.yaml"))?;
        put(&mut session, "/spec/endpoint", json!({ "url": flink_url }))?;
        put(&mut job, "/spec/job/jarURI", json!(jar_url))?;
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

    /// Deletes both, where they are there, without waiting.
    pub(crate) async fn delete(&self) -> Result<(), Failure> {
        delete(&self.jobs(), name(&self.job)?).await?;
        delete(&self.sessions(), name(&self.session)?).await
    }

    /// Whether the session is gone.
    pub(crate) async fn session_gone(&self) -> Result<bool, Failure> {
        Ok(self.sessions().get_opt(name(&self.session)?).await?.is_none())
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
