//! Uploaded jars and what running one answers.

use jiff::Timestamp;
use serde::Deserialize;

use super::{JobManagerIdentity, instant, short_text};
use crate::flink::{JarId, JobId};

/// One jar in the upload folder, from `GET /jars`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jar {
    /// Its id.
    pub id: JarId,
    /// The name it was uploaded under.
    pub name: String,
    /// When.
    pub uploaded: Option<Timestamp>,
}

#[derive(Deserialize)]
pub(in crate::flink) struct JarList {
    files: Vec<JarFile>,
}

#[derive(Deserialize)]
struct JarFile {
    id: String,
    #[serde(deserialize_with = "short_text")]
    name: String,
    #[serde(default)]
    uploaded: i64,
}

impl JarList {
    /// The jars. Those with an id that we would not have made are not ours, and are left out.
    pub(in crate::flink) fn jars(self) -> Vec<Jar> {
        let jar = |file: JarFile| {
            Some(Jar {
                id: file.id.parse().ok()?,
                name: file.name,
                uploaded: instant(file.uploaded),
            })
        };
        self.files.into_iter().filter_map(jar).collect()
    }
}

/// The answer to an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uploaded {
    /// The jar's id, for `run` and `delete`.
    pub id: JarId,
    /// The process that has the jar. `None` where `web.upload.dir` is set: there, jars outlive processes.
    pub job_manager: Option<JobManagerIdentity>,
}

#[derive(Deserialize)]
pub(in crate::flink) struct JarUploadResponse {
    filename: String,
}

impl JarUploadResponse {
    pub(in crate::flink) fn uploaded(&self) -> Option<Uploaded> {
        let id = self.filename.rsplit(['/', '\\']).next()?.parse().ok()?;
        let job_manager = JobManagerIdentity::in_path(&self.filename);
        Some(Uploaded { id, job_manager })
    }
}

/// The answer to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunReply {
    /// The job with the requested id was accepted.
    Started,
    /// Another job was accepted. Flink skips fields that it does not know, so a Flink that does not know `jobId` starts a
    /// job with a random id.
    OtherJob(JobId),
}

#[derive(Deserialize)]
pub(in crate::flink) struct JarRunResponse {
    pub(in crate::flink) jobid: JobId,
}
