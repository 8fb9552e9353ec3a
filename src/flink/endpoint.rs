//! Where a cluster's REST endpoint is and how to talk to it: address, credentials, TLS.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use reqwest::{
    dns::{Addrs, Name, Resolve, Resolving},
    header::HeaderValue,
};
use url::{Host, Url};

/// How long a TCP and TLS connection may take to come up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Flink closes a connection that was idle for five minutes (`rest.idleness-timeout`); ours go well before.
const POOL_IDLE: Duration = Duration::from_secs(90);

/// A credential. It cannot be printed, and no message of the client contains it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a credential over.
    #[must_use]
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Credentials for each request. Over plain HTTP they are refused, but for loopback.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Auth {
    /// No `Authorization` header.
    #[default]
    None,
    /// HTTP basic authentication.
    Basic {
        /// User name, without a colon.
        username: String,
        /// Password.
        password: Secret,
    },
    /// A bearer token.
    Bearer(Secret),
}

impl Auth {
    /// The value of the header `Authorization`.
    fn header(&self) -> Result<Option<HeaderValue>, EndpointError> {
        let text = match self {
            Self::None => return Ok(None),
            Self::Basic { username, .. } if username.contains(':') => return Err(EndpointError::Credentials),
            Self::Basic { username, password } => {
                format!(
                    "Basic {}",
                    base64(format!("{username}:{}", password.expose()).as_bytes())
                )
            }
            Self::Bearer(token) => format!("Bearer {}", token.expose().trim()),
        };
        let mut value = HeaderValue::from_str(&text).map_err(|_| EndpointError::Credentials)?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    /// What must not be seen in a message, even when a server echoes it.
    fn secrets(&self) -> Vec<String> {
        let plain = match self {
            Self::None => return Vec::new(),
            Self::Basic { username, password } => {
                let pair = base64(format!("{username}:{}", password.expose()).as_bytes());
                vec![password.expose().to_owned(), pair]
            }
            Self::Bearer(token) => vec![token.expose().trim().to_owned()],
        };
        plain.into_iter().filter(|secret| secret.len() >= 4).collect()
    }
}

/// Base64 with padding (RFC 4648, section 4), which basic authentication needs.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |n: usize| u32::from(chunk.get(n).copied().unwrap_or_default());
        let group = byte(0) << 16 | byte(1) << 8 | byte(2);
        for n in 0..4 {
            let digit = usize::try_from(group >> (18 - 6 * n) & 0x3f).unwrap_or_default();
            let char = ALPHABET.get(digit).copied().map(char::from).unwrap_or_default();
            out.push(if n <= chunk.len() { char } else { '=' });
        }
    }
    out
}

/// TLS settings beyond the platform's. At least TLS 1.2 is always asked for, and certificates are always checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// Certificate authorities, PEM. They replace the platform's.
    pub ca_pem: Option<Vec<u8>>,
    /// Our certificate chain, PEM, for clusters that ask for one (`security.ssl.rest.authentication-enabled`).
    pub client_cert_pem: Option<Vec<u8>>,
    /// The key of that certificate, PEM.
    pub client_key_pem: Option<Secret>,
    /// The DNS name that the certificate is checked for, when it is not the URL's host.
    ///
    /// The requests carry this name in SNI and `Host` as well; the connection still goes to the URL's host.
    pub server_name: Option<String>,
}

/// The REST endpoint of one Flink cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterEndpoint {
    /// `http` or `https`, host, port, and the path prefix of a proxy where there is one.
    pub url: Url,
    /// Credentials.
    pub auth: Auth,
    /// TLS settings; for `https` only.
    pub tls: Option<Tls>,
}

impl ClusterEndpoint {
    /// An endpoint without credentials, on the platform's certificate authorities.
    #[must_use]
    pub const fn new(url: Url) -> Self {
        Self {
            url,
            auth: Auth::None,
            tls: None,
        }
    }
}

/// An endpoint that no client is built for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// Neither `http` nor `https`, or no host.
    #[error("the address of the cluster must be an http or https URL with a host")]
    Address,
    /// User info, a query or a fragment in the URL.
    #[error("the address of the cluster must not contain user info, a query or a fragment; use `auth` for credentials")]
    Extras,
    /// Credentials over plain HTTP to a host that is not loopback.
    #[error("credentials are not sent over plain http; use https")]
    PlainCredentials,
    /// Credentials with characters that no header can carry.
    #[error("the credentials contain characters that an HTTP header cannot carry")]
    Credentials,
    /// `tls` for an `http` address.
    #[error("`tls` is set, but the address is plain http; use https")]
    TlsWithoutHttps,
    /// A broken PEM.
    #[error("the {0} is not valid PEM; check the Secret")]
    Pem(&'static str),
    /// `serverName` is not a DNS name.
    #[error("serverName must be a DNS name")]
    ServerName,
    /// The platform's certificates cannot be read, or the like.
    #[error("no HTTP client could be built: {0}")]
    Client(String),
}

/// What the transport needs of an endpoint.
pub(super) struct Connections {
    /// The URL that requests are made from.
    pub(super) base: Url,
    /// For messages: what the user wrote, without a path.
    pub(super) origin: Arc<str>,
    pub(super) authorization: Option<HeaderValue>,
    pub(super) secrets: Arc<[String]>,
    /// Reuses connections; for reads.
    pub(super) pooled: reqwest::Client,
    /// A new connection for each request; for effects. A connection that the server closed meanwhile would end in "lost",
    /// so in doubt about a submission.
    pub(super) fresh: reqwest::Client,
}

impl Connections {
    pub(super) fn to(endpoint: &ClusterEndpoint) -> Result<Self, EndpointError> {
        let ClusterEndpoint { url, auth, tls } = endpoint;
        let https = match url.scheme() {
            "https" => true,
            "http" => false,
            _ => return Err(EndpointError::Address),
        };
        let host = url.host().ok_or(EndpointError::Address)?.to_owned();
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
            return Err(EndpointError::Extras);
        }
        if *auth != Auth::None && !https && !is_loopback(&host) {
            return Err(EndpointError::PlainCredentials);
        }
        if tls.is_some() && !https {
            return Err(EndpointError::TlsWithoutHttps);
        }
        let mut base = url.clone();
        let server_name = tls.as_ref().and_then(|tls| tls.server_name.as_deref());
        let pinned = server_name.map(|name| pin(&mut base, host, name)).transpose()?;
        let build = |idle_connections: usize| {
            let builder = base_builder(https).pool_max_idle_per_host(idle_connections);
            let builder = match &pinned {
                Some(resolver) => builder.dns_resolver(Arc::clone(resolver)),
                None => builder,
            };
            tls_settings(builder, tls.as_ref())?
                .build()
                .map_err(|error| EndpointError::Client(root(&error)))
        };
        Ok(Self {
            base,
            origin: url.origin().ascii_serialization().into(),
            authorization: auth.header()?,
            secrets: auth.secrets().into(),
            pooled: build(2)?,
            fresh: build(0)?,
        })
    }
}

/// What all connections have in common.
fn base_builder(https: bool) -> reqwest::ClientBuilder {
    // Another part of the process may have installed it already; the first one stays.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder()
        .user_agent(concat!("flink-job-operator/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .referer(false)
        .http1_only()
        .tcp_nodelay(true)
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(POOL_IDLE)
        .https_only(https);
    if https {
        builder.tls_version_min(reqwest::tls::Version::TLS_1_2)
    } else {
        // No certificate is ever checked, so none is read from disk.
        builder.tls_certs_only([])
    }
}

fn tls_settings(
    mut builder: reqwest::ClientBuilder,
    tls: Option<&Tls>,
) -> Result<reqwest::ClientBuilder, EndpointError> {
    let Some(tls) = tls else { return Ok(builder) };
    if let Some(pem) = &tls.ca_pem {
        let bad = EndpointError::Pem("certificate authority");
        let authorities = reqwest::Certificate::from_pem_bundle(pem).map_err(|_| bad.clone())?;
        if authorities.is_empty() {
            return Err(bad);
        }
        builder = builder.tls_certs_only(authorities);
    }
    match (&tls.client_cert_pem, &tls.client_key_pem) {
        (None, None) => Ok(builder),
        (Some(chain), Some(key)) => {
            let pem = [chain.as_slice(), b"\n", key.expose().as_bytes()].concat();
            let identity = reqwest::Identity::from_pem(&pem);
            Ok(builder.identity(identity.map_err(|_| EndpointError::Pem("client certificate or key"))?))
        }
        _ => Err(EndpointError::Pem("client certificate, which needs its key beside it,")),
    }
}

/// Makes the URL carry `name`, and returns a resolver that still leads to the original host.
fn pin(base: &mut Url, host: Host<String>, name: &str) -> Result<Arc<Pinned>, EndpointError> {
    let is_domain = matches!(Host::parse(name), Ok(Host::Domain(domain)) if domain == name);
    if !is_domain || base.set_host(Some(name)).is_err() {
        return Err(EndpointError::ServerName);
    }
    Ok(Arc::new(Pinned(host)))
}

/// Resolves every name to one host.
struct Pinned(Host<String>);

impl Resolve for Pinned {
    fn resolve(&self, _: Name) -> Resolving {
        let host = self.0.clone();
        Box::pin(async move {
            let address = |ip: IpAddr| SocketAddr::new(ip, 0);
            let addresses: Vec<SocketAddr> = match host {
                Host::Ipv4(ip) => vec![address(ip.into())],
                Host::Ipv6(ip) => vec![address(ip.into())],
                Host::Domain(domain) => tokio::net::lookup_host((domain.as_str(), 0)).await?.collect(),
            };
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

fn is_loopback(host: &Host<String>) -> bool {
    match host {
        Host::Ipv4(ip) => ip.is_loopback(),
        Host::Ipv6(ip) => ip.is_loopback(),
        Host::Domain(domain) => domain == "localhost",
    }
}

/// The innermost source of an error: what the operating system, resolver or TLS said.
pub(super) fn root(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(url: &str) -> ClusterEndpoint {
        ClusterEndpoint::new(url.parse().unwrap())
    }

    fn error(endpoint: &ClusterEndpoint) -> Option<EndpointError> {
        Connections::to(endpoint).err()
    }

    #[test]
    fn addresses_that_could_leak_or_mislead_are_refused() {
        assert_eq!(error(&endpoint("http://h:1/prefix")), None);
        assert_eq!(error(&endpoint("ftp://h")), Some(EndpointError::Address));
        for url in ["http://u:p@h", "http://u@h", "http://h?x", "http://h#x"] {
            assert_eq!(error(&endpoint(url)), Some(EndpointError::Extras), "{url}");
        }
    }

    #[test]
    fn credentials_stay_off_plain_http() {
        let with_auth = |url: &str| ClusterEndpoint {
            auth: Auth::Bearer(Secret::new("token-value")),
            ..endpoint(url)
        };
        for url in [
            "http://127.0.0.1:1",
            "http://[::1]:1",
            "http://localhost:1",
            "https://h",
        ] {
            assert_eq!(error(&with_auth(url)), None, "{url}");
        }
        for url in ["http://h:1", "http://10.0.0.1", "http://localhost.evil.example"] {
            assert_eq!(error(&with_auth(url)), Some(EndpointError::PlainCredentials), "{url}");
        }
        assert!(!format!("{:?}", with_auth("https://h")).contains("token-value"));
    }

    #[test]
    fn broken_tls_settings_are_refused() {
        let with_tls = |tls| ClusterEndpoint {
            tls: Some(tls),
            ..endpoint("https://h")
        };
        let bad_ca = Tls {
            ca_pem: Some(b"nonsense".to_vec()),
            ..Tls::default()
        };
        assert!(matches!(error(&with_tls(bad_ca)), Some(EndpointError::Pem(_))));
        let keyless = Tls {
            client_cert_pem: Some(Vec::new()),
            ..Tls::default()
        };
        assert!(matches!(error(&with_tls(keyless)), Some(EndpointError::Pem(_))));
        for name in ["10.0.0.1", "a b", "", "::1"] {
            let tls = Tls {
                server_name: Some(name.to_owned()),
                ..Tls::default()
            };
            assert_eq!(error(&with_tls(tls)), Some(EndpointError::ServerName), "{name}");
        }
        let plain = ClusterEndpoint {
            tls: Some(Tls::default()),
            ..endpoint("http://h")
        };
        assert_eq!(error(&plain), Some(EndpointError::TlsWithoutHttps));
    }

    #[test]
    fn basic_credentials_are_encoded_as_rfc_4648_says() {
        for (plain, encoded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
        ] {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
    }
}
