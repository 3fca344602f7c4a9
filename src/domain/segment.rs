//! Segments and their files.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::collection::Position;
use super::id::{BuildId, CollectionId, FieldId, PartitionId, SegmentId};

/// Life of a segment: `importing | growing -> sealed -> flushed -> dropped -> condemned`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SegmentState {
    /// Its files are being written by a bulk import or a restore.
    Importing,
    /// It takes rows.
    Growing,
    /// It takes no more rows and waits for the engine to flush it.
    Sealed,
    /// All its rows are in files.
    Flushed,
    /// Dropped by compaction or with its partition or collection.
    Dropped,
    /// The collector is deleting its files.
    Condemned,
}

impl SegmentState {
    pub fn as_str(self) -> &'static str {
        match self {
            SegmentState::Importing => "importing",
            SegmentState::Growing => "growing",
            SegmentState::Sealed => "sealed",
            SegmentState::Flushed => "flushed",
            SegmentState::Dropped => "dropped",
            SegmentState::Condemned => "condemned",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [
            Self::Importing,
            Self::Growing,
            Self::Sealed,
            Self::Flushed,
            Self::Dropped,
            Self::Condemned,
        ]
        .into_iter()
        .find(|s| s.as_str() == text)
    }

    /// Whether the engine may move a segment from this state to that one.
    pub fn may_become(self, next: SegmentState) -> bool {
        use SegmentState::{Flushed, Growing, Importing, Sealed};
        self == next
            || matches!(
                (self, next),
                (Growing, Sealed | Flushed) | (Sealed, Flushed) | (Importing, Flushed)
            )
    }
}

/// Level of a segment; numbers are Milvus' (facts §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Level {
    Legacy,
    /// Deletes only.
    L0,
    L1,
    L2,
}

impl Level {
    pub const ALL: [Level; 4] = [Level::Legacy, Level::L0, Level::L1, Level::L2];

    pub fn as_str(self) -> &'static str {
        match self {
            Level::Legacy => "Legacy",
            Level::L0 => "L0",
            Level::L1 => "L1",
            Level::L2 => "L2",
        }
    }

    pub fn number(self) -> i64 {
        self as i64
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|l| l.as_str() == text)
    }
}

/// A file in object storage, by its path relative to the storage root.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct File {
    pub path: String,
    pub size_bytes: u64,
    /// The ETag seen at registration, where the store gives one.
    pub etag: Option<String>,
}

/// Whether an ETag has the form of an MD5 sum of the whole content; one of a multipart upload has
/// not. On an encrypted object it may have the form and still be none.
pub fn is_md5(etag: &str) -> bool {
    etag.len() == 32 && etag.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// One log file of a field.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Log {
    pub log_id: i64,
    pub file: File,
    pub entries_num: i64,
    /// Hybrid timestamps of the first and last entry.
    pub timestamp_from: i64,
    pub timestamp_to: i64,
    /// Bytes when loaded; 0: unknown.
    pub memory_size: i64,
}

/// The log files of one field (or column group).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FieldLogs {
    pub field_id: i64,
    pub child_fields: Vec<i64>,
    pub format: String,
    pub logs: Vec<Log>,
}

/// A text index or JSON key index of a field on a segment.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FieldIndexFiles {
    pub field_id: i64,
    pub version: i64,
    pub build_id: i64,
    pub memory_size: i64,
    /// `json_key_stats_data_format`; zero for a text index.
    pub data_format: i64,
    pub files: Vec<File>,
}

impl FieldIndexFiles {
    pub fn log_size(&self) -> u64 {
        self.files.iter().map(|f| f.size_bytes).sum()
    }
}

/// The files of a segment, index files excluded.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SegmentFiles {
    pub binlogs: Vec<FieldLogs>,
    pub deltalogs: Vec<FieldLogs>,
    pub statslogs: Vec<FieldLogs>,
    pub bm25_statslogs: Vec<FieldLogs>,
    pub text_index_files: Vec<FieldIndexFiles>,
    pub json_key_index_files: Vec<FieldIndexFiles>,
}

impl SegmentFiles {
    fn log_groups(&self) -> impl Iterator<Item = &FieldLogs> {
        self.binlogs
            .iter()
            .chain(&self.deltalogs)
            .chain(&self.statslogs)
            .chain(&self.bm25_statslogs)
    }

    fn index_groups(&self) -> impl Iterator<Item = &FieldIndexFiles> {
        self.text_index_files.iter().chain(&self.json_key_index_files)
    }

    /// Every file once, with the build id of text and JSON key indexes.
    pub fn files(&self) -> impl Iterator<Item = (&File, Option<BuildId>)> {
        let logs = self.log_groups().flat_map(|g| g.logs.iter().map(|l| (&l.file, None)));
        logs.chain(
            self.index_groups()
                .flat_map(|g| g.files.iter().map(|f| (f, Some(BuildId(g.build_id))))),
        )
    }

    /// Every file, to be changed in place.
    pub fn files_mut(&mut self) -> impl Iterator<Item = (&mut File, Option<BuildId>)> {
        let logs = self
            .binlogs
            .iter_mut()
            .chain(&mut self.deltalogs)
            .chain(&mut self.statslogs)
            .chain(&mut self.bm25_statslogs);
        let indexes = self.text_index_files.iter_mut().chain(&mut self.json_key_index_files);
        logs.flat_map(|g| g.logs.iter_mut().map(|l| (&mut l.file, None)))
            .chain(indexes.flat_map(|g| {
                let build = BuildId(g.build_id);
                g.files.iter_mut().map(move |f| (f, Some(build)))
            }))
    }

    /// Field ids that have logs or indexes.
    pub fn field_ids(&self) -> impl Iterator<Item = FieldId> {
        let children = self.binlogs.iter().flat_map(|g| g.child_fields.iter().copied());
        let rows = self.binlogs.iter().filter(|g| g.child_fields.is_empty()).map(|g| g.field_id);
        let stats = self.statslogs.iter().chain(&self.bm25_statslogs).map(|g| g.field_id);
        rows.chain(children)
            .chain(stats)
            .chain(self.index_groups().map(|g| g.field_id))
            .map(FieldId)
    }

    /// Build ids of text and JSON key indexes; zero means none and is left out.
    pub fn build_ids(&self) -> impl Iterator<Item = BuildId> {
        self.index_groups().map(|g| g.build_id).filter(|id| *id != 0).map(BuildId)
    }

    /// Whether there is an insert or a delete file: what a snapshot asks of a segment.
    pub fn has_data(&self) -> bool {
        self.binlogs.iter().chain(&self.deltalogs).any(|g| !g.logs.is_empty())
    }

    pub fn count(&self) -> usize {
        self.files().count()
    }

    pub fn size_bytes(&self) -> u64 {
        // what was registered unseen may be anything
        self.files().fold(0, |sum, (f, _)| sum.saturating_add(f.size_bytes))
    }

    /// Adds the files of another set; logs of a field that is there join its group.
    pub fn append(&mut self, more: SegmentFiles) {
        for (mine, theirs) in [
            (&mut self.binlogs, more.binlogs),
            (&mut self.deltalogs, more.deltalogs),
            (&mut self.statslogs, more.statslogs),
            (&mut self.bm25_statslogs, more.bm25_statslogs),
        ] {
            for group in theirs {
                match mine
                    .iter_mut()
                    .find(|g| g.field_id == group.field_id && g.child_fields == group.child_fields)
                {
                    Some(known) => known.logs.extend(group.logs),
                    None => mine.push(group),
                }
            }
        }
        self.text_index_files.extend(more.text_index_files);
        self.json_key_index_files.extend(more.json_key_index_files);
    }
}

/// A channel position as a segment carries it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SegmentPosition {
    pub channel_name: String,
    pub position: Position,
}

/// What a segment version is made of: everything that a manifest says about it but its ids,
/// rows, level and index builds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SegmentContent {
    pub start_position: SegmentPosition,
    pub dml_position: SegmentPosition,
    pub storage_version: i64,
    pub is_sorted: bool,
    pub manifest_path: String,
    pub files: SegmentFiles,
}

/// A segment.
#[derive(Debug, Clone, PartialEq)]
pub struct Segment {
    pub segment_id: SegmentId,
    pub collection_id: CollectionId,
    pub partition_id: PartitionId,
    pub channel_name: String,
    pub level: Level,
    pub state: SegmentState,
    /// The version of `content`.
    pub version: i32,
    pub num_of_rows: i64,
    /// Hybrid timestamp that replaces the start position's when it is not zero.
    pub commit_timestamp: i64,
    pub content: SegmentContent,
    pub created_at: OffsetDateTime,
}

impl Segment {
    /// The hybrid timestamp by which a snapshot judges the segment.
    pub fn effective_timestamp(&self) -> i64 {
        if self.commit_timestamp != 0 {
            self.commit_timestamp
        } else {
            self.content.start_position.position.timestamp
        }
    }
}
