//! Bundles: a snapshot with its data files under one prefix, in Milvus' layout of exports (facts
//! §6.6). Keys of a bundle are relative to its root:
//!
//! ```text
//! files/{path of a data file}          from the layout's keyword on, whatever stood before it here
//! snapshots/{collection_id}/metadata/{snapshot_id}.json          written last
//! snapshots/{collection_id}/manifests/{snapshot_id}/{segment_id}.avro
//! ```

use serde::{Deserialize, Serialize};

use super::collection::Channel;
use super::id::{CollectionId, SnapshotId};
use super::snapshot::CapturedCollection;

/// Directory of the data files where we write them, with its slash. Others may have another one.
pub const FILES: &str = "files/";

/// Which store a bundle lies in. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Place {
    /// The service's own storage.
    Own,
    /// A store of the configuration.
    Named { store: String },
    /// A bucket that a request brought the credentials of.
    Called {
        bucket: String,
        endpoint: Option<String>,
        region: Option<String>,
        virtual_host_style: bool,
    },
}

/// What a restore keeps of a bundle's metadata.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CapturedBundle {
    pub snapshot_id: SnapshotId,
    pub snapshot_name: String,
    pub collection_id: CollectionId,
    /// Hybrid timestamp.
    pub create_ts: i64,
    pub captured: CapturedCollection,
    pub channels: Vec<Channel>,
}
