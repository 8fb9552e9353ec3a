//! `FlinkError`: what is known, and what is not, after a request to Flink did not end well.

use std::{fmt, sync::Arc};

use super::text::{MESSAGE_CHARS, clean};

/// Where and why a request failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The endpoint, as a template: `POST /jars/:jarid/run`. Fit for a metric label.
    pub call: &'static str,
    /// Scheme, host and port of the server, without user info.
    pub origin: Arc<str>,
    /// What happened, in the server's or the network's words; at most 256 characters, one line, no stack trace.
    pub message: String,
}

impl Failure {
    pub(crate) fn new(call: &'static str, origin: &Arc<str>, message: &str) -> Self {
        Self {
            call,
            origin: Arc::clone(origin),
            message: clean(message),
        }
    }
}

/// The outcome of a request that did not succeed.
///
/// The classes are drawn for submission, where "it did not happen" and "it is not known whether it happened" must never
/// be confused: what is not provably unsent, and not answered by Flink itself, is unknown
/// ([`FlinkError::proves_no_effect`]).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FlinkError {
    /// The request provably never reached the server: name resolution, connection or TLS handshake failed.
    NotSent(Failure),
    /// Sent, and no complete answer within the call's deadline. The effect may happen yet.
    Timeout(Failure),
    /// Sent, and the connection broke or a gateway gave up before the answer was complete. The effect may have happened.
    Lost(Failure),
    /// 503 or 429: no leader yet, or too busy. Says nothing about earlier requests.
    Unavailable(Failure),
    /// The answer did not come from Flink, or not from one that is understood: HTML, a redirect, garbage, wrong types.
    NotFlink(Failure),
    /// The answer was larger than the call allows.
    TooLarge(Failure),
    /// 401 or 403.
    Unauthorized(Failure),
    /// The cluster has no `/jars` endpoints: `web.submit.enable` is false there.
    SubmissionDisabled(Failure),
    /// The job is not known to this JobManager process. That is not proof that it never ran.
    NotFound(Failure),
    /// 409, from cancelling: the job ended with another state already.
    Conflict(Failure),
    /// The jar is not in this JobManager's upload folder. As an answer to `run`, it proves that this request started
    /// nothing (`JarHandlerUtils` looks for the file first).
    JarMissing(Failure),
    /// This JobManager process has, or had, a job with this id. Also what Flink 2.x answers when a program calls
    /// `execute` twice; its first job runs.
    Duplicate(Failure),
    /// Flink answered in full that it refuses. For `run`: `main()` or the submission ended with an error, and the job may
    /// be registered all the same (a bad savepoint path leaves it FAILED, an error after `execute` leaves it running).
    Rejected {
        /// The HTTP status, 400 or 500 as a rule.
        status: u16,
        /// The root cause in `message`.
        failure: Failure,
    },
}

impl FlinkError {
    /// Where and why.
    #[must_use]
    pub fn failure(&self) -> &Failure {
        match self {
            Self::NotSent(failure)
            | Self::Timeout(failure)
            | Self::Lost(failure)
            | Self::Unavailable(failure)
            | Self::NotFlink(failure)
            | Self::TooLarge(failure)
            | Self::Unauthorized(failure)
            | Self::SubmissionDisabled(failure)
            | Self::NotFound(failure)
            | Self::Conflict(failure)
            | Self::JarMissing(failure)
            | Self::Duplicate(failure)
            | Self::Rejected { failure, .. } => failure,
        }
    }

    /// What happened, in the server's or the network's words.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.failure().message
    }

    /// Whether the request provably changed nothing: it was not sent, or it was refused before Flink looks at programs.
    ///
    /// This is about *this* request; an earlier one with the same JobID may have had its effect.
    #[must_use]
    pub const fn proves_no_effect(&self) -> bool {
        matches!(
            self,
            Self::NotSent(_) | Self::Unauthorized(_) | Self::SubmissionDisabled(_) | Self::JarMissing(_)
        )
    }

    /// Whether nothing was learned about the cluster: it may be down, slow, or something else may sit in its place.
    #[must_use]
    pub const fn is_no_answer(&self) -> bool {
        matches!(
            self,
            Self::NotSent(_)
                | Self::Timeout(_)
                | Self::Lost(_)
                | Self::Unavailable(_)
                | Self::NotFlink(_)
                | Self::TooLarge(_)
        )
    }

    /// The word of the API's contract for conditions and Events.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::NotSent(_)
            | Self::Timeout(_)
            | Self::Lost(_)
            | Self::Unavailable(_)
            | Self::NotFlink(_)
            | Self::TooLarge(_) => "ClusterUnreachable",
            Self::Unauthorized(_) => "Unauthorized",
            Self::SubmissionDisabled(_) => "SubmissionDisabled",
            Self::NotFound(_) => "JobLost",
            Self::JarMissing(_) => "ArtifactNotFound",
            Self::Conflict(_) | Self::Duplicate(_) | Self::Rejected { .. } => "SubmissionRejected",
        }
    }

    /// A finer word than [`reason`](Self::reason), for metrics and logs.
    #[must_use]
    pub const fn class(&self) -> &'static str {
        match self {
            Self::NotSent(_) => "not_sent",
            Self::Timeout(_) => "timeout",
            Self::Lost(_) => "lost",
            Self::Unavailable(_) => "unavailable",
            Self::NotFlink(_) => "not_flink",
            Self::TooLarge(_) => "too_large",
            Self::Unauthorized(_) => "unauthorized",
            Self::SubmissionDisabled(_) => "submission_disabled",
            Self::NotFound(_) => "not_found",
            Self::Conflict(_) => "conflict",
            Self::JarMissing(_) => "jar_missing",
            Self::Duplicate(_) => "duplicate",
            Self::Rejected { .. } => "rejected",
        }
    }

    /// What happened in general, and what to do about it.
    fn advice(&self) -> (&'static str, &'static str) {
        match self {
            Self::NotSent(_) => ("could not be reached", "check its address, Service and network policy"),
            Self::Timeout(_) => ("did not answer in time", "check whether the JobManager is overloaded"),
            Self::Lost(_) => (
                "broke the connection",
                "check the JobManager's log and any proxy before it",
            ),
            Self::Unavailable(_) => ("is not ready", "wait for a leading JobManager"),
            Self::NotFlink(_) => (
                "gave an answer that is not Flink's",
                "check that the address is a Flink REST endpoint",
            ),
            Self::TooLarge(_) => (
                "gave too large an answer",
                "check that the address is a Flink REST endpoint",
            ),
            Self::Unauthorized(_) => ("refused the credentials", "check the Secret that `auth` names"),
            Self::SubmissionDisabled(_) => ("takes no jobs", "set web.submit.enable on the cluster"),
            Self::NotFound(_) => (
                "does not know the job",
                "it ended long ago, or the JobManager restarted",
            ),
            Self::Conflict(_) => ("could not change the job", "it has ended already"),
            Self::JarMissing(_) => ("does not have the jar", "the JobManager restarted; upload it again"),
            Self::Duplicate(_) => ("had a job with this id before", "look for it in the job list"),
            Self::Rejected { .. } => ("refused", "correct the job; the JobManager's log has the stack trace"),
        }
    }
}

impl fmt::Display for FlinkError {
    /// One sentence of at most 256 characters; a long cause is cut, the advice is kept.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failure { call, origin, message } = self.failure();
        let (what, advice) = self.advice();
        let mut status = String::new();
        if let Self::Rejected { status: code, .. } = self {
            status = format!(" with status {code}");
        }
        // A long host name must not crowd out the rest.
        let origin: String = origin.chars().take(80).collect();
        let head = format!("Flink at {origin} {what} ({call}{status})");
        let room = MESSAGE_CHARS.saturating_sub(head.chars().count() + advice.chars().count() + 4);
        if message.is_empty() || room < 2 {
            write!(f, "{head}; {advice}")
        } else if message.chars().count() <= room {
            write!(f, "{head}: {message}; {advice}")
        } else {
            let cut: String = message.chars().take(room - 1).collect();
            write!(f, "{head}: {cut}…; {advice}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_says_what_where_and_what_to_do_in_256_characters() {
        let origin = Arc::from("http://etl-rest.data.svc:8081");
        for message in ["connection refused", "", &"x".repeat(1000)] {
            let error = FlinkError::NotSent(Failure::new("POST /jars/:jarid/run", &origin, message));
            let text = error.to_string();
            assert!(text.chars().count() <= MESSAGE_CHARS, "{text}");
            assert!(
                text.contains("etl-rest") && text.contains("/run") && text.ends_with("network policy"),
                "{text}"
            );
        }
    }

    #[test]
    fn only_proofs_count_as_proofs() {
        let failure = || Failure::new("POST /jars/:jarid/run", &Arc::from("http://h"), "");
        let unknown = [
            FlinkError::Timeout(failure()),
            FlinkError::Lost(failure()),
            FlinkError::Unavailable(failure()),
            FlinkError::NotFlink(failure()),
            FlinkError::Duplicate(failure()),
            FlinkError::NotFound(failure()),
            FlinkError::Rejected {
                status: 400,
                failure: failure(),
            },
        ];
        assert!(unknown.iter().all(|error| !error.proves_no_effect()));
    }
}
