//! What a manifest says, field by field as Avro holds it (facts §4.3). A field without a default
//! in Milvus' schema must be there; those of later versions have one.

use serde::Deserialize;

#[derive(Deserialize)]
pub(super) struct Entry<'a> {
    pub segment_id: i64,
    pub partition_id: i64,
    pub segment_level: i64,
    pub channel_name: &'a str,
    pub num_of_rows: i64,
    #[serde(borrow)]
    pub start_position: Position<'a>,
    pub dml_position: Position<'a>,
    pub storage_version: i64,
    pub is_sorted: bool,
    #[serde(default)]
    pub commit_timestamp: i64,
    #[serde(default)]
    pub delete_apply_start_after_timetick: i64,
    pub binlog_files: Vec<FieldBinlog<'a>>,
    pub deltalog_files: Vec<FieldBinlog<'a>>,
    pub statslog_files: Vec<FieldBinlog<'a>>,
    pub bm25_statslog_files: Vec<FieldBinlog<'a>>,
    pub index_files: Vec<IndexFiles<'a>>,
    pub text_index_files: Vec<FieldStats<'a>>,
    pub json_key_index_files: Vec<FieldStats<'a>>,
}

#[derive(Deserialize)]
pub(super) struct Position<'a> {
    pub channel_name: &'a str,
    pub msg_id: &'a [u8],
    pub msg_group: &'a str,
    pub timestamp: i64,
}

#[derive(Deserialize)]
pub(super) struct FieldBinlog<'a> {
    pub field_id: i64,
    #[serde(default)]
    pub child_fields: Vec<i64>,
    #[serde(default)]
    pub format: &'a str,
    #[serde(borrow)]
    pub binlogs: Vec<Binlog<'a>>,
}

#[derive(Deserialize)]
pub(super) struct Binlog<'a> {
    pub entries_num: i64,
    pub timestamp_from: i64,
    pub timestamp_to: i64,
    pub log_path: &'a str,
    pub log_size: i64,
    pub log_id: i64,
    pub memory_size: i64,
}

#[derive(Deserialize)]
pub(super) struct IndexFiles<'a> {
    pub segment_id: i64,
    pub field_id: i64,
    pub index_id: i64,
    pub build_id: i64,
    pub index_name: &'a str,
    #[serde(borrow)]
    pub index_params: Vec<Pair<'a>>,
    pub index_file_paths: Vec<&'a str>,
    pub serialized_size: i64,
    pub index_version: i64,
    pub num_rows: i64,
    pub current_index_version: i32,
    pub mem_size: i64,
    #[serde(default)]
    pub current_scalar_index_version: i32,
    #[serde(default)]
    pub index_store_path_version: i32,
    #[serde(default)]
    pub is_nested_index: bool,
}

#[derive(Deserialize)]
pub(super) struct Pair<'a> {
    pub key: &'a str,
    pub value: &'a str,
}

/// An entry of text or JSON key index files.
#[derive(Deserialize)]
pub(super) struct FieldStats<'a> {
    pub field_id: i64,
    #[serde(borrow)]
    pub stats: Stats<'a>,
}

#[derive(Deserialize)]
pub(super) struct Stats<'a> {
    pub field_id: i64,
    pub version: i64,
    #[serde(borrow)]
    pub files: Vec<&'a str>,
    pub log_size: i64,
    pub memory_size: i64,
    pub build_id: i64,
    #[serde(default)]
    pub json_key_stats_data_format: i64,
}
