//! Connections: requests pass through, writes are recorded and may be held.

use std::{pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use http_body_util::{BodyExt, StreamBody};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Frame, Incoming},
    header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, TRANSFER_ENCODING},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;

use super::{
    Shared, Watches,
    gate::{Moment, Stop, Verdict},
    trace::{Read, Write},
};

/// The time in which an answer that was written reaches its reader.
const READ_WITHIN: Duration = Duration::from_millis(2);

/// The last event of a watch that starts at a version which the API server does not remember, of API server 1.36.
const EXPIRED: &[u8] = br#"{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"too old resource version: 1 (2)","reason":"Expired","code":410}}
"#;

/// Ends a connection without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection is closed on purpose, or the server closed its own")]
pub(super) struct Closed;

type Chunks = Pin<Box<dyn Stream<Item = Result<Frame<Bytes>, Closed>> + Send>>;
type Answer = Result<Response<StreamBody<Chunks>>, Closed>;

/// Serves until stopped.
pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>, stop: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let Ok((stream, _)) = accepted else {
            // Out of file descriptors, as a rule: they come back.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let (shared, stop) = (Arc::clone(&shared), stop.clone());
        tokio::spawn(async move {
            let service = service_fn(|request| answer(Arc::clone(&shared), request));
            let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                _ = connection => {}
                () = stop.cancelled() => {}
            }
        });
    }
}

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Answer {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Closed)?.to_bytes();
    let request = Forwarded {
        path: head.uri.path().to_owned(),
        query: head.uri.query().map(str::to_owned),
        method: head.method,
        headers: head.headers,
        body,
    };
    if request.method == Method::GET {
        return read(&shared, request).await;
    }
    // A write that left its sender goes on without it, as in a network.
    tokio::spawn(async move { write(&shared, request).await })
        .await
        .unwrap_or(Err(Closed))
}

struct Forwarded {
    method: Method,
    path: String,
    query: Option<String>,
    headers: HeaderMap,
    body: Bytes,
}

impl Forwarded {
    async fn send(&self, shared: &Shared) -> Result<reqwest::Response, Closed> {
        let path = shared
            .namespace
            .as_deref()
            .and_then(|name| in_namespace(&self.path, name));
        let path = path.as_deref().unwrap_or(&self.path);
        let query = self.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
        let mut headers = self.headers.clone();
        for name in [HOST, CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING] {
            headers.remove(name);
        }
        shared
            .client
            .request(self.method.clone(), format!("{}{path}{query}", shared.upstream))
            .headers(headers)
            .body(self.body.clone())
            .send()
            .await
            .map_err(|_| Closed)
    }
}

/// The path of a list of our resources in all namespaces, for one namespace.
fn in_namespace(path: &str, namespace: &str) -> Option<String> {
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    match segments.as_slice() {
        ["apis", group @ "flinkjobs.dev", version, plural] => {
            Some(format!("/apis/{group}/{version}/namespaces/{namespace}/{plural}"))
        }
        _ => None,
    }
}

fn response(status: StatusCode, headers: &HeaderMap, chunks: Chunks) -> Response<StreamBody<Chunks>> {
    let mut response = Response::new(StreamBody::new(chunks));
    *response.status_mut() = status;
    for (name, value) in headers {
        if ![CONNECTION, TRANSFER_ENCODING].contains(name) {
            response.headers_mut().append(name, value.clone());
        }
    }
    response
}

/// Passes a reading request through; the answer may be a watch that goes on for long.
async fn read(shared: &Shared, request: Forwarded) -> Answer {
    let watch = request
        .query
        .as_deref()
        .is_some_and(|query| query.split('&').any(|part| part == "watch=true"));
    let number = {
        let mut reads = shared.reads.lock();
        reads.push(Read {
            time: Timestamp::now(),
            path: request.path.clone(),
            watch,
            status: None,
        });
        reads.len() - 1
    };
    let reply = request.send(shared).await?;
    let (status, headers) = (reply.status(), reply.headers().clone());
    if let Some(read) = shared.reads.lock().get_mut(number) {
        read.status = Some(status.as_u16());
    }
    let chunks = reply.bytes_stream().map_err(|_| Closed);
    let chunks: Chunks = if watch {
        Box::pin(watched(shared.watches.subscribe(), request.path, chunks).map_ok(Frame::data))
    } else {
        Box::pin(chunks.map_ok(Frame::data))
    };
    Ok(response(status, &headers, chunks))
}

/// What a watch tells, until it is ended.
fn watched(
    watches: watch::Receiver<Watches>,
    path: String,
    chunks: impl Stream<Item = Result<Bytes, Closed>> + Send + 'static,
) -> impl Stream<Item = Result<Bytes, Closed>> + Send {
    let begun = watches.borrow().ended(&path);
    let (mut ending, last) = (watches.clone(), watches.clone());
    let told = chunks.then(move |chunk| {
        let mut watches = watches.clone();
        async move {
            // Fails when the proxy is gone, and then nothing is held any more.
            let _ = watches.wait_for(|watches| !watches.stalled).await;
            chunk
        }
    });
    let of = path.clone();
    let ended = async move {
        if ending.wait_for(|watches| watches.ended(&of) > begun).await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    let word = async move { (last.borrow().ended(&path) > begun).then_some(Ok(Bytes::from_static(EXPIRED))) };
    told.take_until(ended)
        .chain(stream::once(word).filter_map(std::future::ready))
}

async fn write(shared: &Shared, request: Forwarded) -> Answer {
    let stop = shared.gates.of(request.method.as_str(), &request.path);
    let number = {
        let mut writes = shared.writes.lock();
        writes.push(Write {
            time: Timestamp::now(),
            method: request.method.to_string(),
            path: request.path.clone(),
            body: request.body.clone(),
            status: None,
            note: stop.as_ref().map_or("", |stop| stop.moment.as_str()),
        });
        writes.len() - 1
    };
    let (before, after, replied) = match stop {
        None => (None, None, None),
        Some(stop) => match stop.moment {
            Moment::BeforeForward => (Some(stop), None, None),
            Moment::AfterForward => (None, Some(stop), None),
            Moment::AfterReply => (None, None, Some(stop)),
        },
    };
    if let Some(other) = held(before).await {
        return other;
    }
    let reply = request.send(shared).await?;
    let (status, headers) = (reply.status(), reply.headers().clone());
    let body = reply.bytes().await.map_err(|_| Closed)?;
    if let Some(write) = shared.writes.lock().get_mut(number) {
        write.status = Some(status.as_u16());
    }
    if let Some(other) = held(after).await {
        return other;
    }
    let told = Told(replied);
    let chunks = stream::iter([Ok(Frame::data(body))]).map(move |frame| {
        let _ = &told;
        frame
    });
    Ok(response(status, &headers, Box::pin(chunks)))
}

/// Waits at a gate. None is to go on.
async fn held(stop: Option<Stop>) -> Option<Answer> {
    match stop?.hold().await {
        Verdict::Pass => None,
        Verdict::Cut => Some(Err(Closed)),
        Verdict::Answer(status, body) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let chunks = stream::iter([Ok(Frame::data(body))]);
            Some(Ok(response(status, &HeaderMap::new(), Box::pin(chunks))))
        }
    }
}

/// Opens the gate when the body it belongs to was written and dropped.
struct Told(Option<Stop>);

impl Drop for Told {
    fn drop(&mut self) {
        if let (Some(stop), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(async move {
                tokio::time::sleep(READ_WITHIN).await;
                stop.hold().await;
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lists_of_all_namespaces_are_narrowed() {
        let narrowed = in_namespace("/apis/flinkjobs.dev/v1alpha1/flinksessions", "a");
        assert_eq!(
            narrowed.as_deref(),
            Some("/apis/flinkjobs.dev/v1alpha1/namespaces/a/flinksessions")
        );
        assert_eq!(
            in_namespace("/apis/flinkjobs.dev/v1alpha1/namespaces/b/flinksessions", "a"),
            None
        );
        assert_eq!(in_namespace("/api/v1/namespaces/a", "a"), None);
    }
}
