//! Where a notification goes.

use std::fmt;

use url::Url;

use crate::{
    api::job::{Notification, SecretKeyRef},
    artifact::{JarUri, UriError},
};

/// Where a notification goes. Its path or query often is all that a receiver asks for as a credential, so that neither is
/// ever printed.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) enum Place {
    /// To an address that stands in the spec.
    Url(Url),
    /// To the address under a key of a Secret.
    Secret(SecretKeyRef),
}

impl Place {
    /// The place that an entry names. The error is a sentence without the address.
    pub(super) fn of(entry: &Notification) -> Result<Self, String> {
        match (&entry.url, &entry.url_secret_ref) {
            (Some(url), None) => {
                let url = parse(url).map_err(|why| format!("its url {why}"))?;
                Ok(Self::Url(url))
            }
            (None, Some(key)) => Ok(Self::Secret(key.clone())),
            (Some(_), Some(_)) | (None, None) => Err("set exactly one of url and urlSecretRef".to_owned()),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => f.write_str(url.host_str().unwrap_or_default()),
            Self::Secret(key) => write!(f, "the address in Secret {:?}", key.name),
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Place({self})")
    }
}

/// Reads an address by the rules for those of jars: texts that two readers could read in two ways are refused.
pub(super) fn parse(text: &str) -> Result<Url, &'static str> {
    match JarUri::parse(text) {
        Ok(JarUri::Http(url)) => Ok(url),
        Ok(JarUri::S3 { .. })
        | Err(UriError::Scheme(_) | UriError::LocalFile(_) | UriError::Bucket | UriError::Key) => {
            Err("is not an https:// URL; write https://HOST/PATH")
        }
        Err(UriError::Length(_)) => Err("is empty or longer than 2048 bytes; write https://HOST/PATH"),
        Err(UriError::Character(_)) => {
            Err("contains white space, a control character or a backslash; percent-encode it")
        }
        Err(UriError::Malformed) => Err("is not a complete URL; write https://HOST/PATH"),
        Err(UriError::UserInfo) => Err(
            "contains user info before the host; remove it (a token in the path or the query belongs into a Secret)",
        ),
        Err(UriError::Fragment) => Err("contains a fragment (#…); remove it, or percent-encode the # as %23"),
        Err(UriError::DotSegment) => Err("contains the path segment . or ..; write the path without it"),
    }
}
