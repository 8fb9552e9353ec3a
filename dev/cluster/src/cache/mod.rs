//! Programs and distributions that are built or downloaded once and kept in the user's cache folder.
//!
//! An entry is a folder that is complete as soon as it exists: it is filled under another name and renamed. A file lock
//! for each entry makes two runs at once safe: the second waits and finds the entry.

mod fill;
mod progress;
mod tool;

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

pub use fill::Fill;
pub(crate) use fill::{Measure, hex, verify};
pub(crate) use progress::Bar;
pub(crate) use tool::{is_program, java, javac, optional, required};

use crate::process;

/// Why something could not be had.
#[derive(thiserror::Error)]
pub enum Error {
    /// Neither `FLINKJOBS_CACHE`, `XDG_CACHE_HOME` nor `HOME` is set.
    #[error("there is no cache folder: set FLINKJOBS_CACHE, XDG_CACHE_HOME or HOME")]
    NoCacheFolder,
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
    /// A tool is not installed.
    #[error("`{tool}` is not on the PATH, and {purpose} needs it: {remedy}")]
    MissingTool {
        /// The program's name.
        tool: &'static str,
        /// What it is needed for.
        purpose: String,
        /// How to get it.
        remedy: &'static str,
    },
    /// A tool said no.
    #[error("{what} failed ({status}); the end of the log {}:\n{tail}{remedy}", log.display())]
    Failed {
        /// The step.
        what: String,
        /// How the tool ended.
        status: std::process::ExitStatus,
        /// Its whole output.
        log: PathBuf,
        /// The end of it.
        tail: String,
        /// What may help; empty, or a line of its own.
        remedy: String,
    },
    /// What arrived is not what was expected.
    #[error("{what} is not the file it should be: {found} (expected {expected}); nothing was kept, try again")]
    Unexpected {
        /// The file.
        what: String,
        /// What was expected.
        expected: String,
        /// What was found.
        found: String,
    },
    /// The tool could not be started.
    #[error(transparent)]
    Process(#[from] process::Error),
}

crate::debug_as_display!(Error);

/// The cache folder.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// `flink-job-operator` in `$FLINKJOBS_CACHE`, else in `$XDG_CACHE_HOME`, else in `~/.cache`.
    pub fn open() -> Result<Self, Error> {
        let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let base = set("FLINKJOBS_CACHE")
            .or_else(|| set("XDG_CACHE_HOME").filter(|path| path.is_absolute()))
            .or_else(|| set("HOME").map(|home| home.join(".cache")))
            .ok_or(Error::NoCacheFolder)?;
        Self::at(&base.join("flink-job-operator"))
    }

    /// The cache in the folder `root`, which is made when needed.
    pub fn at(root: &Path) -> Result<Self, Error> {
        fs::create_dir_all(root).map_err(file("create the cache folder", root))?;
        let root = root.canonicalize().map_err(file("find the cache folder", root))?;
        Ok(Self { root })
    }

    /// The folder of the cache.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where logs of servers and of builds are kept for a day.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// The folder of the entry `name`, filled by `fill` where it is not there yet. `label` is shown while it is filled.
    ///
    /// Blocks, for minutes where something is built.
    pub fn entry(
        &self,
        name: &str,
        label: &str,
        fill: impl FnOnce(&Fill) -> Result<(), Error>,
    ) -> Result<PathBuf, Error> {
        let entry = self.root.join(name);
        if entry.is_dir() {
            return Ok(entry);
        }
        let lock_path = self.root.join(format!("{name}.lock"));
        let lock = fs::File::create(&lock_path).map_err(file("create the lock", &lock_path))?;
        if lock.try_lock().is_err() {
            let waiting = Bar::spinner(&format!("waiting for another run: {label}"));
            lock.lock().map_err(file("lock", &lock_path))?;
            waiting.clear();
        }
        if entry.is_dir() {
            return Ok(entry);
        }
        self.remove_partial(name)?;
        let partial = self.root.join(format!("{name}.partial-{}", std::process::id()));
        // Under a supervisor, so that a build neither goes on nor stays behind when this process is killed.
        let supervisor = process::Supervisor::at(&partial, &format!("fill-{name}"), &self.logs())?;
        let filled = Fill::new(supervisor, label);
        fill(&filled)?;
        // The supervisor, which lives as long as `filled`, would remove what still has the old name.
        fs::rename(&partial, &entry).map_err(file("move into place", &entry))?;
        Ok(entry)
    }

    /// Removes every entry, lock and log. Returns the bytes that were freed.
    pub fn clear(&self) -> Result<u64, Error> {
        let bytes = fill::size(&self.root);
        fs::remove_dir_all(&self.root).map_err(file("remove", &self.root))?;
        Ok(bytes)
    }

    /// What a killed run left of this entry; the caller holds the lock.
    fn remove_partial(&self, name: &str) -> Result<(), Error> {
        let prefix = format!("{name}.partial-");
        for left in fs::read_dir(&self.root).map_err(file("list", &self.root))?.flatten() {
            if left.file_name().to_string_lossy().starts_with(&prefix) {
                fs::remove_dir_all(left.path()).map_err(file("remove", &left.path()))?;
            }
        }
        Ok(())
    }
}

pub(crate) fn file<'a>(action: &'static str, path: &'a Path) -> impl Fn(io::Error) -> Error + 'a {
    move |source| Error::File {
        action,
        path: path.to_owned(),
        source,
    }
}

/// Minutes and seconds, as a person says them.
pub(crate) fn spoken(time: Duration) -> String {
    match time.as_secs() {
        0..60 => format!("{:.1} s", time.as_secs_f64()),
        seconds => format!("{} min {:02} s", seconds / 60, seconds % 60),
    }
}
