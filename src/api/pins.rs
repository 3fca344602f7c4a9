//! `/v1/snapshots/{snapshot_name}/pins`.

use super::guard::State;
use axum::Json;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::extract::{Body, Name, Names, Query};
use super::problem::ApiError;
use super::snapshots::SnapshotQuery;
use super::types::{Count, Id, List, rfc3339};
use crate::domain::id::PinId;
use crate::domain::page::PageRequest;
use crate::domain::snapshot::Pin;

/// A pin to create.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"owner": "nightly-export", "reason": "reads the files with Spark", "ttl_seconds": 3600})))]
pub struct CreatePinRequest {
    /// Who pins it.
    pub owner: String,
    #[serde(default)]
    pub reason: String,
    /// Seconds after which it ends by itself; a pin without it stays until it is deleted.
    #[serde(default)]
    pub ttl_seconds: Option<Count>,
}

/// A lease that keeps a snapshot from being dropped.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({
    "pin_id": "470700000000000300", "snapshot_id": "470700000000000001", "owner": "nightly-export",
    "reason": "reads the files with Spark", "created_at": "2024-01-01T00:00:00Z", "expires_at": "2024-01-01T01:00:00Z"
})))]
pub struct PinResponse {
    pub pin_id: Id,
    pub snapshot_id: Id,
    pub owner: String,
    pub reason: String,
    pub created_at: String,
    /// Absent: it stays until it is deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
}

impl From<Pin> for PinResponse {
    fn from(pin: Pin) -> Self {
        Self {
            pin_id: Id(pin.pin_id.0),
            snapshot_id: Id(pin.snapshot_id.0),
            owner: pin.owner,
            reason: pin.reason,
            created_at: rfc3339(pin.created_at),
            expires_at: pin.expires_at.map(rfc3339),
        }
    }
}

/// Which snapshot, and which page.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListPinsQuery {
    /// Database, `default` when absent.
    db_name: Option<String>,
    /// Its collection; needed when several collections have a snapshot of this name.
    collection_name: Option<String>,
    /// Its id.
    #[param(value_type = Option<String>)]
    snapshot_id: Option<Id>,
    /// Entries of the page, 1 to 1000.
    #[param(default = 100, minimum = 1, maximum = 1000)]
    page_size: Option<i64>,
    /// `next_page_token` of the page before.
    page_token: Option<String>,
}

/// List the pins of a snapshot
///
/// Those that have not expired, by id.
#[utoipa::path(get, path = "/v1/snapshots/{snapshot_name}/pins", operation_id = "list_pins", tag = "snapshots",
    params(("snapshot_name" = String, Path, description = "Name", example = "backup_20240101"), ListPinsQuery),
    responses((status = 200, description = "A page of pins", body = List<PinResponse>)))]
pub async fn list_pins(
    State(state): State<ApiState>,
    Name(snapshot_name): Name,
    Query(query): Query<ListPinsQuery>,
) -> Result<Json<List<PinResponse>>, ApiError> {
    let page = PageRequest::new(query.page_size, query.page_token)?;
    let wanted = SnapshotQuery::new(query.db_name, query.collection_name, query.snapshot_id);
    let found = state.service.list_pins(&wanted.of(snapshot_name), &page).await?;
    Ok(Json(List::of(found, PinResponse::from)))
}

/// Pin a snapshot
///
/// It can't be dropped, so that its files stay, until the pin is deleted or expires.
#[utoipa::path(post, path = "/v1/snapshots/{snapshot_name}/pins", operation_id = "create_pin", tag = "snapshots",
    params(("snapshot_name" = String, Path, description = "Name", example = "backup_20240101"), SnapshotQuery),
    request_body = CreatePinRequest,
    responses((status = 201, description = "The pin", body = PinResponse)))]
pub async fn create_pin(
    State(state): State<ApiState>,
    Name(snapshot_name): Name,
    Query(query): Query<SnapshotQuery>,
    Body(body): Body<CreatePinRequest>,
) -> Result<(StatusCode, Json<PinResponse>), ApiError> {
    let ttl = body.ttl_seconds.map(|t| t.0);
    let pin = state
        .service
        .pin_snapshot(&query.of(snapshot_name), &body.owner, &body.reason, ttl)
        .await?;
    Ok((StatusCode::CREATED, Json(pin.into())))
}

/// Delete a pin
#[utoipa::path(delete, path = "/v1/snapshots/{snapshot_name}/pins/{pin_id}", operation_id = "delete_pin", tag = "snapshots",
    params(("snapshot_name" = String, Path, description = "Name", example = "backup_20240101"),
        ("pin_id" = Id, Path, description = "The pin", example = "470700000000000300"), SnapshotQuery),
    responses((status = 204, description = "Deleted")))]
pub async fn delete_pin(
    State(state): State<ApiState>,
    Names(snapshot_name, pin): Names,
    Query(query): Query<SnapshotQuery>,
) -> Result<StatusCode, ApiError> {
    let pin = PinId(Id::in_path("pin_id", &pin)?);
    state.service.unpin_snapshot(&query.of(snapshot_name), pin).await?;
    Ok(StatusCode::NO_CONTENT)
}
