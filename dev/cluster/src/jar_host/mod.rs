//! A file server on the loopback address, HTTP and HTTPS, that misbehaves on request and counts what it was asked.

mod answer;
mod connection;

use std::{
    collections::HashMap,
    fs, io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use rustls::{ServerConfig, pki_types::pem::PemObject};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::{
    cache::{self, Cache},
    pki::{self, Authority, Identity},
    process::{self, Supervisor},
};

/// A name in the server's certificate, besides `localhost` and `127.0.0.1`, for clients that resolve names themselves.
pub const NAME: &str = "jar-host.test";

/// Why the server could not be started.
#[derive(thiserror::Error)]
pub enum Error {
    /// A socket, a thread or a file could not be used.
    #[error("the jar host cannot start: {0}")]
    Io(#[from] io::Error),
    /// There is no cache folder for its log.
    #[error(transparent)]
    Cache(#[from] cache::Error),
    /// There is no directory for its certificate.
    #[error(transparent)]
    Process(#[from] process::Error),
    /// The certificate could not be made.
    #[error(transparent)]
    Pki(#[from] pki::Error),
    /// The certificate could not be used.
    #[error("the jar host cannot use its certificate: {0}")]
    Tls(String),
}

crate::debug_as_display!(Error);

/// What the server does instead of a plain answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// This status with a short text.
    Status(u16),
    /// 302 with this `Location`.
    Redirect(String),
    /// The right answer, this late.
    Delay(Duration),
    /// The right answer, with so many bytes of the body each second.
    Drip(usize),
    /// The content and then zeros, for ever, without `Content-Length`.
    Endless,
    /// The right body with this `Content-Length`.
    ContentLength(u64),
    /// The right headers, so many bytes of the body, and then the end of the connection.
    Truncate(usize),
    /// Other bytes under the same `ETag`.
    OtherContent(Bytes),
}

/// One request, as the server saw and answered it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `GET` or `HEAD`.
    pub method: String,
    /// With the leading slash, without the query.
    pub path: String,
    /// What follows the question mark, which makes no difference to the answer.
    pub query: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// Whether it came over HTTPS.
    pub tls: bool,
    /// The status it was answered with.
    pub status: u16,
}

#[derive(Debug, Default)]
struct State {
    files: HashMap<String, File>,
    faults: HashMap<String, Fault>,
    requests: Vec<Request>,
}

#[derive(Debug, Clone)]
struct File {
    content: Bytes,
    etag: String,
}

/// The server. It runs on a thread of its own, so that tests with an async runtime each can share it, and ends when
/// dropped.
#[derive(Debug)]
pub struct JarHost {
    state: Arc<Mutex<State>>,
    http: SocketAddr,
    https: SocketAddr,
    ca_pem: String,
    supervisor: Arc<Supervisor>,
    stop: CancellationToken,
}

impl JarHost {
    /// Starts the server on two free ports, with nothing to serve.
    pub fn start() -> Result<Self, Error> {
        let authority = Authority::new("devcluster jar host")?;
        let supervisor = Supervisor::start("jar-host", &Cache::open()?.logs())?;
        let ca_pem = authority.pem();
        let ca_file = supervisor.directory().join("ca.crt");
        fs::write(&ca_file, &ca_pem).map_err(process::file("write", &ca_file))?;
        let tls = tls(&authority.server("jar-host", &[NAME])?)?;

        let listen = || {
            let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            listener.set_nonblocking(true)?;
            Ok::<_, io::Error>((listener.local_addr()?, listener))
        };
        let ((http, plain), (https, secure)) = (listen()?, listen()?);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (state, stop) = (Arc::new(Mutex::new(State::default())), CancellationToken::new());
        let (served, stopped) = (Arc::clone(&state), stop.clone());
        let serve = async move {
            let plain = connection::accept(TcpListener::from_std(plain)?, None, Arc::clone(&served));
            let secure = connection::accept(TcpListener::from_std(secure)?, Some(tls), served);
            tokio::select! {
                () = plain => {}
                () = secure => {}
                () = stopped.cancelled() => {}
            }
            Ok::<_, io::Error>(())
        };
        // Connections that are still open end with the runtime.
        std::thread::Builder::new()
            .name("jar-host".to_owned())
            .spawn(move || runtime.block_on(serve))?;
        Ok(Self {
            state,
            http,
            https,
            ca_pem,
            supervisor,
            stop,
        })
    }

    /// Serves `content` under `path` (with a leading slash), with an `ETag` of the content.
    pub fn serve(&self, path: &str, content: impl Into<Bytes>) {
        let content = content.into();
        let etag = answer::etag(&content);
        self.state.lock().files.insert(path.to_owned(), File { content, etag });
    }

    /// Serves what the file holds now.
    pub fn serve_file(&self, path: &str, file: &Path) -> Result<(), Error> {
        self.serve(path, fs::read(file).map_err(process::file("read", file))?);
        Ok(())
    }

    /// Serves nothing under `path` any more: 404.
    pub fn remove(&self, path: &str) {
        self.state.lock().files.remove(path);
    }

    /// Answers requests for `path` with this fault, until [`mend`](Self::mend).
    pub fn fault(&self, path: &str, fault: Fault) {
        self.state.lock().faults.insert(path.to_owned(), fault);
    }

    /// Answers requests for `path` as it should again.
    pub fn mend(&self, path: &str) {
        self.state.lock().faults.remove(path);
    }

    /// The plain address of `path`.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http)
    }

    /// The HTTPS address of `path`. The certificate is signed by [`ca_file`](Self::ca_file).
    #[must_use]
    pub fn https_url(&self, path: &str) -> String {
        format!("https://{}{path}", self.https)
    }

    /// The address of the HTTPS socket, for clients that resolve [`NAME`] to it.
    #[must_use]
    pub fn https_address(&self) -> SocketAddr {
        self.https
    }

    /// The authority's certificate, as a file.
    #[must_use]
    pub fn ca_file(&self) -> PathBuf {
        self.supervisor.directory().join("ca.crt")
    }

    /// The authority's certificate.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// All requests so far, in the order of their answers.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.state.lock().requests.clone()
    }

    /// How many requests for `path` were answered with `status`.
    #[must_use]
    pub fn count(&self, path: &str, status: u16) -> usize {
        let state = self.state.lock();
        state
            .requests
            .iter()
            .filter(|request| request.path == path && request.status == status)
            .count()
    }
}

impl Drop for JarHost {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn tls(identity: &Identity) -> Result<TlsAcceptor, Error> {
    crate::install_crypto();
    let failed = |error: &dyn std::error::Error| Error::Tls(error.to_string());
    let certificates = rustls::pki_types::CertificateDer::pem_slice_iter(identity.certificate.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| failed(&error))?;
    let key =
        rustls::pki_types::PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).map_err(|error| failed(&error))?;
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(certificates, key);
    Ok(TlsAcceptor::from(Arc::new(config.map_err(|error| failed(&error))?)))
}
