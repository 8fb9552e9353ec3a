//! Connections: freezing, faults and latency around the handling of a request.

use std::{net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use http_body_util::{BodyExt, StreamBody};
use hyper::{
    Request, Response,
    body::{Frame, Incoming},
    header::AUTHORIZATION,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
};
use tokio_util::sync::CancellationToken;

use super::{
    Shared,
    endpoints::Endpoint,
    faults::{Action, Injected, Reply},
    handlers::{Body, handle},
    upload::Upload,
};

/// Ends a connection without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection is dropped on purpose")]
pub(super) struct Dropped;

type Chunks = Pin<Box<dyn Stream<Item = Result<Frame<Bytes>, Dropped>> + Send>>;
type Answer = Result<Response<StreamBody<Chunks>>, Dropped>;

/// Binds the address; a port that a dead process of ours had is free at once.
pub(super) async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Serves until the process is dead.
pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>, process: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = process.cancelled() => return,
        };
        let Ok((stream, _)) = accepted else {
            // Out of file descriptors, as a rule: they come back.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let (shared, process) = (Arc::clone(&shared), process.clone());
        tokio::spawn(async move {
            let dead = process.clone();
            let served = async {
                match shared.tls.clone() {
                    None => connection(stream, shared, process).await,
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream).await {
                            connection(stream, shared, process).await;
                        }
                    }
                }
            };
            tokio::select! {
                () = served => {}
                () = dead.cancelled() => {}
            }
        });
    }
}

async fn connection<S>(stream: S, shared: Arc<Shared>, process: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|request| answer(Arc::clone(&shared), process.clone(), request));
    let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // Ends with an error when a fault cuts it.
    let _ = connection.await;
}

async fn answer(shared: Arc<Shared>, process: CancellationToken, request: Request<Incoming>) -> Answer {
    let (method, path) = (request.method().as_str().to_owned(), request.uri().path().to_owned());
    let endpoint = Endpoint::of(&method, &path);
    shared
        .jobmanager
        .lock()
        .record
        .arrived(&method, &path, endpoint.template());
    let authorization = request
        .headers()
        .get(AUTHORIZATION)
        .map(|value| value.as_bytes().to_vec());
    if !shared.admits(authorization.as_deref()) {
        return Ok(whole(&shared, Reply::html(401)));
    }
    let fault = shared.faults.of(&method, endpoint.template());
    let body = if endpoint == Endpoint::UploadJar {
        Upload::read(request)
            .await
            .map_or_else(|| Body::Bytes(Bytes::new()), Body::Jar)
    } else {
        Body::Bytes(request.into_body().collect().await.map_err(|_| Dropped)?.to_bytes())
    };
    // From here on the request runs to its end even if the client is gone: Flink does not notice either.
    let handling = {
        let shared = Arc::clone(&shared);
        let under_way = UnderWay::new(&shared, &method, endpoint.template());
        async move {
            let _under_way = under_way;
            let mut frozen = shared.frozen.subscribe();
            // Cannot fail: `shared` holds the sender.
            let _ = frozen.wait_for(|frozen| !frozen).await;
            let latency = shared.jobmanager.lock().options.latency;
            if !latency.is_zero() {
                tokio::time::sleep(latency).await;
            }
            Exchange {
                shared,
                method,
                path,
                endpoint,
                body,
            }
            .through(fault)
            .await
        }
    };
    let alive = tokio::spawn(async move {
        tokio::select! {
            answer = handling => answer,
            () = process.cancelled() => Err(Dropped),
        }
    });
    alive.await.unwrap_or(Err(Dropped))
}

/// Counts a request for as long as it is handled.
struct UnderWay {
    shared: Arc<Shared>,
    method: String,
    template: &'static str,
}

impl UnderWay {
    fn new(shared: &Arc<Shared>, method: &str, template: &'static str) -> Self {
        shared.jobmanager.lock().record.entered(method, template);
        Self {
            shared: Arc::clone(shared),
            method: method.to_owned(),
            template,
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.shared.jobmanager.lock().record.left(&self.method, self.template);
    }
}

impl Shared {
    /// Whether a request may pass the proxy that asks for credentials.
    fn admits(&self, authorization: Option<&[u8]>) -> bool {
        let asked_for = self.jobmanager.lock().options.authorization.clone();
        asked_for.is_none_or(|asked_for| authorization == Some(asked_for.as_bytes()))
    }
}

/// A request that was read.
struct Exchange {
    shared: Arc<Shared>,
    method: String,
    path: String,
    endpoint: Endpoint,
    body: Body,
}

impl Exchange {
    async fn handled(self) -> Reply {
        handle(self.shared, self.method, self.path, self.endpoint, self.body).await
    }

    async fn through(self, fault: Option<(Action, Injected)>) -> Answer {
        let shared = Arc::clone(&self.shared);
        let Some((action, injected)) = fault else {
            return Ok(whole(&shared, self.handled().await));
        };
        match action {
            Action::Delay(time) => {
                injected.hit();
                tokio::time::sleep(time).await;
                Ok(whole(&shared, self.handled().await))
            }
            Action::DelayReply(time) => {
                let reply = self.handled().await;
                injected.hit();
                tokio::time::sleep(time).await;
                Ok(whole(&shared, reply))
            }
            Action::Hang => {
                injected.hit();
                injected.until_removed().await;
                Err(Dropped)
            }
            Action::HandleThenHang => {
                self.handled().await;
                injected.hit();
                injected.until_removed().await;
                Err(Dropped)
            }
            Action::Drop => {
                injected.hit();
                Err(Dropped)
            }
            Action::HandleThenDrop => {
                self.handled().await;
                injected.hit();
                Err(Dropped)
            }
            Action::Answer(reply) => {
                injected.hit();
                Ok(whole(&shared, reply))
            }
            Action::HandleThenAnswer(reply) => {
                self.handled().await;
                injected.hit();
                Ok(whole(&shared, reply))
            }
            Action::Truncate(bytes) => {
                let reply = self.handled().await;
                injected.hit();
                Ok(cut(&reply, bytes))
            }
            Action::Drip(pause) => {
                let reply = self.handled().await;
                injected.hit();
                Ok(dripping(reply, pause))
            }
            Action::Endless => {
                injected.hit();
                Ok(endless())
            }
        }
    }
}

fn head(reply: &Reply) -> hyper::http::response::Builder {
    let builder = Response::builder().status(reply.status);
    reply
        .headers
        .iter()
        .fold(builder, |builder, (name, value)| builder.header(name, value))
}

/// Builds a response; one that HTTP does not allow ends the connection.
fn finish(builder: hyper::http::response::Builder, chunks: Chunks) -> Response<StreamBody<Chunks>> {
    let body = StreamBody::new(chunks);
    builder.body(body).unwrap_or_else(|_| {
        let broken: Chunks = Box::pin(stream::iter([Err(Dropped)]));
        Response::new(StreamBody::new(broken))
    })
}

fn whole(shared: &Shared, reply: Reply) -> Response<StreamBody<Chunks>> {
    let length = reply.body.len();
    shared.jobmanager.lock().record.body_bytes_sent += u64::try_from(length).unwrap_or_default();
    let builder = head(&reply).header("content-length", length);
    finish(builder, Box::pin(stream::iter([Ok(Frame::data(reply.body))])))
}

fn cut(reply: &Reply, bytes: usize) -> Response<StreamBody<Chunks>> {
    let builder = head(reply).header("content-length", reply.body.len());
    let part = reply.body.slice(..bytes.min(reply.body.len()));
    finish(builder, Box::pin(stream::iter([Ok(Frame::data(part)), Err(Dropped)])))
}

fn dripping(reply: Reply, pause: Duration) -> Response<StreamBody<Chunks>> {
    let builder = head(&reply).header("content-length", reply.body.len());
    let bytes = (0..reply.body.len()).map(move |n| reply.body.slice(n..=n));
    let drips = stream::iter(bytes).then(move |byte| async move {
        tokio::time::sleep(pause).await;
        Ok(Frame::data(byte))
    });
    finish(builder, Box::pin(drips))
}

fn endless() -> Response<StreamBody<Chunks>> {
    let zeros = Bytes::from(vec![b'0'; 64 * 1024]);
    let chunks = stream::repeat(zeros).map(|zeros| Ok(Frame::data(zeros)));
    finish(Response::builder().status(200), Box::pin(chunks))
}
