//! One job: where it is, and why it failed.

use std::{collections::BTreeMap, fmt};

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, de};

use super::{few, instant, short_text};
use crate::flink::{
    JobId, JobState,
    text::{Cause, causes, clean},
};

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
pub(in crate::flink) struct JobDetailsInfo {
    jid: JobId,
    #[serde(deserialize_with = "short_text")]
    name: String,
    state: JobState,
    #[serde(rename = "start-time", default)]
    start_time: i64,
    #[serde(rename = "end-time", default)]
    end_time: i64,
    /// A word that we do not know falls together with others of its kind.
    #[serde(default)]
    timestamps: BTreeMap<JobState, i64>,
    #[serde(default)]
    vertices: Vec<Vertex>,
    #[serde(rename = "status-counts", default)]
    tasks: TaskCounts,
}

/// How many operators have their tasks in which state, `{"RUNNING": 2, "FAILED": 0}`, as two sums.
#[derive(Default)]
struct TaskCounts {
    all: u64,
    running: u64,
}

impl<'de> Deserialize<'de> for TaskCounts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Sum;
        impl<'de> de::Visitor<'de> for Sum {
            type Value = TaskCounts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a count for each state")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut counts: A) -> Result<TaskCounts, A::Error> {
                let mut sums = TaskCounts::default();
                while let Some((state, count)) = counts.next_entry::<JobState, u32>()? {
                    sums.all = sums.all.saturating_add(count.into());
                    if state == JobState::Running {
                        sums.running = sums.running.saturating_add(count.into());
                    }
                }
                Ok(sums)
            }
        }
        deserializer.deserialize_map(Sum)
    }
}

#[derive(Deserialize)]
struct Vertex {
    #[serde(default)]
    parallelism: u32,
}

impl From<JobDetailsInfo> for JobDetails {
    fn from(info: JobDetailsInfo) -> Self {
        let entered = |(state, millis): (JobState, i64)| Some((state, instant(millis)?));
        Self {
            id: info.jid,
            name: info.name,
            state: info.state,
            start_time: instant(info.start_time),
            end_time: instant(info.end_time),
            entered: info.timestamps.into_iter().filter_map(entered).collect(),
            parallelism: info.vertices.iter().map(|vertex| vertex.parallelism).max(),
            all_tasks_running: info.tasks.running > 0 && info.tasks.running == info.tasks.all,
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
pub(in crate::flink) struct JobExceptionsInfo {
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
    #[serde(default, deserialize_with = "few")]
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
    pub(in crate::flink) fn failures(self, max: usize) -> Vec<JobFailure> {
        let entries = self.history.map(|history| history.entries).unwrap_or_default();
        let failures = entries.into_iter().map(|entry| {
            let printed = if entry.stacktrace.is_empty() {
                &entry.exception_name
            } else {
                &entry.stacktrace
            };
            JobFailure {
                causes: causes(printed),
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
        let causes = self.root_exception.as_deref().map(causes).unwrap_or_default();
        let time = self.timestamp.and_then(instant);
        let root = (!causes.is_empty()).then_some(JobFailure {
            causes,
            time,
            task: None,
        });
        root.into_iter().take(max).collect()
    }
}
