//! What the demo reads of the API's answers and of the fixture's catalog.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// What the engine registers.
#[derive(Debug, Deserialize)]
pub struct Catalog {
    pub collection: Value,
    pub indexes: Vec<Value>,
    pub segments: Vec<Value>,
}

/// A collection, as the engine sends it and as the API shows it.
#[derive(Debug, Deserialize)]
pub struct Collection {
    pub name: String,
    pub fields: Vec<Field>,
    pub partitions: Vec<Partition>,
    pub channels: Vec<Channel>,
}

impl Collection {
    /// The name of a partition.
    pub fn partition(&self, id: &str) -> Option<&str> {
        self.partitions.iter().find(|p| p.partition_id == id).map(|p| p.name.as_str())
    }

    /// The shard of a channel; channels stand in the order of shards.
    pub fn shard(&self, channel: &str) -> Option<usize> {
        self.channels.iter().position(|c| c.channel_name == channel)
    }
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
pub struct Field {
    pub field_id: String,
    pub name: String,
    pub data_type: String,
    #[serde(default)]
    pub type_params: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
pub struct Partition {
    pub partition_id: String,
    pub name: String,
}

#[derive(Debug, Deserialize)]
pub struct Channel {
    pub channel_name: String,
    pub seek_position: Option<Position>,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
pub struct Position {
    pub msg_id_base64: String,
    pub timestamp: String,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct Index {
    pub index_id: String,
    pub field_id: String,
    pub index_name: String,
    pub index_params: BTreeMap<String, String>,
}

/// A segment as the API shows it.
#[derive(Debug, Deserialize)]
pub struct Segment {
    pub segment_id: String,
    pub partition_id: String,
    pub channel_name: String,
    pub num_of_rows: u64,
    pub binlogs: Vec<FieldLogs>,
    pub deltalogs: Vec<FieldLogs>,
    pub statslogs: Vec<FieldLogs>,
    pub index_builds: Vec<Build>,
}

#[derive(Debug, Deserialize)]
pub struct FieldLogs {
    pub field_id: String,
    pub logs: Vec<Log>,
}

#[derive(Debug, Deserialize)]
pub struct Log {
    pub log_id: String,
    #[serde(flatten)]
    pub file: File,
}

#[derive(Debug, Deserialize)]
pub struct Build {
    pub index_id: String,
    pub files: Vec<File>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct File {
    pub path: String,
    pub size_bytes: u64,
}

impl Segment {
    /// Its files by what a restore keeps: kind, field or index id, and log id or file name.
    pub fn files(&self) -> BTreeMap<String, File> {
        let kinds = [
            ("insert", &self.binlogs),
            ("delta", &self.deltalogs),
            ("stats", &self.statslogs),
        ];
        let logs = kinds.into_iter().flat_map(|(kind, groups)| {
            let of_group = move |g: &FieldLogs| -> Vec<(String, File)> {
                g.logs
                    .iter()
                    .map(|l| (format!("{kind} log {} of field {}", l.log_id, g.field_id), l.file.clone()))
                    .collect()
            };
            groups.iter().flat_map(of_group)
        });
        let builds = self.index_builds.iter().flat_map(|build| {
            let name = |file: &File| file.path.rsplit('/').next().unwrap_or_default().to_string();
            build
                .files
                .iter()
                .map(move |f| (format!("file {} of index {}", name(f), build.index_id), f.clone()))
        });
        logs.chain(builds).collect()
    }
}
