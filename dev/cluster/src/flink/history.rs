//! What happened in a JobManager, in the order of its log.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use super::log;

/// Something that the JobManager did. Ids are 32 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobEvent {
    /// A submission was accepted.
    Accepted {
        /// The job.
        job_id: String,
    },
    /// A job was restored: at its start, or when Flink restarted it.
    Restored {
        /// The job.
        job_id: String,
        /// The number of the checkpoint or savepoint.
        number: u64,
        /// Its path, in Flink's spelling.
        path: String,
    },
    /// A job came into a state.
    Entered {
        /// The job.
        job_id: String,
        /// The state, in Flink's word.
        state: String,
    },
    /// A stop with savepoint was begun. A request whose trigger Flink knows already begins none.
    Stop {
        /// The job.
        job_id: String,
    },
    /// A savepoint of a job that goes on was begun, with the same exception.
    Savepoint {
        /// The job.
        job_id: String,
    },
    /// A disposal was begun.
    Disposal {
        /// What is deleted, as the request spells it.
        path: String,
    },
}

/// Reads a JobManager's log from a moment on, also when the JobManager is restarted.
#[derive(Debug)]
pub struct JobHistory {
    path: PathBuf,
    position: u64,
    /// A line that was not written to its end.
    rest: Vec<u8>,
    events: Vec<JobEvent>,
}

impl JobHistory {
    /// From the end of the log as it is now.
    pub(super) fn from_now_on(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            position: path.metadata()?.len(),
            rest: Vec::new(),
            events: Vec::new(),
        })
    }

    /// Everything that has happened since, in order.
    pub fn events(&mut self) -> io::Result<&[JobEvent]> {
        let mut log = File::open(&self.path)?;
        log.seek(SeekFrom::Start(self.position))?;
        self.position += u64::try_from(log.read_to_end(&mut self.rest)?).unwrap_or_default();
        let whole = self
            .rest
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |end| end + 1);
        let lines: Vec<u8> = self.rest.drain(..whole).collect();
        let text = String::from_utf8_lossy(&lines);
        self.events.extend(text.lines().filter_map(event));
        Ok(&self.events)
    }
}

fn event(line: &str) -> Option<JobEvent> {
    let (head, said) = line.split_once(" [] - ")?;
    let said = said.trim_end().trim_end_matches('.');
    let by = |class: &str| head.contains(class);
    if by("JobMaster") {
        let begun = |what: &str| said.strip_prefix(what).filter(|id| is_id(id)).map(str::to_owned);
        return begun("Triggering stop-with-savepoint for job ")
            .map(|job_id| JobEvent::Stop { job_id })
            .or_else(|| begun("Triggering savepoint for job ").map(|job_id| JobEvent::Savepoint { job_id }));
    }
    if by("executiongraph.ExecutionGraph") {
        let (job, states) = said.strip_prefix("Job ")?.rsplit_once(") switched from state ")?;
        let (_, job_id) = job.rsplit_once('(')?;
        let (_, state) = states.split_once(" to ")?;
        return is_id(job_id).then(|| JobEvent::Entered {
            job_id: job_id.to_owned(),
            state: state.to_owned(),
        });
    }
    if by("CheckpointCoordinator") {
        return restored(said);
    }
    if let Some(path) = said.strip_prefix("Disposing savepoint ").filter(|_| by("Dispatcher")) {
        return Some(JobEvent::Disposal { path: path.to_owned() });
    }
    log::submission(line).map(|accepted| JobEvent::Accepted {
        job_id: accepted.job_id,
    })
}

/// `Restoring job ID from Savepoint NUMBER @ TIME for ID located at PATH`; `Checkpoint` when Flink restarted the job.
fn restored(said: &str) -> Option<JobEvent> {
    let (job_id, from) = said.strip_prefix("Restoring job ")?.split_once(" from ")?;
    let (what, path) = from.split_once(" located at ")?;
    let number = what.split(' ').nth(1)?.parse().ok()?;
    is_id(job_id).then(|| JobEvent::Restored {
        job_id: job_id.to_owned(),
        number,
        path: path.to_owned(),
    })
}

fn is_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write};

    use super::*;

    const ID: &str = "feedbeef000000000000000000000014";

    fn line(class: &str, said: &str) -> String {
        format!("2026-06-01 06:27:32,048 INFO  org.apache.flink.{class:<60} [] - {said}\n")
    }

    #[test]
    fn what_was_begun_restored_and_ended_is_read_from_a_moment_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jobmanager.log");
        let dispatcher = "runtime.dispatcher.StandaloneDispatcher";
        let accepted = line(
            dispatcher,
            &format!("Submitting job 'a' ({ID}) with associated application ({ID})."),
        );
        fs::write(&path, &accepted).unwrap();
        let mut history = JobHistory::from_now_on(&path).unwrap();
        assert_eq!(history.events().unwrap(), []);
        let coordinator = "runtime.checkpoint.CheckpointCoordinator";
        let from = "file:/tmp/c/chk-17";
        let lines = [
            accepted,
            line(coordinator, &format!("Starting job {ID} from savepoint {from} ()")),
            line(
                coordinator,
                &format!("Restoring job {ID} from Savepoint 17 @ 0 for {ID} located at {from}."),
            ),
            line(
                "runtime.executiongraph.ExecutionGraph",
                &format!("Job it's (1) ({ID}) switched from state CREATED to RUNNING."),
            ),
            line(
                "runtime.application.AbstractApplication",
                &format!("Application SingleJobApplication(a) ({ID}) switched from state RUNNING to FINISHED."),
            ),
            line(
                "runtime.jobmaster.JobMaster",
                &format!("Triggering savepoint for job {ID}."),
            ),
            line(
                "runtime.jobmaster.JobMaster",
                &format!("Triggering stop-with-savepoint for job {ID}."),
            ),
            line(dispatcher, "Disposing savepoint file:/tmp/s."),
        ]
        .concat();
        let (whole, half) = lines.split_at(lines.len() - 9);
        let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(whole.as_bytes()).unwrap();
        let job_id = || ID.to_owned();
        let mut expected = vec![
            JobEvent::Accepted { job_id: job_id() },
            JobEvent::Restored {
                job_id: job_id(),
                number: 17,
                path: from.to_owned(),
            },
            JobEvent::Entered {
                job_id: job_id(),
                state: "RUNNING".to_owned(),
            },
            JobEvent::Savepoint { job_id: job_id() },
            JobEvent::Stop { job_id: job_id() },
        ];
        assert_eq!(history.events().unwrap(), expected);
        file.write_all(half.as_bytes()).unwrap();
        expected.push(JobEvent::Disposal {
            path: "file:/tmp/s".to_owned(),
        });
        assert_eq!(history.events().unwrap(), expected);
    }
}
