//! Milvus' REST v2 paths of snapshots (facts §2): a compatibility API beside our own. Every answer
//! has HTTP status 200; the outcome stands in the envelope.

mod answer;
mod bodies;
mod exports;
mod jobs;
mod nulls;
mod passage;
mod request;
mod snapshots;

use axum::Router;
use axum::extract::Request;
use axum::middleware;
use axum::routing::any;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::answer::Failed;
use self::passage::Guarded;
use super::Facade;
use super::status::{Refusal, code};

#[derive(OpenApi)]
#[openapi(tags((
    name = "milvus",
    description = "Compatibility: Milvus' REST v2 paths of snapshots, for programs that speak them already. Every answer has status 200; `code` is 0 or Milvus' code of the failure. 64-bit integers are strings, numbers with the header `Accept-Type-Allow-Int64: true`. The database is `dbName` in the body, else the header `DB-Name`. Unknown fields are ignored, as in Milvus."
)))]
struct Base;

fn routes() -> OpenApiRouter<Guarded> {
    OpenApiRouter::with_openapi(Base::openapi())
        .routes(routes!(snapshots::create))
        .routes(routes!(snapshots::drop_one))
        .routes(routes!(snapshots::list))
        .routes(routes!(snapshots::describe))
        .routes(routes!(snapshots::restore))
        .routes(routes!(snapshots::pin))
        .routes(routes!(snapshots::unpin))
        .routes(routes!(jobs::describe_job))
        .routes(routes!(jobs::list_jobs))
        .routes(routes!(exports::export))
        .routes(routes!(exports::describe_export))
        .routes(routes!(exports::restore_external))
}

/// The paths, to be merged with the other routes of the port.
pub fn router(facade: Facade) -> Router {
    let (router, _) = routes().split_for_parts();
    let state = Guarded(facade);
    router
        .route("/v2/vectordb/{*path}", any(unserved))
        .method_not_allowed_fallback(unserved)
        .with_state(state.clone())
        .layer(middleware::from_fn_with_state(state, passage::passes))
}

/// Their part of the OpenAPI document.
pub fn openapi() -> utoipa::openapi::OpenApi {
    routes().split_for_parts().1
}

/// What Milvus serves below these paths and this service does not.
async fn unserved(request: Request) -> Failed {
    let (method, path) = (request.method(), request.uri().path());
    Failed(Refusal::new(
        code::NOT_SUPPORTED,
        format!(
            "{method} {path} is not served here; of REST v2, the calls about snapshots and their jobs are, by POST. See /docs"
        ),
    ))
}
