//! What is written is read back.

use stillframe::domain::Code;
use stillframe::domain::manifest::{Manifest, ManifestEncoding};
use stillframe::domain::segment::{FieldLogs, Log, SegmentContent};
use stillframe::objects::manifest::{CONTAINER, decode, encode, encoding_of, format_version};

use super::sample::{COLLECTION, as_read, full_manifest, real_manifests};

const BOTH: [ManifestEncoding; 2] = [ManifestEncoding::Container, ManifestEncoding::Milvus];

fn empty_manifest() -> Manifest {
    let mut manifest = full_manifest();
    manifest.builds.clear();
    manifest.segment.content = SegmentContent::default();
    manifest.segment.channel_name.clear();
    manifest
}

#[test]
fn manifests_are_read_as_they_were_written() {
    let manifests = [real_manifests(), vec![full_manifest(), empty_manifest()]].concat();
    for (manifest, encoding) in manifests.iter().flat_map(|m| BOTH.map(|e| (m, e))) {
        for root in ["", "files", "a/b"] {
            let bytes = encode(manifest, root, encoding).expect("encodes");
            let read = decode(&bytes, format_version(encoding), root, COLLECTION).expect("decodes");
            assert_eq!(read, as_read(manifest.clone()));
        }
    }
}

#[test]
fn equal_manifests_are_equal_bytes_and_different_ones_are_not() {
    for encoding in BOTH {
        let write = |manifest: &Manifest| encode(manifest, "files", encoding).expect("encodes");
        let mut other = full_manifest();
        assert_eq!(write(&full_manifest()), write(&other));
        other.segment.content.files.deltalogs[0].logs[0].file.size_bytes += 1;
        assert_ne!(write(&full_manifest()), write(&other));
    }
}

#[test]
fn a_large_manifest_is_read_back() {
    let mut manifest = full_manifest();
    let log = manifest.segment.content.files.binlogs[1].logs[0].clone();
    let logs = (0..50_000).map(|n| Log {
        log_id: n,
        memory_size: n * n * n,
        ..log.clone()
    });
    manifest.segment.content.files.binlogs.push(FieldLogs {
        field_id: 7,
        logs: logs.collect(),
        ..FieldLogs::default()
    });
    for encoding in BOTH {
        let bytes = encode(&manifest, "files", encoding).expect("encodes");
        let read = decode(&bytes, format_version(encoding), "files", COLLECTION).expect("decodes");
        assert_eq!(read, as_read(manifest.clone()));
    }
}

#[test]
fn a_key_outside_the_root_is_refused() {
    for (written, read) in [("", "files"), ("files", "other"), ("files", "file"), ("a/b", "a/b/c")] {
        for encoding in BOTH {
            let bytes = encode(&full_manifest(), written, encoding).expect("encodes");
            let error = decode(&bytes, format_version(encoding), read, COLLECTION).expect_err("outside");
            assert_eq!(error.code(), Code::CorruptSnapshot);
            assert!(error.to_string().contains("lies outside the storage root"), "{error}");
        }
    }
}

#[test]
fn a_key_that_is_too_long_with_its_root_is_not_written() {
    let error = encode(&full_manifest(), &"r".repeat(1000), ManifestEncoding::Milvus).expect_err("too long");
    assert_eq!(error.code(), Code::InvalidPath);
}

#[test]
fn versions_name_their_encoding() {
    assert_eq!(BOTH.map(format_version), [1004, 4]);
    assert_eq!(CONTAINER, 1000);
    for (versions, encoding) in [
        (0..=5, Some(ManifestEncoding::Milvus)),
        (1001..=1005, Some(ManifestEncoding::Container)),
        (6..=1000, None),
        (1006..=1010, None),
        (i32::MIN..=i32::MIN, None),
        (-1..=-1, None),
        (i32::MAX..=i32::MAX, None),
    ] {
        for version in versions {
            assert_eq!(encoding_of(version), encoding, "{version}");
        }
    }
    let bytes = encode(&full_manifest(), "", ManifestEncoding::Milvus).expect("encodes");
    for (version, text) in [
        (6, "unsupported manifest schema version: 6"),
        (-1, "unsupported manifest schema version: -1"),
        (2000, "unsupported manifest schema version: 2000"),
        (1004, "the manifest is not an Avro object container file"),
    ] {
        let error = decode(&bytes, version, "", COLLECTION).expect_err("refused");
        assert_eq!((error.code(), error.to_string()), (Code::CorruptSnapshot, text.into()));
    }
}
