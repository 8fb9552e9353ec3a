//! The list of all jobs, which is read once a second.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, de};

use super::instant;
use crate::flink::{JobId, JobState};

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
    /// Whether all its tasks run, or have finished; true where Flink does not tell.
    #[serde(rename = "tasks", default = "untold", deserialize_with = "all_run")]
    pub tasks_run: bool,
}

const fn untold() -> bool {
    true
}

/// Reads `{"total": 2, "running": 1, "finished": 1, …}`.
fn all_run<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    #[derive(Deserialize)]
    struct Tasks {
        #[serde(default)]
        total: u32,
        #[serde(default)]
        running: u32,
        #[serde(default)]
        finished: u32,
    }
    let tasks = Tasks::deserialize(deserializer)?;
    Ok(tasks.total > 0 && tasks.running.saturating_add(tasks.finished) >= tasks.total)
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
pub(in crate::flink) struct JobsOverview {
    pub(in crate::flink) jobs: Vec<JobOverview>,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_tasks_run_when_none_is_missing_and_where_nothing_is_told() {
        let rows = [
            (r#","tasks":{"total":2,"created":0,"running":2,"finished":0}"#, true),
            (r#","tasks":{"total":2,"running":1,"finished":1}"#, true),
            (
                r#","tasks":{"total":2,"running":1,"finished":0,"initializing":1}"#,
                false,
            ),
            (r#","tasks":{"total":2,"scheduled":2,"running":0,"finished":0}"#, false),
            // Before its graph is made, a job has none.
            (r#","tasks":{"total":0,"running":0,"finished":0}"#, false),
            ("", true),
        ];
        for (tasks, expected) in rows {
            let text = format!(r#"{{"jid":"91792b5b58e34ec4b6c17be22d869fc9","state":"RUNNING"{tasks}}}"#);
            let job: JobOverview = serde_json::from_str(&text).unwrap();
            assert_eq!(job.tasks_run, expected, "{tasks}");
        }
    }
}
