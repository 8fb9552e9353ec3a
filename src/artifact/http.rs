//! Artifacts on web servers: a GET, conditional where the content is known, with redirects followed by hand.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use futures::{StreamExt, stream::BoxStream};
use jiff::fmt::rfc2822;
use reqwest::{
    Client, Response, StatusCode,
    header::{self, HeaderMap, HeaderName},
};
use url::Url;

use super::{
    error::ArtifactError,
    policy::{ArtifactPolicy, Denied},
    sum::Sha256Sum,
    uri::{redirect_target, shown},
};
use crate::outbound::{self, ClientError, Lookup, Zone};

/// How to ask a server whether an artifact changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Validator {
    pub(super) etag: Option<String>,
    pub(super) last_modified: Option<String>,
    pub(super) version: Option<String>,
    /// The place that gave it, after redirects: another place may use the same tag for something else.
    pub(super) given_by: Sha256Sum,
}

impl Validator {
    /// The entity tag, quotes included.
    #[must_use]
    pub fn etag(&self) -> Option<&str> {
        self.etag.as_deref()
    }

    /// The HTTP date of the last change.
    #[must_use]
    pub fn last_modified(&self) -> Option<&str> {
        self.last_modified.as_deref()
    }

    /// The object store's version of the object.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    #[cfg(test)]
    pub(super) fn for_test(etag: &str) -> Self {
        Self {
            etag: Some(etag.to_owned()),
            last_modified: None,
            version: None,
            given_by: Sha256Sum::of(b""),
        }
    }

    fn of_headers(url: &Url, headers: &HeaderMap) -> Option<Self> {
        let text = |name: HeaderName| {
            headers
                .get(name)?
                .to_str()
                .ok()
                .filter(|text| (1..=256).contains(&text.len()))
                .map(str::to_owned)
        };
        let etag = text(header::ETAG);
        let last_modified =
            text(header::LAST_MODIFIED).filter(|then| text(header::DATE).is_some_and(|now| is_settled(then, &now)));
        (etag.is_some() || last_modified.is_some()).then(|| Self {
            etag,
            last_modified,
            version: None,
            given_by: place(url),
        })
    }
}

/// Whether a date of last change is old enough that a second change would have another date (RFC 9110 §8.8.2.2).
fn is_settled(last_modified: &str, date: &str) -> bool {
    match (rfc2822::parse(last_modified), rfc2822::parse(date)) {
        (Ok(changed), Ok(now)) => now.timestamp().as_second() - changed.timestamp().as_second() >= 1,
        (Err(_), _) | (_, Err(_)) => false,
    }
}

/// Origin and path; signed redirects have another query each time.
fn place(url: &Url) -> Sha256Sum {
    let mut url = url.clone();
    url.set_query(None);
    Sha256Sum::of(url.as_str().as_bytes())
}

/// What a server answered.
pub(super) enum Reply {
    /// The content is still the known one.
    NotModified,
    /// The content.
    Body(Body),
}

/// A body that has not been read yet.
pub(super) struct Body {
    pub(super) chunks: BoxStream<'static, Result<Bytes, ArtifactError>>,
    /// The size that the server announced.
    pub(super) length: Option<u64>,
    /// Whether the end of the body can be told from a broken connection.
    pub(super) framed: bool,
    pub(super) html: bool,
    pub(super) encoded: bool,
    pub(super) validator: Option<Validator>,
}

/// The clients for web servers.
pub(super) struct Web {
    policy: Arc<ArtifactPolicy>,
    clients: BTreeMap<Zone, Client>,
}

impl Web {
    pub(super) fn new(policy: &Arc<ArtifactPolicy>, lookup: &Arc<dyn Lookup>) -> Result<Self, ClientError> {
        let inside: &[Zone] = if policy.allowed.iter().any(super::AllowedArtifact::is_url) {
            &[Zone::Private, Zone::Loopback]
        } else {
            &[]
        };
        let zones = [Zone::Public].into_iter().chain(inside.iter().copied());
        let clients = zones.map(|zone| Ok((zone, outbound::client(&policy.bounds(), lookup, zone)?)));
        Ok(Self {
            policy: Arc::clone(policy),
            clients: clients.collect::<Result<_, ClientError>>()?,
        })
    }

    /// Asks for an artifact. `known` makes the request conditional.
    pub(super) async fn open(
        &self,
        namespace: &str,
        url: &Url,
        known: Option<&Validator>,
    ) -> Result<Reply, ArtifactError> {
        let first = shown(url);
        let mut url = url.clone();
        for hop in 0..=self.policy.max_redirects {
            let denied = |denied: Denied| {
                if hop == 0 {
                    denied.into()
                } else {
                    ArtifactError::redirect(&first, &denied)
                }
            };
            let zone = self.policy.zone_of_url(namespace, &url).map_err(denied)?;
            let condition = known.filter(|known| known.given_by == place(&url));
            let response = match self.get(zone, &url, condition).await {
                Err(ArtifactError::Denied(error)) => return Err(denied(error)),
                reply => reply?,
            };
            match response.status() {
                StatusCode::OK => return Ok(Reply::Body(body(&url, response))),
                StatusCode::NOT_MODIFIED if condition.is_some() => return Ok(Reply::NotModified),
                StatusCode::MOVED_PERMANENTLY
                | StatusCode::FOUND
                | StatusCode::SEE_OTHER
                | StatusCode::TEMPORARY_REDIRECT
                | StatusCode::PERMANENT_REDIRECT => {
                    let location = response
                        .headers()
                        .get(header::LOCATION)
                        .and_then(|value| value.to_str().ok());
                    let target = redirect_target(&url, location.unwrap_or_default())
                        .map_err(|error| ArtifactError::redirect(&first, &error))?;
                    if url.scheme() == "https" && target.scheme() != "https" {
                        return Err(ArtifactError::redirect(&first, &Denied::Downgrade(shown(&target))));
                    }
                    url = target;
                }
                status => return Err(ArtifactError::of_status(&shown(&url), status.as_u16())),
            }
        }
        let limit = self.policy.max_redirects;
        Err(ArtifactError::redirect(
            &first,
            &format!("more than {limit} times; set jarURI to the final address"),
        ))
    }

    async fn get(&self, zone: Zone, url: &Url, known: Option<&Validator>) -> Result<Response, ArtifactError> {
        let at = || shown(url);
        let Some(client) = self.clients.get(&zone) else {
            // Not reached: zones other than the public one come from allowed prefixes.
            return Err(Denied::Unlisted(at()).into());
        };
        let mut request = client
            .get(url.clone())
            .header(header::ACCEPT, "*/*")
            .header(header::ACCEPT_ENCODING, "identity");
        if let Some(etag) = known.and_then(Validator::etag) {
            request = request.header(header::IF_NONE_MATCH, etag);
        }
        if let Some(date) = known.and_then(Validator::last_modified) {
            request = request.header(header::IF_MODIFIED_SINCE, date);
        }
        let limit = self.policy.connect_timeout + self.policy.reply_timeout;
        let response = tokio::time::timeout(limit, request.send())
            .await
            .map_err(|_| ArtifactError::Unreachable {
                at: at(),
                why: format!("no answer within {} seconds", limit.as_secs()),
            })?
            .map_err(|error| transport(&at(), &error))?;
        // Once more on the connection itself, whatever led to it.
        if let Some(address) = response.remote_addr() {
            self.policy
                .check_address(zone, url.host_str().unwrap_or_default(), address.ip())?;
        }
        Ok(response)
    }
}

fn body(url: &Url, response: Response) -> Body {
    let headers = response.headers();
    let text = |name: HeaderName| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    let length = response.content_length();
    let encoding = text(header::CONTENT_ENCODING);
    let at = shown(url);
    Body {
        length,
        framed: length.is_some() || headers.contains_key(header::TRANSFER_ENCODING),
        html: text(header::CONTENT_TYPE).to_ascii_lowercase().contains("html"),
        encoded: !encoding.is_empty() && !encoding.eq_ignore_ascii_case("identity"),
        validator: Validator::of_headers(url, headers),
        chunks: response
            .bytes_stream()
            .map(move |chunk| chunk.map_err(|error| transport(&at, &error)))
            .boxed(),
    }
}

/// A failure below HTTP, in words.
pub(super) fn transport(at: &str, error: &(dyn std::error::Error + 'static)) -> ArtifactError {
    if let Some(blocked) = outbound::blocked(error) {
        return Denied::from(blocked).into();
    }
    let is = |what: fn(&reqwest::Error) -> bool| {
        outbound::causes(error).any(|cause| cause.downcast_ref::<reqwest::Error>().is_some_and(what))
    };
    let words = outbound::words(error);
    let why = if is(reqwest::Error::is_timeout) {
        "the connection timed out".to_owned()
    } else if is(reqwest::Error::is_dns) {
        format!("its name does not resolve ({words})")
    } else if words.contains("UnknownIssuer") {
        format!("{words} (the administrator can trust its authority with --artifact-ca)")
    } else {
        words
    };
    ArtifactError::Unreachable { at: at.to_owned(), why }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_counts_once_it_is_a_second_old() {
        let changed = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert!(is_settled(changed, "Sun, 06 Nov 1994 08:49:38 GMT"));
        assert!(!is_settled(changed, changed));
        assert!(!is_settled(changed, "yesterday") && !is_settled("", changed));
    }

    #[test]
    fn a_validator_belongs_to_its_place_without_the_query() {
        let url = |text| Url::parse(text).unwrap();
        let headers: HeaderMap = [(header::ETAG, "\"1\"".parse().unwrap())].into_iter().collect();
        let validator = Validator::of_headers(&url("https://h.example/x?sig=1"), &headers).unwrap();
        assert_eq!(validator.etag(), Some("\"1\""));
        assert_eq!(validator.given_by, place(&url("https://h.example/x?sig=2")));
        assert_ne!(validator.given_by, place(&url("https://h.example/y")));
        assert_eq!(
            Validator::of_headers(&url("https://h.example/x"), &HeaderMap::new()),
            None
        );
    }
}
