//! The operator as a child process, under the rights that it ships with.

use std::{fs, path::PathBuf, process::Command, sync::Arc, time::Duration};

use devcluster::{
    ControlPlane,
    cache::Cache,
    port,
    process::{Process, Supervisor},
};

use super::{gate::Gate, rbac};

/// A running operator; it ends with this process, or when dropped.
pub struct Operator {
    process: Process,
    supervisor: Arc<Supervisor>,
    kubeconfig: PathBuf,
    port: u16,
    lease: &'static str,
    more: Vec<String>,
}

impl Operator {
    /// Starts one, and waits until it is ready. CRDs and rights must be there.
    pub async fn start(plane: &ControlPlane, lease: &'static str) -> Self {
        Self::start_with(plane, lease, Vec::new()).await
    }

    /// The same with more arguments.
    pub async fn start_with(plane: &ControlPlane, lease: &'static str, more: Vec<String>) -> Self {
        let supervisor = Supervisor::start("operator", &Cache::open().unwrap().logs()).unwrap();
        let kubeconfig = plane.user(rbac::USER, &["system:serviceaccounts"]).unwrap();
        let port = port::free().unwrap();
        let process = spawn(&supervisor, &kubeconfig, port, lease, &more);
        let operator = Self {
            process,
            supervisor,
            kubeconfig,
            port,
            lease,
            more,
        };
        operator.ready().await;
        operator
    }

    /// `kill -9`.
    pub fn kill(&self) {
        self.process.kill().unwrap();
    }

    /// Starts it again after [`kill`](Self::kill), with the same arguments and log.
    pub async fn restart(&mut self) {
        self.process = spawn(&self.supervisor, &self.kubeconfig, self.port, self.lease, &self.more);
        self.ready().await;
    }

    async fn ready(&self) {
        let probe = async || match self.http("/readyz").await {
            Ok((200, _)) => Ok(()),
            Ok((status, body)) => Err(format!("/readyz says {status}: {body}")),
            Err(error) => Err(error.to_string()),
        };
        self.process.ready(Duration::from_secs(60), probe).await.unwrap();
    }

    /// Status and body of one of its pages.
    pub async fn http(&self, path: &str) -> Result<(u16, String), reqwest::Error> {
        devcluster::install_crypto();
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(5))
            .build()?;
        let answer = client
            .get(format!("http://127.0.0.1:{}{path}", self.port))
            .send()
            .await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    }

    /// A sample of `/metrics`, by its whole name with labels; 0 when it is not there.
    pub async fn metric(&self, name: &str) -> f64 {
        let (_, text) = self.http("/metrics").await.unwrap();
        let sample = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        sample.map_or(0.0, |value| value.trim().parse().unwrap())
    }

    /// Everything that it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.process.log()).unwrap()
    }

    /// What no log may ever hold.
    pub fn check_log(&self) {
        for line in self.log().lines() {
            let bad = ["panicked", "Forbidden", "forbidden:", "no decision after"];
            assert!(!bad.iter().any(|bad| line.contains(bad)), "the operator logged: {line}");
        }
    }
}

fn spawn(supervisor: &Arc<Supervisor>, kubeconfig: &PathBuf, port: u16, lease: &str, more: &[String]) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flink-job-operator"));
    command
        .arg("run")
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .args(["--namespace", rbac::NAMESPACE, "--lease-duration", lease])
        .arg("--listen")
        .arg(format!("127.0.0.1:{port}"))
        .args(["--poll-interval", "500ms", "--max-artifact-size", "5000000"])
        .arg("--artifact-cache-dir")
        .arg(supervisor.directory().join("artifacts"))
        .arg("--allowed-artifact")
        .arg(super::jar_host().url("/"))
        .arg("--allowed-notification-url")
        .arg(format!("http://{}/", super::notified().local_addr().unwrap()))
        .args(more)
        .env_remove("RUST_LOG")
        .env_remove("KUBECONFIG");
    for url in Gate::urls() {
        command.arg("--allowed-endpoint").arg(url);
    }
    supervisor.spawn("operator", &command).unwrap()
}
