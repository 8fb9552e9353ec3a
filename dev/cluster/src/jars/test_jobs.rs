//! Test jobs, compiled from `dev/cluster/java`.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::Command,
};

use sha2::{Digest, Sha256};
use zip::{ZipWriter, write::SimpleFileOptions};

use crate::{
    FlinkVersion,
    cache::{self, Cache, Error, Fill, Measure, file, hex},
    flink::distribution,
};

const PACKAGE: &str = "dev.flinkjobs.testjobs";
const JAR: &str = "test-jobs.jar";

macro_rules! sources {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../java/dev/flinkjobs/testjobs/", $name)))),*]
    };
}

const SOURCES: &[(&str, &str)] = sources![
    "Arguments.java",
    "BoundedJob.java",
    "Counter.java",
    "CounterJob.java",
    "FailingTask.java",
    "Failure.java",
    "Job.java",
    "Ledger.java",
    "NoExecute.java",
    "SleepingMain.java",
    "ThrowingMain.java",
    "ThrowsAfterExecute.java",
    "TwoEnvironments.java",
    "TwoExecutes.java",
];

/// A main class of the test jar.
///
/// All take `--ledger FILE`, see [`Ledger`](super::Ledger), `--name NAME`, which replaces the job's name, and
/// `--pause-ms N`, the time between two records (10). Each job has one task with parallelism 1, which keeps its count in
/// checkpoints, every `--checkpoint-ms N` or as `execution.checkpointing.interval` says. It fails or hangs while it writes a
/// snapshot with `--on-snapshot fail|hang`, and when one is complete with `--on-complete fail|hang`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TestJob {
    /// Runs for ever, named `counter`.
    Counter,
    /// Finishes at once, or after about `--seconds N`; named `bounded`.
    Bounded,
    /// The main method throws `IllegalArgumentException`.
    ThrowingMain,
    /// The main method submits a job named `first` that runs for ever, and throws `IllegalStateException` then.
    ThrowsAfterExecute,
    /// The main method never calls `execute`.
    NoExecute,
    /// The main method calls `execute` twice in one environment, for jobs `first` and `second` that run for ever.
    TwoExecutes,
    /// The main method calls `execute` in two environments, for jobs `first`, which runs for ever, and `second`.
    TwoEnvironments,
    /// The main method sleeps for `--sleep-seconds N`, or for ever without it; then as `Counter`, named `slept`.
    SleepingMain,
    /// The task throws `IllegalStateException` at once, or when all of this holds: it has counted `--fail-after N` records since
    /// its start, `--fail-after-kept N` of them are in a completed checkpoint, the file `--fail-when FILE` exists. Flink does not
    /// restart it, unless `--restart as-configured` leaves that to `restart-strategy.type`; named `failing`.
    FailingTask,
}

impl TestJob {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Counter,
        Self::Bounded,
        Self::ThrowingMain,
        Self::ThrowsAfterExecute,
        Self::NoExecute,
        Self::TwoExecutes,
        Self::TwoEnvironments,
        Self::SleepingMain,
        Self::FailingTask,
    ];

    /// The entry class.
    #[must_use]
    pub fn class(self) -> String {
        let name = match self {
            Self::Counter => "CounterJob",
            Self::Bounded => "BoundedJob",
            Self::ThrowingMain => "ThrowingMain",
            Self::ThrowsAfterExecute => "ThrowsAfterExecute",
            Self::NoExecute => "NoExecute",
            Self::TwoExecutes => "TwoExecutes",
            Self::TwoEnvironments => "TwoEnvironments",
            Self::SleepingMain => "SleepingMain",
            Self::FailingTask => "FailingTask",
        };
        format!("{PACKAGE}.{name}")
    }
}

pub(super) fn path(cache: &Cache, version: FlinkVersion) -> Result<PathBuf, Error> {
    let mut content = Sha256::new();
    for (name, source) in SOURCES {
        content.update(name);
        content.update(source);
    }
    let content = hex(&content.finalize());
    let content = content.get(..8).unwrap_or_default();
    let home = distribution(cache, version)?;
    let label = format!("compiling the test jobs for Flink {version}");
    let entry = cache.entry(&format!("test-jobs-{version}-{content}"), &label, |fill| {
        compile(fill, &home, version)
    })?;
    Ok(entry.join(JAR))
}

fn compile(fill: &Fill, home: &Path, version: FlinkVersion) -> Result<(), Error> {
    let source = fill.folder().join("source");
    fs::create_dir(&source).map_err(file("create", &source))?;
    let mut javac = Command::new(cache::javac()?);
    javac
        .args(["-Xlint:all", "-Werror", "-d", "classes", "-cp"])
        .arg(home.join(format!("lib/flink-dist-{version}.jar")))
        .current_dir(fill.folder());
    for (name, text) in SOURCES {
        let path = source.join(name);
        fs::write(&path, text).map_err(file("write", &path))?;
        javac.arg(path);
    }
    fill.run(&javac, Measure::Time, "The test jobs need a JDK of version 17.")?;
    let classes = fill.folder().join("classes").join(PACKAGE.replace('.', "/"));
    let jar = fill.folder().join(JAR);
    pack(&classes, &jar).map_err(file("write", &jar))?;
    fill.remove("source")?;
    fill.remove("classes")
}

/// Packs the classes, in order and without times, so that the same classes make the same jar.
fn pack(classes: &Path, jar: &Path) -> io::Result<()> {
    let mut files = fs::read_dir(classes)?
        .map(|entry| Ok(entry?.path()))
        .collect::<io::Result<Vec<_>>>()?;
    files.sort();
    let mut zip = ZipWriter::new(fs::File::create(jar)?);
    let options = SimpleFileOptions::default();
    zip.start_file("META-INF/MANIFEST.MF", options)?;
    zip.write_all(b"Manifest-Version: 1.0\r\n\r\n")?;
    for path in files {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        zip.start_file(format!("{}/{name}", PACKAGE.replace('.', "/")), options)?;
        zip.write_all(&fs::read(&path)?)?;
    }
    zip.finish()?;
    Ok(())
}
