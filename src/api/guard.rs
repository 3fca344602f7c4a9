//! Who calls: the layer that finds out, and the state that handlers get of it.
//!
//! A handler reaches the service only through [`State`], which hands it out as the caller may use
//! it; axum's own `State` does not compile with these routes. A route without an entry in the table
//! of operations gets no caller, and its handler no service. An answer that came about without a
//! look at the caller's rights is held back.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequestParts, MatchedPath, RawPathParams, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, header};
use axum::response::{IntoResponse as _, Response};

use super::ApiState;
use super::idempotency::is_unsafe;
use super::layers::{Inside, RequestId};
use super::problem::ApiError;
use super::rate_limit::refused;
use crate::domain::access::{Access, Approach, Caller, Named, Touched, bearer, needed};
use crate::domain::audit::AuditOutcome;
use crate::domain::collection::DEFAULT_DATABASE;
use crate::domain::{Code, Error};
use crate::limits::{Client, ClientId, Limits, TooMany};
use crate::service::{CallOrigin, CallRecord, Service};

/// The state of the routes: nothing that a handler can use by itself.
#[derive(Debug, Clone)]
pub struct Guarded(pub(super) Arc<ApiState>);

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

/// Finds out who calls, counts the request for them, lets in who may, and records the call. Who does not show
/// who they are is counted by the address.
pub async fn guard(Guarded(state): Guarded, limits: Arc<Limits>, mut request: Request, inside: Inside) -> Response {
    let route = request.extensions().get::<MatchedPath>().map(|m| m.as_str().to_string());
    let method = if request.method() == Method::HEAD {
        "GET"
    } else {
        request.method().as_str()
    };
    let operation = route.and_then(|route| super::openapi::operation_id(method, &route));
    let mut client = limits.sender(request.extensions(), request.headers());
    // the pages of the docs, or a method that the path does not have: no handler of ours is called
    let Some(operation) = operation else {
        return match limits.count(&client) {
            Ok(()) => inside(request).await,
            Err(too_many) => refused(too_many),
        };
    };
    let service = &state.service;
    let mut record = CallRecord::begin(service, operation, origin(&request));
    let approach = approach(&request);
    let admission = Admission {
        service,
        limits: &limits,
        operation,
        approach: &approach,
    };
    let response = match admission.admit(request.headers(), &mut client, &mut record).await {
        Err(Refused::TooMany(too_many)) => {
            // a row for each of them would cost more than what is refused
            record.leave_out();
            return refused(too_many);
        }
        Err(Refused::Denied(error)) => {
            record.is_denied(error.code());
            // what nobody knows sends is not read
            let known = error.code() == Code::PermissionDenied;
            record.names(named(operation, request, known.then_some((&*limits, client))).await);
            ApiError::from(error).into_response()
        }
        Ok(caller) => {
            record.called_by(caller.clone());
            if let Client::Known(id) = &client {
                request.extensions_mut().insert(id.clone());
            }
            request.extensions_mut().insert(client);
            request.extensions_mut().insert(caller.clone());
            let response = inside(request).await;
            if response.status().is_success() && !caller.touched().judged {
                let text = format!("{operation} answered without a look at the caller's rights");
                ApiError::from(Error::internal(text)).into_response()
            } else {
                response
            }
        }
    };
    let code = response.extensions().get::<ApiError>().map(|e| e.error().code());
    let status = response.status();
    let outcome = match code {
        // axum refuses some bodies and paths itself
        None if !status.is_success() => AuditOutcome::Failed,
        code => AuditOutcome::of(code),
    };
    record.finish(outcome, Some(status.as_u16()), code).await;
    response
}

/// Why a call is not let in.
enum Refused {
    TooMany(TooMany),
    Denied(Error),
}

impl From<TooMany> for Refused {
    fn from(too_many: TooMany) -> Self {
        Self::TooMany(too_many)
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Denied(error)
    }
}

/// How a call of an operation is let in.
struct Admission<'a> {
    service: &'a Service,
    limits: &'a Limits,
    operation: &'a str,
    approach: &'a Approach,
}

impl Admission<'_> {
    /// Counts the call for its caller, and lets it in. `client` is who sends it, by the address; by the key or
    /// token when that is known.
    async fn admit(&self, headers: &HeaderMap, client: &mut Client, record: &mut CallRecord) -> Result<Caller, Refused> {
        let Self {
            service,
            limits,
            operation,
            approach,
        } = self;
        // what is open says nothing that is worth a trick
        if needed(operation) != Some(Access::Open)
            && let Err(error) = service.judge_approach(approach)
        {
            limits.count(client)?;
            return Err(error.into());
        }
        // probes are never refused, and cost next to nothing
        let free = matches!(*operation, "healthz" | "readyz" | "metrics");
        let mut credential = credential(headers);
        if let Ok(Some(given)) = &credential
            && (!service.is_open(operation) || service.tells_more(operation))
            && service.must_look_up(given)
        {
            // made-up keys would cost a look each
            match limits.look(client) {
                Err(_) if service.is_open(operation) => credential = Ok(None),
                looked => looked?,
            }
        }
        let principal = match credential {
            Ok(credential) => service.principal_for(operation, credential.as_deref()).await,
            Err(error) => Err(error),
        };
        let principal = match principal {
            Ok(principal) => principal,
            Err(error) => {
                let counted = match error.code() {
                    Code::Unauthenticated => limits.count(client),
                    _ => Ok(()),
                };
                // what is open to everybody is open to them too, also while the catalog can't tell who they are
                match service.tells_more(operation) && service.is_open(operation) {
                    true => service.principal_for(operation, None).await?,
                    false => {
                        counted?;
                        return Err(error.into());
                    }
                }
            }
        };
        record.by(&principal);
        if let Some(id) = principal.client_id() {
            *client = Client::Known(ClientId(id));
        }
        if !free {
            limits.count(client)?;
        }
        Ok(match service.begin_call(principal, operation) {
            Err(error) if free => {
                limits.count(client)?;
                return Err(error.into());
            }
            begun => begun?,
        })
    }
}

/// What a request says of the page that it comes from.
fn approach(request: &Request) -> Approach {
    let header = |name| {
        let values = request.headers().get_all(name).iter();
        values.map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned()).collect()
    };
    Approach::new(
        is_unsafe(request.method()),
        request.uri().authority().map(|a| a.as_str()),
        header,
    )
}

/// What the audit log shall know of a request.
fn origin(request: &Request) -> CallOrigin {
    let forwarded = request.headers().get_all("x-forwarded-for").iter();
    CallOrigin {
        method: request.method().as_str().into(),
        path: request.uri().path().into(),
        only_reads: request.method().is_safe(),
        request_id: request
            .extensions()
            .get::<RequestId>()
            .map(|id| id.0.clone())
            .unwrap_or_default(),
        peer: request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip()),
        forwarded: forwarded.filter_map(|v| v.to_str().ok()).map(str::to_string).collect(),
    }
}

/// What a request names that is not let in: in its path, and where its body may be read, in its query and in that; of its
/// query else the database. The answer does
/// not depend on it, and nothing is looked up.
async fn named(operation: &str, request: Request, reading: Option<(&Limits, Client)>) -> Touched {
    let mut named = Named::of(operation);
    let (mut parts, body) = request.into_parts();
    if let Ok(params) = RawPathParams::from_request_parts(&mut parts, &()).await {
        params.iter().for_each(|(key, value)| named.add(key, value));
    }
    let query = url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes());
    if reading.is_none() {
        // all that a stranger writes there may be long
        named.add_query(query.filter(|(key, _)| key == "db_name").take(1));
        named.in_database(DEFAULT_DATABASE);
        return named.touched();
    }
    let takes_body = matches!(parts.method, Method::POST | Method::PUT | Method::PATCH);
    let body = match reading.filter(|_| takes_body) {
        Some((limits, client)) => limits.glance(client, body).await,
        None => None,
    };
    let in_query_first = !named.is_for_a_target();
    if in_query_first {
        named.add_query(query);
    }
    if let Some((bytes, _)) = &body {
        named.add_json(bytes, DEFAULT_DATABASE);
    }
    if !in_query_first {
        named.add_query(query);
    }
    named.in_database(DEFAULT_DATABASE);
    named.touched()
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

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::middleware::{Next, from_fn};
    use axum::routing::get;
    use tower::ServiceExt as _;

    use super::super::layers::inside;
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
        let limits = Limits::new(None, 1024, std::time::Duration::from_secs(1), &[]);
        let state = Guarded(Arc::new(ApiState {
            service: Service::on_nothing(),
            metrics: crate::telemetry::start_metrics().expect("metrics"),
        }));
        let (limits, guarded) = (Arc::new(limits), state.clone());
        let layer = from_fn(move |request: Request, next: Next| {
            guard(guarded.clone(), limits.clone(), request, inside(|request| next.run(request)))
        });
        let router = router.route_layer(layer).with_state(state);
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
