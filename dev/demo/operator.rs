//! The operator, as a child process that cannot outlive the demo.

use std::{env, process::Command, sync::Arc, time::Duration};

use devcluster::{
    cache::Cache,
    port,
    process::{Process, Supervisor},
};

use crate::{Failure, arguments::Arguments, cluster::Cluster, flink};

/// The hidden first argument that makes the demo's executable the operator.
pub(crate) const ARGUMENT: &str = "be-the-operator";

/// Far above what it needs (under a second), for a machine that is busy.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// The running operator.
pub(crate) struct Operator {
    process: Process,
    supervisor: Arc<Supervisor>,
    address: String,
}

impl Operator {
    /// Starts the operator and waits until it is ready.
    pub(crate) async fn start(
        arguments: &Arguments,
        cluster: &Cluster,
        session: &flink::Session,
        jar: &flink::Jar,
    ) -> Result<Self, Failure> {
        let supervisor = Supervisor::start("demo", &Cache::open()?.logs())?;
        let address = format!("127.0.0.1:{}", port::free()?);
        let mut command = Command::new(env::current_exe()?);
        command
            .args([ARGUMENT, "run", "--release", "flink-job-operator-demo"])
            .args(cluster.flags())
            .args(["--namespace", &arguments.namespace, "--listen", &address])
            .args(["--allowed-endpoint", session.url()])
            .args(["--allowed-artifact", &jar.prefix])
            .arg("--artifact-cache-dir")
            .arg(supervisor.directory().join("jars"));
        let process = supervisor.spawn("operator", &command)?;
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(2))
            .build()?;
        let ready = format!("http://{address}/readyz");
        process
            .ready(READY_WITHIN, || async {
                let answer = http.get(&ready).send().await.map_err(|error| error.to_string())?;
                let status = answer.status();
                status
                    .is_success()
                    .then_some(())
                    .ok_or_else(|| format!("{ready}: {status}"))
            })
            .await?;
        Ok(Self {
            process,
            supervisor,
            address,
        })
    }

    /// An error that shows the end of the log, once the operator has ended.
    pub(crate) fn running(&self) -> Result<(), Failure> {
        Ok(self.process.running()?)
    }

    /// The log file, which stays for a day.
    pub(crate) fn log(&self) -> String {
        self.process.log().display().to_string()
    }

    /// The last lines of the log.
    pub(crate) fn tail(&self) -> String {
        self.process.tail()
    }

    /// Where `/metrics` is.
    pub(crate) fn metrics(&self) -> String {
        format!("http://{}/metrics", self.address)
    }

    /// A folder that is gone when the operator is.
    pub(crate) fn directory(&self) -> &std::path::Path {
        self.supervisor.directory()
    }
}
