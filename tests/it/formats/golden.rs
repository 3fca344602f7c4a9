//! Files that must not change: what is stored today is read for years. `UPDATE=1` writes them anew.

use std::path::{Path, PathBuf};
use std::process::Command;

use stillframe::domain::manifest::ManifestEncoding;
use stillframe::objects::{manifest, metadata};

use super::avro::{read_container, to_json};
use super::sample::{COLLECTION, ROOT, real_manifest};

pub fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/golden").join(name)
}

pub fn check(name: &str, bytes: &[u8]) {
    let path = path(name);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, bytes).expect("writes");
    }
    let golden = std::fs::read(&path).unwrap_or_else(|e| panic!("{name}: {e}; UPDATE=1 writes it"));
    assert!(golden == bytes, "{name} is not what is written now");
}

/// What the container says, as Apache Avro reads it.
fn description() -> serde_json::Value {
    let bytes = manifest::encode(&real_manifest(), ROOT, ManifestEncoding::Container).expect("encodes");
    let records = read_container(&bytes);
    assert_eq!(records.len(), 1);
    to_json(&records[0])
}

#[test]
fn manifests_are_as_they_were() {
    for (name, encoding) in [
        ("manifest.container.avro", ManifestEncoding::Container),
        ("manifest.milvus.avro", ManifestEncoding::Milvus),
    ] {
        check(name, &manifest::encode(&real_manifest(), ROOT, encoding).expect("encodes"));
        let golden = std::fs::read(path(name)).expect("is there");
        let read = manifest::decode(&golden, manifest::format_version(encoding), ROOT, COLLECTION).expect("decodes");
        assert_eq!(read, super::sample::as_read(real_manifest()));
    }
    check("manifest.json", &serde_json::to_vec_pretty(&description()).expect("writes"));
}

#[test]
fn metadata_is_as_it_was() {
    let written = metadata::encode(&super::sample::metadata(ManifestEncoding::Container), ROOT);
    let written = String::from_utf8(written).expect("text");
    // the one thing in it that changes with every release
    let version = format!("\"version\": \"{}\"", env!("CARGO_PKG_VERSION"));
    assert_eq!(written.matches(&version).count(), 1);
    check(
        "metadata.json",
        written.replace(&version, "\"version\": \"0.0.0\"").as_bytes(),
    );
}

#[test]
fn python_reads_what_we_write() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/formats/read_manifest.py");
    let python = crate::support::python();
    let run = |arguments: &[&Path]| {
        let output = Command::new(&python).arg(&script).args(arguments).output().expect("starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<serde_json::Value>(&output.stdout).expect("JSON")
    };
    assert_eq!(run(&[&path("manifest.container.avro")]), description());
    // the bare datum, by the schema inside the container
    let container = path("manifest.container.avro");
    assert_eq!(
        run(&[&path("manifest.milvus.avro"), Path::new("--schema-of"), &container]),
        description()
    );
    let file = run(&[&path("metadata.json")]);
    assert_eq!(file["snapshot_info"]["name"], "before_reindex");
    assert_eq!(file["stillframe"]["totals"]["num_of_rows"], 9000);
}
