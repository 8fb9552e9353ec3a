//! Artifacts in S3 and stores that speak its protocol.

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt};
use object_store::{
    ClientOptions, GetOptions, ObjectStore, RetryConfig,
    aws::{AmazonS3, AmazonS3Builder, AwsCredentialProvider},
    client::{HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService},
    path::Path,
};
use parking_lot::Mutex;
use reqwest::{Client, StatusCode};

use super::{
    error::ArtifactError,
    http::{Body, Reply, Validator, transport},
    policy::{ArtifactPolicy, S3Credentials},
    sum::Sha256Sum,
    uri::{JarUri, UriError},
};
use crate::outbound::{self, ClientError, Lookup};

/// Stores that are kept ready, one for each bucket.
const MAX_STORES: usize = 64;

/// The object store.
pub(super) struct Objects {
    policy: Arc<ArtifactPolicy>,
    client: Client,
    credentials: Option<AwsCredentialProvider>,
    stores: Mutex<HashMap<String, Arc<AmazonS3>>>,
}

/// Why the object store cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ObjectsError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("cannot set up the object store: {0}; check the AWS_* variables, --s3-endpoint and --s3-region")]
    Store(String),
}

impl Objects {
    pub(super) fn new(policy: &Arc<ArtifactPolicy>, lookup: &Arc<dyn Lookup>) -> Result<Self, ObjectsError> {
        let zone = policy.endpoint_zone();
        if let Some(endpoint) = &policy.s3.endpoint
            && let Some(ip) = outbound::literal(endpoint)
        {
            let denied = |error: super::Denied| ObjectsError::Store(error.to_string());
            policy
                .check_address(zone, endpoint.host_str().unwrap_or_default(), ip)
                .map_err(denied)?;
        }
        let credentials = match &policy.s3.credentials {
            S3Credentials::Environment => Some(credentials_of_environment(policy)?),
            S3Credentials::Anonymous | S3Credentials::Static { .. } => None,
        };
        let client = outbound::client(&policy.bounds(), lookup, zone)?;
        Ok(Self {
            policy: Arc::clone(policy),
            client,
            credentials,
            stores: Mutex::default(),
        })
    }

    /// Asks for an object. `known` makes the request conditional.
    pub(super) async fn open(
        &self,
        bucket: &str,
        key: &str,
        known: Option<&Validator>,
    ) -> Result<Reply, ArtifactError> {
        let uri = JarUri::S3 {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
        };
        let at = uri.to_string();
        let path = Path::parse(key).map_err(|_| UriError::Key)?;
        let store = self.store(bucket).map_err(|error| failure(&at, &error))?;
        let options = GetOptions {
            if_none_match: known.and_then(|known| known.etag.clone()),
            ..GetOptions::default()
        };
        let object = match self.within(&at, store.get_opts(&path, options)).await? {
            Ok(object) => object,
            Err(object_store::Error::NotModified { .. }) if known.is_some() => return Ok(Reply::NotModified),
            Err(error) => return Err(failure(&at, &error)),
        };
        let given_by = Sha256Sum::of(uri.identity().as_bytes());
        let version = object.meta.version.clone();
        let validator = object.meta.e_tag.clone().map(|etag| Validator {
            etag: Some(etag),
            last_modified: None,
            version,
            given_by,
        });
        Ok(Reply::Body(Body {
            length: Some(object.meta.size),
            framed: true,
            html: false,
            encoded: false,
            validator,
            chunks: object.into_stream().map_err(move |error| failure(&at, &error)).boxed(),
        }))
    }

    /// Whether an object is there.
    pub(super) async fn has(&self, bucket: &str, key: &str) -> Result<bool, ArtifactError> {
        let at = format!("s3://{bucket}/{key}");
        let path = Path::parse(key).map_err(|_| UriError::Key)?;
        let store = self.store(bucket).map_err(|error| failure(&at, &error))?;
        let options = GetOptions {
            head: true,
            ..GetOptions::default()
        };
        match self.within(&at, store.get_opts(&path, options)).await? {
            Ok(_) => Ok(true),
            Err(error) => {
                let error = failure(&at, &error);
                let missing = matches!(error, ArtifactError::NotFound { .. });
                if missing { Ok(false) } else { Err(error) }
            }
        }
    }

    /// The names of the folders in a folder.
    pub(super) async fn folders(&self, bucket: &str, folder: &str) -> Result<Vec<String>, ArtifactError> {
        let at = format!("s3://{bucket}/{folder}/");
        let prefix = Path::parse(folder).map_err(|_| UriError::Key)?;
        let store = self.store(bucket).map_err(|error| failure(&at, &error))?;
        let listed = self.within(&at, store.list_with_delimiter(Some(&prefix))).await?;
        let listed = listed.map_err(|error| failure(&at, &error))?;
        let name = |path: &Path| path.filename().map(str::to_owned);
        Ok(listed.common_prefixes.iter().filter_map(name).collect())
    }

    async fn within<T>(&self, at: &str, reply: impl Future<Output = T>) -> Result<T, ArtifactError> {
        let limit = self.policy.connect_timeout + self.policy.reply_timeout;
        tokio::time::timeout(limit, reply)
            .await
            .map_err(|_| ArtifactError::Unreachable {
                at: at.to_owned(),
                why: format!("no answer within {} seconds", limit.as_secs()),
            })
    }

    fn store(&self, bucket: &str) -> object_store::Result<Arc<AmazonS3>> {
        if let Some(store) = self.stores.lock().get(bucket) {
            return Ok(Arc::clone(store));
        }
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(bucket)
            .with_region(region(&self.policy))
            .with_retry(no_retry())
            .with_http_connector(Fixed(Guarded(self.client.clone())));
        if let Some(endpoint) = &self.policy.s3.endpoint {
            builder = builder.with_endpoint(endpoint.as_str());
        }
        builder = match (&self.policy.s3.credentials, &self.credentials) {
            (S3Credentials::Static { key_id, secret }, _) => builder
                .with_access_key_id(key_id)
                .with_secret_access_key(secret.expose()),
            (S3Credentials::Environment, Some(credentials)) => builder.with_credentials(Arc::clone(credentials)),
            (S3Credentials::Environment | S3Credentials::Anonymous, _) => builder.with_skip_signature(true),
        };
        let store = Arc::new(builder.build()?);
        let mut stores = self.stores.lock();
        if stores.len() >= MAX_STORES {
            stores.clear();
        }
        stores.insert(bucket.to_owned(), Arc::clone(&store));
        Ok(store)
    }
}

fn region(policy: &ArtifactPolicy) -> String {
    let of_environment = || {
        std::env::var("AWS_REGION")
            .or_else(|_| std::env::var("AWS_DEFAULT_REGION"))
            .ok()
    };
    policy
        .s3
        .region
        .clone()
        .or_else(of_environment)
        .unwrap_or_else(|| "us-east-1".to_owned())
}

/// Retrying is the caller's decision.
fn no_retry() -> RetryConfig {
    RetryConfig {
        max_retries: 0,
        ..RetryConfig::default()
    }
}

/// The operator's own credentials, renewed when they run out. They come from addresses that no job may name (the
/// instance's metadata, a pod identity agent), hence by a client of their own.
fn credentials_of_environment(policy: &ArtifactPolicy) -> Result<AwsCredentialProvider, ObjectsError> {
    let client = outbound::credentials_client(&policy.bounds())?;
    let builder = AmazonS3Builder::from_env()
        .with_bucket_name("credentials")
        .with_region(region(policy))
        .with_retry(RetryConfig {
            max_retries: 2,
            ..RetryConfig::default()
        })
        .with_http_connector(Fixed(ForCredentials(client)));
    let store = builder
        .build()
        .map_err(|error| ObjectsError::Store(outbound::words(&error)))?;
    Ok(Arc::clone(store.credentials()))
}

/// Hands out one client, whatever options the store has.
#[derive(Debug)]
struct Fixed<S>(S);

impl<S: HttpService + Clone> HttpConnector for Fixed<S> {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.0.clone()))
    }
}

/// A status other than 200 and 304.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("HTTP status {0}")]
struct UnexpectedStatus(u16);

/// The guarded client. Error bodies are not read: they are the server's text, of any size.
#[derive(Debug, Clone)]
struct Guarded(Client);

#[async_trait]
impl HttpService for Guarded {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let response = self.0.call(request).await?;
        match response.status() {
            StatusCode::OK | StatusCode::NOT_MODIFIED => Ok(response),
            status => Err(HttpError::new(
                HttpErrorKind::Unknown,
                UnexpectedStatus(status.as_u16()),
            )),
        }
    }
}

/// The operator has no credentials. In words of ours, because the service's words may be part of them.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
struct NoCredentials(String);

/// The client for credentials.
#[derive(Debug, Clone)]
struct ForCredentials(Client);

#[async_trait]
impl HttpService for ForCredentials {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let response = self.0.call(request).await;
        let response =
            response.map_err(|error| HttpError::new(error.kind(), NoCredentials(outbound::words(&error))))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let why = NoCredentials(format!(
            "their service answers with HTTP {}",
            response.status().as_u16()
        ));
        Err(HttpError::new(HttpErrorKind::Unknown, why))
    }
}

fn failure(at: &str, error: &object_store::Error) -> ArtifactError {
    let unreachable = |why: String| ArtifactError::Unreachable { at: at.to_owned(), why };
    for cause in outbound::causes(error) {
        if let Some(UnexpectedStatus(status)) = cause.downcast_ref() {
            return match status {
                301 | 307 => ArtifactError::redirect(
                    at,
                    &"the bucket is in another region; the administrator names it with --s3-region",
                ),
                status => ArtifactError::of_status(at, *status),
            };
        }
        if let Some(NoCredentials(why)) = cause.downcast_ref() {
            return unreachable(format!(
                "the operator has no credentials for the object store ({why}); check its environment's AWS_* variables"
            ));
        }
        if cause.is::<reqwest::Error>() {
            return transport(at, error);
        }
        let kind = cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        if let Some(std::io::ErrorKind::NotFound | std::io::ErrorKind::PermissionDenied) = kind {
            return unreachable("a file with the operator's credentials cannot be read".to_owned());
        }
    }
    // Whatever else it is may quote what was received.
    unreachable("the object store's answer cannot be understood".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Reason;

    fn of(error: impl std::error::Error + Send + Sync + 'static) -> ArtifactError {
        let error = HttpError::new(HttpErrorKind::Unknown, error);
        failure(
            "s3://jars/x.jar",
            &object_store::Error::Generic {
                store: "S3",
                source: Box::new(error),
            },
        )
    }

    #[test]
    fn failures_are_told_apart() {
        let region = of(UnexpectedStatus(301));
        assert_eq!(region.reason(), Reason::ArtifactForbidden);
        assert!(region.to_string().contains("--s3-region"), "{region}");
        assert_eq!(of(UnexpectedStatus(404)).reason(), Reason::ArtifactNotFound);
        let missing = of(NoCredentials("connection refused".to_owned()));
        assert!(
            !missing.is_permanent() && missing.to_string().contains("AWS_*"),
            "{missing}"
        );
        let file = of(std::io::Error::from(std::io::ErrorKind::NotFound));
        assert!(file.to_string().contains("credentials cannot be read"), "{file}");
        let quoting = of(std::io::Error::other("unexpected \"s3cr3t\""));
        assert!(
            !quoting.is_permanent() && !quoting.to_string().contains("s3cr3t"),
            "{quoting}"
        );
    }
}
