//! Bundles: the first byte chooses the metadata file, or a manifest of some version; the rest is the file.

#![no_main]

use libfuzzer_sys::fuzz_target;
use stillframe::domain::id::{CollectionId, SnapshotId};
use stillframe::domain::manifest::ManifestEncoding;
use stillframe::objects::manifest::format_version;
use stillframe::objects::metadata::{decode_bundle, encode_bundle};
use stillframe::objects::{bundle, keys};

/// Those of `tests/fixtures/golden/metadata.json`, which the seed is made from.
const COLLECTION: CollectionId = CollectionId(470_644_622_231_601_173);
const SNAPSHOT: SnapshotId = SnapshotId(470_644_622_232_109_999);
const VERSIONS: [i32; 8] = [0, 1, 2, 3, 4, 5, 1004, 1005];

fuzz_target!(|bytes: &[u8]| {
    let Some((first, file)) = bytes.split_first() else { return };
    match VERSIONS.get(usize::from(*first) % (VERSIONS.len() + 1)) {
        Some(version) => manifest(file, *version),
        None => metadata(file),
    }
});

fn metadata(file: &[u8]) {
    let Ok(read) = decode_bundle(file, COLLECTION, SNAPSHOT) else {
        return;
    };
    let root = &read.written_root;
    let slash = if root.is_empty() { "" } else { "/" };
    let location = format!("s3://bucket/{root}{slash}{}", keys::metadata(COLLECTION, SNAPSHOT));
    let written = encode_bundle(&read.metadata, root, &location);
    let again = decode_bundle(&written, COLLECTION, SNAPSHOT).expect("ours");
    assert_eq!(again.metadata, read.metadata);
}

fn manifest(file: &[u8], version: i32) {
    let Ok(read) = bundle::decode(file, version, "", COLLECTION) else {
        return;
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
}
