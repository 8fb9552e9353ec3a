//! An object store that speaks S3 (gofakes3, compiled from its Go module), for Flink and the operator.
//!
//! It takes any credentials, or none, makes a bucket when it is first named, and keeps everything in memory.

use std::{fs, path::PathBuf, process::Command, sync::Arc, time::Duration};

use crate::{
    blocking,
    cache::{self, Cache},
    go_program::GoProgram,
    process::{self, Process, Supervisor},
};

const PROGRAM: GoProgram = GoProgram {
    name: "gofakes3",
    version: "1.2.0",
    package: ".",
    module: &[
        ("go.mod", include_str!("../go/s3/go.mod")),
        ("go.sum", include_str!("../go/s3/go.sum")),
        ("main.go", include_str!("../go/s3/main.go")),
    ],
    ldflags: "-s -w",
    packages: 195,
};
/// An idle machine needs milliseconds.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// Why the store could not be started.
#[derive(thiserror::Error)]
pub enum Error {
    /// The program could not be had.
    #[error(transparent)]
    Cache(#[from] cache::Error),
    /// It did not start.
    #[error(transparent)]
    Process(#[from] process::Error),
}

crate::debug_as_display!(Error);

/// A running store. It ends, with all that is in it, when this is dropped or the process ends.
#[derive(Debug)]
pub struct ObjectStore {
    _process: Process,
    _supervisor: Arc<Supervisor>,
    url: String,
}

/// The path of the program. Blocks while it is built.
pub fn program(cache: &Cache) -> Result<PathBuf, cache::Error> {
    PROGRAM.path(cache)
}

impl ObjectStore {
    /// Starts one. Builds the program first when the cache is empty.
    pub async fn start() -> Result<Self, Error> {
        let cache = Cache::open()?;
        let for_build = cache.clone();
        let program = blocking(move || program(&for_build)).await?;
        let supervisor = Supervisor::start(PROGRAM.name, &cache.logs())?;
        let process = supervisor.spawn(PROGRAM.name, &Command::new(program))?;
        // The first line that it prints.
        let printed = async || {
            let output = fs::read_to_string(process.log()).map_err(|error| error.to_string())?;
            let (url, _) = output.split_once('\n').ok_or("it has printed no address yet")?;
            Ok(url.to_owned())
        };
        let url = process.ready(READY_WITHIN, printed).await?;
        Ok(Self {
            _process: process,
            _supervisor: supervisor,
            url,
        })
    }

    /// `http://127.0.0.1:PORT/`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }
}
