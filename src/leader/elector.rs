//! The rules of the election, without IO and without a clock of their own: every entry takes `now`.

use std::time::{Duration, Instant};

use super::Timing;

/// What a stored Lease says, as far as the election cares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Who holds it; `None` when it was released.
    pub holder: Option<String>,
    /// How long its holder asked others to wait after each renewal.
    pub lease_duration: Duration,
    /// `metadata.resourceVersion`: changes with every write.
    pub version: String,
}

/// What a candidate may do about a Lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Nobody holds it, or its holder let it run out: write our name.
    Acquire,
    /// It is ours: write again.
    Renew,
    /// Somebody else holds it, at least until then.
    Wait(Instant),
}

/// What to do about a Lease whose present version was first seen at `observed_at`, on this process's monotonic clock.
///
/// `ours` is the lease duration that this candidate is configured with; the longer of the two counts, so that replicas
/// with different flags stay apart.
#[must_use]
pub fn decide(lease: &Record, identity: &str, observed_at: Instant, now: Instant, ours: Duration) -> Decision {
    match &lease.holder {
        None => Decision::Acquire,
        Some(holder) if holder == identity => Decision::Renew,
        Some(_) => {
            let free = observed_at + lease.lease_duration.max(ours);
            if now >= free {
                Decision::Acquire
            } else {
                Decision::Wait(free)
            }
        }
    }
}

/// The next thing that a candidate must do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Turn {
    /// Read the Lease.
    Read,
    /// Create the Lease in our name: there is none.
    Create,
    /// Replace this version of the Lease by one in our name. `take` when the holder changes.
    Replace { version: String, take: bool },
    /// Do nothing until then.
    Sleep(Instant),
    /// The term is over.
    Lost(LostBecause),
}

/// Why a term ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LostBecause {
    /// No renewal succeeded in time.
    NotRenewed,
    /// Somebody else's name stands in the Lease.
    TakenBy(String),
}

/// What came of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Written {
    /// Done; this is the stored result.
    Stored(Record),
    /// Refused, because the Lease is not what it was: 409, or 404.
    Changed,
    /// It is not known, or it failed for another reason.
    Unknown,
}

/// One candidate.
#[derive(Debug)]
pub(super) struct Elector {
    identity: String,
    timing: Timing,
    /// The Lease as it was last seen, and since when it looks like that.
    seen: Option<(Record, Instant)>,
    /// When a Lease was seen for the last time. Where one has been, its absence is no invitation.
    last_present: Option<Instant>,
    /// What was seen may be outdated: read before the next decision.
    stale: bool,
    /// No request before then.
    not_before: Option<Instant>,
    /// End of our term; `None` before the first.
    valid_until: Option<Instant>,
    lost: Option<LostBecause>,
}

impl Elector {
    pub(super) fn new(identity: String, timing: Timing) -> Self {
        Self {
            identity,
            timing,
            seen: None,
            last_present: None,
            stale: true,
            not_before: None,
            valid_until: None,
            lost: None,
        }
    }

    /// End of our term; `None` before the first.
    pub(super) fn valid_until(&self) -> Option<Instant> {
        self.valid_until
    }

    /// The name that stands in the Lease as it was last seen.
    pub(super) fn holder(&self) -> Option<&str> {
        self.seen.as_ref()?.0.holder.as_deref()
    }

    /// What to do now.
    pub(super) fn turn(&self, now: Instant) -> Turn {
        if let Some(because) = &self.lost {
            return Turn::Lost(because.clone());
        }
        if self.valid_until.is_some_and(|until| now >= until) {
            return Turn::Lost(LostBecause::NotRenewed);
        }
        if let Some(start) = self.not_before.filter(|start| now < *start) {
            return Turn::Sleep(start);
        }
        if self.stale {
            return Turn::Read;
        }
        let Some((record, since)) = &self.seen else {
            let free = self
                .last_present
                .map(|last| last + self.timing.lease_duration)
                .filter(|free| now < *free);
            // While we lead, nobody else may create it: they all wait as above, or have never seen it and get 409.
            return match free {
                Some(_) if self.valid_until.is_none() => Turn::Read,
                _ => Turn::Create,
            };
        };
        let replace = |take| Turn::Replace {
            version: record.version.clone(),
            take,
        };
        match decide(record, &self.identity, *since, now, self.timing.lease_duration) {
            Decision::Renew => replace(false),
            Decision::Acquire => replace(true),
            Decision::Wait(_) => Turn::Read,
        }
    }

    /// The Lease was read (`None`: there is none).
    pub(super) fn read(&mut self, lease: Option<Record>, now: Instant) {
        self.observe(lease, now);
        if self.valid_until.is_some() {
            match self.seen.as_ref().map(|(record, _)| record.holder.as_deref()) {
                // Deleted, or released in our name: written again at once.
                None | Some(None) => {}
                Some(Some(holder)) if holder == self.identity => {}
                Some(Some(holder)) => self.lost = Some(LostBecause::TakenBy(holder.to_owned())),
            }
        }
        self.stale = false;
        self.not_before = self.next_look(now);
    }

    /// The read gave nothing.
    pub(super) fn read_failed(&mut self, started: Instant) {
        self.stale = true;
        self.not_before = Some(started + self.timing.retry_period);
    }

    /// A write that was sent at `started` came to this.
    pub(super) fn wrote(&mut self, started: Instant, result: Written, now: Instant) {
        match result {
            Written::Stored(record) => {
                self.observe(Some(record), now);
                self.stale = false;
                self.not_before = Some(started + self.timing.retry_period);
                // Counted from the sending: the others count from a moment that cannot be earlier.
                let until = started + self.timing.renew_deadline;
                match self.valid_until {
                    None if now < until => self.valid_until = Some(until),
                    Some(before) if now < before => self.valid_until = Some(until.max(before)),
                    // Too late: no term begins, and a term that is over is not brought back.
                    None | Some(_) => {}
                }
            }
            Written::Changed => {
                self.stale = true;
                self.not_before = None;
            }
            Written::Unknown => {
                self.stale = true;
                self.not_before = Some(started + self.timing.retry_period);
            }
        }
    }

    fn observe(&mut self, lease: Option<Record>, now: Instant) {
        if lease.is_some() {
            self.last_present = Some(now);
        }
        self.seen = match (lease, self.seen.take()) {
            (None, _) => None,
            // The whole version counts and not only the holder: a renewal by a leader whose wall clock stands still
            // changes nothing else.
            (Some(record), Some((before, since))) if before.version == record.version => Some((record, since)),
            (Some(record), _) => Some((record, now)),
        };
    }

    /// When to do something after a read: at once if there is something to do, else after the retry period, or sooner if
    /// the Lease runs out before.
    fn next_look(&self, now: Instant) -> Option<Instant> {
        let later = now + self.timing.retry_period;
        match &self.seen {
            None if self.valid_until.is_none() => {
                let free = self.last_present? + self.timing.lease_duration;
                (now < free).then_some(later.min(free))
            }
            None => None,
            Some((record, since)) => match decide(record, &self.identity, *since, now, self.timing.lease_duration) {
                Decision::Acquire | Decision::Renew => None,
                Decision::Wait(free) => Some(later.min(free)),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(holder: Option<&str>, version: &str) -> Record {
        Record {
            holder: holder.map(Into::into),
            lease_duration: Duration::from_secs(15),
            version: version.into(),
        }
    }

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn decisions() {
        let t0 = Instant::now();
        let ours = seconds(15);
        let at = |holder, age| decide(&record(holder, "1"), "me", t0, t0 + seconds(age), ours);
        assert_eq!(at(None, 0), Decision::Acquire);
        assert_eq!(at(Some("me"), 0), Decision::Renew);
        assert_eq!(at(Some("me"), 600), Decision::Renew);
        assert_eq!(at(Some("other"), 0), Decision::Wait(t0 + ours));
        assert_eq!(at(Some("other"), 14), Decision::Wait(t0 + ours));
        assert_eq!(at(Some("other"), 15), Decision::Acquire);
        let patient = decide(&record(Some("other"), "1"), "me", t0, t0 + seconds(16), seconds(30));
        assert_eq!(patient, Decision::Wait(t0 + seconds(30)), "the longer duration counts");
    }

    #[test]
    fn a_first_start_leads_after_one_read_and_one_write() {
        let t0 = Instant::now();
        let mut elector = Elector::new("me".into(), Timing::default());
        assert_eq!(elector.turn(t0), Turn::Read);
        elector.read(None, t0);
        assert_eq!(elector.turn(t0), Turn::Create);
        elector.wrote(t0, Written::Stored(record(Some("me"), "1")), t0 + seconds(1));
        assert_eq!(elector.valid_until(), Some(t0 + seconds(10)));
        assert_eq!(elector.turn(t0 + seconds(1)), Turn::Sleep(t0 + seconds(2)));
        assert_eq!(
            elector.turn(t0 + seconds(2)),
            Turn::Replace {
                version: "1".into(),
                take: false
            }
        );
        assert_eq!(elector.turn(t0 + seconds(10)), Turn::Lost(LostBecause::NotRenewed));
    }

    #[test]
    fn a_leader_that_died_is_replaced_when_its_last_renewal_was_seen_long_enough_ago() {
        let t0 = Instant::now();
        let mut elector = Elector::new("me".into(), Timing::default());
        elector.read(Some(record(Some("other"), "7")), t0);
        for second in [2, 4, 6, 8, 10, 12, 14] {
            let now = t0 + seconds(second);
            assert_eq!(elector.turn(now), Turn::Read);
            elector.read(Some(record(Some("other"), "7")), now);
        }
        assert_eq!(elector.turn(t0 + seconds(14)), Turn::Sleep(t0 + seconds(15)));
        assert_eq!(
            elector.turn(t0 + seconds(15)),
            Turn::Replace {
                version: "7".into(),
                take: true
            }
        );
    }

    #[test]
    fn a_deleted_lease_is_no_invitation() {
        let t0 = Instant::now();
        let mut elector = Elector::new("me".into(), Timing::default());
        elector.read(Some(record(Some("other"), "7")), t0);
        elector.read(None, t0 + seconds(2));
        assert_eq!(elector.turn(t0 + seconds(4)), Turn::Read);
        elector.read(None, t0 + seconds(14));
        assert_eq!(elector.turn(t0 + seconds(14)), Turn::Sleep(t0 + seconds(15)));
        assert_eq!(elector.turn(t0 + seconds(15)), Turn::Create);
    }

    #[test]
    fn a_leader_writes_a_deleted_lease_again_and_yields_to_another_name() {
        let t0 = Instant::now();
        let mut elector = Elector::new("me".into(), Timing::default());
        elector.read(None, t0);
        elector.wrote(t0, Written::Stored(record(Some("me"), "1")), t0);
        elector.wrote(t0 + seconds(2), Written::Changed, t0 + seconds(2));
        assert_eq!(elector.turn(t0 + seconds(2)), Turn::Read);
        elector.read(None, t0 + seconds(2));
        assert_eq!(elector.turn(t0 + seconds(2)), Turn::Create);
        elector.wrote(t0 + seconds(2), Written::Changed, t0 + seconds(2));
        elector.read(Some(record(Some("other"), "9")), t0 + seconds(3));
        assert_eq!(
            elector.turn(t0 + seconds(3)),
            Turn::Lost(LostBecause::TakenBy("other".into()))
        );
    }

    #[test]
    fn a_reply_that_comes_after_its_own_deadline_starts_no_term() {
        let t0 = Instant::now();
        let mut elector = Elector::new("me".into(), Timing::default());
        elector.read(None, t0);
        elector.wrote(t0, Written::Stored(record(Some("me"), "1")), t0 + seconds(11));
        assert_eq!(elector.valid_until(), None);
        assert_eq!(
            elector.turn(t0 + seconds(11)),
            Turn::Replace {
                version: "1".into(),
                take: false
            }
        );
    }

    #[test]
    fn an_unknown_result_is_looked_up_before_the_next_write() {
        let t0 = Instant::now();
        let mut elector = Elector::new("me".into(), Timing::default());
        elector.read(None, t0);
        elector.wrote(t0, Written::Unknown, t0 + seconds(5));
        assert_eq!(elector.turn(t0 + seconds(5)), Turn::Read);
        elector.read(Some(record(Some("me"), "1")), t0 + seconds(5));
        assert_eq!(
            elector.turn(t0 + seconds(5)),
            Turn::Replace {
                version: "1".into(),
                take: false
            }
        );
    }
}
