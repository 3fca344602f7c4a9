//! `/v1/collections/{collection_name}/partitions`.

use super::guard::State;
use axum::Json;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;

use super::ApiState;
use super::collections::{DatabaseQuery, PartitionBody, db};
use super::extract::{Body, Name, Names, Query};
use super::problem::ApiError;
use super::types::List;
use crate::domain::id::PartitionId;
use crate::domain::page::PageRequest;

/// Which page of the list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListPartitionsQuery {
    /// Database, `default` when absent.
    db_name: Option<String>,
    /// Entries of the page, 1 to 1000.
    #[param(default = 100, minimum = 1, maximum = 1000)]
    page_size: Option<i64>,
    /// `next_page_token` of the page before.
    page_token: Option<String>,
}

/// List partitions
///
/// Living ones, by name.
#[utoipa::path(get, path = "/v1/collections/{collection_name}/partitions", operation_id = "list_partitions", tag = "collections",
    params(("collection_name" = String, Path, description = "Name or alias", example = "my_collection"), ListPartitionsQuery),
    responses((status = 200, description = "A page of partitions", body = List<PartitionBody>)))]
pub async fn list_partitions(
    State(state): State<ApiState>,
    Name(collection_name): Name,
    Query(query): Query<ListPartitionsQuery>,
) -> Result<Json<List<PartitionBody>>, ApiError> {
    let page = PageRequest::new(query.page_size, query.page_token)?;
    let found = state
        .service
        .list_partitions(db(query.db_name.as_deref()), &collection_name, &page)
        .await?;
    Ok(Json(List::of(found, PartitionBody::from)))
}

/// Create a partition
#[utoipa::path(post, path = "/v1/collections/{collection_name}/partitions", operation_id = "create_partition", tag = "collections",
    params(("collection_name" = String, Path, description = "Name or alias", example = "my_collection"), DatabaseQuery),
    request_body = PartitionBody,
    responses((status = 201, description = "Created", body = PartitionBody)))]
pub async fn create_partition(
    State(state): State<ApiState>,
    Name(collection_name): Name,
    Query(query): Query<DatabaseQuery>,
    Body(body): Body<PartitionBody>,
) -> Result<(StatusCode, Json<PartitionBody>), ApiError> {
    let id = body.partition_id.map(|i| PartitionId(i.0));
    let created = state
        .service
        .create_partition(query.name(), &collection_name, &body.name, id)
        .await?;
    Ok((StatusCode::CREATED, Json(created.into())))
}

/// Describe a partition
#[utoipa::path(get, path = "/v1/collections/{collection_name}/partitions/{partition_name}", operation_id = "get_partition", tag = "collections",
    params(("collection_name" = String, Path, description = "Name or alias", example = "my_collection"),
           ("partition_name" = String, Path, description = "Name", example = "_default"), DatabaseQuery),
    responses((status = 200, description = "The partition", body = PartitionBody)))]
pub async fn get_partition(
    State(state): State<ApiState>,
    Names(collection_name, partition_name): Names,
    Query(query): Query<DatabaseQuery>,
) -> Result<Json<PartitionBody>, ApiError> {
    Ok(Json(
        state
            .service
            .partition(query.name(), &collection_name, &partition_name)
            .await?
            .into(),
    ))
}

/// Drop a partition
///
/// Its segments are dropped with it; what snapshots need of them stays.
#[utoipa::path(delete, path = "/v1/collections/{collection_name}/partitions/{partition_name}", operation_id = "drop_partition", tag = "collections",
    params(("collection_name" = String, Path, description = "Name or alias", example = "my_collection"),
           ("partition_name" = String, Path, description = "Name", example = "p2"), DatabaseQuery),
    responses((status = 204, description = "Dropped")))]
pub async fn drop_partition(
    State(state): State<ApiState>,
    Names(collection_name, partition_name): Names,
    Query(query): Query<DatabaseQuery>,
) -> Result<StatusCode, ApiError> {
    state
        .service
        .drop_partition(query.name(), &collection_name, &partition_name)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
