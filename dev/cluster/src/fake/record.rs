//! What tests ask the fake afterwards: every request, and every job, savepoint, stop and disposal that was accepted, across
//! restarts of the JobManager.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;

use super::job::{Id, Mark};

/// A submission that the JobManager accepted: the truth about what ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    /// The job's id.
    pub job_id: String,
    /// When it was accepted.
    pub time: Timestamp,
    /// The jar it ran from; empty for a job that did not come through REST.
    pub jar_id: String,
    /// The entry class of the request.
    pub entry_class: Option<String>,
    /// The arguments of the request.
    pub args: Vec<String>,
    /// The configuration of the request.
    pub flink_configuration: BTreeMap<String, String>,
    /// The savepoint of the request.
    pub savepoint_path: Option<String>,
    /// The parallelism of the job.
    pub parallelism: u32,
}

/// What a trigger asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OperationKind {
    /// A savepoint of a job that goes on.
    Savepoint,
    /// A savepoint after which the job ends.
    Stop,
    /// Files are to be deleted.
    Disposal,
}

/// How an operation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OperationEnd {
    /// It is under way, or hangs.
    UnderWay,
    /// It is done; after a stop, the job is FINISHED.
    Completed,
    /// It failed, at once or later.
    Failed,
    /// Its process died before.
    Lost,
}

/// A savepoint, a stop or a disposal that the JobManager accepted: the truth about what was asked of it. A trigger that it
/// still knew is not accepted again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FakeOperation {
    /// What was asked for.
    pub kind: OperationKind,
    /// The job, which need not exist; `None` for disposals.
    pub job_id: Option<String>,
    /// The trigger.
    pub trigger_id: String,
    /// The target directory, or the path that is disposed of, as it was written in the request.
    pub directory: String,
    /// When it was accepted.
    pub time: Timestamp,
    /// The path of its savepoint, once that is complete, also where the job did not end with it.
    pub location: Option<String>,
    /// How it ended.
    pub end: OperationEnd,
}

/// A request that changes something, as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EffectSeen {
    /// When it arrived.
    pub time: Timestamp,
    /// `POST`, `PATCH` or `DELETE`.
    pub method: String,
    /// The path with its ids, without a query.
    pub path: String,
}

#[derive(Default)]
pub(super) struct Record {
    pub(super) requests: BTreeMap<(String, &'static str), u64>,
    pub(super) effects: Vec<EffectSeen>,
    pub(super) body_bytes_sent: u64,
    pub(super) submissions: Vec<Submission>,
    pub(super) operations: Vec<FakeOperation>,
    pub(super) main_calls: u64,
    pub(super) recoveries: u64,
    under_way: HashMap<(String, &'static str), usize>,
    most_under_way: HashMap<(String, &'static str), usize>,
    live: HashMap<Mark, usize>,
    most_live: HashMap<Mark, usize>,
}

impl Record {
    pub(super) fn arrived(&mut self, method: &str, path: &str, template: &'static str) {
        *self.requests.entry((method.to_owned(), template)).or_default() += 1;
        if method != "GET" {
            self.effects.push(EffectSeen {
                time: Timestamp::now(),
                method: method.to_owned(),
                path: path.to_owned(),
            });
        }
    }

    /// The handling of a request begins.
    pub(super) fn entered(&mut self, method: &str, template: &'static str) {
        let key = (method.to_owned(), template);
        let now = self.under_way.entry(key.clone()).or_default();
        *now += 1;
        let most = self.most_under_way.entry(key).or_default();
        *most = (*most).max(*now);
    }

    /// The handling of a request has ended.
    pub(super) fn left(&mut self, method: &str, template: &'static str) {
        if let Some(now) = self.under_way.get_mut(&(method.to_owned(), template)) {
            *now = now.saturating_sub(1);
        }
    }

    pub(super) fn most_at_once(&self, method: &str, template: &str) -> usize {
        let mut most = self.most_under_way.iter();
        most.find(|((m, t), _)| m == method && *t == template)
            .map_or(0, |(_, most)| *most)
    }

    pub(super) fn began(&mut self, id: Id) {
        let live = self.live.entry(id.mark()).or_default();
        *live += 1;
        let most = self.most_live.entry(id.mark()).or_default();
        *most = (*most).max(*live);
    }

    pub(super) fn ended(&mut self, id: Id) {
        if let Some(live) = self.live.get_mut(&id.mark()) {
            *live = live.saturating_sub(1);
        }
    }

    pub(super) fn most_live_of(&self, mark: Mark) -> usize {
        self.most_live.get(&mark).copied().unwrap_or_default()
    }

    pub(super) fn most_live(&self) -> Option<(Mark, usize)> {
        self.most_live
            .iter()
            .max_by_key(|(_, n)| **n)
            .map(|(mark, n)| (*mark, *n))
    }
}
