//! etcd and kube-apiserver on the loopback address, with RBAC, for one test run or one demo.
//!
//! There is no controller manager: nothing collects garbage, makes service account tokens or ends a terminating
//! namespace. What a test needs of that, it does itself.

mod binaries;
mod kubeconfig;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use parking_lot::Mutex;
use tokio::sync::OnceCell;

pub use binaries::{ETCD, KUBERNETES, etcd, kube_apiserver, kubectl};

use crate::{
    blocking,
    cache::{self, Cache},
    pki::{self, Authority, Identity, Keys},
    port,
    process::{self, Process, Supervisor},
};

/// Far above what an idle machine needs (3 s), for a machine that compiles at the same time.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// Another process may take a port between its choice and its use.
const TRIES: u32 = 3;

/// Why the control plane could not be started or used.
#[derive(thiserror::Error)]
pub enum Error {
    /// A program could not be had.
    #[error(transparent)]
    Cache(#[from] cache::Error),
    /// A server did not start.
    #[error(transparent)]
    Process(#[from] process::Error),
    /// A certificate could not be made.
    #[error(transparent)]
    Pki(#[from] pki::Error),
    /// No port could be had.
    #[error("no free port on the loopback address: {0}")]
    Port(#[from] std::io::Error),
    /// The client could not be made.
    #[error("no client for {}: {source}", path.display())]
    Client {
        /// The kubeconfig.
        path: PathBuf,
        /// Why it failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

crate::debug_as_display!(Error);

/// A running etcd and kube-apiserver. Both end, and the directory goes, when this is dropped or the process ends.
#[derive(Debug)]
pub struct ControlPlane {
    // Dropped in this order: the API server first, and the directory when nobody writes to it any more.
    apiserver: Mutex<Process>,
    etcd: Process,
    supervisor: Arc<Supervisor>,
    authority: Authority,
    url: String,
    kubeconfig: PathBuf,
    /// Starts the API server, with the same ports each time.
    command: Command,
    ready_after: Duration,
}

impl ControlPlane {
    /// Starts both servers and waits until the API server is ready; about 3 s. Builds them first when the cache is
    /// empty.
    pub async fn start() -> Result<Self, Error> {
        let cache = Cache::open()?;
        let (for_etcd, for_apiserver) = (cache.clone(), cache.clone());
        let (etcd, apiserver) = tokio::try_join!(
            blocking(move || etcd(&for_etcd)),
            blocking(move || kube_apiserver(&for_apiserver)),
        )?;
        let mut tries = 1;
        loop {
            match Self::start_once(&cache, &etcd, &apiserver).await {
                Err(Error::Process(process::Error::Ended { tail, .. }))
                    if tries < TRIES && tail.contains("address already in use") =>
                {
                    tries += 1;
                }
                started => return started,
            }
        }
    }

    /// The control plane that all tests of this process share. Use a namespace of your own in it.
    pub async fn shared() -> Result<&'static Self, Error> {
        static SHARED: OnceCell<ControlPlane> = OnceCell::const_new();
        SHARED.get_or_try_init(Self::start).await
    }

    async fn start_once(cache: &Cache, etcd: &Path, apiserver: &Path) -> Result<Self, Error> {
        let started = Instant::now();
        let supervisor = Supervisor::start("control-plane", &cache.logs())?;
        let files = Files {
            directory: supervisor.directory(),
        };
        let authority = Authority::new("devcluster")?;
        let tokens = Keys::new()?;
        files.write("ca.crt", &authority.pem())?;
        files.write("tokens.key", &tokens.private)?;
        files.write("tokens.pub", &tokens.public)?;
        files.identity(
            "apiserver",
            &authority.server("kube-apiserver", &["kubernetes.default.svc"])?,
        )?;

        let (client_port, peer_port, secure_port) = (port::free()?, port::free()?, port::free()?);
        // Both at once: the API server waits for etcd by itself.
        let etcd = supervisor.spawn("etcd", &etcd_command(etcd, files.directory, client_port, peer_port))?;
        let command = apiserver_command(apiserver, files.directory, client_port, secure_port);
        let apiserver = supervisor.spawn("kube-apiserver", &command)?;

        let url = format!("https://127.0.0.1:{secure_port}");
        let admin = authority.client("admin", &["system:masters"])?;
        let kubeconfig = files.directory.join("admin.kubeconfig");
        kubeconfig::write(&kubeconfig, &url, &authority.pem(), "admin", &admin)?;
        let client = connect(&kubeconfig).await?;
        if let Err(error) = ready(&apiserver, &client).await {
            // An API server without etcd only waits; then etcd's log has the reason.
            etcd.running()?;
            return Err(error);
        }
        let (ready_after, apiserver) = (started.elapsed(), Mutex::new(apiserver));
        Ok(Self {
            apiserver,
            etcd,
            supervisor,
            authority,
            url,
            kubeconfig,
            command,
            ready_after,
        })
    }

    /// The kubeconfig of the administrator (group `system:masters`, to which RBAC does not apply).
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The path of a new kubeconfig for a user with these groups (at most two). RBAC gives it nothing by default. To
    /// be a service account, be the user `system:serviceaccount:NAMESPACE:NAME` with the group
    /// `system:serviceaccounts`.
    pub fn user(&self, name: &str, groups: &[&str]) -> Result<PathBuf, Error> {
        let identity = self.authority.client(name, groups)?;
        let path = self
            .directory()
            .join(format!("{}.kubeconfig", name.replace([':', '/'], "-")));
        kubeconfig::write(&path, &self.url, &self.authority.pem(), name, &identity)?;
        Ok(path)
    }

    /// A client of the administrator. It belongs to the calling async runtime.
    pub async fn client(&self) -> Result<Client, Error> {
        connect(&self.kubeconfig).await
    }

    /// Where the API server is, `https://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The certificate of the authority that signed the server's and all clients' certificates.
    #[must_use]
    pub fn ca_pem(&self) -> String {
        self.authority.pem()
    }

    /// The temporary directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.supervisor.directory()
    }

    /// The folder with the logs of both servers, which stays for a day.
    #[must_use]
    pub fn logs(&self) -> &Path {
        self.supervisor.logs()
    }

    /// How long it took from the start of the servers until they were ready.
    #[must_use]
    pub fn ready_after(&self) -> Duration {
        self.ready_after
    }

    /// Stops the API server where it is: connections stay open and nothing is answered.
    pub fn freeze(&self) -> Result<(), Error> {
        Ok(self.apiserver.lock().freeze()?)
    }

    /// Lets a frozen API server go on.
    pub fn thaw(&self) -> Result<(), Error> {
        Ok(self.apiserver.lock().thaw()?)
    }

    /// Ends the API server with SIGKILL; connections are refused from then on.
    pub fn kill_apiserver(&self) -> Result<(), Error> {
        self.apiserver.lock().kill()?;
        Ok(())
    }

    /// Starts the API server again on the same port, killing the one that runs, and waits until it is ready.
    pub async fn restart_apiserver(&self) -> Result<(), Error> {
        self.kill_apiserver()?;
        let apiserver = self.supervisor.spawn("kube-apiserver", &self.command)?;
        ready(&apiserver, &self.client().await?).await?;
        *self.apiserver.lock() = apiserver;
        Ok(())
    }

    /// The process id of the API server.
    #[must_use]
    pub fn apiserver_pid(&self) -> u32 {
        self.apiserver.lock().pid()
    }

    /// etcd's process.
    #[must_use]
    pub fn etcd(&self) -> &Process {
        &self.etcd
    }
}

/// A client for a kubeconfig file.
pub async fn connect(path: &Path) -> Result<Client, Error> {
    crate::install_crypto();
    let failed = |source| Error::Client {
        path: path.to_owned(),
        source,
    };
    let kubeconfig = Kubeconfig::read_from(path).map_err(|error| failed(error.into()))?;
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .map_err(|error| failed(error.into()))?;
    Client::try_from(config).map_err(|error| failed(error.into()))
}

async fn ready(apiserver: &Process, client: &Client) -> Result<(), Error> {
    apiserver.ready(READY_WITHIN, || probe(client, "/readyz")).await?;
    // Made by a controller of the API server itself, a moment after it is ready.
    Ok(apiserver
        .ready(READY_WITHIN, || probe(client, "/api/v1/namespaces/default"))
        .await?)
}

async fn probe(client: &Client, path: &str) -> Result<(), String> {
    let request = http::Request::get(path)
        .body(Vec::new())
        .map_err(|error| error.to_string())?;
    let answer = tokio::time::timeout(Duration::from_secs(5), client.request_text(request)).await;
    answer
        .map_err(|_| "no answer within 5 s".to_owned())?
        .map(drop)
        .map_err(|error| error.to_string())
}

fn etcd_command(program: &Path, directory: &Path, client_port: u16, peer_port: u16) -> Command {
    let client = format!("http://127.0.0.1:{client_port}");
    let peer = format!("http://127.0.0.1:{peer_port}");
    let mut command = Command::new(program);
    command
        .arg("--data-dir")
        .arg(directory.join("etcd"))
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("default={peer}")])
        // Nothing has to survive a power cut.
        .args(["--unsafe-no-fsync", "--log-level=warn"]);
    command
}

fn apiserver_command(program: &Path, directory: &Path, etcd_port: u16, secure_port: u16) -> Command {
    let mut command = Command::new(program);
    let mut flag = |name: &str, value: &str| {
        command.arg(format!("--{name}={value}"));
    };
    let path = |name: &str| directory.join(name).display().to_string();
    flag("etcd-servers", &format!("http://127.0.0.1:{etcd_port}"));
    flag("bind-address", "127.0.0.1");
    flag("advertise-address", "127.0.0.1");
    flag("secure-port", &secure_port.to_string());
    flag("tls-cert-file", &path("apiserver.crt"));
    flag("tls-private-key-file", &path("apiserver.key"));
    flag("client-ca-file", &path("ca.crt"));
    flag("service-account-issuer", "https://kubernetes.default.svc.cluster.local");
    flag("service-account-key-file", &path("tokens.pub"));
    flag("service-account-signing-key-file", &path("tokens.key"));
    flag("service-cluster-ip-range", "10.0.0.0/24");
    flag("authorization-mode", "RBAC");
    // It would wait for a service account in each namespace, which only the controller manager makes.
    flag("disable-admission-plugins", "ServiceAccount");
    // Saves 0.8 s of the start. Without it a plain limit holds, which a benchmark would run into; 0 lifts it.
    flag("enable-priority-and-fairness", "false");
    flag("max-requests-inflight", "0");
    flag("max-mutating-requests-inflight", "0");
    flag("endpoint-reconciler-type", "none");
    flag("allow-privileged", "true");
    flag("profiling", "false");
    command
}

#[derive(Debug)]
struct Files<'a> {
    directory: &'a Path,
}

impl Files<'_> {
    fn write(&self, name: &str, content: &str) -> Result<(), Error> {
        let path = self.directory.join(name);
        Ok(fs::write(&path, content).map_err(process::file("write", &path))?)
    }

    fn identity(&self, name: &str, identity: &Identity) -> Result<(), Error> {
        self.write(&format!("{name}.crt"), &identity.certificate)?;
        self.write(&format!("{name}.key"), &identity.key)
    }
}
