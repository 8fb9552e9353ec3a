//! HTTP clients that connect to checked addresses only.

use std::{
    error::Error,
    io,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use futures::future::BoxFuture;
use reqwest::{
    Certificate, Client, ClientBuilder,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect,
};

use super::{
    address::Network,
    zone::{Blocked, Zone},
};

/// The time for the addresses of a name.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);

/// How names become addresses. Tests replace it to play a hostile name server.
pub trait Lookup: Send + Sync + 'static {
    /// The addresses of a host name.
    fn lookup(&self, host: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>>;
}

/// The system's resolver.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemLookup;

impl Lookup for SystemLookup {
    fn lookup(&self, host: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            Ok(tokio::net::lookup_host((host, 0))
                .await?
                .map(|address| address.ip())
                .collect())
        })
    }
}

/// How clients connect.
#[derive(Debug, Clone)]
pub(crate) struct Bounds {
    /// Networks on the inside that any host may resolve to.
    pub(crate) networks: Vec<Network>,
    /// The time for a connection: name, TCP and TLS.
    pub(crate) connect_timeout: Duration,
    /// A PEM file with certificate authorities to trust besides the system's.
    pub(crate) ca_bundle: Option<PathBuf>,
    /// The flag that names that file.
    pub(crate) ca_flag: &'static str,
}

/// Resolves names for one zone. The connector uses exactly the addresses that it returns, so that a name server cannot
/// answer the check with one address and the connection with another.
struct Guard {
    networks: Arc<[Network]>,
    lookup: Arc<dyn Lookup>,
    zone: Zone,
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let (networks, zone, host) = (Arc::clone(&self.networks), self.zone, name.as_str().to_owned());
        let addresses = self.lookup.lookup(host.clone());
        Box::pin(async move {
            let addresses = tokio::time::timeout(LOOKUP_TIMEOUT, addresses)
                .await
                .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the name server does not answer"))??;
            // One forbidden address is enough: an honest name does not mix public and private ones.
            for ip in &addresses {
                zone.check(&networks, &host, *ip)?;
            }
            let addresses: Addrs = Box::new(addresses.into_iter().map(|ip| SocketAddr::new(ip, 0)));
            Ok(addresses)
        })
    }
}

/// A client for one zone: follows no redirect, uses no proxy of the environment, decodes nothing, retries nothing.
pub(crate) fn client(bounds: &Bounds, lookup: &Arc<dyn Lookup>, zone: Zone) -> Result<Client, ClientError> {
    let guard = Guard {
        networks: bounds.networks.as_slice().into(),
        lookup: Arc::clone(lookup),
        zone,
    };
    builder(bounds)?
        .dns_resolver(guard)
        .build()
        .map_err(|error| ClientError::Build(words(&error)))
}

/// A client for the places that hold the operator's own credentials; these addresses come from its environment.
pub(crate) fn credentials_client(bounds: &Bounds) -> Result<Client, ClientError> {
    builder(bounds)?
        .timeout(Duration::from_secs(15))
        .build()
        .map_err(|error| ClientError::Build(words(&error)))
}

fn builder(bounds: &Bounds) -> Result<ClientBuilder, ClientError> {
    // Another part of the process may have chosen the same provider already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = Client::builder()
        .user_agent(concat!("flink-job-operator/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .referer(false)
        .retry(reqwest::retry::never())
        .no_proxy()
        .http1_only()
        .http1_max_headers(100)
        .connect_timeout(bounds.connect_timeout)
        .pool_max_idle_per_host(4)
        .pool_idle_timeout(Duration::from_secs(60));
    if let Some(path) = &bounds.ca_bundle {
        let bundle = |why| ClientError::Bundle {
            path: path.display().to_string(),
            why,
            flag: bounds.ca_flag,
        };
        let pem = std::fs::read(path).map_err(|error| bundle(error.to_string()))?;
        let certificates = Certificate::from_pem_bundle(&pem).map_err(|error| bundle(words(&error)))?;
        if certificates.is_empty() {
            return Err(bundle("it has no certificate".to_owned()));
        }
        builder = builder.tls_certs_merge(certificates);
    }
    Ok(builder)
}

/// Why there is no client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ClientError {
    #[error("cannot read the certificate authorities in {path}: {why}; correct {flag}")]
    Bundle {
        path: String,
        why: String,
        flag: &'static str,
    },
    #[error("cannot set up the HTTP client: {0}; check the system's certificate authorities")]
    Build(String),
}

/// The refusal inside an error of a client, if that is what it is.
pub(crate) fn blocked(error: &(dyn Error + 'static)) -> Option<Blocked> {
    causes(error).find_map(|cause| cause.downcast_ref::<Blocked>().cloned())
}

/// The innermost cause in words, at most 160 characters on one line.
pub(crate) fn words(error: &(dyn Error + 'static)) -> String {
    let innermost = causes(error).last().map(ToString::to_string).unwrap_or_default();
    innermost
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(160)
        .collect()
}

/// An error and its causes. An `io::Error` hides the error that it wraps from `source`, so it is opened here.
pub(crate) fn causes<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| {
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        match wrapped {
            Some(wrapped) => {
                let wrapped: &(dyn Error + 'static) = wrapped;
                Some(wrapped)
            }
            None => error.source(),
        }
    })
    .take(16)
}
