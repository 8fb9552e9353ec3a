//! What can go wrong with an artifact, in words that go into a condition.

use std::time::Duration;

use super::{jar::JarFault, policy::Denied, sum::Sha256Sum, uri::UriError};
use crate::api::Reason;

/// Why an artifact could not be had. Messages hold no query, no user info and no text of the server's; they are at most
/// 512 characters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArtifactError {
    /// `jarURI` is not one that is fetched.
    #[error(transparent)]
    Uri(#[from] UriError),
    /// The administrator's settings, or the address, forbid it.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// A redirect that is not followed.
    #[error("{at} redirects, but {why}")]
    Redirect {
        /// What was asked.
        at: String,
        /// Why it is not followed.
        why: String,
    },
    /// 401, 403 and their kin.
    #[error(
        "{at} refused the request (HTTP {status}); make it readable for the operator: it sends no credentials to web servers, and its own to object stores"
    )]
    Forbidden {
        /// What was asked.
        at: String,
        /// The HTTP status.
        status: u16,
    },
    /// 404, 410.
    #[error("nothing is at {at} (HTTP {status}); check jarURI, and that the artifact was published")]
    NotFound {
        /// What was asked.
        at: String,
        /// The HTTP status.
        status: u16,
    },
    /// A reply without an artifact in it.
    #[error("{at} answered with HTTP {status} and no artifact; check jarURI")]
    NoArtifact {
        /// What was asked.
        at: String,
        /// The HTTP status.
        status: u16,
    },
    /// The bytes are not a jar.
    #[error("{at} is not a jar: {fault}")]
    NotAJar {
        /// What was asked.
        at: String,
        /// What it is instead.
        fault: JarFault,
    },
    /// More bytes than the administrator allows.
    #[error(
        "{at} is larger than {limit} bytes; make the jar smaller, or ask the administrator to raise --max-artifact-size"
    )]
    TooLarge {
        /// What was asked.
        at: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// Other bytes than `sha256` says.
    #[error("{at} has the SHA-256 {actual}, but the spec says {expected}; correct sha256, or publish the right jar")]
    ChecksumMismatch {
        /// What was asked.
        at: String,
        /// What the spec says.
        expected: Sha256Sum,
        /// What was received.
        actual: Sha256Sum,
    },
    /// No connection, or one that broke.
    #[error("{at} could not be reached: {why}; it will be tried again")]
    Unreachable {
        /// What was asked.
        at: String,
        /// What happened to the name, the connection or TLS.
        why: String,
    },
    /// The server cannot answer now.
    #[error("{at} cannot answer now (HTTP {status}); it will be tried again")]
    Unavailable {
        /// What was asked.
        at: String,
        /// The HTTP status.
        status: u16,
    },
    /// A body that arrives too slowly.
    #[error("{at} sends less than {bytes_per_second} bytes a second; it will be tried again")]
    TooSlow {
        /// What was asked.
        at: String,
        /// The required pace.
        bytes_per_second: u64,
    },
    /// Not done in time.
    #[error("{at} was not received within {} seconds; it will be tried again (the administrator can raise --artifact-timeout)", .limit.as_secs())]
    Deadline {
        /// What was asked.
        at: String,
        /// The time for a fetch.
        limit: Duration,
    },
    /// A body that ended early.
    #[error("{at} ended before it was complete; it will be tried again")]
    CutShort {
        /// What was asked.
        at: String,
    },
    /// The cache has no room that could be freed.
    #[error(
        "the operator's artifact cache has no room for {at}; it will be tried again (the administrator can raise --artifact-cache-size)"
    )]
    CacheFull {
        /// What was asked.
        at: String,
    },
    /// The operator's disk.
    #[error("the operator could not store {at}: {why}; it will be tried again")]
    Disk {
        /// What was asked.
        at: String,
        /// The system's words.
        why: String,
    },
}

impl ArtifactError {
    /// The cache's disk failed.
    pub(super) fn disk(at: &str, why: &dyn std::fmt::Display) -> Self {
        let (at, why) = (at.to_owned(), why.to_string());
        Self::Disk { at, why }
    }

    /// Whether trying again cannot help before the spec, the artifact or the settings change.
    #[must_use]
    pub const fn is_permanent(&self) -> bool {
        match self {
            Self::Uri(_)
            | Self::Denied(_)
            | Self::Redirect { .. }
            | Self::Forbidden { .. }
            | Self::NotFound { .. }
            | Self::NoArtifact { .. }
            | Self::NotAJar { .. }
            | Self::TooLarge { .. }
            | Self::ChecksumMismatch { .. } => true,
            Self::Unreachable { .. }
            | Self::Unavailable { .. }
            | Self::TooSlow { .. }
            | Self::Deadline { .. }
            | Self::CutShort { .. }
            | Self::CacheFull { .. }
            | Self::Disk { .. } => false,
        }
    }

    /// The word for conditions, Events and metrics.
    ///
    /// What passes by itself has no word of its own in the API: the submission simply goes on, so the reason stays
    /// `Submitting` (with `Reconciling`, never `Stalled`) and the message names the host and what happened. A reply that
    /// is no jar counts as `ArtifactNotFound`: something answers there, but the artifact is not it.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Uri(_) => Reason::InvalidSpec,
            Self::Denied(_) | Self::Redirect { .. } | Self::Forbidden { .. } => Reason::ArtifactForbidden,
            Self::NotFound { .. } | Self::NoArtifact { .. } | Self::NotAJar { .. } => Reason::ArtifactNotFound,
            Self::TooLarge { .. } => Reason::ArtifactTooLarge,
            Self::ChecksumMismatch { .. } => Reason::ChecksumMismatch,
            Self::Unreachable { .. }
            | Self::Unavailable { .. }
            | Self::TooSlow { .. }
            | Self::Deadline { .. }
            | Self::CutShort { .. }
            | Self::CacheFull { .. }
            | Self::Disk { .. } => Reason::Submitting,
        }
    }

    /// A redirect that is not followed because of its target.
    pub(super) fn redirect(at: &str, why: &impl ToString) -> Self {
        Self::Redirect {
            at: at.to_owned(),
            why: why.to_string().chars().take(290).collect(),
        }
    }

    /// What a status other than success says.
    pub(super) fn of_status(at: &str, status: u16) -> Self {
        let at = at.to_owned();
        match status {
            401 | 403 | 407 | 451 => Self::Forbidden { at, status },
            404 | 410 => Self::NotFound { at, status },
            408 | 425 | 429 | 500.. => Self::Unavailable { at, status },
            _ => Self::NoArtifact { at, status },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_has_its_word_and_a_bounded_message() {
        let at = || format!("https://{}/…", "h".repeat(190));
        let why = || "w".repeat(160);
        let sum = Sha256Sum::of(b"");
        let status = |status| ArtifactError::of_status(&at(), status);
        let denied = Denied::Address {
            host: "h".repeat(254),
            ip: "10.0.0.1".parse().unwrap(),
            kind: "private".into(),
        };
        for (error, reason, permanent) in [
            (UriError::Fragment.into(), Reason::InvalidSpec, true),
            (denied.clone().into(), Reason::ArtifactForbidden, true),
            (Denied::Bucket(at()).into(), Reason::ArtifactForbidden, true),
            (ArtifactError::redirect(&at(), &denied), Reason::ArtifactForbidden, true),
            (
                ArtifactError::Redirect { at: at(), why: why() },
                Reason::ArtifactForbidden,
                true,
            ),
            (status(401), Reason::ArtifactForbidden, true),
            (status(403), Reason::ArtifactForbidden, true),
            (status(404), Reason::ArtifactNotFound, true),
            (status(410), Reason::ArtifactNotFound, true),
            (status(204), Reason::ArtifactNotFound, true),
            (status(400), Reason::ArtifactNotFound, true),
            (status(429), Reason::Submitting, false),
            (status(503), Reason::Submitting, false),
            (
                ArtifactError::NotAJar {
                    at: at(),
                    fault: JarFault::Html,
                },
                Reason::ArtifactNotFound,
                true,
            ),
            (
                ArtifactError::TooLarge {
                    at: at(),
                    limit: u64::MAX,
                },
                Reason::ArtifactTooLarge,
                true,
            ),
            (
                ArtifactError::ChecksumMismatch {
                    at: at(),
                    expected: sum,
                    actual: sum,
                },
                Reason::ChecksumMismatch,
                true,
            ),
            (
                ArtifactError::Unreachable { at: at(), why: why() },
                Reason::Submitting,
                false,
            ),
            (
                ArtifactError::TooSlow {
                    at: at(),
                    bytes_per_second: 1,
                },
                Reason::Submitting,
                false,
            ),
            (
                ArtifactError::Deadline {
                    at: at(),
                    limit: Duration::MAX,
                },
                Reason::Submitting,
                false,
            ),
            (ArtifactError::CutShort { at: at() }, Reason::Submitting, false),
            (ArtifactError::CacheFull { at: at() }, Reason::Submitting, false),
            (ArtifactError::Disk { at: at(), why: why() }, Reason::Submitting, false),
        ] {
            assert_eq!((error.reason(), error.is_permanent()), (reason, permanent), "{error}");
            assert!(error.to_string().chars().count() <= 512, "{error}");
        }
    }
}
