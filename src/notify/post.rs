//! One try to deliver.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use jiff::{Timestamp, fmt::rfc2822};
use kube::Client as KubeClient;
use reqwest::{
    Client, Response, StatusCode,
    header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER},
};
use tokio::time::Instant;
use url::Url;

use super::{
    event,
    lane::{Delivery, LaneKey},
    outbox::Outcome,
    place::Place,
    policy::{Denied, NotifyPolicy},
    secret::SecretUrls,
};
use crate::outbound::{self, ClientError, Lookup, Zone};

/// So much of an answer is read, so that its connection can be used again.
const MAX_ANSWER: usize = 4096;
/// So long is waited for it, at most.
const DRAIN: Duration = Duration::from_secs(1);

/// Tells what time it is, for receivers that name a time in `Retry-After`.
pub type Clock = fn() -> Timestamp;

/// Sends events to addresses that the policy allows.
pub(super) struct Sender {
    policy: NotifyPolicy,
    clients: BTreeMap<Zone, Client>,
    secrets: SecretUrls,
    clock: Clock,
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender")
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

impl Sender {
    pub(super) fn new(
        client: KubeClient,
        policy: NotifyPolicy,
        lookup: &Arc<dyn Lookup>,
        clock: Clock,
    ) -> Result<Self, ClientError> {
        let zones: &[Zone] = if policy.allowed.is_empty() {
            &[Zone::Public]
        } else {
            &[Zone::Private, Zone::Loopback]
        };
        let bounds = policy.bounds();
        let clients = zones
            .iter()
            .map(|&zone| Ok((zone, outbound::client(&bounds, lookup, zone)?)));
        let clients = clients.collect::<Result<_, ClientError>>()?;
        let secrets = SecretUrls::new(client, policy.limits.secret_age);
        Ok(Self {
            policy,
            clients,
            secrets,
            clock,
        })
    }

    /// Tries once.
    pub(super) async fn attempt(&self, delivery: &Delivery) -> Outcome {
        let namespace = &delivery.event.subject.namespace;
        let read;
        let url = match &delivery.target.place {
            Place::Url(url) => url,
            Place::Secret(key) => match self.secrets.url(namespace, key).await {
                Ok(url) => {
                    read = url;
                    &read
                }
                Err(outcome) => return outcome,
            },
        };
        let lane = LaneKey::of_url(namespace, url);
        if lane != delivery.lane {
            return Outcome::Moved(lane);
        }
        let limit = self.policy.limits.timeout;
        let end = Instant::now() + limit;
        let post = Box::pin(self.post(url, delivery));
        let mut response = match tokio::time::timeout_at(end, post).await {
            Ok(Ok(response)) => response,
            Ok(Err(outcome)) => return outcome,
            Err(_) => {
                let why = format!("no answer within {} s", limit.as_secs_f32());
                return Outcome::Later { why, wait: None };
            }
        };
        let outcome = judge(response.status(), response.headers(), self.clock);
        // The receiver has spoken: a body that does not come does not make its answer another one.
        let _ = tokio::time::timeout_at(end.min(Instant::now() + DRAIN), drain(&mut response)).await;
        outcome
    }

    /// Sends the event. Without an answer, the outcome.
    async fn post(&self, url: &Url, delivery: &Delivery) -> Result<Response, Outcome> {
        let place = &delivery.target.place;
        let zone = self.policy.zone(url).map_err(|denied| refused(&denied, place))?;
        // Not refused here: there is a client for each zone of the policy.
        let client = self.clients.get(&zone);
        let client = client.ok_or_else(|| refused(&Denied::Unlisted, place))?;
        let request = client
            .post(url.clone())
            .header(CONTENT_TYPE, event::CONTENT_TYPE)
            .body(delivery.event.body.clone());
        let response = request.send().await.map_err(|error| failed(error, place))?;
        // Once more on the connection itself, whatever led to it.
        let host = url.host_str().unwrap_or_default();
        if let Some(address) = response.remote_addr()
            && let Err(blocked) = zone.check(&[], host, address.ip())
        {
            return Err(refused(&blocked.into(), place));
        }
        Ok(response)
    }
}

/// The address is not allowed.
fn refused(denied: &Denied, place: &Place) -> Outcome {
    Outcome::Refused(match (denied, place) {
        // Of an address in a Secret not even where it leads to is printed.
        (Denied::Address { kind, .. }, Place::Secret(_)) => {
            format!("the address leads to a {kind} address, which the operator does not connect to")
        }
        (denied, _) => format!("the address {denied}"),
    })
}

/// What an answer means ("HTTP 1.1 Web Hooks for Event Delivery" 1.0.1, §2.2).
fn judge(status: StatusCode, headers: &HeaderMap, clock: Clock) -> Outcome {
    let why = format!("the answer was {}", status.as_u16());
    if status.is_success() {
        Outcome::Delivered
    } else if status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::SERVICE_UNAVAILABLE {
        let asked = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let wait = asked.and_then(|asked| retry_after(asked, clock()));
        Outcome::Later { why, wait }
    } else if status.is_server_error() {
        Outcome::Later { why, wait: None }
    } else if status.is_redirection() {
        Outcome::Refused(format!(
            "{why}, a redirect, which is not followed; write the final address"
        ))
    } else {
        Outcome::Refused(why)
    }
}

/// `Retry-After`: seconds, or a time (RFC 9110, §10.2.3).
fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return text.parse().ok().map(Duration::from_secs);
    }
    let time = rfc2822::parse(text).ok()?.timestamp();
    Some(Duration::try_from(time.duration_since(now)).unwrap_or_default())
}

/// Reads the beginning of an answer. What does not end there costs its connection.
async fn drain(response: &mut Response) {
    let mut left = MAX_ANSWER;
    while let Ok(Some(chunk)) = response.chunk().await {
        match left.checked_sub(chunk.len()) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

/// A failure below HTTP. Its words never hold the address.
fn failed(error: reqwest::Error, place: &Place) -> Outcome {
    let error = error.without_url();
    if let Some(blocked) = outbound::blocked(&error) {
        return refused(&blocked.into(), place);
    }
    let is = |what: fn(&reqwest::Error) -> bool| {
        outbound::causes(&error).any(|cause| cause.downcast_ref::<reqwest::Error>().is_some_and(what))
    };
    let why = if is(reqwest::Error::is_timeout) {
        "the connection timed out".to_owned()
    } else if is(reqwest::Error::is_dns) {
        "its name does not resolve".to_owned()
    } else {
        explained(outbound::words(&error))
    };
    Outcome::Later { why, wait: None }
}

/// The words of a failure, with what can be done about it.
fn explained(words: String) -> String {
    if words.contains("UnknownIssuer") {
        format!("{words} (the administrator can trust its authority with --notification-ca)")
    } else if words.contains("not valid for name") {
        // They would name the host, which may come from a Secret.
        "its certificate is for another name".to_owned()
    } else {
        words
    }
}

#[cfg(test)]
mod tests {
    use rustls::{CertificateError, pki_types::ServerName};

    use super::*;

    fn now() -> Timestamp {
        "1994-11-06T08:49:37Z".parse().unwrap()
    }

    #[test]
    fn answers_are_judged() {
        let later = |wait: Option<u64>| Some(wait.map(Duration::from_secs));
        for (status, asked, expected) in [
            (200, None, None),
            (202, None, None),
            (204, None, None),
            (429, None, later(None)),
            (429, Some("7"), later(Some(7))),
            (503, Some(" 7 "), later(Some(7))),
            (429, Some("Sun, 06 Nov 1994 08:50:37 GMT"), later(Some(60))),
            (429, Some("Sun, 06 Nov 1994 08:00:00 GMT"), later(Some(0))),
            (429, Some("-7"), later(None)),
            (429, Some("7.5"), later(None)),
            (429, Some("soon"), later(None)),
            (429, Some("99999999999999999999999"), later(None)),
            // Only who is too busy knows when it is not.
            (500, Some("7"), later(None)),
            (502, None, later(None)),
            (504, None, later(None)),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let mut headers = HeaderMap::new();
            headers.extend(asked.map(|asked| (RETRY_AFTER, asked.parse().unwrap())));
            let found = match judge(status, &headers, now) {
                Outcome::Delivered => None,
                Outcome::Later { wait, .. } => Some(wait),
                other @ (Outcome::Refused(_) | Outcome::Moved(_)) => panic!("{status} {asked:?}: {other:?}"),
            };
            assert_eq!(found, expected, "{status} {asked:?}");
        }
        for status in [301, 302, 307, 400, 401, 403, 404, 408, 410, 415, 499] {
            let outcome = judge(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), now);
            let Outcome::Refused(why) = outcome else {
                panic!("{status}: {outcome:?}")
            };
            assert!(why.contains(&status.to_string()), "{why}");
            assert_eq!(why.contains("redirect"), status < 400, "{why}");
        }
    }

    #[test]
    fn a_certificate_for_another_name_does_not_tell_the_name() {
        let words = |error: CertificateError| explained(rustls::Error::from(error).to_string());
        let expected = ServerName::try_from("t0ken.example").unwrap();
        let presented = vec!["other.example".to_owned()];
        let why = words(CertificateError::NotValidForNameContext { expected, presented });
        assert_eq!(why, "its certificate is for another name");
        assert!(words(CertificateError::UnknownIssuer).contains("--notification-ca"));
        assert!(words(CertificateError::Expired).contains("Expired"));
    }
}
