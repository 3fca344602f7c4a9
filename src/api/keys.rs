//! `/v1/keys`.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::extract::{Body, Name, Query};
use super::guard::State;
use super::problem::ApiError;
use super::types::{Count, Id, List, rfc3339};
use crate::domain::access::{Grant, Pattern, Role};
use crate::domain::api_key::ApiKey;
use crate::domain::id::KeyId;
use crate::domain::page::PageRequest;
use crate::domain::{Error, Result};
use crate::service::NewApiKey;

/// What a grant permits: `reader` to look, `writer` also what the engine does, `operator` also
/// snapshots and restores, `admin` everything.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RoleText {
    Reader,
    Writer,
    Operator,
    Admin,
}

/// A role on the collections whose names are of a pattern.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"role": "operator", "db_name": "team_a", "collection_name": "*"})))]
pub struct GrantBody {
    pub role: RoleText,
    /// Pattern of names of databases; `*` stands for any characters.
    #[serde(default = "any")]
    pub db_name: String,
    /// Pattern of names of collections and aliases.
    #[serde(default = "any")]
    pub collection_name: String,
}

fn any() -> String {
    "*".into()
}

impl From<Grant> for GrantBody {
    fn from(grant: Grant) -> Self {
        Self {
            role: match grant.role {
                Role::Reader => RoleText::Reader,
                Role::Writer => RoleText::Writer,
                Role::Operator => RoleText::Operator,
                Role::Admin => RoleText::Admin,
            },
            db_name: grant.db_name.into(),
            collection_name: grant.collection_name.into(),
        }
    }
}

impl GrantBody {
    fn into_grant(self, at: usize) -> Result<Grant> {
        let pattern =
            |key: &str, text: &str| Pattern::parse(text).map_err(|why| Error::invalid(format!("/grants/{at}/{key}"), why));
        Ok(Grant {
            role: match self.role {
                RoleText::Reader => Role::Reader,
                RoleText::Writer => Role::Writer,
                RoleText::Operator => Role::Operator,
                RoleText::Admin => Role::Admin,
            },
            db_name: pattern("db_name", &self.db_name)?,
            collection_name: pattern("collection_name", &self.collection_name)?,
        })
    }
}

/// A key to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"name": "nightly-backup", "grants": [{"role": "operator", "db_name": "team_a"}], "ttl_seconds": 7776000})))]
pub struct CreateKeyRequest {
    /// Who uses it; unique.
    pub name: String,
    /// What it permits, one at least.
    #[schema(min_items = 1)]
    pub grants: Vec<GrantBody>,
    /// Seconds until it expires; never when absent.
    #[serde(default)]
    pub ttl_seconds: Option<Count>,
}

/// A key, without what is secret of it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({
    "key_id": "470700000000000700", "name": "nightly-backup", "grants": [{"role": "operator", "db_name": "team_a", "collection_name": "*"}],
    "created_by": "key ops (470700000000000600)", "created_at": "2024-01-01T00:00:00Z", "expires_at": "2024-04-01T00:00:00Z"
})))]
pub struct KeyResponse {
    pub key_id: Id,
    pub name: String,
    pub grants: Vec<GrantBody>,
    pub created_by: String,
    pub created_at: String,
    /// Absent: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// To the minute; absent: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<String>,
}

impl From<ApiKey> for KeyResponse {
    fn from(key: ApiKey) -> Self {
        Self {
            key_id: Id(key.key_id.0),
            name: key.name,
            grants: key.grants.into_iter().map(GrantBody::from).collect(),
            created_by: key.created_by,
            created_at: rfc3339(key.created_at),
            expires_at: key.expires_at.map(rfc3339),
            last_used_at: key.last_used_at.map(rfc3339),
        }
    }
}

/// A key that was made.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({
    "key": "sf_…", "key_id": "470700000000000700", "name": "nightly-backup",
    "grants": [{"role": "operator", "db_name": "team_a", "collection_name": "*"}], "created_by": "key ops (470700000000000600)",
    "created_at": "2024-01-01T00:00:00Z"
})))]
pub struct CreatedKeyResponse {
    /// The key itself. It is shown in this answer only.
    pub key: String,
    #[serde(flatten)]
    pub record: KeyResponse,
}

/// Which page of the list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListKeysQuery {
    /// Entries of the page, 1 to 1000.
    #[param(default = 100, minimum = 1, maximum = 1000)]
    page_size: Option<i64>,
    /// `next_page_token` of the page before.
    page_token: Option<String>,
}

/// List API keys
///
/// By id; never the keys themselves.
#[utoipa::path(get, path = "/v1/keys", operation_id = "list_keys", tag = "access", params(ListKeysQuery),
    responses((status = 200, description = "A page of keys", body = List<KeyResponse>)))]
pub async fn list_keys(
    State(state): State<ApiState>,
    Query(query): Query<ListKeysQuery>,
) -> Result<Json<List<KeyResponse>>, ApiError> {
    let page = PageRequest::new(query.page_size, query.page_token)?;
    Ok(Json(List::of(state.service.list_keys(&page).await?, KeyResponse::from)))
}

/// Make an API key
///
/// The key is in the answer, and nowhere else: only its hash is kept.
#[utoipa::path(post, path = "/v1/keys", operation_id = "create_key", tag = "access", request_body = CreateKeyRequest,
    responses((status = 201, description = "Made", body = CreatedKeyResponse)))]
pub async fn create_key(
    State(state): State<ApiState>,
    Body(body): Body<CreateKeyRequest>,
) -> Result<(StatusCode, [(header::HeaderName, HeaderValue); 1], Json<CreatedKeyResponse>), ApiError> {
    let grants = body.grants.into_iter().enumerate().map(|(at, grant)| grant.into_grant(at));
    let new = NewApiKey {
        name: body.name,
        grants: grants.collect::<Result<_>>()?,
        ttl_seconds: body.ttl_seconds.map(|ttl| ttl.0),
    };
    let created = state.service.create_key(new).await?;
    let answer = CreatedKeyResponse {
        key: created.secret.expose().into(),
        record: created.key.into(),
    };
    // whatever stands in between must not keep it
    let headers = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    Ok((StatusCode::CREATED, headers, Json(answer)))
}

/// Describe an API key
#[utoipa::path(get, path = "/v1/keys/{key_id}", operation_id = "get_key", tag = "access",
    params(("key_id" = Id, Path, description = "The key's id", example = "470700000000000700")),
    responses((status = 200, description = "The key, without what is secret of it", body = KeyResponse)))]
pub async fn get_key(State(state): State<ApiState>, Name(id): Name) -> Result<Json<KeyResponse>, ApiError> {
    let id = KeyId(Id::in_path("key_id", &id)?);
    Ok(Json(state.service.key(id).await?.into()))
}

/// Delete an API key
///
/// It is refused at once by the replica that answers, within five seconds by the others.
#[utoipa::path(delete, path = "/v1/keys/{key_id}", operation_id = "delete_key", tag = "access",
    params(("key_id" = Id, Path, description = "The key's id", example = "470700000000000700")),
    responses((status = 204, description = "Deleted")))]
pub async fn delete_key(State(state): State<ApiState>, Name(id): Name) -> Result<StatusCode, ApiError> {
    let id = KeyId(Id::in_path("key_id", &id)?);
    state.service.delete_key(id).await?;
    Ok(StatusCode::NO_CONTENT)
}
