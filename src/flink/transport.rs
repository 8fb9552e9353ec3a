//! One HTTP exchange: deadline, size limit, and what its outcome proves. No retries.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use reqwest::{Response, StatusCode, header::AUTHORIZATION};
use serde::de::DeserializeOwned;
use url::Url;

use super::{
    endpoint::{ClusterEndpoint, Connections, EndpointError, root},
    error::{Failure, FlinkError},
    text::ErrorBody,
};

/// The largest body of an ordinary answer.
const BODY_LIMIT: usize = 8 << 20;
/// The largest body of a refusal. Stack traces take 10 to 50 KiB.
const REFUSAL_LIMIT: usize = 1 << 20;
/// The largest job list: about 80,000 jobs of Flink 2.3.
const JOBS_LIMIT: usize = 32 << 20;

/// Told after each request: the endpoint, `ok` or the error's class, and how long it took.
pub type Observer = dyn Fn(&'static str, &'static str, Duration) + Send + Sync;

/// One endpoint of Flink's REST API and the limits of a call to it.
#[derive(Clone, Copy)]
pub(super) struct Call {
    /// The endpoint as a template, for messages and metrics.
    pub(super) name: &'static str,
    method: Method,
    deadline: Duration,
    body_limit: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Method {
    Get,
    Post,
    Patch,
    Delete,
}

impl Call {
    const fn new(name: &'static str, method: Method) -> Self {
        Self {
            name,
            method,
            deadline: Duration::from_secs(10),
            body_limit: BODY_LIMIT,
        }
    }

    pub(super) const fn get(name: &'static str) -> Self {
        Self::new(name, Method::Get)
    }

    pub(super) const fn post(name: &'static str) -> Self {
        Self::new(name, Method::Post)
    }

    pub(super) const fn patch(name: &'static str) -> Self {
        Self::new(name, Method::Patch)
    }

    pub(super) const fn delete(name: &'static str) -> Self {
        Self::new(name, Method::Delete)
    }

    pub(super) const fn within(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    pub(super) const fn job_list(self) -> Self {
        Self {
            body_limit: JOBS_LIMIT,
            ..self
        }
    }
}

/// A status and a body, both complete.
struct Answer {
    status: StatusCode,
    body: Vec<u8>,
}

/// The connections to one cluster. Cheap to clone.
#[derive(Clone)]
pub(super) struct Transport {
    connections: Arc<Connections>,
    observer: Option<Arc<Observer>>,
}

impl Transport {
    pub(super) fn new(endpoint: &ClusterEndpoint) -> Result<Self, EndpointError> {
        Ok(Self {
            connections: Arc::new(Connections::to(endpoint)?),
            observer: None,
        })
    }

    pub(super) fn observe(&mut self, observer: Arc<Observer>) {
        self.observer = Some(observer);
    }

    pub(super) fn origin(&self) -> &Arc<str> {
        &self.connections.origin
    }

    /// The request for a path below the endpoint's prefix. Segments come from typed ids or are constants.
    pub(super) fn request(&self, call: Call, path: &[&str]) -> reqwest::RequestBuilder {
        let url = below(&self.connections.base, path);
        let Connections {
            pooled,
            fresh,
            authorization,
            ..
        } = &*self.connections;
        let request = match call.method {
            Method::Get => pooled.get(url),
            Method::Post => fresh.post(url),
            Method::Patch => fresh.patch(url),
            Method::Delete => fresh.delete(url),
        };
        match authorization {
            Some(credentials) => request.header(AUTHORIZATION, credentials.clone()),
            None => request,
        }
    }

    /// Sends, and reads the answer as JSON.
    pub(super) async fn send<T: DeserializeOwned>(
        &self,
        call: Call,
        request: reqwest::RequestBuilder,
    ) -> Result<T, FlinkError> {
        let started = Instant::now();
        let result = match tokio::time::timeout(call.deadline, self.exchange(call, request)).await {
            Ok(Ok(answer)) => self.judge(call, &answer),
            Ok(Err(error)) => Err(error),
            Err(_) => {
                let message = format!("no complete answer within {:.1} s", call.deadline.as_secs_f32());
                Err(FlinkError::Timeout(self.failure(call, &message)))
            }
        };
        if let Some(observer) = &self.observer {
            let outcome = result.as_ref().map_or_else(FlinkError::class, |_| "ok");
            observer(call.name, outcome, started.elapsed());
        }
        result
    }

    async fn exchange(&self, call: Call, request: reqwest::RequestBuilder) -> Result<Answer, FlinkError> {
        let mut response = request.send().await.map_err(|error| self.broken(call, &error))?;
        let status = response.status();
        let body = self.body(call, &mut response).await?;
        Ok(Answer { status, body })
    }

    async fn body(&self, call: Call, response: &mut Response) -> Result<Vec<u8>, FlinkError> {
        let refused = !response.status().is_success();
        let limit = if refused { REFUSAL_LIMIT } else { call.body_limit };
        let too_large = || {
            let message = format!("more than {} MiB", limit >> 20);
            FlinkError::TooLarge(self.failure(call, &message))
        };
        let announced = response.content_length().unwrap_or_default();
        let announced = usize::try_from(announced).unwrap_or(usize::MAX);
        if announced > limit {
            return Err(too_large());
        }
        // A server that announces much and sends little must not cost memory.
        let mut body = Vec::with_capacity(announced.min(1 << 20));
        while let Some(chunk) = response.chunk().await.map_err(|error| self.broken(call, &error))? {
            if body.len() + chunk.len() > limit {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// An exchange that did not come to an end.
    fn broken(&self, call: Call, error: &reqwest::Error) -> FlinkError {
        let failure = self.failure(call, &root(error));
        // Set by the connector alone: name resolution, TCP, TLS. Nothing of the request was written by then.
        if error.is_connect() || error.is_builder() {
            FlinkError::NotSent(failure)
        } else if error.is_timeout() {
            FlinkError::Timeout(failure)
        } else {
            FlinkError::Lost(failure)
        }
    }

    fn judge<T: DeserializeOwned>(&self, call: Call, answer: &Answer) -> Result<T, FlinkError> {
        if !answer.status.is_success() {
            return Err(self.refusal(call, answer));
        }
        serde_json::from_slice(&answer.body).map_err(|error| {
            // Flink never answers a success with its error body; a proxy that lost the status does.
            let told = ErrorBody::read(&answer.body).map(|body| body.root_cause());
            FlinkError::NotFlink(self.failure(call, &told.unwrap_or_else(|| error.to_string())))
        })
    }

    /// What would be made of an answer.
    #[cfg(test)]
    pub(super) fn read<T: DeserializeOwned>(
        &self,
        call: Call,
        status: StatusCode,
        body: &[u8],
    ) -> Result<T, FlinkError> {
        let answer = Answer {
            status,
            body: body.to_vec(),
        };
        self.judge(call, &answer)
    }

    /// A complete answer with a status other than 2xx.
    fn refusal(&self, call: Call, answer: &Answer) -> FlinkError {
        let status = answer.status;
        let told = ErrorBody::read(&answer.body);
        let message = told.as_ref().map(ErrorBody::root_cause).unwrap_or_default();
        let message = if message.is_empty() {
            format!("status {status}")
        } else {
            message
        };
        let failure = self.failure(call, &message);
        match (status.as_u16(), told) {
            (401 | 403, _) => FlinkError::Unauthorized(failure),
            (429 | 503, _) => FlinkError::Unavailable(failure),
            // A gateway that passed the request on and got no good answer.
            (408 | 502 | 504, _) => FlinkError::Lost(failure),
            (_, None) | (300..=399, _) => FlinkError::NotFlink(failure),
            (status, Some(body)) => refused_by_flink(call, status, &body, failure),
        }
    }

    fn failure(&self, call: Call, message: &str) -> Failure {
        let Connections { origin, secrets, .. } = &*self.connections;
        let hidden = secrets
            .iter()
            .filter(|secret| message.contains(secret.as_str()))
            .fold(None, |text: Option<String>, secret| {
                Some(text.as_deref().unwrap_or(message).replace(secret, "***"))
            });
        Failure::new(call.name, origin, hidden.as_deref().unwrap_or(message))
    }
}

/// Flink's own refusals, told apart by exception class and text. Sources: the handlers named in each line, in 1.20 and 2.3.
fn refused_by_flink(call: Call, status: u16, body: &ErrorBody, failure: Failure) -> FlinkError {
    let says = |text: &str| body.mentions(text);
    // `RouterHandler` and `StaticFileServerHandler`: no such endpoint on this server.
    let no_route = match status {
        404 => says("Not found: /") || says("Unable to load requested file"),
        400 => says("POST request not allowed"),
        _ => false,
    };
    let of_jars = call.name.contains("/jars");
    if no_route && of_jars {
        FlinkError::SubmissionDisabled(failure)
    } else if no_route {
        FlinkError::NotFlink(failure)
    } else if says("DuplicateJobSubmissionException") || says("DuplicateApplicationSubmissionException") {
        FlinkError::Duplicate(failure)
    } else if of_jars && jar_is_missing(status, body) {
        FlinkError::JarMissing(failure)
    } else if says("Invocation of [") && says("timed out") {
        // An RPC within the cluster timed out: the Dispatcher may still do what it was asked to.
        FlinkError::Timeout(failure)
    } else if status == 404 && !of_jars {
        FlinkError::NotFound(failure)
    } else if status == 409 {
        FlinkError::Conflict(failure)
    } else {
        FlinkError::Rejected { status, failure }
    }
}

/// `JarHandlerContext.toPackagedProgram` (500, "Jar file … does not exist") and `JarDeleteHandler` (400, "File … does not
/// exist in …").
///
/// The exception must be the handler's own and the root, so that a `main()` that misses a file of its own (400) is not
/// taken for it.
fn jar_is_missing(status: u16, body: &ErrorBody) -> bool {
    let root = body.root_line();
    let told = root.strip_prefix("org.apache.flink.runtime.rest.handler.RestHandlerException: ");
    told.is_some_and(|told| match status {
        500 => told.starts_with("Jar file ") && told.ends_with(" does not exist"),
        400 => told.starts_with("File ") && told.contains(" does not exist in "),
        _ => false,
    })
}

/// Appends path segments, percent-encoded.
fn below(base: &Url, path: &[&str]) -> Url {
    let mut url = base.clone();
    // Cannot fail: the constructor admits http and https only, and those can be bases.
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path);
    }
    url
}
