//! Gates: where a request waits until the test lets it go on.

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::oneshot;

/// When a request is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Moment {
    /// It has arrived here; the server knows nothing of it.
    BeforeForward,
    /// The server has carried it out and answered; the client knows nothing of that.
    AfterForward,
    /// The client has its answer. There is nothing to hold any more.
    AfterReply,
}

impl Moment {
    /// All, in order.
    pub const ALL: [Self; 3] = [Self::BeforeForward, Self::AfterForward, Self::AfterReply];

    /// As a word for names.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BeforeForward => "before-forward",
            Self::AfterForward => "after-forward",
            Self::AfterReply => "after-reply",
        }
    }
}

/// Which write is held, and when.
#[derive(Debug, Clone)]
pub struct Rule {
    method: String,
    path: String,
    nth: u64,
    moment: Moment,
}

impl Rule {
    /// The first write with this method and path. A segment `*` of the path stands for any one segment.
    #[must_use]
    pub fn on(method: &str, path: &str, moment: Moment) -> Self {
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            nth: 1,
            moment,
        }
    }

    /// The nth of them, counted from one.
    #[must_use]
    pub fn nth(self, nth: u64) -> Self {
        Self { nth, ..self }
    }

    /// Whether a request has this method and path, whichever it is of them.
    #[must_use]
    pub fn matches(&self, method: &str, path: &str) -> bool {
        self.method == method && matches(&self.path, path)
    }
}

/// Whether a path fits a pattern in which a segment `*` stands for any one.
pub(super) fn matches(pattern: &str, path: &str) -> bool {
    let (mut pattern, mut path) = (pattern.split('/'), path.split('/'));
    loop {
        match (pattern.next(), path.next()) {
            (None, None) => return true,
            (Some(wanted), Some(segment)) if wanted == "*" || wanted == segment => {}
            _ => return false,
        }
    }
}

/// What is done with a held request.
#[derive(Debug)]
pub(super) enum Verdict {
    Pass,
    Cut,
    Answer(u16, Bytes),
}

/// Waits for one request. Dropped, it lets that request pass.
#[derive(Debug)]
pub struct Gate {
    held: oneshot::Receiver<Held>,
}

impl Gate {
    /// The request, once it is there. Call it once; it never ends when the proxy is gone.
    pub async fn reached(&mut self) -> Held {
        match (&mut self.held).await {
            Ok(held) => held,
            Err(_) => std::future::pending().await,
        }
    }
}

/// A request that is held. Dropped, it goes on.
#[derive(Debug)]
pub struct Held {
    verdict: oneshot::Sender<Verdict>,
}

impl Held {
    /// Lets it go on: to the server, or back to the client.
    pub fn pass(self) {
        let _ = self.verdict.send(Verdict::Pass);
    }

    /// Drops it and closes the client's connection.
    pub fn cut(self) {
        let _ = self.verdict.send(Verdict::Cut);
    }

    /// Drops it and gives the client this answer.
    pub fn answer(self, status: u16, body: impl Into<Bytes>) {
        let _ = self.verdict.send(Verdict::Answer(status, body.into()));
    }
}

/// The proxy's end of a gate.
#[derive(Debug)]
pub(super) struct Stop {
    pub(super) moment: Moment,
    held: oneshot::Sender<Held>,
}

impl Stop {
    /// Hands the request over and waits for the verdict.
    pub(super) async fn hold(self) -> Verdict {
        let (verdict, told) = oneshot::channel();
        let _ = self.held.send(Held { verdict });
        told.await.unwrap_or(Verdict::Pass)
    }
}

#[derive(Debug)]
struct Open {
    rule: Rule,
    seen: u64,
    held: oneshot::Sender<Held>,
}

/// The gates that wait, in the order in which they were made.
#[derive(Debug, Default)]
pub(super) struct Gates(Mutex<Vec<Open>>);

impl Gates {
    pub(super) fn open(&self, rule: Rule) -> Gate {
        let (sender, held) = oneshot::channel();
        self.0.lock().push(Open {
            rule,
            seen: 0,
            held: sender,
        });
        Gate { held }
    }

    /// The gate that a request runs into. Each counts what it matches.
    pub(super) fn of(&self, method: &str, path: &str) -> Option<Stop> {
        let mut gates = self.0.lock();
        gates.retain(|open| !open.held.is_closed());
        let mut turn = None;
        for (index, open) in gates.iter_mut().enumerate() {
            if open.rule.matches(method, path) {
                open.seen += 1;
                if open.seen == open.rule.nth && turn.is_none() {
                    turn = Some(index);
                }
            }
        }
        let open = gates.remove(turn?);
        Some(Stop {
            moment: open.rule.moment,
            held: open.held,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_segment_by_segment() {
        assert!(matches("/jars/*/run", "/jars/a_b.jar/run"));
        assert!(!matches("/jars/*/run", "/jars/upload"));
        assert!(!matches("/jars/*", "/jars/a/run"));
    }

    #[tokio::test]
    async fn the_nth_request_is_held_once() {
        let gates = Gates::default();
        let mut gate = gates.open(Rule::on("PATCH", "/jobs/*", Moment::AfterForward).nth(2));
        let gone = gates.open(Rule::on("PATCH", "/jobs/*", Moment::BeforeForward));
        drop(gone);
        assert!(gates.of("PATCH", "/jobs/1").is_none());
        assert!(gates.of("GET", "/jobs/1").is_none());
        let stop = gates.of("PATCH", "/jobs/2").unwrap();
        assert!(gates.of("PATCH", "/jobs/3").is_none());
        let (verdict, ()) = tokio::join!(stop.hold(), async { gate.reached().await.cut() });
        assert!(matches!(verdict, Verdict::Cut));
    }
}
