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
    guard::{self, ClientError, Lookup},
    http::{Body, Reply, Validator, transport},
    policy::{ArtifactPolicy, S3Credentials},
    sum::Sha256Sum,
    uri::{JarUri, UriError},
};

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
            && let Some(ip) = super::policy::literal(endpoint)
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
        let client = guard::client(policy, lookup, zone)?;
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
        let limit = self.policy.connect_timeout + self.policy.reply_timeout;
        let reply = tokio::time::timeout(limit, store.get_opts(&path, options))
            .await
            .map_err(|_| ArtifactError::Unreachable {
                at: at.clone(),
                why: format!("no answer within {} seconds", limit.as_secs()),
            })?;
        let object = match reply {
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
    let client = guard::credentials_client(policy)?;
    let builder = AmazonS3Builder::from_env()
        .with_bucket_name("credentials")
        .with_region(region(policy))
        .with_retry(RetryConfig {
            max_retries: 2,
            ..RetryConfig::default()
        })
        .with_http_connector(Fixed(client));
    let store = builder
        .build()
        .map_err(|error| ObjectsError::Store(guard::words(&error)))?;
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

fn failure(at: &str, error: &object_store::Error) -> ArtifactError {
    let status = guard::causes(error).find_map(|cause| cause.downcast_ref::<UnexpectedStatus>());
    match status {
        Some(UnexpectedStatus(status)) => ArtifactError::of_status(at, *status),
        None => transport(at, error),
    }
}
