//! `Idempotency-Key` on calls that create something: the same call again, with the same key, is
//! answered as the first one was, and has no effect of its own.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, LazyLock};

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest as _, MatchedPath, Request};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest as _, Sha256};
use tracing::Instrument as _;

use super::extract::unreadable;
use super::layers::Inside;
use super::problem::ApiError;
use crate::domain::Error;
use crate::domain::access::Caller;
use crate::limits::ClientId;
use crate::service::{Begun, KeyedCall, Service, StoredAnswer};

/// The request header.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Set on an answer that is a repetition.
pub const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
/// What the call was about, kept among its answer's headers for the audit log. It can't be the name of one, so that it is
/// not given again.
const ABOUT: &str = ":about";
/// Bytes of an answer that are kept at most; every answer of these operations is far smaller.
const MAX_ANSWER: usize = 4 * 1024 * 1024;

/// Operations whose answer shows a secret, once: it must not be kept to be given again. A key's name is unique, so a
/// repetition makes no second one; a webhook of a lost answer is deleted.
const SHOWING_SECRETS: &[&str] = &["create_key", "create_webhook"];

/// Whether the operation takes a key: it is a POST that creates something, and its answer is no secret.
pub fn takes_key(method: &str, path: &str) -> bool {
    static CREATING: LazyLock<HashSet<String>> = LazyLock::new(|| {
        let document = super::routes().split_for_parts().1;
        let creates = |o: &utoipa::openapi::path::Operation| {
            let answers = &o.responses.responses;
            let id = o.operation_id.as_deref().unwrap_or_default();
            let creates = answers.contains_key("201") || answers.contains_key("202") || id == "compact_segments";
            creates && !SHOWING_SECRETS.contains(&id)
        };
        let paths = document.paths.paths.into_iter();
        paths
            .filter_map(|(path, item)| item.post.filter(creates).map(|_| path))
            .collect()
    });
    method == "POST" && CREATING.contains(path)
}

/// The layer.
pub async fn keyed(service: Arc<Service>, request: Request, inside: Inside) -> Response {
    let route = request.extensions().get::<MatchedPath>().map(|m| m.as_str().to_string());
    let takes = route.is_some_and(|route| takes_key(request.method().as_str(), &route));
    let Some(key) = request.headers().get(&IDEMPOTENCY_KEY).filter(|_| takes) else {
        return inside(request).await;
    };
    let key = match valid(key) {
        Ok(key) => key,
        Err(error) => return ApiError::from(error).into_response(),
    };
    let principal = request
        .extensions()
        .get::<ClientId>()
        .map(|c| c.0.clone())
        .unwrap_or_default();
    match begin(&service, &principal, &key, request).await {
        Ok((Begun::Answered(answer), request)) => {
            if let Some(caller) = request.extensions().get::<Caller>() {
                caller.is_repeated(answer.headers.get(ABOUT).and_then(|text| serde_json::from_str(text).ok()));
            }
            replay(answer)
        }
        // on a task of its own: it ends, and its answer is kept, although the client goes away
        Ok((Begun::Run(call), request)) => tokio::spawn(run(call, request, inside).in_current_span())
            .await
            .unwrap_or_else(|e| ApiError::from(Error::internal(e)).into_response()),
        Err(error) => error.into_response(),
    }
}

fn valid(key: &HeaderValue) -> Result<String, Error> {
    let fit = key
        .to_str()
        .ok()
        .filter(|k| (1..=255).contains(&k.len()) && k.bytes().all(|b| b.is_ascii_graphic()));
    fit.map(ToString::to_string)
        .ok_or_else(|| Error::invalid("idempotency-key:", "must be 1 to 255 visible ASCII characters without spaces"))
}

async fn begin(service: &Service, principal: &str, key: &str, request: Request) -> Result<(Begun, Request), ApiError> {
    let (parts, body) = request.into_parts();
    let body = Bytes::from_request(Request::from_parts(parts.clone(), body), &())
        .await
        .map_err(unreadable)?;
    let mut hash = Sha256::new();
    for part in [parts.method.as_str(), &parts.uri.to_string()] {
        hash.update(part);
        hash.update([0]);
    }
    hash.update(&body);
    let begun = service.begin_keyed(principal, key, &hash.finalize()).await?;
    Ok((begun, Request::from_parts(parts, Body::from(body))))
}

/// Runs the call and keeps its answer when it succeeded. What failed did nothing, so that the
/// same key may be tried again.
async fn run(call: Box<KeyedCall>, request: Request, inside: Inside) -> Response {
    let caller = request.extensions().get::<Caller>().cloned();
    let response = tokio::select! {
        response = inside(request) => response,
        () = call.keep() => unreachable!("it goes on until it is dropped"),
    };
    if !response.status().is_success() {
        call.release().await;
        return response;
    }
    let (parts, body) = response.into_parts();
    let body = match axum::body::to_bytes(body, MAX_ANSWER).await {
        Ok(body) => body,
        Err(error) => return ApiError::from(Error::internal(error)).into_response(),
    };
    let headers = [header::CONTENT_TYPE, header::LOCATION].into_iter();
    let about = caller.and_then(|caller| serde_json::to_string(&caller.touched()).ok());
    let answer = StoredAnswer {
        status: i16::try_from(parts.status.as_u16()).unwrap_or(200),
        headers: headers
            .filter_map(|name| Some((name.to_string(), parts.headers.get(&name)?.to_str().ok()?.to_string())))
            .chain(about.map(|about| (ABOUT.to_string(), about)))
            .collect::<BTreeMap<_, _>>(),
        body: body.to_vec(),
    };
    call.finish(&answer).await;
    Response::from_parts(parts, Body::from(body))
}

fn replay(answer: StoredAnswer) -> Response {
    let status = u16::try_from(answer.status).ok().and_then(|s| StatusCode::from_u16(s).ok());
    let mut response = (status.unwrap_or(StatusCode::OK), answer.body).into_response();
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_TYPE);
    for (name, value) in answer.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.insert(name, value);
        }
    }
    headers.insert(REPLAYED, HeaderValue::from_static("true"));
    response
}

/// Whether a method changes something.
pub fn is_unsafe(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH | Method::DELETE)
}
