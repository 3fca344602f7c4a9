//! Bundles: the first byte chooses the metadata file, or a manifest of some version; the rest is the file.

use stillframe::domain::Code;
use stillframe::domain::id::{CollectionId, SnapshotId};
use stillframe::domain::manifest::ManifestEncoding;
use stillframe::objects::manifest::format_version;
use stillframe::objects::metadata::{decode_bundle, encode_bundle, rewrite_bundle};
use stillframe::objects::{bundle, keys};

/// Those of `tests/fixtures/golden/metadata.json`, which the seed is made from.
const COLLECTION: CollectionId = CollectionId(470_644_622_231_601_173);
const SNAPSHOT: SnapshotId = SnapshotId(470_644_622_232_109_999);
const VERSIONS: [i32; 8] = [0, 1, 2, 3, 4, 5, 1004, 1005];

/// Reads it; what was accepted is written, rewritten, and read again. Gives whether it was accepted.
pub fn check(bytes: &[u8]) -> bool {
    let Some((first, file)) = bytes.split_first() else {
        return false;
    };
    match VERSIONS.get(usize::from(*first) % (VERSIONS.len() + 1)) {
        Some(version) => manifest(file, *version),
        None => metadata(file),
    }
}

fn metadata(file: &[u8]) -> bool {
    let read = match decode_bundle(file, COLLECTION, SNAPSHOT) {
        Ok(read) => read,
        Err(error) => {
            assert_eq!(error.code(), Code::CorruptSnapshot, "{error}");
            return false;
        }
    };
    let root = &read.written_root;
    let slash = if root.is_empty() { "" } else { "/" };
    let location = format!("minio://server/bucket/{root}{slash}{}", keys::metadata(COLLECTION, SNAPSHOT));
    let written = encode_bundle(&read.metadata, root, &location);
    // what is ignored when it is read may be too much to be kept: a number out of every range
    let rewritten = rewrite_bundle(file, &read.metadata, root, &location);
    for written in [Some(written), rewritten.ok()].into_iter().flatten() {
        let again = decode_bundle(&written, COLLECTION, SNAPSHOT).expect("ours");
        assert_eq!(again.metadata, read.metadata);
    }
    true
}

fn manifest(file: &[u8], version: i32) -> bool {
    let read = match bundle::decode(file, version, "", COLLECTION) {
        Ok(read) => read,
        Err(error) => {
            assert_eq!(error.code(), Code::CorruptSnapshot, "{error}");
            return false;
        }
    };
    for encoding in [ManifestEncoding::Container, ManifestEncoding::Milvus] {
        // a key may be too long with the directory of the bundle's files before it
        let Ok(written) = bundle::encode(read.clone(), "", encoding) else {
            continue;
        };
        let again = bundle::decode(&written, format_version(encoding), "", COLLECTION).expect("ours");
        assert_eq!(again.segment.content.files.count(), read.segment.content.files.count());
        assert_eq!(again.builds.len(), read.builds.len());
    }
    true
}
