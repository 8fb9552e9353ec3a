//! The times of the protocol.

use std::time::Duration;

use jiff::Timestamp;

/// A submission is sent within this time of the write that decided on it, or not at all.
pub const SUBMIT_WITHIN: Duration = Duration::from_secs(30);

/// How long after its last possible moment a request may still take effect: a frozen JobManager that thaws, a proxy that
/// delivers late.
pub const SETTLE: Duration = Duration::from_secs(600);

/// How long a submission whose sender is not known to have died is left alone before it is repeated.
pub const SUBMIT_GRACE: Duration = Duration::from_secs(5);

/// How long until a cancellation that was accepted, but shows no effect, is sent again.
pub const CANCEL_AGAIN: Duration = Duration::from_secs(20);

/// How long to wait before the `tries + 1`st submission: 5 s doubling up to five minutes. Each repeat may run `main()`
/// again, and a `main()` that hangs keeps a thread of the JobManager.
#[must_use]
pub fn submit_again(tries: i32) -> Duration {
    let doublings = u32::try_from(tries.clamp(1, 7) - 1).unwrap_or_default();
    (SUBMIT_GRACE * 2_u32.pow(doublings)).min(Duration::from_secs(300))
}

/// How long to wait after the `tries`th stop with savepoint that failed: 10 s doubling up to ten minutes. A savepoint that
/// fails can restart the job.
#[must_use]
pub fn stop_again(tries: i32) -> Duration {
    let doublings = u32::try_from(tries.clamp(1, 7) - 1).unwrap_or_default();
    Duration::from_secs(10 * 2_u64.pow(doublings)).min(Duration::from_secs(600))
}

/// The time that much later. Statuses can be edited by people, so that no time in them may overflow.
#[must_use]
pub(crate) fn after(time: Timestamp, pause: Duration) -> Timestamp {
    time.checked_add(pause).unwrap_or(Timestamp::MAX)
}

/// The time that much earlier.
#[must_use]
pub(super) fn before(time: Timestamp, pause: Duration) -> Timestamp {
    time.checked_sub(pause).unwrap_or(Timestamp::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_get_rarer_up_to_five_minutes() {
        let seconds: Vec<u64> = [-1, 1, 2, 3, 4, 5, 6, 7, 99]
            .map(|tries| submit_again(tries).as_secs())
            .to_vec();
        assert_eq!(seconds, [5, 5, 10, 20, 40, 80, 160, 300, 300]);
    }

    #[test]
    fn times_saturate() {
        assert_eq!(after(Timestamp::MAX, SETTLE), Timestamp::MAX);
        assert_eq!(before(Timestamp::MIN, SETTLE), Timestamp::MIN);
    }
}
