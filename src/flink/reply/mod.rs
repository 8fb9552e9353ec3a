//! What Flink answers, in our types. Unknown fields are skipped, missing ones get the neutral value: 1.19 to 2.x differ.
//!
//! Whatever is kept of an answer is bounded by what was received, not by a multiple of it: lists of small things are cut.

mod checkpoint;
mod cluster;
mod jar;
mod job;
mod jobmanager;
mod list;

use std::{fmt, marker::PhantomData};

use jiff::Timestamp;
use serde::{
    Deserialize, Deserializer,
    de::{self, IgnoredAny},
};

use super::text::clean;

pub(super) use checkpoint::CheckpointingStatistics;
pub use checkpoint::{Checkpoint, Checkpoints};
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
    struct Few<T>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>> de::Visitor<'de> for Few<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
            let mut kept = Vec::new();
            while kept.len() < 16 {
                let Some(element) = list.next_element()? else {
                    return Ok(kept);
                };
                kept.push(element);
            }
            while list.next_element::<IgnoredAny>()?.is_some() {}
            Ok(kept)
        }
    }
    deserializer.deserialize_seq(Few(PhantomData))
}
