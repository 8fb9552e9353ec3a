//! Permits to submit: a bounded number for each cluster, fair between namespaces.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use kube::runtime::reflector::ObjectRef;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::{api::FlinkSessionJob, flink::UidHash, job::Permit, registry::SessionKey};

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
    waiting: VecDeque<(Arc<str>, VecDeque<Waiter>)>,
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

    fn push(&mut self, namespace: &Arc<str>, waiter: Waiter) {
        match self.waiting.iter_mut().find(|(other, _)| other == namespace) {
            Some((_, waiters)) => waiters.push_back(waiter),
            None => self
                .waiting
                .push_back((Arc::clone(namespace), VecDeque::from([waiter]))),
        }
    }

    fn drop_waiter(&mut self, owner: UidHash) {
        self.waiting
            .iter_mut()
            .for_each(|(_, waiters)| waiters.retain(|waiter| waiter.owner != owner));
        self.waiting.retain(|(_, waiters)| !waiters.is_empty());
    }
}

/// The permits of all clusters.
#[derive(Debug)]
pub struct Permits {
    limit: usize,
    queues: Mutex<HashMap<SessionKey, Queue>>,
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
    pub fn state(&self, key: &SessionKey, owner: UidHash) -> Permit {
        let queues = self.queues.lock();
        let Some(queue) = queues.get(key) else {
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
    pub fn ask(&self, key: &SessionKey, owner: UidHash, object: &ObjectRef<FlinkSessionJob>) -> bool {
        let mut queues = self.queues.lock();
        let queue = queues.entry(key.clone()).or_default();
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
        queue.push(
            &key.namespace,
            Waiter {
                owner,
                object: object.clone(),
            },
        );
        false
    }

    /// Gives the permit, or the place in the queue, back.
    pub fn give_back(&self, key: &SessionKey, owner: UidHash) {
        let mut queues = self.queues.lock();
        let Some(queue) = queues.get_mut(key) else { return };
        queue.held.remove(&owner);
        if queue.since.remove(&owner).is_some() {
            queue.drop_waiter(owner);
        }
        while queue.held.len() < self.limit {
            let Some(next) = queue.next() else { break };
            queue.since.remove(&next.owner);
            queue.held.insert(next.owner);
            let _ = self.wake.send(next.object);
        }
        if queue.held.is_empty() && queue.waiting.is_empty() {
            queues.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permits_are_bounded_and_come_back() {
        let (wake, mut woken) = mpsc::unbounded_channel();
        let permits = Permits::new(2, wake);
        let key = SessionKey::new("ns", "s");
        let job = |n: &str| (UidHash::of(n), ObjectRef::<FlinkSessionJob>::new(n).within("ns"));
        let jobs = ["a", "b", "c", "d"].map(job);
        let granted: Vec<bool> = jobs
            .iter()
            .map(|(owner, object)| permits.ask(&key, *owner, object))
            .collect();
        assert_eq!(granted, [true, true, false, false]);
        assert_eq!(permits.state(&key, jobs[2].0), Permit::Waiting { long: false });
        permits.give_back(&key, jobs[0].0);
        assert_eq!(woken.try_recv().unwrap(), jobs[2].1);
        assert_eq!(permits.state(&key, jobs[2].0), Permit::Granted);
        // A waiter that goes away leaves the queue.
        permits.give_back(&key, jobs[3].0);
        permits.give_back(&key, jobs[1].0);
        permits.give_back(&key, jobs[2].0);
        assert!(woken.try_recv().is_err());
        assert!(permits.queues.lock().is_empty());
    }
}
