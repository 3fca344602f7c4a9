//! `/v1/collections/{collection_name}/materialize`.

use axum::Json;
use axum::http::{HeaderName, StatusCode, header};
use serde::Deserialize;
use utoipa::ToSchema;

use super::ApiState;
use super::collections::DatabaseQuery;
use super::extract::{Name, OptionalBody, Query};
use super::guard::State;
use super::job_body::job_request;
use super::problem::ApiError;
use super::restores::RestoreJobResponse;
use crate::service::MaterializeRequest;

job_request! {
    /// How to materialize a collection.
    #[derive(Debug, Default, Deserialize, ToSchema)]
    #[serde(deny_unknown_fields)]
    #[schema(examples(json!({"max_concurrency": 4})))]
    pub struct MaterializeCollectionRequest {}
}

/// Materialize an external collection
///
/// Copies the files of an adopted or imported collection here: of its living segments and of all its committed snapshots. When all of them are there and proved, an owned collection takes its place in one step, with its names, its snapshots, their pins and holds; ids of collection, partitions, segments, index builds and snapshots are new. The other system's files stay as they are. While the job runs, nothing of the collection can change (409 `collection_being_materialized`), and its snapshots can't be dropped; at its end it waits for restores and exports of them that run. The job is followed and controlled as a restore job; its `kind` is `materialize`.
#[utoipa::path(post, path = "/v1/collections/{collection_name}/materialize", operation_id = "materialize_collection", tag = "restores",
    params(("collection_name" = String, Path, description = "Name or alias", example = "my_collection"), DatabaseQuery),
    request_body = MaterializeCollectionRequest,
    responses((status = 202, description = "The job; `Location` leads to it", body = RestoreJobResponse,
        headers(("location" = String, description = "Path of the job")))))]
pub async fn materialize_collection(
    State(state): State<ApiState>,
    Name(collection_name): Name,
    Query(query): Query<DatabaseQuery>,
    OptionalBody(body): OptionalBody<MaterializeCollectionRequest>,
) -> Result<(StatusCode, [(HeaderName, String); 1], Json<RestoreJobResponse>), ApiError> {
    let request = MaterializeRequest {
        db_name: query.name().to_string(),
        collection_name,
        control: body.control(),
    };
    let job = state.service.start_materialize(&request).await?;
    let location = format!("/v1/restore-jobs/{}", job.job_id);
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(job.into())))
}
