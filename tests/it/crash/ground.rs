//! What all cases share: an API server of their own, since operators of other tests would drive their resources; the CRDs;
//! a jar; and the place where operators run.

use std::{process::Command, sync::Arc, time::Duration};

use devcluster::{ControlPlane, JarHost, cache::Cache, process::Supervisor};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams},
    runtime::wait::{await_condition, conditions::is_crd_established},
};
use tokio::sync::OnceCell;

const JAR: &str = "/job.jar";

pub(super) struct Ground {
    pub(super) plane: ControlPlane,
    pub(super) supervisor: Arc<Supervisor>,
    jars: JarHost,
}

impl Ground {
    pub(super) async fn shared() -> &'static Self {
        static SHARED: OnceCell<Ground> = OnceCell::const_new();
        SHARED.get_or_init(Self::start).await
    }

    async fn start() -> Self {
        let plane = ControlPlane::start().await.unwrap();
        install_crds(plane.client().await.unwrap()).await;
        let jars = JarHost::start().unwrap();
        jars.serve(JAR, smallest_jar());
        let supervisor = Supervisor::start("operators", &Cache::open().unwrap().logs()).unwrap();
        Self {
            plane,
            supervisor,
            jars,
        }
    }

    pub(super) fn jar(&self) -> String {
        self.jars.url(JAR)
    }

    /// The command of an operator that talks to the API server by way of `kubeconfig`.
    pub(super) fn operator(
        &self,
        name: &str,
        kubeconfig: &std::path::Path,
        namespace: &str,
        endpoints: &[String],
    ) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_flink-job-operator"));
        command
            .arg("run")
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .args(["--namespace", namespace, "--leader-elect", "false"])
            .args(["--identity", name])
            .args(["--listen", "127.0.0.1:0", "--poll-interval", "200ms"])
            .args(["--allowed-artifact", &self.jars.url("/")])
            .args(["--sweep-interval", "2s"])
            .args(["--log-filter", "info,flink_job_operator=debug"])
            .arg("--artifact-cache-dir")
            .arg(self.supervisor.directory().join(format!("jars-{name}")));
        for endpoint in endpoints {
            command.args(["--allowed-endpoint", endpoint]);
        }
        command
    }
}

async fn install_crds(client: Client) {
    let crds: Api<CustomResourceDefinition> = Api::all(client);
    for crd in flink_job_operator::api::crds() {
        let parameters = PatchParams::apply("crash-tests").force();
        let name = crd.name_any();
        crds.patch(&name, &parameters, &Patch::Apply(&crd)).await.unwrap();
        let established = await_condition(crds.clone(), &name, is_crd_established());
        tokio::time::timeout(Duration::from_secs(30), established)
            .await
            .unwrap()
            .unwrap();
    }
}

/// A zip file with one empty entry.
fn smallest_jar() -> Vec<u8> {
    let name = b"Main.class";
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
