//! The installation's identity: made once, kept in a ConfigMap, never changed.

use std::collections::BTreeMap;

use k8s_openapi::{api::core::v1::ConfigMap, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{Api, Client, api::PostParams};

use super::{
    Limits,
    error::{ApiError, within},
};
use crate::flink::InstallationId;

/// The ConfigMap's key whose value is the id: eight hexadecimal digits.
pub const IDENTITY_KEY: &str = "installationId";

/// Someone deletes the ConfigMap between our two calls at most this often before it is an error.
const ROUNDS: u32 = 3;

/// The installation's id could not be read or made.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The API server did not give or take the ConfigMap.
    #[error("ConfigMap {namespace}/{name}: {source}; the operator needs get and create on configmaps in its namespace")]
    Api {
        /// The operator's namespace.
        namespace: String,
        /// The ConfigMap's name.
        name: String,
        /// What the API server said.
        source: ApiError,
    },
    /// The ConfigMap is there, but does not hold an id. It is never overwritten: jobs carry the id in their ids.
    #[error(
        "ConfigMap {namespace}/{name} holds no installation id: {IDENTITY_KEY} must be 8 hexadecimal digits, found {found}. \
         Restore it (the first 8 digits of the JobIDs that this operator submitted), or delete the ConfigMap for a new \
         id: jobs are adopted all the same, but orphans of the old id are no longer recognised"
    )]
    Broken {
        /// The operator's namespace.
        namespace: String,
        /// The ConfigMap's name.
        name: String,
        /// What is there instead.
        found: String,
    },
    /// The operating system gave no random bytes.
    #[error("no random bytes for a new installation id")]
    NoRandomness,
}

/// Reads the installation's id from a ConfigMap, or makes both when there is none.
///
/// Any number of replicas may do this at once: creation decides, and everyone reads what was created. The ConfigMap is
/// immutable, so only deleting it can change the id.
///
/// # Errors
/// [`IdentityError`]; the operator must not start without an id.
pub async fn installation_id(client: &Client, namespace: &str, name: &str) -> Result<InstallationId, IdentityError> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let deadline = Limits::default().deadline;
    let failed = |source| IdentityError::Api {
        namespace: namespace.into(),
        name: name.into(),
        source,
    };
    let mut rounds = 0;
    loop {
        rounds += 1;
        let read = within(deadline, "get installation id", api.get_opt(name))
            .await
            .map_err(failed)?;
        if let Some(configmap) = read {
            return id_in(&configmap, namespace, name);
        }
        let id = random_id()?;
        let fresh = configmap(name, id);
        match within(
            deadline,
            "create installation id",
            api.create(&PostParams::default(), &fresh),
        )
        .await
        {
            Ok(_) => {
                tracing::info!(%namespace, configmap = name, installation = %id, "made a new installation id");
                return Ok(id);
            }
            // Another replica was first, or our own earlier request was carried out after all: read again.
            Err(error) if (error.is_already_exists() || !error.nothing_changed()) && rounds < ROUNDS => {}
            Err(error) => return Err(failed(error)),
        }
    }
}

fn id_in(configmap: &ConfigMap, namespace: &str, name: &str) -> Result<InstallationId, IdentityError> {
    let value = configmap.data.as_ref().and_then(|data| data.get(IDENTITY_KEY));
    value
        .and_then(|value| value.parse().ok())
        .ok_or_else(|| IdentityError::Broken {
            namespace: namespace.into(),
            name: name.into(),
            found: value.map_or_else(
                || "no such key".into(),
                |value| format!("{:?}", value.chars().take(32).collect::<String>()),
            ),
        })
}

fn configmap(name: &str, id: InstallationId) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.into()),
            labels: Some(BTreeMap::from([(
                "app.kubernetes.io/managed-by".into(),
                "flink-job-operator".into(),
            )])),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([(IDENTITY_KEY.into(), id.to_string())])),
        immutable: Some(true),
        ..ConfigMap::default()
    }
}

fn random_id() -> Result<InstallationId, IdentityError> {
    let mut bytes = [0; 4];
    let source = rustls::crypto::ring::default_provider().secure_random;
    source
        .fill(&mut bytes)
        .map_err(|_unavailable| IdentityError::NoRandomness)?;
    Ok(InstallationId(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_can_be_read() {
        let id = random_id().unwrap();
        let made = configmap("flink-job-operator-identity", id);
        assert_eq!(made.immutable, Some(true));
        assert_eq!(id_in(&made, "ns", "n").unwrap(), id);
        assert_ne!(random_id().unwrap(), id);
    }

    #[test]
    fn a_broken_value_says_what_to_do() {
        let mut made = configmap("x-identity", InstallationId([1, 2, 3, 4]));
        for (value, found) in [
            (Some("0102030"), "found \"0102030\""),
            (Some("zzzzzzzz"), "found \"zzzzzzzz\""),
            (None, "found no such key"),
        ] {
            made.data = value.map(|value| BTreeMap::from([(IDENTITY_KEY.into(), value.into())]));
            let message = id_in(&made, "flink", "x-identity").unwrap_err().to_string();
            assert!(
                message.contains("ConfigMap flink/x-identity holds no installation id"),
                "{message}"
            );
            assert!(message.contains(found) && message.contains("Restore it"), "{message}");
        }
    }
}
