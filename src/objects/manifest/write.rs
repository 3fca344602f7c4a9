//! Writing of the datum of a manifest: version 4 of Milvus' format, field by field in the order
//! of [`super::versions`] (facts §4.3).

use crate::domain::index::IndexBuild;
use crate::domain::manifest::Manifest;
use crate::domain::segment::{FieldIndexFiles, FieldLogs, SegmentPosition};

/// Avro's binary encoding.
pub(super) struct Writer<'a> {
    bytes: Vec<u8>,
    root: &'a str,
    longest_key: usize,
}

impl<'a> Writer<'a> {
    pub(super) fn new(root: &'a str, capacity: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(capacity),
            root,
            longest_key: 0,
        }
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// An int or a long: a zig-zag varint.
    pub(super) fn long(&mut self, value: i64) {
        let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
        while rest >= 0x80 {
            self.bytes.push((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        self.bytes.push(rest as u8);
    }

    /// A size; Avro has no unsigned integers, and no object has 2^63 bytes.
    fn size(&mut self, value: u64) {
        self.long(i64::try_from(value).unwrap_or(i64::MAX));
    }

    fn length(&mut self, value: usize) {
        self.size(value as u64);
    }

    pub(super) fn bytes(&mut self, value: &[u8]) {
        self.length(value.len());
        self.raw(value);
    }

    pub(super) fn text(&mut self, value: &str) {
        self.bytes(value.as_bytes());
    }

    /// A path, as the full key under the root.
    fn key(&mut self, path: &str) {
        let root = self.root.as_bytes();
        let slash: &[u8] = if root.is_empty() { b"" } else { b"/" };
        let length = root.len() + slash.len() + path.len();
        self.longest_key = self.longest_key.max(length);
        self.length(length);
        self.raw(root);
        self.raw(slash);
        self.raw(path.as_bytes());
    }

    fn list<T>(&mut self, items: &[T], mut write: impl FnMut(&mut Self, &T)) {
        if !items.is_empty() {
            self.length(items.len());
            for item in items {
                write(self, item);
            }
        }
        self.long(0);
    }

    fn position(&mut self, position: &SegmentPosition) {
        self.text(&position.channel_name);
        self.bytes(&position.position.msg_id);
        self.text(&position.position.msg_group);
        self.long(position.position.timestamp);
    }

    fn field_logs(&mut self, groups: &[FieldLogs]) {
        self.list(groups, |w, group| {
            w.long(group.field_id);
            w.list(&group.child_fields, |w, id| w.long(*id));
            w.text(&group.format);
            w.list(&group.logs, |w, log| {
                w.long(log.entries_num);
                w.long(log.timestamp_from);
                w.long(log.timestamp_to);
                w.key(&log.file.path);
                w.size(log.file.size_bytes);
                w.long(log.log_id);
                w.long(log.memory_size);
            });
        });
    }

    fn index_build(&mut self, build: &IndexBuild) {
        let content = &build.content;
        self.long(build.segment_id.0);
        self.long(content.field_id);
        self.long(build.index_id.0);
        self.long(build.build_id.0);
        self.text(&content.index_name);
        self.list(&content.index_params, |w, (key, value)| {
            w.text(key);
            w.text(value);
        });
        self.list(&content.files, |w, file| w.key(&file.path));
        self.size(match content.serialized_size {
            0 => content.size_bytes(),
            size => size,
        });
        self.long(content.index_version);
        self.long(content.num_rows);
        self.long(content.current_index_version.into());
        self.size(content.mem_size);
        self.long(content.current_scalar_index_version.into());
        self.long(content.index_store_path_version.into());
    }

    /// Text index files, or JSON key index files, which have one number more.
    fn field_indexes(&mut self, indexes: &[FieldIndexFiles], json: bool) {
        self.list(indexes, |w, index| {
            w.long(index.field_id);
            w.long(index.field_id);
            w.long(index.version);
            w.list(&index.files, |w, file| w.key(&file.path));
            w.size(index.log_size());
            w.long(index.memory_size);
            w.long(index.build_id);
            if json {
                w.long(index.data_format);
            }
        });
    }
}

/// The datum of a manifest, and the bytes of the longest key in it.
pub(super) fn datum(manifest: &Manifest, root: &str) -> (Vec<u8>, usize) {
    let (segment, content, files) = (&manifest.segment, &manifest.segment.content, &manifest.segment.content.files);
    // no more than a guess: a reallocation costs little
    let count = files.count() + manifest.builds.iter().map(|b| b.content.files.len()).sum::<usize>();
    let mut w = Writer::new(root, 1024 + count * 192);
    w.long(segment.segment_id.0);
    w.long(segment.partition_id.0);
    w.long(segment.level.number());
    w.text(&segment.channel_name);
    w.long(segment.num_of_rows);
    w.position(&content.start_position);
    w.position(&content.dml_position);
    w.long(content.storage_version);
    w.raw(&[u8::from(content.is_sorted)]);
    w.long(segment.commit_timestamp);
    w.field_logs(&files.binlogs);
    w.field_logs(&files.deltalogs);
    w.field_logs(&files.statslogs);
    w.field_logs(&files.bm25_statslogs);
    w.list(&manifest.builds, Writer::index_build);
    w.field_indexes(&files.text_index_files, false);
    w.field_indexes(&files.json_key_index_files, true);
    (w.bytes, w.longest_key)
}
