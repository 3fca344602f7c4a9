//! Bodies, queries and paths whose rejections are problem documents with a pointer.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use serde::de::DeserializeOwned;

use super::problem::ApiError;
use crate::domain::{Code, Error, FieldError};
use crate::limits::{self, Unread};

/// A JSON body.
#[derive(Debug)]
pub struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let content_type = request
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default();
        let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        if essence != "application/json" && !(essence.starts_with("application/") && essence.ends_with("+json")) {
            let why = format!("the body must be application/json, not {content_type:?}; set the content-type header");
            return Err(Code::UnsupportedMediaType.error(why).into());
        }
        let bytes = Bytes::from_request(request, state).await.map_err(unreadable)?;
        parse(&bytes).map(Body).map_err(ApiError::from)
    }
}

/// A JSON body that may be left out: then it is what `Default` says.
#[derive(Debug)]
pub struct OptionalBody<T>(pub T);

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for OptionalBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        // a body that is sent in chunks is known to be empty only at its end
        let (parts, body) = request.into_parts();
        let bytes = Bytes::from_request(Request::from_parts(parts.clone(), body), state)
            .await
            .map_err(unreadable)?;
        if bytes.is_empty() {
            return Ok(OptionalBody(T::default()));
        }
        let request = Request::from_parts(parts, bytes.into());
        Body::from_request(request, state).await.map(|Body(body)| OptionalBody(body))
    }
}

/// Why a body could not be read.
pub(super) fn unreadable(rejection: BytesRejection) -> ApiError {
    match limits::why(&rejection) {
        Some(Unread::TooSlow) => {
            let text = "the request body came too slowly, or nothing of it for too long";
            return Code::BodyTimeout.error(text).into();
        }
        Some(Unread::NoRoom) => {
            let text = "too many large requests at the same time; try again";
            return Code::Overloaded.error(text).into();
        }
        _ => {}
    }
    match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Code::PayloadTooLarge
            .error("the request body is larger than this server accepts")
            .into(),
        _ => Code::MalformedRequest
            .error("the request body could not be read to its end")
            .into(),
    }
}

/// Parses JSON; what is wrong is said with a JSON pointer.
///
/// # Errors
/// `malformed_request` when it is not JSON, `invalid_request` when it is not what was expected.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    // serde would read a list as the fields of a struct, one by one
    if bytes.trim_ascii_start().starts_with(b"[") {
        return Err(Error::invalid("", "expected an object, not a list"));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|e| {
        let pointer = pointer(e.path());
        let inner = e.into_inner();
        if inner.is_data() {
            let text = without_position(&inner.to_string());
            let pointer = with_named_field(pointer, &text);
            let at = if pointer.is_empty() { "the body" } else { pointer.as_str() };
            Code::InvalidRequest
                .error(format!("{at}: {text}"))
                .with_fields(vec![FieldError::new(pointer, text)])
        } else {
            Code::MalformedRequest.error(format!("the body is not JSON: {inner}"))
        }
    })?;
    deserializer
        .end()
        .map_err(|e| Code::MalformedRequest.error(format!("the body is not JSON: {e}")))?;
    Ok(value)
}

/// serde's path as a JSON pointer (RFC 6901).
fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let escape = |text: &str| text.replace('~', "~0").replace('/', "~1");
    path.iter().fold(String::new(), |pointer, segment| match segment {
        Segment::Seq { index } => format!("{pointer}/{index}"),
        Segment::Map { key } => format!("{pointer}/{}", escape(key)),
        Segment::Enum { .. } | Segment::Unknown => pointer,
    })
}

/// A missing or unknown field is reported at its parent: the pointer should name the field.
fn with_named_field(pointer: String, text: &str) -> String {
    let named = ["missing field `", "unknown field `"]
        .iter()
        .find_map(|start| text.strip_prefix(start));
    match named.and_then(|rest| rest.split_once('`')) {
        Some((field, _)) => {
            let field = field.replace('~', "~0").replace('/', "~1");
            if pointer.ends_with(&format!("/{field}")) {
                pointer
            } else {
                format!("{pointer}/{field}")
            }
        }
        _ => pointer,
    }
}

fn without_position(text: &str) -> String {
    match text.rfind(" at line ") {
        Some(at) => text[..at].to_string(),
        None => text.to_string(),
    }
}

/// Query parameters; unknown ones are refused.
#[derive(Debug)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let query = parts.uri.query().unwrap_or_default();
        let deserializer = serde_urlencoded::Deserializer::new(url::form_urlencoded::parse(query.as_bytes()));
        serde_path_to_error::deserialize(deserializer).map(Query).map_err(|e| {
            let path = e.path().to_string();
            let text = e.into_inner().to_string();
            let named = ["missing field `", "unknown field `", "duplicate field `"]
                .iter()
                .find_map(|start| text.strip_prefix(start));
            let name = named
                .and_then(|rest| rest.split_once('`'))
                .map_or(path, |(field, _)| field.to_string());
            Error::invalid(format!("?{name}"), text.replace("field", "parameter")).into()
        })
    }
}

/// One path parameter.
#[derive(Debug)]
pub struct Name(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        Path::<String>::from_request_parts(parts, state)
            .await
            .map(|Path(name)| Name(name))
            .map_err(bad_path)
    }
}

/// Two path parameters.
#[derive(Debug)]
pub struct Names(pub String, pub String);

impl<S: Send + Sync> FromRequestParts<S> for Names {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        Path::<(String, String)>::from_request_parts(parts, state)
            .await
            .map(|Path((a, b))| Names(a, b))
            .map_err(bad_path)
    }
}

fn bad_path(rejection: axum::extract::rejection::PathRejection) -> ApiError {
    Code::MalformedRequest
        .error(format!("the path can't be read: {rejection}"))
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Thing {
        #[serde(rename = "a/b")]
        _ab: Vec<i32>,
        #[serde(default)]
        _inner: Option<Box<Thing>>,
    }

    fn wrong(json: &str) -> (Code, String) {
        let error = parse::<Thing>(json.as_bytes()).expect_err("must be refused");
        (
            error.code(),
            error.fields().first().map(|f| f.pointer.clone()).unwrap_or_default(),
        )
    }

    #[test]
    fn a_pointer_leads_to_what_is_wrong() {
        assert_eq!(wrong(r#"{"a/b": [1, "x"]}"#), (Code::InvalidRequest, "/a~1b/1".into()));
        assert_eq!(wrong(r#"{}"#), (Code::InvalidRequest, "/a~1b".into()));
        assert_eq!(wrong(r#"{"a/b": [], "c": 1}"#), (Code::InvalidRequest, "/c".into()));
        assert_eq!(
            wrong(r#"{"a/b": [], "_inner": {"a/b": [], "c": 1}}"#),
            (Code::InvalidRequest, "/_inner/c".into())
        );
        assert_eq!(wrong("[]"), (Code::InvalidRequest, String::new()));
        assert_eq!(wrong("{"), (Code::MalformedRequest, String::new()));
        assert_eq!(wrong(r#"{"a/b": []} x"#), (Code::MalformedRequest, String::new()));
    }
}
