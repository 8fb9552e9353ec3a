//! Writes Events to the API server.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use k8s_openapi::{
    api::events::v1::{Event as StoredEvent, EventSeries},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{
    Event, Shared,
    outbox::{Next, Place, Post, Posted, Write},
};
use crate::{
    kubernetes::{ApiError, within},
    metrics::EventType,
    server::Beat,
};

/// Time for one write.
const DEADLINE: Duration = Duration::from_secs(5);
/// What waits at shutdown gets this long.
const GRACE: Duration = Duration::from_secs(2);
/// Failures are logged at most this often.
const LOG_INTERVAL: Duration = Duration::from_secs(60);
/// The loop turns at least this often, for its liveness.
const TURN: Duration = Duration::from_secs(10);
/// `reportingController` of our Events, a qualified name.
const CONTROLLER: &str = "flinkjobs.dev/flink-job-operator";
/// Why an Event is in the log instead.
const NO_EVENTS: &str = "the namespace is being deleted and takes no Events";
/// The API server's limit for `reportingInstance`, in bytes.
const MAX_INSTANCE: usize = 128;
/// Longest part of the object's name that goes into an Event's name, which ends in a dot and 25 characters.
const MAX_NAME: usize = 200;

/// Empties an [`super::EventQueue`] into the API server.
#[derive(Debug)]
pub struct EventPoster {
    shared: Arc<Shared>,
    logged: Option<Instant>,
    unlogged: u32,
}

impl EventPoster {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            logged: None,
            unlogged: 0,
        }
    }

    /// Writes Events until `shutdown`, and then what still waits, for at most two seconds.
    ///
    /// `instance` tells which process reports, for example the pod's name. Errors never come out of here: they are logged
    /// once a minute and counted.
    pub async fn run(mut self, client: Client, instance: &str, beat: Option<Beat>, shutdown: CancellationToken) {
        let instance: String = instance.chars().filter(char::is_ascii).take(MAX_INSTANCE).collect();
        let instance = if instance.is_empty() { CONTROLLER } else { &instance };
        loop {
            if let Some(beat) = &beat {
                beat.tick();
            }
            if shutdown.is_cancelled() {
                break;
            }
            let next = self.shared.outbox.lock().next(Instant::now());
            let until = match next {
                Next::Write(post) => {
                    self.write(&client, instance, &post).await;
                    continue;
                }
                Next::Sleep(until) => until.min(Instant::now() + TURN),
                Next::Idle => Instant::now() + TURN,
            };
            tokio::select! {
                () = tokio::time::sleep_until(until.into()) => {}
                () = self.shared.filled.notified() => {}
                () = shutdown.cancelled() => {}
            }
        }
        let rest = async {
            loop {
                let next = self.shared.outbox.lock().next(Instant::now());
                match next {
                    Next::Write(post) => self.write(&client, instance, &post).await,
                    Next::Sleep(until) => tokio::time::sleep_until(until.into()).await,
                    Next::Idle => break,
                }
            }
        };
        if tokio::time::timeout(GRACE, rest).await.is_err() {
            let waiting = self.shared.outbox.lock().waiting();
            tracing::debug!(waiting, "events left unwritten at shutdown");
        }
    }

    async fn write(&mut self, client: &Client, instance: &str, post: &Post) {
        let result = match &post.write {
            Write::Create {
                event,
                id,
                first,
                time,
                count,
            } => {
                let last_observed_time = MicroTime(*time);
                let series = (*count > 1).then_some(EventSeries {
                    count: *count,
                    last_observed_time,
                });
                let stored = stored(event, *id, *first, series, instance);
                let place = Place {
                    namespace: stored.metadata.namespace.clone().unwrap_or_default(),
                    name: stored.metadata.name.clone().unwrap_or_default(),
                };
                let api: Api<StoredEvent> = Api::namespaced(client.clone(), &place.namespace);
                match within(DEADLINE, "create event", api.create(&PostParams::default(), &stored)).await {
                    // An earlier try was carried out after all.
                    Err(error) if error.is_already_exists() => Ok(place),
                    result => result.map(|_| place),
                }
            }
            Write::Count { place, count, time } => {
                let api: Api<StoredEvent> = Api::namespaced(client.clone(), &place.namespace);
                let series = json!({ "series": EventSeries { count: *count, last_observed_time: MicroTime(*time) } });
                let (params, patch) = (PatchParams::default(), Patch::Merge(&series));
                let counted = within(DEADLINE, "count event", api.patch(&place.name, &params, &patch)).await;
                counted.map(|_| place.clone())
            }
        };
        let posted = match result {
            Ok(place) => Posted::Written(place),
            Err(error) => {
                let gone = error.is_not_found() && matches!(post.write, Write::Count { .. });
                if error.is_of_terminating_namespace() {
                    last_words(&post.write);
                } else if !gone {
                    self.log(&error);
                }
                if gone {
                    Posted::Gone
                } else if error.retry_later() {
                    Posted::Later
                } else {
                    Posted::Refused
                }
            }
        };
        self.shared.outbox.lock().posted(post, posted, Instant::now());
    }

    fn log(&mut self, error: &ApiError) {
        let now = Instant::now();
        if self.logged.is_some_and(|last| now < last + LOG_INTERVAL) {
            self.unlogged = self.unlogged.saturating_add(1);
            return;
        }
        tracing::warn!(more = self.unlogged, "event not written: {error}");
        (self.logged, self.unlogged) = (Some(now), 0);
    }
}

/// A namespace that is being deleted takes no new Events. What people should hear of it, such as where the last savepoint of a
/// job is, is in the log then.
fn last_words(write: &Write) {
    let Write::Create { event, .. } = write else { return };
    let object = &event.object;
    let (kind, namespace, name) = (
        object.kind.as_deref(),
        object.namespace.as_deref(),
        object.name.as_deref(),
    );
    let (reason, note) = (event.reason, &event.note);
    match event.kind {
        EventType::Warning => tracing::warn!(kind, namespace, name, reason, note, "{NO_EVENTS}"),
        EventType::Normal => tracing::debug!(kind, namespace, name, reason, note, "{NO_EVENTS}"),
    }
}

/// A new Event as the API server keeps it.
fn stored(event: &Event, id: u32, first: Timestamp, series: Option<EventSeries>, instance: &str) -> StoredEvent {
    let object = &event.object;
    // Events about cluster-scoped objects live in `default`.
    let namespace = object.namespace.clone().filter(|namespace| !namespace.is_empty());
    let about: String = object
        .name
        .as_deref()
        .unwrap_or_default()
        .chars()
        .take(MAX_NAME)
        .collect();
    // A part of a name must end in a letter or a digit.
    let about = about.trim_end_matches(['.', '-']);
    let about = if about.is_empty() { "unknown" } else { about };
    let kind = match event.kind {
        EventType::Normal => "Normal",
        EventType::Warning => "Warning",
    };
    StoredEvent {
        metadata: ObjectMeta {
            name: Some(format!("{about}.{:016x}{id:08x}", first.as_nanosecond())),
            namespace: Some(namespace.unwrap_or_else(|| "default".into())),
            ..ObjectMeta::default()
        },
        event_time: Some(MicroTime(first)),
        regarding: Some(object.clone()),
        type_: Some(kind.into()),
        reason: Some(event.reason.into()),
        action: Some(event.action.into()),
        note: Some(event.note.clone()),
        reporting_controller: Some(CONTROLLER.into()),
        reporting_instance: Some(instance.into()),
        series,
        ..StoredEvent::default()
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ObjectReference;

    use super::*;

    #[test]
    fn names_are_valid_unique_and_the_same_at_each_try() {
        let event = |name: &str| Event {
            object: ObjectReference {
                name: Some(name.into()),
                ..ObjectReference::default()
            },
            kind: EventType::Normal,
            reason: "Submitted",
            action: "Submit",
            note: String::new(),
        };
        let time: Timestamp = "2026-11-21T05:00:00.123456789Z".parse().unwrap();
        let name = |object: &str, id| stored(&event(object), id, time, None, "pod").metadata.name.unwrap();
        let long = format!("{}-{}", "a".repeat(199), "b".repeat(53));
        assert!(name(&long, u32::MAX).len() <= 253);
        assert!(
            name(&long, 1).starts_with(&format!("{}.", "a".repeat(199))),
            "no dash before the dot"
        );
        assert_eq!(name("top-speed", 1), name("top-speed", 1));
        assert_ne!(name("top-speed", 1), name("top-speed", 2));
        assert_eq!(
            stored(&event("x"), 1, time, None, "pod").metadata.namespace.as_deref(),
            Some("default")
        );
    }
}
