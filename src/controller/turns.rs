//! Whose turn it is to be reconciled: fair between Flink clusters, so that a thousand jobs of one that are stopped at once hold
//! up no job of another.
//!
//! kube's queue takes whatever its hash set yields first, and knows no clusters. So nobody waits in it: who has no turn is put
//! off, and woken when there is one. A wake-up that comes to nothing, because its resource is gone by then, is made up for by
//! the next look.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use kube::{Resource, runtime::reflector::ObjectRef};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::registry::SessionKey;

/// One cluster has this part of all turns at the most: the rest is for the others.
const SHARE: usize = 4;

/// Who was put off looks again after this time even if nobody woke it.
pub(super) const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// The resources of one cluster.
#[derive(Debug)]
struct Lane<K: Resource<DynamicType = ()>> {
    /// Turns that are taken.
    taken: usize,
    /// Who waits, in order, and the same as a set.
    waiting: VecDeque<ObjectRef<K>>,
    waits: HashSet<ObjectRef<K>>,
    /// Who was woken and has not come yet: it goes before those who come anew.
    woken: HashSet<ObjectRef<K>>,
}

impl<K: Resource<DynamicType = ()>> Default for Lane<K> {
    fn default() -> Self {
        Self {
            taken: 0,
            waiting: VecDeque::new(),
            waits: HashSet::new(),
            woken: HashSet::new(),
        }
    }
}

#[derive(Debug)]
struct Lanes<K: Resource<DynamicType = ()>> {
    taken: usize,
    by_key: HashMap<SessionKey, Lane<K>>,
    /// Lanes in which somebody waits; they are served one after the other.
    order: VecDeque<SessionKey>,
}

/// The turns of one kind.
#[derive(Debug)]
pub(super) struct Turns<K: Resource<DynamicType = ()>> {
    limit: usize,
    share: usize,
    wake: mpsc::UnboundedSender<ObjectRef<K>>,
    lanes: Mutex<Lanes<K>>,
}

/// A turn, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Turn<K: Resource<DynamicType = ()>> {
    turns: Arc<Turns<K>>,
    lane: SessionKey,
}

impl<K: Resource<DynamicType = ()>> Drop for Turn<K> {
    fn drop(&mut self) {
        self.turns.give_back(&self.lane);
    }
}

impl<K: Resource<DynamicType = ()>> Turns<K> {
    /// So many at once. Who was put off and may come is woken.
    pub(super) fn new(limit: u16, wake: mpsc::UnboundedSender<ObjectRef<K>>) -> Self {
        let limit = usize::from(limit).max(1);
        Self {
            limit,
            share: (limit / SHARE).max(1),
            wake,
            lanes: Mutex::new(Lanes {
                taken: 0,
                by_key: HashMap::new(),
                order: VecDeque::new(),
            }),
        }
    }

    /// Takes a turn. None when the resource has to wait: it is woken then.
    pub(super) fn take(self: &Arc<Self>, key: SessionKey, object: &ObjectRef<K>) -> Option<Turn<K>> {
        let mut lanes = self.lanes.lock();
        let free = lanes.taken < self.limit;
        let lane = lanes.by_key.entry(key.clone()).or_default();
        let free = free && lane.taken < self.share;
        let was_woken = lane.woken.remove(object);
        if free && (was_woken || lane.waiting.is_empty()) {
            lane.taken += 1;
            lanes.taken += 1;
            return Some(Turn {
                turns: Arc::clone(self),
                lane: key,
            });
        }
        let is_first = lane.waiting.is_empty();
        if lane.waits.insert(object.clone()) {
            if was_woken {
                lane.waiting.push_front(object.clone());
            } else {
                lane.waiting.push_back(object.clone());
            }
        }
        if is_first {
            lanes.order.push_back(key);
        }
        if free {
            self.wake_next(&mut lanes);
        }
        None
    }

    fn give_back(&self, key: &SessionKey) {
        let mut lanes = self.lanes.lock();
        lanes.taken = lanes.taken.saturating_sub(1);
        if let Some(lane) = lanes.by_key.get_mut(key) {
            lane.taken = lane.taken.saturating_sub(1);
            if lane.taken == 0 && lane.waiting.is_empty() {
                lanes.by_key.remove(key);
            }
        }
        self.wake_next(&mut lanes);
    }

    /// Wakes whoever is next in the next lane that may take another turn.
    fn wake_next(&self, lanes: &mut Lanes<K>) {
        for _ in 0..lanes.order.len() {
            let Some(key) = lanes.order.pop_front() else { return };
            let Some(lane) = lanes.by_key.get_mut(&key) else {
                continue;
            };
            let next = if lane.taken < self.share {
                lane.waiting.pop_front()
            } else {
                None
            };
            if let Some(next) = &next {
                lane.waits.remove(next);
                lane.woken.insert(next.clone());
            }
            if !lane.waiting.is_empty() {
                lanes.order.push_back(key);
            }
            if let Some(next) = next {
                // The receiver is gone only when the process ends.
                let _ = self.wake.send(next);
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Savepoint;

    fn lane(name: &str) -> SessionKey {
        SessionKey::new("n", name)
    }

    fn object(name: impl Into<String>) -> ObjectRef<Savepoint> {
        ObjectRef::new(&name.into()).within("n")
    }

    type Woken = mpsc::UnboundedReceiver<ObjectRef<Savepoint>>;

    fn turns(limit: u16) -> (Arc<Turns<Savepoint>>, Woken) {
        let (wake, woken) = mpsc::unbounded_channel();
        (Arc::new(Turns::new(limit, wake)), woken)
    }

    fn next(woken: &mut Woken) -> Option<String> {
        woken.try_recv().ok().map(|object| object.name)
    }

    #[test]
    fn a_busy_cluster_leaves_turns_to_the_others() {
        let (turns, mut woken) = turns(8);
        let busy = ["a1", "a2", "a3"].map(|name| turns.take(lane("a"), &object(name)));
        assert_eq!(busy.each_ref().map(Option::is_some), [true, true, false]);
        let others: Vec<_> = ["b", "c", "d"]
            .iter()
            .flat_map(|name| [1, 2].map(|n| turns.take(lane(name), &object(format!("{name}{n}")))))
            .collect();
        assert!(others.iter().all(Option::is_some));
        assert!(turns.take(lane("e"), &object("e1")).is_none(), "all are taken");
        // Lanes are served one after the other, whoever gives a turn back.
        drop(others);
        assert_eq!(next(&mut woken).as_deref(), Some("e1"), "a has its share");
        drop(busy);
        assert_eq!(next(&mut woken).as_deref(), Some("a3"));
        assert_eq!(next(&mut woken), None);
        assert!(turns.take(lane("a"), &object("a3")).is_some());
    }

    #[test]
    fn those_who_wait_come_in_order_and_once() {
        let (turns, mut woken) = turns(4);
        let first = turns.take(lane("a"), &object("1"));
        for name in ["2", "3", "2", "4"] {
            assert!(turns.take(lane("a"), &object(name)).is_none());
        }
        drop(first);
        assert_eq!(next(&mut woken).as_deref(), Some("2"));
        // Who comes anew in between is behind, and wakes the next, which may find no turn; it keeps its place.
        assert!(turns.take(lane("a"), &object("5")).is_none());
        assert_eq!(next(&mut woken).as_deref(), Some("3"));
        let second = turns.take(lane("a"), &object("2"));
        assert!(second.is_some() && turns.take(lane("a"), &object("3")).is_none());
        let mut order = Vec::new();
        let mut turn = second;
        while turn.take().is_some() {
            let Some(name) = next(&mut woken) else { break };
            turn = turns.take(lane("a"), &object(name.clone()));
            order.push(name);
        }
        assert_eq!(order, ["3", "4", "5"]);
        drop(turn);
        assert!(turns.lanes.lock().by_key.is_empty(), "nothing is left");
    }

    #[test]
    fn one_that_is_gone_when_it_is_woken_holds_nobody_up_for_long() {
        let (turns, mut woken) = turns(4);
        let first = turns.take(lane("a"), &object("1"));
        assert!(turns.take(lane("a"), &object("gone")).is_none());
        assert!(turns.take(lane("a"), &object("2")).is_none());
        drop(first);
        assert_eq!(next(&mut woken).as_deref(), Some("gone"));
        // Nobody comes. The one behind it looks again by itself, and is woken.
        assert!(turns.take(lane("a"), &object("2")).is_none());
        assert_eq!(next(&mut woken).as_deref(), Some("2"));
        assert!(turns.take(lane("a"), &object("2")).is_some());
    }
}
