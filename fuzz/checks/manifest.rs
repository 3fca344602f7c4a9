//! Manifests of any version. The first byte chooses it, the rest is the file.

use stillframe::domain::Code;
use stillframe::domain::id::CollectionId;
use stillframe::domain::manifest::ManifestEncoding;
use stillframe::objects::manifest::{decode, encode, format_version};

pub const VERSIONS: [i32; 8] = [0, 1, 2, 3, 4, 5, 1004, 1005];

/// Reads it; what was accepted is written and read again. Gives whether it was accepted.
pub fn check(bytes: &[u8]) -> bool {
    let Some((first, file)) = bytes.split_first() else {
        return false;
    };
    let version = VERSIONS[usize::from(*first) % VERSIONS.len()];
    let read = match decode(file, version, "files", CollectionId(1)) {
        Ok(read) => read,
        Err(error) => {
            assert_eq!(error.code(), Code::CorruptSnapshot, "{error}");
            return false;
        }
    };
    for encoding in [ManifestEncoding::Container, ManifestEncoding::Milvus] {
        let written = encode(&read, "files", encoding).expect("its keys were short enough");
        let again = decode(&written, format_version(encoding), "files", CollectionId(1)).expect("ours");
        assert_eq!(again.segment.content.files.count(), read.segment.content.files.count());
        assert_eq!(again.builds.len(), read.builds.len());
    }
    true
}
