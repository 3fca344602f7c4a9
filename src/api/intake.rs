//! How request bodies are taken in: their size, codings and pace, and the memory that all of them
//! may take together.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::{StreamExt as _, stream};
use tokio::sync::Semaphore;

use super::layers::RequestLimits;
use super::problem::ApiError;
use crate::domain::{Code, Error};

/// Bodies up to this size are not counted: as many as there are connections.
const SMALL: usize = 64 * 1024;
/// What is counted at once.
const PIECE: usize = 4 * 1024;
/// Bodies of the largest size that may be in memory at the same time.
const LARGE_BODIES: usize = 4;

/// What the layer works with.
#[derive(Debug, Clone)]
pub struct Intake {
    body_bytes: usize,
    pause: Duration,
    room: Arc<Semaphore>,
}

impl Intake {
    pub fn new(limits: &RequestLimits) -> Self {
        Self {
            body_bytes: limits.body_bytes,
            pause: limits.body_timeout,
            room: Arc::new(Semaphore::new((limits.body_bytes.div_ceil(PIECE) * LARGE_BODIES).max(1))),
        }
    }

    /// Bytes that a body may come to take.
    fn expected(&self, headers: &HeaderMap, body: &Body) -> Result<usize, Error> {
        let length = body.size_hint().upper();
        if length.is_some_and(|l| l > self.body_bytes as u64) {
            let text = format!(
                "the request body is larger than the {} bytes that this server accepts",
                self.body_bytes
            );
            return Err(Code::PayloadTooLarge.error(text));
        }
        let coded = match headers.get(header::CONTENT_ENCODING).map(|c| c.to_str().unwrap_or("?")) {
            None | Some("identity") => false,
            Some(coding) if coding.eq_ignore_ascii_case("gzip") => true,
            Some(other) => {
                return Err(
                    Code::UnsupportedMediaType.error(format!("the body must have no content-encoding or gzip, not {other:?}"))
                );
            }
        };
        Ok(match length.and_then(|l| usize::try_from(l).ok()) {
            Some(length) if !coded => length,
            _ => self.body_bytes,
        })
    }
}

/// A body of which nothing came for too long.
#[derive(Debug)]
pub struct TooSlow;

impl fmt::Display for TooSlow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request body came too slowly")
    }
}

impl std::error::Error for TooSlow {}

/// The layer.
pub async fn intake(State(intake): State<Intake>, request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let expected = match intake.expected(request.headers(), request.body()) {
        Ok(expected) => expected,
        Err(error) => return ApiError::from(error).into_response(),
    };
    // held until the answer is there
    let mut held = None;
    if expected > SMALL {
        let pieces = u32::try_from(expected.div_ceil(PIECE)).unwrap_or(u32::MAX);
        match tokio::time::timeout(intake.pause, intake.room.clone().acquire_many_owned(pieces)).await {
            Ok(Ok(permit)) => held = Some(permit),
            _ => {
                let error = Code::Overloaded.error("too many large requests at the same time; try again");
                return ApiError::from(error).into_response();
            }
        }
    }
    let (parts, body) = request.into_parts();
    let response = next.run(Request::from_parts(parts, paced(body, intake.pause))).await;
    drop(held);
    response
}

/// A body that fails when nothing comes for so long.
fn paced(body: Body, pause: Duration) -> Body {
    let pieces = stream::unfold(Some(body.into_data_stream()), move |pieces| async move {
        let mut pieces = pieces?;
        match tokio::time::timeout(pause, pieces.next()).await {
            Ok(Some(piece)) => Some((piece.map_err(axum::BoxError::from), Some(pieces))),
            Ok(None) => None,
            Err(_) => Some((Err(TooSlow.into()), None)),
        }
    });
    // whoever reads it may ask again after its end
    Body::from_stream(pieces.fuse())
}
