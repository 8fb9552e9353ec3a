//! Jars to run: Flink's own examples, and test jobs that misbehave on request.

mod example;
mod ledger;
mod test_jobs;

use std::path::PathBuf;

pub use ledger::{Ledger, MainStart, SnapshotTaken, SourceStart};
pub use test_jobs::TestJob;

use crate::{
    FlinkVersion, blocking,
    cache::{Cache, Error},
};

/// The class of an example that runs for ever on all versions.
pub const STATE_MACHINE: &str = "org.apache.flink.streaming.examples.statemachine.StateMachineExample";
/// The class of an example that ends within seconds on all versions.
pub const WORD_COUNT: &str = "org.apache.flink.streaming.examples.wordcount.WordCount";

/// The path of the jar `org.apache.flink:flink-examples-streaming` for this version of Flink.
pub async fn example(version: FlinkVersion) -> Result<PathBuf, Error> {
    blocking(move || example::path(&Cache::open()?, version)).await
}

/// The path of the jar with all [`TestJob`]s, compiled against this version of Flink.
pub async fn test_jobs(version: FlinkVersion) -> Result<PathBuf, Error> {
    blocking(move || test_jobs::path(&Cache::open()?, version)).await
}
