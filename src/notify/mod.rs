//! Notifications (`spec.notifications`): CloudEvents 1.0 over HTTP, off the reconcile path.
//!
//! [`Notifier::publish`] never waits and never fails; the [`Courier`] delivers what is in the queue. Notifications are a
//! courtesy: what must be known stands in the status.
//!
//! - **What is sent.** One POST for each event and place, `application/cloudevents+json` (structured mode). The `id` is the
//!   same each time that the same occurrence is told, also by another process; within ten minutes it is sent once.
//! - **Where to.** To public `https://` hosts, or, where the administrator gives a list, to nothing but what it names, on
//!   addresses that were checked when they were resolved ([`crate::outbound`]). No redirect is followed. An address often
//!   is a credential: of one in the spec the host is printed at the most, for one in a Secret the Secret's name.
//! - **How fast.** Each host has a lane of its own in each namespace, with its own rate, few requests at once and a bounded
//!   queue, so that a host that hangs or fails delays nobody else. A quarter of all requests at once is kept for hosts that
//!   answer, and no namespace gets more than three quarters of the rest. Resources have a rate as well. What is too much is dropped, the oldest first, and counted in
//!   `flinkjobs_notifications_total`.
//! - **Retries.** Failed connections, 429 and 5xx are tried five times within about a minute; `Retry-After` is honoured.
//!   Every other answer is final. What is given up is one line in the log.
//!
//! RBAC: `get` on Secrets in namespaces that keep addresses in them, as for variables.

mod courier;
mod event;
mod lane;
mod outbox;
mod place;
mod policy;
mod post;
mod secret;
mod seen;
#[cfg(test)]
mod test;
mod words;

use std::{fmt, sync::Arc, time::Instant};

use jiff::Timestamp;
use kube::{Client, Resource, ResourceExt};
use parking_lot::Mutex;
use tokio::sync::Notify;

pub use courier::Courier;
use event::Event;
use outbox::Outbox;
use place::Place;
pub use policy::{NotifyLimits, NotifyPolicy};
pub use post::Clock;
use post::Sender;
pub use words::{WORDS, Word, check, targets};

use crate::{
    api::Reason,
    flink::JobId,
    metrics::Metrics,
    outbound::{Lookup, SystemLookup},
};

/// Something to tell about a resource.
#[derive(Debug, Clone)]
pub struct Notice {
    /// The resource.
    pub subject: Subject,
    /// Why: the word that stands in its condition.
    pub reason: Reason,
    /// Its phase.
    pub phase: &'static str,
    /// A sentence for people; cut at 1,024 bytes. Never a secret: the caller has redacted it.
    pub message: String,
    /// When it happened: the time that stands in the status, so that whoever tells it again tells the same event.
    pub time: Timestamp,
    /// The Flink job, where there is one.
    pub job_id: Option<JobId>,
    /// The attempt, once there was one.
    pub attempt: Option<i64>,
    /// Whom to tell: see [`targets`].
    pub targets: Vec<Target>,
}

/// The resource that a notice is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    api_version: String,
    kind: String,
    plural: String,
    namespace: String,
    name: String,
    uid: String,
    generation: i64,
}

impl Subject {
    /// A resource as the API server keeps it.
    #[must_use]
    pub fn of<K: Resource<DynamicType = ()>>(resource: &K) -> Self {
        Self {
            api_version: K::api_version(&()).into_owned(),
            kind: K::kind(&()).into_owned(),
            plural: K::plural(&()).into_owned(),
            namespace: resource.namespace().unwrap_or_default(),
            name: resource.name_any(),
            uid: resource.uid().unwrap_or_default(),
            generation: resource.meta().generation.unwrap_or_default(),
        }
    }
}

/// Whom to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The entry's name in the spec.
    name: String,
    place: Place,
}

/// Why notifications cannot be set up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SetupError(String);

/// Where to put notices. Cheap to clone.
#[derive(Clone)]
pub struct Notifier {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    outbox: Mutex<Outbox>,
    changed: Notify,
}

impl fmt::Debug for Notifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notifier").finish_non_exhaustive()
    }
}

impl Notifier {
    /// A queue, and the courier that empties it. Without a running courier, notices are kept up to the capacity.
    ///
    /// `client` reads addresses from Secrets; `clock` is [`Timestamp::now`].
    ///
    /// # Errors
    /// The certificate authorities cannot be read.
    pub fn new(
        client: Client,
        policy: NotifyPolicy,
        metrics: Metrics,
        clock: Clock,
    ) -> Result<(Self, Courier), SetupError> {
        Self::with_lookup(client, policy, metrics, clock, SystemLookup)
    }

    /// The same with a name service other than the system's.
    pub fn with_lookup(
        client: Client,
        policy: NotifyPolicy,
        metrics: Metrics,
        clock: Clock,
        lookup: impl Lookup,
    ) -> Result<(Self, Courier), SetupError> {
        let lookup: Arc<dyn Lookup> = Arc::new(lookup);
        let shared = Arc::new(Shared {
            outbox: Mutex::new(Outbox::new(policy.limits.clone(), metrics)),
            changed: Notify::new(),
        });
        let sender = Sender::new(client, policy, &lookup, clock).map_err(|error| SetupError(error.to_string()))?;
        Ok((
            Self {
                shared: Arc::clone(&shared),
            },
            Courier::new(shared, sender),
        ))
    }

    /// Puts a notice into the queue. Returns at once, whatever the receivers do.
    pub fn publish(&self, mut notice: Notice) {
        let targets = std::mem::take(&mut notice.targets);
        if targets.is_empty() {
            return;
        }
        let Some(event) = Event::of(notice) else { return };
        self.shared.outbox.lock().offer(event, targets, Instant::now());
        self.shared.changed.notify_one();
    }
}
