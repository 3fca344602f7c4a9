//! Collections, partitions, channels.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::id::{CollectionId, DatabaseId, PartitionId};
use super::schema::{Params, Schema};

/// The database that every catalog has.
pub const DEFAULT_DATABASE: &str = "default";
/// The partition that every collection has unless the engine says otherwise.
pub const DEFAULT_PARTITION: &str = "_default";

/// Who may delete a collection's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ownership {
    /// Its files are ours to delete.
    Owned,
    /// Imported or adopted from another system: only read here, never deleted.
    External,
}

impl Ownership {
    pub fn as_str(self) -> &'static str {
        match self {
            Ownership::Owned => "owned",
            Ownership::External => "external",
        }
    }
}

/// A database.
#[derive(Debug, Clone, PartialEq)]
pub struct Database {
    pub db_id: DatabaseId,
    pub name: String,
    pub created_at: OffsetDateTime,
}

/// A collection.
#[derive(Debug, Clone, PartialEq)]
pub struct Collection {
    pub collection_id: CollectionId,
    pub db_id: DatabaseId,
    pub db_name: String,
    pub name: String,
    pub ownership: Ownership,
    pub dropped: bool,
    pub num_shards: i32,
    pub consistency_level: String,
    pub schema: Schema,
    pub properties: Params,
    pub created_at: OffsetDateTime,
}

/// A partition of a collection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Partition {
    pub partition_id: PartitionId,
    pub name: String,
}

/// The position up to which a channel's data is persisted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Position {
    /// Hybrid timestamp.
    pub timestamp: i64,
    /// Opaque to us.
    pub msg_id: Vec<u8>,
    /// Opaque to us.
    pub msg_group: String,
}

/// A channel of a collection: one per shard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Channel {
    pub channel_name: String,
    pub shard_no: i32,
    /// None: the engine never reported one.
    pub seek_position: Option<Position>,
}

/// An alias of a collection.
#[derive(Debug, Clone, PartialEq)]
pub struct Alias {
    pub alias: String,
    pub collection_id: CollectionId,
    pub collection_name: String,
}
