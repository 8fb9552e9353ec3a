//! `--allowed-artifact`: a prefix that the administrator trusts.

use std::str::FromStr;

use url::Url;

use super::uri::{JarUri, is_bucket};

/// A trusted prefix, for all namespaces or for one: `[NAMESPACE=]PREFIX`.
///
/// Origins are compared as parsed and paths by whole segments, so that `https://repo.example/jars` covers neither
/// `https://repo.example.evil.example/` nor `https://repo.example/jars-of-others/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedArtifact {
    namespace: Option<String>,
    place: Place,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Url { url: Url, path: Vec<String> },
    Objects { bucket: String, path: Vec<String> },
}

/// A text that is not `[NAMESPACE=]PREFIX`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an artifact prefix: {0}; write [NAMESPACE=]https://HOST[:PORT]/PATH/ or [NAMESPACE=]s3://BUCKET/PREFIX/")]
pub struct InvalidPrefix(String);

impl AllowedArtifact {
    /// Whether the prefix covers a URL that a job of `namespace` asks for.
    pub(super) fn covers_url(&self, namespace: &str, asked: &Url) -> bool {
        match &self.place {
            Place::Url { url, path } => {
                self.serves(namespace)
                    && url.scheme() == asked.scheme()
                    && url.host() == asked.host()
                    && url.port_or_known_default() == asked.port_or_known_default()
                    && asked
                        .path_segments()
                        .is_some_and(|segments| starts_with(segments, path))
            }
            Place::Objects { .. } => false,
        }
    }

    /// Whether the prefix covers an object that a job of `namespace` asks for.
    pub(super) fn covers_object(&self, namespace: &str, asked_bucket: &str, key: &str) -> bool {
        match &self.place {
            Place::Objects { bucket, path } => {
                self.serves(namespace) && bucket == asked_bucket && starts_with(key.split('/'), path)
            }
            Place::Url { .. } => false,
        }
    }

    /// Whether the prefix is one of URLs, not of objects.
    pub(super) fn is_url(&self) -> bool {
        matches!(self.place, Place::Url { .. })
    }

    fn serves(&self, namespace: &str) -> bool {
        self.namespace.as_deref().is_none_or(|own| own == namespace)
    }
}

fn starts_with<'a>(mut segments: impl Iterator<Item = &'a str>, prefix: &[String]) -> bool {
    prefix.iter().all(|own| segments.next() == Some(own.as_str()))
}

fn segments_of(path: &str) -> Vec<String> {
    path.split('/')
        .filter(|segment| !segment.is_empty())
        .map(str::to_owned)
        .collect()
}

impl FromStr for AllowedArtifact {
    type Err = InvalidPrefix;

    fn from_str(text: &str) -> Result<Self, InvalidPrefix> {
        let invalid = |why: &str| InvalidPrefix(why.to_owned());
        let (namespace, prefix) = match text.split_once('=') {
            Some((namespace, prefix)) if !namespace.contains(':') => (Some(namespace), prefix),
            Some(_) | None => (None, text),
        };
        let is_label = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if let Some(namespace) = namespace
            && (namespace.is_empty() || namespace.len() > 63 || !namespace.chars().all(is_label))
        {
            return Err(invalid("the part before = is no namespace"));
        }
        let place = if let Some(objects) = prefix.strip_prefix("s3://") {
            let (bucket, path) = objects.split_once('/').unwrap_or((objects, ""));
            let path = segments_of(path);
            if !is_bucket(bucket) {
                return Err(invalid("it names no bucket"));
            }
            if path.iter().any(|segment| matches!(segment.as_str(), "." | "..")) {
                return Err(invalid("it contains . or .."));
            }
            Place::Objects {
                bucket: bucket.to_owned(),
                path,
            }
        } else {
            match JarUri::parse(prefix).map_err(|error| invalid(&error.to_string()))? {
                JarUri::Http(url) if url.query().is_none() => Place::Url {
                    path: segments_of(url.path()),
                    url,
                },
                JarUri::Http(_) => return Err(invalid("it has a query")),
                JarUri::S3 { .. } => return Err(invalid("it names no bucket")),
            }
        };
        Ok(Self {
            namespace: namespace.map(str::to_owned),
            place,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(prefix: &str, uri: &str) -> bool {
        let prefix: AllowedArtifact = prefix.parse().expect(prefix);
        match JarUri::parse(uri).expect(uri) {
            JarUri::Http(url) => prefix.covers_url("team-a", &url),
            JarUri::S3 { bucket, key } => prefix.covers_object("team-a", &bucket, &key),
        }
    }

    #[test]
    fn origins_and_whole_segments_are_compared() {
        for (prefix, uri) in [
            ("https://repo.example", "https://repo.example/x.jar"),
            ("https://repo.example/", "https://REPO.example:443/x.jar"),
            ("https://repo.example/jars", "https://repo.example/jars/x.jar"),
            ("https://repo.example/jars/", "https://repo.example/jars/a/x.jar?sig=1"),
            ("http://127.0.0.1:9000", "http://127.0.0.1:9000/x.jar"),
            ("http://127.0.0.1:9000", "http://2130706433:9000/x.jar"),
            ("team-a=https://repo.example/", "https://repo.example/x.jar"),
            ("s3://jars", "s3://jars/x.jar"),
            ("s3://jars/a/", "s3://jars/a/x.jar"),
        ] {
            assert!(covers(prefix, uri), "{prefix} {uri}");
        }
        for (prefix, uri) in [
            ("https://repo.example", "https://repo.example.evil.example/x.jar"),
            ("https://repo.example", "http://repo.example/x.jar"),
            ("https://repo.example", "https://repo.example:8443/x.jar"),
            ("https://repo.example/jars", "https://repo.example/jars-of-others/x.jar"),
            ("https://repo.example/jars", "https://repo.example//jars/x.jar"),
            ("https://repo.example/jars", "https://repo.example/"),
            ("http://127.0.0.1:9000", "http://127.0.0.1:9001/x.jar"),
            ("team-b=https://repo.example/", "https://repo.example/x.jar"),
            ("s3://jars/a", "s3://jars/ab/x.jar"),
            ("s3://jars", "s3://jars2/x.jar"),
            ("https://jars/", "s3://jars/x.jar"),
        ] {
            assert!(!covers(prefix, uri), "{prefix} {uri}");
        }
    }

    #[test]
    fn bad_prefixes_are_refused() {
        for text in [
            "",
            "repo.example",
            "file:///x",
            "https://u:p@h/",
            "https://h/?a=b",
            "https://h/../x",
            "=https://h/",
            "A_b=https://h/",
            "s3://",
            "s3://b/../c",
            "s3://X",
        ] {
            assert!(text.parse::<AllowedArtifact>().is_err(), "{text}");
        }
        assert!("https://h.example/a=b/".parse::<AllowedArtifact>().is_ok());
    }
}
