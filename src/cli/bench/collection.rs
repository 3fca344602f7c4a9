//! A made-up collection. Names follow from numbers, so that a million files need no memory.

use rand::RngCore as _;
use serde_json::{Value, json};

use crate::objects::{Directories, Expected, Objects};

/// The collection that is restored.
pub const NAME: &str = "bench";
const COLLECTION: u64 = 1000;
const PARTITION: u64 = 1001;
const CHANNEL: &str = "bench-dml_0_1000v0";
/// Bytes written by one call at most, and files.
const WRITE_BYTES: u64 = 64 * 1024 * 1024;
const WRITE_FILES: u64 = 4096;
/// Files registered by one request.
const REGISTER_FILES: u64 = 20_000;

/// Its shape.
#[derive(Debug, Clone, Copy)]
pub struct Collection {
    pub files: u64,
    pub file_size: u64,
    segment_files: u64,
}

impl Collection {
    pub fn new(files: u64, file_size: u64, segment_files: u64) -> Self {
        Self {
            files,
            file_size,
            segment_files,
        }
    }

    pub fn segments(&self) -> u64 {
        self.files.div_ceil(self.segment_files)
    }

    pub fn bytes(&self) -> u64 {
        self.files * self.file_size
    }

    /// The directory of its data files; ends in a slash.
    pub fn directory(collection: &str) -> String {
        format!("insert_log/{collection}/")
    }

    /// Its own directory.
    pub fn source_directory() -> String {
        Self::directory(&COLLECTION.to_string())
    }

    /// The directories that hold the files of its segments below one like [`Self::directory`].
    pub fn segment_directories(&self, directory: &str) -> Directories {
        let counted = |n: u64| usize::try_from(self.segment_files.min(self.files - n * self.segment_files)).unwrap_or(usize::MAX);
        let named = |n: u64| {
            let expected = Expected::inside(counted(n));
            (format!("{directory}{PARTITION}/{}/100/", 1_000_000 + n), expected)
        };
        (0..self.segments()).map(named).collect()
    }

    /// The path of a file below the directory of its collection.
    pub fn name(&self, file: u64) -> String {
        let segment = 1_000_000 + file / self.segment_files;
        format!("{PARTITION}/{segment}/100/{}", 10_000_000 + file)
    }

    fn path(&self, file: u64) -> String {
        format!("{}{}", Self::source_directory(), self.name(file))
    }

    /// Writes every file, with bytes that can't be compressed.
    ///
    /// # Errors
    /// Storage errors.
    pub async fn write(&self, objects: &Objects) -> anyhow::Result<()> {
        let mut bytes = vec![0; usize::try_from(self.file_size)?];
        rand::rng().fill_bytes(&mut bytes);
        let step = (WRITE_BYTES / self.file_size.max(1)).clamp(1, WRITE_FILES);
        for first in (0..self.files).step_by(usize::try_from(step)?) {
            let files = first..(first + step).min(self.files);
            let content = |file: u64| {
                // no two are the same
                let mut bytes = bytes.clone();
                bytes.iter_mut().zip(file.to_le_bytes()).for_each(|(byte, n)| *byte ^= n);
                (self.path(file), bytes)
            };
            objects.put_many(files.map(content).collect()).await?;
        }
        Ok(())
    }

    /// The request that registers it.
    pub fn body() -> Value {
        json!({
            "name": NAME, "collection_id": COLLECTION.to_string(),
            "fields": [
                {"field_id": "100", "name": "id", "data_type": "Int64", "is_primary_key": true},
                {"field_id": "101", "name": "vec", "data_type": "FloatVector", "type_params": {"dim": "128"}}],
            "partitions": [{"partition_id": PARTITION.to_string(), "name": "_default"}],
            "channels": [{"channel_name": CHANNEL, "seek_position": {"timestamp": "1000"}}]
        })
    }

    /// The requests that register its segments.
    pub fn segment_bodies(&self) -> impl Iterator<Item = Value> + '_ {
        let step = (REGISTER_FILES / self.segment_files).max(1);
        let steps = (0..self.segments()).step_by(usize::try_from(step).unwrap_or(1));
        steps.map(move |first| {
            let segments: Vec<Value> = (first..(first + step).min(self.segments()))
                .map(|n| self.segment(n))
                .collect();
            json!({"segments": segments})
        })
    }

    fn segment(&self, number: u64) -> Value {
        let first = number * self.segment_files;
        let files = first..(first + self.segment_files).min(self.files);
        let log = |file: u64| {
            json!({"log_id": (10_000_000 + file).to_string(), "path": self.path(file),
                "size_bytes": self.file_size.to_string(), "entries_num": "1"})
        };
        json!({
            "segment_id": (1_000_000 + number).to_string(), "partition_id": PARTITION.to_string(), "channel_name": CHANNEL,
            "num_of_rows": "1000", "state": "flushed", "level": "L1", "start_position": {"timestamp": "10"},
            "binlogs": [{"field_id": "100", "logs": files.map(log).collect::<Vec<_>>()}]
        })
    }
}
