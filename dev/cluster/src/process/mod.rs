//! Child processes that never outlive this one, and the directory they live in.
//!
//! Each [`Supervisor`] owns a temporary directory and a tiny `sh` process that waits for the end of its standard input.
//! That end comes however this process goes (return, panic, Ctrl-C, `kill -9`), and then the shell kills what
//! still runs and removes the directory. No unsafe code and no tool beyond POSIX `sh` is needed for it.
//!
//! A child is started as a shell that waits for one line before it becomes the program. By then its process group is
//! known to the supervisor, so there is no moment at which a crash of this process leaves something behind.

mod child;

use std::{
    fs,
    io::{self, BufRead, BufReader, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, SystemTime},
};

use parking_lot::Mutex;

pub use child::Process;

const SHELL: &str = "/bin/sh";
const SUPERVISOR: &str = include_str!("supervisor.sh");
const WAIT_THEN_BECOME: &str = "read -r go || exit 1; exec \"$@\" </dev/null";
/// Logs of earlier runs are removed after this time.
const KEEP_LOGS: Duration = Duration::from_secs(24 * 3600);

/// Why a process could not be started, reached or waited for.
#[derive(thiserror::Error)]
pub enum Error {
    /// A file or a directory could not be used.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The operating system refused to start a process, or to pass a line or a signal to it.
    #[error("cannot {action} {name}: {source}")]
    Process {
        /// What was tried.
        action: &'static str,
        /// The process.
        name: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A process ended that should have gone on.
    #[error("{name} ended with {status}; the end of its log {}:\n{tail}", log.display())]
    Ended {
        /// The process.
        name: String,
        /// How it ended.
        status: ExitStatus,
        /// Its log file.
        log: PathBuf,
        /// The last lines of the log.
        tail: String,
    },
    /// A process runs, but did not become ready in time.
    #[error("{name} was not ready after {waited:?} ({last}); the end of its log {}:\n{tail}", log.display())]
    NotReady {
        /// The process.
        name: String,
        /// How long it was given.
        waited: Duration,
        /// The last answer of the probe.
        last: String,
        /// Its log file.
        log: PathBuf,
        /// The last lines of the log.
        tail: String,
    },
}

crate::debug_as_display!(Error);

/// A temporary directory and the processes that work in it; both are gone when this is dropped or this process ends.
///
/// Logs are kept outside of it, see [`logs`](Self::logs).
#[derive(Debug)]
pub struct Supervisor {
    directory: PathBuf,
    logs: PathBuf,
    shell: Mutex<Shell>,
}

#[derive(Debug)]
struct Shell {
    child: Child,
    /// `None` once closed, which is the order to clean up.
    stdin: Option<ChildStdin>,
}

impl Supervisor {
    /// Makes a directory in the system's temporary folder and a folder for logs in `logs`. `name` becomes part of
    /// both names.
    pub fn start(name: &str, logs: &Path) -> Result<Arc<Self>, Error> {
        let directory = std::env::temp_dir().join(format!("devcluster-{name}-{}", unique()));
        Self::at(&directory, name, logs)
    }

    /// Like [`start`](Self::start), with a given directory, which must not exist.
    pub fn at(directory: &Path, name: &str, logs: &Path) -> Result<Arc<Self>, Error> {
        let started = jiff::Zoned::now().strftime("%Y%m%d-%H%M%S").to_string();
        prune(logs);
        let logs = logs.join(format!("{started}-{name}-{}", unique()));
        fs::create_dir_all(&logs).map_err(file("create the log folder", &logs))?;
        let error = process("start the supervisor of", name);
        let mut child = Command::new(SHELL)
            .args(["-c", SUPERVISOR, "supervisor"])
            .arg(directory)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(&error)?;
        let stdin = child.stdin.take();
        let mut ready = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut ready).map_err(&error)?;
        }
        if ready.trim() != "ready" {
            return Err(error(io::Error::other(format!(
                "it could not make {}",
                directory.display()
            ))));
        }
        // Resolved, because servers report resolved paths (`/tmp` is a link on some systems).
        let directory = directory.canonicalize().map_err(file("find", directory))?;
        Ok(Arc::new(Self {
            directory,
            logs,
            shell: Mutex::new(Shell { child, stdin }),
        }))
    }

    /// The temporary directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where the logs of this supervisor's processes are. The folder stays for a day, so that a failed run can be
    /// looked into.
    #[must_use]
    pub fn logs(&self) -> &Path {
        &self.logs
    }

    /// Starts `command` under this supervisor, in a process group of its own, with no standard input and with its
    /// output appended to `<name>.log` in [`logs`](Self::logs). Only the program, arguments, environment and folder
    /// of `command` count.
    pub fn spawn(self: &Arc<Self>, name: &str, command: &Command) -> Result<Process, Error> {
        let log = self.logs.join(format!("{name}.log"));
        let output = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .map_err(file("open the log file", &log))?;
        let errors = output.try_clone().map_err(file("open the log file", &log))?;
        let mut waiting = Command::new(SHELL);
        waiting
            .args(["-c", WAIT_THEN_BECOME, name])
            .arg(command.get_program())
            .args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => waiting.env(key, value),
                None => waiting.env_remove(key),
            };
        }
        let mut child = waiting
            .current_dir(command.get_current_dir().unwrap_or(&self.directory))
            .stdin(Stdio::piped())
            .stdout(output)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .map_err(process("start", name))?;
        let go = child.stdin.take();
        let process = Process::new(name, child, log, Arc::clone(self))?;
        self.tell("add", process.pid())?;
        if let Some(mut go) = go {
            go.write_all(b"go\n").map_err(self::process("start", name))?;
        }
        Ok(process)
    }

    fn tell(&self, verb: &str, group: u32) -> Result<(), Error> {
        let mut shell = self.shell.lock();
        let Some(stdin) = shell.stdin.as_mut() else {
            return Ok(());
        };
        // One write, so that a crash in between cannot leave half a number.
        stdin
            .write_all(format!("{verb} {group}\n").as_bytes())
            .map_err(process("reach", "the supervisor (was it killed?)"))
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        let shell = self.shell.get_mut();
        shell.stdin = None;
        // Waiting makes "dropped" mean "gone".
        let _ = shell.child.wait();
    }
}

/// A name that no other process and no other call of this process uses.
fn unique() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let nanos = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |age| age.subsec_nanos());
    format!(
        "{}-{:x}{:x}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed),
        nanos
    )
}

/// Removes log folders of long ago. Best effort: another run may be doing the same.
fn prune(logs: &Path) {
    let Ok(folders) = fs::read_dir(logs) else { return };
    for folder in folders.flatten() {
        let files = fs::read_dir(folder.path()).into_iter().flatten().flatten();
        let newest = files
            .chain([folder])
            .filter_map(|file| Some((file.metadata().ok()?.modified().ok()?, file.path())));
        let (mut modified, mut path) = (SystemTime::UNIX_EPOCH, PathBuf::new());
        for (time, entry) in newest {
            modified = modified.max(time);
            path = entry; // the folder comes last
        }
        if modified.elapsed().is_ok_and(|age| age > KEEP_LOGS) {
            let _ = fs::remove_dir_all(path);
        }
    }
}

pub(crate) fn file<'a>(action: &'static str, path: &'a Path) -> impl Fn(io::Error) -> Error + 'a {
    move |source| Error::File {
        action,
        path: path.to_owned(),
        source,
    }
}

fn process<'a>(action: &'static str, name: &'a str) -> impl Fn(io::Error) -> Error + 'a {
    move |source| Error::Process {
        action,
        name: name.to_owned(),
        source,
    }
}
