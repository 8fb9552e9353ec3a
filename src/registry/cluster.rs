//! One cluster: what its poller has published, and what others want from it.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;

use super::{Facts, SessionKey, Snapshot};
use crate::{
    api::Reason,
    flink::{ClusterEndpoint, EndpointError, FlinkClient, JobId, UidHash},
    job::{Refusal, Slots},
    metrics::{FlinkEndpoint, FlinkOutcome, Metrics},
};

/// A client for a cluster, equal to another when it leads to the same place with the same credentials.
#[derive(Debug, Clone)]
pub struct Connection {
    /// The client.
    pub client: FlinkClient,
    /// The address, without credentials.
    pub url: Arc<str>,
    /// What the client was built from.
    pub endpoint: Arc<ClusterEndpoint>,
}

impl Connection {
    /// Builds a client whose requests are counted.
    pub fn new(endpoint: ClusterEndpoint, metrics: &Metrics) -> Result<Self, EndpointError> {
        let metrics = metrics.clone();
        let client = FlinkClient::new(&endpoint)?.with_observer(Arc::new(move |call, outcome, took| {
            metrics.flink_request(measured(call), came_to(outcome), took);
        }));
        let url = endpoint.url.as_str().trim_end_matches('/').into();
        Ok(Self {
            client,
            url,
            endpoint: Arc::new(endpoint),
        })
    }
}

/// The metric's word for an endpoint of the client.
fn measured(call: &str) -> FlinkEndpoint {
    match call {
        "GET /jobs/overview" => FlinkEndpoint::JobsOverview,
        "GET /overview" => FlinkEndpoint::Overview,
        "GET /config" => FlinkEndpoint::Config,
        "GET /jobmanager/config" => FlinkEndpoint::JobManagerConfig,
        "GET /jobs/:jobid/exceptions" => FlinkEndpoint::JobExceptions,
        "GET /jobs/:jobid/checkpoints" | "GET /jobs/:jobid/checkpoints/config" => FlinkEndpoint::JobCheckpoints,
        "POST /jobs/:jobid/savepoints" | "GET /jobs/:jobid/savepoints/:triggerid" => FlinkEndpoint::Savepoint,
        "POST /jobs/:jobid/stop" => FlinkEndpoint::StopJob,
        "POST /savepoint-disposal" | "GET /savepoint-disposal/:triggerid" => FlinkEndpoint::DisposeSavepoint,
        "GET /jars" => FlinkEndpoint::Jars,
        "POST /jars/upload" => FlinkEndpoint::UploadJar,
        "POST /jars/:jarid/run" => FlinkEndpoint::RunJar,
        "DELETE /jars/:jarid" => FlinkEndpoint::DeleteJar,
        "PATCH /jobs/:jobid" => FlinkEndpoint::CancelJob,
        _ => FlinkEndpoint::Job,
    }
}

/// The metric's word for what a request came to: `ok`, or the class of an error.
fn came_to(outcome: &str) -> FlinkOutcome {
    match outcome {
        "ok" => FlinkOutcome::Done,
        "not_sent" => FlinkOutcome::NotSent,
        "timeout" | "lost" | "unavailable" => FlinkOutcome::Unknown,
        "not_flink" | "too_large" => FlinkOutcome::Unreadable,
        "unauthorized" => FlinkOutcome::Unauthorized,
        _ => FlinkOutcome::Refused,
    }
}

impl PartialEq for Connection {
    fn eq(&self, other: &Self) -> bool {
        self.endpoint == other.endpoint
    }
}

/// Whether a cluster answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// It was not asked yet.
    NotPolled,
    /// It answers.
    Up,
    /// It does not, for this reason.
    Down(Refusal),
}

/// Slots and TaskManagers, as `/overview` counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overview {
    /// All slots.
    pub total: i32,
    /// Free slots.
    pub available: i32,
    /// Registered TaskManagers.
    pub task_managers: i32,
    /// When the request for it was begun.
    pub started: Instant,
}

/// What the poller has published.
#[derive(Debug, Clone)]
pub struct State {
    /// Whether the cluster answers.
    pub reach: Reach,
    /// The newest job list.
    pub snapshot: Arc<Snapshot>,
    /// The JobManager process, and when the request that identified it was begun.
    pub job_manager: Option<(Arc<str>, Instant)>,
    /// When the request was begun that saw this JobManager process first. A job list that is older may be another's.
    pub identified_since: Instant,
    /// What the process said about itself.
    pub facts: Facts,
    /// Flink's version.
    pub flink_version: Option<Arc<str>>,
    /// Whether it takes jars.
    pub submission_enabled: bool,
    /// Slots and TaskManagers.
    pub overview: Option<Overview>,
}

/// What is wanted of the next polls.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    /// Who wants a job list from now on, and the identity of the JobManager after it.
    pub(super) confirm: HashSet<UidHash>,
    /// Who wants fresh slots.
    pub(super) slots: HashSet<UidHash>,
    /// Resources with a job in transition, until when.
    pub(super) attention: HashMap<UidHash, Instant>,
    /// Slots that were granted to a job, and that `/overview` may not show yet.
    pub(super) reserved: HashMap<UidHash, Reserved>,
}

/// Slots that were granted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reserved {
    /// To this job.
    pub(super) job_id: JobId,
    /// How many.
    pub(super) slots: i32,
    /// When.
    pub(super) granted: Instant,
}

/// One cluster that is followed.
#[derive(Debug)]
pub struct Cluster {
    key: SessionKey,
    connection: Connection,
    state: RwLock<Arc<State>>,
    wishes: Mutex<Wishes>,
    turns: Semaphore,
    pub(super) poked: Notify,
    pub(super) stopped: CancellationToken,
}

/// Requests at once to one cluster, besides the poll, submissions and uploads.
const TURNS: usize = 8;

/// How long a count of the slots is good.
pub(super) const OVERVIEW_AGE: Duration = Duration::from_secs(5);

impl Cluster {
    pub(super) fn new(key: SessionKey, connection: Connection) -> Self {
        let state = State {
            reach: Reach::NotPolled,
            snapshot: Arc::new(Snapshot::new(Instant::now(), Vec::new())),
            job_manager: None,
            identified_since: Instant::now(),
            facts: Facts::unknown(),
            flink_version: None,
            submission_enabled: true,
            overview: None,
        };
        Self {
            key,
            connection,
            state: RwLock::new(Arc::new(state)),
            wishes: Mutex::default(),
            turns: Semaphore::new(TURNS),
            poked: Notify::new(),
            stopped: CancellationToken::new(),
        }
    }

    /// The session.
    #[must_use]
    pub fn key(&self) -> &SessionKey {
        &self.key
    }

    /// Waits for a turn to ask the cluster something: a thousand jobs that are stopped at once must not open a thousand
    /// connections. None only when the process ends.
    pub async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        self.turns.acquire().await.ok()
    }

    /// The client.
    #[must_use]
    pub fn client(&self) -> &FlinkClient {
        &self.connection.client
    }

    /// How the cluster is reached.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// What is known now.
    #[must_use]
    pub fn state(&self) -> Arc<State> {
        Arc::clone(&self.state.read())
    }

    pub(super) fn publish(&self, state: State) {
        *self.state.write() = Arc::new(state);
    }

    pub(super) fn stop(&self) {
        self.stopped.cancel();
    }

    /// Asks for a job list that is begun from now on, and for the JobManager's identity after it.
    pub fn confirm(&self, owner: UidHash) {
        self.wishes.lock().confirm.insert(owner);
        self.poked.notify_one();
    }

    /// Asks who the JobManager is: something that it said does not fit the process that was identified.
    pub fn identify(&self) {
        self.confirm(UidHash([0; 8]));
    }

    /// Asks for a poll soon: something was just done on the cluster.
    pub fn poke(&self) {
        self.poked.notify_one();
    }

    /// A job of this resource is in transition: poll fast for a while.
    pub fn attend(&self, owner: UidHash) {
        let until = Instant::now() + Duration::from_secs(5);
        let first = {
            let mut wishes = self.wishes.lock();
            let first = wishes.attention.is_empty();
            wishes.attention.insert(owner, until);
            first
        };
        if first {
            self.poked.notify_one();
        }
    }

    /// Asks for a count of the slots, as soon as the last one is out of date.
    pub fn want_slots(&self, owner: UidHash) {
        self.wishes.lock().slots.insert(owner);
        if self
            .state()
            .overview
            .is_none_or(|overview| overview.started.elapsed() >= OVERVIEW_AGE)
        {
            self.poked.notify_one();
        }
    }

    /// Keeps slots for a submission until `/overview` shows them as taken.
    pub fn reserve(&self, owner: UidHash, job_id: JobId, slots: i32) {
        let reserved = Reserved {
            job_id,
            slots,
            granted: Instant::now(),
        };
        self.wishes.lock().reserved.insert(owner, reserved);
    }

    /// Gives slots back that were kept for a submission.
    pub fn unreserve(&self, owner: UidHash) {
        self.wishes.lock().reserved.remove(&owner);
    }

    /// The slots that a submission of this resource may count on.
    #[must_use]
    pub fn slots(&self, state: &State, owner: UidHash, enforce: bool) -> Slots {
        if !enforce && state.facts.growth == super::Growth::Elastic {
            return Slots::Growing;
        }
        let Some(overview) = state
            .overview
            .filter(|overview| overview.started.elapsed() < OVERVIEW_AGE)
        else {
            return Slots::Unknown;
        };
        if overview.total == 0 && !enforce {
            return Slots::Growing;
        }
        let wishes = self.wishes.lock();
        let others: i32 = wishes
            .reserved
            .iter()
            .filter(|(other, _)| **other != owner)
            .map(|(_, reserved)| reserved.slots)
            .sum();
        Slots::Free(overview.available.saturating_sub(others).max(0))
    }

    pub(super) fn wishes<T>(&self, read: impl FnOnce(&mut Wishes) -> T) -> T {
        read(&mut self.wishes.lock())
    }
}

/// The words of a condition for a cluster that does not answer.
pub(super) fn down(error: &crate::flink::FlinkError, url: &str) -> Refusal {
    let reason = match error.reason() {
        "Unauthorized" => Reason::Unauthorized,
        _ => Reason::ClusterUnreachable,
    };
    Refusal::new(reason, format!("the cluster at {url}: {error}"))
}
