//! Deliveries to one host.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use url::Url;

use super::{Target, event::Event, policy::NotifyLimits};
use crate::rate::{Bucket, Rate};

/// Which deliveries wait for each other: those of one namespace to one host, so that neither a slow host nor what another
/// tenant sends to the same one delays anybody.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum LaneKey {
    /// To this host. Not to be printed where the address comes from a Secret.
    Host {
        /// Whose.
        namespace: Box<str>,
        /// Without the port.
        host: Box<str>,
    },
    /// To an address that has to be read first.
    Secret {
        /// Its namespace.
        namespace: Box<str>,
        /// Its name.
        name: Box<str>,
    },
}

impl LaneKey {
    /// Whose.
    pub(super) fn namespace(&self) -> &str {
        let (Self::Host { namespace, .. } | Self::Secret { namespace, .. }) = self;
        namespace
    }

    /// The lane of an address.
    pub(super) fn of_url(namespace: &str, url: &Url) -> Self {
        Self::Host {
            namespace: namespace.into(),
            host: url.host_str().unwrap_or_default().into(),
        }
    }
}

/// One event on its way to one place.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) event: Arc<Event>,
    pub(super) target: Target,
    pub(super) lane: LaneKey,
    /// Tries that came to an end.
    pub(super) tries: u32,
    pub(super) published: Instant,
    /// Not tried before.
    pub(super) due: Instant,
    /// What it takes of the requests at once, while it is tried.
    pub(super) slot: Slot,
}

/// Requests at once are shared out by what is known of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot {
    /// A Secret is read.
    Lookup,
    /// The host has not answered well yet, or not the last time.
    Unproven,
    /// The host answered well the last time.
    Proven,
}

/// What a lane has to do.
pub(super) enum Ready {
    /// Send this.
    Now(Box<Delivery>),
    /// Nothing before then.
    At(Instant),
    /// Nothing until a try ends.
    Busy,
}

/// The deliveries of one lane.
#[derive(Debug)]
pub(super) struct Lane {
    /// Oldest first.
    waiting: VecDeque<Delivery>,
    in_flight: u32,
    slot: Slot,
    bucket: Bucket,
    pause_until: Option<Instant>,
    /// In the ring of the lanes that have something to do.
    pub(super) in_ring: bool,
}

impl Lane {
    pub(super) fn new(key: &LaneKey, limits: &NotifyLimits, now: Instant) -> Self {
        let slot = match key {
            LaneKey::Host { .. } => Slot::Unproven,
            LaneKey::Secret { .. } => Slot::Lookup,
        };
        Self {
            waiting: VecDeque::new(),
            in_flight: 0,
            slot,
            bucket: Bucket::full(rate(limits), now),
            pause_until: None,
            in_ring: false,
        }
    }

    pub(super) fn slot(&self) -> Slot {
        self.slot
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn push(&mut self, delivery: Delivery) {
        // What was published earlier goes first: a retry is older than what came in the meantime.
        let later = |other: &Delivery| other.published > delivery.published;
        let at = self
            .waiting
            .iter()
            .rposition(|other| !later(other))
            .map_or(0, |at| at + 1);
        self.waiting.insert(at, delivery);
    }

    /// Takes out the oldest.
    pub(super) fn pop_oldest(&mut self) -> Option<Delivery> {
        self.waiting.pop_front()
    }

    /// What to do now. What is sent counts as in flight until [`Self::ended`].
    pub(super) fn ready(&mut self, now: Instant) -> Ready {
        let width = if self.slot == Slot::Proven { 2 } else { 1 };
        if self.in_flight >= width {
            return Ready::Busy;
        }
        if let Some(until) = self.pause_until.filter(|until| now < *until) {
            return Ready::At(until);
        }
        let Some(at) = self.waiting.iter().position(|delivery| delivery.due <= now) else {
            let next = self.waiting.iter().map(|delivery| delivery.due).min();
            return next.map_or(Ready::Busy, Ready::At);
        };
        // Reading a Secret is no request to its host.
        if self.slot != Slot::Lookup
            && let Err(wait) = self.bucket.take(now)
        {
            return Ready::At(now + wait);
        }
        let Some(mut delivery) = self.waiting.remove(at) else {
            return Ready::Busy;
        };
        self.in_flight += 1;
        delivery.slot = self.slot;
        Ready::Now(Box::new(delivery))
    }

    /// A try came to its end. None says nothing of the host.
    pub(super) fn ended(&mut self, well: Option<bool>) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.slot = match (self.slot, well) {
            (slot, None) | (slot @ Slot::Lookup, Some(_)) => slot,
            (Slot::Unproven | Slot::Proven, Some(true)) => Slot::Proven,
            (Slot::Unproven | Slot::Proven, Some(false)) => Slot::Unproven,
        };
    }

    /// The host asked to be left alone.
    pub(super) fn pause(&mut self, until: Instant) {
        self.pause_until = self.pause_until.max(Some(until));
    }

    /// Whether a new lane would do the same.
    pub(super) fn is_idle(&mut self, now: Instant) -> bool {
        self.waiting.is_empty()
            && self.in_flight == 0
            && self.pause_until.is_none_or(|until| until <= now)
            && self.bucket.is_full(now)
    }
}

/// How fast one host is asked, and how often one resource may speak.
pub(super) fn rate(limits: &NotifyLimits) -> Rate {
    Rate {
        burst: limits.burst,
        per_second: 1.0 / limits.interval.max(Duration::from_millis(1)).as_secs_f64(),
    }
}
