//! What every call passes: a request id, a time limit, a net for panics, a log line and metrics.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::HeaderValue;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt as _;
use tracing::Instrument as _;

use super::answer::Failed;
use crate::milvus::Facade;
use crate::milvus::grpc::call::{REQUEST_ID, panicked, record, request_id};
use crate::milvus::status::{Refusal, code};

/// The outermost layer.
pub async fn passes(State(facade): State<Facade>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let request_id = request_id(request.headers());
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "unmatched".to_string(), |m| m.as_str().to_string());
    let span = tracing::info_span!("milvus", request.id = %request_id, call = %route);
    let limit = facade.settings.timeout;
    let answer = async {
        let caught = AssertUnwindSafe(tokio::time::timeout(limit, next.run(request))).catch_unwind();
        let response = match caught.await {
            Ok(Ok(response)) => response,
            Ok(Err(_)) => {
                let why = format!("no answer within {} ms", limit.as_millis());
                Failed(Refusal::new(code::TIMEOUT, why)).into_response()
            }
            Err(panic) => Failed(panicked(panic.as_ref())).into_response(),
        };
        let refusal = response.extensions().get::<Arc<Refusal>>().cloned();
        record(route.into(), began, refusal.as_deref());
        response
    };
    let mut response = answer.instrument(span).await;
    if let Ok(value) = HeaderValue::from_str(&request_id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}
