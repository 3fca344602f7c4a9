//! What a rebuild of the catalog from the storage did.

use serde::Serialize;

use super::id::{CollectionId, SnapshotId};

/// A snapshot that is in the catalog again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RebuiltSnapshot {
    pub snapshot_id: SnapshotId,
    pub snapshot_name: String,
    pub db_name: String,
    pub collection_id: CollectionId,
    pub collection_name: String,
    pub segment_count: i64,
    pub file_count: i64,
    pub size_bytes: i64,
}

/// A metadata file whose snapshot is not in the catalog.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SkippedSnapshot {
    /// Of the metadata file, relative to the storage root.
    pub key: String,
    pub snapshot_id: SnapshotId,
    pub reason: String,
}

/// A collection that could not keep its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RenamedCollection {
    pub collection_id: CollectionId,
    pub was: String,
    pub is: String,
}

/// What a rebuild did.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct RebuildReport {
    pub snapshots: Vec<RebuiltSnapshot>,
    pub skipped: Vec<SkippedSnapshot>,
    pub renamed: Vec<RenamedCollection>,
    /// Ids are given out above it; zero when none was seen.
    #[serde(serialize_with = "as_text")]
    pub highest_id: i64,
}

fn as_text<S: serde::Serializer>(id: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}
