//! Lists that the API server takes from its store, not from a cache: what they do not show is not there.

use std::{fmt::Debug, time::Duration};

use kube::{Api, Client, Resource, api::ListParams, core::NamespaceResourceScope};
use serde::de::DeserializeOwned;

use crate::{
    api::Savepoint,
    kubernetes::{ApiError, within},
};

/// How many resources are asked for at a time.
pub(super) const PAGE: u32 = 500;

/// The deadline of a page.
pub(super) const LIST_DEADLINE: Duration = Duration::from_secs(60);

/// All resources of a kind in a namespace.
pub(super) async fn all_in<K>(client: &Client, namespace: &str, call: &'static str) -> Result<Vec<K>, ApiError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let api = Api::namespaced(client.clone(), namespace);
    all(&api, ListParams::default(), call).await
}

/// The Savepoints of a job.
pub(super) async fn savepoints_of(client: &Client, namespace: &str, job: &str) -> Result<Vec<Savepoint>, ApiError> {
    let api = Api::namespaced(client.clone(), namespace);
    let of_job = ListParams::default().fields(&format!("spec.jobRef.name={job}"));
    all(&api, of_job, "list Savepoints").await
}

/// All that an API lists.
pub(super) async fn all<K>(api: &Api<K>, parameters: ListParams, call: &'static str) -> Result<Vec<K>, ApiError>
where
    K: Clone + Debug + DeserializeOwned,
{
    let mut items = Vec::new();
    let mut parameters = parameters.limit(PAGE);
    loop {
        let page = within(LIST_DEADLINE, call, api.list(&parameters)).await?;
        items.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => parameters = parameters.continue_token(&token),
            None => return Ok(items),
        }
    }
}
