//! What a JobManager process says about itself, read once for each process: who it is, how long it remembers JobIDs, and
//! whether its cluster can grow.

use std::{collections::HashMap, sync::Arc, time::Duration};

use crate::job::RetryWindow;

/// Whether a cluster starts TaskManagers when slots are short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Growth {
    /// The number of TaskManagers is fixed.
    Fixed,
    /// It asks Kubernetes or YARN for more, or scales jobs to what is there.
    Elastic,
}

/// Facts of one JobManager process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// For how long a submission may be repeated.
    pub retry_window: RetryWindow,
    /// Whether it can grow.
    pub growth: Growth,
    /// `parallelism.default`.
    pub default_parallelism: i32,
    /// What it says about savepoints.
    pub savepoints: SavepointFacts,
}

/// What a JobManager process says about savepoints.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SavepointFacts {
    /// The directory for savepoints whose request names none.
    pub directory: Option<Arc<str>>,
    /// What stands before paths without a scheme (`fs.default-scheme`).
    pub default_scheme: Option<Arc<str>>,
    /// For how long after its end the outcome of a savepoint is certainly remembered; zero when that is not known.
    pub remembered: Duration,
    /// How old the statistics of checkpoints may be that are answered.
    pub statistics_age: Duration,
}

/// Flink's default of `web.refresh-interval`.
const STATISTICS_AGE: Duration = Duration::from_secs(3);

/// Statistics are not waited for longer than this.
const LONGEST_AGE: Duration = Duration::from_secs(60);

impl SavepointFacts {
    /// What is assumed when the configuration cannot be read.
    #[must_use]
    pub const fn unknown() -> Self {
        Self {
            directory: None,
            default_scheme: None,
            remembered: Duration::ZERO,
            statistics_age: STATISTICS_AGE,
        }
    }

    fn of(map: &HashMap<&str, &str>) -> Self {
        let text = |key: &str| map.get(key).copied().filter(|text| !text.is_empty());
        let first = |keys: &[&str]| keys.iter().find_map(|key| text(key)).map(Arc::from);
        // A number alone is one of milliseconds (`TimeUtils.parseDuration`).
        let millis = |text: &str| text.trim().parse().map(Duration::from_millis).ok();
        let duration = |text: &str| millis(text).or_else(|| flink_duration(text));
        let time = |key: &str, default| text(key).map_or(Some(default), duration);
        let kept = time("rest.async.store-duration", Duration::from_secs(300));
        Self {
            directory: first(&SAVEPOINT_DIRECTORIES),
            default_scheme: first(&["fs.default-scheme"]),
            // A fifth less, for clocks that do not agree.
            remembered: kept.map_or(Duration::ZERO, |kept| LONGEST_MEMORY.min(kept / 5 * 4)),
            statistics_age: statistics_age(map),
        }
    }
}

/// The keys for the directory of savepoints: of 2.x and late 1.x, and of 1.x.
pub const SAVEPOINT_DIRECTORIES: [&str; 2] = ["execution.checkpointing.savepoint-dir", "state.savepoints.dir"];

/// Never trust a memory for longer than this, whatever the configuration promises.
const LONGEST_WINDOW: Duration = Duration::from_secs(600);

/// The same for the outcomes of savepoints.
const LONGEST_MEMORY: Duration = Duration::from_secs(240);

impl Facts {
    /// Reads the facts off `/jobmanager/config`.
    #[must_use]
    pub fn of(configuration: &[(String, String)]) -> Self {
        let map: HashMap<&str, &str> = configuration
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        Self {
            retry_window: retry_window(&map),
            growth: growth(&map),
            default_parallelism: map.get("parallelism.default").and_then(|n| n.parse().ok()).unwrap_or(1),
            savepoints: SavepointFacts::of(&map),
        }
    }

    /// What is assumed when the configuration cannot be read.
    #[must_use]
    pub const fn unknown() -> Self {
        Self {
            retry_window: RetryWindow::Closed("the cluster's configuration cannot be read"),
            growth: Growth::Elastic,
            default_parallelism: 1,
            savepoints: SavepointFacts::unknown(),
        }
    }
}

fn is_false(map: &HashMap<&str, &str>, key: &str) -> bool {
    map.get(key).is_some_and(|value| value.eq_ignore_ascii_case("false"))
}

/// How long the process refuses a JobID that it has seen.
///
/// Without high availability the in-memory result store keeps every JobID while the process lives. With it, the result is
/// dropped on commit unless told otherwise, and from then on only the archive of ended jobs remembers.
fn retry_window(map: &HashMap<&str, &str>) -> RetryWindow {
    if map.get("web.upload.dir").is_some_and(|dir| !dir.is_empty()) {
        return RetryWindow::Closed(
            "web.upload.dir is set, so that jars survive a restart of the JobManager (IdempotencyWeak)",
        );
    }
    let ha = map
        .get("high-availability.type")
        .or_else(|| map.get("high-availability"));
    if ha.is_none_or(|kind| kind.is_empty() || kind.eq_ignore_ascii_case("none")) {
        return RetryWindow::Unlimited;
    }
    if is_false(map, "job-result-store.delete-on-commit") && is_false(map, "application-result-store.delete-on-commit")
    {
        return RetryWindow::Unlimited;
    }
    if map
        .get("jobstore.max-capacity")
        .is_some_and(|capacity| *capacity != "2147483647")
    {
        return RetryWindow::Closed("jobstore.max-capacity lets the JobManager forget jobs early (IdempotencyWeak)");
    }
    let expirations = [
        "jobstore.expiration-time",
        "completed-application-store.expiration-time",
    ];
    let shortest = expirations
        .iter()
        .map(|key| {
            map.get(key)
                .map_or(Some(Duration::from_secs(3600)), |text| flink_duration(text))
        })
        .try_fold(Duration::MAX, |shortest, time| time.map(|time| shortest.min(time)));
    match shortest {
        Some(time) => RetryWindow::For(LONGEST_WINDOW.min(time / 4)),
        None => RetryWindow::Closed("the cluster's job store expiration cannot be read (IdempotencyWeak)"),
    }
}

/// The longer of the two where one is set: 1.x knows only `web.refresh-interval`, in milliseconds. One that cannot be read
/// counts as long.
fn statistics_age(map: &HashMap<&str, &str>) -> Duration {
    let cache = map.get("rest.cache.checkpoint-statistics.timeout").copied();
    let refresh = map.get("web.refresh-interval").copied();
    let read = |text: &str| match text.trim().parse::<u64>() {
        Ok(millis) => Some(Duration::from_millis(millis)),
        Err(_) => flink_duration(text),
    };
    let told = [cache, refresh]
        .into_iter()
        .flatten()
        .map(|text| read(text).unwrap_or(LONGEST_AGE));
    told.max().unwrap_or(STATISTICS_AGE).min(LONGEST_AGE)
}

/// Flink writes durations as seconds, `10 s`, `5min` or `PT1H`.
fn flink_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    if let Ok(span) = text.parse::<jiff::SignedDuration>() {
        return span.try_into().ok();
    }
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits)?;
    let number: u64 = number.parse().ok()?;
    let seconds = match unit.trim() {
        "" | "s" | "sec" | "second" | "seconds" => number,
        "ms" | "milli" | "millis" => number / 1000,
        "m" | "min" | "minute" | "minutes" => number.checked_mul(60)?,
        "h" | "hour" | "hours" => number.checked_mul(3600)?,
        "d" | "day" | "days" => number.checked_mul(86400)?,
        _ => return None,
    };
    Some(Duration::from_secs(seconds))
}

fn growth(map: &HashMap<&str, &str>) -> Growth {
    let is = |key: &str, value: &str| map.get(key).is_some_and(|found| found.eq_ignore_ascii_case(value));
    let target = map.get("execution.target").copied().unwrap_or_default();
    let native = target.starts_with("kubernetes") || target.starts_with("yarn");
    let internal = map
        .keys()
        .any(|key| key.starts_with("kubernetes.internal.") || key.starts_with("yarn."));
    if native || internal || is("jobmanager.scheduler", "adaptive") || is("scheduler-mode", "reactive") {
        Growth::Elastic
    } else {
        Growth::Fixed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(pairs: &[(&str, &str)]) -> Facts {
        Facts::of(
            &pairs
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn the_window_is_as_long_as_the_memory_is_safe() {
        let ha = ("high-availability.type", "kubernetes");
        let minutes = |n: u64| RetryWindow::For(Duration::from_secs(60 * n));
        assert_eq!(facts(&[]).retry_window, RetryWindow::Unlimited);
        assert_eq!(
            facts(&[("high-availability.type", "NONE")]).retry_window,
            RetryWindow::Unlimited
        );
        assert_eq!(facts(&[ha]).retry_window, minutes(10));
        assert_eq!(
            facts(&[ha, ("jobstore.expiration-time", "240")]).retry_window,
            minutes(1)
        );
        assert_eq!(
            facts(&[ha, ("completed-application-store.expiration-time", "8 min")]).retry_window,
            minutes(2)
        );
        let kept = [
            ha,
            ("job-result-store.delete-on-commit", "false"),
            ("application-result-store.delete-on-commit", "false"),
        ];
        assert_eq!(facts(&kept).retry_window, RetryWindow::Unlimited);
        for weak in [
            ("web.upload.dir", "/jars"),
            ("jobstore.max-capacity", "5"),
            ("jobstore.expiration-time", "soon"),
        ] {
            assert!(
                matches!(facts(&[ha, weak]).retry_window, RetryWindow::Closed(_)),
                "{weak:?}"
            );
        }
    }

    #[test]
    fn what_is_said_about_savepoints_is_read() {
        let facts = |pairs: &[(&str, &str)]| facts(pairs).savepoints;
        let seconds = Duration::from_secs;
        let default = facts(&[]);
        assert_eq!((default.remembered, default.statistics_age), (seconds(240), seconds(3)));
        assert_eq!((default.directory, default.default_scheme), (None, None));
        let (new, old) = (
            ("execution.checkpointing.savepoint-dir", "s3://b/new"),
            ("state.savepoints.dir", "/old"),
        );
        assert_eq!(facts(&[old]).directory.as_deref(), Some("/old"));
        assert_eq!(facts(&[old, new]).directory.as_deref(), Some("s3://b/new"));
        let scheme = facts(&[("fs.default-scheme", "hdfs://n:8020/")]).default_scheme;
        assert_eq!(scheme.as_deref(), Some("hdfs://n:8020/"));
        for (kept, remembered) in [("5 s", 4000), ("1000", 800), ("1 h", 240_000), ("soon", 0)] {
            let told = facts(&[("rest.async.store-duration", kept)]).remembered;
            assert_eq!(told, Duration::from_millis(remembered), "{kept}");
        }
        let age = |pairs: &[(&str, &str)]| facts(pairs).statistics_age;
        assert_eq!(age(&[("web.refresh-interval", "10000")]), seconds(10));
        let cache = ("rest.cache.checkpoint-statistics.timeout", "2 s");
        assert_eq!(age(&[cache]), seconds(2));
        assert_eq!(age(&[("web.refresh-interval", "10 s"), cache]), seconds(10));
        for text in ["soon", "1 h"] {
            assert_eq!(age(&[("web.refresh-interval", text)]), seconds(60), "{text}");
        }
    }

    #[test]
    fn elastic_clusters_are_recognised() {
        assert_eq!(facts(&[]).growth, Growth::Fixed);
        for key in [
            ("execution.target", "kubernetes-session"),
            ("jobmanager.scheduler", "Adaptive"),
            ("scheduler-mode", "reactive"),
        ] {
            assert_eq!(facts(&[key]).growth, Growth::Elastic, "{key:?}");
        }
    }
}
