//! The steps that fill an entry of the cache.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::Command,
    sync::Arc,
    thread::sleep,
    time::Duration,
};

use sha2::{Digest, Sha256};

use super::{Bar, Error, file};
use crate::process::Supervisor;

const LOOK_EVERY: Duration = Duration::from_millis(100);

/// An entry that is being filled.
#[derive(Debug)]
pub struct Fill {
    supervisor: Arc<Supervisor>,
    label: String,
}

/// What shows how far a tool is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Measure<'a> {
    /// Nothing but the time.
    Time,
    /// Lines of its output, of about so many.
    Lines { total: u64, unit: &'a str },
    /// The size of a folder, of about so many bytes.
    Bytes { total: u64, folder: &'a Path },
}

impl Fill {
    pub(super) fn new(supervisor: Arc<Supervisor>, label: &str) -> Self {
        Self {
            supervisor,
            label: label.to_owned(),
        }
    }

    /// The folder that becomes the entry.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.supervisor.directory()
    }

    /// Runs a tool to its end with a progress bar. `remedy` is added to the error when the tool fails.
    pub(crate) fn run(&self, command: &Command, measure: Measure<'_>, remedy: &str) -> Result<(), Error> {
        self.step(&self.label, command, measure, remedy)
    }

    /// Like [`run`](Self::run), for a step with a label of its own.
    pub(crate) fn step(&self, label: &str, command: &Command, measure: Measure<'_>, remedy: &str) -> Result<(), Error> {
        let bar = match measure {
            Measure::Time => Bar::spinner(label),
            Measure::Lines { total, unit } => Bar::counter(label, total, unit),
            Measure::Bytes { total, .. } => Bar::bytes(label, total),
        };
        let process = self.supervisor.spawn("fill", command)?;
        let mut output = BufReader::new(fs::File::open(process.log()).map_err(file("read the log", process.log()))?);
        let mut lines = 0;
        let status = loop {
            let ended = process.ended()?;
            let mut line = Vec::new();
            while output
                .read_until(b'\n', &mut line)
                .map_err(file("read the log", process.log()))?
                > 0
            {
                lines += 1;
            }
            match measure {
                Measure::Time | Measure::Lines { .. } => bar.set(lines),
                Measure::Bytes { folder, .. } => bar.set(size(folder)),
            }
            if let Some(status) = ended {
                break status;
            }
            sleep(LOOK_EVERY);
        };
        if status.success() {
            bar.done();
            return Ok(());
        }
        bar.clear();
        let remedy = if remedy.is_empty() {
            String::new()
        } else {
            format!("\n{remedy}")
        };
        let (log, tail) = (process.log().to_owned(), process.tail());
        Err(Error::Failed {
            what: label.to_owned(),
            status,
            log,
            tail,
            remedy,
        })
    }

    /// Writes a file into the entry.
    pub fn write(&self, name: &str, content: &[u8]) -> Result<(), Error> {
        let path = self.folder().join(name);
        fs::write(&path, content).map_err(file("write", &path))
    }

    /// Removes a file or a folder of the entry that was needed only on the way.
    pub(crate) fn remove(&self, name: &str) -> Result<(), Error> {
        let path = self.folder().join(name);
        let removed = if path.is_dir() {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        removed.map_err(file("remove", &path))
    }
}

/// Fails unless the file has this SHA-256 (hex).
pub(crate) fn verify(path: &Path, expected: &str) -> Result<(), Error> {
    let content = fs::read(path).map_err(file("read", path))?;
    let found = hex(&Sha256::digest(&content));
    if found == expected {
        return Ok(());
    }
    let (expected, found) = (format!("SHA-256 {expected}"), format!("SHA-256 {found}"));
    Err(Error::Unexpected {
        what: path.display().to_string(),
        expected,
        found,
    })
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

/// Bytes in a folder, at any depth. What vanishes while it is counted counts as nothing.
pub(super) fn size(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let meta = entry.metadata().ok()?;
            Some(if meta.is_dir() { size(&entry.path()) } else { meta.len() })
        })
        .sum()
}
