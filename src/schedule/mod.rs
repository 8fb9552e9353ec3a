//! When scheduled savepoints are due (`spec.savepointPolicy.schedule` and `timeZone`). Reads no clock.
//!
//! A *slot* is a time at which the schedule fires. Each slot is for one savepoint at most:
//!
//! - **Summer time.** A schedule that names hours follows the clock on the wall, and each of its times comes once a day: where
//!   the clock skips it, it is due at the end of the gap; where the clock shows it twice, the first time counts. A schedule
//!   whose hour field is `*` follows the time that passes: what the clock skips is no slot, what it shows twice is two.
//!   (So does Vixie's cron.)
//! - **Spread.** A fleet with one schedule does not fire at once: each resource is late by its own share, the same at each
//!   slot, of up to a tenth of the period and at most five minutes. A period of up to five minutes has no spread. The period
//!   of a slot is the time to the next one.
//! - **Missed slots.** Of the slots that came and went while nobody looked, the newest is made up for, while it is younger
//!   than half its period or ten minutes, whichever is longer; later, the next slot is nearer, and waited for. The others
//!   are skipped: a savepoint holds what those before it held.

mod cron;

use std::time::Duration;

use jiff::{
    Timestamp, ToSpan,
    tz::{AmbiguousOffset, TimeZone},
};
use sha2::{Digest, Sha256};

use cron::Cron;

/// The longest spread.
const MAX_SPREAD: Duration = Duration::from_secs(300);
/// Periods of up to this have no spread.
const UNSPREAD: Duration = Duration::from_secs(300);
/// A missed slot is made up for at least as long as this.
const CATCH_UP: Duration = Duration::from_secs(600);
/// From this delay on, a slot counts as missed: turns of the operator take seconds.
const ON_TIME: Duration = Duration::from_secs(60);

/// A schedule in a time zone.
#[derive(Debug, Clone)]
pub struct Schedule {
    cron: Cron,
    zone: TimeZone,
    /// The resource's share of the spread, in parts of 65,536.
    share: u32,
}

/// Why a schedule was refused: a sentence for people that names the field and says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidSchedule(String);

/// Whether a savepoint is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Not now.
    Not {
        /// When the next one is, spread included. Look again then.
        next: Timestamp,
    },
    /// Now, on time.
    Now {
        /// The slot that it is for.
        slot: Timestamp,
    },
    /// Now, late: nobody looked when it was due.
    Missed {
        /// The slot that it is for, the newest of those that were missed.
        slot: Timestamp,
    },
}

impl Schedule {
    /// Reads a cron expression of five fields, and the IANA name of a time zone (None is UTC).
    ///
    /// The fields take `*`, numbers, lists, ranges, steps behind `*` or a range, and English names of months and days of three
    /// letters. As in POSIX, one of the day fields is enough when both are restricted. Zones are looked up in the
    /// system's database, else in the one that is compiled in.
    ///
    /// # Errors
    /// What cannot be read, has seconds, or never fires.
    pub fn parse(text: &str, zone: Option<&str>) -> Result<Self, InvalidSchedule> {
        let cron = Cron::parse(text).map_err(|why| InvalidSchedule(format!("spec.savepointPolicy.schedule: {why}")))?;
        let zone = match zone {
            None => TimeZone::UTC,
            Some(name) => TimeZone::get(name).map_err(|_| {
                let name: String = name.chars().take(64).collect();
                InvalidSchedule(format!(
                    "spec.savepointPolicy.timeZone: {name:?} is not a time zone; write a name of the IANA database, such as UTC or \
                     Europe/Berlin"
                ))
            })?,
        };
        Ok(Self { cron, zone, share: 0 })
    }

    /// The same schedule with the spread of a resource, by its UID. Without, there is none.
    #[must_use]
    pub fn spread_by(self, uid: &str) -> Self {
        let share = match *Sha256::digest(uid) {
            [high, low, ..] => u32::from(u16::from_be_bytes([high, low])),
            [] | [_] => 0,
        };
        Self { share, ..self }
    }

    /// The first slot after a time, without spread. [`Timestamp::MAX`] when the calendar ends before it.
    #[must_use]
    pub fn next(&self, after: Timestamp) -> Timestamp {
        let slot = if self.cron.is_every_hour() {
            self.next_that_passes(after)
        } else {
            self.next_on_the_wall(after)
        };
        slot.unwrap_or(Timestamp::MAX)
    }

    /// When the savepoint of a slot is due: the slot and the resource's spread.
    #[must_use]
    pub fn due_time(&self, slot: Timestamp) -> Timestamp {
        let period = self.period(slot);
        if period <= UNSPREAD {
            return slot;
        }
        let spread = MAX_SPREAD.min(period / 10) * self.share / 65_536;
        // Whole seconds, as everything else in a status.
        later(slot, Duration::from_secs(spread.as_secs()))
    }

    /// Whether a savepoint is due at `now`.
    ///
    /// `last` is the slot of the newest scheduled savepoint, or any time from then to the next slot; a savepoint that was
    /// tried and failed counts. `created` is when the schedule began to apply: slots before it are not made up for.
    /// Record the slot as `last` before acting on [`Due::Now`] and [`Due::Missed`].
    #[must_use]
    pub fn due(&self, last: Option<Timestamp>, created: Timestamp, now: Timestamp) -> Due {
        let upcoming = self.next(now);
        // A clock that was wrong must not stop the schedule until that time comes again. One slot ahead is no more than a
        // clock that was set back over it.
        let last = last.filter(|last| *last <= upcoming);
        let since = last.map_or(created, |last| last.max(created));
        let not = |slot: Timestamp| Due::Not {
            next: self.due_time(slot),
        };
        let Some(slot) = self.newest(since, now) else {
            return not(self.next(since));
        };
        let due = self.due_time(slot);
        if now < due {
            return Due::Not { next: due };
        }
        if elapsed(due, now) < ON_TIME {
            return Due::Now { slot };
        }
        if elapsed(slot, now) < CATCH_UP.max(self.period(slot) / 2) {
            return Due::Missed { slot };
        }
        not(upcoming)
    }

    /// The newest slot after `since` up to `now`. Found by halves, because a long absence can hold a million slots.
    fn newest(&self, since: Timestamp, now: Timestamp) -> Option<Timestamp> {
        // The end of the calendar is no slot: nothing comes after it.
        let has_come = |slot: Timestamp| slot <= now && slot < Timestamp::MAX;
        let mut slot = self.next(since);
        if !has_come(slot) {
            return None;
        }
        // There is a slot after `low` up to `now`, and none after `high`.
        let (mut low, mut high) = (since.as_second(), now.as_second());
        while high - low > 60 {
            let middle = low.midpoint(high);
            let next = Timestamp::from_second(middle).map_or(Timestamp::MAX, |middle| self.next(middle));
            if has_come(next) {
                (low, slot) = (middle, next);
            } else {
                high = middle;
            }
        }
        loop {
            let next = self.next(slot);
            if !has_come(next) {
                return Some(slot);
            }
            slot = next;
        }
    }

    /// The time from a slot to the next one.
    fn period(&self, slot: Timestamp) -> Duration {
        elapsed(slot, self.next(slot))
    }

    /// The next slot by the clock on the wall, where each time of a day comes once.
    fn next_on_the_wall(&self, after: Timestamp) -> Option<Timestamp> {
        let mut wall = self.zone.to_datetime(after);
        loop {
            wall = self.cron.next(wall)?;
            let slot = match self.zone.to_ambiguous_timestamp(wall).offset() {
                AmbiguousOffset::Unambiguous { offset } | AmbiguousOffset::Fold { before: offset, .. } => {
                    offset.to_timestamp(wall).ok()?
                }
                AmbiguousOffset::Gap { before, .. } => {
                    let inside = before.to_timestamp(wall).ok()?.checked_add(1.nanosecond()).ok()?;
                    self.zone.preceding(inside).next()?.timestamp()
                }
            };
            // Not so while the clock shows an hour for the second time.
            if slot > after {
                return Some(slot);
            }
        }
    }

    /// The next slot by the time that passes: from one change of the clock to the next, each stretch for itself.
    fn next_that_passes(&self, after: Timestamp) -> Option<Timestamp> {
        let mut from = after;
        let mut offset = self.zone.to_offset(after);
        let mut wall = offset.to_datetime(after);
        loop {
            let slot = offset.to_timestamp(self.cron.next(wall)?).ok()?;
            let change = self.zone.following(from).next();
            let Some(change) = change.filter(|change| change.timestamp() <= slot) else {
                return Some(slot);
            };
            (from, offset) = (change.timestamp(), change.offset());
            // The first minute of the new stretch counts as well.
            wall = offset.to_datetime(from).checked_sub(1.second()).ok()?;
        }
    }
}

fn elapsed(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

fn later(time: Timestamp, by: Duration) -> Timestamp {
    time.checked_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::{cron::tests::expression, *};

    fn schedule(text: &str, zone: &str) -> Schedule {
        Schedule::parse(text, Some(zone)).expect(text)
    }

    fn time(text: &str) -> Timestamp {
        text.parse().expect(text)
    }

    /// The rows of a table: columns between bars, comments behind #.
    fn rows<const N: usize>(table: &'static str) -> impl Iterator<Item = [&'static str; N]> {
        let lines = table.lines().map(str::trim);
        let rows = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        rows.map(|row| row.split(" | ").collect::<Vec<_>>().try_into().expect(row))
    }

    /// The slots after a time, as the clock on the wall shows them, with the offset in hours.
    fn slots(schedule: &Schedule, after: &str, count: usize) -> String {
        let next = |at: &Timestamp| Some(schedule.next(*at));
        let slots = std::iter::successors(next(&time(after)), next).take(count);
        let shown = slots.map(|slot| slot.to_zoned(schedule.zone.clone()).strftime("%d %H:%M%z").to_string());
        let shown: Vec<String> = shown.map(|text| text.strip_suffix("00").unwrap().to_owned()).collect();
        shown.join(", ")
    }

    /// Rows of schedule, zone, a time, and the next three slots.
    fn check_slots(table: &'static str) {
        for [text, zone, after, expected] in rows(table) {
            let found = slots(&schedule(text, zone), after, 3);
            assert_eq!(found, expected, "{text} in {zone} after {after}");
        }
    }

    #[test]
    fn each_time_of_the_wall_comes_once_whatever_the_clock_does() {
        let table = "
            # 2026-03-29 in Berlin: 02:00 to 03:00 do not exist.
            30 2 * * * | Europe/Berlin | 2026-03-28T00:00Z | 28 02:30+01, 29 03:00+02, 30 02:30+02
            0 2 * * * | Europe/Berlin | 2026-03-28T12:00Z | 29 03:00+02, 30 02:00+02, 31 02:00+02
            */20 2 * * * | Europe/Berlin | 2026-03-28T12:00Z | 29 03:00+02, 30 02:00+02, 30 02:20+02
            0 2,3 * * * | Europe/Berlin | 2026-03-28T12:00Z | 29 03:00+02, 30 02:00+02, 30 03:00+02
            30 1-3 * * * | Europe/Berlin | 2026-03-28T23:00Z | 29 01:30+01, 29 03:00+02, 29 03:30+02
            0 3 * * * | Europe/Berlin | 2026-03-28T12:00Z | 29 03:00+02, 30 03:00+02, 31 03:00+02
            # 2026-10-25 in Berlin: 02:00 to 03:00 come twice.
            30 2 * * * | Europe/Berlin | 2026-10-24T12:00Z | 25 02:30+02, 26 02:30+01, 27 02:30+01
            */30 2 * * * | Europe/Berlin | 2026-10-24T12:00Z | 25 02:00+02, 25 02:30+02, 26 02:00+01
            0 2,3 * * * | Europe/Berlin | 2026-10-24T12:00Z | 25 02:00+02, 25 03:00+01, 26 02:00+01
            # Asked while the hour comes for the second time.
            59 2 * * * | Europe/Berlin | 2026-10-25T01:10Z | 26 02:59+01, 27 02:59+01, 28 02:59+01
            # 2026-03-08 and 2026-11-01 in New York.
            30 2 * * * | America/New_York | 2026-03-07T12:00Z | 08 03:00-04, 09 02:30-04, 10 02:30-04
            30 1 * * * | America/New_York | 2026-10-31T12:00Z | 01 01:30-04, 02 01:30-05, 03 01:30-05
            # Half an hour in Lord Howe, at midnight in Havana, a whole day in Apia.
            15 2 * * * | Australia/Lord_Howe | 2026-10-02T20:00Z | 04 02:30+11, 05 02:15+11, 06 02:15+11
            0 0,12 * * * | America/Havana | 2026-03-07T12:00Z | 07 12:00-05, 08 01:00-04, 08 12:00-04
            0 12 * * * | Pacific/Apia | 2011-12-29T00:00Z | 29 12:00-10, 31 00:00+14, 31 12:00+14
        ";
        check_slots(table);
    }

    #[test]
    fn every_hour_is_every_hour_that_passes() {
        let table = "
            0 * * * * | Europe/Berlin | 2026-03-29T00:30Z | 29 03:00+02, 29 04:00+02, 29 05:00+02
            30 * * * * | Europe/Berlin | 2026-03-29T00:00Z | 29 01:30+01, 29 03:30+02, 29 04:30+02
            0 * * * * | Europe/Berlin | 2026-10-24T23:30Z | 25 02:00+02, 25 02:00+01, 25 03:00+01
            */30 0-23 * * * | Europe/Berlin | 2026-10-25T00:00Z | 25 02:30+02, 25 02:00+01, 25 02:30+01
            0 * * * * | America/New_York | 2026-11-01T04:30Z | 01 01:00-04, 01 01:00-05, 01 02:00-05
        ";
        check_slots(table);
        // The 25th has 25 hours.
        let hourly = schedule("0 * 25 10 *", "Europe/Berlin");
        let (mut slot, mut count) = (hourly.next(time("2026-10-01T00:00Z")), 0);
        while slot < time("2026-11-01T00:00Z") {
            (slot, count) = (hourly.next(slot), count + 1);
        }
        assert_eq!(count, 25);
    }

    #[test]
    fn zones_are_looked_up_by_name() {
        let at = |zone: Option<&str>| {
            let schedule = Schedule::parse("0 3 29 2 *", zone)?;
            Ok::<_, InvalidSchedule>(schedule.next(time("2026-01-01T00:00Z")).to_string())
        };
        assert_eq!(at(None).unwrap(), "2028-02-29T03:00:00Z");
        assert_eq!(at(Some("UTC")).unwrap(), "2028-02-29T03:00:00Z");
        assert_eq!(at(Some("Asia/Tokyo")).unwrap(), "2028-02-28T18:00:00Z");
        for zone in [
            "",
            "Mars/Base",
            "../../etc/passwd",
            "/etc/localtime",
            "CET-1CEST,M3.5.0,M10.5.0/3",
            "+02:00",
        ] {
            let why = at(Some(zone)).expect_err(zone).to_string();
            assert!(
                why.contains("spec.savepointPolicy.timeZone") && why.contains("Europe/Berlin"),
                "{why}"
            );
        }
        let why = Schedule::parse("0 0 30 2 *", None).unwrap_err().to_string();
        assert!(
            why.starts_with("spec.savepointPolicy.schedule: it never fires"),
            "{why}"
        );
    }

    /// What is due, in short. Times are UTC, of 2026 where nothing else is said.
    fn due(schedule: &Schedule, last: Option<&str>, created: &str, now: &str) -> String {
        let year = |text: &str| if text.starts_with("20") { "" } else { "2026-" };
        let time = |text: &str| time(&format!("{}{text}Z", year(text)));
        let short = |time: Timestamp| time.strftime("%m-%dT%H:%M").to_string();
        match schedule.due(last.map(time), time(created), time(now)) {
            Due::Not { next } => format!("not before {}", short(next)),
            Due::Now { slot } => format!("now for {}", short(slot)),
            Due::Missed { slot } => format!("missed {}", short(slot)),
        }
    }

    #[test]
    fn the_newest_missed_slot_is_made_up_for_while_it_is_young() {
        let table = "
            # Schedule | last | created | now | what is due
            0 3 * * * | None | 05-01T02:00 | 05-01T02:30 | not before 05-01T03:00
            0 3 * * * | None | 05-01T02:00 | 05-01T03:00 | now for 05-01T03:00
            0 3 * * * | None | 05-01T02:00 | 05-01T03:00:59 | now for 05-01T03:00
            0 3 * * * | None | 05-01T02:00 | 05-01T03:01 | missed 05-01T03:00
            # Made when the slot was over: it is none of the schedule's.
            0 3 * * * | None | 05-01T03:00:01 | 05-01T03:00:05 | not before 05-02T03:00
            0 3 * * * | 05-01T03:00 | 04-01T00:00 | 05-01T03:00 | not before 05-02T03:00
            0 3 * * * | 05-01T03:04 | 04-01T00:00 | 05-01T03:05 | not before 05-02T03:00
            # Down for days: one for the newest, or none when the next is nearer.
            0 3 * * * | 04-20T03:00 | 04-01T00:00 | 05-01T14:59 | missed 05-01T03:00
            0 3 * * * | 04-20T03:00 | 04-01T00:00 | 05-01T15:00 | not before 05-02T03:00
            0 12 * * 1-5 | 05-01T11:00 | 04-01T00:00 | 05-02T23:59 | missed 05-01T12:00
            0 12 * * 1-5 | 05-01T11:00 | 04-01T00:00 | 05-03T00:00 | not before 05-04T12:00
            # Half of 15 minutes is less than ten.
            */15 * * * * | 05-01T00:00 | 04-01T00:00 | 05-01T03:09:59 | missed 05-01T03:00
            */15 * * * * | 05-01T00:00 | 04-01T00:00 | 05-01T03:10 | not before 05-01T03:15
            # The clock was set back over the slot that was taken; the clock was a year ahead when it was taken.
            0 3 * * * | 05-01T03:00 | 04-01T00:00 | 05-01T02:59 | not before 05-02T03:00
            0 3 * * * | 2027-05-01T03:00 | 04-01T00:00 | 05-01T03:00 | now for 05-01T03:00
            # Made by a clock that is ahead of ours.
            0 3 * * * | None | 05-01T03:00:05 | 05-01T02:59:58 | not before 05-02T03:00
        ";
        for [text, last, created, now, expected] in rows(table) {
            let last = (last != "None").then_some(last);
            let found = due(&schedule(text, "UTC"), last, created, now);
            assert_eq!(found, expected, "{text} {last:?} {created} {now}");
        }
    }

    #[test]
    fn a_resource_is_late_by_its_own_share() {
        let last = |text: &str| Schedule {
            share: 65_535,
            ..schedule(text, "UTC")
        };
        for (text, slot, spread) in [
            ("0 3 * * *", "2026-05-01T03:00Z", 299),
            ("0 * * * *", "2026-05-01T03:00Z", 299),
            ("*/30 * * * *", "2026-05-01T03:00Z", 179),
            ("*/10 * * * *", "2026-05-01T03:00Z", 59),
            ("*/5 * * * *", "2026-05-01T03:00Z", 0),
            ("* * * * *", "2026-05-01T03:00Z", 0),
            // A minute and 59 minutes.
            ("0,1 * * * *", "2026-05-01T03:00Z", 0),
            ("0,1 * * * *", "2026-05-01T03:01Z", 299),
        ] {
            let late = elapsed(time(slot), last(text).due_time(time(slot)));
            assert_eq!(late.as_secs(), spread, "{text} {slot}");
        }
        let daily = |now| due(&last("0 3 * * *"), None, "05-01T02:00", now);
        assert_eq!(daily("05-01T03:04:58"), "not before 05-01T03:04");
        assert_eq!(daily("05-01T03:05:58"), "now for 05-01T03:00");
        assert_eq!(daily("05-01T03:05:59"), "missed 05-01T03:00");
        let uid = |n: u32| format!("6f1c2d3e-0000-4000-8000-{n:012}");
        let late = |n| {
            schedule("0 3 * * *", "UTC")
                .spread_by(&uid(n))
                .due_time(time("2026-05-01T03:00Z"))
        };
        assert_eq!(late(1), late(1));
        let seconds: BTreeSet<Timestamp> = (0..1000).map(late).collect();
        assert!(seconds.len() > 250, "{} different seconds of 300", seconds.len());
        let earliest = *seconds.first().unwrap();
        assert!(earliest < time("2026-05-01T03:00:05Z"), "{earliest}");
    }

    #[test]
    fn a_year_of_minutes_is_not_walked() {
        let minutes = schedule("* * * * *", "Europe/Berlin");
        let began = std::time::Instant::now();
        let found = due(&minutes, None, "2000-01-01T00:00", "05-01T03:00:07");
        assert_eq!(found, "now for 05-01T03:00");
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    }

    #[test]
    fn the_end_of_the_calendar_is_no_slot() {
        for text in ["* * * * *", "0 3 * * *", "0 0 29 2 *"] {
            let (schedule, end) = (schedule(text, "UTC"), Timestamp::MAX);
            assert_eq!(schedule.next(end), end);
            assert_eq!(schedule.due(None, end, end), Due::Not { next: end });
            let last = schedule.newest(time("2026-05-01T03:00Z"), end).unwrap();
            assert!(last < end && schedule.next(last) == end, "{text}: {last}");
        }
    }

    fn zone() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec![
            "UTC",
            "Europe/Berlin",
            "America/New_York",
            "Australia/Lord_Howe",
            "America/Havana",
            "Africa/Casablanca",
            "Asia/Kathmandu",
            "Pacific/Apia",
        ])
    }

    proptest! {
        #[test]
        fn slots_increase_and_each_time_of_the_wall_comes_once(text in expression(), zone in zone(), start in 1_300_000_000..1_900_000_000_i64) {
            let schedule = schedule(&text, zone);
            let mut at = Timestamp::from_second(start).unwrap();
            let mut seen = BTreeSet::new();
            for _ in 0..200 {
                let slot = schedule.next(at);
                prop_assert!(slot > at, "{slot} after {at}");
                // Asked from anywhere before it, the answer is the same.
                let between = Timestamp::from_second(at.as_second().midpoint(slot.as_second())).unwrap();
                if between < slot {
                    prop_assert_eq!(schedule.next(between), slot);
                }
                let wall = slot.to_zoned(schedule.zone.clone()).datetime();
                prop_assert!(schedule.cron.is_every_hour() || seen.insert(wall), "{} twice", wall);
                prop_assert!(schedule.clone().spread_by("x").due_time(slot) < schedule.next(slot));
                at = slot;
            }
        }

        /// Whoever looks when it likes, and records what it takes, takes no slot twice, none that is not over, and after a
        /// long sleep one at most.
        #[test]
        fn no_slot_is_taken_twice(text in expression(), zone in zone(), uid in 0..1000_u32, naps in prop::collection::vec(1..200_000_i64, 1..60)) {
            let schedule = schedule(&text, zone).spread_by(&uid.to_string());
            let created = time("2026-03-07T00:00Z");
            let (mut now, mut last) = (created, None);
            for nap in naps {
                now += nap.seconds();
                match schedule.due(last, created, now) {
                    Due::Not { next } => prop_assert!(next > now, "{next} is over at {now}"),
                    Due::Now { slot } | Due::Missed { slot } => {
                        prop_assert!(last.is_none_or(|last| slot > last) && slot > created);
                        prop_assert!(schedule.due_time(slot) <= now && schedule.next(slot) > now);
                        last = Some(slot);
                        let again = matches!(schedule.due(last, created, now), Due::Now { .. } | Due::Missed { .. });
                        prop_assert!(!again);
                    }
                }
            }
        }

        /// Whoever comes when told to misses nothing.
        #[test]
        fn who_comes_when_told_takes_every_slot(text in expression(), zone in zone(), uid in 0..1000_u32) {
            let schedule = schedule(&text, zone).spread_by(&uid.to_string());
            let created = time("2026-03-07T00:00Z");
            let (mut now, mut last, mut expected) = (created, None, schedule.next(created));
            for _ in 0..100 {
                match schedule.due(last, created, now) {
                    Due::Not { next } => now = next,
                    Due::Now { slot } => {
                        prop_assert_eq!(slot, expected);
                        (last, expected) = (Some(slot), schedule.next(slot));
                    }
                    Due::Missed { slot } => prop_assert!(false, "{} was missed", slot),
                }
            }
            prop_assert!(last.is_some());
        }
    }
}
