//! Segments, their files and index builds, as the engine sends them and as they are shown.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::types::{Count, Id, PartitionIdText, rfc3339};
use crate::domain::collection::Position;
use crate::domain::id::{BuildId, CollectionId, IndexId, PartitionId, SegmentId};
use crate::domain::index::{BuildContent, IndexBuild};
use crate::domain::segment::{
    FieldIndexFiles, FieldLogs, File, Level, Log, Segment, SegmentContent, SegmentFiles, SegmentPosition, SegmentState,
};
use crate::domain::{Error, Result};
use crate::service::{NewBuild, NewSegment, PartitionRef};

/// A position in a channel.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"channel_name": "by-dev-rootcoord-dml_0_470644622231601173v0", "msg_id_base64": "0QKAU8oQiAY=", "msg_group": "", "timestamp": "470644641416347649"})))]
pub struct PositionBody {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel_name: Option<String>,
    /// Opaque; standard base64.
    #[serde(default)]
    pub msg_id_base64: String,
    /// Opaque.
    #[serde(default)]
    pub msg_group: String,
    /// Hybrid timestamp.
    #[schema(value_type = Id, required = true)]
    pub timestamp: Option<Id>,
}

impl PositionBody {
    /// # Errors
    /// `invalid_request` at the pointer.
    pub fn into_position(self, at: &str) -> Result<Position> {
        let msg_id = STANDARD
            .decode(&self.msg_id_base64)
            .map_err(|e| Error::invalid(format!("{at}/msg_id_base64"), format!("is not standard base64: {e}")))?;
        let timestamp = self
            .timestamp
            .ok_or_else(|| Error::invalid(format!("{at}/timestamp"), "missing field `timestamp`"))?
            .0;
        Ok(Position {
            timestamp,
            msg_id,
            msg_group: self.msg_group,
        })
    }

    pub fn of(position: &Position, channel_name: Option<String>) -> Self {
        Self {
            channel_name,
            msg_id_base64: STANDARD.encode(&position.msg_id),
            msg_group: position.msg_group.clone(),
            timestamp: Some(Id(position.timestamp)),
        }
    }

    /// # Errors
    /// `invalid_request` at the pointer.
    pub fn into_segment_position(mut self, channel: &str, at: &str) -> Result<SegmentPosition> {
        let channel_name = self.channel_name.take().unwrap_or_else(|| channel.to_string());
        Ok(SegmentPosition {
            channel_name,
            position: self.into_position(at)?,
        })
    }
}

fn position_body(position: &SegmentPosition) -> Option<PositionBody> {
    let empty = position.channel_name.is_empty() && position.position == Position::default();
    (!empty).then(|| PositionBody::of(&position.position, Some(position.channel_name.clone())))
}

/// A log file.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"log_id": "470644622231801222", "path": "insert_log/470644622231601173/470644622231601174/470644622231801182/100/470644622231801222", "size_bytes": 13854, "entries_num": 4013, "timestamp_from": "470644623079374851", "timestamp_to": "470644623197339649"})))]
pub struct LogBody {
    pub log_id: Id,
    /// Relative to the storage root.
    pub path: String,
    pub size_bytes: Count,
    #[serde(default)]
    pub entries_num: Count,
    #[serde(default = "zero")]
    pub timestamp_from: Id,
    #[serde(default = "zero")]
    pub timestamp_to: Id,
    /// Bytes when loaded; 0: unknown.
    #[serde(default)]
    pub memory_size: Count,
    /// As the object storage gave it at registration. Ignored in requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
}

fn zero() -> Id {
    Id(0)
}

/// The log files of one field, or of one column group.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FieldLogsBody {
    pub field_id: Id,
    /// Fields of a column group.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub child_fields: Vec<Id>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub format: String,
    pub logs: Vec<LogBody>,
}

/// A file of an index.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FileBody {
    /// Relative to the storage root.
    #[schema(example = "index_files/470644622232001213/1/470644622231601174/470644622231801182/HNSW")]
    pub path: String,
    pub size_bytes: Count,
    /// As the object storage gave it at registration. Ignored in requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
}

/// A text index or a JSON key index of a field on a segment.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FieldIndexFilesBody {
    pub field_id: Id,
    #[serde(default)]
    pub version: Count,
    pub build_id: Id,
    #[serde(default)]
    pub memory_size: Count,
    /// Of JSON key indexes only.
    #[serde(default)]
    pub json_key_stats_data_format: Count,
    pub files: Vec<FileBody>,
}

/// Files of a segment.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SegmentFilesBody {
    pub binlogs: Vec<FieldLogsBody>,
    pub deltalogs: Vec<FieldLogsBody>,
    pub statslogs: Vec<FieldLogsBody>,
    pub bm25_statslogs: Vec<FieldLogsBody>,
    pub text_index_files: Vec<FieldIndexFilesBody>,
    pub json_key_index_files: Vec<FieldIndexFilesBody>,
}

impl SegmentFilesBody {
    pub fn into_files(self) -> SegmentFiles {
        let logs = |groups: Vec<FieldLogsBody>| groups.into_iter().map(field_logs).collect();
        let indexes = |groups: Vec<FieldIndexFilesBody>| groups.into_iter().map(field_index_files).collect();
        SegmentFiles {
            binlogs: logs(self.binlogs),
            deltalogs: logs(self.deltalogs),
            statslogs: logs(self.statslogs),
            bm25_statslogs: logs(self.bm25_statslogs),
            text_index_files: indexes(self.text_index_files),
            json_key_index_files: indexes(self.json_key_index_files),
        }
    }

    fn of(files: &SegmentFiles) -> Self {
        let logs = |groups: &[FieldLogs]| groups.iter().map(field_logs_body).collect();
        let indexes = |groups: &[FieldIndexFiles]| groups.iter().map(field_index_files_body).collect();
        Self {
            binlogs: logs(&files.binlogs),
            deltalogs: logs(&files.deltalogs),
            statslogs: logs(&files.statslogs),
            bm25_statslogs: logs(&files.bm25_statslogs),
            text_index_files: indexes(&files.text_index_files),
            json_key_index_files: indexes(&files.json_key_index_files),
        }
    }
}

fn file(body: FileBody) -> File {
    File {
        path: body.path,
        size_bytes: body.size_bytes.bytes(),
        etag: None,
    }
}

fn file_body(file: &File) -> FileBody {
    FileBody {
        path: file.path.clone(),
        size_bytes: Count::of(file.size_bytes),
        etag: file.etag.clone(),
    }
}

fn field_logs(body: FieldLogsBody) -> FieldLogs {
    let log = |l: LogBody| Log {
        log_id: l.log_id.0,
        file: File {
            path: l.path,
            size_bytes: l.size_bytes.bytes(),
            etag: None,
        },
        entries_num: l.entries_num.0,
        timestamp_from: l.timestamp_from.0,
        timestamp_to: l.timestamp_to.0,
        memory_size: l.memory_size.0,
    };
    FieldLogs {
        field_id: body.field_id.0,
        child_fields: body.child_fields.iter().map(|f| f.0).collect(),
        format: body.format,
        logs: body.logs.into_iter().map(log).collect(),
    }
}

fn field_logs_body(logs: &FieldLogs) -> FieldLogsBody {
    let body = |l: &Log| LogBody {
        log_id: Id(l.log_id),
        path: l.file.path.clone(),
        size_bytes: Count::of(l.file.size_bytes),
        entries_num: Count(l.entries_num),
        timestamp_from: Id(l.timestamp_from),
        timestamp_to: Id(l.timestamp_to),
        memory_size: Count(l.memory_size),
        etag: l.file.etag.clone(),
    };
    FieldLogsBody {
        field_id: Id(logs.field_id),
        child_fields: logs.child_fields.iter().map(|f| Id(*f)).collect(),
        format: logs.format.clone(),
        logs: logs.logs.iter().map(body).collect(),
    }
}

fn field_index_files(body: FieldIndexFilesBody) -> FieldIndexFiles {
    FieldIndexFiles {
        field_id: body.field_id.0,
        version: body.version.0,
        build_id: body.build_id.0,
        memory_size: body.memory_size.0,
        data_format: body.json_key_stats_data_format.0,
        files: body.files.into_iter().map(file).collect(),
    }
}

fn field_index_files_body(files: &FieldIndexFiles) -> FieldIndexFilesBody {
    FieldIndexFilesBody {
        field_id: Id(files.field_id),
        version: Count(files.version),
        build_id: Id(files.build_id),
        memory_size: Count(files.memory_size),
        json_key_stats_data_format: Count(files.data_format),
        files: files.files.iter().map(file_body).collect(),
    }
}

/// The files of one index on one segment. A request names the index by `index_id` or
/// `index_name`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"build_id": "470644622232001213", "index_id": "470644622232001212", "index_name": "vec_hnsw", "field_id": "104", "index_version": 1, "current_index_version": 1, "num_rows": 4013, "serialized_size_bytes": 2113148, "files": [{"path": "index_files/470644622232001213/1/470644622231601174/470644622231801182/HNSW", "size_bytes": 2113148}]})))]
pub struct IndexBuildBody {
    pub build_id: Id,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index_id: Option<Id>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field_id: Option<Id>,
    /// Those of the index when absent.
    #[serde(default)]
    pub index_params: BTreeMap<String, String>,
    #[serde(default)]
    pub index_version: Count,
    #[serde(default)]
    pub num_rows: Count,
    #[serde(default)]
    pub current_index_version: i32,
    #[serde(default)]
    pub current_scalar_index_version: i32,
    #[serde(default)]
    pub index_store_path_version: i32,
    /// Bytes as the engine counts them; 0: the sum of the files.
    #[serde(default)]
    pub serialized_size_bytes: Count,
    /// Bytes when loaded; 0: unknown.
    #[serde(default)]
    pub mem_size: Count,
    pub files: Vec<FileBody>,
}

impl IndexBuildBody {
    pub fn into_new(self) -> NewBuild {
        NewBuild {
            build_id: BuildId(self.build_id.0),
            index_id: self.index_id.map(|i| IndexId(i.0)),
            index_name: self.index_name.clone(),
            content: BuildContent {
                field_id: self.field_id.map_or(0, |f| f.0),
                index_name: self.index_name.unwrap_or_default(),
                index_params: self.index_params.into_iter().collect(),
                index_version: self.index_version.0,
                num_rows: self.num_rows.0,
                current_index_version: self.current_index_version,
                current_scalar_index_version: self.current_scalar_index_version,
                index_store_path_version: self.index_store_path_version,
                serialized_size: self.serialized_size_bytes.bytes(),
                mem_size: self.mem_size.bytes(),
                files: self.files.into_iter().map(file).collect(),
            },
        }
    }

    pub fn of(build: &IndexBuild) -> Self {
        let content = &build.content;
        Self {
            build_id: Id(build.build_id.0),
            index_id: Some(Id(build.index_id.0)),
            index_name: Some(content.index_name.clone()),
            field_id: Some(Id(content.field_id)),
            index_params: content.index_params.iter().cloned().collect(),
            index_version: Count(content.index_version),
            num_rows: Count(content.num_rows),
            current_index_version: content.current_index_version,
            current_scalar_index_version: content.current_scalar_index_version,
            index_store_path_version: content.index_store_path_version,
            serialized_size_bytes: Count::of(content.serialized_size),
            mem_size: Count::of(content.mem_size),
            files: content.files.iter().map(file_body).collect(),
        }
    }
}

/// State of a segment. A request may not say `dropped` or `condemned`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SegmentStateText {
    Importing,
    Growing,
    Sealed,
    Flushed,
    Dropped,
    Condemned,
}

impl From<SegmentStateText> for SegmentState {
    fn from(text: SegmentStateText) -> Self {
        match text {
            SegmentStateText::Importing => SegmentState::Importing,
            SegmentStateText::Growing => SegmentState::Growing,
            SegmentStateText::Sealed => SegmentState::Sealed,
            SegmentStateText::Flushed => SegmentState::Flushed,
            SegmentStateText::Dropped => SegmentState::Dropped,
            SegmentStateText::Condemned => SegmentState::Condemned,
        }
    }
}

impl From<SegmentState> for SegmentStateText {
    fn from(state: SegmentState) -> Self {
        match state {
            SegmentState::Importing => SegmentStateText::Importing,
            SegmentState::Growing => SegmentStateText::Growing,
            SegmentState::Sealed => SegmentStateText::Sealed,
            SegmentState::Flushed => SegmentStateText::Flushed,
            SegmentState::Dropped => SegmentStateText::Dropped,
            SegmentState::Condemned => SegmentStateText::Condemned,
        }
    }
}

/// Level of a segment; `L0` holds deletes only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum LevelText {
    Legacy,
    L0,
    L1,
    L2,
}

/// A segment. A request names the partition by `partition_id` or `partition_name`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({
    "segment_id": "470644622231801182", "partition_name": "_default", "channel_name": "by-dev-rootcoord-dml_1_470644622231601173v1",
    "num_of_rows": 4013, "state": "flushed", "level": "L1", "start_position": {"timestamp": "470644623040053258"},
    "binlogs": [{"field_id": "100", "logs": [{"log_id": "470644622231801222", "path": "insert_log/470644622231601173/470644622231601174/470644622231801182/100/470644622231801222", "size_bytes": 13854, "entries_num": 4013, "timestamp_from": "470644623079374851", "timestamp_to": "470644623197339649"}]}]
})))]
pub struct SegmentBody {
    pub segment_id: Id,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition_id: Option<PartitionIdText>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition_name: Option<String>,
    pub channel_name: String,
    /// Rows, deletes not subtracted.
    pub num_of_rows: Count,
    #[serde(default = "flushed")]
    pub state: SegmentStateText,
    #[serde(default = "level_1")]
    pub level: LevelText,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_position: Option<PositionBody>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dml_position: Option<PositionBody>,
    #[serde(default)]
    pub storage_version: Count,
    #[serde(default)]
    pub is_sorted: bool,
    /// Hybrid timestamp that replaces the start position's when it is not zero.
    #[serde(default = "zero")]
    pub commit_timestamp: Id,
    /// Manifest of storage version 2.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub manifest_path: String,
    #[serde(default)]
    pub binlogs: Vec<FieldLogsBody>,
    #[serde(default)]
    pub deltalogs: Vec<FieldLogsBody>,
    #[serde(default)]
    pub statslogs: Vec<FieldLogsBody>,
    #[serde(default)]
    pub bm25_statslogs: Vec<FieldLogsBody>,
    #[serde(default)]
    pub text_index_files: Vec<FieldIndexFilesBody>,
    #[serde(default)]
    pub json_key_index_files: Vec<FieldIndexFilesBody>,
    #[serde(default)]
    pub index_builds: Vec<IndexBuildBody>,
    /// Version of the file list; grows when files are appended. Ignored in requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<i32>,
    /// Files and bytes, index files included. Ignored in requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_count: Option<Count>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<Count>,
    /// When it was registered. Ignored in requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<String>,
}

fn flushed() -> SegmentStateText {
    SegmentStateText::Flushed
}

fn level_1() -> LevelText {
    LevelText::L1
}

impl SegmentBody {
    /// # Errors
    /// `invalid_request` at the pointer.
    pub fn into_new(self, at: &str) -> Result<NewSegment> {
        let partition = match (self.partition_id, self.partition_name) {
            (Some(id), None) => PartitionRef::Id(PartitionId(id.0)),
            (None, Some(name)) => PartitionRef::Name(name),
            (None, None) => {
                return Err(Error::invalid(
                    format!("{at}/partition_id"),
                    "partition_id or partition_name is required",
                ));
            }
            (Some(_), Some(_)) => {
                return Err(Error::invalid(
                    format!("{at}/partition_name"),
                    "give partition_id or partition_name, not both",
                ));
            }
        };
        let position = |body: Option<PositionBody>, key: &str| match body {
            Some(body) => body.into_segment_position(&self.channel_name, &format!("{at}/{key}")),
            None => Ok(SegmentPosition::default()),
        };
        let content = SegmentContent {
            start_position: position(self.start_position, "start_position")?,
            dml_position: position(self.dml_position, "dml_position")?,
            storage_version: self.storage_version.0,
            is_sorted: self.is_sorted,
            manifest_path: self.manifest_path,
            files: SegmentFilesBody {
                binlogs: self.binlogs,
                deltalogs: self.deltalogs,
                statslogs: self.statslogs,
                bm25_statslogs: self.bm25_statslogs,
                text_index_files: self.text_index_files,
                json_key_index_files: self.json_key_index_files,
            }
            .into_files(),
        };
        let segment = Segment {
            segment_id: SegmentId(self.segment_id.0),
            collection_id: CollectionId(0),
            partition_id: PartitionId(0),
            channel_name: self.channel_name,
            level: match self.level {
                LevelText::Legacy => Level::Legacy,
                LevelText::L0 => Level::L0,
                LevelText::L1 => Level::L1,
                LevelText::L2 => Level::L2,
            },
            state: self.state.into(),
            version: 1,
            num_of_rows: self.num_of_rows.0,
            commit_timestamp: self.commit_timestamp.0,
            content,
            created_at: time::OffsetDateTime::UNIX_EPOCH,
        };
        let builds = self.index_builds.into_iter().map(IndexBuildBody::into_new).collect();
        Ok(NewSegment {
            segment,
            partition,
            builds,
        })
    }

    pub fn of(segment: &Segment, builds: &[IndexBuild]) -> Self {
        let content = &segment.content;
        let files = SegmentFilesBody::of(&content.files);
        let index_files: usize = builds.iter().map(|b| b.content.files.len()).sum();
        let index_bytes: u64 = builds.iter().map(|b| b.content.size_bytes()).sum();
        Self {
            segment_id: Id(segment.segment_id.0),
            partition_id: Some(PartitionIdText(segment.partition_id.0)),
            partition_name: None,
            channel_name: segment.channel_name.clone(),
            num_of_rows: Count(segment.num_of_rows),
            state: segment.state.into(),
            level: match segment.level {
                Level::Legacy => LevelText::Legacy,
                Level::L0 => LevelText::L0,
                Level::L1 => LevelText::L1,
                Level::L2 => LevelText::L2,
            },
            start_position: position_body(&content.start_position),
            dml_position: position_body(&content.dml_position),
            storage_version: Count(content.storage_version),
            is_sorted: content.is_sorted,
            commit_timestamp: Id(segment.commit_timestamp),
            manifest_path: content.manifest_path.clone(),
            binlogs: files.binlogs,
            deltalogs: files.deltalogs,
            statslogs: files.statslogs,
            bm25_statslogs: files.bm25_statslogs,
            text_index_files: files.text_index_files,
            json_key_index_files: files.json_key_index_files,
            index_builds: builds.iter().map(IndexBuildBody::of).collect(),
            version: Some(segment.version),
            file_count: Some(Count((content.files.count() + index_files) as i64)),
            size_bytes: Some(Count::of(content.files.size_bytes().saturating_add(index_bytes))),
            created_at: Some(rfc3339(segment.created_at)),
        }
    }
}
