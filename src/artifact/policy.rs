//! What the administrator allows to be fetched, and at what cost. Set by flags and the operator's environment alone:
//! nothing in a resource can widen it.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use url::Url;

use super::{
    allowed::AllowedArtifact,
    uri::{JarUri, shown},
};
use crate::{
    outbound::{Blocked, Bounds, Network, Zone, is_inner_name, literal},
    sensitive::Sensitive,
};

/// The administrator's settings for artifacts.
#[derive(Debug, Clone)]
pub struct ArtifactPolicy {
    /// Plain `http://` from public hosts. Without it only URLs under an [`allowed`](Self::allowed) `http://` prefix are
    /// fetched in the clear.
    pub allow_http: bool,
    /// Prefixes that are trusted: they may be on private hosts and on any port. `s3://` with credentials needs one.
    pub allowed: Vec<AllowedArtifact>,
    /// Refuse everything that is not under an [`allowed`](Self::allowed) prefix.
    pub only_allowed: bool,
    /// Networks on the inside that any host may resolve to.
    pub networks: Vec<Network>,
    /// The ports of hosts that are not under an allowed prefix.
    pub ports: Vec<u16>,
    /// The largest artifact, in bytes.
    pub max_bytes: u64,
    /// The time for one fetch, redirects and body together.
    pub deadline: Duration,
    /// The time for a connection: name, TCP and TLS.
    pub connect_timeout: Duration,
    /// The time from a request to the head of its reply.
    pub reply_timeout: Duration,
    /// The slowest that a body may arrive.
    pub pace: Pace,
    /// How many redirects are followed.
    pub max_redirects: u8,
    /// Fetches at once.
    pub concurrent: usize,
    /// Fetches at once for one namespace, so that slow hosts of one tenant do not take the others' turns.
    pub concurrent_per_namespace: usize,
    /// Where artifacts are kept; each process makes a folder of its own in it.
    pub cache_dir: PathBuf,
    /// The most bytes in the cache, those that are being received included.
    pub cache_bytes: u64,
    /// A PEM file with certificate authorities to trust besides the system's.
    pub ca_bundle: Option<PathBuf>,
    /// Object stores.
    pub s3: S3Settings,
}

/// The slowest that a body may arrive: an average over a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Bytes a second.
    pub bytes_per_second: u64,
    /// The window. Only time spent waiting for the server counts.
    pub window: Duration,
}

impl Pace {
    /// The bytes that a window must bring.
    pub(super) fn bytes(self) -> u64 {
        let bytes = u128::from(self.bytes_per_second) * self.window.as_millis() / 1000;
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }
}

/// How `s3://` is reached.
#[derive(Debug, Clone, Default)]
pub struct S3Settings {
    /// A store other than Amazon's, asked with path-style requests. May be private and plain `http://`.
    pub endpoint: Option<Url>,
    /// The region; without it `AWS_REGION`, else `us-east-1`.
    pub region: Option<String>,
    /// Who asks.
    pub credentials: S3Credentials,
    /// State is looked at, too: under the prefixes that the administrator gave to namespaces.
    pub reads_state: bool,
}

/// Who asks an object store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum S3Credentials {
    /// What the operator's environment holds: `AWS_*` variables, a web identity token, pod identity, the instance's role.
    #[default]
    Environment,
    /// Unsigned requests; only public objects.
    Anonymous,
    /// A fixed key.
    Static {
        /// The key's id.
        key_id: String,
        /// The key.
        secret: Sensitive,
    },
}

/// What the policy refuses. The message says what the administrator could change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// `http://` to a host that is not under an allowed prefix.
    #[error("{0} is plain http; use https, or ask the administrator to allow its prefix with --allowed-artifact")]
    PlainHttp(String),
    /// A redirect from `https://` to `http://`.
    #[error("the redirect to {0} leaves https; the artifact's host must redirect to https")]
    Downgrade(String),
    /// A host name that means something on the inside only.
    #[error(
        "{0:?} is a name on the inside of a network; ask the administrator to allow its prefix with --allowed-artifact"
    )]
    InnerName(String),
    /// An address that is not public.
    #[error(
        "{host} has the {kind} address {ip}, which the operator does not connect to{}",
        hint(kind)
    )]
    Address {
        /// The host of the URL.
        host: String,
        /// The address.
        ip: IpAddr,
        /// How far it reaches.
        kind: String,
    },
    /// A port that is none of the usual ones.
    #[error(
        "port {port} of {host} is not allowed; use 443, or ask the administrator to allow it with --allowed-artifact-port"
    )]
    Port {
        /// The host of the URL.
        host: String,
        /// The port.
        port: u16,
    },
    /// Not under an allowed prefix, and only those are fetched.
    #[error("{0} is under none of the prefixes that the administrator allows with --allowed-artifact")]
    Unlisted(String),
    /// The operator's credentials would read for whoever writes a job.
    #[error(
        "{0} would be read with the operator's credentials; the administrator must allow it with \
         --allowed-artifact NAMESPACE=s3://BUCKET/PREFIX/"
    )]
    Bucket(String),
}

impl From<Blocked> for Denied {
    fn from(Blocked { host, ip, kind }: Blocked) -> Self {
        Self::Address {
            host,
            ip,
            kind: kind.to_string(),
        }
    }
}

fn hint(kind: &str) -> &'static str {
    match kind {
        "private" | "loopback" => "; ask the administrator to allow the URL's prefix with --allowed-artifact",
        _ => "",
    }
}

impl ArtifactPolicy {
    /// The defaults: `https://` from public hosts, 512 MiB, ten minutes, 2 GiB of cache in `cache_dir`.
    #[must_use]
    pub fn new(cache_dir: impl Into<PathBuf>) -> Self {
        Self {
            allow_http: false,
            allowed: Vec::new(),
            only_allowed: false,
            networks: Vec::new(),
            ports: vec![80, 443, 8080, 8443],
            max_bytes: 512 << 20,
            deadline: Duration::from_secs(600),
            connect_timeout: Duration::from_secs(10),
            reply_timeout: Duration::from_secs(30),
            pace: Pace {
                bytes_per_second: 16 << 10,
                window: Duration::from_secs(30),
            },
            max_redirects: 3,
            concurrent: 32,
            concurrent_per_namespace: 4,
            cache_dir: cache_dir.into(),
            cache_bytes: 2 << 30,
            ca_bundle: None,
            s3: S3Settings::default(),
        }
    }

    /// Whether a job of `namespace` may have this artifact, as far as the text tells. Names are resolved, and their
    /// addresses checked, when it is fetched.
    pub fn admit(&self, namespace: &str, uri: &JarUri) -> Result<(), Denied> {
        self.zone(namespace, uri).map(drop)
    }

    /// How far the connections for `uri` may reach.
    pub(super) fn zone(&self, namespace: &str, uri: &JarUri) -> Result<Zone, Denied> {
        match uri {
            JarUri::Http(url) => self.zone_of_url(namespace, url),
            JarUri::S3 { bucket, key } => {
                let listed = self
                    .allowed
                    .iter()
                    .any(|allowed| allowed.covers_object(namespace, bucket, key));
                match (listed, &self.s3.credentials) {
                    (false, _) if self.only_allowed => Err(Denied::Unlisted(uri.to_string())),
                    (false, S3Credentials::Environment | S3Credentials::Static { .. }) => {
                        Err(Denied::Bucket(uri.to_string()))
                    }
                    (true, _) | (false, S3Credentials::Anonymous) => Ok(self.endpoint_zone()),
                }
            }
        }
    }

    /// How far connections to the object store may reach: an endpoint that the administrator set is trusted.
    pub(super) fn endpoint_zone(&self) -> Zone {
        self.s3.endpoint.as_ref().map_or(Zone::Public, Zone::of_trusted)
    }

    /// How far the connections for a URL may reach; for redirects too.
    pub(super) fn zone_of_url(&self, namespace: &str, url: &Url) -> Result<Zone, Denied> {
        let zone = if self.allowed.iter().any(|allowed| allowed.covers_url(namespace, url)) {
            Zone::of_trusted(url)
        } else {
            self.check_untrusted(url)?;
            Zone::Public
        };
        // Connectors do not ask the resolver about literal addresses.
        if let Some(ip) = literal(url) {
            self.check_address(zone, url.host_str().unwrap_or_default(), ip)?;
        }
        Ok(zone)
    }

    fn check_untrusted(&self, url: &Url) -> Result<(), Denied> {
        if self.only_allowed {
            return Err(Denied::Unlisted(shown(url)));
        }
        if url.scheme() != "https" && !self.allow_http {
            return Err(Denied::PlainHttp(shown(url)));
        }
        let host = url.host_str().unwrap_or_default();
        // Only a clearer answer than what the address would give; an opened network may have such names.
        if self.networks.is_empty() && literal(url).is_none() && is_inner_name(host) {
            return Err(Denied::InnerName(host.to_owned()));
        }
        match url.port_or_known_default() {
            Some(port) if !self.ports.contains(&port) => Err(Denied::Port {
                host: host.to_owned(),
                port,
            }),
            Some(_) | None => Ok(()),
        }
    }

    /// Whether a connection in `zone` may go to `ip`.
    pub(super) fn check_address(&self, zone: Zone, host: &str, ip: IpAddr) -> Result<(), Denied> {
        Ok(zone.check(&self.networks, host, ip)?)
    }

    /// How this policy's clients connect.
    pub(super) fn bounds(&self) -> Bounds {
        Bounds {
            networks: self.networks.clone(),
            connect_timeout: self.connect_timeout,
            ca_bundle: self.ca_bundle.clone(),
            ca_flag: "--artifact-ca",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(allowed: &[&str]) -> ArtifactPolicy {
        let allowed = allowed.iter().map(|text| text.parse().expect(text)).collect();
        ArtifactPolicy {
            allowed,
            ..ArtifactPolicy::new("/nowhere")
        }
    }

    fn parse(uri: &str) -> JarUri {
        JarUri::parse(uri).expect(uri)
    }

    fn zone(policy: &ArtifactPolicy, uri: &str) -> Result<Zone, Denied> {
        policy.zone("team-a", &parse(uri))
    }

    #[test]
    fn public_https_is_open_and_nothing_else_is() {
        let policy = policy(&[]);
        assert_eq!(zone(&policy, "https://repo.example/x.jar"), Ok(Zone::Public));
        assert_eq!(zone(&policy, "https://repo.example:8443/x.jar"), Ok(Zone::Public));
        assert!(matches!(
            zone(&policy, "http://repo.example/x.jar"),
            Err(Denied::PlainHttp(_))
        ));
        assert!(matches!(
            zone(&policy, "https://repo.example:22/x.jar"),
            Err(Denied::Port { port: 22, .. })
        ));
        for name in [
            "kubernetes",
            "kubernetes.default.svc",
            "a.svc.cluster.local",
            "metadata.google.internal.",
            "x.LOCALHOST",
        ] {
            assert!(
                matches!(zone(&policy, &format!("https://{name}/x")), Err(Denied::InnerName(_))),
                "{name}"
            );
        }
        assert!(matches!(
            zone(&policy, "https://10.0.0.1/x"),
            Err(Denied::Address { .. })
        ));
        assert!(matches!(zone(&policy, "s3://bucket/x.jar"), Err(Denied::Bucket(_))));
        let open = ArtifactPolicy {
            allow_http: true,
            ..policy
        };
        assert_eq!(zone(&open, "http://repo.example/x.jar"), Ok(Zone::Public));
    }

    #[test]
    fn an_allowed_prefix_opens_the_inside_but_not_metadata() {
        let policy = policy(&[
            "http://repo.corp/jars/",
            "http://127.0.0.1:9000",
            "https://169.254.169.254/",
        ]);
        assert_eq!(zone(&policy, "http://repo.corp/jars/x.jar"), Ok(Zone::Private));
        assert!(zone(&policy, "http://repo.corp/other/x.jar").is_err());
        assert_eq!(zone(&policy, "http://127.0.0.1:9000/x.jar"), Ok(Zone::Loopback));
        assert!(zone(&policy, "https://169.254.169.254/x").is_err());
        let check = |zone, ip: &str| policy.check_address(zone, "h", ip.parse().expect(ip));
        assert!(check(Zone::Private, "10.0.0.1").is_ok() && check(Zone::Private, "127.0.0.1").is_err());
        assert!(check(Zone::Loopback, "127.0.0.1").is_ok() && check(Zone::Loopback, "169.254.169.254").is_err());
        assert!(check(Zone::Public, "10.0.0.1").is_err() && check(Zone::Public, "8.8.8.8").is_ok());
    }

    #[test]
    fn an_open_network_counts_for_every_host() {
        let policy = ArtifactPolicy {
            networks: vec!["10.1.0.0/16".parse().unwrap(), "0.0.0.0/0".parse().unwrap()],
            ..policy(&[])
        };
        assert!(
            policy
                .check_address(Zone::Public, "h", "10.1.2.3".parse().unwrap())
                .is_ok()
        );
        assert!(
            policy
                .check_address(Zone::Public, "h", "169.254.169.254".parse().unwrap())
                .is_err()
        );
    }

    #[test]
    fn credentials_read_only_where_the_administrator_says() {
        let policy = policy(&["team-a=s3://jars/team-a/"]);
        assert_eq!(zone(&policy, "s3://jars/team-a/x.jar"), Ok(Zone::Public));
        assert!(zone(&policy, "s3://jars/team-b/x.jar").is_err());
        assert!(
            policy
                .zone("team-b", &JarUri::parse("s3://jars/team-a/x.jar").unwrap())
                .is_err()
        );
        let s3 = S3Settings {
            credentials: S3Credentials::Anonymous,
            ..S3Settings::default()
        };
        let anonymous = ArtifactPolicy { s3, ..policy.clone() };
        assert!(zone(&anonymous, "s3://other/x.jar").is_ok());
        let only = ArtifactPolicy {
            only_allowed: true,
            ..anonymous
        };
        assert!(zone(&only, "s3://other/x.jar").is_err() && zone(&only, "https://repo.example/x").is_err());
    }

    #[test]
    fn messages_are_bounded_and_hide_the_query() {
        let uri = format!("http://repo.example/{}?sig=s3cr3t", "a".repeat(1900));
        let message = zone(&policy(&[]), &uri).unwrap_err().to_string();
        assert!(message.len() <= 512 && !message.contains("s3cr3t"), "{message}");
    }
}
