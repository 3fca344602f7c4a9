//! `/v1/objects/explain`.

use super::guard::State;
use axum::Json;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::extract::Query;
use super::pins::PinResponse;
use super::problem::ApiError;
use super::types::{Count, Id, rfc3339};
use crate::domain::explain::{Explanation, Keeper, ObjectKind};

/// Which object.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ExplainQuery {
    /// Its key relative to the storage root, its full key, or its whole URI.
    #[param(example = "insert_log/470644622231601173/470644622231601174/470644622231601180/100/470644622231601190")]
    key: String,
}

/// What an object is.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ObjectKindText {
    Marker,
    SnapshotMetadata,
    Manifest,
    /// Of a restore job.
    Receipt,
    SegmentFile,
    IndexFile,
    /// In no directory that this service manages: never touched.
    Unmanaged,
}

/// What sort of thing keeps an object.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeeperKindText {
    /// The living segment that it is a file of.
    Segment,
    /// The living index build that it is a file of.
    IndexBuild,
    Snapshot,
    /// A running restore that reads or writes it.
    RestoreJob,
    ExternalCollection,
}

/// Something that keeps an object.
#[derive(Debug, Serialize, ToSchema)]
pub struct KeeperBody {
    pub kind: KeeperKindText,
    pub id: Id,
    /// Of a snapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot_name: Option<String>,
    /// Of a snapshot: dropped, in its grace period.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropped: Option<bool>,
    /// Of a snapshot: its pins that have not expired.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pin_count: Option<Count>,
    /// Of a snapshot: these pins, in the whole answer the first hundred.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pins: Vec<PinResponse>,
    /// Of a snapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_hold: Option<bool>,
}

impl KeeperBody {
    fn of(kind: KeeperKindText, id: i64) -> Self {
        Self {
            kind,
            id: Id(id),
            snapshot_name: None,
            dropped: None,
            pin_count: None,
            pins: Vec::new(),
            on_hold: None,
        }
    }
}

impl From<Keeper> for KeeperBody {
    fn from(keeper: Keeper) -> Self {
        match keeper {
            Keeper::Segment(id) => Self::of(KeeperKindText::Segment, id.0),
            Keeper::IndexBuild(id) => Self::of(KeeperKindText::IndexBuild, id.0),
            Keeper::RestoreJob(id) => Self::of(KeeperKindText::RestoreJob, id.0),
            Keeper::ExternalCollection(id) => Self::of(KeeperKindText::ExternalCollection, id.0),
            Keeper::Snapshot {
                id,
                name,
                dropped,
                pins,
                pinned_by,
                on_hold,
            } => Self {
                snapshot_name: Some(name),
                dropped: Some(dropped),
                pin_count: Some(Count(pins)),
                pins: pinned_by.into_iter().map(PinResponse::from).collect(),
                on_hold: Some(on_hold),
                ..Self::of(KeeperKindText::Snapshot, id.0)
            },
        }
    }
}

/// Why an object is kept, and when it could go.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({
    "key": "insert_log/470644622231601173/470644622231601174/470644622231601180/100/470644622231601190", "kind": "segment_file", "exists": true,
    "size_bytes": 1030524, "known": true, "collection_id": "470644622231601173", "segment_id": "470644622231601180",
    "kept_by": [{"kind": "snapshot", "id": "470700000000000001", "snapshot_name": "backup_20240101", "dropped": false, "pin_count": 0, "on_hold": false}],
    "kept_by_total": 1, "reason": "a snapshot needs it"
})))]
pub struct ExplainResponse {
    /// Relative to the storage root.
    pub key: String,
    pub kind: ObjectKindText,
    pub exists: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<Count>,
    /// Whether the catalog has a row for what it belongs to, which names it.
    pub known: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collection_id: Option<Id>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segment_id: Option<Id>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build_id: Option<Id>,
    /// Of a metadata file or a manifest: the snapshot that it was written for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot_id: Option<Id>,
    /// What keeps it, the first hundred snapshots.
    pub kept_by: Vec<KeeperBody>,
    pub kept_by_total: Count,
    /// From then on the collector may delete it, if nothing changes; absent as long as something keeps it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub may_go_at: Option<String>,
    /// All of it in one sentence.
    pub reason: String,
}

impl From<Explanation> for ExplainResponse {
    fn from(found: Explanation) -> Self {
        Self {
            key: found.key,
            kind: match found.kind {
                ObjectKind::Marker => ObjectKindText::Marker,
                ObjectKind::SnapshotMetadata => ObjectKindText::SnapshotMetadata,
                ObjectKind::Manifest => ObjectKindText::Manifest,
                ObjectKind::Receipt => ObjectKindText::Receipt,
                ObjectKind::SegmentFile => ObjectKindText::SegmentFile,
                ObjectKind::IndexFile => ObjectKindText::IndexFile,
                ObjectKind::Unmanaged => ObjectKindText::Unmanaged,
            },
            exists: found.size_bytes.is_some(),
            size_bytes: found.size_bytes.map(Count::of),
            known: found.known,
            collection_id: found.collection.map(|c| Id(c.0)),
            segment_id: found.segment.map(|s| Id(s.0)),
            build_id: found.build.map(|b| Id(b.0)),
            snapshot_id: found.snapshot.map(|s| Id(s.0)),
            kept_by: found.kept_by.into_iter().map(KeeperBody::from).collect(),
            kept_by_total: Count(found.kept_by_total),
            may_go_at: found.may_go_at.map(rfc3339),
            reason: found.reason,
        }
    }
}

/// Explain an object
///
/// Which segment, index build, snapshots, pins and restores keep it, and when it could go.
#[utoipa::path(get, path = "/v1/objects/explain", operation_id = "explain_object", tag = "operations", params(ExplainQuery),
    responses((status = 200, description = "Why it is kept", body = ExplainResponse)))]
pub async fn explain_object(
    State(state): State<ApiState>,
    Query(query): Query<ExplainQuery>,
) -> Result<Json<ExplainResponse>, ApiError> {
    Ok(Json(state.service.explain_object(&query.key).await?.into()))
}
