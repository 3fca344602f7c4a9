//! The metadata file, key by key: proto names and their order are facts §3, the form facts §4.2,
//! the object `stillframe` is ours. One set of types serves both directions.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::json::{Bytes, Enum, Int64, Opaque, is_default, list, map};
use super::kept::Kept;

/// Segments of a snapshot at most, and so manifests and ids.
const SEGMENTS: usize = 1_000_000;
/// Index builds at most.
const BUILDS: usize = 8_000_000;
/// Partitions or channels at most.
const PARTS: usize = 65_536;
/// Fields, indexes, functions at most; pairs of one list of parameters at most.
const ITEMS: usize = 4_096;
const PAIRS: usize = 1_024;

macro_rules! messages {
    ($($(#[$doc:meta])* $name:ident { $($(#[$attribute:meta])* $field:ident: $kind:ty $(,)?)* })+) => {$(
        $(#[$doc])*
        #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(default)]
        pub(super) struct $name {
            $(#[serde(skip_serializing_if = "is_default")] $(#[$attribute])* pub(super) $field: $kind,)*
        }
    )+};
}

messages! {
    Metadata {
        format_version: i32,
        // the two that a reader requires are written even when they are empty
        snapshot_info: Option<SnapshotInfo>,
        collection: Option<Collection>,
        #[serde(deserialize_with = "list::<ITEMS, _, _>")] indexes: Vec<Index>,
        #[serde(deserialize_with = "list::<SEGMENTS, _, _>")] manifest_list: Vec<String>,
        #[serde(deserialize_with = "list::<SEGMENTS, _, _>")] storagev2_manifest_list: Vec<StorageV2Manifest>,
        #[serde(deserialize_with = "list::<SEGMENTS, _, _>")] segment_ids: Vec<Int64>,
        #[serde(deserialize_with = "list::<BUILDS, _, _>")] build_ids: Vec<Int64>,
        layout: Enum,
        stillframe: Option<Stillframe>,
    }
    SnapshotInfo {
        name: String,
        id: Int64,
        description: String,
        collection_id: Int64,
        #[serde(deserialize_with = "list::<PARTS, _, _>")] partition_ids: Vec<Int64>,
        create_ts: Int64,
        s3_location: String,
        state: Enum,
        #[serde(deserialize_with = "list::<PARTS, _, _>")] channel_seek_positions: Vec<Position>,
    }
    Position {
        channel_name: String,
        #[serde(rename = "msgID")] msg_id: Bytes,
        #[serde(rename = "msgGroup")] msg_group: String,
        timestamp: Int64,
    }
    Collection {
        schema: Option<Kept<Schema>>,
        num_partitions: Int64,
        num_shards: Int64,
        consistency_level: Enum,
        #[serde(deserialize_with = "list::<PAIRS, _, _>")] properties: Vec<Pair>,
        #[serde(deserialize_with = "map::<PARTS, _, _>")] partitions: BTreeMap<String, Int64>,
        #[serde(deserialize_with = "list::<PARTS, _, _>")] virtual_channel_names: Vec<String>,
    }
    Pair {
        key: String,
        value: String,
    }
    Schema {
        name: String,
        description: String,
        #[serde(rename = "autoID")] auto_id: bool,
        #[serde(deserialize_with = "list::<ITEMS, _, _>")] fields: Vec<Kept<Field>>,
        enable_dynamic_field: bool,
        #[serde(deserialize_with = "list::<PAIRS, _, _>")] properties: Vec<Pair>,
        #[serde(deserialize_with = "list::<PAIRS, _, _>")] functions: Vec<Kept<Function>>,
        #[serde(rename = "dbName")] db_name: String,
        #[serde(deserialize_with = "list::<PAIRS, _, _>")] struct_array_fields: Vec<Kept<StructArrayField>>,
        version: i32,
    }
    Field {
        #[serde(rename = "fieldID")] field_id: Int64,
        name: String,
        is_primary_key: bool,
        description: String,
        data_type: Enum,
        #[serde(deserialize_with = "list::<PAIRS, _, _>")] type_params: Vec<Pair>,
        #[serde(deserialize_with = "list::<PAIRS, _, _>")] index_params: Vec<Pair>,
        #[serde(rename = "autoID")] auto_id: bool,
        element_type: Enum,
        default_value: Option<Opaque>,
        is_dynamic: bool,
        is_partition_key: bool,
        is_clustering_key: bool,
        nullable: bool,
        is_function_output: bool,
    }
    Function {
        name: String,
        id: Int64,
        description: String,
        #[serde(rename = "type")] function_type: Enum,
        #[serde(deserialize_with = "list::<PAIRS, _, _>")] input_field_names: Vec<String>,
        #[serde(deserialize_with = "list::<PAIRS, _, _>")] input_field_ids: Vec<Int64>,
        #[serde(deserialize_with = "list::<PAIRS, _, _>")] output_field_names: Vec<String>,
        #[serde(deserialize_with = "list::<PAIRS, _, _>")] output_field_ids: Vec<Int64>,
        #[serde(deserialize_with = "list::<PAIRS, _, _>")] params: Vec<Pair>,
    }
    StructArrayField {
        #[serde(rename = "fieldID")] field_id: Int64,
        name: String,
        description: String,
        #[serde(deserialize_with = "list::<PAIRS, _, _>")] fields: Vec<Kept<Field>>,
        #[serde(deserialize_with = "list::<PAIRS, _, _>")] type_params: Vec<Pair>,
        nullable: bool,
    }
    Index {
        #[serde(rename = "collectionID")] collection_id: Int64,
        #[serde(rename = "fieldID")] field_id: Int64,
        index_name: String,
        #[serde(rename = "indexID")] index_id: Int64,
        #[serde(deserialize_with = "list::<PAIRS, _, _>")] type_params: Vec<Pair>,
        #[serde(deserialize_with = "list::<PAIRS, _, _>")] index_params: Vec<Pair>,
        is_auto_index: bool,
        #[serde(deserialize_with = "list::<PAIRS, _, _>")] user_index_params: Vec<Pair>,
    }
    StorageV2Manifest {
        segment_id: Int64,
        manifest: String,
    }
}

/// What Milvus' fields have no place for; Milvus readers ignore the key.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Stillframe {
    pub(super) writer: Writer,
    /// `container` or `milvus`.
    pub(super) manifest_encoding: String,
    /// The files of the collection are another system's: whoever rebuilds a catalog must not take
    /// them for its own.
    #[serde(skip_serializing_if = "is_default")]
    pub(super) external: bool,
    /// The aliases that the collection had, by name.
    #[serde(skip_serializing_if = "is_default", deserialize_with = "list::<PARTS, _, _>")]
    pub(super) aliases: Vec<String>,
    pub(super) totals: Totals,
    /// In the order of `manifest_list`.
    #[serde(deserialize_with = "list::<SEGMENTS, _, _>")]
    pub(super) manifests: Vec<Manifest>,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Writer {
    pub(super) name: String,
    pub(super) version: String,
}

/// Rows, and data files and their bytes, manifests and metadata excluded.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Totals {
    pub(super) num_of_rows: i64,
    pub(super) file_count: i64,
    pub(super) size_bytes: i64,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Manifest {
    pub(super) segment_id: Int64,
    pub(super) size_bytes: u64,
    /// Lower-case hexadecimal, of the stored bytes.
    pub(super) sha256: String,
}
