//! The Flink that a case runs on: a fake of its own, or a real server that all cases of its version share.

use std::{path::PathBuf, time::Duration};

use devcluster::{
    Flink, FlinkOptions, FlinkVersion,
    fake::{FakeFlink, FakeOptions},
    jars::{self, TestJob},
};
use flink_job_operator::flink::{
    ClusterEndpoint, FlinkClient, FlinkError, InstallationId, JarContent, JarId, JobId, JobOverview, JobState,
    RunReply, RunRequest, UidHash,
};
use tokio::{sync::RwLock, time::Instant};

/// Enough for a `main()` on a machine that is busy with other tests.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Where a case runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The fake, answering as this version.
    Fake(FlinkVersion),
    /// A real server of this version.
    Real(FlinkVersion),
}

pub(super) enum Server {
    Fake(Box<FakeFlink>),
    Shared(&'static Flink),
    Own(Box<Flink>),
}

/// A Flink with a client for it.
pub struct Target {
    pub(super) server: Server,
    pub version: FlinkVersion,
    pub client: FlinkClient,
}

/// Cases that stop a JobManager have a shared one for themselves.
static SHARED_1_20: RwLock<()> = RwLock::const_new(());
static SHARED_2_3: RwLock<()> = RwLock::const_new(());

/// Whether real servers are left out; says so where nobody overlooks it.
fn left_out() -> bool {
    let left_out = std::env::var_os("FLINKJOBS_SKIP_REAL").is_some_and(|value| value == "1");
    if left_out {
        eprintln!("\n!!! SKIPPED, NOT PASSED: FLINKJOBS_SKIP_REAL=1, so this case did not run on a real Flink !!!\n");
    }
    left_out
}

/// Runs a case that leaves the server's process alone.
pub async fn run(which: Which, case: impl AsyncFnOnce(&Target)) {
    match which {
        Which::Fake(version) => case(&Target::fake(version, FakeOptions::default()).await).await,
        Which::Real(_) if left_out() => {}
        Which::Real(version) => {
            let _others_may_run = lock(version).read().await;
            case(&Target::shared(version).await).await;
        }
    }
}

/// Runs a case that kills or freezes the JobManager.
pub async fn run_alone(which: Which, case: impl AsyncFnOnce(&Target)) {
    match which {
        Which::Fake(version) => case(&Target::fake(version, FakeOptions::default()).await).await,
        Which::Real(_) if left_out() => {}
        Which::Real(version) => {
            let _nobody_else_runs = lock(version).write().await;
            let target = Target::shared(version).await;
            case(&target).await;
            target.wait_for_taskmanagers().await;
        }
    }
}

/// Runs a case on a server of its own, whose configuration differs. It has no TaskManager.
pub async fn run_with(which: Which, key: &str, value: &str, case: impl AsyncFnOnce(&Target)) {
    match which {
        Which::Fake(version) => {
            let options = FakeOptions {
                submission_enabled: (key, value) != ("web.submit.enable", "false"),
                upload_dir: key == "web.upload.dir",
                async_store_duration: match key {
                    "rest.async.store-duration" => Duration::from_secs(1),
                    _ => FakeOptions::default().async_store_duration,
                },
                task_managers: 0,
                ..FakeOptions::default()
            };
            case(&Target::fake(version, options).await).await;
        }
        Which::Real(_) if left_out() => {}
        Which::Real(version) => {
            let options = FlinkOptions {
                version,
                task_managers: 0,
                configuration: vec![(key.to_owned(), value.to_owned())],
                ..FlinkOptions::default()
            };
            let own = Flink::start(options).await.unwrap();
            let url = own.rest_url().to_owned();
            case(&Target::at(&url, Server::Own(Box::new(own)), version)).await;
        }
    }
}

fn lock(version: FlinkVersion) -> &'static RwLock<()> {
    match version {
        FlinkVersion::V1_20 => &SHARED_1_20,
        FlinkVersion::V2_3 => &SHARED_2_3,
    }
}

impl Target {
    fn at(url: &str, server: Server, version: FlinkVersion) -> Self {
        let client = FlinkClient::new(&ClusterEndpoint::new(url.parse().unwrap())).unwrap();
        Self {
            server,
            version,
            client,
        }
    }

    async fn fake(version: FlinkVersion, options: FakeOptions) -> Self {
        let options = FakeOptions {
            version: version.as_str().to_owned(),
            slots: 8,
            ..options
        };
        let fake = FakeFlink::start(options).await.unwrap();
        Self::at(&fake.url(), Server::Fake(Box::new(fake)), version)
    }

    async fn shared(version: FlinkVersion) -> Self {
        let flink = Flink::shared(version).await.unwrap();
        Self::at(flink.rest_url(), Server::Shared(flink), version)
    }

    pub fn is_1x(&self) -> bool {
        self.version == FlinkVersion::V1_20
    }

    pub fn url(&self) -> String {
        match &self.server {
            Server::Fake(fake) => fake.url(),
            Server::Shared(flink) => flink.rest_url().to_owned(),
            Server::Own(flink) => flink.rest_url().to_owned(),
        }
    }

    pub(super) fn real(&self) -> Option<&Flink> {
        match &self.server {
            Server::Fake(_) => None,
            Server::Shared(flink) => Some(flink),
            Server::Own(flink) => Some(flink),
        }
    }

    /// The test jobs, uploaded.
    pub async fn jar(&self) -> JarId {
        let content = match self.real() {
            None => JarContent::from_bytes("PK, and nobody looks further".into()),
            Some(_) => file(jars::test_jobs(self.version).await.unwrap()).await,
        };
        self.client.upload_jar("test-jobs.jar", content).await.unwrap().id
    }

    /// Flink's examples, uploaded: their parallelism is the request's.
    pub async fn examples(&self) -> JarId {
        let content = match self.real() {
            None => JarContent::from_bytes("PK, and nobody looks further".into()),
            Some(_) => file(jars::example(self.version).await.unwrap()).await,
        };
        self.client.upload_jar("examples.jar", content).await.unwrap().id
    }

    /// How often a job with this id was accepted, by the server's own record.
    pub fn starts(&self, id: JobId) -> usize {
        match &self.server {
            Server::Fake(fake) => fake.starts(id),
            Server::Shared(flink) => accepted(flink, id),
            Server::Own(flink) => accepted(flink, id),
        }
    }

    pub fn freeze(&self) {
        match &self.server {
            Server::Fake(fake) => fake.freeze(),
            Server::Shared(flink) => flink.freeze_jobmanager().unwrap(),
            Server::Own(flink) => flink.freeze_jobmanager().unwrap(),
        }
    }

    pub fn thaw(&self) {
        match &self.server {
            Server::Fake(fake) => fake.thaw(),
            Server::Shared(flink) => flink.thaw_jobmanager().unwrap(),
            Server::Own(flink) => flink.thaw_jobmanager().unwrap(),
        }
    }

    pub fn kill(&self) {
        match &self.server {
            Server::Fake(fake) => fake.kill_jobmanager(),
            Server::Shared(flink) => flink.kill_jobmanager().unwrap(),
            Server::Own(flink) => flink.kill_jobmanager().unwrap(),
        }
    }

    /// Starts a new JobManager after [`kill`](Self::kill). It remembers nothing.
    pub async fn start_again(&self) {
        match &self.server {
            Server::Fake(fake) => fake.start_jobmanager(false).await.unwrap(),
            Server::Shared(flink) => flink.restart_jobmanager().await.unwrap(),
            Server::Own(flink) => flink.restart_jobmanager().await.unwrap(),
        }
    }

    pub(super) async fn wait_for_taskmanagers(&self) {
        if let Some(flink) = self.real() {
            flink.wait_for_taskmanagers().await.unwrap();
        }
    }

    /// Runs a test job.
    pub async fn run(&self, jar: &JarId, id: JobId, job: TestJob, args: &[&str]) -> Result<RunReply, FlinkError> {
        self.client.run_jar(jar, &request(id, job, args), PATIENCE).await
    }

    /// Runs a test job that must be accepted.
    pub async fn start(&self, jar: &JarId, job: TestJob, args: &[&str]) -> JobId {
        let id = new_id();
        assert_eq!(self.run(jar, id, job, args).await, Ok(RunReply::Started));
        id
    }

    /// The job in the list, if it is there.
    pub async fn listed(&self, id: JobId) -> Option<JobOverview> {
        let jobs = self.client.jobs_overview().await.unwrap();
        let found: Vec<JobOverview> = jobs.into_iter().filter(|job| job.id == id).collect();
        assert!(found.len() <= 1, "one id, two jobs: {found:?}");
        found.first().copied()
    }

    /// Waits until the job list shows the job in a state.
    pub async fn reaches(&self, id: JobId, state: JobState) -> JobOverview {
        let began = Instant::now();
        loop {
            let job = self.listed(id).await;
            if let Some(job) = job.filter(|job| job.state == state) {
                return job;
            }
            assert!(began.elapsed() < PATIENCE, "{id} is {job:?}, not {state}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Cancels a job and waits for it to end: cases share the slots.
    pub async fn stop(&self, id: JobId) {
        self.client.cancel(id).await.unwrap();
        self.reaches(id, JobState::Canceled).await;
    }

    /// Sends a request as it is, and returns status and body.
    pub async fn raw(&self, method: &str, path: &str, body: Option<serde_json::Value>) -> (u16, String) {
        let url = format!("{}{path}", self.url());
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = http.request(method.parse().unwrap(), url);
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }
}

fn accepted(flink: &Flink, id: JobId) -> usize {
    let submissions = flink.submissions().unwrap();
    let id = id.to_string();
    submissions.iter().filter(|submission| submission.job_id == id).count()
}

async fn file(path: PathBuf) -> JarContent {
    let file = tokio::fs::File::open(path).await.unwrap();
    let length = file.metadata().await.unwrap().len();
    JarContent::from_file(file, length)
}

/// A run of a test job from empty state.
pub fn request(id: JobId, job: TestJob, args: &[&str]) -> RunRequest {
    RunRequest {
        entry_class: Some(job.class()),
        args: args.iter().map(|&arg| arg.to_owned()).collect(),
        ..RunRequest::new(id)
    }
}

/// An id that no other case uses, with our mark.
pub fn new_id() -> JobId {
    use std::hash::{BuildHasher, RandomState};
    let unique = RandomState::new().hash_one(0_u8);
    JobId::new(InstallationId([0xc0, 0, 0, 1]), UidHash(unique.to_be_bytes()), 1)
}
