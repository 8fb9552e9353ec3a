//! The Flink session cluster, and the host of the example jar.

use std::time::Duration;

use devcluster::{Flink, FlinkOptions, FlinkVersion, JarHost, jars};
use flink_job_operator::flink::JobId;
use serde::Deserialize;

use crate::Failure;

/// A session cluster: our own, or the user's.
pub(crate) struct Session {
    own: Option<Flink>,
    url: String,
    version: String,
    http: reqwest::Client,
}

#[derive(Deserialize)]
struct Overview {
    #[serde(rename = "flink-version")]
    version: String,
}

#[derive(Deserialize)]
struct Jobs {
    jobs: Vec<Job>,
}

#[derive(Deserialize)]
struct Setting {
    key: String,
    value: String,
}

#[derive(Deserialize)]
struct Checkpoints {
    latest: Latest,
}

#[derive(Deserialize)]
struct Latest {
    restored: Option<Restored>,
}

/// What a job was restored from.
#[derive(Debug, Deserialize)]
pub(crate) struct Restored {
    /// The folder, as Flink spells it.
    #[serde(rename = "external_path")]
    pub(crate) path: String,
    /// Whether it is a savepoint.
    pub(crate) is_savepoint: bool,
}

/// A job, as Flink lists it.
#[derive(Debug, Deserialize)]
pub(crate) struct Job {
    /// Its id.
    pub(crate) jid: JobId,
    /// Its state.
    pub(crate) state: String,
}

impl Session {
    /// Starts Flink, unless an address is given.
    pub(crate) async fn start(url: Option<&url::Url>) -> Result<Self, Failure> {
        devcluster::install_crypto();
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(10))
            .build()?;
        let own = match url {
            Some(_) => None,
            None => Some(Flink::start(FlinkOptions::default()).await?),
        };
        let url = match (url, &own) {
            (Some(url), _) => url.as_str().trim_end_matches('/').to_owned(),
            (None, Some(flink)) => flink.rest_url().to_owned(),
            (None, None) => return Err("there is no Flink".into()),
        };
        let mut session = Self {
            own,
            url,
            version: String::new(),
            http,
        };
        session.version = session.get::<Overview>("/overview").await?.version;
        Ok(session)
    }

    /// The REST address, which is the web UI's as well.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// What it is, where it is, and how long it took to start.
    pub(crate) fn described(&self) -> (String, String) {
        let told = match &self.own {
            Some(flink) => format!("{}, ready in {:.1} s", self.url, flink.ready_after().as_secs_f64()),
            None => self.url.clone(),
        };
        (format!("Flink {}", self.version), told)
    }

    /// Where the logs are, when Flink is our own.
    pub(crate) fn logs(&self) -> Option<String> {
        self.own.as_ref().map(|flink| flink.logs().display().to_string())
    }

    /// The jobs that have not ended.
    pub(crate) async fn live_jobs(&self) -> Result<Vec<Job>, Failure> {
        let mut listed = self.get::<Jobs>("/jobs/overview").await?.jobs;
        listed.retain(|job| !matches!(job.state.as_str(), "FINISHED" | "CANCELED" | "FAILED"));
        Ok(listed)
    }

    /// Whether its configuration names a directory for savepoints.
    pub(crate) async fn keeps_savepoints(&self) -> Result<bool, Failure> {
        let settings: Vec<Setting> = self.get("/jobmanager/config").await?;
        // The second is its name in Flink 1.x.
        let keys = ["execution.checkpointing.savepoint-dir", "state.savepoints.dir"];
        let named = |setting: &Setting| keys.contains(&setting.key.as_str()) && !setting.value.trim().is_empty();
        Ok(settings.iter().any(named))
    }

    /// What a job was restored from; None for one that began empty.
    pub(crate) async fn restored(&self, job: JobId) -> Result<Option<Restored>, Failure> {
        let checkpoints: Checkpoints = self.get(&format!("/jobs/{job}/checkpoints")).await?;
        Ok(checkpoints.latest.restored)
    }

    /// How many submissions Flink accepted since it started, by its own log.
    pub(crate) fn submissions(&self) -> Result<Option<usize>, Failure> {
        match &self.own {
            Some(flink) => Ok(Some(flink.submissions()?.len())),
            None => Ok(None),
        }
    }

    /// Serves the example jar of this version of Flink from the loopback address.
    pub(crate) async fn example_jar(&self) -> Result<Jar, Failure> {
        let version = if self.version.starts_with("1.") {
            FlinkVersion::V1_20
        } else {
            FlinkVersion::V2_3
        };
        let file = jars::example(version).await?;
        let host = JarHost::start()?;
        let path = format!("/flink-examples-streaming-{}.jar", version.examples());
        host.serve_file(&path, &file)?;
        let (url, prefix) = (host.url(&path), host.url("/"));
        Ok(Jar {
            _host: host,
            url,
            prefix,
        })
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let url = format!("{}{path}", self.url);
        let asked = async { self.http.get(&url).send().await?.error_for_status()?.json().await };
        Ok(asked
            .await
            .map_err(|error: reqwest::Error| format!("Flink does not answer {url}: {error}"))?)
    }
}

/// The example jar, served while this lives.
pub(crate) struct Jar {
    _host: JarHost,
    /// Its address.
    pub(crate) url: String,
    /// What the operator must be allowed to fetch from.
    pub(crate) prefix: String,
}
