//! Watch streams, caches and queues.

use std::{iter::once, time::Duration};

use futures::{Stream, StreamExt, TryStreamExt, stream};
use kube::{
    Api, Resource, ResourceExt,
    runtime::{
        WatchStreamExt, predicates,
        reflector::{self, Store},
        utils::Predicate,
        watcher::{self, Event, watcher},
    },
};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tracing::warn;

type Change<K> = Result<Event<K>, watcher::Error>;

/// The watch of a kind, kept in a cache. Nobody needs managed fields, and they are half of an object.
pub(super) fn changes<K>(api: Api<K>, writer: reflector::store::Writer<K>) -> impl Stream<Item = Change<K>>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Send + Sync + 'static,
{
    let cache = writer.as_reader();
    let mut told = std::time::Instant::now().checked_sub(Duration::from_secs(3600));
    let changes = watcher(api, watcher::Config::default())
        .default_backoff()
        .modify(|object| {
            object.managed_fields_mut().clear();
            object
                .annotations_mut()
                .remove("kubectl.kubernetes.io/last-applied-configuration");
        })
        .reflect(writer)
        .inspect_err(move |error| {
            if told.is_none_or(|told| told.elapsed() > Duration::from_secs(60)) {
                warn!(kind = %K::kind(&()), %error, "the watch failed and is taken up again");
                told = Some(std::time::Instant::now());
            }
        });
    once_cached(changes, cache)
}

/// Tells of a list when the cache has all of it.
///
/// The cache shows a list when its last page is there; whoever was woken before finds nothing, or what was true before the
/// watch failed, and nobody wakes it again. kube's Controller waits only for the first list of all.
fn once_cached<K>(changes: impl Stream<Item = Change<K>>, cache: Store<K>) -> impl Stream<Item = Change<K>>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    changes.flat_map(move |change| match change {
        Ok(Event::Init | Event::InitApply(_)) => stream::empty().left_stream().left_stream(),
        Ok(Event::InitDone) => {
            let listed = cache.state().into_iter();
            let listed = listed.map(|object| Event::InitApply(object.as_ref().clone()));
            let list = once(Event::Init).chain(listed).chain(once(Event::InitDone));
            stream::iter(list.map(Ok)).right_stream().left_stream()
        }
        change => stream::iter(once(change)).right_stream(),
    })
}

/// What of a watch wakes the reconcile: not our own status writes, but a status that somebody emptied (`blank`).
pub(super) fn triggers<K>(
    changes: impl Stream<Item = Change<K>>,
    blank: impl Fn(&K) -> bool + Send + 'static,
) -> impl Stream<Item = Result<K, watcher::Error>>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    let state = move |object: &K| {
        let deleting = object.meta().deletion_timestamp.is_some();
        Some(u64::from(deleting) << 1 | u64::from(blank(object)))
    };
    let relevant = predicates::generation.combine(predicates::finalizers).combine(state);
    changes
        .applied_objects()
        .predicate_filter(relevant, kube::runtime::PredicateConfig::default())
}

/// A queue as a stream.
pub(super) fn woken<T: Send + 'static>(queue: mpsc::UnboundedReceiver<T>) -> impl Stream<Item = T> + Send {
    stream::unfold(queue, |mut queue| async move {
        queue.recv().await.map(|item| (item, queue))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Savepoint;

    fn savepoint(name: &str, version: &str) -> Savepoint {
        let mut savepoint = Savepoint::new(name, serde_json::from_value(serde_json::json!({})).unwrap());
        savepoint.metadata.namespace = Some("n".to_owned());
        savepoint.metadata.resource_version = Some(version.to_owned());
        savepoint
    }

    /// What is passed on of these events, each with what the cache holds at that moment.
    async fn passed_on(events: Vec<Event<Savepoint>>) -> Vec<(String, String)> {
        let (cache, writer) = reflector::store();
        let changes = stream::iter(events.into_iter().map(Ok)).reflect(writer);
        let word = |object: &Savepoint| {
            format!(
                "{}@{}",
                object.name_any(),
                object.resource_version().unwrap_or_default()
            )
        };
        let held = || {
            let mut held: Vec<_> = cache.state().iter().map(|object| word(object)).collect();
            held.sort();
            held.join(" ")
        };
        let told = once_cached(changes, cache.clone()).map(|change: Change<Savepoint>| {
            let told = match change.unwrap() {
                Event::Init => "list".to_owned(),
                Event::InitDone => "end".to_owned(),
                Event::InitApply(object) => format!("listed {}", word(&object)),
                Event::Apply(object) => word(&object),
                Event::Delete(object) => format!("-{}", word(&object)),
            };
            (told, held())
        });
        told.collect().await
    }

    fn pairs(of: &[(&str, &str)]) -> Vec<(String, String)> {
        of.iter()
            .map(|(told, held)| ((*told).to_owned(), (*held).to_owned()))
            .collect()
    }

    #[tokio::test]
    async fn a_list_is_told_when_the_cache_has_all_of_it() {
        let first = [Event::Init, Event::InitApply(savepoint("a", "1")), Event::InitDone];
        let second = [Event::Apply(savepoint("b", "2")), Event::Delete(savepoint("a", "1"))];
        let anew = [Event::Init, Event::InitApply(savepoint("b", "3")), Event::InitDone];
        let all = first.into_iter().chain(second).chain(anew).collect();
        let wanted = [
            ("list", "a@1"),
            ("listed a@1", "a@1"),
            ("end", "a@1"),
            ("b@2", "a@1 b@2"),
            ("-a@1", "b@2"),
            ("list", "b@3"),
            ("listed b@3", "b@3"),
            ("end", "b@3"),
        ];
        assert_eq!(passed_on(all).await, pairs(&wanted));
    }

    #[tokio::test]
    async fn a_list_that_was_broken_off_is_not_told() {
        let broken = [Event::Init, Event::InitApply(savepoint("a", "1"))];
        let whole = [Event::Init, Event::InitApply(savepoint("b", "2")), Event::InitDone];
        let told = passed_on(broken.into_iter().chain(whole).collect()).await;
        assert_eq!(told, pairs(&[("list", "b@2"), ("listed b@2", "b@2"), ("end", "b@2")]));
    }
}
