//! What a client is answered that sends more requests than it may.

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};

use super::problem::ApiError;
use crate::domain::Error;
use crate::limits::TooMany;

/// The problem document, and when to come back.
pub fn refused(too_many: TooMany) -> Response {
    let mut response = ApiError::from(Error::from(too_many)).into_response();
    let seconds = HeaderValue::from(too_many.seconds());
    response.headers_mut().insert(header::RETRY_AFTER, seconds);
    response
}
