//! Leader election with a Lease: at most one replica acts at any time.
//!
//! It has client-go's semantics (`k8s.io/client-go/tools/leaderelection`), with its known gaps closed:
//!
//! - A leader's term ends `renew_deadline` after it **sent** its last successful renewal. Another replica takes over no
//!   sooner than `lease_duration` after it **saw** that renewal. Both are measured on the local monotonic clock, so wrong
//!   wall clocks do no harm, and two leaders at once are impossible while no clock runs faster than another by more than
//!   `lease_duration / renew_deadline` (1.5 by default).
//! - Each write is a compare-and-swap on `resourceVersion`: of two candidates one gets 409.
//! - [`Leadership::is_leader`] compares with the clock at each call. A process that was frozen (SIGSTOP, a long page
//!   fault) is no longer leader at its first instruction after the thaw, before any timer has run.
//! - A leader that loses its term never leads again: its work is cancelled and the process must exit.
//! - A Lease that was deleted by hand is treated like one that was just renewed by somebody else.
//!
//! `CLOCK_MONOTONIC` stands still while a whole machine is suspended, and no lease can fence a request that is already on
//! the wire. Both are caught one level down: intents are written with the `resourceVersion` that was decided on, and a job
//! is named before it is submitted.

mod election;
mod elector;
mod lease;
#[cfg(test)]
mod simulation;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use election::{Election, ElectionError, Lost, unique_identity};
pub use elector::{Decision, Record, decide};

/// The three durations of an election.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// How long others wait after the last renewal that they saw.
    pub lease_duration: Duration,
    /// How long the leader goes on after it sent its last successful renewal.
    pub renew_deadline: Duration,
    /// Time between two renewals, and between two looks of a candidate.
    pub retry_period: Duration,
}

impl Default for Timing {
    /// client-go's: 15 s, 10 s, 2 s.
    fn default() -> Self {
        Self {
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        }
    }
}

/// Durations with which an election is not safe, or not stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "leader election needs lease duration > renew deadline > 2 x retry period > 0, got {} s, {} s and {} s",
    .0.lease_duration.as_secs_f32(), .0.renew_deadline.as_secs_f32(), .0.retry_period.as_secs_f32()
)]
pub struct InvalidTiming(Timing);

impl Timing {
    /// Checks that the durations fit together.
    ///
    /// # Errors
    /// [`InvalidTiming`] unless the lease outlives the renew deadline, and that leaves time for a second try.
    pub fn checked(self) -> Result<Self, InvalidTiming> {
        let fits = self.lease_duration > self.renew_deadline
            && self.renew_deadline > self.retry_period * 2
            && !self.retry_period.is_zero();
        fits.then_some(self).ok_or(InvalidTiming(self))
    }
}

/// Whether this process may act. Cheap to clone and to ask.
#[derive(Debug, Clone)]
pub struct Leadership {
    term: Arc<Term>,
}

#[derive(Debug)]
struct Term {
    /// What `until` counts from.
    origin: Instant,
    /// End of the term in nanoseconds since `origin`; 0 = not leader.
    until: AtomicU64,
    /// Turns true once, when the first term begins.
    begun: watch::Sender<bool>,
    /// Cancelled when a term is over, for good.
    lost: CancellationToken,
}

/// Longer than any process lives, and far from overflow.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

impl Leadership {
    fn candidate() -> Self {
        let term = Term {
            origin: Instant::now(),
            until: AtomicU64::new(0),
            begun: watch::Sender::new(false),
            lost: CancellationToken::new(),
        };
        Self { term: Arc::new(term) }
    }

    /// The handle of a process that takes part in no election (`--leader-elect=false`) and always acts.
    #[must_use]
    pub fn always() -> Self {
        let leadership = Self::candidate();
        leadership.extend(leadership.term.origin + FOREVER);
        leadership
    }

    /// True while the term lasts, judged now.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        Instant::now() < self.valid_until() && !self.term.lost.is_cancelled()
    }

    /// When the term ends unless it is renewed; in the past when this process is not the leader.
    ///
    /// Check it right before each effect, with the time that the effect may take in mind.
    #[must_use]
    pub fn valid_until(&self) -> Instant {
        self.term.origin + Duration::from_nanos(self.term.until.load(Ordering::Acquire))
    }

    /// Waits for the first term; at once if it has begun. Never resolves if there will be none.
    pub async fn acquired(&self) {
        let mut begun = self.term.begun.subscribe();
        if begun.wait_for(|begun| *begun).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Cancelled when a term is over. All work must stop then, and the process must exit.
    ///
    /// Not cancelled for a candidate that still waits for its first term.
    #[must_use]
    pub fn lost(&self) -> CancellationToken {
        self.term.lost.clone()
    }

    fn extend(&self, until: Instant) {
        let nanos = until.saturating_duration_since(self.term.origin).as_nanos();
        self.term
            .until
            .store(u64::try_from(nanos).unwrap_or(u64::MAX), Ordering::Release);
        self.term
            .begun
            .send_if_modified(|begun| !std::mem::replace(begun, true));
    }

    fn end(&self) {
        self.term.until.store(0, Ordering::Release);
        if *self.term.begun.borrow() {
            self.term.lost.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_timing_is_sound_and_others_are_checked() {
        assert!(Timing::default().checked().is_ok());
        let seconds = |lease, renew, retry| Timing {
            lease_duration: Duration::from_secs(lease),
            renew_deadline: Duration::from_secs(renew),
            retry_period: Duration::from_secs(retry),
        };
        for unsound in [
            seconds(10, 10, 2),
            seconds(15, 4, 2),
            seconds(15, 10, 0),
            seconds(8, 10, 2),
        ] {
            let message = unsound.checked().unwrap_err().to_string();
            assert!(message.starts_with("leader election needs"), "{message}");
        }
    }

    #[test]
    fn a_candidate_is_no_leader_until_it_is_told_and_not_after_its_term() {
        let leadership = Leadership::candidate();
        assert!(!leadership.is_leader());
        leadership.extend(Instant::now() + Duration::from_millis(20));
        assert!(leadership.is_leader());
        std::thread::sleep(Duration::from_millis(25));
        assert!(!leadership.is_leader(), "without any timer having run");
        leadership.end();
        assert!(leadership.lost().is_cancelled());
        leadership.extend(Instant::now() + Duration::from_secs(10));
        assert!(!leadership.is_leader(), "what was lost stays lost");
    }

    #[tokio::test]
    async fn without_an_election_it_always_leads() {
        let leadership = Leadership::always();
        leadership.acquired().await;
        assert!(leadership.is_leader() && !leadership.lost().is_cancelled());
        assert!(leadership.valid_until() > Instant::now() + Duration::from_secs(365 * 24 * 3600));
    }
}
