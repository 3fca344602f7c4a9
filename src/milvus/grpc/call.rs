//! What every call passes: reading the message, a time limit, a net for panics, a status for
//! every failure, a log line and metrics.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;
use axum::routing::{MethodRouter, post};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tonic::server::{Grpc, UnaryService};
use tonic_prost::ProstCodec;
use tracing::Instrument as _;

use super::named::Names;
use super::reply::Reply;
use crate::domain::Error;
use crate::domain::access::{Named, Touched};
use crate::limits::Account;
use crate::milvus::guard::{self, Admitted, Arrival, NOT_SERVED, TurnedAway};
use crate::milvus::status::{Refusal, code};
use crate::milvus::{Facade, names};
use crate::telemetry;

/// Carries the request id in and out, as over REST.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Where Milvus' clients put an id of their own.
const CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("client-request-id");
/// Where Milvus' clients name the database.
const DB_NAME: HeaderName = HeaderName::from_static("dbname");

/// A message without fields, as gRPC frames it.
const EMPTY_MESSAGE: &[u8] = &[0; 5];

/// A call with its message.
pub struct Call<T> {
    pub facade: Facade,
    pub message: T,
    /// The database in the call's metadata.
    db_name: Option<String>,
}

impl<T> Call<T> {
    /// The database of the call; `in_message` is what its message says.
    pub fn db<'a>(&'a self, in_message: &'a str) -> &'a str {
        names::database(in_message, self.db_name.as_deref())
    }

    /// The same, and none when the call names no database at all.
    pub fn db_if_named<'a>(&'a self, in_message: &'a str) -> Option<&'a str> {
        [in_message, self.db_name.as_deref().unwrap_or_default()]
            .into_iter()
            .find(|name| !name.is_empty())
    }
}

type Handler<Req, Rep> = Arc<dyn Fn(Call<Req>) -> BoxFuture<'static, Result<Rep, Refusal>> + Send + Sync>;

/// One call under way.
struct Unary<Req, Rep> {
    name: &'static str,
    operation: &'static str,
    handler: Handler<Req, Rep>,
    facade: Facade,
    db_name: Option<String>,
    /// Whether it was let in; taken by the one call.
    admitted: Option<Result<Admitted, Refusal>>,
}

impl<Req: Send + 'static, Rep: Reply> UnaryService<Req> for Unary<Req, Rep> {
    type Response = Rep;
    type Future = BoxFuture<'static, Result<tonic::Response<Rep>, tonic::Status>>;

    fn call(&mut self, request: tonic::Request<Req>) -> Self::Future {
        let (name, operation, limit) = (self.name, self.operation, self.facade.settings.timeout);
        let (handler, db_name) = (Arc::clone(&self.handler), self.db_name.take());
        let admitted = self.admitted.take();
        let handled = async move {
            let admitted = admitted.unwrap_or_else(|| Err(Error::internal("a call that nobody let in").into()))?;
            let answered = handler(Call {
                facade: admitted.facade.clone(),
                message: request.into_inner(),
                db_name,
            });
            let answered = answered.await;
            match admitted.end(operation, answered.as_ref().err()).await {
                Some(refusal) => Err(refusal),
                None => answered,
            }
        };
        guarded(name, limit, handled).map(Reply::sent).in_current_span().boxed()
    }
}

/// The answer of a call, whatever happens to it.
async fn guarded<Rep: Reply>(
    name: &'static str,
    limit: Duration,
    handled: impl Future<Output = Result<Rep, Refusal>> + Send,
) -> Rep {
    let began = Instant::now();
    let caught = AssertUnwindSafe(tokio::time::timeout(limit, handled)).catch_unwind();
    let answered = match caught.await {
        Ok(Ok(answered)) => answered,
        Ok(Err(_)) => Err(Refusal::new(
            code::TIMEOUT,
            format!("{name}: no answer within {} ms", limit.as_millis()),
        )),
        Err(panic) => Err(panicked(panic.as_ref())),
    };
    record(name.into(), began, answered.as_ref().err());
    answered.unwrap_or_else(|refusal| Rep::refused(refusal.status()))
}

/// The route of a call, with its entry in the table of operations.
pub fn unary<Req, Rep, F, Fut>(name: &'static str, operation: &'static str, handler: F) -> MethodRouter<Facade>
where
    Req: Names,
    Rep: Reply,
    F: Fn(Call<Req>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Rep, Refusal>> + Send + 'static,
{
    let handler: Handler<Req, Rep> = Arc::new(move |call| handler(call).boxed());
    post(move |State(facade): State<Facade>, request: Request| {
        let unary = Unary {
            name,
            operation,
            handler: Arc::clone(&handler),
            db_name: text(request.headers(), &DB_NAME),
            facade,
            admitted: None,
        };
        answer(unary, request)
    })
}

async fn answer<Req, Rep>(mut unary: Unary<Req, Rep>, request: Request) -> Response
where
    Req: Names,
    Rep: Reply,
{
    let request_id = request_id(request.headers());
    let span = tracing::info_span!("milvus", request.id = %request_id, call = unary.name);
    let settings = unary.facade.settings;
    // the one is for logs, the other, inside it, for traces
    let traced = span.in_scope(|| telemetry::request_span("POST", request.uri().path(), request.headers()));
    let arrival = Arrival::of(&request, &request_id);
    let admitted = guard::admit(&unary.facade, unary.operation, arrival)
        .instrument(traced.clone())
        .instrument(span.clone())
        .await;
    let (parts, body) = request.into_parts();
    // read here, and not by tonic: it would reserve whatever a message announces
    let reading = message::<Req>(&unary.facade, unary.operation, unary.db_name.as_deref(), admitted, body)
        .instrument(traced.clone())
        .instrument(span.clone());
    let (admitted, body, account) = match tokio::time::timeout(settings.timeout, reading).await {
        Ok(read) => read,
        Err(_) => (
            Err(Refusal::new(code::TIMEOUT, "the message did not arrive in time")),
            Bytes::from_static(EMPTY_MESSAGE),
            None,
        ),
    };
    let request = Request::from_parts(parts, Body::from(body));
    unary.admitted = Some(admitted);
    let mut grpc = Grpc::new(ProstCodec::<Rep, Req>::default()).apply_max_message_size_config(Some(usize::MAX), Some(usize::MAX));
    let mut response = grpc
        .unary(unary, request)
        .instrument(traced)
        .instrument(span)
        .await
        .map(Body::new);
    drop(account);
    if let Ok(value) = HeaderValue::from_str(&request_id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

/// Reads the message of a call. Of whom is not let in it is for the audit log only, and nothing is read of what is not
/// served.
async fn message<Req: Names>(
    facade: &Facade,
    operation: &str,
    db_name: Option<&str>,
    admitted: Result<Admitted, TurnedAway>,
    body: Body,
) -> (Result<Admitted, Refusal>, Bytes, Option<Account>) {
    let empty = Bytes::from_static(EMPTY_MESSAGE);
    let call = match admitted {
        Ok(call) if operation != NOT_SERVED => call,
        Ok(call) => return (Ok(call), empty, None),
        Err(turned_away) => {
            let named = |bytes: &[u8]| named::<Req>(operation, db_name, bytes);
            let refusal = turned_away.recorded(facade, body, named).await;
            return (Err(refusal), empty, None);
        }
    };
    match call.read(body).await {
        Ok((bytes, account)) => (Ok(call), bytes, Some(account)),
        Err(refusal) => {
            call.end(operation, Some(&refusal)).await;
            (Err(refusal), empty, None)
        }
    }
}

/// What a call names that is not let in; what is no message names nothing.
fn named<Req: Names>(operation: &str, db_name: Option<&str>, framed: &[u8]) -> Touched {
    let mut named = Named::of(operation);
    if let Some(message) = framed.get(EMPTY_MESSAGE.len()..).and_then(|m| Req::decode(m).ok()) {
        message.name(&mut named);
    }
    named.in_database(names::database("", db_name));
    named.touched()
}

/// An id that the caller sent, when it is fit for logs and headers, else a new one.
pub fn request_id(headers: &HeaderMap) -> String {
    let fit =
        |text: &String| (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    [&REQUEST_ID, &CLIENT_REQUEST_ID]
        .into_iter()
        .filter_map(|name| text(headers, name))
        .find(fit)
        .unwrap_or_else(|| uuid::Uuid::now_v7().to_string())
}

fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_string)
}

/// Turns a panic into a refusal; the text of the panic is for the log only.
pub fn panicked(panic: &(dyn std::any::Any + Send)) -> Refusal {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without a text");
    Error::internal(format!("panic: {text}")).into()
}

/// The log line, the metrics and the end of the span of a call.
pub fn record(name: metrics::SharedString, began: Instant, refusal: Option<&Refusal>) {
    let took = began.elapsed();
    let code = refusal.map_or(0, Refusal::code);
    metrics::counter!(telemetry::MILVUS_CALLS, "call" => name.clone(), "code" => code.to_string()).increment(1);
    metrics::histogram!(telemetry::MILVUS_SECONDS, "call" => name).record(took.as_secs_f64());
    telemetry::answered_call(&tracing::Span::current(), code, refusal.is_some_and(Refusal::is_ours));
    let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    if let Some(refusal) = refusal {
        let cause = refusal.error().map(Error::cause_chain).unwrap_or_default();
        if refusal.is_ours() {
            tracing::error!(code, error = refusal.reason(), cause, "call failed");
        } else {
            tracing::debug!(code, error = refusal.reason(), "call refused");
        }
    }
    tracing::info!(code, took_ms, "answered");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::milvus::proto::common::Status;

    #[tokio::test]
    async fn a_panic_is_a_status_that_tells_nothing() {
        let panics = async { panic!("the secret of the house") };
        let status = guarded::<Status>("Test", Duration::from_secs(60), panics).await;
        assert_eq!((status.code, status.error_code), (code::SERVICE_INTERNAL, 1));
        assert!(
            !status.reason.contains("secret") && !status.detail.contains("secret"),
            "{status:?}"
        );
    }

    #[tokio::test]
    async fn a_call_that_takes_too_long_is_given_up() {
        let status = guarded::<Status>("Test", Duration::from_millis(20), std::future::pending()).await;
        assert_eq!(status.code, code::TIMEOUT);
    }
}
