//! Where notifications may go, and how fast. Set by the administrator alone: nothing in a resource can widen it.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use url::Url;

use super::{place::Place, words::check};
use crate::{
    api::job::Notification,
    outbound::{Blocked, Bounds, UrlPrefix, Zone, is_inner_name, literal},
};

/// The administrator's settings for notifications.
#[derive(Debug, Clone, Default)]
pub struct NotifyPolicy {
    /// Prefixes that notifications may go to (`--allowed-notification-url`): whole origins and path segments. When there
    /// are some, nothing else is; they may be plain `http://` and on private hosts. Without any, each public `https://` host
    /// may be named.
    pub allowed: Vec<UrlPrefix>,
    /// A PEM file with certificate authorities to trust besides the system's.
    pub ca_bundle: Option<PathBuf>,
    /// How many, how fast.
    pub limits: NotifyLimits,
}

/// How many notifications, how fast.
#[derive(Debug, Clone, PartialEq)]
pub struct NotifyLimits {
    /// Deliveries that wait at most.
    pub capacity: usize,
    /// Deliveries to one host that wait at most. Hosts are told apart for each namespace.
    pub host_capacity: usize,
    /// Requests at once.
    pub concurrency: usize,
    /// Requests to one host, and notices about one resource, after a quiet time; one more every `interval`.
    pub burst: u32,
    /// See `burst`.
    pub interval: Duration,
    /// How often a delivery is tried.
    pub tries: u32,
    /// The longest wait before the second try; it grows fourfold each time, and a random part of it is waited.
    pub first_pause: Duration,
    /// The longest wait between tries.
    pub longest_pause: Duration,
    /// The most that a receiver's `Retry-After` counts.
    pub longest_retry_after: Duration,
    /// The time for a connection: name, TCP and TLS.
    pub connect_timeout: Duration,
    /// The time for one try, the answer included.
    pub timeout: Duration,
    /// For how long the same event is not sent to the same place again.
    pub window: Duration,
    /// What could not be delivered for this long is given up.
    pub patience: Duration,
    /// For how long an address from a Secret is used before it is read again.
    pub secret_age: Duration,
}

impl Default for NotifyLimits {
    /// 4,096 waiting, 256 for one host; 256 requests at once; 30 to one host or about one resource and one more every 2 s; 5
    /// tries within 1, 4, 16 and 60 s; `Retry-After` up to 5 min; 5 s to connect, 10 s in all; the same event once in
    /// 10 min; given up after 30 min; Secrets read once a minute.
    fn default() -> Self {
        Self {
            capacity: 4096,
            host_capacity: 256,
            concurrency: 256,
            burst: 30,
            interval: Duration::from_secs(2),
            tries: 5,
            first_pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(60),
            longest_retry_after: Duration::from_secs(300),
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(10),
            window: Duration::from_secs(600),
            patience: Duration::from_secs(1800),
            secret_age: Duration::from_secs(60),
        }
    }
}

/// What the policy refuses, as the rest of a sentence about the address, which it does not repeat.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Denied {
    #[error("is plain http; use https, or ask the administrator to allow its prefix with --allowed-notification-url")]
    PlainHttp,
    #[error(
        "has a host name on the inside of a network; ask the administrator to allow its prefix with \
         --allowed-notification-url"
    )]
    InnerName,
    #[error("is under none of the prefixes that the administrator allows with --allowed-notification-url")]
    Unlisted,
    #[error("leads to the {kind} address {ip}, which the operator does not connect to")]
    Address { kind: String, ip: IpAddr },
}

impl From<Blocked> for Denied {
    fn from(Blocked { kind, ip, .. }: Blocked) -> Self {
        let kind = kind.to_string();
        Self::Address { kind, ip }
    }
}

impl NotifyPolicy {
    /// Checks the entries of `spec.notifications`: by themselves, and against what the administrator allows. Addresses in
    /// Secrets, and what names resolve to, are checked when something is sent.
    ///
    /// # Errors
    /// A sentence that names the entry and says what to do. It does not repeat the address, which may hold a token.
    pub fn check(&self, notifications: &[Notification]) -> Result<(), String> {
        check(notifications)?;
        for entry in notifications {
            if let Ok(Place::Url(url)) = Place::of(entry) {
                let refused = |denied| format!("spec.notifications, entry {:?}: its url {denied}", entry.name);
                self.zone(&url).map_err(refused)?;
            }
        }
        Ok(())
    }

    /// How far the connections for an address may reach.
    pub(super) fn zone(&self, url: &Url) -> Result<Zone, Denied> {
        let host = url.host_str().unwrap_or_default();
        let zone = if self.allowed.iter().any(|prefix| prefix.admits(url)) {
            Zone::of_trusted(url)
        } else if !self.allowed.is_empty() {
            return Err(Denied::Unlisted);
        } else if url.scheme() != "https" {
            return Err(Denied::PlainHttp);
        } else if literal(url).is_none() && is_inner_name(host) {
            return Err(Denied::InnerName);
        } else {
            Zone::Public
        };
        if let Some(ip) = literal(url) {
            zone.check(&[], host, ip)?;
        }
        Ok(zone)
    }

    /// How the clients connect.
    pub(super) fn bounds(&self) -> Bounds {
        Bounds {
            networks: Vec::new(),
            connect_timeout: self.limits.connect_timeout,
            ca_bundle: self.ca_bundle.clone(),
            ca_flag: "--notification-ca",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(allowed: &[&str]) -> NotifyPolicy {
        NotifyPolicy {
            allowed: allowed.iter().map(|text| text.parse().expect(text)).collect(),
            ..NotifyPolicy::default()
        }
    }

    fn url(text: &str) -> Url {
        text.parse().expect(text)
    }

    #[test]
    fn without_a_list_any_public_https_host_is_fine() {
        let none = policy(&[]);
        for text in [
            "https://hooks.example/x?y",
            "https://hooks.example:4443/",
            "https://8.8.8.8/",
        ] {
            assert_eq!(none.zone(&url(text)), Ok(Zone::Public), "{text}");
        }
        for text in ["http://hooks.example/", "http://8.8.8.8/", "http://127.0.0.1/"] {
            assert_eq!(none.zone(&url(text)), Err(Denied::PlainHttp), "{text}");
        }
        for text in [
            "https://kubernetes/",
            "https://kubernetes.default.svc/",
            "https://a.svc.cluster.local./",
        ] {
            assert_eq!(none.zone(&url(text)), Err(Denied::InnerName), "{text}");
        }
        for text in [
            "https://127.0.0.1/",
            "https://2130706433/",
            "https://10.0.0.1/",
            "https://169.254.169.254/",
            "https://[::1]/",
            "https://[::ffff:10.0.0.1]/",
        ] {
            assert!(matches!(none.zone(&url(text)), Err(Denied::Address { .. })), "{text}");
        }
    }

    #[test]
    fn with_a_list_nothing_else_is() {
        let allowed = policy(&[
            "https://hooks.example/services",
            "http://alerts.corp:9093",
            "http://127.0.0.1:9000",
            "https://169.254.169.254",
        ]);
        for (text, expected) in [
            ("https://hooks.example/services/x", Ok(Zone::Private)),
            ("http://alerts.corp:9093/api", Ok(Zone::Private)),
            ("http://127.0.0.1:9000/", Ok(Zone::Loopback)),
            ("https://hooks.example/services-of-others/x", Err(Denied::Unlisted)),
            ("http://hooks.example/services/x", Err(Denied::Unlisted)),
            ("https://other.example/", Err(Denied::Unlisted)),
            ("http://127.0.0.1:9001/", Err(Denied::Unlisted)),
        ] {
            assert_eq!(allowed.zone(&url(text)), expected, "{text}");
        }
        assert!(matches!(
            allowed.zone(&url("https://169.254.169.254/x")),
            Err(Denied::Address { .. })
        ));
    }

    #[test]
    fn a_spec_is_told_what_the_administrator_does_not_allow() {
        let entry = |url: &str| Notification {
            name: "hook".to_owned(),
            url: Some(url.to_owned()),
            url_secret_ref: None,
            on: vec!["Failed".to_owned()],
        };
        let policy = NotifyPolicy::default();
        assert_eq!(policy.check(&[entry("https://hooks.example/t0ken")]), Ok(()));
        for url in [
            "http://hooks.example/t0ken",
            "https://10.0.0.1/t0ken",
            "https://kubernetes/t0ken",
            "ftp://x/t0ken",
        ] {
            let why = policy.check(&[entry(url)]).expect_err(url);
            assert!(why.starts_with("spec.notifications, entry \"hook\": its url "), "{why}");
            assert!(!why.contains("t0ken"), "{why}");
        }
    }
}
