//! How many answers are compressed at the same time: each has a compressor, of megabytes for `br`, until its
//! client has taken it all.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::header;
use axum::response::Response;
use hyper::body::{Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::layers::Inside;

/// Answers at the same time; any further ones are sent as they are.
const MOST: usize = 64;

/// What the layer works with.
#[derive(Debug, Clone)]
pub struct Compressing(Arc<Semaphore>);

impl Default for Compressing {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MOST)))
    }
}

/// The layer around the one that compresses.
pub async fn compressing(Compressing(room): Compressing, mut request: Request, inside: Inside) -> Response {
    if !request.headers().contains_key(header::ACCEPT_ENCODING) {
        return inside(request).await;
    }
    let Ok(permit) = room.try_acquire_owned() else {
        request.headers_mut().remove(header::ACCEPT_ENCODING);
        return inside(request).await;
    };
    let response = inside(request).await;
    match response.headers().contains_key(header::CONTENT_ENCODING) {
        true => response.map(|body| Body::new(Compressed { body, _permit: permit })),
        false => response,
    }
}

/// The body of an answer that is compressed.
struct Compressed {
    body: Body,
    _permit: OwnedSemaphorePermit,
}

impl HttpBody for Compressed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
