//! The metadata file of a snapshot: Milvus' `SnapshotMetadata` in protobuf's JSON form (facts
//! §4.2), plus an object `stillframe` that Milvus readers ignore: the writer, the totals, and the
//! size and sha-256 of each manifest.

mod bundle;
mod decode;
mod encode;
mod json;
mod schema;
mod wire;

use super::stored::corrupt;
use crate::domain::Result;
use crate::domain::manifest::SnapshotMetadata;

pub use bundle::{BundleMetadata, decode_bundle, encode_bundle};

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
    let wrong = |why: &dyn std::fmt::Display| corrupt(format_args!("the metadata file is wrong: {why}"));
    if bytes.len() > MAX_BYTES {
        return Err(wrong(&format_args!(
            "it has {} bytes, at most {MAX_BYTES} are allowed",
            bytes.len()
        )));
    }
    let file: wire::Metadata = serde_json::from_slice(bytes).map_err(|e| wrong(&e))?;
    let version = file.format_version;
    let metadata = decode::metadata(file, root).map_err(|e| wrong(&e))?;
    Ok((version, metadata))
}
