//! The operator's own HTTP server: `/healthz`, `/readyz` and `/metrics`. Read-only, small, and slow clients cost nothing.
//!
//! It is meant for the kubelet and for Prometheus. It shows no names of objects and no secrets, and takes no input: only
//! GET and HEAD, no body, headers of at most 16 KiB within 5 s, 64 connections at a time, each for at most two minutes.

mod health;

use std::{
    fmt::Write,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use health::{Beat, Condition, Health};

use crate::metrics::Metrics;

const CONNECTIONS: usize = 64;
const HEADER_BYTES: usize = 16 * 1024;
const HEADERS: usize = 64;
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECTION_LIFE: Duration = Duration::from_secs(120);
/// Answers that are being written at shutdown get this long.
const GRACE: Duration = Duration::from_secs(2);
/// Pause after a connection could not be accepted, for example for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// The server cannot listen.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} for health and metrics: {source}; choose another address with --listen")]
pub struct ListenError {
    address: SocketAddr,
    source: std::io::Error,
}

/// A server that listens, and answers once [`Server::run`] is polled.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    state: Endpoints,
}

#[derive(Debug, Clone)]
struct Endpoints {
    health: Health,
    metrics: Metrics,
}

impl Server {
    /// Listens on `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// [`ListenError`] when the address is taken or not ours.
    pub async fn bind(address: SocketAddr, health: Health, metrics: Metrics) -> Result<Self, ListenError> {
        let listen = async {
            let listener = TcpListener::bind(address).await?;
            let bound = listener.local_addr()?;
            Ok((listener, bound))
        };
        let (listener, bound) = listen.await.map_err(|source| ListenError { address, source })?;
        Ok(Self {
            listener,
            address: bound,
            state: Endpoints { health, metrics },
        })
    }

    /// The address that it really listens on.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `shutdown`, then lets answers under way finish.
    pub async fn run(self, shutdown: CancellationToken) {
        tracing::info!(address = %self.address, "serving /healthz, /readyz and /metrics");
        let router = Router::new()
            .route("/healthz", get(healthz))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .with_state(self.state);
        let slots = Arc::new(Semaphore::new(CONNECTIONS));
        let open = TaskTracker::new();
        loop {
            let accepted = async {
                // Never closed, so there always comes one.
                let slot = slots.clone().acquire_owned().await.ok();
                (slot, self.listener.accept().await)
            };
            let (slot, accepted) = tokio::select! {
                () = shutdown.cancelled() => break,
                accepted = accepted => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    let connection = serve(stream, router.clone(), shutdown.clone());
                    open.spawn(async move {
                        connection.await;
                        drop(slot);
                    });
                }
                Err(error) => {
                    tracing::debug!("connection not accepted: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(self.listener);
        open.close();
        let _late = tokio::time::timeout(GRACE, open.wait()).await;
    }
}

async fn serve(stream: TcpStream, router: Router, shutdown: CancellationToken) {
    let mut connection = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_headers(HEADERS)
            .max_buf_size(HEADER_BYTES)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
    );
    let over = tokio::select! {
        _ = connection.as_mut() => true,
        () = shutdown.cancelled() => false,
        () = tokio::time::sleep(CONNECTION_LIFE) => false,
    };
    if !over {
        connection.as_mut().graceful_shutdown();
        let _late = tokio::time::timeout(GRACE, connection).await;
    }
}

/// Alive: every loop turns.
async fn healthz(State(state): State<Endpoints>) -> Response {
    let stuck = state.health.stuck(Instant::now());
    if stuck.is_empty() {
        return "ok\n".into_response();
    }
    let mut lines = String::new();
    for (name, silence) in stuck {
        // Writing into a String cannot fail.
        let _infallible = writeln!(lines, "{name}: no turn for {} s", silence.as_secs());
    }
    (StatusCode::SERVICE_UNAVAILABLE, lines).into_response()
}

/// Ready: the caches are filled. A standby is ready too.
async fn readyz(State(state): State<Endpoints>) -> Response {
    let missing = state.health.missing();
    if missing.is_empty() {
        return "ok\n".into_response();
    }
    let lines = format!("waiting: {}\n", missing.join(", "));
    (StatusCode::SERVICE_UNAVAILABLE, lines).into_response()
}

async fn metrics(State(state): State<Endpoints>) -> Response {
    ([(CONTENT_TYPE, Metrics::CONTENT_TYPE)], state.metrics.text()).into_response()
}
