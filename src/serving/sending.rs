//! The body of an answer, on its way to a client that may take its time.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};

use super::places::Busy;
use crate::limits::Held;

/// What is handed out at once: as long as more is left the body is here, and known to be waiting.
pub const PIECE: usize = 16 * 1024;

/// The body of an answer: its connection is busy until it has been sent, and closed when that does not go on.
#[derive(Debug)]
pub struct Sending {
    body: Body,
    rest: Bytes,
    busy: Busy,
    /// What it is known by while it waits.
    id: u64,
    _held: Option<Held>,
}

impl Sending {
    pub fn new(body: Body, busy: Busy, held: Option<Held>) -> Self {
        let id = busy.0.offers(None);
        Self {
            body,
            rest: Bytes::new(),
            busy,
            id,
            _held: held,
        }
    }

    fn piece(&mut self) -> Frame<Bytes> {
        let size = self.rest.len().min(PIECE);
        Frame::data(self.rest.split_to(size))
    }
}

impl HttpBody for Sending {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        // who asks can take more: from here on it is the answer that is waited for
        self.busy.0.takes(self.id);
        if self.rest.is_empty() {
            match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                other => return other,
            }
        }
        let piece = self.piece();
        self.busy.0.offers(Some(self.id));
        Poll::Ready(Some(Ok(piece)))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (inner, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower() + rest);
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.busy.0.takes(self.id);
    }
}
