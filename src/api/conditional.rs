//! Entity tags and conditions (RFC 9110, 8.8 and 13). A tag is the hash of the answer that a GET of
//! the resource gives; it changes when anything that the answer shows does.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody as _};
use axum::extract::{FromRequest as _, MatchedPath, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use tower::ServiceExt as _;

use super::extract::unreadable;
use super::idempotency::is_unsafe;
use super::layers::Inside;
use super::problem::ApiError;
use crate::domain::access::Caller;
use crate::domain::{Code, Error};
use crate::service::Service;

/// Answers up to this size get a tag; larger lists are read in pages.
const MAX_TAGGED: u64 = 16 * 1024 * 1024;
/// Changes with a condition that this process runs at the same time: each holds a connection to
/// the catalog beside the one that it works with.
const CONDITIONAL_CHANGES: usize = 2;

/// What the layer works with.
#[derive(Debug)]
pub struct Conditional {
    /// The routes themselves, to look at a resource before it is changed.
    routes: Router,
    service: Service,
    slots: Semaphore,
}

impl Conditional {
    pub fn new(routes: Router, service: Service) -> Self {
        Self {
            routes,
            service,
            slots: Semaphore::new(CONDITIONAL_CHANGES),
        }
    }
}

/// The layer.
pub async fn conditional(resources: Arc<Conditional>, request: Request, inside: Inside) -> Response {
    match *request.method() {
        Method::GET | Method::HEAD => read(request, inside).await,
        _ if is_unsafe(request.method()) && Conditions::of(request.headers()).any() && is_operation(&request) => {
            change(&resources, request, inside)
                .await
                .unwrap_or_else(IntoResponse::into_response)
        }
        _ => inside(request).await,
    }
}

fn route(request: &Request) -> &str {
    request.extensions().get::<MatchedPath>().map_or("", |m| m.as_str())
}

fn is_operation(request: &Request) -> bool {
    super::openapi::query_parameters(request.method().as_str(), route(request)).is_some()
}

/// The conditions of a request, each a list of tags or `*`.
struct Conditions {
    matches: Option<String>,
    none_matches: Option<String>,
}

impl Conditions {
    fn of(headers: &HeaderMap) -> Self {
        let text = |name: HeaderName| {
            let values: Vec<&str> = headers.get_all(name).iter().filter_map(|v| v.to_str().ok()).collect();
            (!values.is_empty()).then(|| values.join(","))
        };
        Self {
            matches: text(header::IF_MATCH),
            none_matches: text(header::IF_NONE_MATCH),
        }
    }

    fn any(&self) -> bool {
        self.matches.is_some() || self.none_matches.is_some()
    }

    /// Whether a change may be made to what has this tag now; none: to what does not exist.
    fn allow(&self, tag: Option<&str>) -> bool {
        let matches = |list: &String, strong| tag.is_some_and(|tag| names(list, tag, strong));
        self.matches.as_ref().is_none_or(|list| matches(list, true))
            && !self.none_matches.as_ref().is_some_and(|list| matches(list, false))
    }
}

/// Whether a list of tags names this one, in any content coding.
fn names(list: &str, tag: &str, strong: bool) -> bool {
    list.split(',').map(str::trim).any(|given| {
        let given = match given.strip_prefix("W/") {
            Some(_) if strong => return false,
            Some(weak) => weak,
            None => given,
        };
        given == "*" || uncoded(given) == tag.trim_matches('"')
    })
}

/// A tag without quotes and without the mark of its content coding.
fn uncoded(tag: &str) -> &str {
    let tag = tag.trim_matches('"');
    ["-gzip", "-br"].iter().find_map(|c| tag.strip_suffix(c)).unwrap_or(tag)
}

/// The tag of an answer.
pub fn tag_of(bytes: &[u8]) -> String {
    format!("\"{}\"", URL_SAFE_NO_PAD.encode(&Sha256::digest(bytes)[..18]))
}

/// Gives an answer with its tag; none when it is a stream, or no JSON.
async fn tagged(response: Response) -> Result<(Response, Option<String>), ApiError> {
    // one that never changes brings its own
    if let Some(tag) = response.headers().get(header::ETAG).and_then(|tag| tag.to_str().ok()) {
        let tag = tag.to_string();
        return Ok((response, Some(tag)));
    }
    let json = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|t| t == "application/json");
    let whole = response.body().size_hint().exact().is_some_and(|size| size <= MAX_TAGGED);
    if response.status() != StatusCode::OK || !json || !whole {
        return Ok((response, None));
    }
    let (mut parts, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, usize::MAX).await.map_err(Error::internal)?;
    let tag = tag_of(&bytes);
    if let Ok(value) = HeaderValue::from_str(&tag) {
        parts.headers.insert(header::ETAG, value);
    }
    Ok((Response::from_parts(parts, Body::from(bytes)), Some(tag)))
}

async fn read(mut request: Request, inside: Inside) -> Response {
    let conditions = Conditions::of(request.headers());
    let head = *request.method() == Method::HEAD;
    // the tag is that of the body, so HEAD makes one and leaves it out
    *request.method_mut() = Method::GET;
    let (response, tag) = match tagged(inside(request).await).await {
        Ok(tagged) => tagged,
        Err(error) => return error.into_response(),
    };
    if let Some(tag) = tag.as_deref() {
        if conditions.matches.as_ref().is_some_and(|list| !names(list, tag, true)) {
            return ApiError::from(not_so()).into_response();
        }
        if let Some(list) = conditions.none_matches.filter(|list| names(list, tag, false)) {
            return unchanged(&list, tag, response.headers().get(header::ETAG));
        }
    }
    if head { without_body(response) } else { response }
}

/// 304, with the tag in the coding in which the client has it.
fn unchanged(list: &str, tag: &str, plain: Option<&HeaderValue>) -> Response {
    let had = list
        .split(',')
        .map(|t| t.trim().trim_start_matches("W/"))
        .find(|t| uncoded(t) == tag.trim_matches('"'));
    let mut response = StatusCode::NOT_MODIFIED.into_response();
    if let Some(value) = had.and_then(|t| HeaderValue::from_str(t).ok()).or_else(|| plain.cloned()) {
        response.headers_mut().insert(header::ETAG, value);
    }
    response
}

fn without_body(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    if let Some(size) = body
        .size_hint()
        .exact()
        .filter(|_| !parts.headers.contains_key(header::CONTENT_LENGTH))
    {
        parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(size));
    }
    Response::from_parts(parts, Body::empty())
}

fn not_so() -> Error {
    Code::PreconditionFailed.error("the resource is not as If-Match or If-None-Match say; read it again")
}

/// Runs a change under its condition. Of two that have the same condition the second looks again
/// when the first has ended. The body is read before anything is held that others wait for.
async fn change(resources: &Conditional, request: Request, inside: Inside) -> Result<Response, ApiError> {
    let request = whole(request).await?;
    let conditions = Conditions::of(request.headers());
    let target = Target::of(&request)?;
    let looked = match target.look(resources).await? {
        Ok(tag) => tag,
        Err(response) => return Ok(response),
    };
    if looked.is_none() && *request.method() != Method::PUT {
        // that there is nothing to change is said before any condition; PUT may create
        return Ok(inside(request).await);
    }
    if !conditions.allow(looked.as_deref()) {
        return Err(not_so().into());
    }
    let _slot = resources.slots.acquire().await.map_err(Error::internal)?;
    let lock = looked.unwrap_or_else(|| request.uri().path().to_string());
    let _lock = resources.service.lock_condition(&lock).await?;
    match target.look(resources).await? {
        Ok(tag) if conditions.allow(tag.as_deref()) => Ok(inside(request).await),
        Ok(_) => Err(not_so().into()),
        Err(response) => Ok(response),
    }
}

/// The request with its body in memory.
async fn whole(request: Request) -> Result<Request, ApiError> {
    let (parts, body) = request.into_parts();
    let body = Bytes::from_request(Request::from_parts(parts.clone(), body), &());
    let body = body.await.map_err(unreadable)?;
    Ok(Request::from_parts(parts, Body::from(body)))
}

/// The resource that a change is about.
struct Target {
    /// Path and query of its GET.
    uri: String,
    /// Whoever may not read it must not learn its tag.
    caller: Option<Caller>,
}

impl Target {
    fn of(request: &Request) -> Result<Self, ApiError> {
        let Some(known) = super::openapi::query_parameters("GET", route(request)).filter(|_| *request.method() != Method::POST)
        else {
            return Err(Code::PreconditionFailed.error("there is no entity tag for this call").into());
        };
        let given = url::form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes());
        let query = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(given.filter(|(name, _)| known.iter().any(|k| k == name)))
            .finish();
        let caller = request.extensions().get::<Caller>();
        let caller = caller.zip(super::openapi::operation_id("GET", route(request)));
        let caller = caller.map(|(caller, operation)| caller.calling(operation)).transpose()?;
        Ok(Self {
            uri: format!("{}?{query}", request.uri().path()),
            caller,
        })
    }

    /// The tag of the resource, none when there is no such resource; or what its GET answers when
    /// that is something else.
    async fn look(&self, resources: &Conditional) -> Result<Result<Option<String>, Response>, ApiError> {
        let mut get = Request::get(&self.uri).body(Body::empty()).map_err(Error::internal)?;
        if let Some(caller) = &self.caller {
            get.extensions_mut().insert(caller.clone());
        }
        let response = resources.routes.clone().oneshot(get).await.map_err(Error::internal)?;
        match response.status() {
            StatusCode::OK => Ok(Ok(tagged(response).await?.1)),
            StatusCode::NOT_FOUND => Ok(Ok(None)),
            _ => Ok(Err(response)),
        }
    }
}

/// Marks the tag of an answer that was compressed: other bytes need another tag.
pub async fn mark_coding(request: Request, inside: Inside) -> Response {
    let mut response = inside(request).await;
    let headers = response.headers();
    let coding = headers.get(header::CONTENT_ENCODING).and_then(|c| c.to_str().ok());
    let tag = headers.get(header::ETAG).and_then(|t| t.to_str().ok());
    if let (Some(coding @ ("gzip" | "br")), Some(tag)) = (coding, tag)
        && let Ok(value) = HeaderValue::from_str(&format!("\"{}-{coding}\"", tag.trim_matches('"')))
    {
        response.headers_mut().insert(header::ETAG, value);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_compared_in_any_coding_and_weak_ones_only_where_that_is_enough() {
        for list in ["\"abc\"", "\"x\", \"abc\"", "\"abc-gzip\"", "\"abc-br\"", "*"] {
            assert!(names(list, "\"abc\"", true), "{list}");
        }
        assert!(names("W/\"abc\"", "\"abc\"", false));
        for list in ["W/\"abc\"", "\"ab\"", "", "\"abc-zstd\""] {
            assert!(!names(list, "\"abc\"", true), "{list}");
        }
    }
}
