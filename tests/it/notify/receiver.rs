//! A receiver on the loopback addresses that answers as it is told.

use std::{
    collections::{HashMap, VecDeque},
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, HeaderName, Method, Uri},
    response::{IntoResponse, Response},
};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::net::TcpListener;

/// What is answered once.
#[derive(Clone)]
pub enum Answer {
    /// This status.
    Status(u16),
    /// This status, with a header.
    Header(u16, HeaderName, String),
    /// A status, this late.
    After(Duration, u16),
}

/// A request that came.
#[derive(Clone)]
pub struct Request {
    pub method: Method,
    /// With the query.
    pub path: String,
    pub headers: HeaderMap,
    pub body: Value,
    pub at: Instant,
}

#[derive(Clone, Default)]
struct Kept {
    requests: Arc<Mutex<Vec<Request>>>,
    answers: Arc<Mutex<HashMap<String, VecDeque<Answer>>>>,
}

/// Listens on a port of all loopback addresses, each of which is a host of its own to its clients.
pub struct Receiver {
    port: u16,
    kept: Kept,
}

impl Receiver {
    pub async fn start() -> Self {
        let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        Self::on(TcpListener::bind(any).await.unwrap())
    }

    /// Takes over a listener.
    pub fn on(listener: TcpListener) -> Self {
        let kept = Kept::default();
        let port = listener.local_addr().unwrap().port();
        let app = Router::new().fallback(answer).with_state(kept.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { port, kept }
    }

    /// An address of the host 127.0.0.`host`.
    pub fn url(&self, host: u8, path: &str) -> String {
        format!("http://127.0.0.{host}:{}{path}", self.port)
    }

    /// Answers requests for a path in this way, one after the other, and 204 afterwards.
    pub fn answers(&self, path: &str, answers: impl IntoIterator<Item = Answer>) {
        self.kept
            .answers
            .lock()
            .insert(path.to_owned(), answers.into_iter().collect());
    }

    /// The requests for a path.
    pub fn requests(&self, path: &str) -> Vec<Request> {
        let requests = self.kept.requests.lock();
        requests
            .iter()
            .filter(|request| request.path == path)
            .cloned()
            .collect()
    }
}

async fn answer(State(kept): State<Kept>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let path = uri.path_and_query().unwrap().to_string();
    kept.requests.lock().push(Request {
        method,
        path: path.clone(),
        headers,
        body: serde_json::from_slice(&body).unwrap_or_default(),
        at: Instant::now(),
    });
    let next = kept.answers.lock().get_mut(&path).and_then(VecDeque::pop_front);
    let status = |status: u16| axum::http::StatusCode::from_u16(status).unwrap();
    match next.unwrap_or(Answer::Status(204)) {
        Answer::Status(code) => status(code).into_response(),
        Answer::Header(code, name, value) => (status(code), [(name, value)]).into_response(),
        Answer::After(wait, code) => {
            tokio::time::sleep(wait).await;
            status(code).into_response()
        }
    }
}
