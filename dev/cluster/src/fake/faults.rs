//! Faults by rule: which request, and what goes wrong with it.

use std::{
    ops::RangeInclusive,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;

/// What happens to a request instead of, or on top of, its handling.
#[derive(Debug, Clone)]
pub enum Action {
    /// Handled after a delay.
    Delay(Duration),
    /// Handled at once, answered after a delay.
    DelayReply(Duration),
    /// Neither handled nor answered.
    Hang,
    /// Handled, never answered.
    HandleThenHang,
    /// Not handled; the connection is closed.
    Drop,
    /// Handled; the connection is closed instead of an answer.
    HandleThenDrop,
    /// Not handled; this is the answer.
    Answer(Reply),
    /// Handled; this is the answer.
    HandleThenAnswer(Reply),
    /// Handled; the body is cut after so many bytes, though its full length was announced.
    Truncate(usize),
    /// Handled; the body comes one byte at a time, so far apart.
    Drip(Duration),
    /// Not handled; a body of zeros that never ends.
    Endless,
}

/// An answer that Flink did not write.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// Headers beside the length.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
}

impl Reply {
    /// A JSON body.
    pub fn json(status: u16, body: impl Into<String>) -> Self {
        Self::new(status, "application/json", body.into().into())
    }

    /// An HTML page, as proxies and login pages answer.
    #[must_use]
    pub fn html(status: u16) -> Self {
        Self::new(
            status,
            "text/html",
            Bytes::from_static(b"<html><body>Please log in</body></html>"),
        )
    }

    /// Bytes of any kind.
    pub fn garbage(status: u16, body: impl Into<Bytes>) -> Self {
        Self::new(status, "application/json", body.into())
    }

    /// A redirect.
    #[must_use]
    pub fn redirect(to: &str) -> Self {
        Self {
            headers: vec![("location".to_owned(), to.to_owned())],
            ..Self::json(307, "")
        }
    }

    fn new(status: u16, content_type: &str, body: Bytes) -> Self {
        Self {
            status,
            headers: vec![("content-type".to_owned(), content_type.to_owned())],
            body,
        }
    }
}

/// A rule: the requests of one endpoint, the first of them or all, and what happens to them.
#[derive(Debug, Clone)]
pub struct Fault {
    method: String,
    endpoint: String,
    nth: RangeInclusive<u64>,
    action: Action,
}

impl Fault {
    /// A rule for an endpoint, given as method and template: `POST`, `/jars/:jarid/run`. `*` stands for any.
    #[must_use]
    pub fn on(method: &str, endpoint: &str, action: Action) -> Self {
        Self {
            method: method.to_owned(),
            endpoint: endpoint.to_owned(),
            nth: 1..=u64::MAX,
            action,
        }
    }

    /// Only for the nth matching request from now, counted from one.
    #[must_use]
    pub fn nth(self, n: u64) -> Self {
        Self { nth: n..=n, ..self }
    }

    /// Only for the first n matching requests.
    #[must_use]
    pub fn first(self, n: u64) -> Self {
        Self { nth: 1..=n, ..self }
    }
}

/// An installed rule: how often it acted, and a way to take it out again.
#[derive(Debug, Clone)]
pub struct Injected {
    seen: Arc<AtomicU64>,
    acted: Arc<watch::Sender<u64>>,
    removed: Arc<watch::Sender<bool>>,
}

impl Injected {
    /// How many requests it acted on.
    #[must_use]
    pub fn hits(&self) -> u64 {
        *self.acted.borrow()
    }

    /// Waits until it has acted on `n` requests: for [`Action::HandleThenHang`] and its kind, after they were handled.
    pub async fn wait_for_hits(&self, n: u64) {
        // Cannot fail: the sender is held by `self`.
        let _ = self.acted.subscribe().wait_for(|hits| *hits >= n).await;
    }

    /// Takes the rule out. Requests that hang because of it are let go: their connections are closed.
    pub fn remove(&self) {
        self.removed.send_replace(true);
    }

    /// Tells that it acted.
    pub(super) fn hit(&self) {
        self.acted.send_modify(|hits| *hits += 1);
    }

    /// Ends when the rule is taken out.
    pub(super) async fn until_removed(&self) {
        let _ = self.removed.subscribe().wait_for(|removed| *removed).await;
    }
}

/// All rules, in the order in which they were installed.
#[derive(Default)]
pub(super) struct Faults(Mutex<Vec<(Fault, Injected)>>);

impl Faults {
    pub(super) fn inject(&self, fault: Fault) -> Injected {
        let injected = Injected {
            seen: Arc::default(),
            acted: Arc::new(watch::Sender::new(0)),
            removed: Arc::new(watch::Sender::new(false)),
        };
        self.0.lock().push((fault, injected.clone()));
        injected
    }

    pub(super) fn clear(&self) {
        self.0.lock().drain(..).for_each(|(_, injected)| injected.remove());
    }

    /// The first rule that acts on a request. Each rule counts the requests that it matches.
    pub(super) fn of(&self, method: &str, endpoint: &str) -> Option<(Action, Injected)> {
        let mut rules = self.0.lock();
        rules.retain(|(_, injected)| !*injected.removed.borrow());
        let matching = rules.iter().filter(|(fault, _)| {
            (fault.method == "*" || fault.method == method) && (fault.endpoint == "*" || fault.endpoint == endpoint)
        });
        let mut acting = matching.filter(|(fault, injected)| {
            let n = injected.seen.fetch_add(1, Ordering::Relaxed) + 1;
            fault.nth.contains(&n)
        });
        acting
            .next()
            .map(|(fault, injected)| (fault.action.clone(), injected.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_acts_on_its_endpoint_and_its_turn() {
        let faults = Faults::default();
        let second = faults.inject(Fault::on("POST", "/jars/:jarid/run", Action::Hang).nth(2));
        let any = faults.inject(Fault::on("*", "*", Action::Drop).first(1));
        let acts = |method, endpoint| faults.of(method, endpoint).map(|(action, _)| action);
        assert!(matches!(acts("POST", "/jars/:jarid/run"), Some(Action::Drop)));
        assert!(matches!(acts("POST", "/jars/:jarid/run"), Some(Action::Hang)));
        assert!(acts("POST", "/jars/:jarid/run").is_none());
        assert!(acts("GET", "/jobs/overview").is_none());
        second.remove();
        any.remove();
        faults.clear();
        assert!(acts("POST", "/jars/:jarid/run").is_none());
    }
}
