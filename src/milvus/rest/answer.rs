//! Answers: Milvus' envelope.

use std::sync::Arc;

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use crate::milvus::status::Refusal;

/// What every call answers, with status 200.
#[derive(Debug, Serialize, ToSchema)]
pub struct Envelope<T: ToSchema> {
    /// 0, or Milvus' code of the failure.
    pub code: i32,
    /// Empty, or why the call failed.
    pub message: String,
    /// Absent when the call failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<T>,
}

/// Nothing to tell.
#[derive(Debug, Serialize, ToSchema)]
pub struct MilvusNothing {}

/// A 64-bit integer: a string, unless the request allows numbers.
#[derive(Debug, Clone, Copy)]
pub struct Int64 {
    pub value: i64,
    pub as_number: bool,
}

impl Serialize for Int64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.as_number {
            serializer.serialize_i64(self.value)
        } else {
            serializer.collect_str(&self.value)
        }
    }
}

/// A call that succeeded.
#[derive(Debug)]
pub struct Done<T>(pub T);

impl<T: Serialize + ToSchema> IntoResponse for Done<T> {
    fn into_response(self) -> Response {
        let envelope = Envelope {
            code: 0,
            message: String::new(),
            data: Some(self.0),
        };
        Json(envelope).into_response()
    }
}

/// A call that failed; the log finds the refusal beside the answer.
#[derive(Debug)]
pub struct Failed(pub Refusal);

impl From<Refusal> for Failed {
    fn from(refusal: Refusal) -> Self {
        Self(refusal)
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        let refusal = self.0.over_rest();
        let envelope = Envelope::<MilvusNothing> {
            code: refusal.code(),
            message: refusal.reason().to_string(),
            data: None,
        };
        let mut response = Json(envelope).into_response();
        response.extensions_mut().insert(Arc::new(refusal));
        response
    }
}
