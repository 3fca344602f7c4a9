//! Snapshots: `pending -> committed -> deleting`.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::collection::{Channel, Partition};
use super::id::{CollectionId, DatabaseId, PinId, SnapshotId};
use super::index::Index;
use super::schema::{Params, Schema};

/// Why segments were not captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeftOutReason {
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

/// Segments that were not captured, by reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    pub reason: LeftOutReason,
    pub segments: i64,
    pub rows: i64,
}

/// A collection as it was when a snapshot captured it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CapturedCollection {
    pub num_shards: i32,
    pub consistency_level: String,
    pub schema: Schema,
    pub properties: Params,
    pub partitions: Vec<Partition>,
    pub indexes: Vec<Index>,
    /// By name; empty also in snapshots that were taken before aliases were captured.
    #[serde(default)]
    pub aliases: Vec<String>,
}

/// Counts of what a snapshot holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    pub segments: i64,
    pub index_builds: i64,
    pub rows: i64,
    pub files: i64,
    pub size_bytes: i64,
    /// Bytes of the metadata file and the manifests.
    pub metadata_bytes: i64,
}

/// A refusal to drop, until it is lifted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Who put it on hold.
    pub owner: String,
    pub reason: String,
    pub since: OffsetDateTime,
}

/// A lease that keeps a snapshot from being dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    pub pin_id: PinId,
    pub snapshot_id: SnapshotId,
    /// Who pinned it.
    pub owner: String,
    pub reason: String,
    pub created_at: OffsetDateTime,
    /// None: it stays until it is deleted.
    pub expires_at: Option<OffsetDateTime>,
}

/// Which snapshots a list shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Shown {
    #[default]
    Committed,
    /// Dropped, and not yet taken up by the collector: they can be taken back.
    Dropped,
}

/// A snapshot as lists show it.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    pub snapshot_id: SnapshotId,
    pub name: String,
    pub description: String,
    pub labels: Params,
    pub db_id: DatabaseId,
    pub db_name: String,
    pub collection_id: CollectionId,
    pub collection_name: String,
    pub collection_dropped: bool,
    pub external: bool,
    pub state: String,
    pub create_ts: i64,
    pub channels: Vec<Channel>,
    pub totals: Totals,
    pub left_out: Vec<LeftOut>,
    /// Of one that another system wrote: the prefix below the storage root under which its metadata
    /// file lies, ending in a slash, or empty.
    pub adopted_from: Option<String>,
    /// Whole URI of the metadata file.
    pub s3_location: String,
    pub created_at: OffsetDateTime,
    pub committed_at: Option<OffsetDateTime>,
    /// Of a dropped one; its grace period starts here.
    pub dropped_at: Option<OffsetDateTime>,
    pub hold: Option<Hold>,
    /// Pins that have not expired.
    pub pins: i64,
}
