package main

import "github.com/hamba/avro/v2"

// The record of a manifest: Milvus' fields of format version 4, in its order (types are declared where they are first
// used). Written by hand from Milvus' documentation of it, not taken from the service.
const recordOfVersion4 = `{"type": "record", "name": "ManifestEntry", "fields": [
	{"name": "segment_id", "type": "long"},
	{"name": "partition_id", "type": "long"},
	{"name": "segment_level", "type": "long"},
	{"name": "channel_name", "type": "string"},
	{"name": "num_of_rows", "type": "long"},
	{"name": "start_position", "type": {"type": "record", "name": "AvroMsgPosition", "fields": [
		{"name": "channel_name", "type": "string"},
		{"name": "msg_id", "type": "bytes"},
		{"name": "msg_group", "type": "string"},
		{"name": "timestamp", "type": "long"}]}},
	{"name": "dml_position", "type": "AvroMsgPosition"},
	{"name": "storage_version", "type": "long"},
	{"name": "is_sorted", "type": "boolean"},
	{"name": "commit_timestamp", "type": "long", "default": 0},
	{"name": "binlog_files", "type": {"type": "array", "items": {"type": "record", "name": "AvroFieldBinlog", "fields": [
		{"name": "field_id", "type": "long"},
		{"name": "child_fields", "type": {"type": "array", "items": "long"}, "default": []},
		{"name": "format", "type": "string", "default": ""},
		{"name": "binlogs", "type": {"type": "array", "items": {"type": "record", "name": "AvroBinlog", "fields": [
			{"name": "entries_num", "type": "long"},
			{"name": "timestamp_from", "type": "long"},
			{"name": "timestamp_to", "type": "long"},
			{"name": "log_path", "type": "string"},
			{"name": "log_size", "type": "long"},
			{"name": "log_id", "type": "long"},
			{"name": "memory_size", "type": "long"}]}}}]}}},
	{"name": "deltalog_files", "type": {"type": "array", "items": "AvroFieldBinlog"}},
	{"name": "statslog_files", "type": {"type": "array", "items": "AvroFieldBinlog"}},
	{"name": "bm25_statslog_files", "type": {"type": "array", "items": "AvroFieldBinlog"}},
	{"name": "index_files", "type": {"type": "array", "items": {"type": "record", "name": "AvroIndexFilePathInfo", "fields": [
		{"name": "segment_id", "type": "long"},
		{"name": "field_id", "type": "long"},
		{"name": "index_id", "type": "long"},
		{"name": "build_id", "type": "long"},
		{"name": "index_name", "type": "string"},
		{"name": "index_params", "type": {"type": "array", "items": {"type": "record", "name": "AvroKeyValuePair", "fields": [
			{"name": "key", "type": "string"},
			{"name": "value", "type": "string"}]}}},
		{"name": "index_file_paths", "type": {"type": "array", "items": "string"}},
		{"name": "serialized_size", "type": "long"},
		{"name": "index_version", "type": "long"},
		{"name": "num_rows", "type": "long"},
		{"name": "current_index_version", "type": "int"},
		{"name": "mem_size", "type": "long"},
		{"name": "current_scalar_index_version", "type": "int", "default": 0},
		{"name": "index_store_path_version", "type": "int", "default": 0}]}}},
	{"name": "text_index_files", "type": {"type": "array", "items": {"type": "record", "name": "AvroTextIndexEntry", "fields": [
		{"name": "field_id", "type": "long"},
		{"name": "stats", "type": {"type": "record", "name": "AvroTextIndexStats", "fields": [
			{"name": "field_id", "type": "long"},
			{"name": "version", "type": "long"},
			{"name": "files", "type": {"type": "array", "items": "string"}},
			{"name": "log_size", "type": "long"},
			{"name": "memory_size", "type": "long"},
			{"name": "build_id", "type": "long"}]}}]}}},
	{"name": "json_key_index_files", "type": {"type": "array", "items": {"type": "record", "name": "AvroJSONKeyIndexEntry", "fields": [
		{"name": "field_id", "type": "long"},
		{"name": "stats", "type": {"type": "record", "name": "AvroJSONKeyStats", "fields": [
			{"name": "field_id", "type": "long"},
			{"name": "version", "type": "long"},
			{"name": "files", "type": {"type": "array", "items": "string"}},
			{"name": "log_size", "type": "long"},
			{"name": "memory_size", "type": "long"},
			{"name": "build_id", "type": "long"},
			{"name": "json_key_stats_data_format", "type": "long"}]}}]}}}
]}`

var schema = avro.MustParse(recordOfVersion4)

// ManifestEntry and what is in it: a Go struct per record, as Milvus has them.
type ManifestEntry struct {
	SegmentID         int64          `avro:"segment_id" json:"segment_id"`
	PartitionID       int64          `avro:"partition_id" json:"partition_id"`
	SegmentLevel      int64          `avro:"segment_level" json:"segment_level"`
	ChannelName       string         `avro:"channel_name" json:"channel_name"`
	NumOfRows         int64          `avro:"num_of_rows" json:"num_of_rows"`
	StartPosition     MsgPosition    `avro:"start_position" json:"start_position"`
	DmlPosition       MsgPosition    `avro:"dml_position" json:"dml_position"`
	StorageVersion    int64          `avro:"storage_version" json:"storage_version"`
	IsSorted          bool           `avro:"is_sorted" json:"is_sorted"`
	CommitTimestamp   int64          `avro:"commit_timestamp" json:"commit_timestamp"`
	BinlogFiles       []FieldBinlog  `avro:"binlog_files" json:"binlog_files"`
	DeltalogFiles     []FieldBinlog  `avro:"deltalog_files" json:"deltalog_files"`
	StatslogFiles     []FieldBinlog  `avro:"statslog_files" json:"statslog_files"`
	Bm25StatslogFiles []FieldBinlog  `avro:"bm25_statslog_files" json:"bm25_statslog_files"`
	IndexFiles        []IndexFiles   `avro:"index_files" json:"index_files"`
	TextIndexFiles    []TextIndex    `avro:"text_index_files" json:"text_index_files"`
	JSONKeyIndexFiles []JSONKeyIndex `avro:"json_key_index_files" json:"json_key_index_files"`
}

type MsgPosition struct {
	ChannelName string `avro:"channel_name" json:"channel_name"`
	MsgID       []byte `avro:"msg_id" json:"msg_id"`
	MsgGroup    string `avro:"msg_group" json:"msg_group"`
	Timestamp   int64  `avro:"timestamp" json:"timestamp"`
}

type FieldBinlog struct {
	FieldID     int64    `avro:"field_id" json:"field_id"`
	ChildFields []int64  `avro:"child_fields" json:"child_fields"`
	Format      string   `avro:"format" json:"format"`
	Binlogs     []Binlog `avro:"binlogs" json:"binlogs"`
}

type Binlog struct {
	EntriesNum    int64  `avro:"entries_num" json:"entries_num"`
	TimestampFrom int64  `avro:"timestamp_from" json:"timestamp_from"`
	TimestampTo   int64  `avro:"timestamp_to" json:"timestamp_to"`
	LogPath       string `avro:"log_path" json:"log_path"`
	LogSize       int64  `avro:"log_size" json:"log_size"`
	LogID         int64  `avro:"log_id" json:"log_id"`
	MemorySize    int64  `avro:"memory_size" json:"memory_size"`
}

type IndexFiles struct {
	SegmentID                 int64          `avro:"segment_id" json:"segment_id"`
	FieldID                   int64          `avro:"field_id" json:"field_id"`
	IndexID                   int64          `avro:"index_id" json:"index_id"`
	BuildID                   int64          `avro:"build_id" json:"build_id"`
	IndexName                 string         `avro:"index_name" json:"index_name"`
	IndexParams               []KeyValuePair `avro:"index_params" json:"index_params"`
	IndexFilePaths            []string       `avro:"index_file_paths" json:"index_file_paths"`
	SerializedSize            int64          `avro:"serialized_size" json:"serialized_size"`
	IndexVersion              int64          `avro:"index_version" json:"index_version"`
	NumRows                   int64          `avro:"num_rows" json:"num_rows"`
	CurrentIndexVersion       int32          `avro:"current_index_version" json:"current_index_version"`
	MemSize                   int64          `avro:"mem_size" json:"mem_size"`
	CurrentScalarIndexVersion int32          `avro:"current_scalar_index_version" json:"current_scalar_index_version"`
	IndexStorePathVersion     int32          `avro:"index_store_path_version" json:"index_store_path_version"`
}

type KeyValuePair struct {
	Key   string `avro:"key" json:"key"`
	Value string `avro:"value" json:"value"`
}

type TextIndex struct {
	FieldID int64          `avro:"field_id" json:"field_id"`
	Stats   TextIndexStats `avro:"stats" json:"stats"`
}

type TextIndexStats struct {
	FieldID    int64    `avro:"field_id" json:"field_id"`
	Version    int64    `avro:"version" json:"version"`
	Files      []string `avro:"files" json:"files"`
	LogSize    int64    `avro:"log_size" json:"log_size"`
	MemorySize int64    `avro:"memory_size" json:"memory_size"`
	BuildID    int64    `avro:"build_id" json:"build_id"`
}

type JSONKeyIndex struct {
	FieldID int64        `avro:"field_id" json:"field_id"`
	Stats   JSONKeyStats `avro:"stats" json:"stats"`
}

type JSONKeyStats struct {
	FieldID                int64    `avro:"field_id" json:"field_id"`
	Version                int64    `avro:"version" json:"version"`
	Files                  []string `avro:"files" json:"files"`
	LogSize                int64    `avro:"log_size" json:"log_size"`
	MemorySize             int64    `avro:"memory_size" json:"memory_size"`
	BuildID                int64    `avro:"build_id" json:"build_id"`
	JSONKeyStatsDataFormat int64    `avro:"json_key_stats_data_format" json:"json_key_stats_data_format"`
}
