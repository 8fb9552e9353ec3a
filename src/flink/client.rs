//! `FlinkClient`: one method for each endpoint of Flink's REST API that we use.

use std::{fmt, sync::Arc, time::Duration};

use reqwest::multipart::{Form, Part};
use serde::{Deserialize, de::IgnoredAny};

use super::{
    JarId, JobId,
    endpoint::{ClusterEndpoint, EndpointError},
    error::{Failure, FlinkError},
    reply::{
        CheckpointingStatistics, Checkpoints, ClusterFeatures, ClusterOverview, ConfigEntry, DashboardConfiguration,
        Jar, JarList, JarRunResponse, JarUploadResponse, JobDetails, JobDetailsInfo, JobExceptionsInfo, JobFailure,
        JobManagerConfig, JobOverview, JobsOverview, RunReply, Uploaded,
    },
    request::{JarContent, RunRequest},
    transport::{Call, Observer, Transport},
};

/// An upload may be as slow as this, in bytes per second, on top of its first fifteen seconds.
const SLOWEST_UPLOAD: u64 = 512 * 1024;

/// A client of one Flink cluster. Cheap to clone; clones share their connections.
///
/// It never retries and never follows a redirect: what to do after an error is policy, and depends on what
/// the [`FlinkError`] proves. Each call has a deadline for the whole exchange (10 s unless stated) and a limit on
/// the size of the answer (8 MiB; job list 32 MiB).
#[derive(Clone)]
pub struct FlinkClient {
    pub(super) transport: Transport,
}

impl fmt::Debug for FlinkClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FlinkClient").field(self.transport.origin()).finish()
    }
}

/// An answer whose content does not matter, but must be JSON.
#[derive(Deserialize)]
struct Done(#[allow(dead_code, reason = "read to check that it is JSON")] IgnoredAny);

impl FlinkClient {
    /// A client for an endpoint. Connects on first use.
    pub fn new(endpoint: &ClusterEndpoint) -> Result<Self, EndpointError> {
        let transport = Transport::new(endpoint)?;
        Ok(Self { transport })
    }

    /// Has each request reported: endpoint template, `ok` or [`FlinkError::class`], and duration.
    #[must_use]
    pub fn with_observer(mut self, observer: Arc<Observer>) -> Self {
        self.transport.observe(observer);
        self
    }

    /// Scheme, host and port of the cluster.
    #[must_use]
    pub fn origin(&self) -> &str {
        self.transport.origin()
    }

    /// All jobs that the JobManager knows, running and remembered, in no particular order.
    ///
    /// One id that cannot be read makes the whole answer [`FlinkError::NotFlink`]: a list with holes must not be taken
    /// for one in which a job is missing.
    pub async fn jobs_overview(&self) -> Result<Vec<JobOverview>, FlinkError> {
        let call = Call::get("GET /jobs/overview").job_list();
        let request = self.transport.request(call, &["jobs", "overview"]);
        let overview: JobsOverview = self.transport.send(call, request).await?;
        Ok(overview.jobs)
    }

    /// TaskManagers, slots, and counts of jobs.
    pub async fn overview(&self) -> Result<ClusterOverview, FlinkError> {
        let call = Call::get("GET /overview");
        self.transport
            .send(call, self.transport.request(call, &["overview"]))
            .await
    }

    /// Version and features.
    pub async fn config(&self) -> Result<ClusterFeatures, FlinkError> {
        let call = Call::get("GET /config");
        let request = self.transport.request(call, &["config"]);
        let config: DashboardConfiguration = self.transport.send(call, request).await?;
        Ok(config.into())
    }

    /// The JobManager's configuration, and with it the identity of its process.
    pub async fn jobmanager_config(&self) -> Result<JobManagerConfig, FlinkError> {
        let call = Call::get("GET /jobmanager/config");
        let request = self.transport.request(call, &["jobmanager", "config"]);
        let entries: Vec<ConfigEntry> = self.transport.send(call, request).await?;
        Ok(JobManagerConfig(
            entries.into_iter().map(|entry| (entry.key, entry.value)).collect(),
        ))
    }

    /// One job. [`FlinkError::NotFound`] while its `main()` runs, too. Up to `web.refresh-interval` (3 s) old.
    pub async fn job(&self, id: JobId) -> Result<JobDetails, FlinkError> {
        let call = Call::get("GET /jobs/:jobid");
        let request = self.transport.request(call, &["jobs", &id.to_string()]);
        let info: JobDetailsInfo = self.transport.send(call, request).await?;
        Ok(info.into())
    }

    /// The failures of a job, newest first, at most `max`.
    pub async fn job_exceptions(&self, id: JobId, max: usize) -> Result<Vec<JobFailure>, FlinkError> {
        let call = Call::get("GET /jobs/:jobid/exceptions");
        let request = self.transport.request(call, &["jobs", &id.to_string(), "exceptions"]);
        let request = request.query(&[("maxExceptions", max.max(1))]);
        let info: JobExceptionsInfo = self.transport.send(call, request).await?;
        Ok(info.failures(max))
    }

    /// The newest checkpoint and savepoint of a job, and what it was restored from. Up to 3 s old.
    pub async fn checkpoints(&self, id: JobId) -> Result<Checkpoints, FlinkError> {
        let call = Call::get("GET /jobs/:jobid/checkpoints");
        let request = self.transport.request(call, &["jobs", &id.to_string(), "checkpoints"]);
        let statistics: CheckpointingStatistics = self.transport.send(call, request).await?;
        Ok(statistics.into())
    }

    /// The uploaded jars whose ids are ones that we could have made.
    pub async fn jars(&self) -> Result<Vec<Jar>, FlinkError> {
        let call = Call::get("GET /jars");
        let list: JarList = self
            .transport
            .send(call, self.transport.request(call, &["jars"]))
            .await?;
        Ok(list.jars())
    }

    /// Uploads a jar under a file name, which must be a plain one that ends in `.jar`.
    ///
    /// The deadline is 15 s and a second for each 512 KiB.
    pub async fn upload_jar(&self, file_name: &str, jar: JarContent) -> Result<Uploaded, FlinkError> {
        let deadline = Duration::from_secs(15 + jar.length / SLOWEST_UPLOAD);
        let call = Call::post("POST /jars/upload").within(deadline);
        let unsent = |message: &str| FlinkError::NotSent(Failure::new(call.name, self.transport.origin(), message));
        if file_name.parse::<JarId>().is_err() {
            return Err(unsent("the name of the jar is not a plain file name"));
        }
        let part = Part::stream_with_length(jar.body, jar.length).file_name(file_name.to_owned());
        let part = part
            .mime_str("application/x-java-archive")
            .map_err(|error| unsent(&error.to_string()))?;
        let request = self.transport.request(call, &["jars", "upload"]);
        let request = request.multipart(Form::new().part("jarfile", part));
        let response: JarUploadResponse = self.transport.send(call, request).await?;
        let uploaded = response
            .uploaded()
            .filter(|uploaded| uploaded.id.file_name() == file_name);
        uploaded.ok_or_else(|| {
            let failure = Failure::new(
                call.name,
                self.transport.origin(),
                "the reply names no jar that we uploaded",
            );
            FlinkError::NotFlink(failure)
        })
    }

    /// Deletes a jar. [`FlinkError::JarMissing`] when it is gone already. Jobs that run from it go on.
    pub async fn delete_jar(&self, id: &JarId) -> Result<(), FlinkError> {
        let call = Call::delete("DELETE /jars/:jarid");
        let request = self.transport.request(call, &["jars", id.as_str()]);
        self.transport.send(call, request).await.map(|Done(_)| ())
    }

    /// Runs a jar: Flink calls its `main()` in the JobManager and answers when that returned.
    ///
    /// Everything but [`FlinkError::proves_no_effect`] leaves open whether the job was, or will be, accepted.
    pub async fn run_jar(&self, jar: &JarId, run: &RunRequest, deadline: Duration) -> Result<RunReply, FlinkError> {
        let call = Call::post("POST /jars/:jarid/run").within(deadline);
        let request = self.transport.request(call, &["jars", jar.as_str(), "run"]).json(run);
        let response: JarRunResponse = self.transport.send(call, request).await?;
        if response.jobid == run.job_id {
            Ok(RunReply::Started)
        } else {
            Ok(RunReply::OtherJob(response.jobid))
        }
    }

    /// Asks for a job to be cancelled. Success means that Flink will do it, or has done it already.
    ///
    /// [`FlinkError::Conflict`]: the job finished or failed before. [`FlinkError::NotFound`]: unknown to this process.
    pub async fn cancel(&self, id: JobId) -> Result<(), FlinkError> {
        let call = Call::patch("PATCH /jobs/:jobid");
        let request = self.transport.request(call, &["jobs", &id.to_string()]);
        let request = request.query(&[("mode", "cancel")]);
        self.transport.send(call, request).await.map(|Done(_)| ())
    }
}
