//! What was told to whom lately.

use std::{
    collections::{HashSet, VecDeque},
    time::{Duration, Instant},
};

use super::{event::EventId, place::Place};

type Key = (EventId, Place);

/// The events of a window, bounded.
#[derive(Debug)]
pub(super) struct Seen {
    window: Duration,
    capacity: usize,
    keys: HashSet<Key>,
    /// In order of time.
    order: VecDeque<(Instant, Key)>,
}

impl Seen {
    pub(super) fn new(window: Duration, capacity: usize) -> Self {
        Self {
            window,
            capacity,
            keys: HashSet::new(),
            order: VecDeque::new(),
        }
    }

    /// Whether an event is new to a place; it is not from now on.
    pub(super) fn is_new(&mut self, id: EventId, place: &Place, now: Instant) -> bool {
        let window = self.window;
        let over = |(at, _): &(Instant, Key)| now.saturating_duration_since(*at) >= window;
        while self.order.front().is_some_and(over) {
            self.forget_oldest();
        }
        let key = (id, place.clone());
        if self.keys.contains(&key) {
            return false;
        }
        if self.order.len() >= self.capacity {
            self.forget_oldest();
        }
        self.keys.insert(key.clone());
        self.order.push_back((now, key));
        true
    }

    fn forget_oldest(&mut self) {
        if let Some((_, key)) = self.order.pop_front() {
            self.keys.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::{
        event::Event,
        test::{notice, target},
    };

    #[test]
    fn the_oldest_is_forgotten_first() {
        let (mut seen, now) = (Seen::new(Duration::from_secs(600), 3), Instant::now());
        let id = Event::of(notice("a")).unwrap().id;
        let mut told = |n: u32, after| {
            let place = target(&format!("https://x{n}.example/")).place;
            seen.is_new(id, &place, now + Duration::from_secs(after))
        };
        assert!(told(1, 0) && told(2, 1) && told(3, 2), "new");
        assert!(!told(3, 3) && !told(2, 3), "known");
        assert!(told(4, 4) && told(1, 5), "there is no room for more than three");
        assert!(!told(3, 6) && !told(4, 601), "known");
        assert!(told(3, 602) && told(4, 604), "the window is over");
        assert!(seen.keys.len() <= 3 && seen.order.len() == seen.keys.len());
    }
}
