//! The times of the protocol.

use std::time::Duration;

/// A submission is sent within this time of the write that decided on it, or not at all.
pub const SUBMIT_WITHIN: Duration = Duration::from_secs(30);

/// How long after its last possible moment a request may still take effect: a frozen JobManager that thaws, a proxy that
/// delivers late.
pub const SETTLE: Duration = Duration::from_secs(600);

/// How long a submission whose sender is not known to have died is left alone before it is repeated.
pub const SUBMIT_GRACE: Duration = Duration::from_secs(5);

/// How long until a cancellation that was accepted, but shows no effect, is sent again.
pub const CANCEL_AGAIN: Duration = Duration::from_secs(20);

/// How long to wait before the `tries + 1`st submission: 5 s doubling up to a minute.
#[must_use]
pub fn submit_again(tries: i32) -> Duration {
    let doublings = u32::try_from(tries.clamp(1, 5) - 1).unwrap_or_default();
    (SUBMIT_GRACE * 2_u32.pow(doublings)).min(Duration::from_secs(60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_get_rarer_up_to_a_minute() {
        let seconds: Vec<u64> = [-1, 1, 2, 3, 4, 5, 99]
            .map(|tries| submit_again(tries).as_secs())
            .to_vec();
        assert_eq!(seconds, [5, 5, 10, 20, 40, 60, 60]);
    }
}
