//! Bodies of calls about snapshots, and what they answer.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::answer::Int64;
use super::request::{Fields, id_text};

/// A snapshot to create.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
#[schema(examples(json!({"collectionName": "my_collection", "snapshotName": "backup_20240101", "description": "Daily backup"})))]
pub struct MilvusCreateSnapshot {
    pub db_name: String,
    /// Name or alias.
    #[schema(required = true)]
    pub collection_name: String,
    #[schema(required = true)]
    pub snapshot_name: String,
    pub description: String,
    /// 0 to 604800. Checked, and without effect: what a snapshot needs is kept whatever is compacted.
    pub compaction_protection_seconds: i64,
}

impl Fields for MilvusCreateSnapshot {
    fn required(&self) -> Vec<(&'static str, &str)> {
        vec![
            ("collectionName", &self.collection_name),
            ("snapshotName", &self.snapshot_name),
        ]
    }
}

/// A snapshot, by the names of its collection and its own.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
#[schema(examples(json!({"collectionName": "my_collection", "snapshotName": "backup_20240101"})))]
pub struct MilvusSnapshotName {
    pub db_name: String,
    /// Name or alias.
    #[schema(required = true)]
    pub collection_name: String,
    #[schema(required = true)]
    pub snapshot_name: String,
}

impl Fields for MilvusSnapshotName {
    fn required(&self) -> Vec<(&'static str, &str)> {
        vec![
            ("collectionName", &self.collection_name),
            ("snapshotName", &self.snapshot_name),
        ]
    }
}

/// A snapshot to describe.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
#[schema(examples(json!({"collectionName": "my_collection", "snapshotName": "backup_20240101"})))]
pub struct MilvusDescribeSnapshot {
    pub db_name: String,
    /// Name or alias; may be left out where only one collection has a snapshot of this name.
    pub collection_name: String,
    #[schema(required = true)]
    pub snapshot_name: String,
}

impl Fields for MilvusDescribeSnapshot {
    fn required(&self) -> Vec<(&'static str, &str)> {
        vec![("snapshotName", &self.snapshot_name)]
    }
}

/// Which snapshots.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
#[schema(examples(json!({"collectionName": "my_collection"})))]
pub struct MilvusListSnapshots {
    pub db_name: String,
    /// Name or alias; those of the whole database without it.
    pub collection_name: String,
}

impl Fields for MilvusListSnapshots {
    fn required(&self) -> Vec<(&'static str, &str)> {
        Vec::new()
    }
}

/// A snapshot.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MilvusSnapshot {
    pub snapshot_name: String,
    pub description: String,
    /// Real name of the collection.
    pub collection_name: String,
    pub partition_names: Vec<String>,
    /// Hybrid timestamp.
    #[schema(value_type = String)]
    pub create_ts: Int64,
    /// URI of the metadata file; of one on S3 with its server.
    pub s3_location: String,
}

/// A restore to start.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
#[schema(examples(json!({"snapshotName": "backup_20240101", "sourceCollectionName": "my_collection", "targetCollectionName": "restored_collection"})))]
pub struct MilvusRestoreSnapshot {
    /// Of the source.
    pub db_name: String,
    #[schema(required = true)]
    pub snapshot_name: String,
    /// Name or alias; may be left out where only one collection has a snapshot of this name.
    pub source_collection_name: String,
    /// The header's database, else `default`, without it.
    pub target_db_name: String,
    /// Must be free.
    #[schema(required = true)]
    pub target_collection_name: String,
}

impl Fields for MilvusRestoreSnapshot {
    fn required(&self) -> Vec<(&'static str, &str)> {
        vec![
            ("snapshotName", &self.snapshot_name),
            ("targetCollectionName", &self.target_collection_name),
        ]
    }
}

/// A job that was started.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MilvusJobId {
    #[schema(value_type = String)]
    pub job_id: Int64,
}

/// A snapshot to pin.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
#[schema(examples(json!({"collectionName": "my_collection", "snapshotName": "backup_20240101", "ttlSeconds": 3600})))]
pub struct MilvusPinSnapshot {
    pub db_name: String,
    /// Name or alias.
    #[schema(required = true)]
    pub collection_name: String,
    #[schema(required = true)]
    pub snapshot_name: String,
    /// 0 to 2592000; 0: until it is unpinned.
    pub ttl_seconds: i64,
}

impl Fields for MilvusPinSnapshot {
    fn required(&self) -> Vec<(&'static str, &str)> {
        vec![
            ("collectionName", &self.collection_name),
            ("snapshotName", &self.snapshot_name),
        ]
    }
}

/// A pin that was made.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MilvusPinId {
    #[schema(value_type = String)]
    pub pin_id: Int64,
}

/// A pin to delete.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
#[schema(examples(json!({"pinId": "470700000000000300"})))]
pub struct MilvusUnpinSnapshot {
    #[serde(deserialize_with = "id_text")]
    #[schema(required = true)]
    pub pin_id: String,
}

impl Fields for MilvusUnpinSnapshot {
    fn required(&self) -> Vec<(&'static str, &str)> {
        vec![("pinId", &self.pin_id)]
    }
}
