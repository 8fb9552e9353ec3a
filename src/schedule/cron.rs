//! Cron expressions of five fields, on the clock of the wall: no time zone.
//!
//! What POSIX has, and what Vixie's cron added to it and everybody took over: names, steps, and 7 for Sunday. Forms that two
//! cron programs read in two ways are refused.

use jiff::{
    ToSpan,
    civil::{Date, DateTime, Time},
};

/// The numbers of a field, one bit each.
type Bits = u64;

/// A cron expression: the minutes at which a clock on the wall makes it fire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cron {
    minutes: Bits,
    hours: Bits,
    days: Bits,
    months: Bits,
    weekdays: Bits,
    /// POSIX: when both day fields are restricted, either of them is enough.
    either: bool,
}

/// What can stand in a field.
struct Field {
    name: &'static str,
    low: u32,
    high: u32,
    /// Words for the numbers from `low` on.
    words: &'static [&'static str],
}

const MINUTE: Field = field("minute", 0, 59, &[]);
const HOUR: Field = field("hour", 0, 23, &[]);
const DAY: Field = field("day-of-month", 1, 31, &[]);
const MONTH: Field = field(
    "month",
    1,
    12,
    &[
        "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
    ],
);
const WEEKDAY: Field = field("day-of-week", 0, 7, &["sun", "mon", "tue", "wed", "thu", "fri", "sat"]);

/// The last day of each month in a leap year.
const LENGTHS: [u32; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

const fn field(name: &'static str, low: u32, high: u32, words: &'static [&'static str]) -> Field {
    Field { name, low, high, words }
}

impl Field {
    /// The bits of a field's text.
    fn parse(&self, text: &str) -> Result<Bits, String> {
        let refused = |why: String| format!("the {} field {text:?} {why}", self.name);
        text.split(',')
            .try_fold(0, |bits, item| Ok(bits | self.item(item)?))
            .map_err(refused)
    }

    /// One item of a list: `*`, `n`, `a-b`, `*/step` or `a-b/step`.
    fn item(&self, item: &str) -> Result<Bits, String> {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => (range, Some(self.step(step)?)),
            None => (item, None),
        };
        let (first, last) = match range.split_once('-') {
            _ if range == "*" => (self.low, self.high),
            Some((first, last)) => (self.number(first)?, self.number(last)?),
            None => {
                let number = self.number(range)?;
                if let Some(step) = step {
                    return Err(format!(
                        "has a step behind one number; write {number}-{}/{step}",
                        self.high
                    ));
                }
                (number, number)
            }
        };
        if first > last {
            return Err(format!(
                "has the range {range}, which goes down; write it as two, such as {first}-{},{}-{last}",
                self.high, self.low
            ));
        }
        let step = usize::try_from(step.unwrap_or(1)).unwrap_or(usize::MAX);
        Ok((first..=last).step_by(step).fold(0, |bits, number| bits | 1 << number))
    }

    fn number(&self, text: &str) -> Result<u32, String> {
        let (low, high) = (self.low, self.high);
        let word = self.words.iter().position(|word| text.eq_ignore_ascii_case(word));
        if let Some(number) = word.and_then(|at| u32::try_from(at).ok()) {
            return Ok(low + number);
        }
        let number = digits(text).filter(|number| (low..=high).contains(number));
        number.ok_or_else(|| format!("has {text:?} where a number from {low} to {high} belongs; correct it"))
    }

    fn step(&self, text: &str) -> Result<u32, String> {
        let longest = self.high - self.low;
        let step = digits(text).filter(|step| (1..=longest).contains(step));
        step.ok_or_else(|| format!("has the step {text:?}; write one from 1 to {longest}"))
    }
}

/// A number as cron writes it: digits and nothing else.
fn digits(text: &str) -> Option<u32> {
    text.chars().all(|c| c.is_ascii_digit()).then(|| text.parse().ok())?
}

fn has(bits: Bits, number: impl Into<i64>) -> bool {
    let number: i64 = number.into();
    u32::try_from(number).is_ok_and(|number| bits.checked_shr(number).is_some_and(|rest| rest & 1 == 1))
}

/// The lowest number in `bits` that is at least `from`.
fn at_least(bits: Bits, from: u32) -> Option<i8> {
    let rest = bits & u64::MAX.checked_shl(from)?;
    (rest != 0).then(|| i8::try_from(rest.trailing_zeros()).ok())?
}

impl Cron {
    /// Reads an expression. The error is a sentence that names the field and says what to do.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        let &[minute, hour, day, month, weekday] = fields.as_slice() else {
            return Err(wrong_count(text, fields.len()));
        };
        if let Some((stepped, other)) = undecided(day, weekday) {
            return Err(format!(
                "it has {stepped:?} in one day field and {other:?} in the other, and cron programs disagree on whether one or both \
                 must hold; write a range without an asterisk, such as 1-31/2, where one is enough"
            ));
        }
        let weekdays = WEEKDAY.parse(weekday)?;
        let cron = Self {
            minutes: MINUTE.parse(minute)?,
            hours: HOUR.parse(hour)?,
            days: DAY.parse(day)?,
            months: MONTH.parse(month)?,
            // Sunday is 0 and 7.
            weekdays: (weekdays | weekdays >> 7) & 0x7f,
            either: day != "*" && weekday != "*",
        };
        let has_day = |month: u32, length: u32| {
            has(cron.months, month) && at_least(cron.days, 1).is_some_and(|day| i64::from(day) <= i64::from(length))
        };
        if !cron.either && !(1..).zip(LENGTHS).any(|(month, length)| has_day(month, length)) {
            return Err(format!(
                "it never fires: no month of the month field {month:?} has a day of the day-of-month field {day:?}; choose days \
                 that the months have"
            ));
        }
        Ok(cron)
    }

    /// Whether it fires in each hour of its days.
    pub(super) fn is_every_hour(&self) -> bool {
        self.hours == (1 << 24) - 1
    }

    /// The first time after `after`, which may be within the same minute. None at the end of the calendar.
    pub(super) fn next(&self, after: DateTime) -> Option<DateTime> {
        let minute = Time::new(after.hour(), after.minute(), 0, 0).ok()?;
        let start = after.date().to_datetime(minute).checked_add(1.minute()).ok()?;
        if self.is_on(start.date())
            && let Some(time) = self.time(start.hour(), start.minute())
        {
            return Some(start.date().to_datetime(time));
        }
        let mut date = start.date().tomorrow().ok()?;
        while !self.is_on(date) {
            date = if has(self.months, date.month()) {
                date.tomorrow().ok()?
            } else {
                date.last_of_month().tomorrow().ok()?
            };
        }
        Some(date.to_datetime(self.time(0, 0)?))
    }

    fn is_on(&self, date: Date) -> bool {
        let day = has(self.days, date.day());
        let weekday = has(self.weekdays, date.weekday().to_sunday_zero_offset());
        has(self.months, date.month()) && if self.either { day || weekday } else { day && weekday }
    }

    /// The first time of a day that is not before this one.
    fn time(&self, hour: i8, minute: i8) -> Option<Time> {
        let number = |number: i8| u32::try_from(number).ok();
        let in_hour = has(self.hours, hour)
            .then(|| at_least(self.minutes, number(minute)?))
            .flatten();
        let (hour, minute) = match in_hour {
            Some(minute) => (hour, minute),
            None => (at_least(self.hours, number(hour)? + 1)?, at_least(self.minutes, 0)?),
        };
        Time::new(hour, minute, 0, 0).ok()
    }
}

/// The day fields, when one is a step over an asterisk and the other is restricted: Vixie's cron wants both to hold then,
/// that of Kubernetes one.
fn undecided<'a>(day: &'a str, weekday: &'a str) -> Option<(&'a str, &'a str)> {
    let starred = |text: &str| text != "*" && text.contains('*');
    match (day, weekday) {
        (_, "*") | ("*", _) => None,
        _ if starred(day) => Some((day, weekday)),
        _ if starred(weekday) => Some((weekday, day)),
        _ => None,
    }
}

fn wrong_count(text: &str, count: usize) -> String {
    let text = text.trim_start();
    if text.starts_with('@') {
        return "it is a nickname; write the five fields, such as 0 3 * * * for every day at 3:00".to_owned();
    }
    if text.starts_with("TZ=") || text.starts_with("CRON_TZ=") {
        return "it names a time zone; write that into timeZone, and the five fields here".to_owned();
    }
    let seconds = if count > 5 {
        " (seconds and years are not supported: once a minute is the most)"
    } else {
        ""
    };
    format!(
        "it has {count} fields; write five{seconds}: minute, hour, day-of-month, month and day-of-week, such as 0 3 * * * for every day \
         at 3:00"
    )
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cron(text: &str) -> Cron {
        Cron::parse(text).expect(text)
    }

    fn first(text: &str, after: &str, count: usize) -> String {
        let cron = cron(text);
        let after: DateTime = after.parse().unwrap();
        let times = std::iter::successors(cron.next(after), |time| cron.next(*time));
        let times: Vec<String> = times
            .take(count)
            .map(|time| time.strftime("%y-%m-%d %H:%M").to_string())
            .collect();
        times.join(", ")
    }

    #[test]
    fn fires_as_cron_does() {
        // 2026-01-01 is a Thursday.
        for (text, after, expected) in [
            ("* * * * *", "2026-01-01T00:00", "26-01-01 00:01, 26-01-01 00:02"),
            ("* * * * *", "2026-01-01T00:00:59.9", "26-01-01 00:01, 26-01-01 00:02"),
            ("* * * * *", "2025-12-31T23:59:30", "26-01-01 00:00, 26-01-01 00:01"),
            ("0 3 * * *", "2026-01-01T03:00", "26-01-02 03:00, 26-01-03 03:00"),
            ("0 3 * * *", "2026-01-01T02:59:59", "26-01-01 03:00, 26-01-02 03:00"),
            ("*/25 */10 * * *", "2026-01-01T20:25", "26-01-01 20:50, 26-01-02 00:00"),
            ("5-9/2,30 4 * * *", "2026-01-01T04:05", "26-01-01 04:07, 26-01-01 04:09"),
            ("0 0 1,15 * *", "2026-01-01T00:00", "26-01-15 00:00, 26-02-01 00:00"),
            ("0 0 31 * *", "2026-01-31T00:00", "26-03-31 00:00, 26-05-31 00:00"),
            ("0 0 * * 0", "2026-01-01T00:00", "26-01-04 00:00, 26-01-11 00:00"),
            ("0 0 * * 7", "2026-01-01T00:00", "26-01-04 00:00, 26-01-11 00:00"),
            ("0 0 * * 6-7", "2026-01-01T00:00", "26-01-03 00:00, 26-01-04 00:00"),
            ("0 0 * * Mon-FRI", "2026-01-02T00:00", "26-01-05 00:00, 26-01-06 00:00"),
            ("0 0 1 jan,Jul *", "2026-01-01T00:00", "26-07-01 00:00, 27-01-01 00:00"),
            // Both day fields restricted: either is enough.
            ("0 0 13 * 5", "2026-01-03T00:00", "26-01-09 00:00, 26-01-13 00:00"),
            ("0 0 30 2 1", "2026-02-20T00:00", "26-02-23 00:00, 27-02-01 00:00"),
            // Leap days, over a year that is none.
            ("0 0 29 2 *", "2024-02-29T00:00", "28-02-29 00:00, 32-02-29 00:00"),
            ("0 0 29 2 *", "2096-02-29T00:00", "04-02-29 00:00, 08-02-29 00:00"),
            ("59 23 31 12 *", "2025-12-31T23:58", "25-12-31 23:59, 26-12-31 23:59"),
            ("00 007 * * *", "2026-01-01T00:00", "26-01-01 07:00, 26-01-02 07:00"),
        ] {
            assert_eq!(first(text, after, 2), expected, "{text} after {after}");
        }
        assert_eq!(cron("0 0 1 1 *").next(DateTime::MAX), None);
    }

    #[test]
    fn what_is_refused_names_its_field_and_says_what_to_do() {
        for (text, parts) in [
            ("60 * * * *", ["minute field \"60\"", "0 to 59"]),
            ("* 24 * * *", ["hour field", "0 to 23"]),
            ("* * 0 * *", ["day-of-month field", "1 to 31"]),
            ("* * * 13 *", ["month field", "1 to 12"]),
            ("* * * * 8", ["day-of-week field", "0 to 7"]),
            ("* * * FOO *", ["month field", "\"FOO\""]),
            ("MON * * * *", ["minute field", "\"MON\""]),
            ("*/0 * * * *", ["minute field", "step \"0\"; write one from 1 to 59"]),
            ("*/60 * * * *", ["minute field", "1 to 59"]),
            ("0 */24 * * *", ["hour field", "1 to 23"]),
            ("5/10 * * * *", ["minute field", "write 5-59/10"]),
            ("0 22-2 * * *", ["hour field", "22-23,0-2"]),
            ("0 0 L * *", ["day-of-month field", "\"L\""]),
            ("0 0 ? * *", ["day-of-month field", "\"?\""]),
            ("1,,2 * * * *", ["minute field", "\"\""]),
            ("+5 * * * *", ["minute field", "\"+5\""]),
            ("- * * * *", ["minute field", "\"\""]),
            ("99999999999999999999 * * * *", ["minute field", "0 to 59"]),
            ("0 0 */2 * 1", ["\"*/2\" in one day field", "1-31/2"]),
            ("0 0 1 * */2", ["\"*/2\" in one day field", "without an asterisk"]),
            ("* * * * * *", ["6 fields", "once a minute is the most"]),
            ("* * * *", ["4 fields", "write five"]),
            ("", ["0 fields", "write five"]),
            ("@daily", ["nickname", "0 3 * * *"]),
            ("CRON_TZ=UTC 0 3 * * *", ["time zone", "timeZone"]),
        ] {
            let why = Cron::parse(text).expect_err(text);
            assert!(parts.iter().all(|part| why.contains(part)), "{text}: {why}");
        }
        for text in ["0 0 30 2 *", "0 0 31 2,4,6,9,11 *", "0 0 30-31 feb *"] {
            let why = Cron::parse(text).expect_err(text);
            assert!(
                why.contains("never fires") && why.contains("day-of-month field"),
                "{why}"
            );
        }
        for text in ["0 0 30 2 1", "0 0 31 2-5 *", "0 0 29 2 *", "0 0 29,30 2 *"] {
            assert!(Cron::parse(text).is_ok(), "{text}");
        }
    }

    fn field(low: u32, high: u32) -> impl Strategy<Value = String> {
        let number = low..=high;
        let range = (low..=high, low..=high, 1..=(high - low)).prop_map(|(a, b, step)| {
            let (a, b) = (a.min(b), a.max(b));
            format!("{a}-{b}/{step}")
        });
        prop_oneof![
            3 => Just("*".to_owned()),
            1 => (1..=(high - low)).prop_map(|step| format!("*/{step}")),
            2 => number.clone().prop_map(|n| n.to_string()),
            1 => range,
            1 => (number.clone(), number).prop_map(|(a, b)| format!("{a},{b}")),
        ]
    }

    pub(in crate::schedule) fn expression() -> impl Strategy<Value = String> {
        let fields = (field(0, 59), field(0, 23), field(1, 31), field(1, 12), field(0, 7));
        let text =
            fields.prop_map(|(minute, hour, day, month, weekday)| format!("{minute} {hour} {day} {month} {weekday}"));
        text.prop_filter("never fires", |text| Cron::parse(text).is_ok())
    }

    /// Whether a field's text names a number, read in the most simple-minded way.
    fn names(text: &str, low: i64, high: i64, number: i64) -> bool {
        text.split(',').any(|item| {
            let (range, step) = item.split_once('/').unwrap_or((item, "1"));
            let (first, last) = match range.split_once('-') {
                Some((first, last)) => (first.parse().unwrap(), last.parse().unwrap()),
                None if range == "*" => (low, high),
                None => (range.parse().unwrap(), range.parse().unwrap()),
            };
            (first..=last).contains(&number) && (number - first) % step.parse::<i64>().unwrap() == 0
        })
    }

    fn fires(text: &str, at: DateTime) -> bool {
        let fields: Vec<&str> = text.split(' ').collect();
        let weekday = i64::from(at.weekday().to_sunday_zero_offset());
        let day = names(fields[2], 1, 31, at.day().into());
        let weekday = names(fields[4], 0, 7, weekday) || (weekday == 0 && names(fields[4], 0, 7, 7));
        let on = if fields[2] == "*" || fields[4] == "*" {
            day && weekday
        } else {
            day || weekday
        };
        on && names(fields[3], 1, 12, at.month().into())
            && names(fields[1], 0, 23, at.hour().into())
            && names(fields[0], 0, 59, at.minute().into())
    }

    proptest! {
        /// Minute by minute, for as long as that takes no time.
        #[test]
        fn the_next_time_is_the_first_that_matches(text in expression(), minute in 0..4_000_000_i64) {
            let start = jiff::civil::date(2024, 1, 1).at(0, 0, 0, 0) + minute.minutes();
            let next = cron(&text).next(start).unwrap();
            prop_assert!(next > start && fires(&text, next), "{next}");
            let mut at = start + 1.minute();
            for _ in 0..5000 {
                if at == next {
                    break;
                }
                prop_assert!(!fires(&text, at), "{at} was left out, {next} was found");
                at += 1.minute();
            }
        }

        #[test]
        fn parsing_is_total(text in "[-0-9*/,A-Za-z ?#@]{0,20}|\\PC{0,20}") {
            if let Ok(cron) = Cron::parse(&text) {
                let _ = cron.next(jiff::civil::date(2026, 1, 1).at(0, 0, 0, 0));
            }
        }
    }
}
