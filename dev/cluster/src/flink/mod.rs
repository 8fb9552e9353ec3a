//! A real Flink session cluster on the loopback address: one JobManager and some TaskManagers.

mod distribution;
mod history;
mod launch;
mod log;
mod version;

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::OnceCell;

pub use distribution::distribution;
pub use history::{JobEvent, JobHistory};
pub use log::Submission;
pub use version::FlinkVersion;

use crate::{
    blocking,
    cache::{self, Bar, Cache},
    port,
    process::{self, Process, Supervisor},
};
use launch::{Launch, Ports, Role};

/// An idle machine needs 6 s; others may be compiling on this one.
const READY_WITHIN: Duration = Duration::from_secs(120);
const PROBE_EVERY: Duration = Duration::from_millis(50);
/// Another process may take a port between its choice and its use.
const TRIES: u32 = 3;

/// Why Flink could not be started or used.
#[derive(thiserror::Error)]
pub enum Error {
    /// Java or the distribution could not be had.
    #[error(transparent)]
    Cache(#[from] cache::Error),
    /// A process did not start.
    #[error(transparent)]
    Process(#[from] process::Error),
    /// No port could be had.
    #[error("no free port on the loopback address: {0}")]
    Port(#[from] std::io::Error),
    /// Flink refused the memory options, or Java did not start.
    #[error("Flink's memory options could not be derived; Flink said:\n{output}")]
    Memory {
        /// What was printed instead of a result.
        output: String,
    },
    /// The JobManager was killed and not restarted.
    #[error("the JobManager does not run; call `restart_jobmanager` first")]
    NoJobManager,
    /// The HTTP client could not be made.
    #[error("no HTTP client: {0}")]
    Http(#[from] reqwest::Error),
}

crate::debug_as_display!(Error);

/// What to start.
#[derive(Debug, Clone)]
pub struct FlinkOptions {
    /// The release; 2.3 by default.
    pub version: FlinkVersion,
    /// How many TaskManagers; 1 by default.
    pub task_managers: usize,
    /// Slots of each TaskManager; 8 by default.
    pub slots: usize,
    /// Further keys of Flink's configuration; they win over the defaults, which have small memory and folders for
    /// checkpoints and savepoints in [`Flink::directory`]. An empty value takes a key out.
    pub configuration: Vec<(String, String)>,
    /// Jars beside those in the distribution's `lib`: their classes are on the cluster.
    pub libraries: Vec<PathBuf>,
    /// Jars that become plugins, each with a class loader of its own, beside those of the distribution.
    pub plugins: Vec<PathBuf>,
}

impl Default for FlinkOptions {
    fn default() -> Self {
        Self {
            version: FlinkVersion::default(),
            task_managers: 1,
            slots: 8,
            configuration: Vec::new(),
            libraries: Vec::new(),
            plugins: Vec::new(),
        }
    }
}

/// A running session cluster. It ends, and its directory goes, when this is dropped or the process ends.
#[derive(Debug)]
pub struct Flink {
    // Dropped before the supervisor, so that nobody writes into the directory any more when it is removed.
    jobmanager: Mutex<Option<Process>>,
    taskmanagers: Mutex<Vec<Process>>,
    supervisor: Arc<Supervisor>,
    launch: Launch,
    options: FlinkOptions,
    rest_url: String,
    http: reqwest::Client,
    /// TaskManagers that were killed: the JobManager lists them until it misses their heartbeat.
    gone: Mutex<HashSet<String>>,
    ready_after: Duration,
}

impl Flink {
    /// Starts a JobManager and the TaskManagers and waits until all have registered; about 6 s. Downloads Flink first
    /// when the cache is empty.
    pub async fn start(options: FlinkOptions) -> Result<Self, Error> {
        let cache = Cache::open()?;
        let (for_download, version) = (cache.clone(), options.version);
        blocking(move || distribution(&for_download, version)).await?;
        let mut tries = 1;
        loop {
            match Self::start_once(&cache, &options).await {
                Err(Error::Process(process::Error::Ended { tail, .. }))
                    if tries < TRIES && tail.contains("Address already in use") =>
                {
                    tries += 1;
                }
                started => return started,
            }
        }
    }

    /// The Flink of this version, with default options, that all tests of this process share.
    pub async fn shared(version: FlinkVersion) -> Result<&'static Self, Error> {
        static V1_20: OnceCell<Flink> = OnceCell::const_new();
        static V2_3: OnceCell<Flink> = OnceCell::const_new();
        let shared = match version {
            FlinkVersion::V1_20 => &V1_20,
            FlinkVersion::V2_3 => &V2_3,
        };
        shared
            .get_or_try_init(|| {
                Self::start(FlinkOptions {
                    version,
                    ..FlinkOptions::default()
                })
            })
            .await
    }

    async fn start_once(cache: &Cache, options: &FlinkOptions) -> Result<Self, Error> {
        crate::install_crypto();
        let started = Instant::now();
        let waiting = Bar::only_on_terminal(&format!("starting Flink {}", options.version));
        let ports = Ports {
            rest: port::free()?,
            rpc: port::free()?,
        };
        let supervisor = Supervisor::start(&format!("flink-{}", options.version), &cache.logs())?;
        let launch = {
            let (cache, directory, options) = (cache.clone(), supervisor.directory().to_owned(), options.clone());
            blocking(move || Launch::prepare(&cache, &directory, &options, ports)).await?
        };
        let mut flink = Self {
            jobmanager: Mutex::new(None),
            taskmanagers: Mutex::new(Vec::new()),
            supervisor,
            launch,
            options: options.clone(),
            rest_url: format!("http://127.0.0.1:{}", ports.rest),
            http: reqwest::Client::builder()
                .no_proxy()
                .timeout(Duration::from_secs(5))
                .build()?,
            gone: Mutex::default(),
            ready_after: Duration::ZERO,
        };
        // At once: a TaskManager asks again until its JobManager is there.
        tokio::try_join!(flink.start_jobmanager(), flink.start_taskmanagers())?;
        flink.wait_for_taskmanagers().await?;
        waiting.clear();
        flink.ready_after = started.elapsed();
        Ok(flink)
    }

    /// The address of the REST API, `http://127.0.0.1:PORT`; the same after a restart.
    #[must_use]
    pub fn rest_url(&self) -> &str {
        &self.rest_url
    }

    /// The options it was started with.
    #[must_use]
    pub fn options(&self) -> &FlinkOptions {
        &self.options
    }

    /// The temporary directory; it has folders `checkpoints` and `savepoints`.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.supervisor.directory()
    }

    /// The folder with the logs of all processes, which stays for a day.
    #[must_use]
    pub fn logs(&self) -> &Path {
        self.supervisor.logs()
    }

    /// How long it took from the start until all TaskManagers were registered.
    #[must_use]
    pub fn ready_after(&self) -> Duration {
        self.ready_after
    }

    /// Ends the JobManager with SIGKILL. Jobs, uploaded jars and results in its memory are lost.
    pub fn kill_jobmanager(&self) -> Result<(), Error> {
        let jobmanager = self.jobmanager.lock().take().ok_or(Error::NoJobManager)?;
        jobmanager.kill()?;
        Ok(())
    }

    /// Starts the JobManager again on the same ports, killing the one that runs, and waits for its REST API.
    /// TaskManagers come back some seconds later, see [`wait_for_taskmanagers`](Self::wait_for_taskmanagers).
    pub async fn restart_jobmanager(&self) -> Result<(), Error> {
        // Dropped, and so killed, before the new one needs the ports.
        drop(self.jobmanager.lock().take());
        self.start_jobmanager().await?;
        self.until(async || self.get("/overview").await.map(drop).map_err(|error| error.to_string()))
            .await
    }

    /// Stops the JobManager where it is: connections are accepted by the system, and nothing is answered.
    pub fn freeze_jobmanager(&self) -> Result<(), Error> {
        self.with_jobmanager(Process::freeze)
    }

    /// Lets a frozen JobManager go on.
    pub fn thaw_jobmanager(&self) -> Result<(), Error> {
        self.with_jobmanager(Process::thaw)
    }

    /// Ends all TaskManagers with SIGKILL. The JobManager still lists them for some seconds.
    pub fn kill_taskmanagers(&self) -> Result<(), Error> {
        for taskmanager in std::mem::take(&mut *self.taskmanagers.lock()) {
            taskmanager.kill()?;
        }
        Ok(())
    }

    /// Ends all TaskManagers, starts as many as the options say, and waits until these have registered.
    pub async fn restart_taskmanagers(&self) -> Result<(), Error> {
        self.kill_taskmanagers()?;
        let before = self.taskmanagers().await.unwrap_or_default();
        self.gone.lock().extend(before);
        self.start_taskmanagers().await?;
        self.wait_for_taskmanagers().await
    }

    /// Waits until the TaskManagers that run now are registered, as many as the options say.
    pub async fn wait_for_taskmanagers(&self) -> Result<(), Error> {
        let expected = self.options.task_managers;
        self.until(async || {
            let registered = self.taskmanagers().await.map_err(|error| error.to_string())?;
            let gone = self.gone.lock();
            let registered = registered.iter().filter(|id| !gone.contains(*id)).count();
            if registered == expected {
                return Ok(());
            }
            Err(format!("{registered} of {expected} TaskManagers are registered"))
        })
        .await
    }

    /// The submissions that were accepted, over all lives of the JobManager, by its log.
    pub fn submissions(&self) -> Result<Vec<Submission>, Error> {
        let path = self.logs().join("jobmanager.log");
        let log = fs::read(&path).map_err(process::file("read", &path))?;
        Ok(log::submissions(&String::from_utf8_lossy(&log)))
    }

    /// What happens from now on, over all lives of the JobManager, by its log.
    pub fn history(&self) -> Result<JobHistory, Error> {
        let path = self.logs().join("jobmanager.log");
        Ok(JobHistory::from_now_on(&path).map_err(process::file("read", &path))?)
    }

    async fn start_jobmanager(&self) -> Result<(), Error> {
        let launch = self.launch.clone();
        let command = blocking(move || launch.command(Role::JobManager)).await?;
        let jobmanager = self.supervisor.spawn("jobmanager", &command)?;
        *self.jobmanager.lock() = Some(jobmanager);
        Ok(())
    }

    async fn start_taskmanagers(&self) -> Result<(), Error> {
        let launch = self.launch.clone();
        let command = blocking(move || launch.command(Role::TaskManager)).await?;
        for number in 1..=self.options.task_managers {
            let taskmanager = self.supervisor.spawn(&format!("taskmanager-{number}"), &command)?;
            self.taskmanagers.lock().push(taskmanager);
        }
        Ok(())
    }

    fn with_jobmanager<T>(&self, act: impl FnOnce(&Process) -> Result<T, process::Error>) -> Result<T, Error> {
        Ok(act(self.jobmanager.lock().as_ref().ok_or(Error::NoJobManager)?)?)
    }

    /// Asks `met` again and again until it says yes, while all processes run.
    async fn until(&self, met: impl AsyncFn() -> Result<(), String>) -> Result<(), Error> {
        let started = Instant::now();
        loop {
            let Err(last) = met().await else { return Ok(()) };
            self.with_jobmanager(Process::running)?;
            self.taskmanagers.lock().iter().try_for_each(Process::running)?;
            let waited = started.elapsed();
            if waited > READY_WITHIN {
                return self.with_jobmanager(|jobmanager| Err(jobmanager.not_ready(waited, last)));
            }
            tokio::time::sleep(PROBE_EVERY).await;
        }
    }

    /// The ids of the registered TaskManagers.
    async fn taskmanagers(&self) -> Result<Vec<String>, reqwest::Error> {
        let answer: Value = self.get("/taskmanagers").await?;
        let list = answer.get("taskmanagers").and_then(Value::as_array);
        let ids = list.into_iter().flatten().filter_map(|one| one.get("id")?.as_str());
        Ok(ids.map(ToOwned::to_owned).collect())
    }

    async fn get(&self, path: &str) -> Result<Value, reqwest::Error> {
        let answer = self.http.get(format!("{}{path}", self.rest_url)).send().await?;
        answer.error_for_status()?.json().await
    }
}
