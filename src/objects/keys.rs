//! Every key that the service itself makes. Layout: design §6, as the user guide shows it.

use crate::domain::id::{CollectionId, JobId, SegmentId, SnapshotId};

/// The object that names the catalog which owns this storage root.
pub const MARKER: &str = "stillframe.json";
/// Directory of the objects that the start-up probe writes and deletes.
pub const PROBE_DIRECTORY: &str = ".stillframe-probe/";
/// Directory of half-copied files on local storage.
pub const TEMPORARY_DIRECTORY: &str = ".stillframe-tmp";

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
