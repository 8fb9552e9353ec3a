//! What a call to the Kubernetes API can come back with.

use std::{future::Future, time::Duration};

use super::bounded::DeadlinePassed;

/// A call to the Kubernetes API that did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// No answer in time. The server may or may not have carried it out.
    #[error("{call}: no answer from the API server within {} s; it may have been carried out", after.as_secs_f32())]
    Timeout {
        /// What was called, for example `replace status`.
        call: &'static str,
        /// How long was waited.
        after: Duration,
    },
    /// The answer is not what it should be. It may have been carried out.
    ///
    /// The decoder's own words are left out, because it quotes what it found, and that may be a Secret's value.
    #[error("{call}: the answer could not be decoded, at line {line} column {column} ({what:?})")]
    Undecodable {
        /// What was called.
        call: &'static str,
        /// Where in the answer.
        line: usize,
        /// Where in the line.
        column: usize,
        /// Whether it is not JSON, ends too early, or is JSON of another shape.
        what: serde_json::error::Category,
    },
    /// It was stored without some of its fields, as an older `CustomResourceDefinition` does not know them (structural schemas
    /// prune unknown fields: Kubernetes, "Custom Resources", field pruning).
    #[error(
        "{call}: the API server dropped fields of the status, so the CustomResourceDefinitions in the cluster are not those \
         of this version of the operator; apply its crds directory. Until then nothing is done for this resource"
    )]
    Pruned {
        /// What was called.
        call: &'static str,
    },
    /// The server refused it, or the connection failed.
    #[error("{call}: {}", reason_of(source))]
    Failed {
        /// What was called.
        call: &'static str,
        /// The client's error.
        source: Box<kube::Error>,
    },
}

impl ApiError {
    /// The error of the named call.
    #[must_use]
    pub fn new(call: &'static str, source: kube::Error) -> Self {
        match (passed_deadline(&source), source) {
            (Some(after), _) => Self::Timeout { call, after },
            (None, kube::Error::SerdeError(error)) => Self::Undecodable {
                call,
                line: error.line(),
                column: error.column(),
                what: error.classify(),
            },
            (None, source) => Self::Failed {
                call,
                source: Box::new(source),
            },
        }
    }

    /// The server's refusal, when it answered with one.
    #[must_use]
    pub fn status(&self) -> Option<&kube::core::Status> {
        let Self::Failed { source, .. } = self else { return None };
        if let kube::Error::Api(status) = &**source {
            Some(status)
        } else {
            None
        }
    }

    /// The object is not as it was when it was read (409 with reason `Conflict`).
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.status()
            .is_some_and(|status| status.is_conflict() && !status.is_already_exists())
    }

    /// There is no such object.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.status().is_some_and(kube::core::Status::is_not_found)
    }

    /// There is such an object already (409 with reason `AlreadyExists`).
    #[must_use]
    pub fn is_already_exists(&self) -> bool {
        self.status().is_some_and(kube::core::Status::is_already_exists)
    }

    /// RBAC, admission or a terminating namespace forbids it.
    #[must_use]
    pub fn is_forbidden(&self) -> bool {
        self.status().is_some_and(kube::core::Status::is_forbidden)
    }

    /// The namespace is being deleted, so that nothing can be created in it any more (the admission plugin
    /// `NamespaceLifecycle` gives this cause).
    #[must_use]
    pub fn is_of_terminating_namespace(&self) -> bool {
        let details = self.status().and_then(|status| status.details.as_ref());
        details.is_some_and(|details| {
            details
                .causes
                .iter()
                .any(|cause| cause.reason == "NamespaceTerminating")
        })
    }

    /// The server answered with a refusal that proves that nothing was changed: any 4xx but a timeout.
    #[must_use]
    pub fn nothing_changed(&self) -> bool {
        self.status()
            .is_some_and(|status| (400..500).contains(&status.code) && status.code != 408)
    }

    /// The same request may go through later: the server was not there, was too busy, or failed.
    #[must_use]
    pub fn retry_later(&self) -> bool {
        self.status()
            .is_none_or(|status| matches!(status.code, 401 | 408 | 429 | 500..))
    }

    /// How long the server asked to be left alone.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        let details = self.status()?.details.as_ref()?;
        (details.retry_after_seconds > 0).then(|| Duration::from_secs(u64::from(details.retry_after_seconds)))
    }

    /// One word for metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Timeout { .. } => "ApiTimeout",
            Self::Undecodable { .. } => "ApiUndecodable",
            Self::Pruned { .. } => "ApiPruned",
            Self::Failed { .. } => match self.status().map(|status| status.code) {
                Some(401) => "ApiUnauthorized",
                Some(403) => "ApiForbidden",
                Some(404) => "ApiNotFound",
                Some(409) => "ApiConflict",
                Some(422) => "ApiInvalid",
                Some(429) => "ApiThrottled",
                Some(code) if code >= 500 => "ApiServerError",
                Some(_) => "ApiRefused",
                None => "ApiUnreachable",
            },
        }
    }
}

/// The server's own sentence, without the debug dump that `kube::Error` prints after it.
fn reason_of(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error
        && !status.message.is_empty()
    {
        return status.message.clone();
    }
    if let kube::Error::Service(source) = error {
        let mut text = source.to_string();
        let mut cause = source.source();
        while let Some(next) = cause {
            text = format!("{text}: {next}");
            cause = next.source();
        }
        return text;
    }
    error.to_string()
}

fn passed_deadline(error: &kube::Error) -> Option<Duration> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(passed) = error.downcast_ref::<DeadlinePassed>() {
            return Some(passed.0);
        }
        cause = error.source();
    }
    None
}

/// Waits for a call to the Kubernetes API, at most for `deadline`, and names the call in what goes wrong.
///
/// When the deadline passes, or the caller drops the future, the request is abandoned: a write may still be carried out.
///
/// # Errors
/// [`ApiError::Timeout`] or [`ApiError::Failed`].
pub async fn within<T>(
    deadline: Duration,
    call: &'static str,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, ApiError> {
    match tokio::time::timeout(deadline, request).await {
        Ok(result) => result.map_err(|source| ApiError::new(call, source)),
        Err(_elapsed) => Err(ApiError::Timeout { call, after: deadline }),
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn refused(code: u16, reason: &str) -> ApiError {
        let status = Status::failure("the server's sentence", reason).with_code(code);
        ApiError::new("replace status", kube::Error::Api(Box::new(status)))
    }

    #[tokio::test(start_paused = true)]
    async fn an_elapsed_deadline_names_the_call() {
        let never = std::future::pending::<Result<(), kube::Error>>();
        let error = within(Duration::from_secs(3), "replace status", never)
            .await
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "replace status: no answer from the API server within 3 s; it may have been carried out"
        );
        assert!(!error.nothing_changed());
    }

    #[test]
    fn a_conflict_is_not_an_object_that_exists() {
        assert!(refused(409, "Conflict").is_conflict());
        assert!(!refused(409, "Conflict").is_already_exists());
        assert!(refused(409, "AlreadyExists").is_already_exists());
        assert!(!refused(409, "AlreadyExists").is_conflict());
    }

    #[test]
    fn a_namespace_that_goes_away_is_told_from_missing_rights() {
        let answer = |causes: &str| -> ApiError {
            let status = format!(
                r#"{{"kind":"Status","status":"Failure","message":"events \"x\" is forbidden: because","reason":"Forbidden",
                    "details":{{"name":"x","kind":"events","causes":[{causes}]}},"code":403}}"#
            );
            let status: Status = serde_json::from_str(&status).unwrap();
            ApiError::new("create event", kube::Error::Api(Box::new(status)))
        };
        let cause = r#"{"reason":"NamespaceTerminating","message":"namespace n is being terminated","field":"metadata.namespace"}"#;
        assert!(answer(cause).is_of_terminating_namespace());
        for other in ["", r#"{"reason":"FieldValueInvalid","message":"m","field":"f"}"#] {
            let error = answer(other);
            assert!(error.is_forbidden() && !error.is_of_terminating_namespace(), "{other}");
        }
        assert!(!refused(403, "Forbidden").is_of_terminating_namespace());
    }

    #[test]
    fn only_a_complete_refusal_proves_that_nothing_changed() {
        for code in [400, 401, 403, 404, 409, 410, 422, 429] {
            assert!(refused(code, "").nothing_changed(), "{code}");
        }
        for code in [408, 500, 502, 503, 504] {
            assert!(!refused(code, "").nothing_changed(), "{code}");
        }
    }

    #[test]
    fn the_message_is_the_servers_sentence() {
        assert_eq!(
            refused(403, "Forbidden").to_string(),
            "replace status: the server's sentence"
        );
    }
}
