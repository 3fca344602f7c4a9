//! The metadata file against Google's protobuf: `protobuf_json.py` has the messages typed from facts
//! §3 and reads and prints them by protobuf's own JSON rules.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use stillframe::domain::manifest::{ManifestEncoding, SnapshotMetadata};
use stillframe::objects::metadata::{decode, encode, rewrite, rewrite_copy};

use super::sample::{ROOT, metadata};

fn protobuf(arguments: &[&str]) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/formats/protobuf_json.py");
    let output = Command::new(crate::support::python())
        .arg(script)
        .args(arguments)
        .output()
        .expect("starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// What protobuf understands of a file, in its own words.
fn understood(file: &[u8], form: &[&str]) -> Value {
    let kept = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(kept.path(), file).expect("writes");
    protobuf(&[&[kept.path().to_str().expect("UTF-8")], form].concat())
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).expect("JSON")
}

fn bytes(value: &Value) -> Vec<u8> {
    serde_json::to_vec(value).expect("writes")
}

#[test]
fn protobuf_would_write_what_we_write() {
    for encoding in [ManifestEncoding::Container, ManifestEncoding::Milvus] {
        let written = encode(&metadata(encoding), ROOT);
        let mut ours = json(&written);
        ours.as_object_mut()
            .expect("an object")
            .remove("stillframe")
            .expect("is there");
        assert_eq!(understood(&written, &[]), ours);
    }
}

#[test]
fn we_read_what_protobuf_writes() {
    let mut expected = metadata(ManifestEncoding::Milvus);
    let written = encode(&expected, ROOT);
    (expected.num_of_rows, expected.file_count, expected.size_bytes) = (0, 0, 0);
    expected.aliases.clear();
    for manifest in &mut expected.manifests {
        (manifest.size_bytes, manifest.sha256) = (0, String::new());
    }
    for form in [&[][..], &["--numbers"]] {
        let read = decode(&bytes(&understood(&written, form)), ROOT).expect("decodes");
        assert_eq!(read, expected, "{form:?}");
    }
}

#[test]
fn every_form_that_protobuf_takes_is_taken() {
    let expected = decode(&bytes(&protobuf(&["--sample"])), ROOT).expect("decodes");
    let camel = protobuf(&["--sample", "--camel"]);
    assert!(camel.get("snapshotInfo").is_some(), "{camel}");
    let read = decode(&bytes(&camel), ROOT).expect("decodes");
    let rewritten = rewrite(&bytes(&camel), &read, ROOT).expect("rewrites");
    assert_eq!(decode(&rewritten, ROOT).expect("decodes"), read, "nothing is there twice");
    // what has no name here keeps the one that it came with
    assert_eq!(read.schema.extra.len(), expected.schema.extra.len());
    let plain = |mut read: SnapshotMetadata| {
        read.schema.extra.clear();
        let nested = read.schema.struct_array_fields.iter_mut().flat_map(|group| &mut group.fields);
        for field in read.schema.fields.iter_mut().chain(nested) {
            field.extra.clear();
            field.default_value = None;
        }
        read
    };
    assert_eq!(plain(read), plain(expected));
}

#[test]
fn what_we_do_not_know_is_ignored_when_read_and_kept_when_rewritten() {
    let sample = protobuf(&["--sample"]);
    let read = decode(&bytes(&sample), ROOT).expect("decodes");
    assert_eq!(read.manifests.len(), 2);
    assert_eq!(read.schema.fields.len(), 2);
    let rewritten = rewrite(&bytes(&sample), &read, ROOT).expect("rewrites");
    assert_eq!(understood(&rewritten, &[]), sample, "nothing of it is lost");
    assert_eq!(decode(&rewritten, ROOT).expect("decodes"), read);
    // and what protobuf itself does not know
    let mut newer = sample.clone();
    newer["a_new_key"] = serde_json::json!({"deep": [1, "2"]});
    newer["collection"]["schema"]["fields"][1]["a_new_key"] = serde_json::json!(true);
    let rewritten = json(&rewrite(&bytes(&newer), &read, ROOT).expect("rewrites"));
    assert_eq!(rewritten["a_new_key"], newer["a_new_key"]);
    assert_eq!(rewritten["collection"]["schema"]["fields"][1]["a_new_key"], true);
    assert!(rewritten["collection"]["schema"]["fields"][0].get("a_new_key").is_none());
}

#[test]
fn a_copy_keeps_what_is_unknown_but_for_what_is_the_originals_alone() {
    let mut sample = protobuf(&["--sample"]);
    let read = decode(&bytes(&sample), ROOT).expect("decodes");
    let segment = read.manifests[0].segment_id.0;
    sample["of_any"] = serde_json::json!({"deep": [true, "no id"]});
    sample["of_a_segment"] = serde_json::json!({"deep": [{(segment.to_string()): true}]});
    sample["of_a_number"] = serde_json::json!([segment]);
    sample["of_a_channel"] = serde_json::json!({"name": read.channels[0].channel_name});
    sample["snapshot_info"]["a_new_key"] = serde_json::json!("no id");
    sample["snapshot_info"]["of_its_collection"] = serde_json::json!(read.collection_id.0.to_string());
    sample["snapshot_info"]["pendingStartTime"] = serde_json::json!("1");
    sample["snapshot_info"]["s3_location"] = serde_json::json!("s3://bucket/elsewhere");
    sample["collection"]["schema"]["fields"][1]["a_new_key"] = serde_json::json!(true);
    let mut copy = read.clone();
    copy.snapshot_id.0 += 1;
    copy.collection_id.0 += 1;
    copy.build_ids.clear();
    let written = rewrite_copy(&bytes(&sample), &copy, ROOT).expect("rewrites");
    assert_eq!(
        decode(&written, ROOT).expect("decodes").snapshot_id,
        copy.snapshot_id,
        "our own keys are the copy's"
    );
    let written = json(&written);
    assert_eq!(written["of_any"], sample["of_any"]);
    assert_eq!(written["snapshot_info"]["a_new_key"], "no id");
    assert_eq!(written["collection"]["schema"]["fields"][1]["a_new_key"], true);
    let info = written["snapshot_info"].as_object().expect("an object");
    for gone in [
        "of_its_collection",
        "pendingStartTime",
        "pending_start_time",
        "s3_location",
        "pin_ids",
        "pin_expire_at_ms",
        "compaction_expire_time",
    ] {
        assert!(!info.contains_key(gone), "{gone}: {info:?}");
    }
    for gone in ["of_a_segment", "of_a_number", "of_a_channel"] {
        assert!(written.get(gone).is_none(), "{gone}");
    }
    assert!(rewrite_copy(b"{\"snapshot_info\": 1", &copy, ROOT).is_err());
}

#[test]
fn what_was_changed_or_taken_out_does_not_come_back() {
    let sample = protobuf(&["--sample"]);
    let mut changed = decode(&bytes(&sample), ROOT).expect("decodes");
    let kept = changed.schema.fields.split_off(1);
    changed.schema.fields = kept;
    changed.schema.functions.clear();
    changed.description = "another".into();
    let rewritten = json(&rewrite(&bytes(&sample), &changed, "elsewhere").expect("rewrites"));
    let fields = rewritten["collection"]["schema"]["fields"].as_array().expect("fields");
    assert_eq!(fields.len(), 1);
    assert_eq!(
        fields[0]["external_field"],
        sample["collection"]["schema"]["fields"][1]["external_field"]
    );
    assert!(rewritten["collection"]["schema"].get("functions").is_none());
    assert_eq!(rewritten["snapshot_info"]["description"], "another");
    assert_eq!(
        rewritten["snapshot_info"]["pin_ids"], sample["snapshot_info"]["pin_ids"],
        "unknown here, so it stays"
    );
    let key = rewritten["manifest_list"][0].as_str().expect("text");
    assert!(key.starts_with("elsewhere/snapshots/"), "{key}");
    for bad in [&b"["[..], b"[]", b"{\"indexes\": 1", b""] {
        assert!(rewrite(bad, &changed, ROOT).is_err());
    }
}
