//! One supervised process.

use std::{
    fs,
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    process::{Child, ExitStatus},
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::{Error, Supervisor, process};

/// A machine under load may take its time; not stopping at all is a bug.
const STOPPED_WITHIN: Duration = Duration::from_secs(5);
const PROBE_EVERY: Duration = Duration::from_millis(25);
const TAIL_LINES: usize = 30;
const TAIL_BYTES: u64 = 16 * 1024;

/// A child process with a group of its own; killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    group: Pid,
    state: Mutex<State>,
    log: PathBuf,
    supervisor: Arc<Supervisor>,
}

#[derive(Debug)]
struct State {
    child: Child,
    /// The supervisor would kill the group. False once the process was reaped: its id may then be given to another one.
    supervised: bool,
    frozen: bool,
}

impl Process {
    pub(super) fn new(name: &str, child: Child, log: PathBuf, supervisor: Arc<Supervisor>) -> Result<Self, Error> {
        let group = i32::try_from(child.id())
            .ok()
            .and_then(Pid::from_raw)
            .ok_or_else(|| process("start", name)(io::Error::other("it has no process id")))?;
        let state = Mutex::new(State {
            child,
            supervised: true,
            frozen: false,
        });
        Ok(Self {
            name: name.to_owned(),
            group,
            state,
            log,
            supervisor,
        })
    }

    /// The process id, which is also the id of its group.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.group.as_raw_nonzero().get().unsigned_abs()
    }

    /// The file that standard output and standard error are appended to.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Sends SIGKILL to the process and its children and waits for the end of the process.
    pub fn kill(&self) -> Result<ExitStatus, Error> {
        if self.ended()?.is_none() {
            // Not reaped yet, so the id is still ours and no other process can be hit.
            let _ = kill_process_group(self.group, Signal::KILL);
        }
        let status = self
            .state
            .lock()
            .child
            .wait()
            .map_err(process("wait for", &self.name))?;
        self.ended()?;
        Ok(status)
    }

    /// Stops the process where it is (SIGSTOP): it keeps its connections and answers nothing. When this returns, it
    /// has stopped.
    pub fn freeze(&self) -> Result<(), Error> {
        if self.state.lock().frozen {
            return Ok(());
        }
        self.signal("freeze", Signal::STOP)?;
        // The signal reaches the threads one after the other; until the last one, an answer may still be given.
        let started = Instant::now();
        while started.elapsed() < STOPPED_WITHIN {
            let stopped = waitid(WaitId::Pid(self.group), WaitIdOptions::STOPPED | WaitIdOptions::NOHANG)
                .map_err(|errno| process("freeze", &self.name)(errno.into()))?;
            if stopped.is_some() {
                self.state.lock().frozen = true;
                return Ok(());
            }
            self.running()?;
            std::thread::sleep(Duration::from_millis(1));
        }
        Err(process("freeze", &self.name)(io::ErrorKind::TimedOut.into()))
    }

    /// Lets a frozen process go on (SIGCONT).
    pub fn thaw(&self) -> Result<(), Error> {
        self.state.lock().frozen = false;
        self.signal("thaw", Signal::CONT)
    }

    /// Asks the process to end (SIGTERM), without waiting for it.
    pub fn terminate(&self) -> Result<(), Error> {
        self.signal("terminate", Signal::TERM)
    }

    fn signal(&self, action: &'static str, signal: Signal) -> Result<(), Error> {
        self.running()?;
        kill_process_group(self.group, signal).map_err(|errno| process(action, &self.name)(errno.into()))
    }

    /// How the process ended, or `None` while it runs.
    pub fn ended(&self) -> Result<Option<ExitStatus>, Error> {
        let mut state = self.state.lock();
        let ended = state.child.try_wait().map_err(process("wait for", &self.name))?;
        if ended.is_some() && std::mem::take(&mut state.supervised) {
            self.supervisor.tell("del", self.pid())?;
        }
        Ok(ended)
    }

    /// An error that shows the end of the log, once the process has ended.
    pub fn running(&self) -> Result<(), Error> {
        self.ended()?.map_or(Ok(()), |status| Err(self.end_error(status)))
    }

    /// The error for a process that ended with `status` and should not have.
    pub(crate) fn end_error(&self, status: ExitStatus) -> Error {
        Error::Ended {
            name: self.name.clone(),
            status,
            log: self.log.clone(),
            tail: self.tail(),
        }
    }

    /// The error for a process that runs and did not become ready; `last` is what it answered.
    pub(crate) fn not_ready(&self, waited: Duration, last: String) -> Error {
        Error::NotReady {
            name: self.name.clone(),
            waited,
            last,
            log: self.log.clone(),
            tail: self.tail(),
        }
    }

    /// Asks `probe` again and again until it answers `Ok`. Fails when the process ends or `limit` has passed.
    pub async fn ready<T, P>(&self, limit: Duration, probe: impl Fn() -> P) -> Result<T, Error>
    where
        P: Future<Output = Result<T, String>>,
    {
        let started = Instant::now();
        loop {
            let last = match probe().await {
                Ok(ready) => return Ok(ready),
                Err(last) => last,
            };
            self.running()?;
            let waited = started.elapsed();
            if waited > limit {
                return Err(self.not_ready(waited, last));
            }
            tokio::time::sleep(PROBE_EVERY).await;
        }
    }

    /// The last lines of the log.
    #[must_use]
    pub fn tail(&self) -> String {
        tail(&self.log).unwrap_or_else(|error| format!("(the log cannot be read: {error})"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

fn tail(log: &Path) -> io::Result<String> {
    let mut file = fs::File::open(log)?;
    let size = file.metadata()?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    let last = lines.get(lines.len().saturating_sub(TAIL_LINES)..).unwrap_or_default();
    Ok(last.join("\n"))
}
