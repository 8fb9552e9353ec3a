//! Prefixes of addresses, by which the administrator says what a resource may name.

use std::str::FromStr;

use url::Url;

/// A prefix of addresses: origin and whole path segments are compared, never text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UrlPrefix {
    url: Url,
}

/// A text that is not a prefix of addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an http or https URL without user info, query and fragment")]
pub struct InvalidUrlPrefix(String);

/// An `http` or `https` URL of origin and path alone.
pub(crate) fn plain_url(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let plain =
        url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
    (plain && url.has_host() && matches!(url.scheme(), "http" | "https")).then_some(url)
}

impl FromStr for UrlPrefix {
    type Err = InvalidUrlPrefix;

    fn from_str(text: &str) -> Result<Self, InvalidUrlPrefix> {
        plain_url(text)
            .map(|url| Self { url })
            .ok_or_else(|| InvalidUrlPrefix(text.chars().take(256).collect()))
    }
}

impl UrlPrefix {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_and_whole_segments_are_compared() {
        let prefix: UrlPrefix = "https://proxy.example/flink/etl".parse().unwrap();
        for (url, admitted) in [
            ("https://proxy.example/flink/etl", true),
            ("https://PROXY.example:443/flink/etl/x?token=1", true),
            ("https://proxy.example/flink/etl2", false),
            ("https://proxy.example/flink", false),
            ("https://proxy.example/flink/etl/../other", false),
            ("http://proxy.example/flink/etl", false),
            ("https://proxy.example:8443/flink/etl", false),
            ("https://proxy.example.evil.example/flink/etl", false),
        ] {
            assert_eq!(prefix.admits(&url.parse().unwrap()), admitted, "{url}");
        }
        for text in ["", "127.0.0.1", "ftp://x", "http://u:p@x", "http://x/#y", "http://x/?y"] {
            assert!(text.parse::<UrlPrefix>().is_err(), "{text}");
        }
    }
}
