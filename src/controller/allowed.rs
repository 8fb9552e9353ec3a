//! `--allowed-endpoint`: the addresses that a `FlinkSession` may name in `spec.endpoint.url`.

use url::Url;

use crate::outbound::{UrlPrefix, plain_url};

/// Reads `spec.endpoint.url`, and checks it against the administrator's list.
///
/// # Errors
/// A sentence that says what to do.
pub fn endpoint_url(text: &str, allowed: &[UrlPrefix]) -> Result<Url, String> {
    let url = plain_url(text).ok_or_else(|| {
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
        let allowed: Vec<UrlPrefix> = ["http://127.0.0.1:8081", "https://proxy.example/flink/etl"]
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
    }
}
