//! The Flink of a world: a fake of its own, or a real one that all worlds share. Each tells what happened in it, whatever the
//! operator says.

mod fake;
mod real;

use std::time::Duration;

use devcluster::fake::OperationKind;
use flink_job_operator::flink::UidHash;
use serde_json::Value;

use super::{Failure, ground::Ground};

pub(super) use fake::steady;
pub(super) use real::RealFlink;

/// A job that was accepted. One that was accepted twice is told of twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ran {
    pub(super) id: String,
    /// The savepoint or checkpoint that it was started from.
    pub(super) from: Option<String>,
    /// Its state now, in Flink's word.
    pub(super) state: String,
}

/// Something that the JobManager was asked for, and that it began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) kind: OperationKind,
    /// The job; what is deleted, for a disposal.
    pub(super) of: String,
}

/// A savepoint of which there are files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Files {
    pub(super) path: String,
    /// Whether a job can start from it.
    pub(super) whole: bool,
}

/// A Flink that plans run on.
pub(super) trait Cluster: Sized {
    /// The word before the ids of its plans.
    const PREFIX: &'static str;
    /// What people call it.
    const NAME: &'static str;
    /// How many plans run side by side.
    const AT_ONCE: usize;
    /// How long after the end of a flow a write may come that belongs to it.
    const LATE: Duration;

    /// One for the plans of a namespace.
    async fn start(namespace: &str) -> Self;

    /// Its address.
    fn url(&self) -> String;

    /// The `spec.job` of a program that counts.
    async fn program(&self, ground: &Ground) -> Value;

    /// Where savepoints go, and checkpoints.
    fn directories(&self) -> (String, String);

    /// The jobs that were accepted, in order.
    fn ran(&self) -> Result<Vec<Ran>, Failure>;

    /// What it began because it was asked to, in order.
    fn asked(&self) -> Result<Vec<Asked>, Failure>;

    /// The most jobs with this mark that ever ran at the same time.
    fn most_live_of(&self, mark: UidHash) -> Result<usize, Failure>;

    /// The savepoints of which there are files.
    fn files(&self) -> Vec<Files>;

    /// Where the newest checkpoint of a job is, if it was kept.
    fn newest_checkpoint(&self, job: &str) -> Option<String>;

    /// Whether the job's tasks began once, with the count of what it was started from, and went on from there.
    fn counts_on(&self, ran: &Ran) -> Result<(), Failure>;

    /// Ends what runs of these jobs, so that the next world has its place.
    async fn clear(&self, jobs: &[String]);
}
