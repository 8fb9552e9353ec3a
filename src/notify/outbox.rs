//! Which delivery is tried next: lanes, rates, retries and repetitions, without IO.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Target,
    event::Event,
    lane::{Delivery, Lane, LaneKey, Ready, Slot, rate},
    place::Place,
    policy::NotifyLimits,
    seen::Seen,
};
use crate::{
    metrics::{Metrics, NotificationOutcome},
    rate::Shares,
};

/// Secrets that are read at once: the client of the API server is shared with everything else.
const LOOKUPS: usize = 4;

/// What to do now.
#[derive(Debug)]
pub(super) enum Next {
    /// Try this, and [`Outbox::settle`] it.
    Send(Box<Delivery>),
    /// This waited for too long and is given up.
    Stale(Box<Delivery>),
    /// Nothing before then.
    Sleep(Instant),
    /// Nothing until something is published or a try ends.
    Idle,
}

/// What a try came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The receiver has it.
    Delivered,
    /// It will never have it. The words say why, without the address.
    Refused(String),
    /// Another time, not before the receiver's wish. The words say why, without the address.
    Later { why: String, wait: Option<Duration> },
    /// The address is known now: it goes into the lane of its host.
    Moved(LaneKey),
}

/// A delivery that is not tried again.
#[derive(Debug)]
pub(super) struct GivenUp {
    pub(super) delivery: Delivery,
    pub(super) why: String,
}

/// The deliveries that wait, and what is known of hosts and resources.
#[derive(Debug)]
pub(super) struct Outbox {
    limits: NotifyLimits,
    metrics: Metrics,
    lanes: HashMap<LaneKey, Lane>,
    /// The lanes that may have something to do; each gets its turn.
    ring: VecDeque<LaneKey>,
    waiting: usize,
    slots: Slots,
    shares: Shares,
    seen: Seen,
}

/// The requests under way.
#[derive(Debug, Default)]
struct Slots {
    lookup: usize,
    unproven: usize,
    proven: usize,
    /// The unproven ones of each namespace.
    tenants: HashMap<Box<str>, usize>,
}

impl Slots {
    /// A quarter is kept for hosts that answer: those that hang cannot hold everything. Of the rest no namespace gets more
    /// than three quarters, however many hosts it names.
    fn is_free(&self, slot: Slot, key: &LaneKey, all: usize) -> bool {
        let open = all - all / 4;
        let of_tenant = || self.tenants.get(key.namespace()).copied().unwrap_or_default();
        match slot {
            Slot::Lookup => self.lookup < LOOKUPS,
            Slot::Unproven => {
                self.unproven < open && self.unproven + self.proven < all && of_tenant() < (open * 3).div_ceil(4)
            }
            Slot::Proven => self.unproven + self.proven < all,
        }
    }

    fn take(&mut self, slot: Slot, key: &LaneKey) {
        match slot {
            Slot::Lookup => self.lookup += 1,
            Slot::Proven => self.proven += 1,
            Slot::Unproven => {
                self.unproven += 1;
                *self.tenants.entry(key.namespace().into()).or_default() += 1;
            }
        }
    }

    fn give_back(&mut self, slot: Slot, key: &LaneKey) {
        match slot {
            Slot::Lookup => self.lookup = self.lookup.saturating_sub(1),
            Slot::Proven => self.proven = self.proven.saturating_sub(1),
            Slot::Unproven => {
                self.unproven = self.unproven.saturating_sub(1);
                if let Entry::Occupied(mut taken) = self.tenants.entry(key.namespace().into()) {
                    *taken.get_mut() = taken.get().saturating_sub(1);
                    if *taken.get() == 0 {
                        taken.remove();
                    }
                }
            }
        }
    }
}

impl Outbox {
    pub(super) fn new(limits: NotifyLimits, metrics: Metrics) -> Self {
        let shares = Shares::new(rate(&limits), limits.capacity);
        let seen = Seen::new(limits.window, limits.capacity.saturating_mul(4));
        Self {
            limits,
            metrics,
            lanes: HashMap::new(),
            ring: VecDeque::new(),
            waiting: 0,
            slots: Slots::default(),
            shares,
            seen,
        }
    }

    /// Something to tell.
    pub(super) fn offer(&mut self, event: Event, targets: Vec<Target>, now: Instant) {
        let (all, event) = (targets.len(), Arc::new(event));
        let mut targets = targets;
        targets.retain(|target| self.seen.is_new(event.id, &target.place, now));
        self.count(NotificationOutcome::Repeated, all - targets.len());
        if targets.is_empty() {
            return;
        }
        if !self.shares.take(&event.subject.uid, now) {
            self.count(NotificationOutcome::Dropped, targets.len());
            return;
        }
        for target in targets {
            let namespace = &event.subject.namespace;
            let lane = match &target.place {
                Place::Url(url) => LaneKey::of_url(namespace, url),
                Place::Secret(key) => LaneKey::Secret {
                    namespace: namespace.as_str().into(),
                    name: key.name.as_str().into(),
                },
            };
            self.push(
                Delivery {
                    event: Arc::clone(&event),
                    target,
                    lane,
                    tries: 0,
                    published: now,
                    due: now,
                    slot: Slot::Unproven,
                },
                now,
            );
        }
    }

    /// What to do now.
    pub(super) fn next(&mut self, now: Instant) -> Next {
        let mut wake: Option<Instant> = None;
        for _ in 0..self.ring.len() {
            let Some(key) = self.ring.pop_front() else { break };
            let Some(lane) = self.lanes.get_mut(&key) else { continue };
            let ready = if self.slots.is_free(lane.slot(), &key, self.limits.concurrency) {
                lane.ready(now)
            } else {
                Ready::Busy
            };
            lane.in_ring = lane.len() > 0;
            if lane.in_ring {
                self.ring.push_back(key);
            }
            match ready {
                Ready::Now(delivery) => {
                    self.waiting -= 1;
                    self.slots.take(delivery.slot, &delivery.lane);
                    if now.saturating_duration_since(delivery.published) < self.limits.patience {
                        return Next::Send(delivery);
                    }
                    self.release(&delivery, None);
                    self.count(NotificationOutcome::Failed, 1);
                    return Next::Stale(delivery);
                }
                Ready::At(at) => wake = Some(wake.map_or(at, |wake| wake.min(at))),
                Ready::Busy => {}
            }
        }
        wake.map_or(Next::Idle, Next::Sleep)
    }

    /// A try came to its end.
    pub(super) fn settle(&mut self, mut delivery: Delivery, outcome: Outcome, now: Instant) -> Option<GivenUp> {
        let well = match outcome {
            Outcome::Delivered => Some(true),
            Outcome::Refused(_) | Outcome::Later { .. } => Some(false),
            Outcome::Moved(_) => None,
        };
        self.release(&delivery, well);
        match outcome {
            Outcome::Delivered => {
                self.count(NotificationOutcome::Delivered, 1);
                None
            }
            Outcome::Refused(why) => {
                self.count(NotificationOutcome::Refused, 1);
                Some(GivenUp { delivery, why })
            }
            Outcome::Moved(lane) => {
                delivery.lane = lane;
                self.push(delivery, now);
                None
            }
            Outcome::Later { why, wait } => {
                delivery.tries += 1;
                let wait = wait.map(|wait| wait.min(self.limits.longest_retry_after));
                if let (Some(wait), Some(lane)) = (wait, self.lanes.get_mut(&delivery.lane)) {
                    lane.pause(now + wait);
                }
                let pause = self.pause(&delivery).max(wait.unwrap_or_default());
                let age = now.saturating_duration_since(delivery.published);
                if delivery.tries >= self.limits.tries || age + pause >= self.limits.patience {
                    self.count(NotificationOutcome::Failed, 1);
                    return Some(GivenUp { delivery, why });
                }
                delivery.due = now + pause;
                self.push(delivery, now);
                None
            }
        }
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// The wait before the next try: a part of a time that grows fourfold ("full jitter"). The part comes from the event and
    /// the place, so that deliveries that failed together do not come back together.
    fn pause(&self, delivery: &Delivery) -> Duration {
        let growth = 4_u32.saturating_pow(delivery.tries.saturating_sub(1));
        let longest = self
            .limits
            .first_pause
            .saturating_mul(growth)
            .min(self.limits.longest_pause);
        let mut hasher = DefaultHasher::new();
        (delivery.event.id, &delivery.target.place, delivery.tries).hash(&mut hasher);
        let part = u32::try_from(hasher.finish() >> 48).unwrap_or_default();
        longest * part / 65_536
    }

    fn release(&mut self, delivery: &Delivery, well: Option<bool>) {
        self.slots.give_back(delivery.slot, &delivery.lane);
        if let Some(lane) = self.lanes.get_mut(&delivery.lane) {
            lane.ended(well);
        }
    }

    /// Puts a delivery into its lane. Where there is no room, the oldest goes: of the lane, else of the longest one, so that
    /// a host that is away pays for its own backlog.
    fn push(&mut self, delivery: Delivery, now: Instant) {
        if self.lanes.len() >= self.limits.capacity && !self.lanes.contains_key(&delivery.lane) {
            self.lanes.retain(|_, lane| lane.in_ring || !lane.is_idle(now));
            if self.lanes.len() >= self.limits.capacity {
                self.count(NotificationOutcome::Dropped, 1);
                return;
            }
        }
        let key = delivery.lane.clone();
        let lane = match self.lanes.entry(key.clone()) {
            Entry::Occupied(lane) => lane.into_mut(),
            Entry::Vacant(vacant) => vacant.insert(Lane::new(&key, &self.limits, now)),
        };
        lane.push(delivery);
        self.waiting += 1;
        if !lane.in_ring {
            lane.in_ring = true;
            self.ring.push_back(key);
        }
        let full = lane.len() > self.limits.host_capacity;
        let victim = if full {
            lane.pop_oldest()
        } else if self.waiting > self.limits.capacity {
            let longest = self.lanes.values_mut().max_by_key(|lane| lane.len());
            longest.and_then(Lane::pop_oldest)
        } else {
            None
        };
        if victim.is_some() {
            self.waiting -= 1;
            self.count(NotificationOutcome::Dropped, 1);
        }
    }

    fn count(&self, outcome: NotificationOutcome, times: usize) {
        self.metrics.notification(outcome, times);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{
        api::job::SecretKeyRef,
        notify::test::{notice, target},
    };

    fn second(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    struct Ground {
        outbox: Outbox,
        metrics: Metrics,
        now: Instant,
        told: u32,
    }

    impl Ground {
        fn new(change: impl FnOnce(&mut NotifyLimits)) -> Self {
            let mut limits = NotifyLimits::default();
            change(&mut limits);
            let metrics = Metrics::new();
            Self {
                outbox: Outbox::new(limits, metrics.clone()),
                metrics,
                now: Instant::now(),
                told: 0,
            }
        }

        /// Something new about a resource of its own, for one place.
        fn tell(&mut self, url: &str) {
            self.told += 1;
            self.tell_of(&format!("job-{}", self.told), &[url]);
        }

        /// The same, about a resource of another namespace.
        fn tell_from(&mut self, namespace: &str, url: &str) {
            self.told += 1;
            let mut other = notice(&format!("job-{}", self.told));
            namespace.clone_into(&mut other.subject.namespace);
            let event = Event::of(other).unwrap();
            self.outbox.offer(event, vec![target(url)], self.now);
        }

        /// The same, for the address in this Secret.
        fn tell_secret(&mut self, secret: &str) {
            self.told += 1;
            let key = SecretKeyRef {
                name: secret.to_owned(),
                key: "url".to_owned(),
            };
            let (name, place) = ("hook".to_owned(), Place::Secret(key));
            let event = Event::of(notice(&format!("job-{}", self.told))).unwrap();
            self.outbox.offer(event, vec![Target { name, place }], self.now);
        }

        fn tell_of(&mut self, job: &str, urls: &[&str]) {
            let targets = urls.iter().map(|url| target(url)).collect();
            let event = Event::of(notice(job)).unwrap();
            self.outbox.offer(event, targets, self.now);
        }

        /// All that may be tried now.
        fn sent(&mut self) -> Vec<Delivery> {
            let mut sent = Vec::new();
            while let Next::Send(delivery) = self.outbox.next(self.now) {
                sent.push(*delivery);
            }
            sent
        }

        /// When something may be tried, from now, in milliseconds.
        fn wait(&mut self) -> Option<u128> {
            match self.outbox.next(self.now) {
                Next::Sleep(until) => Some((until - self.now).as_millis()),
                Next::Idle => None,
                other @ (Next::Send(_) | Next::Stale(_)) => panic!("{other:?}"),
            }
        }

        fn settle(&mut self, delivery: Delivery, outcome: Outcome) -> Option<String> {
            let given_up = self.outbox.settle(delivery, outcome, self.now);
            given_up.map(|given_up| given_up.why)
        }

        fn deliver(&mut self, deliveries: Vec<Delivery>) {
            for delivery in deliveries {
                assert_eq!(self.settle(delivery, Outcome::Delivered), None);
            }
        }

        fn count(&self, outcome: &str) -> u32 {
            let series = format!("flinkjobs_notifications_total{{outcome=\"{outcome}\"}} ");
            let text = self.metrics.text();
            let line = text.lines().find_map(|line| line.strip_prefix(&series)).unwrap();
            line.parse().unwrap()
        }
    }

    fn later(wait: Option<u64>) -> Outcome {
        let why = "busy".to_owned();
        let wait = wait.map(second);
        Outcome::Later { why, wait }
    }

    #[test]
    fn the_same_event_goes_to_the_same_place_once() {
        let mut ground = Ground::new(|_| {});
        ground.tell_of(
            "a",
            &["https://x.example/1", "https://x.example/2", "https://x.example/1"],
        );
        ground.tell_of("a", &["https://x.example/1", "https://y.example/"]);
        for _ in 0..3 {
            let sent = ground.sent();
            ground.deliver(sent);
        }
        assert_eq!((ground.count("Delivered"), ground.count("Repeated")), (3, 2));
        ground.now += second(599);
        ground.tell_of("a", &["https://x.example/1"]);
        assert!(ground.sent().is_empty());
        ground.now += second(1);
        ground.tell_of("a", &["https://x.example/1"]);
        assert_eq!(ground.sent().len(), 1);
    }

    #[test]
    fn a_host_is_asked_at_its_rate() {
        let mut ground = Ground::new(|_| {});
        let (mut early, mut order) = (0, Vec::new());
        for n in 0..40 {
            ground.tell(&format!("https://x.example/{n}"));
        }
        while let Next::Send(delivery) = ground.outbox.next(ground.now) {
            early += 1;
            order.push(delivery.target.place.clone());
            ground.deliver(vec![*delivery]);
        }
        assert_eq!((early, ground.wait()), (30, Some(2001)));
        let in_order = (0..30).all(|n| order[n] == target(&format!("https://x.example/{n}")).place);
        assert!(in_order, "the oldest first");
        ground.now += second(10);
        let mut more = 0;
        while let Next::Send(delivery) = ground.outbox.next(ground.now) {
            more += 1;
            ground.deliver(vec![*delivery]);
        }
        assert_eq!(more, 5);
    }

    #[test]
    fn a_resource_speaks_at_its_rate() {
        let mut ground = Ground::new(|_| {});
        for n in 0..40 {
            let mut notice = notice("a");
            notice.attempt = Some(n);
            let event = Event::of(notice).unwrap();
            ground
                .outbox
                .offer(event, vec![target(&format!("https://x{n}.example/"))], ground.now);
        }
        ground.tell("https://other.example/");
        assert_eq!((ground.sent().len(), ground.count("Dropped")), (31, 10));
    }

    #[test]
    fn a_host_has_one_request_at_once_until_it_answers_and_then_two() {
        let mut ground = Ground::new(|_| {});
        for n in 0..9 {
            ground.tell(&format!("https://x.example/{n}"));
        }
        let mut sent = ground.sent();
        assert_eq!(sent.len(), 1);
        assert_eq!(ground.wait(), None, "a try that ends is what it waits for");
        ground.deliver(sent);
        sent = ground.sent();
        assert_eq!(sent.len(), 2);
        let failing = sent.pop().unwrap();
        ground.settle(failing, later(None));
        assert!(
            ground.sent().is_empty(),
            "one is under way, and the host is not trusted any more"
        );
        ground.deliver(sent);
        assert_eq!(ground.sent().len(), 2);
    }

    #[test]
    fn hosts_that_hang_delay_nobody() {
        let mut ground = Ground::new(|limits| limits.concurrency = 8);
        ground.tell("https://good.example/1");
        let sent = ground.sent();
        ground.deliver(sent);
        for n in 0..100 {
            ground.tell(&format!("https://slow{n}.example/"));
        }
        assert_eq!(ground.sent().len(), 5, "three quarters of three quarters");
        for namespace in ["b", "c"] {
            for n in 0..100 {
                ground.tell_from(namespace, &format!("https://slow{n}.example/"));
            }
        }
        assert_eq!(ground.sent().len(), 1, "three quarters");
        for n in 2..9 {
            ground.tell(&format!("https://good.example/{n}"));
        }
        let sent = ground.sent();
        assert!(
            sent.iter()
                .all(|delivery| delivery.target.place.to_string() == "good.example")
        );
        assert_eq!(sent.len(), 2);
    }

    #[test]
    fn turns_that_are_given_back_are_forgotten() {
        let mut ground = Ground::new(|limits| limits.concurrency = 8);
        for n in 0..20 {
            ground.tell_from(&format!("n{}", n % 2), &format!("https://x{n}.example/"));
        }
        for _ in 0..4 {
            let sent = ground.sent();
            ground.deliver(sent);
        }
        assert_eq!(ground.count("Delivered"), 20);
        assert!(ground.outbox.slots.tenants.is_empty());
    }

    #[test]
    fn what_hangs_for_one_tenant_is_no_matter_of_another() {
        let mut ground = Ground::new(|_| {});
        for n in 0..50 {
            ground.tell(&format!("https://x.example/{n}"));
        }
        let mut sent = ground.sent();
        ground.settle(sent.pop().unwrap(), later(Some(300)));
        ground.tell_from("other", "https://x.example/0");
        let sent = ground.sent();
        assert_eq!(sent.len(), 1);
        assert_eq!(sent[0].event.subject.namespace, "other");
    }

    #[test]
    fn failures_are_tried_again_with_growing_pauses_and_then_given_up() {
        let mut ground = Ground::new(|_| {});
        let mut pauses: Vec<Vec<u128>> = Vec::new();
        for n in 0..50 {
            ground.tell(&format!("https://x{n}.example/"));
            let mut of_this = Vec::new();
            for _ in 0..4 {
                let delivery = ground.sent().pop().unwrap();
                assert_eq!(ground.settle(delivery, later(None)), None);
                let wait = ground.wait().unwrap_or_default();
                of_this.push(wait);
                ground.now += Duration::from_millis(u64::try_from(wait).unwrap() + 1);
            }
            let delivery = ground.sent().pop().unwrap();
            assert_eq!(ground.settle(delivery, later(None)).as_deref(), Some("busy"));
            assert_eq!(ground.wait(), None);
            pauses.push(of_this);
        }
        assert_eq!(ground.count("Failed"), 50);
        for (at, longest) in [1000, 4000, 16_000, 60_000].into_iter().enumerate() {
            let of_all: BTreeSet<u128> = pauses.iter().map(|pauses| pauses[at]).collect();
            let (least, most) = (of_all.first().unwrap(), of_all.last().unwrap());
            assert!(of_all.len() > 40, "they come back together: {of_all:?}");
            assert!(
                *least < longest / 5 && *most > longest * 4 / 5 && *most <= longest,
                "{of_all:?}"
            );
        }
    }

    #[test]
    fn what_is_refused_is_not_tried_again() {
        let mut ground = Ground::new(|_| {});
        ground.tell("https://x.example/");
        let delivery = ground.sent().pop().unwrap();
        let why = ground.settle(delivery, Outcome::Refused("gone".to_owned()));
        assert_eq!((why.as_deref(), ground.wait()), (Some("gone"), None));
        assert_eq!((ground.count("Refused"), ground.count("Failed")), (1, 0));
    }

    #[test]
    fn a_host_that_asks_for_a_pause_gets_it() {
        let mut ground = Ground::new(|_| {});
        ground.tell("https://x.example/1");
        ground.tell("https://x.example/2");
        for (asked, given) in [(90, 90_000), (3600, 300_000)] {
            let delivery = ground.sent().pop().unwrap();
            ground.settle(delivery, later(Some(asked)));
            assert_eq!(ground.wait(), Some(given), "for all of its deliveries");
            ground.now += Duration::from_millis(given.try_into().unwrap());
        }
        let delivery = ground.sent().pop().unwrap();
        ground.deliver(vec![delivery]);
        assert_eq!(ground.sent().len(), 1);
    }

    #[test]
    fn the_oldest_goes_where_there_is_no_room() {
        let mut ground = Ground::new(|limits| (limits.host_capacity, limits.capacity) = (3, 5));
        for n in 0..5 {
            ground.tell(&format!("https://x.example/{n}"));
        }
        // A retry is older than what came in the meantime.
        let delivery = ground.sent().pop().unwrap();
        assert_eq!(delivery.target.place, target("https://x.example/2").place);
        ground.tell("https://x.example/5");
        ground.settle(delivery, later(None));
        assert_eq!((ground.count("Dropped"), ground.outbox.waiting()), (3, 3));
        for n in 0..3 {
            ground.tell(&format!("https://y{n}.example/"));
        }
        assert_eq!(
            (ground.count("Dropped"), ground.outbox.waiting()),
            (4, 5),
            "the longest lane pays"
        );
        ground.now += second(1);
        let left: Vec<String> = ground
            .sent()
            .into_iter()
            .map(|delivery| delivery.target.place.to_string())
            .collect();
        assert_eq!(left.len(), 4, "{left:?}");
    }

    #[test]
    fn an_address_that_is_read_leads_to_the_lane_of_its_host() {
        let mut ground = Ground::new(|_| {});
        for n in 0..9 {
            ground.tell_secret(&format!("hook-{n}"));
        }
        let host = LaneKey::of_url("etl", &"https://x.example/".parse().unwrap());
        let read = ground.sent();
        assert_eq!(read.len(), LOOKUPS);
        for delivery in read {
            assert!(matches!(delivery.lane, LaneKey::Secret { .. }));
            ground.settle(delivery, Outcome::Moved(host.clone()));
        }
        let sent = ground.sent();
        let posted: Vec<&Delivery> = sent.iter().filter(|delivery| delivery.lane == host).collect();
        assert_eq!((sent.len(), posted.len()), (LOOKUPS + 1, 1));
        assert_eq!(posted[0].tries, 0);
    }

    #[test]
    fn reading_an_address_is_no_request_to_its_host() {
        let mut ground = Ground::new(|limits| limits.burst = 2);
        for _ in 0..5 {
            ground.tell_secret("hook");
        }
        let host = LaneKey::of_url("etl", &"https://x.example/".parse().unwrap());
        let (mut read, mut posted) = (0, 0);
        while let Next::Send(delivery) = ground.outbox.next(ground.now) {
            if delivery.lane == host {
                posted += 1;
                ground.deliver(vec![*delivery]);
            } else {
                read += 1;
                ground.settle(*delivery, Outcome::Moved(host.clone()));
            }
        }
        assert_eq!((read, posted), (5, 2));
    }

    #[test]
    fn what_waits_for_too_long_is_given_up() {
        let mut ground = Ground::new(|_| {});
        for n in 1..=4 {
            ground.tell(&format!("https://x.example/{n}"));
        }
        let hanging = ground.sent();
        ground.now += second(1800);
        ground.deliver(hanging);
        for _ in 2..=4 {
            assert!(matches!(ground.outbox.next(ground.now), Next::Stale(_)));
        }
        assert_eq!((ground.count("Failed"), ground.outbox.waiting()), (3, 0));
        ground.tell("https://x.example/5");
        assert_eq!(ground.sent().len(), 1, "their turns were given back");
        // A retry that would come too late is none.
        let mut ground = Ground::new(|_| {});
        ground.tell("https://x.example/1");
        let delivery = ground.sent().pop().unwrap();
        ground.now += second(1700);
        assert_eq!(ground.settle(delivery, later(Some(100))).as_deref(), Some("busy"));
    }

    #[test]
    fn memory_is_bounded_whatever_is_published() {
        let mut ground = Ground::new(|limits| limits.capacity = 100);
        for n in 0..5000 {
            ground.tell(&format!("https://x{n}.example/"));
            ground.now += Duration::from_millis(1);
        }
        let outbox = &ground.outbox;
        assert!(outbox.lanes.len() <= 100 && outbox.ring.len() <= 100 && outbox.waiting() <= 100);
        assert_eq!(ground.count("Dropped"), 4900);
        ground.now += second(100);
        let sent = ground.sent();
        ground.deliver(sent);
        for n in 0..200 {
            ground.now += second(3);
            ground.tell(&format!("https://z{n}.example/"));
            let sent = ground.sent();
            ground.deliver(sent);
        }
        assert_eq!(
            ground.count("Dropped"),
            4900,
            "hosts that are not used any more are forgotten"
        );
    }
}
