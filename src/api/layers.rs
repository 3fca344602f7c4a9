//! What every request passes: an id, a time limit, a net for panics, problem documents, a log
//! line and metrics.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::future::BoxFuture;
use tower_http::cors::{AllowOrigin, CorsLayer};
use tracing::Instrument as _;

use super::idempotency::{IDEMPOTENCY_KEY, REPLAYED};
use super::problem::{self, ApiError};
use crate::domain::{Code, Error};
use crate::limits::{Limits, Rate};
use crate::service::Service;
use crate::telemetry;

/// Carries the request id in and out.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The id of a request, as an extension of it.
#[derive(Debug, Clone)]
pub struct RequestId(pub String);

/// Limits of every request.
#[derive(Debug, Clone)]
pub struct RequestLimits {
    /// A call that takes longer is answered with `request_timeout`; calls that wait for
    /// something on request get that time on top.
    pub timeout: Duration,
    /// Bytes of a request body at most.
    pub body_bytes: usize,
    /// A request body of which too little comes in so long is given up.
    pub body_timeout: Duration,
    /// What one client may send; none: no limit.
    pub rate: Option<Rate>,
    /// Origins of pages that may read answers; `*`: any.
    pub cors_origins: Vec<String>,
}

impl Default for RequestLimits {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(300),
            body_bytes: 64 * 1024 * 1024,
            body_timeout: Duration::from_secs(30),
            rate: None,
            cors_origins: Vec::new(),
        }
    }
}

impl RequestLimits {
    /// What the process lends its clients, by these limits.
    pub fn lent(&self, service: &Service) -> Limits {
        Limits::new(self.rate, self.body_bytes, self.body_timeout, service.trusted_proxies())
    }
}

/// Lets pages of other origins read answers; none when no origin may.
pub fn cors(origins: &[String]) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let allowed = match origins.iter().any(|o| o == "*") {
        true => AllowOrigin::any(),
        false => AllowOrigin::list(origins.iter().filter_map(|o| HeaderValue::from_str(o).ok())),
    };
    let layer = CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([
            Method::GET,
            Method::HEAD,
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
        ])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::IF_MATCH,
            header::IF_NONE_MATCH,
            HeaderName::from_static("last-event-id"),
            HeaderName::from_static("traceparent"),
            HeaderName::from_static("tracestate"),
            IDEMPOTENCY_KEY,
            REQUEST_ID,
        ])
        .expose_headers([header::ETAG, header::LOCATION, header::RETRY_AFTER, REPLAYED, REQUEST_ID])
        .max_age(Duration::from_secs(600));
    Some(layer)
}

/// Gives an id to what is answered outside of [`outermost`]: preflights, which browsers send without a key.
pub async fn identified(request: Request, next: Next) -> Response {
    let is_preflight = request.method() == Method::OPTIONS;
    let id = is_preflight.then(|| incoming_id(&request).unwrap_or_else(new_id));
    let mut response = next.run(request).await;
    if let Some(id) = id.filter(|_| !response.headers().contains_key(REQUEST_ID))
        && let Ok(value) = HeaderValue::from_str(&id)
    {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

/// Turns a panic into an error; the text of the panic is for the log only.
pub fn panicked(panic: Box<dyn std::any::Any + Send + 'static>) -> Response {
    let text = panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string))
        .unwrap_or_else(|| "a panic without a text".into());
    ApiError::from(Error::internal(format!("panic: {text}"))).into_response()
}

/// What lies inside of a layer: it is given the request, and answers. Boxed, for types that hold one another
/// a dozen times over take the compiler minutes.
pub type Inside = Box<dyn FnOnce(Request) -> BoxFuture<'static, Response> + Send>;

/// Makes one of a closure.
pub fn inside<R>(answer: impl FnOnce(Request) -> R + Send + 'static) -> Inside
where
    R: Future<Output = Response> + Send + 'static,
{
    Box::new(move |request| Box::pin(answer(request)))
}

/// The outermost layer.
pub async fn outermost(limits: Arc<RequestLimits>, mut request: Request, inside: Inside) -> Response {
    let began = Instant::now();
    let request_id = incoming_id(&request).unwrap_or_else(new_id);
    let method = request.method().clone();
    let path = request.uri().path().to_string();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("unmatched".to_string(), |m| m.as_str().to_string());
    let span = tracing::info_span!("api", request.id = %request_id, %method, path);

    // the one is for logs, the other, inside it, for traces: what is asked from here goes on with that one
    let traced = span.in_scope(|| telemetry::request_span(telemetry::known_method(&method), &route, request.headers()));
    let unknown = unknown_parameter(&request, &route);
    let patience = Patience::default();
    request.extensions_mut().insert(patience.clone());
    request.extensions_mut().insert(RequestId(request_id.clone()));
    let answer = async {
        if let Some(name) = unknown {
            let error = Error::invalid(format!("?{name}"), "there is no such query parameter here");
            return finish(ApiError::from(error).into_response(), &path, &request_id);
        }
        let response = match within(limits.timeout, &patience, inside(request)).await {
            Some(response) => response,
            None => {
                let waited = began.elapsed().as_millis();
                ApiError::from(Code::RequestTimeout.error(format!("no answer within {waited} ms"))).into_response()
            }
        };
        finish(response, &path, &request_id)
    };
    let mut response = answer.instrument(traced.clone()).instrument(span.clone()).await;
    telemetry::answered(&traced, response.status().as_u16());
    if let Ok(value) = HeaderValue::from_str(&request_id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    record(&span, &method, &route, response.status(), began.elapsed());
    response
}

/// Renders errors as problem documents, whoever made them.
fn finish(response: Response, path: &str, request_id: &str) -> Response {
    if let Some(error) = response.extensions().get::<ApiError>() {
        let error = error.error();
        if problem::status(error.code()).is_server_error() {
            tracing::error!(code = error.code().as_str(), error = %error, cause = error.cause_chain(), "request failed");
        } else {
            tracing::debug!(code = error.code().as_str(), error = %error, "request refused");
        }
        let mut rendered = problem::render(error, path, request_id);
        if let Some(after) = response.headers().get(header::RETRY_AFTER) {
            rendered.headers_mut().insert(header::RETRY_AFTER, after.clone());
        }
        return rendered;
    }
    // axum answers a wrong method itself
    if response.status() == StatusCode::METHOD_NOT_ALLOWED {
        let allow = response.headers().get(header::ALLOW).cloned();
        let error = Code::MethodNotAllowed.error("this path does not have this method; see the Allow header");
        let mut rendered = problem::render(&error, path, request_id);
        if let Some(allow) = allow {
            rendered.headers_mut().insert(header::ALLOW, allow);
        }
        return rendered;
    }
    // and the pages of the docs a path that they don't have
    if response.status() == StatusCode::NOT_FOUND {
        return problem::render(
            &Code::RouteNotFound.error("there is nothing at this path; see /docs"),
            path,
            request_id,
        );
    }
    response
}

/// A query parameter that the operation does not have: dropping it silently could turn a dry run
/// into a real one.
fn unknown_parameter(request: &Request, route: &str) -> Option<String> {
    let method = match *request.method() {
        Method::HEAD => "GET",
        ref method => method.as_str(),
    };
    let known = super::openapi::query_parameters(method, route)?;
    let query = request.uri().query()?;
    url::form_urlencoded::parse(query.as_bytes())
        .map(|(name, _)| name.into_owned())
        .find(|name| !known.contains(name))
}

/// An id that the caller sent, when it is fit for logs and headers.
fn incoming_id(request: &Request) -> Option<String> {
    let text = request.headers().get(&REQUEST_ID)?.to_str().ok()?;
    let fit = (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    fit.then(|| text.to_string())
}

/// A new one, that sorts by time (RFC 9562, 5.7). Its randomness comes without a system call.
fn new_id() -> String {
    let (seconds, nanos) = uuid::Timestamp::now(uuid::NoContext).to_unix();
    let millis = seconds * 1000 + u64::from(nanos / 1_000_000);
    let id = uuid::Builder::from_unix_timestamp_millis(millis, &rand::random()).into_uuid();
    id.to_string()
}

/// Time that a call was asked to wait for something, on top of the limit.
#[derive(Debug, Clone, Default)]
pub struct Patience(Arc<AtomicU64>);

impl Patience {
    /// Adds a wait that the request asked for.
    pub fn extend(&self, wait: Duration) {
        self.0
            .fetch_add(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn asked(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

/// Waits for the answer as long as the limit and the patience last; none after that.
async fn within(limit: Duration, patience: &Patience, answer: impl Future<Output = Response>) -> Option<Response> {
    let began = tokio::time::Instant::now();
    let mut answer = std::pin::pin!(answer);
    loop {
        let until = began + limit + patience.asked();
        tokio::select! {
            response = &mut answer => return Some(response),
            () = tokio::time::sleep_until(until) => {
                if began + limit + patience.asked() <= tokio::time::Instant::now() {
                    return None;
                }
            }
        }
    }
}

fn record(span: &tracing::Span, method: &Method, route: &str, status: StatusCode, took: Duration) {
    let labels = [
        ("method", telemetry::known_method(method).to_string()),
        ("route", route.to_string()),
        ("status", status.as_u16().to_string()),
    ];
    metrics::counter!(crate::telemetry::HTTP_REQUESTS, &labels).increment(1);
    metrics::histogram!(crate::telemetry::HTTP_SECONDS, &labels[..2]).record(took.as_secs_f64());
    let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    span.in_scope(|| {
        // probes come every few seconds for ever
        if matches!(route, "/healthz" | "/readyz" | "/metrics") && status.is_success() {
            tracing::debug!(status = status.as_u16(), took_ms, "answered");
        } else {
            tracing::info!(status = status.as_u16(), took_ms, "answered");
        }
    });
}
