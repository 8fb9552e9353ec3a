//! A proxy on the loopback address, between the operator and the API server or Flink, that stops a chosen request at a
//! chosen moment and writes down every write in order.
//!
//! The operator speaks plain HTTP to it. Towards the API server it uses TLS with the certificate of a kubeconfig's user.
//! What happens to a stopped request, and to the operator meanwhile, is the test's to say:
//!
//! ```no_run
//! # async fn example(operator: devcluster::process::Process) -> Result<(), Box<dyn std::error::Error>> {
//! use devcluster::proxy::{Moment, Proxy, Rule};
//!
//! let proxy = Proxy::to_flink("http://127.0.0.1:8081").await?;
//! let mut gate = proxy.gate(Rule::on("POST", "/jars/*/run", Moment::AfterForward).nth(2));
//! // … the operator runs against proxy.url() …
//! let held = gate.reached().await;
//! operator.kill()?;
//! held.cut();
//! # Ok(())
//! # }
//! ```

mod gate;
mod serve;
mod trace;

use std::{
    collections::HashMap,
    fs, io,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
};

use kube::{
    Config,
    client::ConfigExt,
    config::{KubeConfigOptions, Kubeconfig},
};
use parking_lot::Mutex;
use serde_json::json;
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;

pub use gate::{Gate, Held, Moment, Rule};
pub use trace::{Read, Write};

use gate::Gates;

/// Why a proxy could not be started.
#[derive(thiserror::Error)]
pub enum Error {
    /// A socket or a file could not be used.
    #[error("the proxy cannot start: {0}")]
    Io(#[from] io::Error),
    /// The kubeconfig could not be used.
    #[error("the proxy cannot use the kubeconfig: {0}")]
    Kubeconfig(Box<dyn std::error::Error + Send + Sync>),
    /// The client towards the server could not be made.
    #[error("the proxy cannot make a client: {0}")]
    Client(#[from] reqwest::Error),
}

crate::debug_as_display!(Error);

/// What becomes of watches.
#[derive(Debug, Default)]
struct Watches {
    /// They stand still.
    stalled: bool,
    /// How often those of a kind, by its plural, have been ended.
    ended: HashMap<String, u64>,
}

impl Watches {
    /// How often the watches of what this path lists have been ended.
    fn ended(&self, path: &str) -> u64 {
        let plural = path.rsplit('/').next().unwrap_or_default();
        self.ended.get(plural).copied().unwrap_or_default()
    }
}

struct Shared {
    /// The server, without a slash at the end.
    upstream: String,
    client: reqwest::Client,
    /// The only namespace that lists and watches of all namespaces see.
    namespace: Option<String>,
    writes: Mutex<Vec<Write>>,
    reads: Mutex<Vec<Read>>,
    watches: watch::Sender<Watches>,
    gates: Gates,
}

/// A running proxy. Stops when dropped.
pub struct Proxy {
    shared: Arc<Shared>,
    address: SocketAddr,
    stop: CancellationToken,
}

impl Proxy {
    /// A proxy to a JobManager's REST address.
    pub async fn to_flink(url: &str) -> Result<Self, Error> {
        // Without a pool: a connection that died with its JobManager must not spoil a request to the next one.
        let client = client().pool_max_idle_per_host(0).build()?;
        Self::start(url, client, None).await
    }

    /// A proxy to an API server, as the user of a kubeconfig. Who lists or watches our resources of all namespaces
    /// through it gets those of `namespace`, if one is given: so that many operators work on one API server, each in
    /// a world of its own.
    pub async fn to_api_server(kubeconfig: &Path, namespace: Option<&str>) -> Result<Self, Error> {
        crate::install_crypto();
        let kubeconfig = Kubeconfig::read_from(kubeconfig).map_err(|error| Error::Kubeconfig(error.into()))?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .map_err(|error| Error::Kubeconfig(error.into()))?;
        let tls = config
            .rustls_client_config()
            .map_err(|error| Error::Kubeconfig(error.into()))?;
        let client = client().tls_backend_preconfigured(tls).build()?;
        Self::start(&config.cluster_url.to_string(), client, namespace.map(str::to_owned)).await
    }

    async fn start(upstream: &str, client: reqwest::Client, namespace: Option<String>) -> Result<Self, Error> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            upstream: upstream.trim_end_matches('/').to_owned(),
            client,
            namespace,
            writes: Mutex::default(),
            reads: Mutex::default(),
            watches: watch::Sender::default(),
            gates: Gates::default(),
        });
        let stop = CancellationToken::new();
        tokio::spawn(serve::serve(listener, Arc::clone(&shared), stop.clone()));
        Ok(Self { shared, address, stop })
    }

    /// Where it is, `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Writes a kubeconfig that leads here, without credentials.
    pub fn write_kubeconfig(&self, path: &Path) -> Result<(), Error> {
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "proxy", "cluster": {"server": self.url()}}],
            "users": [{"name": "proxy", "user": {}}],
            "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "proxy"}}],
            "current-context": "proxy",
        });
        Ok(fs::write(path, format!("{config:#}\n"))?)
    }

    /// Waits for a write that matches, counted from now on. The first gate that matches a request gets it.
    #[must_use]
    pub fn gate(&self, rule: Rule) -> Gate {
        self.shared.gates.open(rule)
    }

    /// Every write so far, in order of arrival.
    #[must_use]
    pub fn writes(&self) -> Vec<Write> {
        self.shared.writes.lock().clone()
    }

    /// Every read so far, in order of arrival.
    #[must_use]
    pub fn reads(&self) -> Vec<Read> {
        self.shared.reads.lock().clone()
    }

    /// Holds back what watches tell from now on, as a connection does that has silently died; or no longer.
    pub fn stall_watches(&self, stalled: bool) {
        self.shared.watches.send_modify(|watches| watches.stalled = stalled);
    }

    /// Ends the watches of a kind, given by its plural, with the words of an API server that has forgotten the version they
    /// started at. What they held back is lost: who wants to know it lists anew.
    pub fn expire_watches(&self, plural: &str) {
        let end = |watches: &mut Watches| *watches.ended.entry(plural.to_owned()).or_default() += 1;
        self.shared.watches.send_modify(end);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn client() -> reqwest::ClientBuilder {
    crate::install_crypto();
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
}
