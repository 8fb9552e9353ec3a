//! What `/healthz` and `/readyz` know: loops that must turn, and conditions that must hold.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// The process's health. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Health {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// What the beats count from.
    origin: Instant,
    loops: Mutex<Vec<(&'static str, Weak<Pulse>)>>,
    conditions: Mutex<Vec<(&'static str, Weak<AtomicBool>)>>,
    stopping: AtomicBool,
}

#[derive(Debug)]
struct Pulse {
    origin: Instant,
    limit: Duration,
    /// Nanoseconds since `origin`.
    last: AtomicU64,
}

impl Pulse {
    fn beat(&self) {
        let nanos = u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.last.store(nanos, Ordering::Relaxed);
    }

    fn silence(&self, now: Instant) -> Duration {
        let last = self.origin + Duration::from_nanos(self.last.load(Ordering::Relaxed));
        now.saturating_duration_since(last)
    }
}

/// A loop's promise to turn at least once within its limit. It is withdrawn when the last clone is dropped, so that a loop
/// that ended as it should is not taken for one that hangs.
#[derive(Debug, Clone)]
pub struct Beat {
    pulse: Arc<Pulse>,
}

impl Beat {
    /// The loop has turned.
    pub fn tick(&self) {
        self.pulse.beat();
    }
}

/// Something that must hold before the process counts as ready; it does not hold at first.
///
/// It stops to count when the last clone is dropped.
#[derive(Debug, Clone)]
pub struct Condition {
    holds: Arc<AtomicBool>,
}

impl Condition {
    /// Says whether it holds.
    pub fn set(&self, holds: bool) {
        self.holds.store(holds, Ordering::Relaxed);
    }
}

impl Default for Health {
    fn default() -> Self {
        Self {
            shared: Arc::new(Shared {
                origin: Instant::now(),
                loops: Mutex::default(),
                conditions: Mutex::default(),
                stopping: AtomicBool::new(false),
            }),
        }
    }
}

impl Health {
    /// Registers a loop that turns at least once within `limit`; the first turn counts from now.
    #[must_use]
    pub fn watch_loop(&self, name: &'static str, limit: Duration) -> Beat {
        let pulse = Arc::new(Pulse {
            origin: self.shared.origin,
            limit,
            last: AtomicU64::new(0),
        });
        pulse.beat();
        let mut loops = self.shared.loops.lock();
        loops.retain(|(_, pulse)| pulse.strong_count() > 0);
        loops.push((name, Arc::downgrade(&pulse)));
        Beat { pulse }
    }

    /// Registers something that must hold before the process is ready, for example that a cache is filled.
    #[must_use]
    pub fn require(&self, name: &'static str) -> Condition {
        let holds = Arc::new(AtomicBool::new(false));
        self.shared.conditions.lock().push((name, Arc::downgrade(&holds)));
        Condition { holds }
    }

    /// The process shuts down: it is alive, but no longer ready.
    pub fn stopping(&self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
    }

    /// The loops that did not turn within their limit, and for how long they have not.
    #[must_use]
    pub fn stuck(&self, now: Instant) -> Vec<(&'static str, Duration)> {
        let loops = self.shared.loops.lock();
        let pulses = loops.iter().filter_map(|(name, pulse)| Some((*name, pulse.upgrade()?)));
        pulses
            .map(|(name, pulse)| (name, pulse.silence(now), pulse.limit))
            .filter(|(_, silence, limit)| silence > limit)
            .map(|(name, silence, _)| (name, silence))
            .collect()
    }

    /// What the process waits for before it is ready.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        let conditions = self.shared.conditions.lock();
        let holds =
            |condition: &Weak<AtomicBool>| condition.upgrade().is_none_or(|holds| holds.load(Ordering::Relaxed));
        let stopping = self.shared.stopping.load(Ordering::Relaxed).then_some("shutting down");
        conditions
            .iter()
            .filter(|(_, condition)| !holds(condition))
            .map(|(name, _)| *name)
            .chain(stopping)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_that_stops_turning_is_named_and_one_that_ended_is_not() {
        let health = Health::default();
        let poll = health.watch_loop("poll", Duration::from_secs(10));
        let elect = health.watch_loop("elect", Duration::from_secs(60));
        let later = Instant::now() + Duration::from_secs(30);
        assert_eq!(health.stuck(Instant::now()), []);
        assert!(matches!(health.stuck(later)[..], [("poll", silence)] if silence > Duration::from_secs(29)));
        drop(poll);
        assert_eq!(health.stuck(later), []);
        elect.tick();
        assert_eq!(health.stuck(later + Duration::from_secs(60)).len(), 1);
    }

    #[test]
    fn ready_means_that_everything_required_holds_and_nobody_stops() {
        let health = Health::default();
        let jobs = health.require("FlinkSessionJob cache");
        let sessions = health.require("FlinkSession cache");
        jobs.set(true);
        assert_eq!(health.missing(), ["FlinkSession cache"]);
        sessions.set(true);
        assert!(health.missing().is_empty());
        health.stopping();
        assert_eq!(health.missing(), ["shutting down"]);
    }
}
