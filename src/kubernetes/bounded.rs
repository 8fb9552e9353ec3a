//! The layer that bounds requests to the API server: a deadline for each, a number at once, and few, safe retries.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures::future::BoxFuture;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body as HttpBody, Frame, SizeHint},
    header::RETRY_AFTER,
};
use kube::client::Body;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, Sleep, sleep, sleep_until, timeout_at},
};
use tower::{BoxError, Service, ServiceExt};

/// How much one client asks of the API server, and how long it waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Longest time from asking to the last byte of the answer: waiting for a free slot, retries and the body included.
    /// For a watch: until the answer begins.
    pub deadline: Duration,
    /// A watch that is silent for this long is ended, and the watcher takes it up again where it was.
    ///
    /// Must be above two minutes: on a quiet watch API server 1.36 sends its first bookmark after up to 122 s, and then
    /// one a minute (measured; `bookmarkFrequency` of its watch cache). It is how a server that holds connections but has
    /// stopped answering is noticed; TCP keepalive cannot see it.
    pub watch_silence: Duration,
    /// Requests at the same time, watches not counted. Each takes a connection: kube speaks HTTP/1.1.
    pub concurrency: usize,
    /// How often one request is tried again.
    pub retries: u32,
}

impl Default for Limits {
    /// 15 s, 180 s, 32 requests, 2 retries.
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(15),
            watch_silence: Duration::from_secs(180),
            concurrency: 32,
            retries: 2,
        }
    }
}

/// The request took longer than [`Limits::deadline`].
#[derive(Debug, thiserror::Error)]
#[error("no complete answer within {} s", .0.as_secs_f32())]
pub(super) struct DeadlinePassed(pub(super) Duration);

/// First pause before a retry; it triples each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// A service under [`Limits`].
#[derive(Clone)]
pub(super) struct Bounded<S> {
    inner: S,
    limits: Limits,
    slots: Arc<Semaphore>,
}

impl<S> Bounded<S> {
    pub(super) fn new(inner: S, limits: &Limits) -> Self {
        Self {
            inner,
            limits: limits.clone(),
            slots: Arc::new(Semaphore::new(limits.concurrency)),
        }
    }
}

impl<S, B> Service<Request<Body>> for Bounded<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = BoxError> + Clone + Send + 'static,
    S::Future: Send,
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<BoundedBody<B>>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        // The wait for a slot is part of the call, so that its deadline covers it.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Self { inner, limits, slots } = self.clone();
        Box::pin(async move {
            let deadline = Instant::now() + limits.deadline;
            let watch = is_watch(&request);
            let answer = async {
                let slot = if watch {
                    None
                } else {
                    Some(slots.acquire_owned().await?)
                };
                let response = answer(inner, request, limits.retries, deadline).await?;
                Ok::<_, BoxError>((slot, response))
            };
            let (slot, response) = timeout_at(deadline, answer)
                .await
                .map_err(|_elapsed| DeadlinePassed(limits.deadline))??;
            let limit = if watch {
                Limit::Silence(limits.watch_silence, Box::pin(sleep(limits.watch_silence)))
            } else {
                Limit::Deadline(limits.deadline, Box::pin(sleep_until(deadline)))
            };
            Ok(response.map(|body| BoundedBody { body, limit, slot }))
        })
    }
}

/// Watches are GETs with `watch=true` in the query; nothing else of Kubernetes streams an answer that we use.
fn is_watch(request: &Request<Body>) -> bool {
    request
        .uri()
        .query()
        .is_some_and(|query| query.split('&').any(|pair| matches!(pair, "watch=true" | "watch=1")))
}

/// Sends the request, again when that is safe.
async fn answer<S, B>(
    inner: S,
    request: Request<Body>,
    retries: u32,
    deadline: Instant,
) -> Result<Response<B>, BoxError>
where
    S: Service<Request<Body>, Response = Response<B>, Error = BoxError> + Clone,
{
    let method = request.method().clone();
    let mut request = Some(request);
    let mut pause = FIRST_PAUSE;
    for left in (0..=retries).rev() {
        let Some(this) = request.take() else { break };
        if left > 0 {
            request = copy(&this);
        }
        let result = inner.clone().oneshot(this).await;
        let wait = match &result {
            Ok(response) if is_safe_to_repeat(&method, response.status()) => asked_for(response).unwrap_or(pause),
            // The connection failed: a read does no harm when it is repeated.
            Err(_) if method == Method::GET => pause,
            Ok(_) | Err(_) => return result,
        };
        if request.is_none() || Instant::now() + wait >= deadline {
            return result;
        }
        drop(result);
        sleep(wait).await;
        pause = pause.saturating_mul(3);
    }
    // Not reached: the last turn has no copy to repeat and returns.
    Err("the request's body cannot be sent again".into())
}

/// 429 is answered before the server looks at the request (API Priority and Fairness), so it is repeated for every
/// verb. After 503 and 504 a write may have been carried out (by the server behind a load balancer, or after its own
/// timeout), so only reads are repeated.
fn is_safe_to_repeat(method: &Method, status: StatusCode) -> bool {
    match status {
        StatusCode::TOO_MANY_REQUESTS => true,
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => *method == Method::GET,
        _ => false,
    }
}

fn asked_for<B>(response: &Response<B>) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// A copy of the request, `None` when its body is a stream.
fn copy(request: &Request<Body>) -> Option<Request<Body>> {
    let mut copy = Request::new(request.body().try_clone()?);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    *copy.extensions_mut() = request.extensions().clone();
    Some(copy)
}

enum Limit {
    /// The whole answer must be there by then.
    Deadline(Duration, Pin<Box<Sleep>>),
    /// Something must come at least that often.
    Silence(Duration, Pin<Box<Sleep>>),
}

/// An answer's body that ends or fails in time, and gives its slot back when it is over.
pub(super) struct BoundedBody<B> {
    body: B,
    limit: Limit,
    slot: Option<OwnedSemaphorePermit>,
}

impl<B> fmt::Debug for BoundedBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoundedBody").finish_non_exhaustive()
    }
}

impl<B> HttpBody for BoundedBody<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            match (&frame, &mut self.limit) {
                (Some(Ok(_)), Limit::Silence(longest, timer)) => timer.as_mut().reset(Instant::now() + *longest),
                (Some(Ok(_)), Limit::Deadline(..)) => {}
                (None | Some(Err(_)), _) => self.slot = None,
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let end = match &mut self.limit {
            Limit::Deadline(whole, timer) => {
                std::task::ready!(timer.as_mut().poll(cx));
                Some(Err(DeadlinePassed(*whole).into()))
            }
            Limit::Silence(longest, timer) => {
                std::task::ready!(timer.as_mut().poll(cx));
                tracing::warn!(
                    seconds = longest.as_secs(),
                    "a watch was silent for too long; it is started again"
                );
                None
            }
        };
        self.slot = None;
        Poll::Ready(end)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        sync::atomic::{AtomicU32, Ordering},
    };

    use futures::StreamExt as _;
    use http_body_util::{BodyExt, Full, StreamBody};
    use tower::service_fn;

    use super::*;

    type Reply = BoxFuture<'static, Result<Response<Full<Bytes>>, BoxError>>;

    fn request(method: Method, path: &str) -> Request<Body> {
        Request::builder()
            .method(method)
            .uri(path)
            .body(Body::from(b"{}".to_vec()))
            .unwrap()
    }

    fn status(code: u16) -> Response<Full<Bytes>> {
        Response::builder().status(code).body(Full::default()).unwrap()
    }

    /// Sends one request to a server that always gives that reply; how often it was asked, and what came back.
    async fn attempts(method: Method, reply: fn() -> Result<Response<Full<Bytes>>, BoxError>) -> (u32, Option<u16>) {
        let asked = Arc::new(AtomicU32::new(0));
        let count = asked.clone();
        let server = service_fn(move |_: Request<Body>| -> Reply {
            count.fetch_add(1, Ordering::Relaxed);
            Box::pin(async move { reply() })
        });
        let response = Bounded::new(server, &Limits::default())
            .oneshot(request(method, "/api/v1/pods"))
            .await;
        (
            asked.load(Ordering::Relaxed),
            response.ok().map(|response| response.status().as_u16()),
        )
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_is_repeated_only_when_it_was_turned_away_at_the_door() {
        assert_eq!(attempts(Method::PUT, || Ok(status(429))).await, (3, Some(429)));
        for code in [409, 500, 502, 503, 504] {
            let reply: fn() -> _ = match code {
                409 => || Ok(status(409)),
                500 => || Ok(status(500)),
                502 => || Ok(status(502)),
                503 => || Ok(status(503)),
                _ => || Ok(status(504)),
            };
            assert_eq!(attempts(Method::PUT, reply).await, (1, Some(code)));
            assert_eq!(attempts(Method::POST, reply).await, (1, Some(code)));
            assert_eq!(attempts(Method::PATCH, reply).await, (1, Some(code)));
            assert_eq!(attempts(Method::DELETE, reply).await, (1, Some(code)));
        }
        assert_eq!(
            attempts(Method::PUT, || Err("connection reset".into())).await,
            (1, None)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_is_repeated_a_bounded_number_of_times() {
        assert_eq!(attempts(Method::GET, || Ok(status(503))).await, (3, Some(503)));
        assert_eq!(attempts(Method::GET, || Ok(status(504))).await, (3, Some(504)));
        assert_eq!(
            attempts(Method::GET, || Err("connection reset".into())).await,
            (3, None)
        );
        assert_eq!(attempts(Method::GET, || Ok(status(500))).await, (1, Some(500)));
    }

    #[tokio::test(start_paused = true)]
    async fn retry_after_is_honoured_and_never_waited_for_past_the_deadline() {
        let start = Instant::now();
        let told = || {
            Ok(Response::builder()
                .status(429)
                .header("Retry-After", "5")
                .body(Full::default())
                .unwrap())
        };
        assert_eq!(attempts(Method::PUT, told).await, (3, Some(429)));
        assert_eq!(start.elapsed(), Duration::from_secs(10));

        let start = Instant::now();
        let too_long = || {
            Ok(Response::builder()
                .status(429)
                .header("Retry-After", "60")
                .body(Full::default())
                .unwrap())
        };
        assert_eq!(attempts(Method::PUT, too_long).await, (1, Some(429)));
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_never_answers_is_given_up() {
        let silent = service_fn(|_: Request<Body>| -> Reply { Box::pin(std::future::pending()) });
        for path in ["/api/v1/pods", "/api/v1/pods?watch=true"] {
            let start = Instant::now();
            let bounded = Bounded::new(silent, &Limits::default());
            let error = bounded.oneshot(request(Method::GET, path)).await.unwrap_err();
            assert!(error.is::<DeadlinePassed>(), "{error}");
            assert_eq!(start.elapsed(), Duration::from_secs(15));
        }
    }

    fn drip(every: Duration) -> impl HttpBody<Data = Bytes, Error = Infallible> + Send + Unpin {
        let chunks = futures::stream::unfold((), move |()| async move {
            sleep(every).await;
            Some((Ok(Frame::data(Bytes::from_static(b"."))), ()))
        });
        StreamBody::new(Box::pin(chunks))
    }

    async fn drain<B: HttpBody<Data = Bytes, Error = BoxError> + Unpin>(mut body: B) -> (usize, Option<BoxError>) {
        let mut frames = 0;
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(_) => frames += 1,
                Err(error) => return (frames, Some(error)),
            }
        }
        (frames, None)
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_drips_is_cut_at_the_deadline() {
        let server = service_fn(|_: Request<Body>| async { Ok(Response::new(drip(Duration::from_secs(2)))) });
        let bounded = Bounded::new(server, &Limits::default());
        let response = bounded.oneshot(request(Method::GET, "/api/v1/pods")).await.unwrap();
        let (frames, error) = drain(response.into_body()).await;
        assert_eq!(frames, 7);
        assert!(error.unwrap().is::<DeadlinePassed>());
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_outlives_the_deadline_and_ends_quietly_when_it_goes_silent() {
        let events = || {
            let events = futures::stream::iter(0..100).then(|_| async {
                sleep(Duration::from_secs(60)).await;
                Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"{}\n")))
            });
            StreamBody::new(Box::pin(events.chain(futures::stream::pending())))
        };
        let server = service_fn(move |_: Request<Body>| {
            let body = events();
            async { Ok(Response::new(body)) }
        });
        let start = Instant::now();
        let bounded = Bounded::new(server, &Limits::default());
        let response = bounded
            .oneshot(request(Method::GET, "/api/v1/pods?limit=1&watch=true"))
            .await
            .unwrap();
        let (frames, error) = drain(response.into_body()).await;
        assert_eq!((frames, error.is_none()), (100, true));
        assert_eq!(start.elapsed(), Duration::from_secs(6000 + 180));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slot_is_held_until_the_body_is_read_and_the_wait_for_one_is_bounded() {
        let server = service_fn(|_: Request<Body>| -> Reply { Box::pin(async { Ok(status(200)) }) });
        let limits = Limits {
            concurrency: 1,
            ..Limits::default()
        };
        let bounded = Bounded::new(server, &limits);
        let first = bounded.clone().oneshot(request(Method::GET, "/a")).await.unwrap();

        let watch = bounded.clone().oneshot(request(Method::GET, "/b?watch=true")).await;
        assert!(watch.is_ok(), "a watch needs no slot");
        let error = bounded.clone().oneshot(request(Method::PUT, "/c")).await.unwrap_err();
        assert!(error.is::<DeadlinePassed>(), "{error}");

        drain(first.into_body()).await;
        assert!(bounded.oneshot(request(Method::PUT, "/d")).await.is_ok());
    }
}
