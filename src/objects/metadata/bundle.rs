//! The metadata file of a bundle: as that of a snapshot, but self-contained, and it says where it
//! was written (facts §6.6).

use std::collections::HashSet;

use super::json::Enum;
use super::{MAX_BYTES, decode, encode, lenient, rewrite, wire};
use crate::domain::Result;
use crate::domain::id::{CollectionId, SnapshotId};
use crate::domain::manifest::SnapshotMetadata;
use crate::objects::keys;
use crate::objects::stored::corrupt;

const SELF_CONTAINED: &str = "SnapshotLayoutSelfContained";
/// Milvus' `SnapshotLayout` (facts §3).
const LAYOUTS: &[(&str, i32)] = &[
    ("SnapshotLayoutUnknown", 0),
    ("SnapshotLayoutReferenced", 1),
    (SELF_CONTAINED, 2),
];

/// What the metadata file of a bundle says.
#[derive(Debug, Clone, PartialEq)]
pub struct BundleMetadata {
    /// What its manifests need to be read.
    pub format_version: i32,
    /// Key of the bundle's root where it was written: keys in the bundle begin with it, wherever
    /// it lies now.
    pub written_root: String,
    /// Keys are relative to the bundle's root.
    pub metadata: SnapshotMetadata,
}

/// Writes the metadata file of a bundle. `root` is the whole key of the bundle's root in its bucket;
/// `location` the whole URI of this file.
pub fn encode_bundle(metadata: &SnapshotMetadata, root: &str, location: &str) -> Vec<u8> {
    let file = self_contained(metadata, root, location);
    let mut bytes = Vec::with_capacity(8192 + metadata.manifests.len() * 480);
    serde_json::to_writer_pretty(&mut bytes, &file).expect("writing to memory can't fail, and every map key is a string");
    bytes
}

/// The same of a snapshot that another writer wrote: with every key of its metadata file `original` that
/// this version does not know.
///
/// # Errors
/// As [`super::rewrite()`].
pub fn rewrite_bundle(original: &[u8], metadata: &SnapshotMetadata, root: &str, location: &str) -> Result<Vec<u8>> {
    rewrite::with_unknown_of(original, &self_contained(metadata, root, location), &HashSet::new())
}

fn self_contained(metadata: &SnapshotMetadata, root: &str, location: &str) -> wire::Metadata {
    let mut file = encode::metadata(metadata, root);
    file.layout = Enum(SELF_CONTAINED.into());
    if let Some(info) = &mut file.snapshot_info {
        info.s3_location = location.into();
    }
    file
}

/// Reads the metadata file of a bundle, ours or one that Milvus exported. Its ids must be those
/// that its key has.
///
/// The root where it was written is what stands before the manifests' own part of their keys. (In
/// `s3_location` it can't be told from a bucket or a directory; that it is the end of it is checked.)
///
/// # Errors
/// `corrupt_snapshot`: as [`super::decode_versioned`]; also when it is not self-contained, an id is
/// another one, or a manifest lies elsewhere in the bundle than Milvus puts it.
pub fn decode_bundle(bytes: &[u8], collection: CollectionId, snapshot: SnapshotId) -> Result<BundleMetadata> {
    let wrong = |why: &dyn std::fmt::Display| corrupt(format_args!("the metadata file is wrong: {why}"));
    if bytes.len() > MAX_BYTES {
        return Err(wrong(&format_args!(
            "it has {} bytes, at most {MAX_BYTES} are allowed",
            bytes.len()
        )));
    }
    let file: wire::Metadata = lenient::from_slice(bytes).map_err(|e| wrong(&e))?;
    let layout = Enum(file.layout.0.clone()).name(LAYOUTS);
    if layout != SELF_CONTAINED {
        return Err(wrong(&format_args!(
            "its layout is {layout:?}, not {SELF_CONTAINED}: its data files lie elsewhere; export it first"
        )));
    }
    let info = file
        .snapshot_info
        .as_ref()
        .ok_or_else(|| wrong(&"snapshot_info is missing"))?;
    if (info.collection_id.0, info.id.0) != (collection.0, snapshot.0) {
        return Err(wrong(&format_args!(
            "it is of snapshot {} of collection {}, its name says {snapshot} of {collection}",
            info.id.0, info.collection_id.0
        )));
    }
    let location = info.s3_location.clone();
    let directory = keys::manifest_directory(collection, snapshot);
    let written_root = match file.manifest_list.first() {
        // no key, no root
        None => String::new(),
        Some(key) => {
            let at = key.rfind(&directory).filter(|at| *at == 0 || key[..*at].ends_with('/'));
            let at = at.ok_or_else(|| wrong(&format_args!("manifest_list {key:?} does not lie in {directory}")))?;
            key[..at].trim_end_matches('/').to_string()
        }
    };
    let of_metadata = keys::metadata(collection, snapshot);
    if !location.is_empty() && !location.contains('%') {
        let end = if written_root.is_empty() {
            format!("/{of_metadata}")
        } else {
            format!("/{written_root}/{of_metadata}")
        };
        if !location.ends_with(&end) {
            return Err(wrong(&format_args!("s3_location {location:?} does not end in {end:?}")));
        }
    }
    let format_version = file.format_version;
    let metadata = decode::metadata(file, &written_root).map_err(|e| wrong(&e))?;
    if let Some(stray) = metadata
        .manifests
        .iter()
        .find(|m| m.key != keys::manifest(collection, snapshot, m.segment_id))
    {
        return Err(wrong(&format_args!(
            "the manifest of segment {} is {:?}, which is not where it belongs",
            stray.segment_id, stray.key
        )));
    }
    Ok(BundleMetadata {
        format_version,
        written_root,
        metadata,
    })
}
