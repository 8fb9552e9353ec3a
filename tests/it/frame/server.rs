//! `/healthz`, `/readyz` and `/metrics`.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use flink_job_operator::{
    metrics::Metrics,
    server::{Health, Server},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

struct Running {
    address: SocketAddr,
    health: Health,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

async fn start() -> Running {
    let health = Health::default();
    let server = Server::bind("127.0.0.1:0".parse().unwrap(), health.clone(), Metrics::new())
        .await
        .unwrap();
    let (address, shutdown) = (server.local_addr(), CancellationToken::new());
    let task = tokio::spawn(server.run(shutdown.clone()));
    Running {
        address,
        health,
        shutdown,
        task,
    }
}

impl Running {
    /// Sends this, and reads until the server closes.
    async fn raw(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // The server may close before it has read everything.
        let _ = stream.write_all(request.as_bytes()).await;
        let mut reply = Vec::new();
        let _ = stream.read_to_end(&mut reply).await;
        String::from_utf8(reply).unwrap()
    }

    async fn get(&self, path: &str) -> String {
        self.raw(&format!(
            "GET {path} HTTP/1.1\r\nHost: operator\r\nConnection: close\r\n\r\n"
        ))
        .await
    }
}

fn status(reply: &str) -> &str {
    reply.split(' ').nth(1).unwrap_or("none")
}

#[tokio::test]
async fn probes_tell_what_is_wrong() {
    let server = start().await;
    assert_eq!(status(&server.get("/healthz").await), "200");
    assert_eq!(status(&server.get("/readyz").await), "200");

    let cache = server.health.require("FlinkSessionJob cache");
    let beat = server.health.watch_loop("poller", Duration::ZERO);
    tokio::time::sleep(Duration::from_millis(5)).await;
    let unready = server.get("/readyz").await;
    assert_eq!(status(&unready), "503");
    assert!(unready.ends_with("waiting: FlinkSessionJob cache\n"), "{unready}");
    let stuck = server.get("/healthz").await;
    assert_eq!(status(&stuck), "503");
    assert!(stuck.ends_with("poller: no turn for 0 s\n"), "{stuck}");

    cache.set(true);
    drop(beat);
    assert_eq!(status(&server.get("/readyz").await), "200");
    assert_eq!(status(&server.get("/healthz").await), "200");
}

#[tokio::test]
async fn metrics_are_open_metrics() {
    let server = start().await;
    let reply = server.get("/metrics").await;
    assert_eq!(status(&reply), "200");
    assert!(
        reply.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"),
        "{reply}"
    );
    assert!(reply.contains("flinkjobs_build_info{version=") && reply.ends_with("# EOF\n"));
}

#[tokio::test]
async fn it_takes_no_input() {
    let server = start().await;
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        let request =
            format!("{method} /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(status(&server.raw(&request).await), "405", "{method}");
    }
    assert_eq!(status(&server.get("/debug/pprof").await), "404");
    let large = format!(
        "GET /metrics HTTP/1.1\r\nHost: x\r\nX-Large: {}\r\n\r\n",
        "a".repeat(64 * 1024)
    );
    assert_eq!(status(&server.raw(&large).await), "431");
    let body = format!(
        "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n{}",
        "a".repeat(100_000)
    );
    assert_eq!(status(&server.raw(&body).await), "405");
}

#[tokio::test]
async fn a_slow_client_is_cut_and_keeps_nobody_waiting() {
    let server = start().await;
    let start = Instant::now();
    let mut idle = Vec::new();
    for _ in 0..64 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\n").await.unwrap();
        idle.push(stream);
    }
    assert_eq!(status(&server.get("/healthz").await), "200");
    let waited = start.elapsed();
    assert!(
        waited < Duration::from_secs(30),
        "all connections were taken for {waited:?}"
    );
}

#[tokio::test]
async fn it_stops_when_told_even_with_an_idle_client() {
    let server = start().await;
    let _idle = TcpStream::connect(server.address).await.unwrap();
    assert_eq!(status(&server.get("/healthz").await), "200");
    let start = Instant::now();
    server.shutdown.cancel();
    server.task.await.unwrap();
    assert!(start.elapsed() < Duration::from_millis(4500), "{:?}", start.elapsed());
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() {
    let server = start().await;
    let error = Server::bind(server.address, Health::default(), Metrics::new())
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with(&format!("cannot listen on {}", server.address)),
        "{error}"
    );
    assert!(error.ends_with("choose another address with --listen"), "{error}");
}
