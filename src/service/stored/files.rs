//! Reading manifests, and looking for the files that they name.

use std::collections::HashMap;

use sha2::{Digest, Sha256};

use super::super::Service;
use super::super::registration::{Context, NewBuild, NewSegment, PartitionRef, directories};
use super::Opened;
use crate::domain::id::{CollectionId, SegmentId, SnapshotId};
use crate::domain::manifest::{Manifest, WrittenManifest};
use crate::domain::problem::{FileProblem, ProblemKind, Problems};
use crate::domain::segment::File;
use crate::domain::{Code, Error, Result};
use crate::objects::keys::{self, SnapshotObject};
use crate::objects::{Entry, hex, manifest};
use crate::store::stored::StoredObject;

/// A manifest's place, as its key says it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub owner: SnapshotId,
    pub segment: SegmentId,
}

/// Where the manifest of a metadata file lies.
///
/// # Errors
/// `corrupt_snapshot` when it is no place of a manifest of this collection and segment.
pub(super) fn place(written: &WrittenManifest, collection: CollectionId) -> Result<Place> {
    let key = &written.key;
    match (keys::parse(key), keys::collection_of(key)) {
        (Some(SnapshotObject::Manifest(owner, segment)), Some(of)) if of == collection && segment == written.segment_id => {
            Ok(Place { owner, segment })
        }
        _ => Err(Code::CorruptSnapshot.error(format!(
            "manifest_list {key:?} is no place of a manifest of segment {} of collection {collection}",
            written.segment_id
        ))),
    }
}

impl Service {
    /// Reads one manifest and looks for its files; fills in their sizes and ETags. What is wrong with
    /// files comes out as problems.
    pub(super) async fn read_stored(
        &self,
        opened: &Opened,
        below: &str,
        context: &Context<'_>,
        written: &WrittenManifest,
        place: Place,
    ) -> Result<(Option<StoredObject>, Problems)> {
        let mut problems = Problems::default();
        let key = format!("{below}{}", written.key);
        let Some(bytes) = self.objects.get(&key, manifest::MAX_BYTES as u64).await? else {
            problems.add(problem(
                &key,
                place.segment,
                ProblemKind::Missing,
                format!("the manifest {key} is missing"),
            ));
            return Ok((None, problems));
        };
        let sha256: [u8; 32] = Sha256::digest(&bytes).into();
        if !written.sha256.is_empty() && hex(&sha256) != written.sha256 {
            let detail = format!("the manifest {key} has another sha-256 than its snapshot recorded");
            problems.add(problem(&key, place.segment, ProblemKind::WrongChecksum, detail));
            return Ok((None, problems));
        }
        let stored = &opened.stored;
        let collection = stored.metadata.collection_id;
        let mut read = manifest::decode(&bytes, stored.format_version, &stored.root, collection)
            .map_err(|e| Code::CorruptSnapshot.error(format!("the manifest {key}: {e}")))?;
        if read.segment.segment_id != place.segment {
            let why = format!("the manifest {key} is of segment {}", read.segment.segment_id);
            return Err(Code::CorruptSnapshot.error(why));
        }
        let of_segment = |(id, _): &&(SegmentId, String)| *id == place.segment;
        if let Some((_, path)) = stored.metadata.storagev2_manifests.iter().find(of_segment) {
            read.segment.content.manifest_path.clone_from(path);
        }
        for file in files_mut(&mut read) {
            file.path.insert_str(0, below);
        }
        let mut manifest = checked(context, read)?;
        let paths = files_mut(&mut manifest).map(|f| f.path.clone()).collect::<Vec<_>>();
        let found = self
            .objects
            .list_together(directories(paths.iter().map(String::as_str))?)
            .await?;
        for file in files_mut(&mut manifest) {
            if let Some(wrong) = settle(file, place.segment, &found) {
                problems.add(wrong);
            }
        }
        let object = StoredObject {
            owner: place.owner,
            manifest,
            size_bytes: bytes.len() as u64,
            sha256,
        };
        Ok((Some(object), problems))
    }
}

/// As registration checks it: paths, ids, fields, what is supported.
fn checked(context: &Context<'_>, read: Manifest) -> Result<Manifest> {
    let at = format!("segment {}", read.segment.segment_id);
    let new = NewSegment {
        partition: PartitionRef::Id(read.segment.partition_id),
        segment: read.segment,
        builds: read
            .builds
            .into_iter()
            .map(|build| NewBuild {
                build_id: build.build_id,
                index_id: Some(build.index_id),
                index_name: None,
                content: build.content,
            })
            .collect(),
    };
    let (segment, builds) = context.segment(new, &at)?;
    if !segment.content.files.has_data() {
        return Err(Error::invalid(at, "it has neither an insert nor a delete file"));
    }
    Ok(Manifest { segment, builds })
}

fn files_mut(manifest: &mut Manifest) -> impl Iterator<Item = &mut File> {
    let logs = manifest.segment.content.files.files_mut().map(|(file, _)| file);
    logs.chain(manifest.builds.iter_mut().flat_map(|b| b.content.files.iter_mut()))
}

/// Holds a file against the listing. A size of zero is one that was not recorded: of the files of
/// indexes never, of logs where the engine did not know it.
fn settle(file: &mut File, segment: SegmentId, found: &HashMap<String, Entry>) -> Option<FileProblem> {
    let path = &file.path;
    match found.get(path) {
        None => {
            let detail = format!("file {path} of segment {segment} is missing");
            Some(problem(path, segment, ProblemKind::Missing, detail))
        }
        Some(entry) if file.size_bytes != 0 && entry.size_bytes != file.size_bytes => {
            let detail = format!(
                "file {path} of segment {segment} has {} bytes, {} were recorded",
                entry.size_bytes, file.size_bytes
            );
            Some(problem(path, segment, ProblemKind::WrongSize, detail))
        }
        Some(entry) => {
            file.size_bytes = entry.size_bytes;
            file.etag.clone_from(&entry.etag);
            None
        }
    }
}

fn problem(path: &str, segment: SegmentId, kind: ProblemKind, detail: String) -> FileProblem {
    FileProblem {
        path: path.to_string(),
        segment_id: Some(segment),
        kind,
        detail,
    }
}
