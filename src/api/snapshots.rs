//! `/v1/snapshots`.

use std::collections::BTreeMap;

use super::guard::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::{Extension, Json};
use serde::{Deserialize, Deserializer};
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::collections::db;
use super::extract::{Body, Name, Query};
use super::layers::Patience;
use super::problem::ApiError;
use super::segment_body::SegmentBody;
use super::segments::wait;
use super::snapshot_body::{CreateSnapshotResponse, SnapshotResponse, SnapshotStateText, SnapshotSummary};
use super::types::{Count, Id, List, parse_time};
use crate::domain::Error;
use crate::domain::id::SnapshotId;
use crate::domain::page::PageRequest;
use crate::domain::snapshot::Shown;
use crate::service::{CreateSnapshot, SnapshotChange, SnapshotList, SnapshotRef};

/// A snapshot to create.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"collection_name": "my_collection", "snapshot_name": "backup_20240101", "description": "Daily backup for January 1st, 2024"})))]
pub struct CreateSnapshotRequest {
    /// Name or alias.
    pub collection_name: String,
    pub snapshot_name: String,
    #[serde(default)]
    pub db_name: Option<String>,
    #[serde(default)]
    pub description: String,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Seal growing segments first and wait for the engine to flush them.
    #[serde(default)]
    pub flush: bool,
    /// Milliseconds to wait for that; the call fails with `flush_timeout` when it is not enough.
    #[serde(default = "half_a_minute")]
    #[schema(maximum = 3_600_000, default = 30_000)]
    pub flush_timeout_ms: Count,
    /// Capture every flushed segment although a channel has never reported a seek position.
    #[serde(default)]
    pub allow_unbounded: bool,
}

fn half_a_minute() -> Count {
    Count(30_000)
}

/// A change of a snapshot; what is absent stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"description": "before the model update", "labels": {"keep": "yes", "draft": null}})))]
pub struct ChangeSnapshotRequest {
    #[serde(default)]
    pub description: Option<String>,
    /// Labels to set; `null` removes one.
    #[serde(default)]
    pub labels: BTreeMap<String, Option<String>>,
    /// Put it on hold: it can't be dropped until the hold is lifted with `null`.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<HoldRequest>)]
    pub hold: Option<Option<HoldRequest>>,
}

/// Tells `null` from a field that is absent.
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// A hold to put on a snapshot.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HoldRequest {
    /// Who puts it on hold.
    pub owner: String,
    #[serde(default)]
    pub reason: String,
}

/// Order of a list of snapshots.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SnapshotOrder {
    #[default]
    NewestFirst,
    OldestFirst,
}

/// Which snapshots.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListSnapshotsQuery {
    /// Database, `default` when absent.
    db_name: Option<String>,
    /// Only snapshots of this collection; by its old name when it is dropped and no living one has the name.
    collection_name: Option<String>,
    /// Only names that begin so.
    name_prefix: Option<String>,
    /// Only snapshots with all of these labels, as `key=value,key=value`.
    #[param(example = "team=search,keep=yes")]
    labels: Option<String>,
    /// Only snapshots created at or after this time (RFC 3339).
    #[param(example = "2024-01-01T00:00:00Z")]
    created_from: Option<String>,
    /// Only snapshots created before this time (RFC 3339).
    #[param(example = "2024-02-01T00:00:00Z")]
    created_before: Option<String>,
    /// `deleting`: dropped ones that can still be taken back; `committed` when absent.
    #[serde(default)]
    #[param(inline)]
    state: SnapshotStateText,
    /// Order by creation time; `newest_first` when absent.
    #[serde(default)]
    #[param(inline)]
    order: SnapshotOrder,
    /// Entries of the page, 1 to 1000.
    #[param(default = 100, minimum = 1, maximum = 1000)]
    page_size: Option<i64>,
    /// `next_page_token` of the page before.
    page_token: Option<String>,
}

/// Which snapshot, where its name alone is not enough.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SnapshotQuery {
    /// Database, `default` when absent.
    db_name: Option<String>,
    /// Its collection; needed when several collections have a snapshot of this name.
    collection_name: Option<String>,
    /// Its id.
    #[param(value_type = Option<String>)]
    snapshot_id: Option<Id>,
}

impl SnapshotQuery {
    pub fn new(db_name: Option<String>, collection_name: Option<String>, snapshot_id: Option<Id>) -> Self {
        Self {
            db_name,
            collection_name,
            snapshot_id,
        }
    }

    pub fn of(self, snapshot_name: String) -> SnapshotRef {
        SnapshotRef {
            db_name: db(self.db_name.as_deref()).to_string(),
            snapshot_name,
            collection_name: self.collection_name,
            snapshot_id: self.snapshot_id.map(|i| SnapshotId(i.0)),
        }
    }
}

/// Which snapshot, and what to show.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DescribeSnapshotQuery {
    /// Database, `default` when absent.
    db_name: Option<String>,
    /// Its collection; needed when several collections have a snapshot of this name.
    collection_name: Option<String>,
    /// Its id.
    #[param(value_type = Option<String>)]
    snapshot_id: Option<Id>,
    /// Show the captured schema, partitions, channels, properties and indexes.
    #[serde(default)]
    #[param(default = false)]
    include_collection_info: bool,
}

/// Which snapshot, and which page.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SnapshotSegmentsQuery {
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

fn labels(text: Option<&str>) -> Result<BTreeMap<String, String>, Error> {
    let pairs = text.unwrap_or_default().split(',').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (key, value) = pair
                .split_once('=')
                .ok_or_else(|| Error::invalid("?labels", format!("{pair:?} is not key=value")))?;
            Ok((key.to_string(), value.to_string()))
        })
        .collect()
}

/// List snapshots
///
/// Committed ones, or dropped ones that can still be taken back; newest first.
#[utoipa::path(get, path = "/v1/snapshots", operation_id = "list_snapshots", tag = "snapshots", params(ListSnapshotsQuery),
    responses((status = 200, description = "A page of snapshots", body = List<SnapshotSummary>)))]
pub async fn list_snapshots(
    State(state): State<ApiState>,
    Query(query): Query<ListSnapshotsQuery>,
) -> Result<Json<List<SnapshotSummary>>, ApiError> {
    let page = PageRequest::new(query.page_size, query.page_token)?;
    let wanted = SnapshotList {
        db_name: db(query.db_name.as_deref()).to_string(),
        collection_name: query.collection_name,
        name_prefix: query.name_prefix,
        labels: labels(query.labels.as_deref())?,
        created_from: parse_time("created_from", query.created_from.as_deref())?,
        created_before: parse_time("created_before", query.created_before.as_deref())?,
        oldest_first: query.order == SnapshotOrder::OldestFirst,
        shown: match query.state {
            SnapshotStateText::Committed => Shown::Committed,
            SnapshotStateText::Deleting => Shown::Dropped,
        },
    };
    Ok(Json(List::of(
        state.service.list_snapshots(&wanted, &page).await?,
        SnapshotSummary::from,
    )))
}

/// Create a snapshot
///
/// Writes metadata only: one JSON file and one Avro manifest per segment. Captured are the flushed segments that begin before the seek position of their own channel; the answer says what was left out and why.
#[utoipa::path(post, path = "/v1/snapshots", operation_id = "create_snapshot", tag = "snapshots", request_body = CreateSnapshotRequest,
    responses((status = 201, description = "Created and committed", body = CreateSnapshotResponse)))]
pub async fn create_snapshot(
    State(state): State<ApiState>,
    Extension(patience): Extension<Patience>,
    Body(body): Body<CreateSnapshotRequest>,
) -> Result<(StatusCode, Json<CreateSnapshotResponse>), ApiError> {
    let timeout = wait("/flush_timeout_ms", body.flush_timeout_ms)?;
    if body.flush {
        patience.extend(timeout);
    }
    let request = CreateSnapshot {
        db_name: db(body.db_name.as_deref()).to_string(),
        collection_name: body.collection_name,
        snapshot_name: body.snapshot_name,
        description: body.description,
        labels: body.labels,
        flush: body.flush.then_some(timeout),
        allow_unbounded: body.allow_unbounded,
    };
    let created = state.service.create_snapshot(request).await?;
    metrics::counter!(crate::telemetry::SNAPSHOTS_CREATED).increment(1);
    metrics::histogram!(crate::telemetry::SNAPSHOT_SECONDS).record(created.took.as_secs_f64());
    let took_ms = (created.took.as_secs_f64() * 1e6).round() / 1e3;
    Ok((
        StatusCode::CREATED,
        Json(CreateSnapshotResponse {
            snapshot: created.snapshot.into(),
            took_ms,
        }),
    ))
}

/// Describe a snapshot
#[utoipa::path(get, path = "/v1/snapshots/{snapshot_name}", operation_id = "get_snapshot", tag = "snapshots",
    params(("snapshot_name" = String, Path, description = "Name", example = "backup_20240101"), DescribeSnapshotQuery),
    responses((status = 200, description = "The snapshot", body = SnapshotResponse)))]
pub async fn get_snapshot(
    State(state): State<ApiState>,
    Name(snapshot_name): Name,
    Query(query): Query<DescribeSnapshotQuery>,
) -> Result<Json<SnapshotResponse>, ApiError> {
    let wanted = SnapshotQuery {
        db_name: query.db_name,
        collection_name: query.collection_name,
        snapshot_id: query.snapshot_id,
    };
    let details = state
        .service
        .describe_snapshot(&wanted.of(snapshot_name), query.include_collection_info)
        .await?;
    Ok(Json(details.into()))
}

/// Change a snapshot
///
/// Its description, labels and hold; what it captured never changes.
#[utoipa::path(patch, path = "/v1/snapshots/{snapshot_name}", operation_id = "change_snapshot", tag = "snapshots",
    params(("snapshot_name" = String, Path, description = "Name", example = "backup_20240101"), SnapshotQuery),
    request_body = ChangeSnapshotRequest,
    responses((status = 200, description = "The snapshot as it is now", body = SnapshotSummary)))]
pub async fn change_snapshot(
    State(state): State<ApiState>,
    Name(snapshot_name): Name,
    Query(query): Query<SnapshotQuery>,
    Body(body): Body<ChangeSnapshotRequest>,
) -> Result<Json<SnapshotSummary>, ApiError> {
    let wanted = query.of(snapshot_name);
    let change = SnapshotChange {
        description: body.description,
        labels: body.labels.into_iter().collect(),
        hold: body.hold.map(|hold| hold.map(|h| (h.owner, h.reason))),
    };
    let changed = state.service.change_snapshot(&wanted, change).await?;
    Ok(Json(changed.into()))
}

/// Drop a snapshot
///
/// It is gone at once; the collector deletes its files, and what only it needed, after the grace period, and until then it can be taken back. Dropping one again that can be taken back is answered as the first time, unless `If-Match` is given. Refused while it is being restored, pinned or on hold.
#[utoipa::path(delete, path = "/v1/snapshots/{snapshot_name}", operation_id = "drop_snapshot", tag = "snapshots",
    params(("snapshot_name" = String, Path, description = "Name", example = "backup_20240101"), SnapshotQuery),
    responses((status = 204, description = "Dropped")))]
pub async fn drop_snapshot(
    State(state): State<ApiState>,
    Name(snapshot_name): Name,
    Query(query): Query<SnapshotQuery>,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    // a condition speaks of a snapshot that is there
    let must_be_there = headers.contains_key(header::IF_MATCH);
    state.service.drop_snapshot(&query.of(snapshot_name), must_be_there).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Take a dropped snapshot back
///
/// Possible until the collector takes it up, which it does after the grace period. Dropped ones are listed with `state=deleting`.
#[utoipa::path(post, path = "/v1/snapshots/{snapshot_name}/undelete", operation_id = "undelete_snapshot", tag = "snapshots",
    params(("snapshot_name" = String, Path, description = "Name", example = "backup_20240101"), SnapshotQuery),
    responses((status = 200, description = "The snapshot, committed again", body = SnapshotSummary)))]
pub async fn undelete_snapshot(
    State(state): State<ApiState>,
    Name(snapshot_name): Name,
    Query(query): Query<SnapshotQuery>,
) -> Result<Json<SnapshotSummary>, ApiError> {
    Ok(Json(state.service.undelete_snapshot(&query.of(snapshot_name)).await?.into()))
}

/// List the segments of a snapshot
///
/// With the files and index builds that it captured, by segment id.
#[utoipa::path(get, path = "/v1/snapshots/{snapshot_name}/segments", operation_id = "list_snapshot_segments", tag = "snapshots",
    params(("snapshot_name" = String, Path, description = "Name", example = "backup_20240101"), SnapshotSegmentsQuery),
    responses((status = 200, description = "A page of segments", body = List<SegmentBody>)))]
pub async fn list_snapshot_segments(
    State(state): State<ApiState>,
    Name(snapshot_name): Name,
    Query(query): Query<SnapshotSegmentsQuery>,
) -> Result<Json<List<SegmentBody>>, ApiError> {
    let page = PageRequest::new(query.page_size, query.page_token)?;
    let wanted = SnapshotQuery {
        db_name: query.db_name,
        collection_name: query.collection_name,
        snapshot_id: query.snapshot_id,
    };
    let found = state.service.snapshot_segments(&wanted.of(snapshot_name), &page).await?;
    Ok(Json(List::of(found, |m| SegmentBody::of(&m.segment, &m.builds))))
}
