//! Snapshots as they stand in answers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::collections::{ChannelBody, PartitionBody};
use super::indexes::IndexBody;
use super::schema_body::SchemaBody;
use super::types::{Count, Id, rfc3339};
use super::verifications::VerificationResponse;
use crate::domain::snapshot::{LeftOutReason, Snapshot};
use crate::service::SnapshotDetails;

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

/// State of a snapshot. One that is being written is never shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SnapshotStateText {
    #[default]
    Committed,
    /// Dropped; can be taken back until the collector takes it up.
    Deleting,
}

/// A refusal to drop, until it is lifted.
#[derive(Debug, Serialize, ToSchema)]
pub struct HoldBody {
    /// Who put it on hold.
    pub owner: String,
    pub reason: String,
    pub since: String,
}

/// A snapshot.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({
    "snapshot_id": "470700000000000001", "snapshot_name": "backup_20240101", "description": "Daily backup for January 1st, 2024", "labels": {},
    "db_name": "default", "collection_name": "my_collection", "collection_id": "470644622231601173", "collection_dropped": false,
    "state": "committed", "protection": "full", "create_ts": "470644641416347649",
    "s3_location": "s3://bucket/prefix/snapshots/470644622231601173/metadata/470700000000000001.json",
    "segment_count": 4, "index_build_count": 4, "num_of_rows": 9000, "file_count": 48, "size_bytes": 8964728, "metadata_bytes": 21345,
    "left_out": [], "pin_count": 0, "created_at": "2024-01-01T00:00:00Z", "committed_at": "2024-01-01T00:00:00.01Z"
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
    /// Bytes of the metadata file and of the manifests that were written for it; shared ones count where they were written. Zero of an adopted snapshot.
    pub metadata_bytes: Count,
    pub left_out: Vec<LeftOutBody>,
    pub created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub committed_at: Option<String>,
    /// When it was dropped; its grace period starts here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropped_at: Option<String>,
    /// Present while it is on hold: it can't be dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<HoldBody>,
    /// Pins that have not expired: while there is one it can't be dropped.
    pub pin_count: Count,
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
            state: if snapshot.dropped_at.is_some() {
                SnapshotStateText::Deleting
            } else {
                SnapshotStateText::Committed
            },
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
            dropped_at: snapshot.dropped_at.map(rfc3339),
            hold: snapshot.hold.map(|hold| HoldBody {
                owner: hold.owner,
                reason: hold.reason,
                since: rfc3339(hold.since),
            }),
            pin_count: Count(snapshot.pins),
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
    /// What the newest verification of each level saw, the newest first: one at a lower level says nothing of what a higher one found.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub verifications: Vec<VerificationResponse>,
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
            last_verified_at: details.verifications.first().map(|v| rfc3339(v.finished_at)),
            last_verification: details.verifications.first().cloned().map(VerificationResponse::from),
            verifications: details.verifications.into_iter().map(VerificationResponse::from).collect(),
            collection,
            indexes,
        }
    }
}
