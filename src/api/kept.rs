//! Answers that are kept: a page that many dashboards ask for again and again is made once for as long as
//! nothing in the database changes, which one small statement finds out.
//!
//! An answer is given again only to somebody with the same rights, and only when the catalog's state is the one
//! before it was made: what was committed before a request came is in its answer, as without this. Only operations
//! whose answers tell what the catalog holds, and not what time it is, are listed here.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes, HttpBody as _};
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::conditional::tag_of;
use super::layers::Inside;
use super::problem::ApiError;
use crate::domain::Error;
use crate::domain::access::{Caller, Principal, Touched};
use crate::service::{CatalogState, Service};

/// The operations.
const KEPT: &[&str] = &[
    "get_collection",
    "get_database",
    "get_snapshot",
    "list_collections",
    "list_databases",
    "list_indexes",
    "list_partitions",
    "list_segments",
    "list_snapshot_segments",
    "list_snapshots",
];
/// Says of an answer that it was given before (RFC 9211).
const KEPT_ANSWER: [(HeaderName, &str); 1] = [(HeaderName::from_static("cache-status"), "stillframe; hit")];
/// Bytes of all answers at most.
const ROOM: u64 = 32 * 1024 * 1024;
/// Bytes of one at most.
const MAX_KEPT: u64 = 2 * 1024 * 1024;
/// How long somebody waits for an answer that another one makes.
const PATIENCE: Duration = Duration::from_millis(200);
/// How long one is kept: a snapshot shows for so long at most that it has a pin which has just expired. A standby
/// that takes over may also give numbers to transactions again that the server before it gave.
const MAX_AGE: Duration = Duration::from_secs(1);

/// What the layer works with.
#[derive(Debug)]
pub struct Kept {
    service: Service,
    answers: Cache<Asked, Answer, Weight>,
}

impl Kept {
    pub fn new(service: Service) -> Self {
        let answers = Cache::with_weighter(1024, ROOM, Weight);
        Self { service, answers }
    }
}

/// Who asked for what.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Asked {
    client: Option<String>,
    /// Path and query.
    target: String,
}

/// What was answered.
#[derive(Debug, Clone)]
struct Answer {
    asked_at: Instant,
    /// None: asked for once, and worth to be kept if it is asked for again.
    whole: Option<Arc<Whole>>,
    /// Of those who make it anew.
    turn: Arc<Mutex<()>>,
}

#[derive(Debug)]
struct Whole {
    /// Of the catalog, before the answer was made.
    state: CatalogState,
    principal: Arc<Principal>,
    touched: Touched,
    headers: HeaderMap,
    body: Bytes,
}

#[derive(Debug, Clone)]
struct Weight;

impl Weighter<Asked, Answer> for Weight {
    fn weight(&self, asked: &Asked, answer: &Answer) -> u64 {
        let body = answer.whole.as_ref().map_or(0, |whole| whole.body.len());
        let client = asked.client.as_ref().map_or(0, String::len);
        let grants = answer.whole.as_ref().map_or(0, |whole| whole.principal.grants.len());
        // two patterns of a grant; headers, names, and what an entry takes beside
        (asked.target.len() + client + body + grants * 600 + 1024) as u64
    }
}

/// The layer.
pub async fn kept(kept: Arc<Kept>, request: Request, inside: Inside) -> Response {
    let Some((caller, asked)) = asked(&request) else {
        return inside(request).await;
    };
    let now = Instant::now();
    let before = kept.answers.get(&asked);
    let Some(before) = before.filter(|answer| now.duration_since(answer.asked_at) < MAX_AGE) else {
        let once = Answer {
            asked_at: now,
            whole: None,
            turn: Arc::default(),
        };
        kept.answers.insert(asked, once);
        return inside(request).await;
    };
    let Some(state) = kept.service.catalog_state().await else {
        // the handler says what is the matter
        return inside(request).await;
    };
    let turn = before.turn.clone();
    if let Some(whole) = before.whole.filter(|whole| whole.is_for(&state, &caller)) {
        return whole.again(&caller);
    }
    // of many who ask after a change one makes the answer; nobody waits long for it
    let _turn = timeout(PATIENCE, turn.lock()).await;
    let meanwhile = kept.answers.get(&asked).and_then(|answer| answer.whole);
    if let Some(whole) = meanwhile.filter(|whole| whole.is_for(&state, &caller)) {
        return whole.again(&caller);
    }
    let response = inside(request).await;
    if !fit(&response) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let body = match axum::body::to_bytes(body, usize::MAX).await {
        Ok(body) => body,
        Err(error) => return ApiError::from(Error::internal(error)).into_response(),
    };
    if let Ok(tag) = HeaderValue::from_str(&tag_of(&body)) {
        parts.headers.insert(header::ETAG, tag);
    }
    let whole = Whole {
        state,
        principal: caller.principal().clone(),
        touched: caller.touched(),
        headers: parts.headers.clone(),
        body: body.clone(),
    };
    let answer = Answer {
        asked_at: now,
        whole: Some(Arc::new(whole)),
        turn: turn.clone(),
    };
    kept.answers.insert(asked, answer);
    Response::from_parts(parts, Body::from(body))
}

impl Whole {
    /// Whether a call with these rights would be answered so in this state of the catalog.
    fn is_for(&self, state: &CatalogState, caller: &Caller) -> bool {
        let same = Arc::ptr_eq(&self.principal, caller.principal()) || self.principal == *caller.principal();
        self.state == *state && same
    }

    fn again(&self, caller: &Caller) -> Response {
        caller.is_repeated(Some(self.touched.clone()));
        (self.headers.clone(), KEPT_ANSWER, self.body.clone()).into_response()
    }
}

/// Who asks for what, if it is of the kept kind.
fn asked(request: &Request) -> Option<(Caller, Asked)> {
    let route = request.extensions().get::<MatchedPath>()?;
    if *request.method() != Method::GET {
        return None;
    }
    super::openapi::operation_id("GET", route.as_str()).filter(|id| KEPT.contains(id))?;
    let caller = request.extensions().get::<Caller>()?;
    let asked = Asked {
        client: caller.principal().client_id(),
        target: request.uri().path_and_query()?.to_string(),
    };
    Some((caller.clone(), asked))
}

fn fit(response: &Response) -> bool {
    let json = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|t| t == "application/json");
    let size = response.body().size_hint().exact();
    response.status() == StatusCode::OK && json && size.is_some_and(|size| size <= MAX_KEPT)
}
