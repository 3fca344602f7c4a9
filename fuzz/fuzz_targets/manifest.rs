//! Manifests of any version. The first byte chooses it, the rest is the file.

#![no_main]

use libfuzzer_sys::fuzz_target;
use stillframe::domain::id::CollectionId;
use stillframe::domain::manifest::ManifestEncoding;
use stillframe::objects::manifest::{decode, encode, format_version};

const VERSIONS: [i32; 8] = [0, 1, 2, 3, 4, 5, 1004, 1005];

fuzz_target!(|bytes: &[u8]| {
    let Some((first, file)) = bytes.split_first() else { return };
    let version = VERSIONS[usize::from(*first) % VERSIONS.len()];
    let Ok(read) = decode(file, version, "files", CollectionId(1)) else {
        return;
    };
    // what was accepted can be written, and is then read as the same
    for encoding in [ManifestEncoding::Container, ManifestEncoding::Milvus] {
        let written = encode(&read, "files", encoding).expect("its keys were short enough");
        let again = decode(&written, format_version(encoding), "files", CollectionId(1)).expect("ours");
        assert_eq!(again.segment.content.files.count(), read.segment.content.files.count());
        assert_eq!(again.builds.len(), read.builds.len());
    }
});
