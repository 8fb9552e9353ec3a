//! Secrets that their owners let resources use.

use std::{fmt, time::Duration};

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, ResourceExt};

use super::{ApiError, within};
use crate::api::{Reason, keys::USABLE_BY_LABEL};

/// Whose resources a Secret is for: a word of its label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsableBy {
    /// Jobs: variables, and addresses of notifications.
    Jobs,
    /// Sessions: REST credentials and certificates.
    Sessions,
}

impl fmt::Display for UsableBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Jobs => "jobs",
            Self::Sessions => "sessions",
        })
    }
}

/// Why a Secret cannot be used. The message says who can change that, and how.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnusableSecret {
    /// The operator's role does not cover it.
    #[error(
        "the operator may not read Secret {name:?}; allow it with: kubectl create role flink-job-operator-secrets --namespace \
         {namespace} --verb get --resource secrets, and a RoleBinding to the operator's service account"
    )]
    Forbidden {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// There is none.
    #[error("Secret {0:?} does not exist in this namespace; create it, or correct the name")]
    Missing(String),
    /// Without the label, whoever writes a resource could use Secrets that they cannot read.
    #[error(
        "Secret {name:?} is not meant for {by}; its owner allows it with: kubectl label secret {name} --namespace {namespace} \
         {USABLE_BY_LABEL}={by}"
    )]
    Unlabelled {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// Who wants to use it.
        by: UsableBy,
    },
}

impl UnusableSecret {
    /// The word for conditions.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::Forbidden { .. } | Self::Unlabelled { .. } => Reason::Unauthorized,
            Self::Missing(_) => Reason::ReferenceNotFound,
        }
    }
}

/// Reads a Secret, and checks its label. Secrets are never watched: each use is a GET.
///
/// # Errors
/// The API server's failures. What the Secret's owner can change is the inner error.
pub async fn usable_secret(
    client: &Client,
    deadline: Duration,
    namespace: &str,
    name: &str,
    by: UsableBy,
) -> Result<Result<Secret, UnusableSecret>, ApiError> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let (namespace, name) = (namespace.to_owned(), name.to_owned());
    let found = match within(deadline, "get Secret", secrets.get_opt(&name)).await {
        Err(error) if error.is_forbidden() => return Ok(Err(UnusableSecret::Forbidden { namespace, name })),
        found => found?,
    };
    let Some(found) = found else {
        return Ok(Err(UnusableSecret::Missing(name)));
    };
    let label = found.labels().get(USABLE_BY_LABEL);
    if label.is_none_or(|label| *label != by.to_string()) {
        return Ok(Err(UnusableSecret::Unlabelled { namespace, name, by }));
    }
    Ok(Ok(found))
}

/// The text under a key.
#[must_use]
pub fn secret_text(secret: &Secret, key: &str) -> Option<String> {
    let bytes = secret.data.as_ref()?.get(key)?;
    String::from_utf8(bytes.0.clone()).ok()
}
