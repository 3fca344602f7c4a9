//! Errors as RFC 9457 problem documents. The only place that knows HTTP statuses of errors.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::error::Kind;
use crate::domain::{Code, Error};

/// What every failed call answers, as `application/problem+json`.
#[derive(Debug, Serialize, ToSchema)]
pub struct Problem {
    /// A URI reference that identifies the code.
    #[schema(example = "/problems/snapshot-not-found")]
    #[serde(rename = "type")]
    pub kind: String,
    /// A fixed sentence for the code.
    #[schema(example = "The snapshot does not exist")]
    pub title: String,
    #[schema(example = 404)]
    pub status: u16,
    /// What is wrong with this call.
    #[schema(example = "snapshot not found: \"backup_20240101\" in database \"default\"")]
    pub detail: String,
    /// The path of the call.
    #[schema(example = "/v1/snapshots/backup_20240101")]
    pub instance: String,
    /// Stable: programs may rely on it.
    #[schema(example = "snapshot_not_found")]
    pub code: String,
    /// Also in the `x-request-id` header and in the log.
    #[schema(example = "0193a1de-8c5b-7bb2-a7a4-1f0b6b1f3c11")]
    pub request_id: String,
    /// What is wrong in the request, place by place.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ProblemField>,
}

/// One thing that is wrong in a request.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProblemField {
    /// JSON pointer into the body, `?name` for a query parameter, `{name}` for a path parameter, `name:` for a header.
    #[schema(example = "/snapshot_name")]
    pub pointer: String,
    #[schema(example = "must not be empty")]
    pub detail: String,
}

/// The HTTP status of a code.
pub fn status(code: Code) -> StatusCode {
    match code.kind() {
        Kind::Malformed => StatusCode::BAD_REQUEST,
        Kind::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
        Kind::Unauthenticated => StatusCode::UNAUTHORIZED,
        Kind::Denied => StatusCode::FORBIDDEN,
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::Conflict => StatusCode::CONFLICT,
        Kind::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        Kind::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Kind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Kind::Precondition => StatusCode::PRECONDITION_FAILED,
        Kind::TooMany => StatusCode::TOO_MANY_REQUESTS,
        Kind::Slow => StatusCode::REQUEST_TIMEOUT,
        Kind::Timeout => StatusCode::GATEWAY_TIMEOUT,
        Kind::Refused => StatusCode::BAD_GATEWAY,
        Kind::Full => StatusCode::INSUFFICIENT_STORAGE,
        Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The `type` of a code.
pub fn type_uri(code: Code) -> String {
    format!("/problems/{}", code.as_str().replace('_', "-"))
}

/// A failed handler. The document is rendered by the outermost layer, which knows the request.
#[derive(Debug, Clone)]
pub struct ApiError(std::sync::Arc<Error>);

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        Self(std::sync::Arc::new(error))
    }
}

impl ApiError {
    pub fn error(&self) -> &Error {
        &self.0
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = status(self.0.code()).into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Renders the problem document of an error for one request.
pub fn render(error: &Error, path: &str, request_id: &str) -> Response {
    let code = error.code();
    let status = status(code);
    let problem = Problem {
        kind: type_uri(code),
        title: code.title().into(),
        status: status.as_u16(),
        detail: error.detail().into(),
        instance: path.into(),
        code: code.as_str().into(),
        request_id: request_id.into(),
        errors: error
            .fields()
            .iter()
            .map(|f| ProblemField {
                pointer: f.pointer.clone(),
                detail: f.detail.clone(),
            })
            .collect(),
    };
    let body = serde_json::to_vec(&problem).expect("a problem document has only texts and numbers");
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if matches!(code.kind(), Kind::Unauthenticated) {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if matches!(code.kind(), Kind::Unavailable) || code == Code::IdempotencyKeyInUse {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}
