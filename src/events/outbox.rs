//! Which Event is written next: deduplication, order and rate, without IO.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use jiff::Timestamp;

use super::{Event, EventLimits, key::Key};
use crate::{
    metrics::{EventOutcome, EventType, Metrics},
    rate::{Bucket, Rate, Shares},
};

/// The API server's limit for an Event's note, in bytes.
const MAX_NOTE: usize = 1024;

/// An Event as it is written.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Post {
    pub(super) key: Key,
    pub(super) write: Write,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Write {
    /// A new Event, which happened first at `first` and last at `time`, `count` times. `id` is the same at each try.
    Create {
        event: Box<Event>,
        id: u32,
        first: Timestamp,
        time: Timestamp,
        count: i32,
    },
    /// An update of one that was written before.
    Count { place: Place, count: i32, time: Timestamp },
}

/// Where an Event was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) namespace: String,
    pub(super) name: String,
}

/// What became of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Posted {
    /// It stands there.
    Written(Place),
    /// The Event to update is gone.
    Gone,
    /// The API server was not there, or did not want it now.
    Later,
    /// The API server will never take it.
    Refused,
}

/// What to do now.
#[derive(Debug, PartialEq)]
pub(super) enum Next {
    /// Write this.
    Write(Box<Post>),
    /// Nothing before then.
    Sleep(Instant),
    /// Nothing until something is published.
    Idle,
}

#[derive(Debug)]
struct Entry {
    /// Kept until it is written.
    event: Option<Box<Event>>,
    id: u32,
    first: Timestamp,
    time: Timestamp,
    published: Instant,
    last: Instant,
    count: i32,
    place: Option<Place>,
    /// In one of the queues, or being written.
    queued: bool,
    /// Has an entry in `deferred`.
    deferred: bool,
}

/// The Events that wait, and what is known of those that were written.
#[derive(Debug)]
pub(super) struct Outbox {
    limits: EventLimits,
    metrics: Metrics,
    entries: HashMap<Key, Entry>,
    warnings: VecDeque<Key>,
    normals: VecDeque<Key>,
    /// Repetitions that wait for their series to be updated; in order of time.
    deferred: VecDeque<(Instant, Key)>,
    /// When to look whether a written entry can be forgotten; nearly in order of time.
    expiry: VecDeque<(Instant, Key)>,
    shares: Shares,
    bucket: Bucket,
    /// After a failure nothing is written before then.
    pause_until: Option<Instant>,
    failures: u32,
    last_id: u32,
}

impl Outbox {
    pub(super) fn new(limits: EventLimits, metrics: Metrics, now: Instant) -> Self {
        let bucket = Bucket::full(
            Rate {
                burst: limits.burst,
                per_second: limits.rate,
            },
            now,
        );
        let per_second = 1.0 / limits.object_interval.as_secs_f64().max(0.001);
        let shares = Shares::new(
            Rate {
                burst: limits.object_burst,
                per_second,
            },
            limits.capacity,
        );
        Self {
            limits,
            metrics,
            entries: HashMap::new(),
            warnings: VecDeque::new(),
            normals: VecDeque::new(),
            deferred: VecDeque::new(),
            expiry: VecDeque::new(),
            shares,
            bucket,
            pause_until: None,
            failures: 0,
            last_id: 0,
        }
    }

    /// Something to tell.
    pub(super) fn offer(&mut self, mut event: Event, now: Instant) {
        cut(&mut event.note);
        let key = Key::of(&event);
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.count = entry.count.saturating_add(1);
            entry.last = now;
            entry.time = Timestamp::now();
            if !entry.queued && !entry.deferred {
                entry.deferred = true;
                self.deferred.push_back((now + self.limits.series_interval, key));
            }
            return;
        }
        if !self.shares.take(&key.object, now) || !self.make_room(event.kind) {
            self.metrics.event(event.kind, EventOutcome::Dropped);
            return;
        }
        self.queue(event.kind).push_back(key.clone());
        let time = Timestamp::now();
        self.last_id = self.last_id.wrapping_add(1);
        let entry = Entry {
            event: Some(Box::new(event)),
            id: self.last_id,
            first: time,
            time,
            published: now,
            last: now,
            count: 1,
            place: None,
            queued: true,
            deferred: false,
        };
        self.entries.insert(key, entry);
    }

    /// What to write now.
    pub(super) fn next(&mut self, now: Instant) -> Next {
        self.forget(now);
        self.undefer(now);
        if self.warnings.is_empty() && self.normals.is_empty() {
            return self.deferred.front().map_or(Next::Idle, |(due, _)| Next::Sleep(*due));
        }
        if let Some(until) = self.pause_until.filter(|until| now < *until) {
            return Next::Sleep(until);
        }
        if let Err(wait) = self.bucket.take(now) {
            return Next::Sleep(now + wait);
        }
        let Some(key) = self.warnings.pop_front().or_else(|| self.normals.pop_front()) else {
            return Next::Idle;
        };
        let Some(entry) = self.entries.get(&key) else {
            return Next::Idle;
        };
        let write = match (&entry.place, &entry.event) {
            (Some(place), _) => Write::Count {
                place: place.clone(),
                count: entry.count,
                time: entry.time,
            },
            (None, Some(event)) => Write::Create {
                event: event.clone(),
                id: entry.id,
                first: entry.first,
                time: entry.time,
                count: entry.count,
            },
            // The words are gone with the Event that held them.
            (None, None) => {
                self.entries.remove(&key);
                return Next::Sleep(now);
            }
        };
        Next::Write(Box::new(Post { key, write }))
    }

    /// What became of the last [`Next::Write`].
    pub(super) fn posted(&mut self, post: &Post, result: Posted, now: Instant) {
        let kind = post.key.kind;
        let Some(entry) = self.entries.get_mut(&post.key) else {
            return;
        };
        let written = match &post.write {
            Write::Create { count, .. } | Write::Count { count, .. } => *count,
        };
        match result {
            Posted::Written(place) => {
                (self.failures, self.pause_until) = (0, None);
                let outcome = if entry.place.is_some() {
                    EventOutcome::Counted
                } else {
                    EventOutcome::Posted
                };
                self.metrics.event(kind, outcome);
                entry.place = Some(place);
                entry.event = None;
                entry.queued = false;
                if entry.count > written && !entry.deferred {
                    entry.deferred = true;
                    self.deferred
                        .push_back((now + self.limits.series_interval, post.key.clone()));
                }
                if outcome == EventOutcome::Posted {
                    self.expiry.push_back((now + self.limits.window, post.key.clone()));
                }
            }
            Posted::Gone => {
                // Its time to live is over (one hour by default), or it was deleted. The next repetition is a new Event.
                self.entries.remove(&post.key);
            }
            Posted::Refused => {
                self.metrics.event(kind, EventOutcome::Failed);
                self.entries.remove(&post.key);
            }
            Posted::Later
                if now.saturating_duration_since(entry.published) >= self.limits.patience && entry.place.is_none() =>
            {
                self.metrics.event(kind, EventOutcome::Failed);
                self.entries.remove(&post.key);
                self.back_off(now);
            }
            Posted::Later => {
                // At the end, so that one that is refused for a while does not hold up the others.
                self.queue(kind).push_back(post.key.clone());
                self.back_off(now);
            }
        }
    }

    /// How many wait to be written, repetitions not counted.
    pub(super) fn waiting(&self) -> usize {
        self.warnings.len() + self.normals.len()
    }

    fn back_off(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        let pause = Duration::from_secs(1) * 2_u32.saturating_pow(self.failures.min(6) - 1);
        self.pause_until = Some(now + pause.min(Duration::from_secs(30)));
    }

    fn queue(&mut self, kind: EventType) -> &mut VecDeque<Key> {
        match kind {
            EventType::Warning => &mut self.warnings,
            EventType::Normal => &mut self.normals,
        }
    }

    /// Makes room for one more; false when there is none for it.
    fn make_room(&mut self, kind: EventType) -> bool {
        if self.waiting() >= self.limits.capacity {
            if kind == EventType::Normal {
                return false;
            }
            let Some(victim) = self.normals.pop_front() else {
                return false;
            };
            self.entries.remove(&victim);
            self.metrics.event(EventType::Normal, EventOutcome::Dropped);
        }
        true
    }

    /// Repetitions whose time has come are queued.
    fn undefer(&mut self, now: Instant) {
        while self.deferred.front().is_some_and(|(due, _)| *due <= now) {
            let Some((_, key)) = self.deferred.pop_front() else {
                return;
            };
            let Some(entry) = self.entries.get_mut(&key) else {
                continue;
            };
            entry.deferred = false;
            if !entry.queued {
                entry.queued = true;
                self.queue(key.kind).push_back(key);
            }
        }
    }

    /// Forgets what was not repeated for the whole window, and the oldest when there is too much.
    fn forget(&mut self, now: Instant) {
        let window = self.limits.window;
        while self.expiry.front().is_some_and(|(due, _)| *due <= now) {
            let Some((_, key)) = self.expiry.pop_front() else {
                return;
            };
            let Some(entry) = self.entries.get(&key) else { continue };
            let end = entry.last + window;
            if entry.queued || entry.deferred {
                self.expiry.push_back((now + window, key));
            } else if end > now {
                self.expiry.push_back((end, key));
            } else {
                self.entries.remove(&key);
            }
        }
        while self.expiry.len() > self.limits.capacity {
            let Some((due, key)) = self.expiry.pop_front() else {
                return;
            };
            if self.entries.get(&key).is_some_and(|entry| entry.queued) {
                self.expiry.push_back((due, key));
                return;
            }
            self.entries.remove(&key);
        }
    }
}

/// Cuts a note to what the API server takes, between two characters.
fn cut(note: &mut String) {
    if note.len() <= MAX_NOTE {
        return;
    }
    let end = (0..=MAX_NOTE - '…'.len_utf8())
        .rev()
        .find(|end| note.is_char_boundary(*end))
        .unwrap_or(0);
    note.truncate(end);
    note.push('…');
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ObjectReference;

    use super::*;
    use crate::events::EventLimits;

    fn second(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn event(uid: &str, kind: EventType, note: &str) -> Event {
        let object = ObjectReference {
            uid: Some(uid.into()),
            namespace: Some("default".into()),
            name: Some(format!("job-{uid}")),
            ..ObjectReference::default()
        };
        Event {
            object,
            kind,
            reason: "JobFailed",
            action: "Observe",
            note: note.into(),
        }
    }

    fn outbox(limits: EventLimits, now: Instant) -> (Outbox, Metrics) {
        let metrics = Metrics::new();
        (Outbox::new(limits, metrics.clone(), now), metrics)
    }

    fn written(outbox: &mut Outbox, now: Instant) -> Option<Write> {
        let Next::Write(post) = outbox.next(now) else {
            return None;
        };
        outbox.posted(
            &post,
            Posted::Written(Place {
                namespace: "default".into(),
                name: "e1".into(),
            }),
            now,
        );
        Some(post.write)
    }

    fn note_of(write: Option<Write>) -> String {
        match write {
            Some(Write::Create { event, .. }) => event.note,
            other => panic!("{other:?}"),
        }
    }

    fn count(metrics: &Metrics, kind: &str, outcome: &str) -> u64 {
        let series = format!("flinkjobs_events_total{{type=\"{kind}\",outcome=\"{outcome}\"}} ");
        let text = metrics.text();
        text.lines()
            .find_map(|line| line.strip_prefix(&series))
            .unwrap()
            .parse()
            .unwrap()
    }

    #[test]
    fn warnings_go_first_and_push_normals_out() {
        let now = Instant::now();
        let (mut outbox, metrics) = outbox(
            EventLimits {
                capacity: 3,
                ..EventLimits::default()
            },
            now,
        );
        for note in ["n1", "n2", "n3", "n4"] {
            outbox.offer(event("a", EventType::Normal, note), now);
        }
        for note in ["w1", "w2", "w3", "w4"] {
            outbox.offer(event("b", EventType::Warning, note), now);
        }
        assert_eq!((outbox.waiting(), outbox.entries.len()), (3, 3));
        assert_eq!(count(&metrics, "Normal", "Dropped"), 4);
        assert_eq!(
            count(&metrics, "Warning", "Dropped"),
            1,
            "only when nothing but warnings wait"
        );
        outbox.offer(event("c", EventType::Normal, "n5"), now);
        for expected in ["w1", "w2", "w3"] {
            assert_eq!(note_of(written(&mut outbox, now)), expected);
        }
        assert_eq!(outbox.next(now), Next::Idle);
    }

    #[test]
    fn a_repetition_becomes_a_series_and_is_written_at_most_once_a_minute() {
        let t0 = Instant::now();
        let (mut outbox, metrics) = outbox(EventLimits::default(), t0);
        outbox.offer(event("a", EventType::Warning, "why"), t0);
        outbox.offer(event("a", EventType::Warning, "why"), t0);
        assert!(
            matches!(written(&mut outbox, t0), Some(Write::Create { count: 2, .. })),
            "counted before it was written"
        );
        for n in 1..50 {
            outbox.offer(event("a", EventType::Warning, "why"), t0 + second(n));
        }
        assert_eq!(outbox.next(t0 + second(50)), Next::Sleep(t0 + second(61)));
        let update = written(&mut outbox, t0 + second(61));
        assert!(matches!(update, Some(Write::Count { count: 51, .. })), "{update:?}");
        assert_eq!(outbox.next(t0 + second(61)), Next::Idle);
        assert_eq!(
            (
                count(&metrics, "Warning", "Posted"),
                count(&metrics, "Warning", "Counted")
            ),
            (1, 1)
        );

        outbox.offer(event("a", EventType::Warning, "another cause"), t0 + second(62));
        assert_eq!(note_of(written(&mut outbox, t0 + second(62))), "another cause");
    }

    #[test]
    fn a_series_ends_after_its_window_and_leaves_nothing_behind() {
        let t0 = Instant::now();
        let (mut outbox, _) = outbox(EventLimits::default(), t0);
        outbox.offer(event("a", EventType::Normal, "x"), t0);
        written(&mut outbox, t0);
        assert_eq!(outbox.next(t0 + second(599)), Next::Idle);
        assert_eq!(outbox.entries.len(), 1);
        assert_eq!(outbox.next(t0 + second(600)), Next::Idle);
        assert_eq!((outbox.entries.len(), outbox.expiry.len()), (0, 0));
        outbox.offer(event("a", EventType::Normal, "x"), t0 + second(601));
        assert_eq!(note_of(written(&mut outbox, t0 + second(601))), "x");
    }

    #[test]
    fn the_rate_is_bounded() {
        let t0 = Instant::now();
        let limits = EventLimits {
            burst: 10,
            rate: 5.0,
            ..EventLimits::default()
        };
        let (mut outbox, _) = outbox(limits, t0);
        for n in 0..100 {
            outbox.offer(event(&n.to_string(), EventType::Normal, "x"), t0);
        }
        let (mut now, mut writes) = (t0, 0);
        while now <= t0 + second(4) {
            match outbox.next(now) {
                Next::Write(post) => {
                    writes += 1;
                    outbox.posted(
                        &post,
                        Posted::Written(Place {
                            namespace: "d".into(),
                            name: "e".into(),
                        }),
                        now,
                    );
                }
                Next::Sleep(until) => now = until,
                Next::Idle => break,
            }
        }
        assert!((29..=31).contains(&writes), "{writes} in 4 s");
    }

    #[test]
    fn one_object_cannot_silence_the_others() {
        let t0 = Instant::now();
        let (mut outbox, metrics) = outbox(EventLimits::default(), t0);
        for n in 0..1000 {
            outbox.offer(event("noisy", EventType::Warning, &format!("failure {n}")), t0);
        }
        assert_eq!(outbox.waiting(), 25);
        assert_eq!(count(&metrics, "Warning", "Dropped"), 975);
        outbox.offer(event("quiet", EventType::Warning, "help"), t0);
        assert_eq!(outbox.waiting(), 26);
        outbox.offer(event("noisy", EventType::Warning, "later"), t0 + second(15));
        assert_eq!(outbox.waiting(), 27);
    }

    #[test]
    fn an_outage_is_sat_out_with_growing_pauses_and_then_given_up() {
        let t0 = Instant::now();
        let (mut outbox, metrics) = outbox(EventLimits::default(), t0);
        outbox.offer(event("a", EventType::Warning, "x"), t0);
        let (mut now, mut tries) = (t0, 0);
        loop {
            match outbox.next(now) {
                Next::Write(post) => {
                    tries += 1;
                    outbox.posted(&post, Posted::Later, now);
                }
                Next::Sleep(until) => now = until,
                Next::Idle => break,
            }
        }
        assert!((10..20).contains(&tries), "{tries}");
        assert!(now >= t0 + second(270) && now <= t0 + second(340), "{:?}", now - t0);
        assert_eq!(count(&metrics, "Warning", "Failed"), 1);
        assert!(outbox.entries.is_empty());
    }

    #[test]
    fn an_event_that_expired_in_the_store_is_written_anew() {
        let t0 = Instant::now();
        let (mut outbox, _) = outbox(EventLimits::default(), t0);
        outbox.offer(event("a", EventType::Normal, "x"), t0);
        written(&mut outbox, t0);
        outbox.offer(event("a", EventType::Normal, "x"), t0);
        let Next::Write(update) = outbox.next(t0 + second(60)) else {
            panic!()
        };
        outbox.posted(&update, Posted::Gone, t0 + second(60));
        outbox.offer(event("a", EventType::Normal, "x"), t0 + second(61));
        assert!(matches!(
            written(&mut outbox, t0 + second(61)),
            Some(Write::Create { count: 1, .. })
        ));
    }

    #[test]
    fn memory_is_bounded_whatever_is_published() {
        let t0 = Instant::now();
        let limits = EventLimits {
            capacity: 100,
            burst: 1000,
            rate: 1000.0,
            ..EventLimits::default()
        };
        let (mut outbox, _) = outbox(limits, t0);
        for n in 0..5000_u64 {
            let now = t0 + Duration::from_millis(n);
            outbox.offer(event(&n.to_string(), EventType::Normal, "x"), now);
            written(&mut outbox, now);
        }
        assert!(outbox.entries.len() <= 102, "{}", outbox.entries.len());
        assert!(outbox.expiry.len() <= 102, "{}", outbox.expiry.len());
        assert!(outbox.shares.len() <= 100, "{}", outbox.shares.len());
    }

    #[test]
    fn a_note_is_cut_between_two_characters() {
        let mut note = "ü".repeat(600);
        cut(&mut note);
        assert!(note.len() <= MAX_NOTE && note.ends_with("ü…"), "{}", note.len());
    }
}
