//! What Flink answers, in our types. Unknown fields are skipped, missing ones get the neutral value: 1.19 to 2.x differ.

use std::{collections::BTreeMap, fmt, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, de};

use super::{
    JarId, JobId, JobManagerIdentity, JobState,
    text::{Cause, clean},
};

/// Milliseconds since 1970, as Flink writes times; zero and below mean "not yet".
pub(super) fn instant(millis: i64) -> Option<Timestamp> {
    (millis > 0).then(|| Timestamp::from_millisecond(millis).ok()).flatten()
}

/// One job in `GET /jobs/overview`. Small on purpose: there may be ten thousand, read once a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct JobOverview {
    /// Its id.
    #[serde(rename = "jid")]
    pub id: JobId,
    /// Its state.
    pub state: JobState,
    /// When it was submitted, in milliseconds since 1970.
    #[serde(rename = "start-time", default)]
    pub start_millis: i64,
    /// When it ended, in milliseconds since 1970; -1 while it has not.
    #[serde(rename = "end-time", default)]
    pub end_millis: i64,
    /// When its state or a task's state last changed, in milliseconds since 1970.
    #[serde(rename = "last-modification", default)]
    pub modified_millis: i64,
}

impl JobOverview {
    /// When it was submitted.
    #[must_use]
    pub fn start_time(&self) -> Option<Timestamp> {
        instant(self.start_millis)
    }

    /// When it ended.
    #[must_use]
    pub fn end_time(&self) -> Option<Timestamp> {
        instant(self.end_millis)
    }
}

/// `GET /jobs/overview`.
#[derive(Deserialize)]
pub(super) struct JobsOverview {
    pub(super) jobs: Vec<JobOverview>,
}

impl<'de> Deserialize<'de> for JobState {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// Reads the word in place, without a copy.
        struct Word;
        impl de::Visitor<'_> for Word {
            type Value = JobState;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the state of a job")
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<JobState, E> {
                Ok(JobState::from_word(word))
            }
        }
        deserializer.deserialize_str(Word)
    }
}

/// `GET /overview`: the cluster at a glance.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ClusterOverview {
    /// Registered TaskManagers.
    #[serde(rename = "taskmanagers")]
    pub task_managers: u32,
    /// All slots.
    pub slots_total: u32,
    /// Free slots.
    pub slots_available: u32,
    /// Jobs that have not ended.
    pub jobs_running: u32,
    /// Jobs that ended with success and are still remembered.
    pub jobs_finished: u32,
    /// Jobs that were cancelled and are still remembered.
    pub jobs_cancelled: u32,
    /// Jobs that failed and are still remembered.
    pub jobs_failed: u32,
    /// Flink's version, such as `2.3.0`.
    #[serde(deserialize_with = "short_text")]
    pub flink_version: String,
}

/// `GET /config`: what the cluster allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterFeatures {
    /// Flink's version, such as `2.3.0`.
    pub flink_version: String,
    /// Whether jars can be uploaded and run (`web.submit.enable`).
    pub submission_enabled: bool,
    /// Whether the web UI offers to cancel (`web.cancel.enable`); the REST endpoint works without.
    pub cancel_enabled: bool,
    /// How old the answers about a job can be (`web.refresh-interval`).
    pub refresh_interval: Duration,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct DashboardConfiguration {
    refresh_interval: u64,
    #[serde(deserialize_with = "short_text")]
    flink_version: String,
    features: Features,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Features {
    web_submit: bool,
    #[serde(default)]
    web_cancel: bool,
}

impl From<DashboardConfiguration> for ClusterFeatures {
    fn from(config: DashboardConfiguration) -> Self {
        Self {
            flink_version: config.flink_version,
            submission_enabled: config.features.web_submit,
            cancel_enabled: config.features.web_cancel,
            refresh_interval: Duration::from_millis(config.refresh_interval),
        }
    }
}

fn short_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(clean(&String::deserialize(deserializer)?))
}

/// `GET /jobs/:jobid`: one job, without its plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobDetails {
    /// Its id.
    pub id: JobId,
    /// The name that the program gave, at most 256 characters.
    pub name: String,
    /// Its state.
    pub state: JobState,
    /// When it was submitted.
    pub start_time: Option<Timestamp>,
    /// When it ended.
    pub end_time: Option<Timestamp>,
    /// When it last entered each state.
    pub entered: BTreeMap<JobState, Timestamp>,
    /// The highest parallelism of its operators; `None` before there are any.
    pub parallelism: Option<u32>,
    /// Whether every task runs. `RUNNING` alone does not say so.
    pub all_tasks_running: bool,
}

#[derive(Deserialize)]
pub(super) struct JobDetailsInfo {
    jid: JobId,
    #[serde(deserialize_with = "short_text")]
    name: String,
    state: JobState,
    #[serde(rename = "start-time", default)]
    start_time: i64,
    #[serde(rename = "end-time", default)]
    end_time: i64,
    #[serde(default)]
    timestamps: BTreeMap<String, i64>,
    #[serde(default)]
    vertices: Vec<Vertex>,
    #[serde(rename = "status-counts", default)]
    status_counts: BTreeMap<String, u32>,
}

#[derive(Deserialize)]
struct Vertex {
    #[serde(default)]
    parallelism: u32,
}

impl From<JobDetailsInfo> for JobDetails {
    fn from(info: JobDetailsInfo) -> Self {
        let tasks: u32 = info.status_counts.values().sum();
        let running = info.status_counts.get("RUNNING").copied().unwrap_or_default();
        let entered = |(word, millis): (&String, &i64)| Some((JobState::from_word(word), instant(*millis)?));
        Self {
            id: info.jid,
            name: info.name,
            state: info.state,
            start_time: instant(info.start_time),
            end_time: instant(info.end_time),
            entered: info.timestamps.iter().filter_map(entered).collect(),
            parallelism: info.vertices.iter().map(|vertex| vertex.parallelism).max(),
            all_tasks_running: tasks > 0 && tasks == running,
        }
    }
}

/// One failure of a job, from `GET /jobs/:jobid/exceptions`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobFailure {
    /// The chain of exceptions, outermost first; at most 16. Never empty.
    pub causes: Vec<Cause>,
    /// When it happened.
    pub time: Option<Timestamp>,
    /// The task that failed first, when Flink names one.
    pub task: Option<String>,
}

impl JobFailure {
    /// The innermost exception: what went wrong.
    #[must_use]
    pub fn root_cause(&self) -> Option<&Cause> {
        self.causes.last()
    }
}

#[derive(Deserialize)]
pub(super) struct JobExceptionsInfo {
    #[serde(rename = "exceptionHistory", default)]
    history: Option<ExceptionHistory>,
    /// Flink 1.x only.
    #[serde(rename = "root-exception", default)]
    root_exception: Option<String>,
    #[serde(default)]
    timestamp: Option<i64>,
}

#[derive(Deserialize)]
struct ExceptionHistory {
    #[serde(default)]
    entries: Vec<ExceptionEntry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExceptionEntry {
    #[serde(default)]
    exception_name: String,
    #[serde(default)]
    stacktrace: String,
    #[serde(default)]
    timestamp: i64,
    #[serde(default)]
    task_name: Option<String>,
}

impl JobExceptionsInfo {
    /// The failures, newest first, at most `max`.
    pub(super) fn failures(self, max: usize) -> Vec<JobFailure> {
        let entries = self.history.map(|history| history.entries).unwrap_or_default();
        let failures = entries.into_iter().map(|entry| {
            let printed = if entry.stacktrace.is_empty() {
                &entry.exception_name
            } else {
                &entry.stacktrace
            };
            JobFailure {
                causes: super::text::causes(printed),
                time: instant(entry.timestamp),
                task: entry.task_name.as_deref().map(clean),
            }
        });
        let told: Vec<JobFailure> = failures
            .filter(|failure| !failure.causes.is_empty())
            .take(max)
            .collect();
        if !told.is_empty() {
            return told;
        }
        let causes = self
            .root_exception
            .as_deref()
            .map(super::text::causes)
            .unwrap_or_default();
        let time = self.timestamp.and_then(instant);
        let root = (!causes.is_empty()).then_some(JobFailure {
            causes,
            time,
            task: None,
        });
        root.into_iter().take(max).collect()
    }
}

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
pub(super) struct JarList {
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
    pub(super) fn jars(self) -> Vec<Jar> {
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
pub(super) struct JarUploadResponse {
    filename: String,
}

impl JarUploadResponse {
    pub(super) fn uploaded(&self) -> Option<Uploaded> {
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
pub(super) struct JarRunResponse {
    pub(super) jobid: JobId,
}
