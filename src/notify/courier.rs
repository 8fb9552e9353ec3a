//! The loop that empties the outbox.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{
    Shared,
    lane::Delivery,
    outbox::{GivenUp, Next, Outcome},
    post::Sender,
};
use crate::server::Beat;

/// What waits at shutdown gets this long.
const GRACE: Duration = Duration::from_secs(2);
/// The loop turns at least this often, for its liveness.
const TURN: Duration = Duration::from_secs(10);

/// Delivers what a [`super::Notifier`] publishes.
#[derive(Debug)]
pub struct Courier {
    shared: Arc<Shared>,
    sender: Arc<Sender>,
}

/// A delivery while it is tried. It is settled whatever becomes of the try: a slot that is not given back is lost.
struct Try {
    shared: Arc<Shared>,
    delivery: Option<Delivery>,
}

impl Try {
    fn end(&mut self, outcome: Outcome) {
        let Some(delivery) = self.delivery.take() else { return };
        let given_up = self.shared.outbox.lock().settle(delivery, outcome, Instant::now());
        self.shared.changed.notify_one();
        if let Some(GivenUp { delivery, why }) = given_up {
            log(&delivery, &why);
        }
    }
}

impl Drop for Try {
    fn drop(&mut self) {
        let why = "the try was broken off".to_owned();
        self.end(Outcome::Later { why, wait: None });
    }
}

impl Courier {
    pub(super) fn new(shared: Arc<Shared>, sender: Sender) -> Self {
        let sender = Arc::new(sender);
        Self { shared, sender }
    }

    /// Delivers until `shutdown`, and then what can be delivered within two seconds. Errors never come out of here: they
    /// are logged and counted.
    pub async fn run(self, beat: Option<Beat>, shutdown: CancellationToken) {
        let mut tries = JoinSet::new();
        while !shutdown.is_cancelled() {
            if let Some(beat) = &beat {
                beat.tick();
            }
            let turn = Instant::now() + TURN;
            let until = self.start(&mut tries).map_or(turn, |until| until.min(turn));
            while tries.try_join_next().is_some() {}
            tokio::select! {
                () = tokio::time::sleep_until(until.into()) => {}
                () = self.shared.changed.notified() => {}
                () = shutdown.cancelled() => {}
            }
        }
        let rest = async {
            self.start(&mut tries);
            while tries.join_next().await.is_some() {
                self.start(&mut tries);
            }
        };
        let _ = tokio::time::timeout(GRACE, rest).await;
        let left = self.shared.outbox.lock().waiting() + tries.len();
        if left > 0 {
            tracing::warn!(left, "notifications left undelivered at shutdown");
        }
    }

    /// Starts all tries that may start now. Some is when to look again.
    fn start(&self, tries: &mut JoinSet<()>) -> Option<Instant> {
        loop {
            let next = self.shared.outbox.lock().next(Instant::now());
            match next {
                Next::Send(delivery) => {
                    let sender = Arc::clone(&self.sender);
                    let mut this = Try {
                        shared: Arc::clone(&self.shared),
                        delivery: Some(*delivery),
                    };
                    tries.spawn(async move {
                        if let Some(delivery) = &this.delivery {
                            let outcome = sender.attempt(delivery).await;
                            this.end(outcome);
                        }
                    });
                }
                Next::Stale(delivery) => log(&delivery, "it waited for too long"),
                Next::Sleep(until) => return Some(until),
                Next::Idle => return None,
            }
        }
    }
}

/// One line for each delivery that is given up. Of the address it has the host at the most.
fn log(delivery: &Delivery, why: &str) {
    let (event, target) = (&delivery.event, &delivery.target);
    tracing::warn!(
        namespace = event.subject.namespace,
        name = event.subject.name,
        reason = event.reason.as_str(),
        notification = target.name,
        to = %target.place,
        tries = delivery.tries,
        "notification given up: {why}"
    );
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;
    use tokio::sync::Notify;

    use super::*;
    use crate::{
        metrics::Metrics,
        notify::{
            event::Event,
            outbox::Outbox,
            policy::NotifyLimits,
            test::{notice, target},
        },
    };

    #[test]
    fn a_try_that_is_broken_off_gives_its_turn_back() {
        let limits = NotifyLimits {
            first_pause: Duration::ZERO,
            ..NotifyLimits::default()
        };
        let shared = Arc::new(Shared {
            outbox: Mutex::new(Outbox::new(limits, Metrics::new())),
            changed: Notify::new(),
        });
        let event = Event::of(notice("a")).unwrap();
        let next = || shared.outbox.lock().next(Instant::now());
        shared
            .outbox
            .lock()
            .offer(event, vec![target("https://x.example/")], Instant::now());
        let mut tries = 0;
        while let Next::Send(delivery) = next() {
            assert!(matches!(next(), Next::Idle), "one at once");
            tries += 1;
            let delivery = Some(*delivery);
            drop(Try {
                shared: Arc::clone(&shared),
                delivery,
            });
        }
        assert_eq!(tries, 5);
    }
}
