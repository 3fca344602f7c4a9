//! Snapshots that lie in the object storage and that the catalog does not know: those of another
//! system, which are adopted where they lie, and our own after the loss of the catalog.
//!
//! Both read the metadata files and manifests, look for every file that they name, and enter
//! collections, segments, index builds, snapshots and references, all in one transaction of the
//! caller: nothing is seen of it before the end, and nothing is left of it when it fails. The
//! transaction stays open while manifests are read; it locks nothing that others wait for but the
//! collection that is entered, and a snapshot of any size takes the memory of one page.

mod adopt;
mod enter;
mod files;
mod find;
mod rebuild;

pub use adopt::{Adopt, Adopted};

use crate::domain::id::{CollectionId, SnapshotId};
use crate::domain::{Code, Error};
use crate::objects::metadata::Stored;

/// A metadata file by its key.
#[derive(Debug, Clone)]
struct Candidate {
    collection_id: CollectionId,
    snapshot_id: SnapshotId,
    /// Relative to the storage root.
    key: String,
}

/// A metadata file that was read.
#[derive(Debug)]
struct Opened {
    candidate: Candidate,
    stored: Stored,
    bytes: u64,
}

/// Whether an error is about what was found, not about finding it.
fn is_of_content(error: &Error) -> bool {
    use Code::{
        CollectionAlreadyExists, CorruptSnapshot, FileChanged, FileMissing, FileSizeMismatch, IndexBuildAlreadyExists,
        InvalidPath, InvalidRequest, PartitionAlreadyExists, SegmentAlreadyExists, SnapshotAlreadyExists, UnreadableSnapshot,
        UnsupportedStorageVersion,
    };
    matches!(
        error.code(),
        CorruptSnapshot
            | UnreadableSnapshot
            | InvalidRequest
            | InvalidPath
            | FileMissing
            | FileChanged
            | FileSizeMismatch
            | UnsupportedStorageVersion
            | CollectionAlreadyExists
            | PartitionAlreadyExists
            | SegmentAlreadyExists
            | IndexBuildAlreadyExists
            | SnapshotAlreadyExists
    )
}

/// An error about what was found, for whoever asked for it: what a check said of a request is here said
/// of a file.
fn about(key: &str, error: Error) -> Error {
    if !is_of_content(&error) {
        return error;
    }
    let code = match error.code() {
        Code::CorruptSnapshot | Code::InvalidRequest => Code::UnreadableSnapshot,
        code => code,
    };
    code.error(format!("{key}: {error}"))
}
