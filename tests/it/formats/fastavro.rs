//! Bare datums of every version and of every form that branches of Milvus may give it, written by
//! Python's fastavro from schemas of its own (`milvus_writer.py`).

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use stillframe::domain::manifest::{Manifest, ManifestEncoding};
use stillframe::objects::manifest::{decode, encode};

use super::avro::{to_json, write_datum};
use super::golden::{check, path};
use super::sample::{COLLECTION, ROOT, as_read, full_manifest};
use super::versions::{as_of, schema, value, written};

/// Versions, and how branches of Milvus may write them.
pub const FORMS: [(i32, &str); 10] = [
    (0, "main"),
    (1, "main"),
    (2, "main"),
    (3, "main"),
    (4, "main"),
    (4, "groups-last"),
    (5, "main"),
    (5, "groups-last"),
    (5, "nested"),
    (5, "nested-groups-last"),
];

/// The file that keeps the datum of a form.
pub fn golden_name(version: i32, form: &str) -> String {
    format!("manifest.v{version}.{form}.avro")
}

fn of_fastavro(version: i32, form: &str, entry: &Value) -> Vec<u8> {
    let directory = tempfile::tempdir().expect("a directory");
    let (source, target) = (directory.path().join("in.json"), directory.path().join("out.avro"));
    std::fs::write(&source, entry.to_string()).expect("writes");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/formats/milvus_writer.py");
    let output = Command::new(crate::support::python())
        .arg(script)
        .args(["datum", &version.to_string(), form])
        .args([&source, &target])
        .output()
        .expect("starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::read(target).expect("written")
}

fn entry() -> Value {
    to_json(&value(&written(), 5))
}

#[test]
fn every_version_and_form_of_fastavro_is_read_and_as_it_was() {
    for (version, form) in FORMS {
        let bytes = of_fastavro(version, form, &entry());
        check(&golden_name(version, form), &bytes);
        let read = decode(&bytes, version, ROOT, COLLECTION).unwrap_or_else(|e| panic!("{version} {form}: {e}"));
        assert_eq!(read, as_of(version), "{version} {form}");
        if form == "main" {
            assert_eq!(
                bytes,
                write_datum(&schema(version), &value(&written(), version)),
                "fastavro and Apache Avro disagree about version {version}"
            );
        }
    }
}

#[test]
fn what_we_write_for_milvus_is_what_fastavro_writes() {
    let ours = encode(&full_manifest(), ROOT, ManifestEncoding::Milvus).expect("encodes");
    assert_eq!(ours, std::fs::read(path(&golden_name(4, "main"))).expect("is there"));
}

#[test]
fn every_byte_of_every_form_is_needed() {
    for (version, form) in FORMS {
        let bytes = std::fs::read(path(&golden_name(version, form))).expect("is there");
        let refused = |bytes: &[u8]| {
            let error = decode(bytes, version, ROOT, COLLECTION).expect_err("refused");
            assert!(error.to_string().starts_with("the manifest "), "{error}");
        };
        refused(&[&bytes[..], &[0]].concat());
        refused(&bytes[1..]);
        for length in 0..bytes.len() {
            refused(&bytes[..length]);
        }
    }
}

#[test]
fn forms_without_what_they_differ_in_say_the_same() {
    // no column groups, no indexes: the forms of a version are the same bytes but for the delete's boundary
    let mut plain: Manifest = full_manifest();
    plain.builds.clear();
    for group in &mut plain.segment.content.files.binlogs {
        group.child_fields.clear();
        group.format.clear();
    }
    let entry = to_json(&value(&plain, 5));
    for (version, form) in FORMS.into_iter().filter(|(version, _)| *version >= 3) {
        let read = decode(&of_fastavro(version, form, &entry), version, ROOT, COLLECTION);
        assert_eq!(
            read.unwrap_or_else(|e| panic!("{version} {form}: {e}")),
            as_read(plain.clone()),
            "{version} {form}"
        );
    }
}

#[test]
fn a_nested_index_is_not_taken_for_a_plain_one() {
    let mut entry = entry();
    entry["index_files"][0]["is_nested_index"] = json!(true);
    let error = decode(&of_fastavro(5, "nested", &entry), 5, ROOT, COLLECTION).expect_err("refused");
    assert!(
        error.to_string().contains("has is_nested_index, which is not supported"),
        "{error}"
    );
}
