//! Permits to submit: a bounded number for each cluster, fair between namespaces.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use kube::runtime::reflector::ObjectRef;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::{api::FlinkSessionJob, flink::UidHash, job::Permit};

/// A wait is worth a status write when it is longer than this.
const LONG: Duration = Duration::from_secs(10);

#[derive(Debug)]
struct Waiter {
    owner: UidHash,
    object: ObjectRef<FlinkSessionJob>,
}

/// The queue of one cluster.
#[derive(Debug, Default)]
struct Queue {
    held: HashSet<UidHash>,
    since: HashMap<UidHash, Instant>,
    /// Waiters by namespace; the namespaces take turns in the order of the outer list.
    waiting: VecDeque<(String, VecDeque<Waiter>)>,
}

impl Queue {
    fn next(&mut self) -> Option<Waiter> {
        let (namespace, mut waiters) = self.waiting.pop_front()?;
        let next = waiters.pop_front();
        if !waiters.is_empty() {
            self.waiting.push_back((namespace, waiters));
        }
        next
    }

    fn push(&mut self, namespace: &str, waiter: Waiter) {
        match self.waiting.iter_mut().find(|(other, _)| other == namespace) {
            Some((_, waiters)) => waiters.push_back(waiter),
            None => self.waiting.push_back((namespace.to_owned(), VecDeque::from([waiter]))),
        }
    }

    fn drop_waiter(&mut self, owner: UidHash) {
        self.waiting
            .iter_mut()
            .for_each(|(_, waiters)| waiters.retain(|waiter| waiter.owner != owner));
        self.waiting.retain(|(_, waiters)| !waiters.is_empty());
    }
}

/// The queues by cluster, and where each resource has its place.
#[derive(Debug, Default)]
struct Queues {
    by_cluster: HashMap<Arc<str>, Queue>,
    places: HashMap<UidHash, Arc<str>>,
}

impl Queues {
    fn of(&self, owner: UidHash) -> Option<&Queue> {
        self.by_cluster.get(self.places.get(&owner)?)
    }

    /// Takes a resource out. Returns who has a permit because of that.
    fn leave(&mut self, owner: UidHash, limit: usize) -> Vec<ObjectRef<FlinkSessionJob>> {
        let Some(cluster) = self.places.remove(&owner) else {
            return Vec::new();
        };
        let Some(queue) = self.by_cluster.get_mut(&cluster) else {
            return Vec::new();
        };
        queue.held.remove(&owner);
        if queue.since.remove(&owner).is_some() {
            queue.drop_waiter(owner);
        }
        let mut granted = Vec::new();
        while queue.held.len() < limit {
            let Some(next) = queue.next() else { break };
            queue.since.remove(&next.owner);
            queue.held.insert(next.owner);
            granted.push(next.object);
        }
        if queue.held.is_empty() && queue.waiting.is_empty() {
            self.by_cluster.remove(&cluster);
        }
        granted
    }
}

/// The permits of all clusters. A cluster is its address: sessions of several namespaces may name the same one.
#[derive(Debug)]
pub struct Permits {
    limit: usize,
    queues: Mutex<Queues>,
    wake: mpsc::UnboundedSender<ObjectRef<FlinkSessionJob>>,
}

impl Permits {
    /// At most `limit` submissions at once for each cluster. Whoever is granted one is woken.
    #[must_use]
    pub fn new(limit: usize, wake: mpsc::UnboundedSender<ObjectRef<FlinkSessionJob>>) -> Self {
        Self {
            limit: limit.max(1),
            queues: Mutex::default(),
            wake,
        }
    }

    /// Whether the resource holds a permit.
    #[must_use]
    pub fn state(&self, owner: UidHash) -> Permit {
        let queues = self.queues.lock();
        let Some(queue) = queues.of(owner) else {
            return Permit::Waiting { long: false };
        };
        if queue.held.contains(&owner) {
            return Permit::Granted;
        }
        Permit::Waiting {
            long: queue.since.get(&owner).is_some_and(|since| since.elapsed() > LONG),
        }
    }

    /// Asks for a permit; true when it is granted at once.
    pub fn ask(&self, cluster: &Arc<str>, owner: UidHash, object: &ObjectRef<FlinkSessionJob>) -> bool {
        let mut queues = self.queues.lock();
        if queues.places.get(&owner).is_some_and(|place| place != cluster) {
            // The session is another one now, at another address.
            self.grant(queues.leave(owner, self.limit));
        }
        queues.places.insert(owner, Arc::clone(cluster));
        let queue = queues.by_cluster.entry(Arc::clone(cluster)).or_default();
        if queue.held.contains(&owner) {
            return true;
        }
        if queue.since.contains_key(&owner) {
            return false;
        }
        if queue.held.len() < self.limit && queue.waiting.is_empty() {
            queue.held.insert(owner);
            return true;
        }
        queue.since.insert(owner, Instant::now());
        let namespace = object.namespace.as_deref().unwrap_or_default();
        queue.push(
            namespace,
            Waiter {
                owner,
                object: object.clone(),
            },
        );
        false
    }

    /// Gives the permit, or the place in the queue, back.
    pub fn give_back(&self, owner: UidHash) {
        let granted = self.queues.lock().leave(owner, self.limit);
        self.grant(granted);
    }

    fn grant(&self, granted: Vec<ObjectRef<FlinkSessionJob>>) {
        for object in granted {
            let _ = self.wake.send(object);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(namespace: &str, name: &str) -> (UidHash, ObjectRef<FlinkSessionJob>) {
        let object = ObjectRef::<FlinkSessionJob>::new(name).within(namespace);
        (UidHash::of(&format!("{namespace}/{name}")), object)
    }

    fn is_empty(permits: &Permits) -> bool {
        let queues = permits.queues.lock();
        queues.by_cluster.is_empty() && queues.places.is_empty()
    }

    #[test]
    fn permits_are_bounded_and_come_back() {
        let (wake, mut woken) = mpsc::unbounded_channel();
        let permits = Permits::new(2, wake);
        let cluster: Arc<str> = "http://flink:8081".into();
        let jobs = ["a", "b", "c", "d"].map(|name| job("ns", name));
        let granted: Vec<bool> = jobs
            .iter()
            .map(|(owner, object)| permits.ask(&cluster, *owner, object))
            .collect();
        assert_eq!(granted, [true, true, false, false]);
        assert_eq!(permits.state(jobs[2].0), Permit::Waiting { long: false });
        permits.give_back(jobs[0].0);
        assert_eq!(woken.try_recv().unwrap(), jobs[2].1);
        assert_eq!(permits.state(jobs[2].0), Permit::Granted);
        // A waiter that goes away leaves the queue.
        permits.give_back(jobs[3].0);
        permits.give_back(jobs[1].0);
        permits.give_back(jobs[2].0);
        assert!(woken.try_recv().is_err());
        assert!(is_empty(&permits));
    }

    #[test]
    fn namespaces_take_turns_at_one_cluster() {
        let (wake, mut woken) = mpsc::unbounded_channel();
        let permits = Permits::new(1, wake);
        let cluster: Arc<str> = "http://flink:8081".into();
        let mut jobs: Vec<_> = (0..4).map(|n| job("crowd", &n.to_string())).collect();
        jobs.push(job("single", "x"));
        for (owner, object) in &jobs {
            permits.ask(&cluster, *owner, object);
        }
        let mut order = vec!["crowd".to_owned()];
        permits.give_back(jobs[0].0);
        while let Ok(object) = woken.try_recv() {
            order.extend(object.namespace.clone());
            permits.give_back(jobs.iter().find(|(_, other)| *other == object).unwrap().0);
        }
        assert_eq!(order, ["crowd", "crowd", "single", "crowd", "crowd"]);
        assert!(is_empty(&permits));
    }

    #[test]
    fn a_job_whose_cluster_moved_waits_at_the_new_one_only() {
        let (wake, mut woken) = mpsc::unbounded_channel();
        let permits = Permits::new(1, wake);
        let (old, new): (Arc<str>, Arc<str>) = ("http://old:8081".into(), "http://new:8081".into());
        let (first, second) = (job("ns", "first"), job("ns", "second"));
        assert!(permits.ask(&old, first.0, &first.1));
        assert!(!permits.ask(&old, second.0, &second.1));
        assert!(permits.ask(&new, first.0, &first.1));
        assert_eq!(woken.try_recv().unwrap(), second.1);
        assert!(permits.ask(&old, second.0, &second.1));
        permits.give_back(first.0);
        permits.give_back(second.0);
        assert!(is_empty(&permits));
    }
}
