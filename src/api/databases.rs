//! `/v1/databases`.

use super::guard::State;
use axum::Json;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::extract::{Body, Name, Query};
use super::problem::ApiError;
use super::types::{Id, List, rfc3339};
use crate::domain::collection::Database;
use crate::domain::page::PageRequest;

/// A database to create.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"name": "analytics"})))]
pub struct CreateDatabaseRequest {
    pub name: String,
}

/// A database.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({"db_id": "1", "name": "default", "created_at": "2024-01-01T00:00:00Z"})))]
pub struct DatabaseResponse {
    pub db_id: Id,
    pub name: String,
    pub created_at: String,
}

impl From<Database> for DatabaseResponse {
    fn from(database: Database) -> Self {
        Self {
            db_id: Id(database.db_id.0),
            name: database.name,
            created_at: rfc3339(database.created_at),
        }
    }
}

/// Which page of the list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListDatabasesQuery {
    /// Entries of the page, 1 to 1000.
    #[param(default = 100, minimum = 1, maximum = 1000)]
    page_size: Option<i64>,
    /// `next_page_token` of the page before.
    page_token: Option<String>,
}

/// List databases
///
/// By name.
#[utoipa::path(get, path = "/v1/databases", operation_id = "list_databases", tag = "databases", params(ListDatabasesQuery),
    responses((status = 200, description = "A page of databases", body = List<DatabaseResponse>)))]
pub async fn list_databases(
    State(state): State<ApiState>,
    Query(query): Query<ListDatabasesQuery>,
) -> Result<Json<List<DatabaseResponse>>, ApiError> {
    let page = PageRequest::new(query.page_size, query.page_token)?;
    Ok(Json(List::of(
        state.service.list_databases(&page).await?,
        DatabaseResponse::from,
    )))
}

/// Create a database
#[utoipa::path(post, path = "/v1/databases", operation_id = "create_database", tag = "databases", request_body = CreateDatabaseRequest,
    responses((status = 201, description = "Created", body = DatabaseResponse)))]
pub async fn create_database(
    State(state): State<ApiState>,
    Body(body): Body<CreateDatabaseRequest>,
) -> Result<(StatusCode, Json<DatabaseResponse>), ApiError> {
    let created = state.service.create_database(&body.name).await?;
    Ok((StatusCode::CREATED, Json(created.into())))
}

/// Describe a database
#[utoipa::path(get, path = "/v1/databases/{db_name}", operation_id = "get_database", tag = "databases",
    params(("db_name" = String, Path, description = "Name of the database", example = "default")),
    responses((status = 200, description = "The database", body = DatabaseResponse)))]
pub async fn get_database(State(state): State<ApiState>, Name(db_name): Name) -> Result<Json<DatabaseResponse>, ApiError> {
    Ok(Json(state.service.database(&db_name).await?.into()))
}

/// Drop a database
///
/// Refused while a collection, or a snapshot of a dropped one, is inside.
#[utoipa::path(delete, path = "/v1/databases/{db_name}", operation_id = "drop_database", tag = "databases",
    params(("db_name" = String, Path, description = "Name of the database", example = "analytics")),
    responses((status = 204, description = "Dropped")))]
pub async fn drop_database(State(state): State<ApiState>, Name(db_name): Name) -> Result<StatusCode, ApiError> {
    state.service.drop_database(&db_name).await?;
    Ok(StatusCode::NO_CONTENT)
}
