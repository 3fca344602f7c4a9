//! Every key that the service itself makes. Layout: design §6, as the user guide shows it.

use crate::domain::id::{CollectionId, JobId, SegmentId, SnapshotId, parse_non_negative};

/// The object that names the catalog which owns this storage root.
pub const MARKER: &str = "stillframe.json";
/// Directory of the objects that the start-up probe writes and deletes.
pub const PROBE_DIRECTORY: &str = ".stillframe-probe/";
/// Directory of half-copied files on local storage.
pub const TEMPORARY_DIRECTORY: &str = ".stillframe-tmp";

/// Directory of everything that belongs to snapshots.
pub const SNAPSHOTS: &str = "snapshots/";

/// What an object below [`SNAPSHOTS`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotObject {
    Metadata(SnapshotId),
    /// By the snapshot that it was written for.
    Manifest(SnapshotId, SegmentId),
    Receipt(JobId),
}

/// Reads a key that [`metadata`], [`manifest`] or [`receipt`] made; none for any other.
pub fn parse(key: &str) -> Option<SnapshotObject> {
    let id = |text: &str| parse_non_negative(text).ok().filter(|id| id.to_string() == text);
    let parts: Vec<&str> = key.strip_prefix(SNAPSHOTS)?.split('/').collect();
    match parts.as_slice() {
        [collection, "metadata", file] => {
            id(collection)?;
            Some(SnapshotObject::Metadata(SnapshotId(id(file.strip_suffix(".json")?)?)))
        }
        [collection, "manifests", snapshot, file] => {
            id(collection)?;
            let segment = SegmentId(id(file.strip_suffix(".avro")?)?);
            Some(SnapshotObject::Manifest(SnapshotId(id(snapshot)?), segment))
        }
        [collection, "receipts", file] => {
            id(collection)?;
            Some(SnapshotObject::Receipt(JobId(id(file.strip_suffix(".json")?)?)))
        }
        _ => None,
    }
}

/// The collection in a key that [`parse`] reads.
pub fn collection_of(key: &str) -> Option<CollectionId> {
    parse(key)?;
    key.split('/').nth(1)?.parse().ok()
}

/// What stands before a key that [`manifest`] made, without its slash: the root that it was written
/// below, empty where there is none.
pub fn root_of_manifest(full_key: &str) -> Option<&str> {
    let at = match full_key.rmatch_indices('/').nth(4) {
        Some((slash, _)) => slash + 1,
        None => 0,
    };
    let (root, key) = full_key.split_at(at);
    matches!(parse(key), Some(SnapshotObject::Manifest(..))).then(|| root.strip_suffix('/').unwrap_or(root))
}

/// The metadata file of a snapshot.
pub fn metadata(collection: CollectionId, snapshot: SnapshotId) -> String {
    format!("snapshots/{collection}/metadata/{snapshot}.json")
}

/// The manifest of one segment in a snapshot.
pub fn manifest(collection: CollectionId, snapshot: SnapshotId, segment: SegmentId) -> String {
    format!("snapshots/{collection}/manifests/{snapshot}/{segment}.avro")
}

/// The receipt of a restore job, beside the metadata of the snapshot that it restored.
pub fn receipt(collection: CollectionId, job: JobId) -> String {
    format!("snapshots/{collection}/receipts/{job}.json")
}

/// The directory of a snapshot's manifests; ends in a slash, so that `12` never takes `123` along.
pub fn manifest_directory(collection: CollectionId, snapshot: SnapshotId) -> String {
    format!("snapshots/{collection}/manifests/{snapshot}/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_of_a_manifest_is_what_stands_before_it() {
        let key = manifest(CollectionId(1), SnapshotId(2), SegmentId(3));
        for root in ["", "files", "a/b", "snapshots/1/manifests"] {
            let full = if root.is_empty() {
                key.clone()
            } else {
                format!("{root}/{key}")
            };
            assert_eq!(root_of_manifest(&full), Some(root), "{full}");
        }
        for other in [
            "",
            "3.avro",
            "a/b/c/d/e",
            "x/snapshots/1/metadata/2.json",
            "snapshots/1/manifests/2/3.avro/",
        ] {
            assert_eq!(root_of_manifest(other), None, "{other}");
        }
        assert_eq!(collection_of(&key), Some(CollectionId(1)));
        assert_eq!(collection_of("snapshots/1/elsewhere"), None);
    }

    #[test]
    fn keys_are_read_as_they_are_made_and_nothing_else_is() {
        let (collection, snapshot, segment) = (CollectionId(1), SnapshotId(2), SegmentId(3));
        assert_eq!(
            parse(&metadata(collection, snapshot)),
            Some(SnapshotObject::Metadata(snapshot))
        );
        assert_eq!(
            parse(&manifest(collection, snapshot, segment)),
            Some(SnapshotObject::Manifest(snapshot, segment))
        );
        assert_eq!(parse(&receipt(collection, JobId(4))), Some(SnapshotObject::Receipt(JobId(4))));
        for other in [
            "snapshots/1/metadata/02.json",
            "snapshots/1/metadata/2.json.bak",
            "snapshots/1/manifests/2/3",
            "snapshots/x/metadata/2.json",
            "insert_log/1/2/3/100/7",
            "snapshots/1/receipts/2",
        ] {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
