//! How a fake Flink is, when it starts.

use std::time::Duration;

use super::FakeTls;

/// What happens where something can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Behavior {
    /// Nothing goes wrong.
    #[default]
    Works,
    /// It fails.
    Fails,
    /// It never ends.
    Hangs,
}

impl Behavior {
    /// Reads the word of a test job's argument.
    pub(super) fn from_word(word: &str) -> Self {
        match word {
            "fail" => Self::Fails,
            "hang" => Self::Hangs,
            _ => Self::Works,
        }
    }
}

/// How a fake Flink is, when it starts.
#[derive(Debug, Clone)]
pub struct FakeOptions {
    /// Its version; 1.x and 2.x differ in a few answers.
    pub version: String,
    /// TaskManagers.
    pub task_managers: u32,
    /// Slots of each TaskManager.
    pub slots: u32,
    /// How long each request takes, on top of what it does.
    pub latency: Duration,
    /// How long a job is INITIALIZING. A run is answered only after that.
    pub initializing: Duration,
    /// How long a job is CREATED before it is RUNNING.
    pub created: Duration,
    /// How long a job is CANCELLING.
    pub cancelling: Duration,
    /// How long an ended job is remembered in the job list (`jobstore.expiration-time`).
    pub expiration: Duration,
    /// Whether an expired job's id can be submitted again, as with high availability at its defaults.
    pub forgets_expired: bool,
    /// How long tasks write a savepoint.
    pub savepoint_takes: Duration,
    /// How long a job takes to end after the savepoint of its stop is complete.
    pub stopping: Duration,
    /// How long a disposal takes.
    pub disposal_takes: Duration,
    /// How long the outcome of a savepoint, stop or disposal is kept (`rest.async.store-duration`).
    pub async_store_duration: Duration,
    /// How old the history of checkpoints is that is answered (`web.refresh-interval`).
    pub history_is_late: Duration,
    /// What tasks do while they write a savepoint. [`Behavior::Fails`]: the savepoint fails, and the job fails or restarts.
    /// A job's own `--on-snapshot` wins.
    pub snapshot: Behavior,
    /// What tasks do when the savepoint of a stop is complete. [`Behavior::Fails`]: the job is FAILED, and the outcome names the
    /// savepoint. [`Behavior::Hangs`]: it runs until it is cancelled. A job's own `--on-complete` wins.
    pub completion: Behavior,
    /// What a disposal does. [`Behavior::Fails`]: the metadata is deleted, and other files are left.
    pub disposal: Behavior,
    /// `web.submit.enable`.
    pub submission_enabled: bool,
    /// Whether `web.upload.dir` is set: jars then outlive the process.
    pub upload_dir: bool,
    /// More entries for `/jobmanager/config`.
    pub configuration: Vec<(String, String)>,
    /// The identity of the first process; random when absent.
    pub identity: Option<[u8; 16]>,
    /// TLS instead of plain HTTP.
    pub tls: Option<FakeTls>,
    /// The value of the header `Authorization` without which every request is answered with 401, as by a proxy.
    pub authorization: Option<String>,
}

impl Default for FakeOptions {
    fn default() -> Self {
        Self {
            version: "2.3.0".to_owned(),
            task_managers: 1,
            slots: 100_000,
            latency: Duration::ZERO,
            initializing: Duration::from_millis(5),
            created: Duration::from_millis(20),
            cancelling: Duration::from_millis(20),
            expiration: Duration::from_secs(3600),
            forgets_expired: false,
            savepoint_takes: Duration::from_millis(20),
            stopping: Duration::from_millis(5),
            disposal_takes: Duration::from_millis(5),
            async_store_duration: Duration::from_secs(300),
            history_is_late: Duration::ZERO,
            snapshot: Behavior::Works,
            completion: Behavior::Works,
            disposal: Behavior::Works,
            submission_enabled: true,
            upload_dir: false,
            configuration: Vec::new(),
            identity: None,
            tls: None,
            authorization: None,
        }
    }
}

impl FakeOptions {
    pub(super) fn slots(&self) -> u32 {
        self.task_managers.saturating_mul(self.slots)
    }

    pub(super) fn is_1x(&self) -> bool {
        self.version.starts_with("1.")
    }
}
