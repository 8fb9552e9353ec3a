//! How fast: token buckets, and one for each of many.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// So many at once, and so many a second in the long run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    pub(crate) burst: u32,
    pub(crate) per_second: f64,
}

/// A token bucket.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bucket {
    rate: Rate,
    tokens: f64,
    at: Instant,
}

impl Bucket {
    pub(crate) fn full(rate: Rate, now: Instant) -> Self {
        let tokens = f64::from(rate.burst);
        Self { rate, tokens, at: now }
    }

    fn refill(&mut self, now: Instant) {
        let gained = now.saturating_duration_since(self.at).as_secs_f64() * self.rate.per_second;
        self.tokens = (self.tokens + gained).min(f64::from(self.rate.burst));
        self.at = now;
    }

    /// Takes a token, or says how long to wait for one.
    pub(crate) fn take(&mut self, now: Instant) -> Result<(), Duration> {
        self.refill(now);
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        let missing = (1.0 - self.tokens) / self.rate.per_second.max(0.001);
        // A little more, so that rounding never makes the caller wake up too early.
        Err(Duration::from_secs_f64(missing) + Duration::from_millis(1))
    }

    /// Whether it is as if nothing had been taken.
    pub(crate) fn is_full(&mut self, now: Instant) -> bool {
        self.refill(now);
        self.tokens >= f64::from(self.rate.burst)
    }
}

/// A bucket for each object that spoke lately.
#[derive(Debug)]
pub(crate) struct Shares {
    rate: Rate,
    capacity: usize,
    buckets: HashMap<Box<str>, Bucket>,
}

impl Shares {
    pub(crate) fn new(rate: Rate, capacity: usize) -> Self {
        Self {
            rate,
            capacity,
            buckets: HashMap::new(),
        }
    }

    /// Whether this object may speak now.
    pub(crate) fn take(&mut self, object: &str, now: Instant) -> bool {
        if let Some(bucket) = self.buckets.get_mut(object) {
            return bucket.take(now).is_ok();
        }
        if self.buckets.len() >= self.capacity {
            // Who has been silent for long enough need not be remembered.
            self.buckets.retain(|_, bucket| !bucket.is_full(now));
        }
        if self.buckets.len() < self.capacity {
            let mut bucket = Bucket::full(self.rate, now);
            let taken = bucket.take(now).is_ok();
            self.buckets.insert(object.into(), bucket);
            return taken;
        }
        // More objects speak at once than can be told apart: the limits for all must do.
        true
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.buckets.len()
    }
}
