//! How request bodies are taken in: what their head says is judged at once, what comes is counted.

use std::sync::Arc;

use axum::body::{Body, HttpBody as _};
use axum::extract::Request;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};

use super::layers::{Inside, RequestLimits};
use super::problem::ApiError;
use crate::domain::{Code, Error};
use crate::limits::{Client, Limits};

/// Refuses what is announced to be larger than a body may be, and codings that nobody reads.
pub async fn announced(limits: Arc<RequestLimits>, request: Request, inside: Inside) -> Response {
    match check(limits.body_bytes, request.headers(), request.body()) {
        Ok(()) => inside(request).await,
        Err(error) => ApiError::from(error).into_response(),
    }
}

fn check(most: usize, headers: &HeaderMap, body: &Body) -> Result<(), Error> {
    if body.is_end_stream() {
        return Ok(());
    }
    if body.size_hint().upper().is_some_and(|length| length > most as u64) {
        let text = format!("the request body is larger than the {most} bytes that this server accepts");
        return Err(Code::PayloadTooLarge.error(text));
    }
    match headers.get(header::CONTENT_ENCODING).map(|c| c.to_str().unwrap_or("?")) {
        None | Some("identity") => Ok(()),
        Some(coding) if coding.eq_ignore_ascii_case("gzip") => Ok(()),
        Some(other) => {
            Err(Code::UnsupportedMediaType.error(format!("the body must have no content-encoding or gzip, not {other:?}")))
        }
    }
}

/// Counts what comes, after decompression, for whoever sends it; until the answer is there.
pub async fn counted(limits: Arc<Limits>, request: Request, inside: Inside) -> Response {
    if request.body().is_end_stream() {
        return inside(request).await;
    }
    let client = request.extensions().get::<Client>().cloned().unwrap_or(Client::Anybody);
    let (parts, body) = request.into_parts();
    let (body, account) = limits.take_in(client, body);
    let response = inside(Request::from_parts(parts, body)).await;
    drop(account);
    response
}
