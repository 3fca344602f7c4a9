//! Milvus' own records in etcd, as far as an import needs them. Field numbers are those of Milvus'
//! `etcd_meta.proto`, `data_coord.proto`, `index_coord.proto`, `schema.proto` and `msg.proto`, 2.3 to
//! 2.6; what is not named here is skipped.

use std::collections::HashMap;

/// `common.KeyValuePair`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Pair {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(string, tag = "2")]
    pub value: String,
}

/// `etcd.DatabaseInfo`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DatabaseInfo {
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(int64, tag = "3")]
    pub id: i64,
    /// 1: created.
    #[prost(int32, tag = "4")]
    pub state: i32,
}

/// `etcd.CollectionInfo`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CollectionInfo {
    #[prost(int64, tag = "1")]
    pub id: i64,
    #[prost(message, optional, tag = "2")]
    pub schema: Option<CollectionSchema>,
    /// By shard number.
    #[prost(string, repeated, tag = "7")]
    pub virtual_channel_names: Vec<String>,
    #[prost(int32, tag = "10")]
    pub shards_num: i32,
    #[prost(int32, tag = "12")]
    pub consistency_level: i32,
    /// 0: created.
    #[prost(int32, tag = "13")]
    pub state: i32,
    #[prost(message, repeated, tag = "14")]
    pub properties: Vec<Pair>,
}

/// `schema.CollectionSchema`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CollectionSchema {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub description: String,
    #[prost(bool, tag = "3")]
    pub auto_id: bool,
    /// Only in records of before 2.2; newer ones have a key per field.
    #[prost(message, repeated, tag = "4")]
    pub fields: Vec<FieldSchema>,
    #[prost(bool, tag = "5")]
    pub enable_dynamic_field: bool,
    #[prost(int32, tag = "10")]
    pub version: i32,
    #[prost(string, tag = "11")]
    pub external_source: String,
    #[prost(string, tag = "12")]
    pub external_spec: String,
    #[prost(bool, tag = "13")]
    pub do_physical_backfill: bool,
    #[prost(int64, repeated, tag = "14")]
    pub file_resource_ids: Vec<i64>,
    #[prost(bool, tag = "15")]
    pub enable_namespace: bool,
}

/// `schema.FieldSchema`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FieldSchema {
    #[prost(int64, tag = "1")]
    pub field_id: i64,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(bool, tag = "3")]
    pub is_primary_key: bool,
    #[prost(string, tag = "4")]
    pub description: String,
    #[prost(int32, tag = "5")]
    pub data_type: i32,
    #[prost(message, repeated, tag = "6")]
    pub type_params: Vec<Pair>,
    #[prost(message, repeated, tag = "7")]
    pub index_params: Vec<Pair>,
    #[prost(bool, tag = "8")]
    pub auto_id: bool,
    /// 0: created.
    #[prost(int32, tag = "9")]
    pub state: i32,
    #[prost(int32, tag = "10")]
    pub element_type: i32,
    #[prost(message, optional, tag = "11")]
    pub default_value: Option<ValueField>,
    #[prost(bool, tag = "12")]
    pub is_dynamic: bool,
    #[prost(bool, tag = "13")]
    pub is_partition_key: bool,
    #[prost(bool, tag = "14")]
    pub is_clustering_key: bool,
    #[prost(bool, tag = "15")]
    pub nullable: bool,
    #[prost(bool, tag = "16")]
    pub is_function_output: bool,
    #[prost(string, tag = "17")]
    pub external_field: String,
    /// What is in it is not known here.
    #[prost(bytes = "vec", tag = "18")]
    pub type_schema: Vec<u8>,
    #[prost(bool, tag = "19")]
    pub element_nullable: bool,
}

/// `schema.ValueField`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ValueField {
    #[prost(oneof = "FieldValue", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10")]
    pub data: Option<FieldValue>,
}

/// The value of a [`ValueField`].
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum FieldValue {
    #[prost(bool, tag = "1")]
    Bool(bool),
    #[prost(int32, tag = "2")]
    Int(i32),
    #[prost(int64, tag = "3")]
    Long(i64),
    #[prost(float, tag = "4")]
    Float(f32),
    #[prost(double, tag = "5")]
    Double(f64),
    #[prost(string, tag = "6")]
    Text(String),
    #[prost(bytes, tag = "7")]
    Bytes(Vec<u8>),
    #[prost(int64, tag = "8")]
    Timestamptz(i64),
    /// Days since 1970.
    #[prost(int32, tag = "9")]
    Date(i32),
    #[prost(int64, tag = "10")]
    Time(i64),
}

/// `schema.FunctionSchema`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FunctionSchema {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(int64, tag = "2")]
    pub id: i64,
    #[prost(string, tag = "3")]
    pub description: String,
    #[prost(int32, tag = "4")]
    pub function_type: i32,
    #[prost(int64, repeated, tag = "6")]
    pub input_field_ids: Vec<i64>,
    #[prost(int64, repeated, tag = "8")]
    pub output_field_ids: Vec<i64>,
    #[prost(message, repeated, tag = "9")]
    pub params: Vec<Pair>,
}

/// `schema.StructArrayFieldSchema`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct StructArrayFieldSchema {
    #[prost(int64, tag = "1")]
    pub field_id: i64,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(string, tag = "3")]
    pub description: String,
    #[prost(message, repeated, tag = "4")]
    pub fields: Vec<FieldSchema>,
    #[prost(message, repeated, tag = "5")]
    pub type_params: Vec<Pair>,
    #[prost(bool, tag = "6")]
    pub nullable: bool,
}

/// `etcd.PartitionInfo`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PartitionInfo {
    #[prost(int64, tag = "1")]
    pub partition_id: i64,
    #[prost(string, tag = "2")]
    pub name: String,
    /// 0: created.
    #[prost(int32, tag = "5")]
    pub state: i32,
}

/// `etcd.AliasInfo`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct AliasInfo {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(int64, tag = "2")]
    pub collection_id: i64,
    /// 0: created.
    #[prost(int32, tag = "4")]
    pub state: i32,
}

/// `msg.MsgPosition`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Position {
    #[prost(string, tag = "1")]
    pub channel_name: String,
    #[prost(bytes = "vec", tag = "2")]
    pub msg_id: Vec<u8>,
    #[prost(string, tag = "3")]
    pub msg_group: String,
    #[prost(uint64, tag = "4")]
    pub timestamp: u64,
}

/// `data.SegmentInfo`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SegmentInfo {
    #[prost(int64, tag = "1")]
    pub id: i64,
    #[prost(int64, tag = "2")]
    pub collection_id: i64,
    #[prost(int64, tag = "3")]
    pub partition_id: i64,
    #[prost(string, tag = "4")]
    pub insert_channel: String,
    #[prost(int64, tag = "5")]
    pub num_of_rows: i64,
    /// `common.SegmentState`.
    #[prost(int32, tag = "6")]
    pub state: i32,
    #[prost(message, optional, tag = "9")]
    pub start_position: Option<Position>,
    #[prost(message, optional, tag = "10")]
    pub dml_position: Option<Position>,
    #[prost(bool, tag = "17")]
    pub is_importing: bool,
    #[prost(bool, tag = "18")]
    pub is_fake: bool,
    /// `data.SegmentLevel`.
    #[prost(int32, tag = "20")]
    pub level: i32,
    #[prost(int64, tag = "21")]
    pub storage_version: i64,
    #[prost(bool, tag = "25")]
    pub is_sorted: bool,
    #[prost(map = "int64, message", tag = "26")]
    pub text_stats: HashMap<i64, FieldIndexStats>,
    #[prost(bool, tag = "28")]
    pub is_invisible: bool,
    #[prost(map = "int64, message", tag = "29")]
    pub json_stats: HashMap<i64, FieldIndexStats>,
    #[prost(string, tag = "32")]
    pub manifest_path: String,
    #[prost(uint64, tag = "36")]
    pub commit_timestamp: u64,
}

/// `data.TextIndexStats` and `data.JsonKeyStats`, which differ in field 7.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FieldIndexStats {
    #[prost(int64, tag = "1")]
    pub field_id: i64,
    #[prost(int64, tag = "2")]
    pub version: i64,
    #[prost(string, repeated, tag = "3")]
    pub files: Vec<String>,
    #[prost(int64, tag = "5")]
    pub memory_size: i64,
    #[prost(int64, tag = "6")]
    pub build_id: i64,
    /// Of JSON: its data format. Of text: a version that has no meaning here.
    #[prost(int64, tag = "7")]
    pub data_format: i64,
}

/// `data.FieldBinlog`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FieldBinlog {
    #[prost(int64, tag = "1")]
    pub field_id: i64,
    #[prost(message, repeated, tag = "2")]
    pub binlogs: Vec<Binlog>,
    #[prost(int64, repeated, tag = "3")]
    pub child_fields: Vec<i64>,
    #[prost(string, tag = "4")]
    pub format: String,
}

/// `data.Binlog`. Its `log_size` (5) is no file size: up to 2.3 insert logs have their size in memory there.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Binlog {
    #[prost(int64, tag = "1")]
    pub entries_num: i64,
    #[prost(uint64, tag = "2")]
    pub timestamp_from: u64,
    #[prost(uint64, tag = "3")]
    pub timestamp_to: u64,
    /// Only in records of before 2.3; then a full key.
    #[prost(string, tag = "4")]
    pub log_path: String,
    #[prost(int64, tag = "6")]
    pub log_id: i64,
    #[prost(int64, tag = "7")]
    pub memory_size: i64,
}

/// `index.FieldIndex`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FieldIndex {
    #[prost(message, optional, tag = "1")]
    pub info: Option<IndexInfo>,
    #[prost(bool, tag = "2")]
    pub deleted: bool,
}

/// `index.IndexInfo`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct IndexInfo {
    #[prost(int64, tag = "2")]
    pub field_id: i64,
    #[prost(string, tag = "3")]
    pub name: String,
    #[prost(int64, tag = "4")]
    pub index_id: i64,
    #[prost(message, repeated, tag = "5")]
    pub type_params: Vec<Pair>,
    #[prost(message, repeated, tag = "6")]
    pub index_params: Vec<Pair>,
    #[prost(bool, tag = "11")]
    pub is_auto_index: bool,
    #[prost(message, repeated, tag = "12")]
    pub user_index_params: Vec<Pair>,
}

/// `index.SegmentIndex`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SegmentIndex {
    #[prost(int64, tag = "2")]
    pub partition_id: i64,
    #[prost(int64, tag = "3")]
    pub segment_id: i64,
    #[prost(int64, tag = "4")]
    pub num_rows: i64,
    #[prost(int64, tag = "5")]
    pub index_id: i64,
    #[prost(int64, tag = "6")]
    pub build_id: i64,
    #[prost(int64, tag = "8")]
    pub index_version: i64,
    /// `common.IndexState`; 3: finished.
    #[prost(int32, tag = "9")]
    pub state: i32,
    #[prost(string, repeated, tag = "11")]
    pub file_names: Vec<String>,
    #[prost(bool, tag = "12")]
    pub deleted: bool,
    #[prost(uint64, tag = "14")]
    pub serialized_size: u64,
    #[prost(int32, tag = "16")]
    pub current_index_version: i32,
    #[prost(uint64, tag = "19")]
    pub mem_size: u64,
    #[prost(int32, tag = "20")]
    pub current_scalar_index_version: i32,
    #[prost(int32, tag = "22")]
    pub index_store_path_version: i32,
}
