//! What every request passes: an id, a time limit, a net for panics, problem documents, a log
//! line and metrics.

use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tracing::Instrument as _;

use super::problem::{self, ApiError};
use crate::domain::{Code, Error};

/// Carries the request id in and out.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Limits of every request.
#[derive(Debug, Clone, Copy)]
pub struct RequestLimits {
    /// A call that takes longer is answered with `request_timeout`; calls that wait for
    /// something on request get that time on top.
    pub timeout: Duration,
    /// Bytes of a request body at most.
    pub body_bytes: usize,
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

/// The outermost layer.
pub async fn outermost(State(limits): State<RequestLimits>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let request_id = incoming_id(&request).unwrap_or_else(|| uuid::Uuid::now_v7().to_string());
    let method = request.method().clone();
    let path = request.uri().path().to_string();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("unmatched".to_string(), |m| m.as_str().to_string());
    let span = tracing::info_span!("api", request.id = %request_id, %method, path);

    let timeout = limits.timeout + asked_wait(&request);
    let answer = async {
        let response = match tokio::time::timeout(timeout, next.run(request)).await {
            Ok(response) => response,
            Err(_) => {
                ApiError::from(Code::RequestTimeout.error(format!("no answer within {} ms", timeout.as_millis()))).into_response()
            }
        };
        finish(response, &path, &request_id)
    };
    let mut response = answer.instrument(span.clone()).await;
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
        return problem::render(error, path, request_id);
    }
    // axum answers a wrong method itself
    if response.status() == StatusCode::METHOD_NOT_ALLOWED {
        let allow = response.headers().get(axum::http::header::ALLOW).cloned();
        let error = Code::MethodNotAllowed.error("this path does not have this method; see the Allow header");
        let mut rendered = problem::render(&error, path, request_id);
        if let Some(allow) = allow {
            rendered.headers_mut().insert(axum::http::header::ALLOW, allow);
        }
        return rendered;
    }
    response
}

/// An id that the caller sent, when it is fit for logs and headers.
fn incoming_id(request: &Request) -> Option<String> {
    let text = request.headers().get(&REQUEST_ID)?.to_str().ok()?;
    let fit = (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    fit.then(|| text.to_string())
}

/// Time that a call was asked to wait for the engine; it is announced in a header by the
/// handler's own contract, never more than an hour.
fn asked_wait(request: &Request) -> Duration {
    let waits =
        request.method() == Method::POST && (request.uri().path().ends_with("/flush") || request.uri().path() == "/v1/snapshots");
    if waits { super::MAX_WAIT } else { Duration::ZERO }
}

fn record(span: &tracing::Span, method: &Method, route: &str, status: StatusCode, took: Duration) {
    let labels = [
        ("method", method.as_str().to_string()),
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
