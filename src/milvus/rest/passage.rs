//! What every call passes: a request id, a time limit, a net for panics, a log line and metrics.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use axum::body::Body;
use axum::extract::{FromRequestParts, MatchedPath, Request};
use axum::http::HeaderValue;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt as _;
use tracing::Instrument as _;

use super::answer::Failed;
use crate::domain::Error;
use crate::milvus::Facade;
use crate::milvus::grpc::call::{REQUEST_ID, panicked, record, request_id};
use crate::milvus::guard::{self, Arrival, NOT_SERVED};
use crate::milvus::status::{Refusal, code};
use crate::telemetry;

/// The state of the routes: nothing that a handler can use by itself.
#[derive(Debug, Clone)]
pub struct Guarded(pub Facade);

/// What a handler works with, as its caller may use it.
#[derive(Debug)]
pub struct State<T>(pub T);

impl FromRequestParts<Guarded> for State<Facade> {
    type Rejection = Failed;

    async fn from_request_parts(parts: &mut Parts, _: &Guarded) -> Result<Self, Failed> {
        let facade = parts.extensions.get::<Facade>().cloned();
        let facade = facade.ok_or_else(|| Refusal::from(Error::internal("a handler is called that nobody was let in to")))?;
        Ok(State(facade))
    }
}

/// The entry of a route in the table of operations.
fn operation(route: &str) -> &'static str {
    static KNOWN: LazyLock<HashMap<String, String>> = LazyLock::new(|| {
        let paths = super::openapi().paths.paths.into_iter();
        let ids = paths.filter_map(|(path, item)| Some((path, item.post?.operation_id?)));
        ids.collect()
    });
    KNOWN.get(route).map_or(NOT_SERVED, String::as_str)
}

/// Lets a call in that may be made, and records it.
async fn admitted(facade: &Facade, operation: &str, request_id: &str, mut request: Request, next: Next) -> Response {
    let arrival = Arrival::of(&request, request_id);
    let admitted = match guard::admit(facade, operation, arrival).await {
        Ok(admitted) => admitted,
        Err(turned_away) => {
            let (parts, body) = request.into_parts();
            let named = |bytes: &[u8]| super::request::named(operation, &parts.headers, bytes);
            return Failed(turned_away.recorded(facade, body, named).await).into_response();
        }
    };
    request.extensions_mut().insert(admitted.facade.clone());
    let (parts, body) = request.into_parts();
    let read = match operation {
        NOT_SERVED => None,
        _ => Some(admitted.read(body).await),
    };
    let (body, account) = match read {
        None => (Body::empty(), None),
        Some(Ok((bytes, account))) => (Body::from(bytes), Some(account)),
        Some(Err(refusal)) => {
            admitted.end(operation, Some(&refusal)).await;
            return Failed(refusal).into_response();
        }
    };
    let response = next.run(Request::from_parts(parts, body)).await;
    drop(account);
    let refusal = response.extensions().get::<Arc<Refusal>>().cloned();
    match admitted.end(operation, refusal.as_deref()).await {
        Some(refusal) => Failed(refusal).into_response(),
        None => response,
    }
}

/// The outermost layer.
pub async fn passes(
    axum::extract::State(Guarded(facade)): axum::extract::State<Guarded>,
    request: Request,
    next: Next,
) -> Response {
    let began = Instant::now();
    let request_id = request_id(request.headers());
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "unmatched".to_string(), |m| m.as_str().to_string());
    let span = tracing::info_span!("milvus", request.id = %request_id, call = %route);
    // the one is for logs, the other, inside it, for traces
    let traced = span.in_scope(|| telemetry::request_span(telemetry::known_method(request.method()), &route, request.headers()));
    let limit = facade.settings.timeout;
    let answer = async {
        let caught = AssertUnwindSafe(tokio::time::timeout(
            limit,
            admitted(&facade, operation(&route), &request_id, request, next),
        ))
        .catch_unwind();
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
    let mut response = answer.instrument(traced).instrument(span).await;
    if let Ok(value) = HeaderValue::from_str(&request_id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}
