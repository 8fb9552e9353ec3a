//! What Flink answers, in our types. Unknown fields are skipped, missing ones get the neutral value: 1.19 to 2.x differ.
//!
//! Whatever is kept of an answer is bounded by what was received, not by a multiple of it: lists of small things are cut.

mod checkpoint;
mod cluster;
mod jar;
mod job;
mod jobmanager;
mod list;
mod savepoint;

use std::{fmt, marker::PhantomData};

use jiff::Timestamp;
use serde::{
    Deserialize, Deserializer,
    de::{self, IgnoredAny},
};

use super::text::clean;

pub use checkpoint::{Checkpoint, CheckpointConfig, Checkpoints, SavepointEntry, SavepointState};
pub(super) use checkpoint::{CheckpointConfigInfo, CheckpointingStatistics};
pub(super) use cluster::DashboardConfiguration;
pub use cluster::{ClusterFeatures, ClusterOverview};
pub use jar::{Jar, RunReply, Uploaded};
pub(super) use jar::{JarList, JarRunResponse, JarUploadResponse};
pub use job::{JobDetails, JobFailure};
pub(super) use job::{JobDetailsInfo, JobExceptionsInfo};
pub(super) use jobmanager::ConfigEntry;
pub use jobmanager::{JobManagerConfig, JobManagerIdentity};
pub use list::JobOverview;
pub(super) use list::JobsOverview;
pub use savepoint::{DisposalStatus, FailureKind, OperationFailure, SavepointStatus, TriggerReply};
pub(super) use savepoint::{OperationResult, TriggerResponse};

/// Milliseconds since 1970, as Flink writes times; zero and below mean "not yet".
fn instant(millis: i64) -> Option<Timestamp> {
    (millis > 0).then(|| Timestamp::from_millisecond(millis).ok()).flatten()
}

/// Reads a text that is shown to people.
fn short_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(clean(&String::deserialize(deserializer)?))
}

/// Reads the first sixteen elements of a list and skips the others.
pub(super) fn few<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    first::<16, D, T>(deserializer)
}

/// Reads the first `MOST` elements of a list and skips the others.
fn first<'de, const MOST: usize, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    struct First<const MOST: usize, T>(PhantomData<T>);
    impl<'de, const MOST: usize, T: Deserialize<'de>> de::Visitor<'de> for First<MOST, T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
            let mut kept = Vec::new();
            while kept.len() < MOST {
                let Some(element) = list.next_element()? else {
                    return Ok(kept);
                };
                kept.push(element);
            }
            while list.next_element::<IgnoredAny>()?.is_some() {}
            Ok(kept)
        }
    }
    deserializer.deserialize_seq(First::<MOST, T>(PhantomData))
}
