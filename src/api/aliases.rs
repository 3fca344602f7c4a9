//! `/v1/aliases`.

use super::guard::State;
use axum::Json;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::collections::{DatabaseQuery, db};
use super::extract::{Body, Name, Query};
use super::problem::ApiError;
use super::types::{Id, List};
use crate::domain::collection::Alias;
use crate::domain::page::PageRequest;

/// An alias to create.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"alias": "latest", "collection_name": "my_collection"})))]
pub struct CreateAliasRequest {
    pub alias: String,
    pub collection_name: String,
    #[serde(default)]
    pub db_name: Option<String>,
}

/// Where an alias shall point.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"collection_name": "my_collection"})))]
pub struct MoveAliasRequest {
    pub collection_name: String,
}

/// An alias.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({"alias": "latest", "collection_name": "my_collection", "collection_id": "470644622231601173"})))]
pub struct AliasResponse {
    pub alias: String,
    pub collection_name: String,
    pub collection_id: Id,
}

impl From<Alias> for AliasResponse {
    fn from(alias: Alias) -> Self {
        Self {
            alias: alias.alias,
            collection_name: alias.collection_name,
            collection_id: Id(alias.collection_id.0),
        }
    }
}

/// Which aliases.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListAliasesQuery {
    /// Database, `default` when absent.
    db_name: Option<String>,
    /// Only those of this collection.
    collection_name: Option<String>,
    /// Entries of the page, 1 to 1000.
    #[param(default = 100, minimum = 1, maximum = 1000)]
    page_size: Option<i64>,
    /// `next_page_token` of the page before.
    page_token: Option<String>,
}

/// List aliases
///
/// By name.
#[utoipa::path(get, path = "/v1/aliases", operation_id = "list_aliases", tag = "collections", params(ListAliasesQuery),
    responses((status = 200, description = "A page of aliases", body = List<AliasResponse>)))]
pub async fn list_aliases(
    State(state): State<ApiState>,
    Query(query): Query<ListAliasesQuery>,
) -> Result<Json<List<AliasResponse>>, ApiError> {
    let page = PageRequest::new(query.page_size, query.page_token)?;
    let found = state
        .service
        .list_aliases(db(query.db_name.as_deref()), query.collection_name.as_deref(), &page)
        .await?;
    Ok(Json(List::of(found, AliasResponse::from)))
}

/// Create an alias
///
/// An alias is accepted wherever a collection is read.
#[utoipa::path(post, path = "/v1/aliases", operation_id = "create_alias", tag = "collections", request_body = CreateAliasRequest,
    responses((status = 201, description = "Created", body = AliasResponse)))]
pub async fn create_alias(
    State(state): State<ApiState>,
    Body(body): Body<CreateAliasRequest>,
) -> Result<(StatusCode, Json<AliasResponse>), ApiError> {
    let created = state
        .service
        .set_alias(db(body.db_name.as_deref()), &body.alias, &body.collection_name, false)
        .await?;
    Ok((StatusCode::CREATED, Json(created.into())))
}

/// Describe an alias
#[utoipa::path(get, path = "/v1/aliases/{alias}", operation_id = "get_alias", tag = "collections",
    params(("alias" = String, Path, description = "The alias", example = "latest"), DatabaseQuery),
    responses((status = 200, description = "The alias", body = AliasResponse)))]
pub async fn get_alias(
    State(state): State<ApiState>,
    Name(alias): Name,
    Query(query): Query<DatabaseQuery>,
) -> Result<Json<AliasResponse>, ApiError> {
    Ok(Json(state.service.alias(query.name(), &alias).await?.into()))
}

/// Point an alias to a collection
///
/// Creates it where there is none.
#[utoipa::path(put, path = "/v1/aliases/{alias}", operation_id = "move_alias", tag = "collections",
    params(("alias" = String, Path, description = "The alias", example = "latest"), DatabaseQuery),
    request_body = MoveAliasRequest,
    responses((status = 200, description = "The alias as it is now", body = AliasResponse)))]
pub async fn move_alias(
    State(state): State<ApiState>,
    Name(alias): Name,
    Query(query): Query<DatabaseQuery>,
    Body(body): Body<MoveAliasRequest>,
) -> Result<Json<AliasResponse>, ApiError> {
    Ok(Json(
        state
            .service
            .set_alias(query.name(), &alias, &body.collection_name, true)
            .await?
            .into(),
    ))
}

/// Drop an alias
#[utoipa::path(delete, path = "/v1/aliases/{alias}", operation_id = "drop_alias", tag = "collections",
    params(("alias" = String, Path, description = "The alias", example = "latest"), DatabaseQuery),
    responses((status = 204, description = "Dropped")))]
pub async fn drop_alias(
    State(state): State<ApiState>,
    Name(alias): Name,
    Query(query): Query<DatabaseQuery>,
) -> Result<StatusCode, ApiError> {
    state.service.drop_alias(query.name(), &alias).await?;
    Ok(StatusCode::NO_CONTENT)
}
