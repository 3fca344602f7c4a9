//! Made-up collections in the shape of a real one: the fields and indexes of the fixture.

use serde_json::{Value, json};

/// Files of a segment: a binlog file twice for each of eight fields, a delete and a statistics
/// file, and two index builds of one file.
pub const FILES: usize = 20;

const FIELDS: [i64; 8] = [0, 1, 100, 101, 102, 103, 104, 105];

/// A collection by its number.
#[derive(Debug, Clone, Copy)]
pub struct Collection(pub i64);

impl Collection {
    pub fn name(self) -> String {
        format!("collection_{}", self.0)
    }

    fn id(self) -> i64 {
        470_644_622_231_801_173 + self.0 * 1_000_000_000_000
    }

    fn channel(self) -> String {
        format!("by-dev-rootcoord-dml_0_{}v0", self.id())
    }

    pub fn segments_path(self) -> String {
        format!("/v1/collections/{}/segments:batch?check=none", self.name())
    }

    pub fn compactions_path(self) -> String {
        format!("/v1/collections/{}/compactions?check=none", self.name())
    }

    /// The request that replaces segments by others, whose numbers are higher by `shift`.
    pub fn compaction_body(self, numbers: std::ops::Range<i64>, shift: i64) -> String {
        let inputs: Vec<String> = numbers.clone().map(|n| (self.id() + 1000 + n * 100).to_string()).collect();
        let outputs: Vec<Value> = numbers.map(|n| self.segment(n + shift)).collect();
        json!({"inputs": inputs, "outputs": outputs}).to_string()
    }

    pub fn indexes_path(self) -> String {
        format!("/v1/collections/{}/indexes", self.name())
    }

    pub fn body(self) -> Value {
        let position = json!({"msg_id_base64": "0QKAU8oQiAY=", "msg_group": self.channel(), "timestamp": "470644641416347649"});
        json!({
            "name": self.name(), "collection_id": self.id().to_string(), "num_shards": 1, "consistency_level": "Bounded",
            "enable_dynamic_field": true,
            "fields": [
                {"field_id": "0", "name": "RowID", "data_type": "Int64", "description": "row id"},
                {"field_id": "1", "name": "Timestamp", "data_type": "Int64", "description": "time stamp"},
                {"field_id": "100", "name": "id", "data_type": "Int64", "is_primary_key": true},
                {"field_id": "101", "name": "tag", "data_type": "VarChar", "type_params": {"max_length": "64"}},
                {"field_id": "102", "name": "score", "data_type": "Float"},
                {"field_id": "103", "name": "meta", "data_type": "JSON"},
                {"field_id": "104", "name": "vec", "data_type": "FloatVector", "type_params": {"dim": "128"}},
                {"field_id": "105", "name": "$meta", "data_type": "JSON", "description": "dynamic schema", "is_dynamic": true}],
            "partitions": [{"partition_id": (self.id() + 1).to_string(), "name": "_default"}],
            "channels": [{"channel_name": self.channel(), "seek_position": position}]
        })
    }

    pub fn index_bodies(self) -> [Value; 2] {
        [
            json!({"index_id": "1", "field_id": "104", "index_name": "vec_hnsw", "type_params": {"dim": "128"},
                "index_params": {"index_type": "HNSW", "metric_type": "L2", "M": "16", "efConstruction": "100"}}),
            json!({"index_id": "2", "field_id": "101", "index_name": "tag_trie", "index_params": {"index_type": "Trie"}}),
        ]
    }

    /// The request that registers segments by their numbers.
    pub fn segments_body(self, numbers: std::ops::Range<i64>) -> String {
        let segments: Vec<Value> = numbers.map(|n| self.segment(n)).collect();
        json!({"segments": segments}).to_string()
    }

    fn segment(self, number: i64) -> Value {
        let (collection, partition) = (self.id(), self.id() + 1);
        let segment = collection + 1000 + number * 100;
        let log = |kind: &str, field: i64, n: i64| {
            let id = segment + n;
            json!({"log_id": id.to_string(), "path": format!("{kind}/{collection}/{partition}/{segment}/{field}/{id}"),
                "size_bytes": "1030524", "entries_num": "4013",
                "timestamp_from": "470644623079374851", "timestamp_to": "470644623197339649"})
        };
        let binlogs = FIELDS.iter().zip(0..).map(
            |(field, n)| json!({"field_id": field.to_string(), "logs": [log("insert_log", *field, 2 * n), log("insert_log", *field, 2 * n + 1)]}),
        );
        let position = |timestamp: &str| json!({"channel_name": self.channel(), "msg_id_base64": "AgCAU8oQiAY=", "msg_group": self.channel(), "timestamp": timestamp});
        let build = |index: i64, name: &str, file: &str| {
            let build = segment + 50 + index;
            json!({"build_id": build.to_string(), "index_id": index.to_string(), "index_name": name, "index_version": 1,
                "num_rows": "4013", "serialized_size_bytes": "2113148", "files": [
                    {"path": format!("index_files/{build}/1/{partition}/{segment}/{file}"), "size_bytes": "2113148"}]})
        };
        json!({
            "segment_id": segment.to_string(), "partition_id": partition.to_string(), "channel_name": self.channel(),
            "num_of_rows": "4013", "state": "flushed", "level": "L1",
            "start_position": position("470644623040053258"), "dml_position": position("470644625687707649"),
            "binlogs": binlogs.collect::<Vec<_>>(),
            "deltalogs": [{"field_id": "0", "logs": [log("delta_log", 0, 16)]}],
            "statslogs": [{"field_id": "100", "logs": [log("stats_log", 100, 17)]}],
            "index_builds": [build(1, "vec_hnsw", "HNSW"), build(2, "tag_trie", "trie")]
        })
    }
}
