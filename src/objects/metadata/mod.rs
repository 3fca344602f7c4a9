//! The metadata file of a snapshot: Milvus' `SnapshotMetadata` in protobuf's JSON form (facts
//! §4.2), plus an object `stillframe` that Milvus readers ignore: the writer, the totals, and the
//! size and sha-256 of each manifest.

mod bundle;
mod decode;
mod encode;
mod json;
mod kept;
mod lenient;
mod rewrite;
mod schema;
mod wire;

use super::keys;
use super::stored::corrupt;
use crate::domain::Result;
use crate::domain::manifest::SnapshotMetadata;

pub use bundle::{BundleMetadata, decode_bundle, encode_bundle, rewrite_bundle};
pub use rewrite::{rewrite, rewrite_copy};

/// Bytes of a metadata file at most; 100,000 segments take about 40 MiB.
pub const MAX_BYTES: usize = 256 * 1024 * 1024;

/// Writes the metadata file.
///
/// `root` is the key prefix of the storage root within its bucket, without slashes at its ends;
/// keys in the file are full. The state is always `SnapshotStatePending`, as the file is written
/// before the commit; never infer anything from it. Whoever wants to know whether two files are
/// equal compares what they say: the form is not part of the contract.
pub fn encode(metadata: &SnapshotMetadata, root: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(8192 + metadata.manifests.len() * 480);
    serde_json::to_writer_pretty(&mut bytes, &encode::metadata(metadata, root))
        .expect("writing to memory can't fail, and every map key is a string");
    bytes
}

/// Reads a metadata file, ours or Milvus' own; see [`decode_versioned`].
///
/// # Errors
/// As [`decode_versioned`].
pub fn decode(bytes: &[u8], root: &str) -> Result<SnapshotMetadata> {
    decode_versioned(bytes, root).map(|(_, metadata)| metadata)
}

/// Reads a metadata file, and gives the `format_version` that its manifests need to be read.
///
/// Unknown keys are ignored, missing ones mean the default. Without the object `stillframe` the
/// totals, and the size and sha-256 of manifests, are zero and empty: unknown.
///
/// # Errors
/// `corrupt_snapshot`: the file is too large, not of this form, of an unknown version, without
/// `snapshot_info` or `collection`; an id is negative, a key lies outside the root, or the segment
/// ids differ from those of the manifests (facts §4.5).
pub fn decode_versioned(bytes: &[u8], root: &str) -> Result<(i32, SnapshotMetadata)> {
    decode_with(bytes, |_| Ok(root.to_string())).map(|stored| (stored.format_version, stored.metadata))
}

/// A metadata file that may have been written below another root than the present one.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// What its manifests need to be read.
    pub format_version: i32,
    /// The root below which it was written: full keys in it and in its manifests begin with it.
    pub root: String,
    /// It has the object `stillframe`: a Stillframe wrote it.
    pub ours: bool,
    /// With paths relative to `root`.
    pub metadata: SnapshotMetadata,
}

/// Reads a metadata file wherever it was written: the key of its first manifest tells the root, since
/// what follows the root is fixed (facts §4.1). Without manifests the root is empty.
///
/// # Errors
/// As [`decode_versioned`]; a manifest lies elsewhere than manifests do.
pub fn decode_stored(bytes: &[u8]) -> Result<Stored> {
    decode_with(bytes, |file| {
        let Some(first) = file.manifest_list.first() else {
            return Ok(String::new());
        };
        let root = keys::root_of_manifest(first);
        root.map(str::to_string)
            .ok_or_else(|| corrupt(format_args!("manifest_list {first:?} is no place of a manifest")))
    })
}

fn decode_with(bytes: &[u8], root: impl FnOnce(&wire::Metadata) -> Result<String>) -> Result<Stored> {
    let wrong = |why: &dyn std::fmt::Display| corrupt(format_args!("the metadata file is wrong: {why}"));
    if bytes.len() > MAX_BYTES {
        return Err(wrong(&format_args!(
            "it has {} bytes, at most {MAX_BYTES} are allowed",
            bytes.len()
        )));
    }
    let file: wire::Metadata = lenient::from_slice(bytes).map_err(|e| wrong(&e))?;
    let (format_version, ours) = (file.format_version, file.stillframe.is_some());
    let root = root(&file).map_err(|e| wrong(&e))?;
    let metadata = decode::metadata(file, &root).map_err(|e| wrong(&e))?;
    Ok(Stored {
        format_version,
        root,
        ours,
        metadata,
    })
}
