//! Makes the Kubernetes client.

use std::{path::PathBuf, time::Duration};

use hyper::header::{HeaderValue, USER_AGENT};
use hyper_util::{
    client::legacy::{Client as HttpClient, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use kube::{
    Client, Config,
    client::{Body, ConfigExt},
    config::{KubeConfigOptions, Kubeconfig},
};
use tower::{BoxError, Layer, ServiceExt, layer::layer_fn, util::option_layer};

use super::bounded::{Bounded, Limits};

/// Time for the TCP handshake with the API server; the TLS handshake counts against the request's own deadline.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection that is silent for this long is probed, so that a dead peer under a quiet watch is noticed.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// An idle connection is closed after this long, and its buffers are given back.
const POOL_IDLE: Duration = Duration::from_secs(30);

/// Which cluster to talk to.
///
/// With neither field set: `KUBECONFIG`, then `~/.kube/config`, then the pod's service account.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Target {
    /// A kubeconfig file.
    pub kubeconfig: Option<PathBuf>,
    /// A context of the kubeconfig; the current one when absent.
    pub context: Option<String>,
}

impl Target {
    /// Reads the configuration: address, certificates and credentials.
    pub async fn config(&self) -> Result<Config, ConnectError> {
        let options = KubeConfigOptions {
            context: self.context.clone(),
            ..KubeConfigOptions::default()
        };
        let mut config = match (&self.kubeconfig, &self.context) {
            (Some(path), _) => {
                let unusable = |source| ConnectError::Kubeconfig {
                    path: path.clone(),
                    source: Box::new(source),
                };
                let kubeconfig = Kubeconfig::read_from(path).map_err(unusable)?;
                Config::from_custom_kubeconfig(kubeconfig, &options)
                    .await
                    .map_err(unusable)?
            }
            (None, Some(context)) => {
                Config::from_kubeconfig(&options)
                    .await
                    .map_err(|source| ConnectError::Context {
                        context: context.clone(),
                        source: Box::new(source),
                    })?
            }
            (None, None) => Config::infer()
                .await
                .map_err(|source| ConnectError::Nowhere(Box::new(source)))?,
        };
        config
            .headers
            .push((USER_AGENT, HeaderValue::from_static(USER_AGENT_VALUE)));
        Ok(config)
    }
}

const USER_AGENT_VALUE: &str = concat!("flink-job-operator/", env!("CARGO_PKG_VERSION"));

/// No client could be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The kubeconfig that was named cannot be used.
    #[error("kubeconfig {}: {source}; check --kubeconfig and --context", path.display())]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<kube::config::KubeconfigError>,
    },
    /// The context that was named cannot be used.
    #[error("context {context:?}: {source}; `kubectl config get-contexts` lists what there is")]
    Context {
        /// The context.
        context: String,
        /// What is wrong with it.
        source: Box<kube::config::KubeconfigError>,
    },
    /// There is neither a kubeconfig nor a service account.
    #[error("no cluster to talk to: {0}; run in a pod, or name a file with --kubeconfig or KUBECONFIG")]
    Nowhere(#[source] Box<kube::config::InferConfigError>),
    /// The configuration asks for a proxy, which this client cannot go through.
    #[error(
        "the kubeconfig names a proxy-url for {cluster}, and proxies are not supported; remove it, or use a tunnel"
    )]
    Proxy {
        /// The API server's address.
        cluster: String,
    },
    /// Certificates or credentials cannot be used.
    #[error("credentials for {cluster}: {source}")]
    Credentials {
        /// The API server's address.
        cluster: String,
        /// What is wrong with them.
        source: Box<kube::Error>,
    },
}

/// Makes a client with its own connections and its own [`Limits`].
///
/// Must run inside a Tokio runtime. It does not contact the server.
///
/// The stack is built here and not by [`kube::Client::try_from`] because that one retries **every** verb up to 15 times
/// on 429, 503 and 504 (a 504 may have been carried out) and its `read_timeout` is a property of the connection, which
/// cuts quiet watches as well. Leader election takes a client of its own, so that no crowd of slow requests can hold
/// back a renewal.
pub fn connect(config: &Config, limits: &Limits) -> Result<Client, ConnectError> {
    install_crypto_provider();
    let cluster = || config.cluster_url.to_string();
    if config.proxy_url.is_some() {
        return Err(ConnectError::Proxy { cluster: cluster() });
    }
    let unusable = |source| ConnectError::Credentials {
        cluster: cluster(),
        source: Box::new(source),
    };

    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    tcp.set_keepalive(Some(KEEPALIVE));
    tcp.set_keepalive_interval(Some(KEEPALIVE / 3));
    tcp.set_keepalive_retries(Some(3));
    let tls = config.rustls_https_connector_with_connector(tcp).map_err(unusable)?;
    let http: HttpClient<_, Body> = HttpClient::builder(TokioExecutor::new())
        .pool_idle_timeout(POOL_IDLE)
        .pool_timer(TokioTimer::new())
        .pool_max_idle_per_host(limits.concurrency)
        .build(tls);

    let with_headers = config
        .extra_headers_layer()
        .map_err(unusable)?
        .layer(http.map_err(BoxError::from));
    let authorized = option_layer(config.auth_layer().map_err(unusable)?).layer(with_headers);
    let bounded = layer_fn(|inner| Bounded::new(inner, limits)).layer(authorized.map_err(Into::<BoxError>::into));
    let addressed = config.base_uri_layer().layer(bounded);
    Ok(Client::new(addressed, config.default_namespace.clone()))
}

/// Makes ring the process's TLS provider. Safe to call again.
///
/// `reqwest` and `kube` are built without a provider of their own and take the process's.
pub fn install_crypto_provider() {
    // An error means that one is installed already.
    let _already = rustls::crypto::ring::default_provider().install_default();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_missing_kubeconfig_is_named() {
        let target = Target {
            kubeconfig: Some("/nowhere/kubeconfig".into()),
            context: None,
        };
        let error = target.config().await.unwrap_err().to_string();
        assert!(error.starts_with("kubeconfig /nowhere/kubeconfig: "), "{error}");
        assert!(error.ends_with("check --kubeconfig and --context"), "{error}");
    }

    #[tokio::test]
    async fn a_proxy_is_refused_and_not_ignored() {
        let mut config = Config::new("https://127.0.0.1:6443".parse().unwrap());
        config.proxy_url = Some("http://127.0.0.1:3128".parse().unwrap());
        let error = connect(&config, &Limits::default()).err().unwrap();
        assert!(matches!(error, ConnectError::Proxy { .. }), "{error}");
    }
}
