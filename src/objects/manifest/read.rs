//! From what a manifest says to the domain: every id, size and key is checked on the way.

use time::OffsetDateTime;

use super::wire::{Entry, FieldBinlog, FieldStats, IndexFiles, Position};
use crate::domain::id::{BuildId, CollectionId, IndexId, PartitionId, SegmentId};
use crate::domain::index::{BuildContent, IndexBuild};
use crate::domain::manifest::Manifest;
use crate::domain::segment::{
    FieldIndexFiles, FieldLogs, File, Level, Log, Segment, SegmentContent, SegmentFiles, SegmentPosition, SegmentState,
};
use crate::domain::{Result, collection};
use crate::objects::stored::{corrupt, strip_root};

/// The manifest that an entry describes, with paths relative to the root.
///
/// # Errors
/// `corrupt_snapshot`, with the place: an id, count or size is negative, a level unknown, a key
/// bad, or an index build belongs to another segment.
pub(super) fn manifest(entry: Entry, root: &str, collection_id: CollectionId) -> Result<Manifest> {
    let segment_id = natural("segment_id", entry.segment_id)?;
    let partition_id = match entry.partition_id {
        -1 => -1,
        id => natural("partition_id", id)?,
    };
    let level = Level::ALL.into_iter().find(|level| level.number() == entry.segment_level);
    let level = level.ok_or_else(|| corrupt(format_args!("segment_level {} is unknown", entry.segment_level)))?;
    if entry.delete_apply_start_after_timetick != 0 {
        // left out, it would let deletes apply that must not
        return Err(corrupt(format_args!(
            "delete_apply_start_after_timetick is {}, which is not supported",
            entry.delete_apply_start_after_timetick
        )));
    }
    let files = SegmentFiles {
        binlogs: logs("binlog_files", entry.binlog_files, root)?,
        deltalogs: logs("deltalog_files", entry.deltalog_files, root)?,
        statslogs: logs("statslog_files", entry.statslog_files, root)?,
        bm25_statslogs: logs("bm25_statslog_files", entry.bm25_statslog_files, root)?,
        text_index_files: field_indexes("text_index_files", entry.text_index_files, root)?,
        json_key_index_files: field_indexes("json_key_index_files", entry.json_key_index_files, root)?,
    };
    let builds = entry.index_files.into_iter().map(|index| build(index, segment_id, root));
    Ok(Manifest {
        builds: builds.collect::<Result<_>>()?,
        segment: Segment {
            segment_id: SegmentId(segment_id),
            collection_id,
            partition_id: PartitionId(partition_id),
            channel_name: entry.channel_name.to_string(),
            level,
            state: SegmentState::Flushed,
            version: 1,
            num_of_rows: natural("num_of_rows", entry.num_of_rows)?,
            commit_timestamp: entry.commit_timestamp,
            content: SegmentContent {
                start_position: position(&entry.start_position),
                dml_position: position(&entry.dml_position),
                storage_version: natural("storage_version", entry.storage_version)?,
                is_sorted: entry.is_sorted,
                manifest_path: String::new(),
                files,
            },
            created_at: OffsetDateTime::UNIX_EPOCH,
        },
    })
}

/// A value that can't be negative.
fn natural(what: &str, value: i64) -> Result<i64> {
    if value < 0 {
        return Err(corrupt(format_args!("{what} is {value}, it must not be negative")));
    }
    Ok(value)
}

fn size(what: &str, value: i64) -> Result<u64> {
    natural(what, value).map(i64::cast_unsigned)
}

fn file(what: &str, key: &str, size_bytes: u64, root: &str) -> Result<File> {
    Ok(File {
        path: strip_root(root, what, key)?.to_string(),
        size_bytes,
        etag: None,
    })
}

/// Files of which the manifest tells no sizes.
fn files(what: &str, keys: Vec<&str>, root: &str) -> Result<Vec<File>> {
    keys.into_iter().map(|key| file(what, key, 0, root)).collect()
}

fn position(position: &Position) -> SegmentPosition {
    SegmentPosition {
        channel_name: position.channel_name.to_string(),
        position: collection::Position {
            timestamp: position.timestamp,
            msg_id: position.msg_id.to_vec(),
            msg_group: position.msg_group.to_string(),
        },
    }
}

fn logs(list: &str, groups: Vec<FieldBinlog>, root: &str) -> Result<Vec<FieldLogs>> {
    let groups = groups.into_iter().map(|group| {
        for id in &group.child_fields {
            natural("child_fields", *id)?;
        }
        let logs = group.binlogs.into_iter().map(|log| {
            Ok(Log {
                log_id: natural("log_id", log.log_id)?,
                file: file("log_path", log.log_path, size("log_size", log.log_size)?, root)?,
                entries_num: natural("entries_num", log.entries_num)?,
                timestamp_from: log.timestamp_from,
                timestamp_to: log.timestamp_to,
                memory_size: natural("memory_size", log.memory_size)?,
            })
        });
        Ok(FieldLogs {
            field_id: natural("field_id", group.field_id)?,
            child_fields: group.child_fields,
            format: group.format.to_string(),
            logs: logs.collect::<Result<_>>()?,
        })
    });
    groups
        .collect::<Result<_>>()
        .map_err(|e| corrupt(format_args!("{list}: {e}")))
}

fn build(index: IndexFiles, segment_id: i64, root: &str) -> Result<IndexBuild> {
    let build = || {
        if index.segment_id != segment_id {
            return Err(corrupt(format_args!("segment_id is {}, not {segment_id}", index.segment_id)));
        }
        if index.is_nested_index {
            // left out, the index would be taken for one of plain values
            return Err(corrupt(format_args!(
                "build {} has is_nested_index, which is not supported",
                index.build_id
            )));
        }
        let pairs = index
            .index_params
            .iter()
            .map(|pair| (pair.key.to_string(), pair.value.to_string()));
        Ok(IndexBuild {
            build_id: BuildId(natural("build_id", index.build_id)?),
            segment_id: SegmentId(segment_id),
            index_id: IndexId(natural("index_id", index.index_id)?),
            content: BuildContent {
                field_id: natural("field_id", index.field_id)?,
                index_name: index.index_name.to_string(),
                index_params: pairs.collect(),
                index_version: natural("index_version", index.index_version)?,
                num_rows: natural("num_rows", index.num_rows)?,
                current_index_version: index.current_index_version,
                current_scalar_index_version: index.current_scalar_index_version,
                index_store_path_version: index.index_store_path_version,
                serialized_size: size("serialized_size", index.serialized_size)?,
                mem_size: size("mem_size", index.mem_size)?,
                files: files("index_file_paths", index.index_file_paths, root)?,
            },
        })
    };
    build().map_err(|e| corrupt(format_args!("index_files: {e}")))
}

fn field_indexes(list: &str, entries: Vec<FieldStats>, root: &str) -> Result<Vec<FieldIndexFiles>> {
    let indexes = entries.into_iter().map(|entry| {
        let stats = entry.stats;
        if stats.field_id != entry.field_id {
            return Err(corrupt(format_args!(
                "field_id is {} and {} in one entry",
                entry.field_id, stats.field_id
            )));
        }
        natural("log_size", stats.log_size)?;
        Ok(FieldIndexFiles {
            field_id: natural("field_id", stats.field_id)?,
            version: natural("version", stats.version)?,
            build_id: natural("build_id", stats.build_id)?,
            memory_size: natural("memory_size", stats.memory_size)?,
            data_format: natural("json_key_stats_data_format", stats.json_key_stats_data_format)?,
            files: files("files", stats.files, root)?,
        })
    });
    indexes
        .collect::<Result<_>>()
        .map_err(|e| corrupt(format_args!("{list}: {e}")))
}
