//! Manifests and the library that Milvus itself reads and writes them with, hamba/avro (Go): it shares
//! no code with ours, and `tests/milvus/avro` has its schema by hand.

use std::path::Path;
use std::process::Command;

use stillframe::domain::manifest::{Manifest, ManifestEncoding};
use stillframe::objects::manifest;

use super::avro::{read_container, to_json};
use super::sample::{COLLECTION, ROOT, as_read, full_manifest, real_manifests};
use crate::milvus::go::built;

fn run(program: &Path, command: &str, file: &Path) -> Vec<u8> {
    let output = Command::new(program).arg(command).arg(file).output().expect("starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn written(manifest: &Manifest, encoding: ManifestEncoding) -> Vec<u8> {
    manifest::encode(manifest, ROOT, encoding).expect("encodes")
}

#[tokio::test]
#[ignore = "needs a Go toolchain and the Go module proxy: make test-milvus"]
async fn milvus_own_library_reads_every_field_that_we_write_and_we_what_it_writes() {
    let Some(avro) = built("tests/milvus/avro").await else {
        return;
    };
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("manifest.avro");
    let mut manifests = real_manifests();
    manifests.push(full_manifest());
    for of in manifests {
        let records = read_container(&written(&of, ManifestEncoding::Container));
        let expected = to_json(&records[0]);
        for encoding in [ManifestEncoding::Milvus, ManifestEncoding::Container] {
            std::fs::write(&file, written(&of, encoding)).expect("written");
            let read: serde_json::Value = serde_json::from_slice(&run(&avro, "read", &file)).expect("JSON");
            assert_eq!(read, expected, "{encoding:?}");
            // other bytes than ours: it gives the sizes of blocks
            let theirs = run(&avro, "write", &file);
            let version = manifest::format_version(ManifestEncoding::Milvus);
            let again = manifest::decode(&theirs, version, ROOT, COLLECTION).expect("decodes");
            assert_eq!(again, as_read(of.clone()), "{encoding:?}");
        }
        // nothing may be cut off or left over
        let mut bytes = written(&of, ManifestEncoding::Milvus);
        bytes.push(0);
        for wrong in [&bytes[..], &bytes[..bytes.len() - 2]] {
            std::fs::write(&file, wrong).expect("written");
            let output = Command::new(&avro).arg("read").arg(&file).output().expect("starts");
            assert!(!output.status.success(), "{} bytes were accepted", wrong.len());
        }
    }
}
