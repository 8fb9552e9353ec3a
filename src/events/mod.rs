//! Kubernetes Events (`events.k8s.io/v1`), off the reconcile path.
//!
//! [`EventQueue::publish`] never waits and never fails; [`EventPoster`] writes what is in the queue, at a bounded rate.
//! Events are a courtesy: what must be known stands in the status.
//!
//! - **Bounded.** At most `capacity` wait, at most `rate` a second are written (`burst` at once), and one object gets a
//!   share of its own, so that a resource that fails over and over does not silence the others.
//! - **Warnings first.** They are written before Normals, and push Normals out of a full queue. What is dropped is counted
//!   in `flinkjobs_events_total`.
//! - **Repetitions** of the same words about the same object within ten minutes become a series: one Event with a count,
//!   updated at most once a minute. Other words (a new note) are a new Event.
//! - **Short outages** of the API server are sat out; Events older than five minutes are dropped.
//!
//! Why not `kube::runtime::events::Recorder` (5.0.0): it posts from the caller, so a slow API server slows the reconcile;
//! its deduplication ignores the note, so that a second failure with another cause is shown with the text of the first; it
//! keeps counting in an Event that is gone (404) until its cache forgets it; and each call walks its whole cache under a
//! lock.
//!
//! RBAC: `create` and `patch` on `events` in `events.k8s.io`.

mod key;
mod outbox;
mod post;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::ObjectReference;
use parking_lot::Mutex;
use tokio::sync::Notify;

use outbox::Outbox;
pub use post::EventPoster;

pub use crate::metrics::EventType;
use crate::metrics::Metrics;

/// Something to tell about an object.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// The object; with its UID, or `kubectl describe` does not show the Event.
    pub object: ObjectReference,
    /// Normal, or Warning when someone should look.
    pub kind: EventType,
    /// Why: a word of the API contract. At most 128 bytes.
    pub reason: &'static str,
    /// What was done about it, or tried: one word, for example `Submit`. At most 128 bytes.
    pub action: &'static str,
    /// A sentence for people; cut at 1,024 bytes, the API server's limit. Never a secret.
    pub note: String,
}

/// How many Events, how fast.
#[derive(Debug, Clone, PartialEq)]
pub struct EventLimits {
    /// Events that wait at most.
    pub capacity: usize,
    /// Writes at once after a quiet time.
    pub burst: u32,
    /// Writes a second in the long run.
    pub rate: f64,
    /// Events about one object at once; it gets one more every `object_interval`.
    pub object_burst: u32,
    /// See `object_burst`.
    pub object_interval: Duration,
    /// For how long the same words about the same object belong to one series.
    pub window: Duration,
    /// Time between two updates of a series.
    pub series_interval: Duration,
    /// An Event that could not be written for this long is dropped.
    pub patience: Duration,
}

impl Default for EventLimits {
    /// 4,096 waiting, 25 at once, 20 a second; 25 about one object and one more every 15 s; series of 10 min, updated
    /// once a minute; given up after 5 min.
    fn default() -> Self {
        Self {
            capacity: 4096,
            burst: 25,
            rate: 20.0,
            object_burst: 25,
            object_interval: Duration::from_secs(15),
            window: Duration::from_secs(600),
            series_interval: Duration::from_secs(60),
            patience: Duration::from_secs(300),
        }
    }
}

/// Where to put Events. Cheap to clone.
#[derive(Debug, Clone)]
pub struct EventQueue {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    outbox: Mutex<Outbox>,
    filled: Notify,
}

impl EventQueue {
    /// A queue, and the poster that empties it. Without a running poster, Events are kept up to the capacity.
    #[must_use]
    pub fn new(limits: EventLimits, metrics: Metrics) -> (Self, EventPoster) {
        let outbox = Mutex::new(Outbox::new(limits, metrics, Instant::now()));
        let shared = Arc::new(Shared {
            outbox,
            filled: Notify::new(),
        });
        (Self { shared: shared.clone() }, EventPoster::new(shared))
    }

    /// Puts an Event into the queue. Returns at once, whatever the API server does.
    pub fn publish(&self, event: Event) {
        self.shared.outbox.lock().offer(event, Instant::now());
        self.shared.filled.notify_one();
    }
}
