//! `/v1/usage`, and what a snapshot costs.

use super::guard::State;
use axum::Json;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::collections::db;
use super::extract::{Body, Name, Query};
use super::problem::ApiError;
use super::snapshots::SnapshotQuery;
use super::types::{Count, Id};
use crate::domain::Error;
use crate::domain::usage::{Freed, SnapshotUsage, Usage};

/// Bytes in the object storage, by what keeps them.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({
    "live_bytes": 8964728, "shared_bytes": 8964728, "held_by_snapshots_bytes": 0, "waiting_bytes": 0, "external_bytes": 0,
    "metadata_bytes": 21345, "orphan_bytes": 0, "owned_file_count": 48, "snapshot_count": 1
})))]
pub struct UsageResponse {
    /// Of living segments and index builds of owned collections.
    pub live_bytes: Count,
    /// The part of it that snapshots need too.
    pub shared_bytes: Count,
    /// Of dropped segments and index builds that only snapshots keep.
    pub held_by_snapshots_bytes: Count,
    /// Of dropped segments and index builds that nothing needs, and of targets of restores that did not end well: they wait for the collector.
    pub waiting_bytes: Count,
    /// Of external collections: not ours, never deleted here.
    pub external_bytes: Count,
    /// Metadata files and manifests of snapshots, and receipts of restores.
    pub metadata_bytes: Count,
    /// Objects without a row, as the collector last found them; only without `db_name`.
    pub orphan_bytes: Count,
    /// Files of owned segments and index builds.
    pub owned_file_count: Count,
    /// Committed snapshots.
    pub snapshot_count: Count,
}

impl From<Usage> for UsageResponse {
    fn from(usage: Usage) -> Self {
        Self {
            live_bytes: Count(usage.live_bytes),
            shared_bytes: Count(usage.shared_bytes),
            held_by_snapshots_bytes: Count(usage.held_by_snapshots_bytes),
            waiting_bytes: Count(usage.waiting_bytes),
            external_bytes: Count(usage.external_bytes),
            metadata_bytes: Count(usage.metadata_bytes),
            orphan_bytes: Count(usage.orphan_bytes),
            owned_file_count: Count(usage.owned_files),
            snapshot_count: Count(usage.snapshots),
        }
    }
}

/// What a drop would free, once the collector has run after the grace period.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({
    "segment_count": 4, "index_build_count": 4, "data_file_count": 48, "data_bytes": 8964728, "metadata_object_count": 5, "metadata_bytes": 21345,
    "total_bytes": 8986073
})))]
pub struct FreedBody {
    pub segment_count: Count,
    pub index_build_count: Count,
    pub data_file_count: Count,
    /// Bytes of data files that nothing else needs.
    pub data_bytes: Count,
    pub metadata_object_count: Count,
    /// Bytes of metadata files, of manifests that no other snapshot shares, and of receipts of restores.
    pub metadata_bytes: Count,
    pub total_bytes: Count,
}

impl From<Freed> for FreedBody {
    fn from(freed: Freed) -> Self {
        Self {
            segment_count: Count(freed.segments),
            index_build_count: Count(freed.index_builds),
            data_file_count: Count(freed.data_files),
            data_bytes: Count(freed.data_bytes),
            metadata_object_count: Count(freed.metadata_objects),
            metadata_bytes: Count(freed.metadata_bytes),
            total_bytes: Count(freed.data_bytes.saturating_add(freed.metadata_bytes)),
        }
    }
}

/// What a snapshot takes.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({
    "logical_bytes": 8964728, "shared_bytes": 8964728, "exclusive": {"segment_count": 0, "index_build_count": 0, "data_file_count": 0, "data_bytes": 0,
    "metadata_object_count": 5, "metadata_bytes": 21345, "total_bytes": 21345}
})))]
pub struct SnapshotUsageResponse {
    /// Bytes of what it captured, whoever else needs it.
    pub logical_bytes: Count,
    /// The part of it that would stay after a drop, since a collection or another snapshot needs it.
    pub shared_bytes: Count,
    /// What only it needs: a drop frees this.
    pub exclusive: FreedBody,
}

impl From<SnapshotUsage> for SnapshotUsageResponse {
    fn from(usage: SnapshotUsage) -> Self {
        Self {
            logical_bytes: Count(usage.logical_bytes),
            shared_bytes: Count(usage.shared_bytes),
            exclusive: usage.freed.into(),
        }
    }
}

/// Whose usage.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct UsageQuery {
    /// Only this database; everything when absent.
    db_name: Option<String>,
}

/// Bytes in use
///
/// By what keeps them. Exact by the catalog's records; reads the row of every segment.
#[utoipa::path(get, path = "/v1/usage", operation_id = "get_usage", tag = "operations", params(UsageQuery),
    responses((status = 200, description = "Bytes by what keeps them", body = UsageResponse)))]
pub async fn get_usage(State(state): State<ApiState>, Query(query): Query<UsageQuery>) -> Result<Json<UsageResponse>, ApiError> {
    Ok(Json(state.service.usage(query.db_name.as_deref()).await?.into()))
}

/// What a snapshot costs
///
/// Bytes that it shares, and bytes that a drop would free.
#[utoipa::path(get, path = "/v1/snapshots/{snapshot_name}/usage", operation_id = "get_snapshot_usage", tag = "snapshots",
    params(("snapshot_name" = String, Path, description = "Name", example = "backup_20240101"), SnapshotQuery),
    responses((status = 200, description = "Shared and exclusive bytes", body = SnapshotUsageResponse)))]
pub async fn get_snapshot_usage(
    State(state): State<ApiState>,
    Name(snapshot_name): Name,
    Query(query): Query<SnapshotQuery>,
) -> Result<Json<SnapshotUsageResponse>, ApiError> {
    Ok(Json(state.service.snapshot_usage(&query.of(snapshot_name)).await?.into()))
}

/// A snapshot by its name.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NamedSnapshot {
    pub snapshot_name: String,
    /// Needed when several collections have a snapshot of this name.
    #[serde(default)]
    pub collection_name: Option<String>,
    #[serde(default)]
    pub snapshot_id: Option<Id>,
}

/// Snapshots whose drop is to be tried on paper.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"drop": [{"snapshot_name": "backup_20240101"}]})))]
pub struct SimulateRequest {
    #[serde(default)]
    pub db_name: Option<String>,
    /// Dropped together; 1 to 1000.
    #[schema(min_items = 1, max_items = 1000)]
    pub drop: Vec<NamedSnapshot>,
}

/// What dropping snapshots would free
///
/// Of all of them together: what several of them share goes too. Nothing is changed.
#[utoipa::path(post, path = "/v1/usage/simulate", operation_id = "simulate_drop", tag = "operations", request_body = SimulateRequest,
    responses((status = 200, description = "What would be freed", body = FreedBody)))]
pub async fn simulate_drop(
    State(state): State<ApiState>,
    Body(body): Body<SimulateRequest>,
) -> Result<Json<FreedBody>, ApiError> {
    if !(1..=1000).contains(&body.drop.len()) {
        return Err(Error::invalid("/drop", "must name 1 to 1000 snapshots").into());
    }
    let db_name = db(body.db_name.as_deref()).to_string();
    let wanted: Vec<_> = body
        .drop
        .into_iter()
        .map(|s| SnapshotQuery::new(Some(db_name.clone()), s.collection_name, s.snapshot_id).of(s.snapshot_name))
        .collect();
    Ok(Json(state.service.simulate_drop(&wanted).await?.into()))
}
