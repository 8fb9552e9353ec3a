//! What became of a savepoint, a stop or a disposal. Flink does them in the background and keeps the outcome for a while.

use serde::Deserialize;

use crate::flink::{
    TriggerId,
    text::{Cause, causes, root_line},
};

/// The longest path of a savepoint that is read.
const PATH_LENGTH: usize = 2048;

/// The answer to a request for a savepoint or a stop. It says nothing about the job: that comes with the outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TriggerReply {
    /// Flink has the request with this id, now or from before.
    Accepted,
    /// Flink gave the request another id: one that does not know the field skips it. Sending it again has another effect.
    OtherTrigger(TriggerId),
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::flink) struct TriggerResponse {
    pub(in crate::flink) request_id: TriggerId,
}

/// What became of a savepoint or a stop with savepoint, from `GET /jobs/:jobid/savepoints/:triggerid`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SavepointStatus {
    /// It is under way, or hangs.
    InProgress,
    /// The savepoint is complete. After a stop, the job is FINISHED.
    Completed {
        /// Its directory, in Flink's spelling: `file:/a/b` where `/a/b` or `file:///a/b` was asked for. See
        /// [`lies_under`](crate::flink::lies_under).
        location: String,
    },
    /// It failed, and this id will say so until it is forgotten. The job may have been restarted.
    Failed(OperationFailure),
    /// This process does not know the id: another process took the request, or the outcome expired
    /// (`rest.async.store-duration` after the end), or it was never sent. The savepoint may exist.
    Unknown,
}

/// What became of a disposal, from `GET /savepoint-disposal/:triggerid`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DisposalStatus {
    /// It is under way.
    InProgress,
    /// The files are deleted.
    Completed,
    /// It failed; part of the files may be deleted.
    Failed(OperationFailure),
    /// This process does not know the id: another process took the request, or the outcome expired.
    Unknown,
}

/// Why a savepoint, a stop or a disposal failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationFailure {
    /// What it means, as far as it is told apart.
    pub kind: FailureKind,
    /// The chain of exceptions, outermost first; at most 16.
    pub causes: Vec<Cause>,
}

impl OperationFailure {
    /// The innermost exception: what went wrong.
    #[must_use]
    pub fn root_cause(&self) -> Option<&Cause> {
        self.causes.last()
    }
}

/// What a failure means, read off Flink's own exceptions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FailureKind {
    /// The process does not run the job: it has ended, or was never there. Says nothing about earlier requests, one of
    /// which may have stopped the job.
    JobNotRunning,
    /// Some tasks do not run yet, or just now. Nothing was done.
    TasksNotRunning,
    /// The savepoint of a stop is complete, at this path, and the job did not finish: it failed at its end, and was not
    /// restarted, or it was cancelled because it hung there.
    StoppingFailed {
        /// The savepoint's directory.
        location: String,
    },
    /// There is nothing at the path of a disposal.
    NothingThere,
    /// There is no `_metadata` at the path of a disposal: it is no savepoint, or no whole one any more.
    NoMetadata,
    /// Something else.
    Other,
}

impl FailureKind {
    fn of(printed: &str, causes: &[Cause]) -> Self {
        let root = root_line(printed);
        let thrown = |class: &str| {
            let of_class = |cause: &Cause| cause.class.rsplit('.').next() == Some(class);
            causes.iter().any(of_class)
        };
        if thrown("StopWithSavepointStoppingException")
            && let Some(location) = location_in(printed)
        {
            Self::StoppingFailed { location }
        } else if thrown("FlinkJobNotFoundException") {
            Self::JobNotRunning
        } else if root.ends_with("Failure reason: Not all required tasks are currently running.") {
            Self::TasksNotRunning
        } else if root.starts_with("java.io.FileNotFoundException: Cannot find checkpoint or savepoint file/directory ")
        {
            Self::NothingThere
        } else if root.starts_with("java.io.FileNotFoundException: Cannot find meta data file '_metadata'") {
            Self::NoMetadata
        } else {
            Self::Other
        }
    }
}

/// The path in the message of a `StopWithSavepointStoppingException`.
fn location_in(printed: &str) -> Option<String> {
    let (_, rest) = printed.split_once("A savepoint has been created at: ")?;
    let (path, _) = rest.split_once(", but the corresponding job ")?;
    is_path(path).then(|| path.to_owned())
}

/// Whether a text can be a path that is passed on: short enough, and all of it visible.
fn is_path(text: &str) -> bool {
    !text.is_empty() && text.len() <= PATH_LENGTH && !text.chars().any(char::is_control)
}

/// `AsynchronousOperationResult`, of savepoints and of disposals.
#[derive(Deserialize)]
pub(in crate::flink) struct OperationResult {
    status: QueueStatus,
    #[serde(default)]
    operation: Option<OperationInfo>,
}

#[derive(Deserialize)]
struct QueueStatus {
    id: QueueStatusId,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum QueueStatusId {
    InProgress,
    Completed,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct OperationInfo {
    #[serde(default)]
    location: Option<String>,
    #[serde(default)]
    failure_cause: Option<SerializedThrowable>,
}

/// The Java object that comes with it, in Base64, is skipped.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct SerializedThrowable {
    #[serde(default)]
    class: String,
    #[serde(default)]
    stack_trace: String,
}

impl From<SerializedThrowable> for OperationFailure {
    fn from(thrown: SerializedThrowable) -> Self {
        let printed = if thrown.stack_trace.is_empty() {
            thrown.class
        } else {
            thrown.stack_trace
        };
        let causes = causes(&printed);
        Self {
            kind: FailureKind::of(&printed, &causes),
            causes,
        }
    }
}

impl OperationResult {
    /// Read as a savepoint's. `None` when it is neither under way, nor complete with a path, nor failed.
    pub(in crate::flink) fn savepoint(self) -> Option<SavepointStatus> {
        match (self.status.id, self.operation) {
            (QueueStatusId::InProgress, _) => Some(SavepointStatus::InProgress),
            (QueueStatusId::Completed, Some(operation)) => match (operation.location, operation.failure_cause) {
                (None, Some(thrown)) => Some(SavepointStatus::Failed(thrown.into())),
                (Some(location), None) if is_path(&location) => Some(SavepointStatus::Completed { location }),
                _ => None,
            },
            (QueueStatusId::Completed, None) => None,
        }
    }

    /// Read as a disposal's.
    pub(in crate::flink) fn disposal(self) -> Option<DisposalStatus> {
        match (self.status.id, self.operation) {
            (QueueStatusId::InProgress, _) => Some(DisposalStatus::InProgress),
            (QueueStatusId::Completed, Some(operation)) => Some(match operation.failure_cause {
                None => DisposalStatus::Completed,
                Some(thrown) => DisposalStatus::Failed(thrown.into()),
            }),
            (QueueStatusId::Completed, None) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: serde_json::Value) -> OperationResult {
        serde_json::from_value(body).unwrap()
    }

    fn failed(printed: &str) -> OperationFailure {
        let thrown = serde_json::json!({"class": "x.Y", "stack-trace": printed, "serialized-throwable": "rO0A"});
        let body = serde_json::json!({"status": {"id": "COMPLETED"}, "operation": {"failure-cause": thrown}});
        match read(body).savepoint() {
            Some(SavepointStatus::Failed(failure)) => failure,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn failures_are_told_apart() {
        let wrapped = |root: &str| {
            format!(
                "java.util.concurrent.CompletionException: {root}\n\tat a.b(C.java:1)\nCaused by: {root}\n\tat d.e(F.java:2)\n"
            )
        };
        let flink = "org.apache.flink.runtime";
        for (root, kind) in [
            (
                format!("{flink}.messages.FlinkJobNotFoundException: Could not find Flink job (00)"),
                FailureKind::JobNotRunning,
            ),
            (
                format!(
                    "{flink}.checkpoint.CheckpointException: Checkpoint triggering task {} is not being executed at the moment. \
                    Aborting checkpoint. Failure reason: Not all required tasks are currently running.",
                    "long ".repeat(99)
                ),
                FailureKind::TasksNotRunning,
            ),
            (
                format!(
                    "{flink}.scheduler.stopwithsavepoint.StopWithSavepointStoppingException: A savepoint has been created at: \
                    s3://b/s, but the corresponding job 00 failed during stopping."
                ),
                FailureKind::StoppingFailed {
                    location: "s3://b/s".to_owned(),
                },
            ),
            (
                "java.io.IOException: Failed to create savepoint directory at /x".to_owned(),
                FailureKind::Other,
            ),
            ("java.io.FileNotFoundException: /other".to_owned(), FailureKind::Other),
        ] {
            let failure = failed(&wrapped(&root));
            assert_eq!((failure.kind, failure.causes.len()), (kind, 2), "{root}");
        }
        assert_eq!(failed("").kind, FailureKind::Other);
    }

    #[test]
    fn half_an_answer_is_none() {
        for operation in [
            serde_json::json!(null),
            serde_json::json!({}),
            serde_json::json!({"location": ""}),
            serde_json::json!({"location": "a\u{0}b"}),
            serde_json::json!({"location": "x".repeat(3000)}),
            serde_json::json!({"location": "/a", "failure-cause": {"class": "a.B", "stack-trace": "a.B"}}),
        ] {
            let status = read(serde_json::json!({"status": {"id": "COMPLETED"}, "operation": operation})).savepoint();
            assert_eq!(status, None, "{operation}");
        }
        let done = serde_json::json!({"status": {"id": "COMPLETED"}, "operation": {}});
        assert_eq!(read(done).disposal(), Some(DisposalStatus::Completed));
        let none = serde_json::json!({"status": {"id": "COMPLETED"}});
        assert_eq!(read(none).disposal(), None);
    }
}
