//! What the tests on real servers share: one API server, one Flink, one operator as a child process that has only the
//! rights it ships with, and a namespace for each test.

mod contract;
mod gate;
mod job;
mod log;
mod operator;
pub mod rbac;
mod scene;
pub mod taken;

use std::{sync::LazyLock, time::Duration};

use devcluster::{ControlPlane, Flink, FlinkOptions, FlinkVersion, JarHost, jars};
use k8s_openapi::{
    api::core::v1::Namespace, apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client,
    runtime::wait::{await_condition, conditions},
};
use serde_json::json;
use tokio::sync::{Mutex, OnceCell};

pub use contract::{Kstatus, kstatus};
pub use gate::{Behind, Gate};
pub use job::Job;
pub use log::Log;
pub use operator::Operator;
pub use scene::{SESSION, Scene};

/// How long a step may take on a machine that does many other things.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// The manifests that ship.
const CRDS: [(&str, &str); 3] = [
    (
        "flinksessionjobs.flinkjobs.dev",
        include_str!("../../../crds/flinksessionjobs.flinkjobs.dev.yaml"),
    ),
    (
        "flinksessions.flinkjobs.dev",
        include_str!("../../../crds/flinksessions.flinkjobs.dev.yaml"),
    ),
    (
        "savepoints.flinkjobs.dev",
        include_str!("../../../crds/savepoints.flinkjobs.dev.yaml"),
    ),
];

/// Makes the CRDs known to an API server, and the operator's namespace and rights.
pub async fn install(admin: &Client) {
    let crds: Api<CustomResourceDefinition> = Api::all(admin.clone());
    for (_, manifest) in CRDS {
        rbac::apply(&crds, serde_saphyr::from_str(manifest).unwrap()).await;
    }
    for (name, _) in CRDS {
        let established = await_condition(crds.clone(), name, conditions::is_crd_established());
        tokio::time::timeout(PATIENCE, established).await.unwrap().unwrap();
    }
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": rbac::NAMESPACE } });
    rbac::apply(&Api::<Namespace>::all(admin.clone()), namespace).await;
    rbac::install(admin).await;
}

/// The shared API server, with CRDs, without an operator.
pub async fn plane() -> &'static ControlPlane {
    static INSTALLED: OnceCell<()> = OnceCell::const_new();
    let plane = ControlPlane::shared().await.unwrap();
    INSTALLED
        .get_or_init(|| async { install(&plane.client().await.unwrap()).await })
        .await;
    plane
}

/// The operator that all tests share that do not end it, on the shared API server.
pub async fn operator() -> &'static Operator {
    static SHARED: OnceCell<Operator> = OnceCell::const_new();
    let plane = plane().await;
    SHARED.get_or_init(|| Operator::start(plane, "15s")).await
}

/// The Flink that all tests share that do not end it. Each job takes a slot.
pub async fn flink() -> &'static Flink {
    static SHARED: OnceCell<Flink> = OnceCell::const_new();
    let options = FlinkOptions {
        slots: 160,
        ..FlinkOptions::default()
    };
    SHARED
        .get_or_init(|| async { Flink::start(options).await.unwrap() })
        .await
}

/// A Flink with two slots, for tests that end its JobManager or fill it. One test at a time has it.
pub async fn small_flink() -> tokio::sync::MutexGuard<'static, Option<Flink>> {
    static SMALL: Mutex<Option<Flink>> = Mutex::const_new(None);
    let mut small = SMALL.lock().await;
    if small.is_none() {
        let options = FlinkOptions {
            slots: 2,
            ..FlinkOptions::default()
        };
        *small = Some(Flink::start(options).await.unwrap());
    }
    small
}

/// The server that jars come from; the operator is allowed to fetch from it.
pub fn jar_host() -> &'static JarHost {
    static HOST: LazyLock<JarHost> = LazyLock::new(|| JarHost::start().unwrap());
    &HOST
}

/// The port of 127.0.0.1 that notifications may go to. One test listens there.
pub fn notified() -> &'static std::net::TcpListener {
    static LISTENER: LazyLock<std::net::TcpListener> = LazyLock::new(|| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        listener
    });
    &LISTENER
}

/// Serves the test jobs' jar under a path, and returns its address.
pub async fn serve_jar(path: &str) -> String {
    let jar = jars::test_jobs(FlinkVersion::V2_3).await.unwrap();
    jar_host().serve_file(path, &jar).unwrap();
    jar_host().url(path)
}
