//! REST. Handlers map JSON endpoints onto the service; DTOs live beside their handlers.

mod adopt;
mod aliases;
mod audit;
mod channels;
mod collections;
mod compressing;
mod conditional;
mod databases;
mod explain;
mod exports;
mod external_restores;
mod extract;
mod gc;
mod guard;
mod health;
mod idempotency;
mod indexes;
mod intake;
mod job_body;
mod kept;
mod keys;
mod layers;
mod materialize;
mod openapi;
mod openapi_30;
mod openapi_http;
mod openapi_rules;
mod partitions;
mod pins;
mod plans;
mod problem;
mod rate_limit;
mod receipts;
mod restore_control;
mod restore_events;
mod restores;
mod schema_body;
mod segment_body;
mod segments;
mod snapshot_body;
mod snapshots;
mod storage;
mod types;
mod usage;
mod verifications;
mod webhooks;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use metrics_exporter_prometheus::PrometheusHandle;
use tower::ServiceBuilder;
use tower_http::CompressionLevel;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{DefaultPredicate, Predicate as _, SizeAbove};
use tower_http::decompression::RequestDecompressionLayer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::domain::Code;
use crate::limits::Limits;
use crate::service::Service;

pub use crate::limits::Rate;
pub use layers::RequestLimits;
use layers::inside;
pub use openapi::{document, text_of};

/// The longest time that a call may be asked to wait for the engine.
pub const MAX_WAIT: Duration = Duration::from_secs(3600);

/// What handlers work with.
#[derive(Debug, Clone)]
pub struct ApiState {
    pub service: Service,
    pub metrics: PrometheusHandle,
}

/// Every route, each declared together with its OpenAPI entry.
fn routes() -> OpenApiRouter<guard::Guarded> {
    OpenApiRouter::with_openapi(openapi::base())
        .routes(routes!(databases::list_databases, databases::create_database))
        .routes(routes!(databases::get_database, databases::drop_database))
        .routes(routes!(collections::list_collections, collections::create_collection))
        .routes(routes!(
            collections::get_collection,
            collections::change_collection,
            collections::drop_collection
        ))
        .routes(routes!(partitions::list_partitions, partitions::create_partition))
        .routes(routes!(partitions::get_partition, partitions::drop_partition))
        .routes(routes!(aliases::list_aliases, aliases::create_alias))
        .routes(routes!(aliases::get_alias, aliases::move_alias, aliases::drop_alias))
        .routes(routes!(channels::list_channels))
        .routes(routes!(channels::report_channel))
        .routes(routes!(indexes::list_indexes, indexes::create_index))
        .routes(routes!(indexes::get_index, indexes::drop_index))
        .routes(routes!(segments::list_segments, segments::register_segment))
        .routes(routes!(segments::register_segments))
        .routes(routes!(
            segments::get_segment,
            segments::change_segment,
            segments::drop_segment
        ))
        .routes(routes!(segments::register_index_build))
        .routes(routes!(segments::compact_segments))
        .routes(routes!(segments::flush_collection))
        .routes(routes!(materialize::materialize_collection))
        .routes(routes!(snapshots::list_snapshots, snapshots::create_snapshot))
        .routes(routes!(
            snapshots::get_snapshot,
            snapshots::change_snapshot,
            snapshots::drop_snapshot
        ))
        .routes(routes!(adopt::adopt_snapshots))
        .routes(routes!(snapshots::undelete_snapshot))
        .routes(routes!(snapshots::list_snapshot_segments))
        .routes(routes!(pins::list_pins, pins::create_pin))
        .routes(routes!(pins::delete_pin))
        .routes(routes!(usage::get_snapshot_usage))
        .routes(routes!(verifications::verify_snapshot))
        .routes(routes!(plans::plan_restore))
        .routes(routes!(restores::restore_snapshot))
        .routes(routes!(restores::list_restore_jobs))
        .routes(routes!(restores::get_restore_job, restore_control::change_restore_job))
        .routes(routes!(restores::list_restore_tasks))
        .routes(routes!(restore_events::stream_restore_events))
        .routes(routes!(restore_control::pause_restore_job))
        .routes(routes!(restore_control::resume_restore_job))
        .routes(routes!(restore_control::cancel_restore_job))
        .routes(routes!(receipts::get_restore_receipt))
        .routes(routes!(exports::export_snapshot))
        .routes(routes!(exports::list_export_jobs))
        .routes(routes!(exports::get_export_job, exports::change_export_job))
        .routes(routes!(exports::list_export_tasks))
        .routes(routes!(restore_events::stream_export_events))
        .routes(routes!(exports::pause_export_job))
        .routes(routes!(exports::resume_export_job))
        .routes(routes!(exports::cancel_export_job))
        .routes(routes!(external_restores::restore_external_snapshot))
        .routes(routes!(gc::list_gc_runs, gc::start_gc_run))
        .routes(routes!(gc::get_gc_run))
        .routes(routes!(gc::list_gc_run_items))
        .routes(routes!(gc::get_orphan_deletion, gc::set_orphan_deletion))
        .routes(routes!(explain::explain_object))
        .routes(routes!(usage::get_usage))
        .routes(routes!(usage::simulate_drop))
        .routes(routes!(storage::get_storage))
        .routes(routes!(webhooks::list_webhooks, webhooks::create_webhook))
        .routes(routes!(webhooks::get_webhook, webhooks::delete_webhook))
        .routes(routes!(webhooks::list_webhook_deliveries))
        .routes(routes!(webhooks::replay_webhook_delivery))
        .routes(routes!(keys::list_keys, keys::create_key))
        .routes(routes!(keys::get_key, keys::delete_key))
        .routes(routes!(audit::list_audit_events))
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .routes(routes!(health::prometheus))
}

/// The whole HTTP service.
pub fn router(state: ApiState, limits: RequestLimits) -> Router {
    let lent = limits.lent(&state.service);
    router_with(state, limits, lent, document())
}

/// The same with limits that are shared with others, showing a document that tells of more.
pub fn router_with(state: ApiState, limits: RequestLimits, lent: Limits, document: utoipa::openapi::OpenApi) -> Router {
    let service = state.service.clone();
    let state = guard::Guarded(Arc::new(state));
    let (router, _) = routes().split_for_parts();
    let routes = router.with_state(state.clone()).merge(openapi::docs(document));
    let passage = Passage {
        resources: Arc::new(conditional::Conditional::new(routes.clone(), service.clone())),
        kept: Arc::new(kept::Kept::new(service.clone())),
        service: Arc::new(service),
        lent: Arc::new(lent),
        guarded: state,
    };
    let router = with_fallback(routes).layer(middleware::from_fn_with_state(Arc::new(passage), pass));
    surrounded(router, limits)
}

/// What a request passes that may call an operation.
#[derive(Debug)]
struct Passage {
    guarded: guard::Guarded,
    lent: Arc<Limits>,
    resources: Arc<conditional::Conditional>,
    kept: Arc<kept::Kept>,
    service: Arc<Service>,
}

/// Whatever answers by itself lies inside of the guard. One layer of axum for all of them, from the innermost: each of
/// axum's own copies all that lies inside of it, for each request.
async fn pass(State(passage): State<Arc<Passage>>, request: Request, next: Next) -> Response {
    let all = passage.clone();
    let keyed = inside(move |request| idempotency::keyed(all.service.clone(), request, inside(|request| next.run(request))));
    let all = passage.clone();
    let kept = inside(move |request| kept::kept(all.kept.clone(), request, keyed));
    let all = passage.clone();
    let conditional = inside(move |request| conditional::conditional(all.resources.clone(), request, kept));
    let all = passage.clone();
    let counted = inside(move |request| intake::counted(all.lent.clone(), request, conditional));
    guard::guard(passage.guarded.clone(), passage.lent.clone(), request, counted).await
}

fn with_fallback(router: Router) -> Router {
    router.fallback(|| async { problem::ApiError::from(Code::RouteNotFound.error("there is nothing at this path; see /docs")) })
}

/// Puts what every request passes around the routes; here the first layer is the outermost.
fn surrounded(router: Router, limits: RequestLimits) -> Router {
    let cors = layers::cors(&limits.cors_origins);
    let body_bytes = limits.body_bytes;
    let compression = CompressionLayer::new()
        .quality(CompressionLevel::Precise(4))
        .compress_when(DefaultPredicate::new().and(SizeAbove::new(1024)));
    let outer = (Arc::new(limits), compressing::Compressing::default());
    let layers = ServiceBuilder::new()
        .layer(middleware::from_fn_with_state(outer, enter))
        .layer(compression)
        .layer(RequestDecompressionLayer::new())
        .layer(DefaultBodyLimit::max(body_bytes))
        .layer(CatchPanicLayer::custom(layers::panicked));
    let router = router.layer(layers);
    match cors {
        // outside of all others: pages shall be able to read every error
        Some(cors) => router.layer(cors).layer(middleware::from_fn(layers::identified)),
        None => router,
    }
}

/// What comes before the body is looked into.
async fn enter(
    State((limits, compressing)): State<(Arc<RequestLimits>, compressing::Compressing)>,
    request: Request,
    next: Next,
) -> Response {
    let all = limits.clone();
    let announced = inside(move |request| intake::announced(all, request, inside(|request| next.run(request))));
    let compressing = inside(move |request| compressing::compressing(compressing, request, announced));
    let marked = inside(move |request| conditional::mark_coding(request, compressing));
    layers::outermost(limits, request, marked).await
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use axum::routing::get;
    use tower::ServiceExt as _;

    use super::*;

    async fn ask(path: &str) -> axum::response::Response {
        let routes = Router::new()
            .route("/panics", get(|| async { panic!("the secret of the house") as () }))
            .route("/hangs", get(std::future::pending::<()>))
            .route(
                "/waits",
                get(|axum::Extension(patience): axum::Extension<layers::Patience>| async move {
                    patience.extend(Duration::from_secs(60));
                    tokio::time::sleep(Duration::from_millis(60)).await;
                }),
            );
        let limits = RequestLimits {
            timeout: Duration::from_millis(20),
            body_bytes: 10,
            ..RequestLimits::default()
        };
        let request = Request::get(path).body(Body::empty()).expect("a request");
        surrounded(with_fallback(routes), limits)
            .oneshot(request)
            .await
            .expect("never fails")
    }

    async fn answer(path: &str) -> serde_json::Value {
        let response = ask(path).await;
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        let bytes = to_bytes(response.into_body(), usize::MAX).await.expect("a body");
        serde_json::from_slice(&bytes).expect("JSON")
    }

    #[tokio::test]
    async fn a_panic_is_an_internal_problem_that_tells_nothing() {
        let problem = answer("/panics").await;
        assert_eq!(
            (problem["status"].as_u64(), problem["code"].as_str()),
            (Some(500), Some("internal"))
        );
        assert!(!problem.to_string().contains("secret"), "{problem}");
    }

    #[tokio::test]
    async fn a_request_that_was_asked_to_wait_gets_that_time_on_top() {
        assert_eq!(ask("/waits").await.status().as_u16(), 200);
    }

    #[tokio::test]
    async fn a_request_that_takes_too_long_is_given_up() {
        let problem = answer("/hangs").await;
        assert_eq!(
            (problem["status"].as_u64(), problem["code"].as_str()),
            (Some(504), Some("request_timeout"))
        );
    }
}
