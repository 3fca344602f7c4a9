//! What is checked of somebody else's bundle before anything is made of it: it may be damaged, or made
//! to deceive.

use std::collections::{HashMap, HashSet};

use super::child_deletes::{is_of_child, refuse_one_name};
use super::export::EXPORTS;
use super::restore_check::files;
use crate::domain::bundle::CapturedBundle;
use crate::domain::id::{BuildId, IndexId, PartitionId};
use crate::domain::key::DataPath;
use crate::domain::manifest::{Manifest, SnapshotMetadata};
use crate::domain::problem::{FileProblem, ProblemKind, Problems};
use crate::domain::segment::{File, Level};
use crate::domain::{Code, Error, Result, key, name};
use crate::objects::{Entry, keys};

/// Shards at most.
const MAX_SHARDS: i32 = 1024;
/// Bytes of a file at most, so that sums stay in range.
const MAX_FILE_BYTES: u64 = 1 << 50;
/// Files of a segment at most.
const MAX_FILES: usize = 1_000_000;

fn wrong(what: impl std::fmt::Display) -> Error {
    Code::InvalidExternalSnapshot.error(what.to_string())
}

/// Whether the collection of a bundle can be made here.
///
/// # Errors
/// `invalid_external_snapshot`.
pub(super) fn check_captured(bundle: &CapturedBundle) -> Result<()> {
    let captured = &bundle.captured;
    if let Some(breach) = captured.schema.check("").into_iter().next() {
        return Err(wrong(format_args!(
            "its schema is wrong: {}: {}",
            breach.pointer, breach.detail
        )));
    }
    if !(1..=MAX_SHARDS).contains(&captured.num_shards) {
        return Err(wrong(format_args!(
            "it has {} shards, 1 to {MAX_SHARDS} are possible",
            captured.num_shards
        )));
    }
    if bundle.channels.len() != captured.num_shards as usize {
        return Err(wrong(format_args!(
            "it has {} channels for {} shards",
            bundle.channels.len(),
            captured.num_shards
        )));
    }
    let channels: HashSet<&str> = bundle.channels.iter().map(|c| c.channel_name.as_str()).collect();
    if channels.len() != bundle.channels.len() {
        return Err(wrong("it has a channel twice"));
    }
    if bundle
        .channels
        .iter()
        .any(|c| c.seek_position.as_ref().is_some_and(|p| p.timestamp < 0))
    {
        return Err(wrong("the seek position of a channel is negative"));
    }
    if captured.partitions.is_empty() {
        return Err(wrong("it has no partition"));
    }
    let mut ids = HashSet::new();
    for partition in &captured.partitions {
        name::check(&partition.name).map_err(|why| wrong(format_args!("the partition name {:?} {why}", partition.name)))?;
        if !ids.insert(partition.partition_id) {
            return Err(wrong(format_args!("two partitions have the id {}", partition.partition_id)));
        }
    }
    let (mut ids, mut names) = (HashSet::new(), HashSet::new());
    for index in &captured.indexes {
        if !ids.insert(index.index_id) || !names.insert(index.index_name.as_str()) {
            return Err(wrong(format_args!("the index {:?} is there twice", index.index_name)));
        }
    }
    Ok(())
}

/// Refuses a segment that is not wholly of this bundle: every path must carry the segment's own ids
/// (delete logs may be its compaction's child's), so that no two files have one target and nothing else is read.
///
/// # Errors
/// `invalid_external_snapshot`, `unsupported_storage_version`.
pub(super) fn refuse_foreign(manifest: &Manifest, of: &SnapshotMetadata) -> Result<()> {
    let segment = &manifest.segment;
    let id = segment.segment_id;
    let wrong = |what: String| wrong(format_args!("segment {id} {what}"));
    if !(0..=2).contains(&segment.content.storage_version) || of.storagev2_manifests.iter().any(|(s, _)| *s == id) {
        return Err(Code::UnsupportedStorageVersion.error(format!(
            "segment {id} has storage version {}, or a manifest of its own; versions 0 to 2 without one are supported",
            segment.content.storage_version
        )));
    }
    if segment.partition_id == PartitionId::ALL && segment.level != Level::L0 {
        return Err(wrong("is of all partitions, which only L0 segments may be".into()));
    }
    if !of.channels.iter().any(|c| c.channel_name == segment.channel_name) {
        return Err(wrong(format!("is of the unknown channel {:?}", segment.channel_name)));
    }
    let mut builds = HashSet::new();
    let mut indexes: HashSet<IndexId> = HashSet::new();
    for build in &manifest.builds {
        if !of.indexes.iter().any(|i| i.index_id == build.index_id) {
            return Err(wrong(format!("has a build of the unknown index {}", build.index_id)));
        }
        if !builds.insert(build.build_id) || !indexes.insert(build.index_id) {
            return Err(wrong(format!("has the build {} or its index twice", build.build_id)));
        }
    }
    let logs = segment
        .content
        .files
        .files()
        .map(|(file, build)| (file, build.filter(|b| b.0 != 0), false));
    let of_builds = manifest
        .builds
        .iter()
        .flat_map(|b| b.content.files.iter().map(|f| (f, Some(b.build_id), true)));
    let mut seen = HashSet::new();
    for (file, build, is_of_build) in logs.chain(of_builds) {
        check_path(manifest, of, file, build, is_of_build)
            .map_err(|why| wrong(format!("has the file {:?}, which {why}", file.path)))?;
        if !seen.insert(key::own_path(&file.path)) {
            return Err(wrong(format!("has the file {:?} twice", file.path)));
        }
        if file.size_bytes > MAX_FILE_BYTES || seen.len() > MAX_FILES {
            return Err(wrong("has more files, or a larger one, than is possible".into()));
        }
    }
    refuse_one_name(segment).map_err(wrong)
}

fn check_path(
    manifest: &Manifest,
    of: &SnapshotMetadata,
    file: &File,
    build: Option<BuildId>,
    is_of_build: bool,
) -> Result<(), String> {
    let path = DataPath::parse_below(&file.path)?;
    // a bundle that lies above others reads nothing of theirs
    let foreign = |part: &str| part == EXPORTS || keys::SNAPSHOTS.strip_suffix('/') == Some(part);
    if path.split().0.split('/').any(foreign) {
        return Err("lies in another bundle".into());
    }
    let segment = &manifest.segment;
    if path.is_of_build() != is_of_build {
        return Err("lies in a directory of another kind".into());
    }
    if path.collection.is_some_and(|c| c != of.collection_id) {
        return Err("is of another collection".into());
    }
    if path.partition.is_some_and(|p| p != segment.partition_id) {
        return Err("is of another partition".into());
    }
    if path.segment.is_some_and(|s| s != segment.segment_id) && !is_of_child(&path, segment.segment_id) {
        return Err("is of another segment".into());
    }
    if path.build.is_some_and(|b| Some(b) != build) {
        return Err("is of another build".into());
    }
    Ok(())
}

/// Takes sizes and ETags from a listing; a size that the manifest has must be that of the file.
pub(super) fn fill_sizes(manifest: &mut Manifest, listed: &HashMap<String, Entry>, problems: &mut Problems) {
    let segment_id = manifest.segment.segment_id;
    let logs = manifest.segment.content.files.files_mut().map(|(file, _)| file);
    for file in logs.chain(manifest.builds.iter_mut().flat_map(|b| &mut b.content.files)) {
        let path = &file.path;
        let problem = |kind, detail| FileProblem {
            path: path.clone(),
            segment_id: Some(segment_id),
            kind,
            detail,
        };
        match listed.get(path) {
            None => problems.add(problem(
                ProblemKind::Missing,
                format!("file {path} of segment {segment_id} is missing in the bundle"),
            )),
            // manifests tell no sizes of index files
            Some(entry) if file.size_bytes != 0 && entry.size_bytes != file.size_bytes => problems.add(problem(
                ProblemKind::WrongSize,
                format!(
                    "file {path} of segment {segment_id} has {} bytes in the bundle, {} were recorded",
                    entry.size_bytes, file.size_bytes
                ),
            )),
            Some(entry) => {
                file.size_bytes = entry.size_bytes;
                file.etag.clone_from(&entry.etag);
            }
        }
    }
    debug_assert!(files(manifest).count() <= MAX_FILES);
}

/// Compares what was found with the totals, which only our own bundles have: they are the one thing
/// that tells the sizes of index files.
///
/// # Errors
/// `invalid_external_snapshot`.
pub(super) fn check_totals(metadata: &SnapshotMetadata, files: i64, bytes: i64) -> Result<()> {
    let (wanted_files, wanted_bytes) = (metadata.file_count, metadata.size_bytes);
    if (wanted_files, wanted_bytes) == (0, 0) || (wanted_files, wanted_bytes) == (files, bytes) {
        return Ok(());
    }
    Err(wrong(format_args!(
        "the bundle has {files} files of {bytes} bytes, its metadata says {wanted_files} of {wanted_bytes}"
    )))
}
