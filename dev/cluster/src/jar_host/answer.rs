//! What is answered to a request: decided here, sent by [`connection`](super::connection).

use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::{Fault, State};
use crate::cache::hex;

/// An answer, ready to be sent.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Bytes,
    /// Before the first byte.
    pub(super) delay: Duration,
    /// Bytes of the body each second.
    pub(super) pace: Option<usize>,
    /// Zeros follow the body for ever.
    pub(super) endless: bool,
}

/// A strong validator: equal for equal bytes only.
pub(super) fn etag(content: &[u8]) -> String {
    let hash = hex(&Sha256::digest(content));
    format!("\"{}\"", hash.get(..32).unwrap_or_default())
}

/// The answer to a request for `path`.
pub(super) fn answer(state: &State, method: &str, path: &str, if_none_match: Option<&str>) -> Answer {
    let fault = state.faults.get(path);
    match (fault, state.files.get(path)) {
        _ if method != "GET" && method != "HEAD" => text(405, "only GET and HEAD"),
        (Some(Fault::Status(status)), _) => text(*status, "as asked"),
        (Some(Fault::Redirect(location)), _) => {
            let mut answer = text(302, "elsewhere");
            answer.headers.push(("Location", location.clone()));
            answer
        }
        (_, None) => text(404, "no such file"),
        (fault, Some(file)) => {
            let unchanged = if_none_match.is_some_and(|tags| tags.split(',').any(|tag| tag.trim() == file.etag));
            let mut answer = if unchanged {
                Answer {
                    status: 304,
                    ..Answer::default()
                }
            } else {
                let length = ("Content-Length", file.content.len().to_string());
                let headers = vec![("Content-Type", "application/java-archive".to_owned()), length];
                Answer {
                    status: 200,
                    headers,
                    body: file.content.clone(),
                    ..Answer::default()
                }
            };
            answer.headers.push(("ETag", file.etag.clone()));
            if let Some(fault) = fault
                && (answer.status == 200 || matches!(fault, Fault::Delay(_)))
            {
                spoil(&mut answer, fault);
            }
            answer
        }
    }
}

fn spoil(answer: &mut Answer, fault: &Fault) {
    let mut length = |length: Option<u64>| {
        answer.headers.retain(|(name, _)| *name != "Content-Length");
        answer
            .headers
            .extend(length.map(|length| ("Content-Length", length.to_string())));
    };
    match fault {
        // Answered before.
        Fault::Status(_) | Fault::Redirect(_) => {}
        Fault::Delay(delay) => answer.delay = *delay,
        Fault::Drip(bytes) => answer.pace = Some(*bytes),
        Fault::Endless => {
            length(None);
            answer.endless = true;
        }
        Fault::ContentLength(bytes) => length(Some(*bytes)),
        Fault::Truncate(bytes) => answer.body.truncate(*bytes),
        Fault::OtherContent(other) => {
            length(u64::try_from(other.len()).ok());
            answer.body = other.clone();
        }
    }
}

fn text(status: u16, text: &'static str) -> Answer {
    let headers = vec![
        ("Content-Type", "text/plain".to_owned()),
        ("Content-Length", text.len().to_string()),
    ];
    Answer {
        status,
        headers,
        body: Bytes::from_static(text.as_bytes()),
        ..Answer::default()
    }
}
