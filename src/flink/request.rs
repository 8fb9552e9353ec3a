//! What we send: a run, a jar, a savepoint to be taken and one to be disposed of.

use std::{collections::BTreeMap, io};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use serde::Serialize;
use tokio_util::io::ReaderStream;

use super::{JobId, TriggerId};

/// How Flink treats the files of the savepoint that a job starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ClaimMode {
    /// The files stay ours.
    NoClaim,
    /// Flink owns the files, and may delete them.
    Claim,
}

/// The body of `POST /jars/:jarid/run`.
///
/// The names are those of `JarRunRequestBody`, equal in 1.20 and 2.x. Flink skips names that it does not know, so a typing
/// error here would start a job from empty state: a contract test compares what arrives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RunRequest {
    /// The id that the job gets.
    pub job_id: JobId,
    /// The class with `main()`; `None` is the one in the jar's manifest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry_class: Option<String>,
    /// The arguments of `main()`.
    #[serde(rename = "programArgsList", skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// The default parallelism; `None` is the cluster's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallelism: Option<u32>,
    /// Configuration for this job, over the cluster's.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub flink_configuration: BTreeMap<String, String>,
    /// The savepoint or checkpoint to start from; `None` starts empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub savepoint_path: Option<String>,
    /// What becomes of its files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claim_mode: Option<ClaimMode>,
    /// Whether state that the program has no operator for may be dropped.
    pub allow_non_restored_state: bool,
}

impl RunRequest {
    /// A run of the jar's own main class, from empty state, with the cluster's settings.
    #[must_use]
    pub const fn new(job_id: JobId) -> Self {
        Self {
            job_id,
            entry_class: None,
            args: Vec::new(),
            parallelism: None,
            flink_configuration: BTreeMap::new(),
            savepoint_path: None,
            claim_mode: None,
            allow_non_restored_state: false,
        }
    }
}

/// How a savepoint is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SavepointFormat {
    /// The same for all state backends. It failed, and restarted, jobs whose state can only be written natively.
    Canonical,
    /// The state backend's own.
    Native,
}

/// A savepoint to be taken, of a job that goes on or that stops with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavepointRequest {
    /// Names the request; see [`TriggerId`].
    pub trigger_id: TriggerId,
    /// The directory in which the savepoint gets a directory of its own. With one directory for each trigger, a savepoint
    /// whose answer was lost can be found again.
    pub target_directory: String,
    /// Its format.
    pub format: SavepointFormat,
}

impl SavepointRequest {
    pub(super) fn savepoint(&self) -> SavepointTriggerRequestBody<'_> {
        SavepointTriggerRequestBody {
            target_directory: &self.target_directory,
            cancel_job: false,
            format_type: self.format,
            trigger_id: self.trigger_id,
        }
    }

    pub(super) fn stop(&self) -> StopWithSavepointRequestBody<'_> {
        StopWithSavepointRequestBody {
            target_directory: &self.target_directory,
            drain: false,
            format_type: self.format,
            trigger_id: self.trigger_id,
        }
    }
}

/// The body of `POST /jobs/:jobid/savepoints`. Flink skips names that it does not know: with a typing error in the
/// directory's, the savepoint would land in the cluster's default one.
#[derive(Serialize)]
pub(super) struct SavepointTriggerRequestBody<'a> {
    #[serde(rename = "target-directory")]
    target_directory: &'a str,
    #[serde(rename = "cancel-job")]
    cancel_job: bool,
    #[serde(rename = "formatType")]
    format_type: SavepointFormat,
    #[serde(rename = "triggerId")]
    trigger_id: TriggerId,
}

/// The body of `POST /jobs/:jobid/stop`, whose names are written differently.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StopWithSavepointRequestBody<'a> {
    target_directory: &'a str,
    drain: bool,
    format_type: SavepointFormat,
    trigger_id: TriggerId,
}

/// The body of `POST /savepoint-disposal`.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct SavepointDisposalRequest<'a> {
    pub(super) savepoint_path: &'a str,
}

/// A jar on its way to Flink, never held in memory as a whole unless it is there already.
pub struct JarContent {
    pub(super) length: u64,
    pub(super) body: reqwest::Body,
}

impl JarContent {
    /// A jar that is in memory.
    #[must_use]
    pub fn from_bytes(jar: Bytes) -> Self {
        Self {
            length: u64::try_from(jar.len()).unwrap_or(u64::MAX),
            body: jar.into(),
        }
    }

    /// A file, from its current position, of which `length` bytes are left.
    #[must_use]
    pub fn from_file(file: tokio::fs::File, length: u64) -> Self {
        Self::from_stream(ReaderStream::with_capacity(file, 64 * 1024), length)
    }

    /// A stream of exactly `length` bytes. Another length breaks the upload.
    pub fn from_stream<S>(jar: S, length: u64) -> Self
    where
        S: Stream<Item = io::Result<Bytes>> + Send + 'static,
    {
        Self {
            length,
            body: reqwest::Body::wrap_stream(jar.boxed()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_written_in_flinks_words() {
        let id: JobId = "00000000000000000000000000000001".parse().unwrap();
        let plain = serde_json::to_value(RunRequest::new(id)).unwrap();
        assert_eq!(
            plain,
            serde_json::json!({"jobId": id.to_string(), "allowNonRestoredState": false})
        );
        let full = RunRequest {
            entry_class: Some("a.B".to_owned()),
            args: vec!["--x".to_owned()],
            parallelism: Some(2),
            flink_configuration: [("a".to_owned(), "b".to_owned())].into(),
            savepoint_path: Some("s3://b/s".to_owned()),
            claim_mode: Some(ClaimMode::NoClaim),
            allow_non_restored_state: true,
            ..RunRequest::new(id)
        };
        let expected = serde_json::json!({
            "jobId": id.to_string(), "entryClass": "a.B", "programArgsList": ["--x"], "parallelism": 2,
            "flinkConfiguration": {"a": "b"}, "savepointPath": "s3://b/s", "claimMode": "NO_CLAIM",
            "allowNonRestoredState": true,
        });
        assert_eq!(serde_json::to_value(full).unwrap(), expected);
    }

    #[test]
    fn savepoints_stops_and_disposals_are_written_in_flinks_words() {
        let id: TriggerId = "00000000000000000000000000000002".parse().unwrap();
        let request = SavepointRequest {
            trigger_id: id,
            target_directory: "s3://b/s".to_owned(),
            format: SavepointFormat::Native,
        };
        assert_eq!(
            serde_json::to_value(request.savepoint()).unwrap(),
            serde_json::json!({
                "target-directory": "s3://b/s", "cancel-job": false, "formatType": "NATIVE", "triggerId": id.to_string(),
            })
        );
        let canonical = SavepointRequest {
            format: SavepointFormat::Canonical,
            ..request
        };
        assert_eq!(
            serde_json::to_value(canonical.stop()).unwrap(),
            serde_json::json!({
                "targetDirectory": "s3://b/s", "drain": false, "formatType": "CANONICAL", "triggerId": id.to_string(),
            })
        );
        let disposal = SavepointDisposalRequest { savepoint_path: "/s" };
        assert_eq!(
            serde_json::to_value(disposal).unwrap(),
            serde_json::json!({"savepoint-path": "/s"})
        );
    }
}
