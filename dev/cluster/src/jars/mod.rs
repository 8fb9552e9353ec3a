//! Jars to run: Flink's own examples, and test jobs that misbehave on request; and Flink's file system for S3.

mod ledger;
mod maven;
mod test_jobs;

use std::path::PathBuf;

pub use ledger::{Ledger, MainStart, SnapshotTaken, SourceStart};
pub use test_jobs::TestJob;

use maven::Artifact;

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
    let release = version.examples();
    let artifact = Artifact {
        id: "flink-examples-streaming",
        version: release,
        sha256: match version {
            FlinkVersion::V1_20 => "4b841187f2ab7d4a1e1e348e5d646509fa20d4834a7da0bf45ab2341b5d9df12",
            FlinkVersion::V2_3 => "6bab7c5329ae2996eca7ce652efd390e12c8075db4fdb104e0c437bcb5ce7d75",
        },
    };
    blocking(move || artifact.path(&Cache::open()?, &format!("the examples of Flink {release}"))).await
}

/// The path of the plugin with which Flink 2.3 reads and writes `s3://`, for
/// [`FlinkOptions::plugins`](crate::FlinkOptions::plugins).
pub async fn s3_file_system() -> Result<PathBuf, Error> {
    let artifact = Artifact {
        id: "flink-s3-fs-hadoop",
        version: FlinkVersion::V2_3.as_str(),
        sha256: "5a3de2daac49e9df1783367391f994dace3bfa18c168b45c3d4563decca7d3d0",
    };
    blocking(move || artifact.path(&Cache::open()?, "Flink's file system for S3")).await
}

/// The path of the jar with all [`TestJob`]s, compiled against this version of Flink.
pub async fn test_jobs(version: FlinkVersion) -> Result<PathBuf, Error> {
    blocking(move || test_jobs::path(&Cache::open()?, version)).await
}
