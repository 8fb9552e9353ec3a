//! A Flink that is not one: the REST endpoints that the operator uses, in this process, with faults on demand.
//!
//! It answers as Flink 1.20.5 and 2.3.0 were seen to answer; the contract tests of `flink-job-operator` run the same cases
//! on it and on real servers. It is made for ten thousand jobs, and counts every request, so that tests judge the operator
//! by what arrived here and not by what it says of itself.
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! use devcluster::fake::{Action, FakeFlink, FakeOptions, Fault};
//!
//! let flink = FakeFlink::start(FakeOptions::default()).await?;
//! let lost = flink.inject(Fault::on("POST", "/jars/:jarid/run", Action::HandleThenDrop).nth(1));
//! // … drive a client at flink.url() …
//! assert_eq!(lost.hits(), 1);
//! assert_eq!(flink.count("GET", "/jobs/overview"), 0);
//! # Ok(())
//! # }
//! ```
//!
//! What a job does is read off its entry class and arguments, named as the test jobs are: `CounterJob` (and any other
//! class) runs for ever, `BoundedJob --seconds 2`, `ThrowingMain`, `NoExecute`, `TwoExecutes`, `TwoEnvironments`,
//! `FailingTask --fail-after-kept 10`, `SleepingMain --sleep-seconds 3`, `ThrowsAfterExecute`, `MissingClass`; `--run-ms`,
//! `--sleep-ms` and `--name` as well. With `--fail-when`, a `FailingTask` waits for [`FakeFlink::fail_job`].
//! A savepoint path with `missing` in it does not exist. Checkpoints complete when the request's configuration sets
//! `execution.checkpointing.interval`, or with `--checkpoint-ms`.
//!
//! Savepoints are entries of a ledger, [`FakeFlink::savepoints`], that outlives processes; every savepoint, stop and disposal
//! that was accepted is in [`FakeFlink::operations`]. They take as long as [`FakeOptions`] says, a thousand at once cost a
//! thousand entries of a heap. They fail or hang as it says, with `--on-snapshot fail|hang` and `--on-complete fail|hang`, or
//! the next of them on a test's word: [`FakeFlink::fail_next`], [`FakeFlink::hang_next`], [`FakeFlink::hang_next_stop`].
//! Directories below `/proc` cannot be written. Jobs count a hundred a second; they go on from the count of what they are
//! restored from, and fall back to that of their newest checkpoint when they are restarted.

mod disposals;
mod endpoints;
mod faults;
mod handlers;
mod job;
mod jobmanager;
mod mishaps;
mod operations;
mod options;
mod printed;
mod program;
mod progress;
mod record;
mod replies;
mod seen;
mod serve;
mod settings;
mod snapshots;
mod storage;
mod tls;
mod triggers;
mod upload;

use std::{
    fmt::Display,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

pub use faults::{Action, Fault, Injected, Reply};
pub use options::{Behavior, FakeOptions};
pub use record::{EffectSeen, FakeOperation, OperationEnd, OperationKind, Submission};
pub use seen::{FakeJar, FakeJob};
pub use storage::{FakeSavepoint, SavepointFiles};
pub use tls::FakeTls;

use faults::Faults;
use job::{Id, Job, State};
use jobmanager::JobManager;
use program::Program;

/// What connections and handlers share.
struct Shared {
    jobmanager: Mutex<JobManager>,
    faults: Faults,
    frozen: watch::Sender<bool>,
    unavailable: watch::Sender<bool>,
    tls: Option<TlsAcceptor>,
}

/// A running fake. Stops when dropped.
pub struct FakeFlink {
    shared: Arc<Shared>,
    address: SocketAddr,
    process: Mutex<CancellationToken>,
}

impl FakeFlink {
    /// Starts one on a free port of the loopback address.
    pub async fn start(options: FakeOptions) -> io::Result<Self> {
        let listener = serve::bind((Ipv4Addr::LOCALHOST, 0).into()).await?;
        let tls = options.tls.as_ref().map(FakeTls::acceptor).transpose()?;
        let fake = Self {
            shared: Arc::new(Shared {
                jobmanager: Mutex::new(JobManager::new(options, Instant::now())),
                faults: Faults::default(),
                frozen: watch::Sender::new(false),
                unavailable: watch::Sender::new(false),
                tls,
            }),
            address: listener.local_addr()?,
            process: Mutex::new(CancellationToken::new()),
        };
        fake.serve(listener);
        Ok(fake)
    }

    fn serve(&self, listener: tokio::net::TcpListener) {
        let process = self.process.lock().clone();
        tokio::spawn(serve::serve(listener, Arc::clone(&self.shared), process));
    }

    /// The URL of its REST endpoint.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.shared.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Its address.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The UUID of the JobManager process that runs now.
    #[must_use]
    pub fn identity(&self) -> String {
        jobmanager::uuid(self.shared.jobmanager.lock().process.identity)
    }

    /// Changes options of the running fake, such as its latency. Slots and identity are read at (re)start only.
    pub fn configure(&self, change: impl FnOnce(&mut FakeOptions)) {
        change(&mut self.shared.jobmanager.lock().options);
    }
}

/// Faults.
impl FakeFlink {
    /// Installs a rule.
    pub fn inject(&self, fault: Fault) -> Injected {
        self.shared.faults.inject(fault)
    }

    /// Takes all rules out. Connections that hang because of them are closed.
    pub fn clear_faults(&self) {
        self.shared.faults.clear();
    }

    /// Stops the process as SIGSTOP does: connections are accepted, nothing is handled. What arrived meanwhile is handled
    /// after [`thaw`](Self::thaw), also when its client is gone by then.
    pub fn freeze(&self) {
        self.shared.frozen.send_replace(true);
    }

    /// Lets a frozen process go on.
    pub fn thaw(&self) {
        self.shared.frozen.send_replace(false);
    }

    /// Answers every request with 503, as while no JobManager leads; or no longer.
    pub fn set_unavailable(&self, unavailable: bool) {
        self.shared.unavailable.send_replace(unavailable);
    }

    /// Kills the JobManager: its port refuses connections, open ones are cut, what it was about to do is not done.
    pub fn kill_jobmanager(&self) {
        self.process.lock().cancel();
        self.shared.jobmanager.lock().die(Instant::now());
    }

    /// Starts a new process on the same port after [`kill_jobmanager`](Self::kill_jobmanager).
    ///
    /// With `keep_jobs` it recovers the jobs that had not ended, as with high availability. Uploaded jars and the memory of
    /// ended jobs are gone, and the identity is another.
    pub async fn start_jobmanager(&self, keep_jobs: bool) -> io::Result<()> {
        // The dead process's listener is closed by its task, which may not have run yet.
        let mut bound = serve::bind(self.address).await;
        for _ in 0..200 {
            if bound.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
            bound = serve::bind(self.address).await;
        }
        let listener = bound?;
        self.shared.jobmanager.lock().restart(keep_jobs, Instant::now());
        self.thaw();
        *self.process.lock() = CancellationToken::new();
        self.serve(listener);
        Ok(())
    }

    /// Kills the JobManager and starts another.
    pub async fn restart_jobmanager(&self, keep_jobs: bool) -> io::Result<()> {
        self.kill_jobmanager();
        self.start_jobmanager(keep_jobs).await
    }
}

/// Jobs, changed behind the operator's back. Each returns false when there is no such job, or it has ended.
impl FakeFlink {
    /// Fails a job. `cause` is a Java exception, such as `java.lang.IllegalStateException: disk full`.
    pub fn fail_job(&self, id: impl Display, cause: &str) -> bool {
        let failure = printed::task_failure(cause);
        self.turn(id, Some(failure), &[(Duration::ZERO, State::Failed)])
    }

    /// Lets a job finish.
    pub fn finish_job(&self, id: impl Display) -> bool {
        self.turn(id, None, &[(Duration::ZERO, State::Finished)])
    }

    /// Lets Flink restart a job by itself: RESTARTING, then RUNNING again.
    pub fn restart_job(&self, id: impl Display, takes: Duration) -> bool {
        self.turn(
            id,
            None,
            &[(Duration::ZERO, State::Restarting), (takes, State::Running)],
        )
    }

    /// Cancels a job as a user of the web UI does; not counted as a request.
    pub fn cancel_in_ui(&self, id: impl Display) -> bool {
        self.with_job(id, JobManager::cancel)
    }

    /// Drops a job from the JobManager's memory.
    pub fn forget_job(&self, id: impl Display) -> bool {
        self.with_job(id, JobManager::forget)
    }

    fn turn(&self, id: impl Display, failure: Option<String>, states: &[(Duration, State)]) -> bool {
        self.with_job(id, |jm, id, now| jm.turn(id, now, failure, states))
    }

    fn with_job(&self, id: impl Display, act: impl FnOnce(&mut JobManager, Id, Instant) -> bool) -> bool {
        self.with(|jm, now| id.to_string().parse().is_ok_and(|id| act(jm, id, now)))
    }

    /// Acts under the lock, with everything up to date.
    fn with<T>(&self, act: impl FnOnce(&mut JobManager, Instant) -> T) -> T {
        let now = Instant::now();
        let mut jm = self.shared.jobmanager.lock();
        jm.advance(now);
        act(&mut jm, now)
    }

    /// Adds a running job that nobody submitted through REST, and returns its id.
    pub fn add_foreign_job(&self, name: &str) -> String {
        let mut jm = self.shared.jobmanager.lock();
        let id = jm.random_id();
        jm.accept(
            Job::new(id, name.to_owned(), 1, Program::Streaming, None),
            Instant::now(),
        );
        id.to_string()
    }

    /// Adds a running job with a given id, as if it had been submitted by somebody else. False if the id is taken.
    pub fn add_job(&self, id: impl Display, name: &str) -> bool {
        self.with_job(id, |jm, id, now| {
            let fresh = !jm.is_duplicate(id);
            if fresh {
                jm.accept(Job::new(id, name.to_owned(), 1, Program::Streaming, None), now);
            }
            fresh
        })
    }
}

impl Drop for FakeFlink {
    fn drop(&mut self) {
        self.process.lock().cancel();
    }
}
