//! What all cases share: an API server of their own, since operators of other tests would drive their resources; the CRDs
//! and the rights that ship; jars; and the place where operators run.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use devcluster::{ControlPlane, FlinkVersion, JarHost, cache::Cache, jars, process::Supervisor};
use tokio::sync::OnceCell;

use crate::harness::{self, rbac};

const JAR: &str = "/job.jar";
const OTHER_JAR: &str = "/other.jar";
const TEST_JOBS: &str = "/test-jobs.jar";

/// Flags of the operator with their values.
pub(super) type Flags = BTreeMap<&'static str, &'static str>;

pub(super) struct Ground {
    pub(super) plane: ControlPlane,
    pub(super) supervisor: Arc<Supervisor>,
    /// The kubeconfig of the user that operators are: it may do what the chart lets it do.
    pub(super) user: PathBuf,
    jars: JarHost,
}

impl Ground {
    pub(super) async fn shared() -> Arc<Self> {
        static SHARED: OnceCell<Arc<Ground>> = OnceCell::const_new();
        Arc::clone(SHARED.get_or_init(|| async { Arc::new(Self::start().await) }).await)
    }

    pub(super) async fn start() -> Self {
        let plane = ControlPlane::start().await.unwrap();
        harness::install(&plane.client().await.unwrap()).await;
        let user = plane.user(rbac::USER, &["system:serviceaccounts"]).unwrap();
        let jars = JarHost::start().unwrap();
        jars.serve(JAR, smallest_jar(b"Main.class"));
        jars.serve(OTHER_JAR, smallest_jar(b"Another.class"));
        let supervisor = Supervisor::start("operators", &Cache::open().unwrap().logs()).unwrap();
        Self {
            plane,
            supervisor,
            user,
            jars,
        }
    }

    pub(super) fn jar(&self) -> String {
        self.jars.url(JAR)
    }

    /// A jar with another content.
    pub(super) fn other_jar(&self) -> String {
        self.jars.url(OTHER_JAR)
    }

    /// The jar with the test jobs that a real Flink runs.
    pub(super) async fn test_jobs(&self) -> String {
        let jar = jars::test_jobs(FlinkVersion::V2_3).await.unwrap();
        self.jars.serve_file(TEST_JOBS, &jar).unwrap();
        self.jars.url(TEST_JOBS)
    }

    /// The command of an operator that talks to the API server by way of `kubeconfig`.
    pub(super) fn operator(
        &self,
        name: &str,
        kubeconfig: &Path,
        namespace: &str,
        endpoints: &[String],
        flags: &Flags,
    ) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_flink-job-operator"));
        command
            .arg("run")
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .args(["--namespace", namespace, "--identity", name])
            .args(["--allowed-artifact", &self.jars.url("/")])
            .arg("--artifact-cache-dir")
            .arg(self.supervisor.directory().join(format!("jars-{name}")))
            .env_remove("RUST_LOG")
            .env_remove("KUBECONFIG");
        let mut all = Flags::from([
            ("--leader-elect", "false"),
            ("--listen", "127.0.0.1:0"),
            ("--poll-interval", "200ms"),
            ("--sweep-interval", "2s"),
            ("--log-filter", "info,flink_job_operator=debug"),
        ]);
        all.extend(flags);
        for (flag, value) in all {
            command.arg(flag);
            // A switch has none.
            if !value.is_empty() {
                command.arg(value);
            }
        }
        for endpoint in endpoints {
            command.args(["--allowed-endpoint", endpoint]);
        }
        command
    }
}

/// A zip file with one empty entry.
fn smallest_jar(name: &[u8]) -> Vec<u8> {
    let [low, _] = u16::try_from(name.len()).unwrap().to_le_bytes();
    let mut local = b"PK\x03\x04".to_vec();
    local.resize(30, 0);
    local[26] = low;
    local.extend(name);
    let mut central = b"PK\x01\x02".to_vec();
    central.resize(46, 0);
    central[28] = low;
    central.extend(name);
    let mut end = b"PK\x05\x06".to_vec();
    end.resize(22, 0);
    (end[8], end[10]) = (1, 1);
    end[12] = u8::try_from(central.len()).unwrap();
    end[16] = u8::try_from(local.len()).unwrap();
    [local, central, end].concat()
}
