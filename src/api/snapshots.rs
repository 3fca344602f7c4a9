//! `/v1/snapshots`.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::collections::{ChannelBody, PartitionBody, db};
use super::extract::{Body, Name, Query};
use super::indexes::IndexBody;
use super::layers::Patience;
use super::problem::ApiError;
use super::schema_body::SchemaBody;
use super::segment_body::SegmentBody;
use super::segments::wait;
use super::types::{Count, Id, List, parse_time, rfc3339};
use super::verifications::VerificationResponse;
use crate::domain::Error;
use crate::domain::id::SnapshotId;
use crate::domain::page::PageRequest;
use crate::domain::snapshot::{LeftOutReason, Snapshot};
use crate::service::{CreateSnapshot, SnapshotDetails, SnapshotList, SnapshotRef};

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

/// Why segments were not captured.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LeftOutReasonText {
    /// Still takes rows: flush first.
    Growing,
    /// Sealed, not flushed by the engine yet.
    Sealed,
    /// A bulk import that has not ended.
    Importing,
    /// Flushed without any insert or delete file.
    NoFiles,
    /// Begins at or after the seek position of its channel.
    AfterPosition,
}

/// Segments that were not captured.
#[derive(Debug, Serialize, ToSchema)]
pub struct LeftOutBody {
    pub reason: LeftOutReasonText,
    pub segment_count: Count,
    pub num_of_rows: Count,
}

/// Whether the snapshot's files are safe from deletion.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Protection {
    /// The collector deletes none of them while the snapshot lives.
    Full,
    /// They belong to another system, which may delete them.
    None,
}

/// State of a snapshot. Only committed ones are ever shown.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SnapshotStateText {
    Committed,
}

/// A snapshot.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({
    "snapshot_id": "470700000000000001", "snapshot_name": "backup_20240101", "description": "Daily backup for January 1st, 2024", "labels": {},
    "db_name": "default", "collection_name": "my_collection", "collection_id": "470644622231601173", "collection_dropped": false,
    "state": "committed", "protection": "full", "create_ts": "470644641416347649",
    "s3_location": "s3://bucket/prefix/snapshots/470644622231601173/metadata/470700000000000001.json",
    "segment_count": 4, "index_build_count": 4, "num_of_rows": 9000, "file_count": 48, "size_bytes": 8964728, "metadata_bytes": 21345,
    "left_out": [], "created_at": "2024-01-01T00:00:00Z", "committed_at": "2024-01-01T00:00:00.01Z"
})))]
pub struct SnapshotSummary {
    pub snapshot_id: Id,
    pub snapshot_name: String,
    pub description: String,
    pub labels: BTreeMap<String, String>,
    pub db_name: String,
    /// Real name of the collection; the last one it had, when it is dropped.
    pub collection_name: String,
    pub collection_id: Id,
    pub collection_dropped: bool,
    pub state: SnapshotStateText,
    pub protection: Protection,
    /// Hybrid timestamp up to which every row is captured.
    pub create_ts: Id,
    /// URI of the metadata file.
    pub s3_location: String,
    pub segment_count: Count,
    pub index_build_count: Count,
    /// Rows in captured segments, deletes not subtracted.
    pub num_of_rows: Count,
    /// Captured files, index files included.
    pub file_count: Count,
    /// Bytes of the captured files. None of them was copied.
    pub size_bytes: Count,
    /// Bytes of the metadata file and the manifests: what the snapshot itself takes.
    pub metadata_bytes: Count,
    pub left_out: Vec<LeftOutBody>,
    pub created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub committed_at: Option<String>,
}

impl From<Snapshot> for SnapshotSummary {
    fn from(snapshot: Snapshot) -> Self {
        let reason = |reason| match reason {
            LeftOutReason::Growing => LeftOutReasonText::Growing,
            LeftOutReason::Sealed => LeftOutReasonText::Sealed,
            LeftOutReason::Importing => LeftOutReasonText::Importing,
            LeftOutReason::NoFiles => LeftOutReasonText::NoFiles,
            LeftOutReason::AfterPosition => LeftOutReasonText::AfterPosition,
        };
        Self {
            snapshot_id: Id(snapshot.snapshot_id.0),
            snapshot_name: snapshot.name,
            description: snapshot.description,
            labels: snapshot.labels,
            db_name: snapshot.db_name,
            collection_name: snapshot.collection_name,
            collection_id: Id(snapshot.collection_id.0),
            collection_dropped: snapshot.collection_dropped,
            state: SnapshotStateText::Committed,
            protection: if snapshot.external {
                Protection::None
            } else {
                Protection::Full
            },
            create_ts: Id(snapshot.create_ts),
            s3_location: snapshot.s3_location,
            segment_count: Count(snapshot.totals.segments),
            index_build_count: Count(snapshot.totals.index_builds),
            num_of_rows: Count(snapshot.totals.rows),
            file_count: Count(snapshot.totals.files),
            size_bytes: Count(snapshot.totals.size_bytes),
            metadata_bytes: Count(snapshot.totals.metadata_bytes),
            left_out: snapshot
                .left_out
                .iter()
                .map(|l| LeftOutBody {
                    reason: reason(l.reason),
                    segment_count: Count(l.segments),
                    num_of_rows: Count(l.rows),
                })
                .collect(),
            created_at: rfc3339(snapshot.created_at),
            committed_at: snapshot.committed_at.map(rfc3339),
        }
    }
}

/// A snapshot that was just created.
#[derive(Debug, Serialize, ToSchema)]
pub struct CreateSnapshotResponse {
    #[serde(flatten)]
    pub snapshot: SnapshotSummary,
    /// Milliseconds that it took, a flush that was asked for included.
    #[schema(example = 7.5)]
    pub took_ms: f64,
}

/// The collection as a snapshot captured it.
#[derive(Debug, Serialize, ToSchema)]
pub struct CapturedCollectionBody {
    pub num_shards: i32,
    pub consistency_level: String,
    #[serde(flatten)]
    pub schema: SchemaBody,
    pub properties: BTreeMap<String, String>,
    pub partitions: Vec<PartitionBody>,
    pub channels: Vec<ChannelBody>,
    /// Empty also in snapshots that were taken before aliases were captured.
    pub aliases: Vec<String>,
}

/// A snapshot with what was asked for.
#[derive(Debug, Serialize, ToSchema)]
pub struct SnapshotResponse {
    #[serde(flatten)]
    pub snapshot: SnapshotSummary,
    /// When it was last verified, at whatever level; absent: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_verified_at: Option<String>,
    /// What that verification saw.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_verification: Option<VerificationResponse>,
    /// With `include_collection_info=true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collection: Option<CapturedCollectionBody>,
    /// With `include_collection_info=true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub indexes: Option<Vec<IndexBody>>,
}

impl From<SnapshotDetails> for SnapshotResponse {
    fn from(details: SnapshotDetails) -> Self {
        let channels = details.snapshot.channels.clone();
        let (mut collection, mut indexes) = (None, None);
        if let Some(captured) = details.captured {
            indexes = Some(captured.indexes.into_iter().map(IndexBody::from).collect());
            collection = Some(CapturedCollectionBody {
                num_shards: captured.num_shards,
                consistency_level: captured.consistency_level,
                schema: captured.schema.into(),
                properties: captured.properties,
                partitions: captured.partitions.into_iter().map(PartitionBody::from).collect(),
                channels: channels.into_iter().map(ChannelBody::from).collect(),
                aliases: captured.aliases,
            });
        }
        Self {
            snapshot: details.snapshot.into(),
            last_verified_at: details.last_verification.as_ref().map(|v| rfc3339(v.finished_at)),
            last_verification: details.last_verification.map(VerificationResponse::from),
            collection,
            indexes,
        }
    }
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
/// Committed ones, newest first.
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
/// Its description and labels; what it holds never changes.
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
    let changed = state
        .service
        .change_snapshot(&wanted, body.description, body.labels.into_iter().collect())
        .await?;
    Ok(Json(changed.into()))
}

/// Drop a snapshot
///
/// It is gone at once; the collector deletes its files, and what only it needed, after the grace period. Refused while it is being restored.
#[utoipa::path(delete, path = "/v1/snapshots/{snapshot_name}", operation_id = "drop_snapshot", tag = "snapshots",
    params(("snapshot_name" = String, Path, description = "Name", example = "backup_20240101"), SnapshotQuery),
    responses((status = 204, description = "Dropped")))]
pub async fn drop_snapshot(
    State(state): State<ApiState>,
    Name(snapshot_name): Name,
    Query(query): Query<SnapshotQuery>,
) -> Result<StatusCode, ApiError> {
    state.service.drop_snapshot(&query.of(snapshot_name)).await?;
    Ok(StatusCode::NO_CONTENT)
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
