//! `--allowed-endpoint`: the addresses that a `FlinkSession` may name in `spec.endpoint.url`.

use std::str::FromStr;

use url::Url;

/// A prefix of addresses: origin and whole path segments are compared, never text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedEndpoint {
    url: Url,
}

/// A text that is not a prefix of addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an http or https URL without user info, query and fragment")]
pub struct InvalidEndpoint(String);

fn checked(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let plain =
        url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
    (plain && url.has_host() && matches!(url.scheme(), "http" | "https")).then_some(url)
}

impl FromStr for AllowedEndpoint {
    type Err = InvalidEndpoint;

    fn from_str(text: &str) -> Result<Self, InvalidEndpoint> {
        checked(text)
            .map(|url| Self { url })
            .ok_or_else(|| InvalidEndpoint(text.chars().take(256).collect()))
    }
}

impl AllowedEndpoint {
    /// Whether an address lies under the prefix.
    #[must_use]
    pub fn admits(&self, url: &Url) -> bool {
        if self.url.origin() != url.origin() {
            return false;
        }
        let segments = |url: &Url| -> Vec<String> {
            url.path_segments()
                .map(|parts| parts.filter(|part| !part.is_empty()).map(str::to_owned).collect())
                .unwrap_or_default()
        };
        segments(url).starts_with(&segments(&self.url))
    }
}

/// Reads `spec.endpoint.url`, and checks it against the administrator's list.
///
/// # Errors
/// A sentence that says what to do.
pub fn endpoint_url(text: &str, allowed: &[AllowedEndpoint]) -> Result<Url, String> {
    let url = checked(text).ok_or_else(|| {
        "spec.endpoint.url is not an http or https URL without user info, query and fragment; correct it".to_owned()
    })?;
    if allowed.iter().any(|prefix| prefix.admits(&url)) {
        return Ok(url);
    }
    Err(format!(
        "spec.endpoint.url {url} is not allowed by the administrator; use spec.endpoint.serviceRef, or have the operator \
         started with --allowed-endpoint {}",
        url.origin().ascii_serialization()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_and_whole_segments_are_compared() {
        let allowed: Vec<AllowedEndpoint> = ["http://127.0.0.1:8081", "https://proxy.example/flink/etl"]
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
        for good in [
            "http://127.0.0.1:8081",
            "http://127.0.0.1:8081/",
            "https://proxy.example:443/flink/etl/x",
            "https://proxy.example/flink/etl",
        ] {
            assert!(endpoint_url(good, &allowed).is_ok(), "{good}");
        }
        for bad in [
            "http://127.0.0.1:80810",
            "https://127.0.0.1:8081",
            "http://127.0.0.1:8081@evil.example/",
            "https://proxy.example/flink/etl2",
            "https://proxy.example/flink/etl/../other",
            "https://proxy.example/flink/%2e%2e/x",
            "https://proxy.example.evil.example/flink/etl",
            "http://2130706433:8082",
            "file:///etc/passwd",
            "http://127.0.0.1:8081?x",
        ] {
            assert!(endpoint_url(bad, &allowed).is_err(), "{bad}");
        }
        for text in ["", "127.0.0.1", "ftp://x", "http://u:p@x", "http://x/#y"] {
            assert!(text.parse::<AllowedEndpoint>().is_err(), "{text}");
        }
    }
}
