//! The metadata file: what is written is read, and protobuf's JSON rules hold.

use serde_json::{Value, json};
use stillframe::domain::Code;
use stillframe::domain::manifest::{ManifestEncoding, SnapshotMetadata};
use stillframe::objects::metadata::{decode, decode_versioned, encode};

use super::sample::{ROOT, metadata};

fn container() -> SnapshotMetadata {
    metadata(ManifestEncoding::Container)
}

fn written() -> Value {
    serde_json::from_slice(&encode(&container(), ROOT)).expect("JSON")
}

fn read(value: &Value) -> Result<SnapshotMetadata, String> {
    decode(&serde_json::to_vec(value).expect("writes"), ROOT).map_err(|e| {
        assert_eq!(e.code(), Code::CorruptSnapshot);
        e.to_string()
    })
}

#[test]
fn metadata_is_read_as_it_was_written() {
    for (encoding, version) in [(ManifestEncoding::Container, 1004), (ManifestEncoding::Milvus, 4)] {
        for root in ["", "files", "a/b"] {
            let metadata = metadata(encoding);
            let read = decode_versioned(&encode(&metadata, root), root).expect("decodes");
            assert_eq!(read, (version, metadata));
        }
    }
}

#[test]
fn what_is_zero_or_empty_comes_back_too() {
    let mut metadata = container();
    metadata.consistency_level = "Strong".into();
    metadata.description.clear();
    metadata.db_name.clear();
    metadata.create_ts = 0;
    metadata.properties.clear();
    metadata.channels[1].seek_position = None;
    metadata.channels[0].seek_position = Some(Default::default());
    metadata.schema.fields.clear();
    metadata.schema.functions.clear();
    metadata.schema.struct_array_fields.clear();
    metadata.manifests.clear();
    metadata.storagev2_manifests.clear();
    metadata.build_ids.clear();
    metadata.indexes.clear();
    assert_eq!(decode(&encode(&metadata, ""), "").expect("decodes"), metadata);
    metadata.channels.clear();
    metadata.partitions.reverse();
    assert_eq!(decode(&encode(&metadata, ""), "").expect("decodes"), metadata);
}

#[test]
fn protobufs_json_rules_hold() {
    let file = written();
    assert_eq!(file["format_version"], 1004);
    assert_eq!(file["layout"], "SnapshotLayoutReferenced");
    let info = &file["snapshot_info"];
    assert_eq!(info["id"], "470644622232109999");
    assert_eq!(info["state"], "SnapshotStatePending");
    assert_eq!(info["partition_ids"], json!(["470644622231601174", "470644622231801189"]));
    assert_eq!(info["channel_seek_positions"][0]["msgID"], "0QKAU8oQiAY=");
    assert_eq!(info["channel_seek_positions"][0]["timestamp"], "470644641416347649");
    assert!(info.get("s3_location").is_none());
    let collection = &file["collection"];
    assert_eq!(collection["num_shards"], "2");
    assert_eq!(collection["consistency_level"], "Bounded");
    assert_eq!(
        collection["partitions"],
        json!({"_default": "470644622231601174", "p2": "470644622231801189"})
    );
    let schema = &collection["schema"];
    assert_eq!(schema["properties"][2], json!({"key": "consistency_level", "value": "2"}));
    assert_eq!(schema["version"], 3);
    assert!(schema["fields"][0].get("fieldID").is_none(), "zero is left out");
    assert!(schema.get("autoID").is_none(), "false is left out");
    assert_eq!(
        schema["fields"][3],
        json!({"fieldID": "101", "name": "tag", "data_type": "VarChar", "type_params": [{"key": "max_length", "value": "64"}]})
    );
    assert_eq!(schema["functions"][0]["type"], "BM25");
    assert_eq!(schema["functions"][0]["input_field_names"], json!(["tag"]));
    assert_eq!(file["segment_ids"][0], "470644622231801182");
    assert!(
        file["manifest_list"][0]
            .as_str()
            .expect("text")
            .starts_with("files/snapshots/470644622231601173/manifests/")
    );
    assert_eq!(file["stillframe"]["manifests"][0]["size_bytes"], 4321);
    let text = String::from_utf8(encode(&container(), ROOT)).expect("text");
    assert!(
        text.starts_with("{\n  \"format_version\": 1004,\n  \"snapshot_info\": {\n    \"name\""),
        "{text:.80}"
    );
    // the order of protobuf's numbers
    let keys = [
        "format_version",
        "snapshot_info",
        "collection",
        "indexes",
        "manifest_list",
        "storagev2_manifest_list",
        "segment_ids",
    ];
    let places = keys.map(|key| text.find(&format!("\n  \"{key}\"")).expect(key));
    assert!(places.is_sorted());
}

/// Strings of digits become numbers, enum names their numbers.
fn with_numbers(value: Value) -> Value {
    let enums = [
        ("Bounded", 2),
        ("Int64", 5),
        ("FloatVector", 101),
        ("BM25", 1),
        ("SnapshotStatePending", 1),
    ];
    match value {
        Value::String(text) => match text.parse::<i64>() {
            Ok(number) if text.len() > 10 => json!(number),
            _ => enums
                .iter()
                .find(|(name, _)| *name == text)
                .map_or(json!(text), |(_, number)| json!(number)),
        },
        Value::Array(items) => items.into_iter().map(with_numbers).collect(),
        Value::Object(fields) => fields.into_iter().map(|(key, value)| (key, with_numbers(value))).collect(),
        other => other,
    }
}

#[test]
fn numbers_stand_for_strings_and_enum_names() {
    assert_eq!(read(&with_numbers(written())).expect("decodes"), container());
}

#[test]
fn unknown_keys_are_ignored() {
    let mut file = written();
    file["new"] = json!({"a": [1, 2]});
    file["snapshot_info"]["pin_expire_at_ms"] = json!({"7": "8"});
    assert_eq!(read(&file).expect("decodes"), container());
}

#[test]
fn unknown_keys_of_the_schema_are_kept_with_it() {
    let mut file = written();
    let schema = &mut file["collection"]["schema"];
    schema["new"] = json!([1, {"a": "b"}]);
    schema["fields"][0]["type_schema"] = json!({"x": null});
    schema["fields"][0]["nothing"] = json!(null);
    schema["struct_array_fields"][0]["new"] = json!(1.5);
    schema["functions"][0]["new"] = json!("f");
    let read = read(&file).expect("decodes");
    let mut expected = container();
    expected.schema.extra.insert("new".into(), json!([1, {"a": "b"}]));
    expected.schema.fields[0]
        .extra
        .insert("type_schema".into(), json!({"x": null}));
    expected.schema.struct_array_fields[0].extra.insert("new".into(), json!(1.5));
    expected.schema.functions[0].extra.insert("new".into(), json!("f"));
    assert_eq!(read, expected);
    assert_eq!(decode(&encode(&read, ROOT), ROOT).expect("decodes"), expected);
}

#[test]
fn null_and_lower_camel_case_and_exponents_are_taken_as_protobuf_takes_them() {
    let mut file = written();
    file["storagev2_manifest_list"] = json!(null);
    file["build_ids"] = json!(null);
    file["snapshot_info"]["description"] = json!(null);
    file["collection"]["schema"]["fields"][0]["default_value"] = json!(null);
    let schema = file["collection"]["schema"].as_object_mut().expect("an object");
    let functions = schema.remove("functions").expect("there");
    schema.insert("enableDynamicField".into(), schema["enable_dynamic_field"].clone());
    schema.remove("enable_dynamic_field");
    schema.insert("version".into(), json!("3"));
    schema.insert("functions".into(), functions);
    let text = file
        .to_string()
        .replacen("\"format_version\":1004", "\"formatVersion\":1.004e3", 1);
    assert!(text.contains("1.004e3"));
    let mut expected = container();
    expected.storagev2_manifests.clear();
    expected.build_ids.clear();
    expected.description.clear();
    assert_eq!(decode(text.as_bytes(), ROOT).expect("decodes"), expected);
    let twice = text.replacen("\"formatVersion\"", "\"format_version\":1004,\"formatVersion\"", 1);
    let error = decode(twice.as_bytes(), ROOT).expect_err("twice").to_string();
    assert!(error.contains("duplicate field"), "{error}");
}

#[test]
fn a_file_of_milvus_itself_is_read() {
    let mut file = written();
    file["format_version"] = json!(3);
    file.as_object_mut().expect("an object").remove("stillframe");
    // early writers leave these to the schema's properties
    let collection = file["collection"].as_object_mut().expect("an object");
    collection.remove("consistency_level");
    collection.remove("properties");
    let (version, read) = decode_versioned(&serde_json::to_vec(&file).expect("writes"), ROOT).expect("decodes");
    assert_eq!(version, 3);
    let mut expected = metadata(ManifestEncoding::Milvus);
    (expected.num_of_rows, expected.file_count, expected.size_bytes) = (0, 0, 0);
    expected.aliases.clear();
    for manifest in &mut expected.manifests {
        (manifest.size_bytes, manifest.sha256) = (0, String::new());
    }
    assert_eq!(read, expected);
}

#[test]
fn the_least_file_is_read() {
    let read = read(&json!({"snapshot_info": {}, "collection": {}})).expect("decodes");
    assert_eq!(read.encoding, ManifestEncoding::Milvus);
    assert_eq!(read.consistency_level, "Strong");
    assert_eq!(read.manifests, []);
}

#[test]
fn what_is_wrong_is_named() {
    let cases: Vec<(&str, Value, &str)> = vec![
        ("/snapshot_info", Value::Null, "snapshot_info is missing"),
        ("/collection", Value::Null, "collection is missing"),
        (
            "/format_version",
            json!(6),
            "incompatible snapshot format: snapshot format version 6 is too new, current supported version: 5 (please upgrade Milvus)",
        ),
        ("/format_version", json!(-1), "snapshot format version -1 is too new"),
        ("/snapshot_info/id", json!("-5"), "snapshot_info.id is -5"),
        ("/snapshot_info/id", json!("x"), "invalid value: string \"x\""),
        ("/snapshot_info/channel_seek_positions/0/msgID", json!("*"), "Invalid"),
        (
            "/snapshot_info/channel_seek_positions/0/channel_name",
            json!("other"),
            "virtual_channel_names has not",
        ),
        (
            "/collection/num_shards",
            json!("99999999999"),
            "num_shards is 99999999999, which is too much",
        ),
        (
            "/collection/consistency_level",
            json!("Lax"),
            "consistency_level \"Lax\" is unknown",
        ),
        (
            "/collection/consistency_level",
            json!(9),
            "consistency_level \"9\" is unknown",
        ),
        ("/manifest_list/0", json!("files/../x"), "has the part \"..\""),
        (
            "/manifest_list/0",
            json!("other/x"),
            "lies outside the storage root \"files\"",
        ),
        (
            "/storagev2_manifest_list/0/manifest",
            json!("s3://x"),
            "lies outside the storage root",
        ),
        (
            "/storagev2_manifest_list/0/segment_id",
            json!("1"),
            "segment 1 twice, or it has no manifest",
        ),
        (
            "/segment_ids/0",
            json!("1"),
            "snapshot segment IDs do not match manifests: missing segment 1",
        ),
        (
            "/segment_ids",
            json!(["470644622231801182"]),
            "snapshot segment IDs do not match manifests: unexpected segment 470644622231801183",
        ),
        (
            "/stillframe/manifests",
            json!([{}]),
            "manifest_list has 4 manifests, stillframe.manifests 1",
        ),
        (
            "/stillframe/manifests/1/segment_id",
            json!("470644622231801182"),
            "duplicate segment 470644622231801182",
        ),
        ("/stillframe/totals/size_bytes", json!(-1), "totals.size_bytes is -1"),
        ("/indexes/0/indexID", json!(-3), "indexID is -3"),
        ("/indexes/0/type_params", json!(vec![json!({}); 2000]), "at most 1024 items"),
        (
            "/collection/schema/fields/4/default_value",
            json!("x".repeat(300_000)),
            "a value has more than 262144 bytes",
        ),
    ];
    for (pointer, value, text) in cases {
        let mut file = written();
        *file.pointer_mut(pointer).expect(pointer) = value;
        let error = read(&file).expect_err(pointer);
        assert!(
            error.starts_with("the metadata file is wrong: ") && error.contains(text),
            "{pointer}: {error}"
        );
    }
}

#[test]
fn hundred_thousand_segments_are_written_and_read() {
    let mut metadata = container();
    metadata.storagev2_manifests.clear();
    let one = metadata.manifests[0].clone();
    metadata.manifests = (0..100_000)
        .map(|n| {
            let mut manifest = one.clone();
            manifest.segment_id.0 += n;
            manifest
        })
        .collect();
    assert_eq!(decode(&encode(&metadata, ROOT), ROOT).expect("decodes"), metadata);
}
