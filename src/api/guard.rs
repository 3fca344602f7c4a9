//! Who calls: the layer that finds out, and the state that handlers get of it.
//!
//! A handler reaches the service only through [`State`], which hands it out as the caller may use
//! it; axum's own `State` does not compile with these routes. A route without an entry in the table
//! of operations gets no caller, and its handler no service. An answer that came about without a
//! look at the caller's rights is held back.

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, FromRequestParts, MatchedPath, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tokio::sync::Semaphore;

use super::ApiState;
use super::layers::RequestId;
use super::problem::ApiError;
use crate::domain::access::{Caller, Permission, bearer, caller_address, needed};
use crate::domain::audit::{AuditOutcome, NewAuditEvent};
use crate::domain::{Code, Error};
use crate::service::Service;

/// The peer of a connection, as the server that accepted it knows it.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// The state of the routes: nothing that a handler can use by itself.
#[derive(Debug, Clone)]
pub struct Guarded(pub(super) ApiState);

/// What a handler works with, as its caller may use it.
#[derive(Debug)]
pub struct State<T>(pub T);

impl FromRequestParts<Guarded> for State<ApiState> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, Guarded(state): &Guarded) -> Result<Self, ApiError> {
        let caller = parts.extensions.get::<Caller>();
        let caller = caller.ok_or_else(|| Error::internal("a handler is called that has no entry in the OpenAPI document"))?;
        Ok(State(ApiState {
            service: state.service.called_by(caller.clone()),
            metrics: state.metrics.clone(),
        }))
    }
}

/// Reads of which the recording may be under way; more wait for theirs.
static RECORDING: Semaphore = Semaphore::const_new(256);
/// Characters of a path that are recorded.
const MAX_PATH: usize = 1024;

/// Finds out who calls, lets in who may, and records the call.
pub async fn guard(
    axum::extract::State(Guarded(state)): axum::extract::State<Guarded>,
    mut request: Request,
    next: Next,
) -> Response {
    let route = request.extensions().get::<MatchedPath>().map(|m| m.as_str().to_string());
    let method = if request.method() == Method::HEAD {
        "GET"
    } else {
        request.method().as_str()
    };
    let operation = route.and_then(|route| super::openapi::operation_id(method, &route));
    // a method that the path does not have: no handler is called
    let Some(operation) = operation else {
        return next.run(request).await;
    };
    let service = &state.service;
    let mut record = Record::begin(service, operation, &request);
    let credential = credential(request.headers());
    let admitted = async {
        let principal = service.principal_for(operation, credential?.as_deref()).await?;
        record.event.by(&principal);
        service.begin_call(principal, operation)
    };
    let response = match admitted.await {
        Err(error) => ApiError::from(error).into_response(),
        Ok(caller) => {
            record.caller = Some(caller.clone());
            request.extensions_mut().insert(caller.clone());
            let response = next.run(request).await;
            if response.status().is_success() && !caller.touched().judged {
                let text = format!("{operation} answered without a look at the caller's rights");
                ApiError::from(Error::internal(text)).into_response()
            } else {
                response
            }
        }
    };
    let code = response.extensions().get::<ApiError>().map(|e| e.error().code());
    record.finish(response.status(), code).await;
    response
}

/// The credential of a request; none when it brings none.
fn credential(headers: &HeaderMap) -> Result<Option<String>, Error> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = given.next() else { return Ok(None) };
    let read = value.to_str().ok().filter(|_| given.next().is_none()).and_then(bearer);
    read.map(Some).ok_or_else(|| {
        Code::Unauthenticated.error("the Authorization header can't be read; expected one \"Bearer ...\" or \"Basic ...\"")
    })
}

/// The peer, whichever server accepted it.
fn peer(request: &Request) -> Option<SocketAddr> {
    let extensions = request.extensions();
    let own = extensions.get::<ConnectInfo<Peer>>().map(|info| info.0.0);
    own.or_else(|| extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0))
}

/// A call that is being recorded, whatever becomes of it.
struct Record {
    service: Service,
    event: NewAuditEvent,
    caller: Option<Caller>,
    /// None: the operation is open, and nothing to record.
    changes: Option<bool>,
    finished: bool,
}

impl Record {
    fn begin(service: &Service, operation: &str, request: &Request) -> Self {
        let permission = needed(operation).and_then(|access| access.permission());
        let mut event = NewAuditEvent::begin(operation, permission);
        event.method = request.method().as_str().into();
        event.path = request.uri().path().chars().take(MAX_PATH).collect();
        event.request_id = request
            .extensions()
            .get::<RequestId>()
            .map(|id| id.0.clone())
            .unwrap_or_default();
        event.peer = peer(request).map(|peer| {
            let forwarded = request.headers().get_all("x-forwarded-for").iter();
            let forwarded: Vec<&str> = forwarded.filter_map(|v| v.to_str().ok()).collect();
            caller_address(peer.ip(), forwarded.into_iter(), service.trusted_proxies()).to_string()
        });
        Self {
            service: service.clone(),
            event,
            caller: None,
            changes: permission.map(|p| p != Permission::Read && !request.method().is_safe()),
            finished: false,
        }
    }

    /// Whether it is to be recorded.
    fn counts(&self, denied: bool) -> bool {
        match self.changes {
            _ if denied => true,
            None => false,
            Some(changes) => changes || self.service.audits_reads(),
        }
    }

    /// Records the call: before its answer goes out, unless it only read.
    async fn finish(mut self, status: StatusCode, code: Option<Code>) {
        self.finished = true;
        let outcome = match code {
            // axum refuses some bodies and paths itself
            None if !status.is_success() => AuditOutcome::Failed,
            code => AuditOutcome::of(code),
        };
        if !self.counts(outcome == AuditOutcome::Denied) {
            return;
        }
        let mut event = self.event.clone();
        event.outcome = outcome.as_str();
        event.status = Some(status.as_u16());
        event.code = code.map(Code::as_str);
        if let Some(caller) = &self.caller {
            event.about(caller.touched());
        }
        let service = self.service.clone();
        let is_read = outcome == AuditOutcome::Ok && self.changes == Some(false);
        let free = RECORDING.try_acquire().ok().filter(|_| is_read);
        // in a task of its own: a caller that hangs up must not stop it
        let waits = free.is_none();
        let recording = tokio::spawn(async move {
            service.audit(event).await;
            drop(free);
        });
        if waits && let Err(error) = recording.await {
            tracing::error!(%error, "recording a call failed");
        }
    }
}

impl Drop for Record {
    /// The caller hung up, the time was over, or a handler panicked.
    fn drop(&mut self) {
        if self.finished || !self.counts(false) {
            return;
        }
        let mut event = self.event.clone();
        event.outcome = AuditOutcome::Unknown.as_str();
        if let Some(caller) = &self.caller {
            event.about(caller.touched());
        }
        let service = self.service.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { service.audit(event).await });
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::middleware::from_fn_with_state;
    use axum::routing::get;
    use tower::ServiceExt as _;

    use super::*;
    use crate::domain::page::PageRequest;

    async fn handler_without_a_look() -> &'static str {
        "what somebody else owns"
    }

    async fn handler_of_the_service(State(state): State<ApiState>) -> Result<&'static str, ApiError> {
        state.service.list_keys(&PageRequest::new(None, None)?).await?;
        Ok("never")
    }

    /// The code of the refusal.
    async fn ask(router: Router<Guarded>, path: &str) -> Option<Code> {
        let state = Guarded(ApiState {
            service: Service::on_nothing(),
            metrics: crate::telemetry::start_metrics().expect("metrics"),
        });
        let router = router.route_layer(from_fn_with_state(state.clone(), guard)).with_state(state);
        let request = Request::get(path).body(Body::empty()).expect("a request");
        let response = router.oneshot(request).await.expect("never fails");
        response.extensions().get::<ApiError>().map(|e| e.error().code())
    }

    #[tokio::test]
    async fn an_answer_without_a_look_at_the_callers_rights_is_held_back() {
        let router = Router::new().route("/v1/collections", get(handler_without_a_look));
        assert_eq!(ask(router, "/v1/collections").await, Some(Code::Internal));
        let router = Router::new().route("/healthz", get(handler_without_a_look));
        assert_eq!(ask(router, "/healthz").await, None, "an open one needs none");
    }

    #[tokio::test]
    async fn a_route_that_no_operation_describes_reaches_no_service() {
        let router = Router::new().route("/v1/secret-door", get(handler_of_the_service));
        assert_eq!(ask(router, "/v1/secret-door").await, Some(Code::Internal));
    }
}
