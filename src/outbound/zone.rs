//! How far the connections for a URL may reach.

use std::net::IpAddr;

use url::{Host, Url};

use super::address::{Inside, Network, Reach, reach};

/// How far the connections for a URL may reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Zone {
    /// Public addresses, and the networks that the administrator opened.
    Public,
    /// Also private addresses: the URL is under an allowed prefix.
    Private,
    /// Also the own host: the allowed prefix itself names it.
    Loopback,
}

/// An address that is not connected to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{host} has the {kind} address {ip}, which the operator does not connect to")]
pub(crate) struct Blocked {
    /// The host of the URL, its first hundred characters.
    pub(crate) host: String,
    /// The address.
    pub(crate) ip: IpAddr,
    /// How far it reaches.
    pub(crate) kind: Reach,
}

impl Zone {
    /// The zone of a URL under an allowed prefix. It reaches the own host only when it says so itself; a name that resolves
    /// to it does not count.
    pub(crate) fn of_trusted(url: &Url) -> Self {
        let own_host = match url.host() {
            Some(Host::Domain(name)) => name.trim_end_matches('.').eq_ignore_ascii_case("localhost"),
            Some(Host::Ipv4(ip)) => reach(ip.into()) == Reach::Inside(Inside::Loopback),
            Some(Host::Ipv6(ip)) => reach(ip.into()) == Reach::Inside(Inside::Loopback),
            None => false,
        };
        if own_host { Self::Loopback } else { Self::Private }
    }

    /// Whether a connection may go to `ip`. `networks` are those that the administrator opened for every host.
    pub(crate) fn check(self, networks: &[Network], host: &str, ip: IpAddr) -> Result<(), Blocked> {
        let kind = reach(ip);
        let open = match kind {
            Reach::Public => true,
            Reach::Never(_) => false,
            Reach::Inside(inside) => {
                let by_zone = match self {
                    Self::Public => false,
                    Self::Private => inside == Inside::Private,
                    Self::Loopback => true,
                };
                by_zone || networks.iter().any(|network| network.contains(ip))
            }
        };
        if open {
            Ok(())
        } else {
            let host = host.chars().take(100).collect();
            Err(Blocked { host, ip, kind })
        }
    }
}

/// The host as an address, when it is one. Connectors do not ask the resolver about those.
pub(crate) fn literal(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Ipv4(ip) => Some(ip.into()),
        Host::Ipv6(ip) => Some(ip.into()),
        Host::Domain(_) => None,
    }
}

/// Names that only resolve on the inside: single labels, and the suffixes of Kubernetes, RFC 6762, 6761, 8375 and ICANN's
/// `internal`.
pub(crate) fn is_inner_name(host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let suffixes = [
        ".svc",
        ".local",
        ".localhost",
        ".internal",
        ".home.arpa",
        ".localdomain",
        ".intranet",
        ".lan",
    ];
    !host.contains('.') || suffixes.iter().any(|suffix| host.ends_with(suffix))
}
