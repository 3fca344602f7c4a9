//! `/v1/collections/{collection_name}/indexes`.

use std::collections::BTreeMap;

use super::guard::State;
use axum::Json;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::collections::{DatabaseQuery, db};
use super::extract::{Body, Name, Names, Query};
use super::problem::ApiError;
use super::types::{Id, List};
use crate::domain::id::{FieldId, IndexId};
use crate::domain::index::Index;
use crate::domain::page::PageRequest;
use crate::service::NewIndex;

/// An index.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"index_id": "470644622232001212", "field_id": "104", "index_name": "vec_hnsw", "type_params": {"dim": "128"}, "index_params": {"index_type": "HNSW", "metric_type": "L2", "M": "16", "efConstruction": "100"}, "user_index_params": {}, "is_auto_index": false})))]
pub struct IndexBody {
    /// Allocated when absent from a request.
    #[serde(default)]
    pub index_id: Option<Id>,
    pub field_id: Id,
    pub index_name: String,
    #[serde(default)]
    pub type_params: BTreeMap<String, String>,
    #[serde(default)]
    pub index_params: BTreeMap<String, String>,
    /// As the user gave them.
    #[serde(default)]
    pub user_index_params: BTreeMap<String, String>,
    #[serde(default)]
    pub is_auto_index: bool,
}

impl From<Index> for IndexBody {
    fn from(index: Index) -> Self {
        Self {
            index_id: Some(Id(index.index_id.0)),
            field_id: Id(index.field_id.0),
            index_name: index.index_name,
            type_params: index.type_params,
            index_params: index.index_params,
            user_index_params: index.user_index_params,
            is_auto_index: index.is_auto_index,
        }
    }
}

/// Which page of the list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListIndexesQuery {
    /// Database, `default` when absent.
    db_name: Option<String>,
    /// Entries of the page, 1 to 1000.
    #[param(default = 100, minimum = 1, maximum = 1000)]
    page_size: Option<i64>,
    /// `next_page_token` of the page before.
    page_token: Option<String>,
}

/// List indexes
///
/// By name.
#[utoipa::path(get, path = "/v1/collections/{collection_name}/indexes", operation_id = "list_indexes", tag = "engine",
    params(("collection_name" = String, Path, description = "Name or alias", example = "my_collection"), ListIndexesQuery),
    responses((status = 200, description = "A page of indexes", body = List<IndexBody>)))]
pub async fn list_indexes(
    State(state): State<ApiState>,
    Name(collection_name): Name,
    Query(query): Query<ListIndexesQuery>,
) -> Result<Json<List<IndexBody>>, ApiError> {
    let page = PageRequest::new(query.page_size, query.page_token)?;
    let found = state
        .service
        .list_indexes(db(query.db_name.as_deref()), &collection_name, &page)
        .await?;
    Ok(Json(List::of(found, IndexBody::from)))
}

/// Register an index
#[utoipa::path(post, path = "/v1/collections/{collection_name}/indexes", operation_id = "create_index", tag = "engine",
    params(("collection_name" = String, Path, description = "Name or alias", example = "my_collection"), DatabaseQuery),
    request_body = IndexBody,
    responses((status = 201, description = "Registered", body = IndexBody)))]
pub async fn create_index(
    State(state): State<ApiState>,
    Name(collection_name): Name,
    Query(query): Query<DatabaseQuery>,
    Body(body): Body<IndexBody>,
) -> Result<(StatusCode, Json<IndexBody>), ApiError> {
    let new = NewIndex {
        index_id: body.index_id.map(|i| IndexId(i.0)),
        field_id: FieldId(body.field_id.0),
        index_name: body.index_name,
        type_params: body.type_params,
        index_params: body.index_params,
        user_index_params: body.user_index_params,
        is_auto_index: body.is_auto_index,
    };
    let created = state.service.create_index(query.name(), &collection_name, new).await?;
    Ok((StatusCode::CREATED, Json(created.into())))
}

/// Describe an index
#[utoipa::path(get, path = "/v1/collections/{collection_name}/indexes/{index_name}", operation_id = "get_index", tag = "engine",
    params(("collection_name" = String, Path, description = "Name or alias", example = "my_collection"),
           ("index_name" = String, Path, description = "Name", example = "vec_hnsw"), DatabaseQuery),
    responses((status = 200, description = "The index", body = IndexBody)))]
pub async fn get_index(
    State(state): State<ApiState>,
    Names(collection_name, index_name): Names,
    Query(query): Query<DatabaseQuery>,
) -> Result<Json<IndexBody>, ApiError> {
    Ok(Json(
        state.service.index(query.name(), &collection_name, &index_name).await?.into(),
    ))
}

/// Drop an index
///
/// Its builds are dropped with it; what snapshots need of them stays.
#[utoipa::path(delete, path = "/v1/collections/{collection_name}/indexes/{index_name}", operation_id = "drop_index", tag = "engine",
    params(("collection_name" = String, Path, description = "Name or alias", example = "my_collection"),
           ("index_name" = String, Path, description = "Name", example = "vec_hnsw"), DatabaseQuery),
    responses((status = 204, description = "Dropped")))]
pub async fn drop_index(
    State(state): State<ApiState>,
    Names(collection_name, index_name): Names,
    Query(query): Query<DatabaseQuery>,
) -> Result<StatusCode, ApiError> {
    state.service.drop_index(query.name(), &collection_name, &index_name).await?;
    Ok(StatusCode::NO_CONTENT)
}
