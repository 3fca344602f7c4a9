//! Bare datums of every format version of Milvus, and containers of other writers. The schemas
//! are typed here from facts §4.3, not taken from the product; the bytes are Apache Avro's.

use apache_avro::types::Value;
use apache_avro::types::Value::{Array, Boolean, Bytes, Int, Long, Union};
use apache_avro::{Codec, DeflateSettings};
use stillframe::domain::manifest::{Manifest, ManifestEncoding};
use stillframe::domain::segment::FieldLogs;
use stillframe::objects::manifest::{decode, encode};

use super::avro::{record, write_container, write_datum};
use super::sample::{COLLECTION, ROOT, as_read, full_manifest};

const VERSION_5: &str = r#"{"type": "record", "name": "ManifestEntry", "fields": [
  {"name": "segment_id", "type": "long"},
  {"name": "partition_id", "type": "long"},
  {"name": "segment_level", "type": "long"},
  {"name": "channel_name", "type": "string"},
  {"name": "num_of_rows", "type": "long"},
  {"name": "start_position", "type": {"type": "record", "name": "AvroMsgPosition", "fields": [
    {"name": "channel_name", "type": "string"},
    {"name": "msg_id", "type": "bytes"},
    {"name": "msg_group", "type": "string"},
    {"name": "timestamp", "type": "long"}]}},
  {"name": "dml_position", "type": "AvroMsgPosition"},
  {"name": "storage_version", "type": "long"},
  {"name": "is_sorted", "type": "boolean"},
  {"name": "commit_timestamp", "type": "long", "default": 0},
  {"name": "delete_apply_start_after_timetick", "type": "long", "default": 0},
  {"name": "binlog_files", "type": {"type": "array", "items": {"type": "record", "name": "AvroFieldBinlog", "fields": [
    {"name": "field_id", "type": "long"},
    {"name": "child_fields", "type": {"type": "array", "items": "long"}, "default": []},
    {"name": "format", "type": "string", "default": ""},
    {"name": "binlogs", "type": {"type": "array", "items": {"type": "record", "name": "AvroBinlog", "fields": [
      {"name": "entries_num", "type": "long"},
      {"name": "timestamp_from", "type": "long"},
      {"name": "timestamp_to", "type": "long"},
      {"name": "log_path", "type": "string"},
      {"name": "log_size", "type": "long"},
      {"name": "log_id", "type": "long"},
      {"name": "memory_size", "type": "long"}]}}}]}}},
  {"name": "deltalog_files", "type": {"type": "array", "items": "AvroFieldBinlog"}},
  {"name": "statslog_files", "type": {"type": "array", "items": "AvroFieldBinlog"}},
  {"name": "bm25_statslog_files", "type": {"type": "array", "items": "AvroFieldBinlog"}},
  {"name": "index_files", "type": {"type": "array", "items": {"type": "record", "name": "AvroIndexFilePathInfo", "fields": [
    {"name": "segment_id", "type": "long"},
    {"name": "field_id", "type": "long"},
    {"name": "index_id", "type": "long"},
    {"name": "build_id", "type": "long"},
    {"name": "index_name", "type": "string"},
    {"name": "index_params", "type": {"type": "array", "items": {"type": "record", "name": "AvroKeyValuePair", "fields": [
      {"name": "key", "type": "string"},
      {"name": "value", "type": "string"}]}}},
    {"name": "index_file_paths", "type": {"type": "array", "items": "string"}},
    {"name": "serialized_size", "type": "long"},
    {"name": "index_version", "type": "long"},
    {"name": "num_rows", "type": "long"},
    {"name": "current_index_version", "type": "int"},
    {"name": "mem_size", "type": "long"},
    {"name": "current_scalar_index_version", "type": "int", "default": 0},
    {"name": "index_store_path_version", "type": "int", "default": 0}]}}},
  {"name": "text_index_files", "type": {"type": "array", "items": {"type": "record", "name": "AvroTextIndexEntry", "fields": [
    {"name": "field_id", "type": "long"},
    {"name": "stats", "type": {"type": "record", "name": "AvroTextIndexStats", "fields": [
      {"name": "field_id", "type": "long"},
      {"name": "version", "type": "long"},
      {"name": "files", "type": {"type": "array", "items": "string"}},
      {"name": "log_size", "type": "long"},
      {"name": "memory_size", "type": "long"},
      {"name": "build_id", "type": "long"}]}}]}}},
  {"name": "json_key_index_files", "type": {"type": "array", "items": {"type": "record", "name": "AvroJSONKeyIndexEntry", "fields": [
    {"name": "field_id", "type": "long"},
    {"name": "stats", "type": {"type": "record", "name": "AvroJSONKeyStats", "fields": [
      {"name": "field_id", "type": "long"},
      {"name": "version", "type": "long"},
      {"name": "files", "type": {"type": "array", "items": "string"}},
      {"name": "log_size", "type": "long"},
      {"name": "memory_size", "type": "long"},
      {"name": "build_id", "type": "long"},
      {"name": "json_key_stats_data_format", "type": "long"}]}}]}}}]}"#;

/// Fields and the version that brought them.
const ADDED: [(i32, &str); 5] = [
    (
        5,
        r#"{"name": "delete_apply_start_after_timetick", "type": "long", "default": 0},"#,
    ),
    (
        4,
        r#"{"name": "child_fields", "type": {"type": "array", "items": "long"}, "default": []},"#,
    ),
    (4, r#"{"name": "format", "type": "string", "default": ""},"#),
    (3, r#"{"name": "commit_timestamp", "type": "long", "default": 0},"#),
    (2, r#", {"name": "index_store_path_version", "type": "int", "default": 0}"#),
];

pub fn schema(version: i32) -> String {
    let tidy = VERSION_5.replace(",\n    {\"name\": \"index_store", ", {\"name\": \"index_store");
    ADDED
        .iter()
        .filter(|(since, _)| *since > version.max(1))
        .fold(tidy, |schema, (_, field)| {
            assert!(schema.contains(field), "{field}");
            schema.replace(field, "")
        })
}

fn string(text: &str) -> Value {
    Value::String(text.into())
}

/// The manifest as a value of version 5, reduced to what a version has.
pub fn value(manifest: &Manifest, version: i32) -> Value {
    let segment = &manifest.segment;
    let files = &segment.content.files;
    let key = |path: &str| string(&format!("{ROOT}/{path}"));
    let position = |p: &stillframe::domain::segment::SegmentPosition| {
        record(vec![
            ("channel_name", string(&p.channel_name)),
            ("msg_id", Bytes(p.position.msg_id.clone())),
            ("msg_group", string(&p.position.msg_group)),
            ("timestamp", Long(p.position.timestamp)),
        ])
    };
    let logs = |groups: &[FieldLogs]| {
        let group = |g: &FieldLogs| {
            let logs = g.logs.iter().map(|l| {
                record(vec![
                    ("entries_num", Long(l.entries_num)),
                    ("timestamp_from", Long(l.timestamp_from)),
                    ("timestamp_to", Long(l.timestamp_to)),
                    ("log_path", key(&l.file.path)),
                    ("log_size", Long(l.file.size_bytes.cast_signed())),
                    ("log_id", Long(l.log_id)),
                    ("memory_size", Long(l.memory_size)),
                ])
            });
            record(vec![
                ("field_id", Long(g.field_id)),
                ("child_fields", Array(g.child_fields.iter().map(|id| Long(*id)).collect())),
                ("format", string(&g.format)),
                ("binlogs", Array(logs.collect())),
            ])
        };
        Array(groups.iter().map(group).collect())
    };
    let builds = manifest.builds.iter().map(|b| {
        let c = &b.content;
        let pairs = c
            .index_params
            .iter()
            .map(|(k, v)| record(vec![("key", string(k)), ("value", string(v))]));
        record(vec![
            ("segment_id", Long(b.segment_id.0)),
            ("field_id", Long(c.field_id)),
            ("index_id", Long(b.index_id.0)),
            ("build_id", Long(b.build_id.0)),
            ("index_name", string(&c.index_name)),
            ("index_params", Array(pairs.collect())),
            ("index_file_paths", Array(c.files.iter().map(|f| key(&f.path)).collect())),
            ("serialized_size", Long(c.serialized_size.cast_signed())),
            ("index_version", Long(c.index_version)),
            ("num_rows", Long(c.num_rows)),
            ("current_index_version", Int(c.current_index_version)),
            ("mem_size", Long(c.mem_size.cast_signed())),
            ("current_scalar_index_version", Int(c.current_scalar_index_version)),
            ("index_store_path_version", Int(c.index_store_path_version)),
        ])
    });
    let indexes = |indexes: &[stillframe::domain::segment::FieldIndexFiles], json: bool| {
        let entry = |i: &stillframe::domain::segment::FieldIndexFiles| {
            let mut stats = vec![
                ("field_id", Long(i.field_id)),
                ("version", Long(i.version)),
                ("files", Array(i.files.iter().map(|f| key(&f.path)).collect())),
                ("log_size", Long(i.log_size().cast_signed())),
                ("memory_size", Long(i.memory_size)),
                ("build_id", Long(i.build_id)),
            ];
            if json {
                stats.push(("json_key_stats_data_format", Long(i.data_format)));
            }
            record(vec![("field_id", Long(i.field_id)), ("stats", record(stats))])
        };
        Array(indexes.iter().map(entry).collect())
    };
    let whole = record(vec![
        ("segment_id", Long(segment.segment_id.0)),
        ("partition_id", Long(segment.partition_id.0)),
        ("segment_level", Long(segment.level.number())),
        ("channel_name", string(&segment.channel_name)),
        ("num_of_rows", Long(segment.num_of_rows)),
        ("start_position", position(&segment.content.start_position)),
        ("dml_position", position(&segment.content.dml_position)),
        ("storage_version", Long(segment.content.storage_version)),
        ("is_sorted", Boolean(segment.content.is_sorted)),
        ("commit_timestamp", Long(segment.commit_timestamp)),
        ("delete_apply_start_after_timetick", Long(0)),
        ("binlog_files", logs(&files.binlogs)),
        ("deltalog_files", logs(&files.deltalogs)),
        ("statslog_files", logs(&files.statslogs)),
        ("bm25_statslog_files", logs(&files.bm25_statslogs)),
        ("index_files", Array(builds.collect())),
        ("text_index_files", indexes(&files.text_index_files, false)),
        ("json_key_index_files", indexes(&files.json_key_index_files, true)),
    ]);
    let known = schema(version);
    prune(whole, &|name| known.contains(&format!("\"name\": \"{name}\"")))
}

fn prune(value: Value, keep: &dyn Fn(&str) -> bool) -> Value {
    match value {
        Value::Record(fields) => {
            let fields = fields.into_iter().filter(|(name, _)| keep(name));
            Value::Record(fields.map(|(name, value)| (name, prune(value, keep))).collect())
        }
        Array(items) => Array(items.into_iter().map(|item| prune(item, keep)).collect()),
        other => other,
    }
}

/// What a version can say of the manifest.
pub fn as_of(version: i32) -> Manifest {
    let mut manifest = as_read(full_manifest());
    if version < 4 {
        for group in &mut manifest.segment.content.files.binlogs {
            group.child_fields.clear();
            group.format.clear();
        }
    }
    if version < 3 {
        manifest.segment.commit_timestamp = 0;
    }
    if version < 2 {
        for build in &mut manifest.builds {
            build.content.index_store_path_version = 0;
        }
    }
    manifest
}

/// With `serialized_size` filled in as the writer does it.
pub fn written() -> Manifest {
    let mut manifest = full_manifest();
    for build in &mut manifest.builds {
        build.content.serialized_size = match build.content.serialized_size {
            0 => build.content.size_bytes(),
            size => size,
        };
    }
    manifest
}

#[test]
fn datums_of_every_version_are_read() {
    for version in 0..=5 {
        let bytes = write_datum(&schema(version), &value(&written(), version));
        let read = decode(&bytes, version, ROOT, COLLECTION).unwrap_or_else(|e| panic!("version {version}: {e}"));
        assert_eq!(read, as_of(version), "version {version}");
    }
}

#[test]
fn a_datum_read_as_another_version_is_refused() {
    for (written_as, read_as) in [(1, 2), (2, 1), (2, 3), (3, 2), (3, 4), (4, 3), (4, 5), (5, 4)] {
        let bytes = write_datum(&schema(written_as), &value(&written(), written_as));
        let error = decode(&bytes, read_as, ROOT, COLLECTION).expect_err("misread");
        assert!(error.to_string().starts_with("the manifest "), "{error}");
    }
}

#[test]
fn our_datum_is_the_datum_of_apache_avro() {
    let bytes = write_datum(&schema(4), &value(&written(), 4));
    assert_eq!(
        encode(&full_manifest(), ROOT, ManifestEncoding::Milvus).expect("encodes"),
        bytes
    );
}

#[test]
fn a_deletes_boundary_is_not_lost_in_silence() {
    let Value::Record(mut fields) = value(&written(), 5) else {
        unreachable!()
    };
    fields[10].1 = Long(7);
    let error = decode(&write_datum(&schema(5), &Value::Record(fields)), 5, ROOT, COLLECTION).expect_err("refused");
    assert!(
        error.to_string().contains("delete_apply_start_after_timetick is 7"),
        "{error}"
    );
}

#[test]
fn containers_of_any_version_and_codec_are_read() {
    for version in 1..=5 {
        for codec in [Codec::Null, Codec::Deflate(DeflateSettings::default())] {
            let bytes = write_container(&schema(version), &[value(&written(), version)], codec);
            for declared in [1000 + version, 1004, 4] {
                let read = decode(&bytes, declared, ROOT, COLLECTION).unwrap_or_else(|e| panic!("{version}: {e}"));
                assert_eq!(read, as_of(version));
            }
        }
    }
}

#[test]
fn fields_of_a_container_meet_by_name() {
    // other order, unknown fields of every type, a nullable one, another namespace
    let added = r#""namespace": "org.example", "fields": [
        {"name": "u_null", "type": "null"}, {"name": "u_bool", "type": "boolean"}, {"name": "u_int", "type": "int"},
        {"name": "u_float", "type": "float"}, {"name": "u_double", "type": "double"}, {"name": "u_bytes", "type": "bytes"},
        {"name": "u_fixed", "type": {"type": "fixed", "name": "Four", "size": 4}},
        {"name": "u_enum", "type": {"type": "enum", "name": "Colour", "symbols": ["RED", "BLUE"]}},
        {"name": "u_map", "type": {"type": "map", "values": {"type": "array", "items": ["null", "Four"]}}},
        {"name": "u_union", "type": ["null", {"type": "map", "values": "double"}, "org.example.Four"]},
        {"name": "is_sorted", "type": ["null", "boolean"]},
        {"name": "segment_id", "#;
    let foreign = schema(4)
        .replace(r#"  {"name": "is_sorted", "type": "boolean"},"#, "")
        .replacen("\"fields\": [\n  {\"name\": \"segment_id\", ", added, 1);
    let Value::Record(fields) = value(&written(), 4) else {
        unreachable!()
    };
    let four = || Value::Fixed(4, vec![1, 2, 3, 4]);
    let map = [(
        "k".to_string(),
        Array(vec![Union(0, Box::new(Value::Null)), Union(1, Box::new(four()))]),
    )];
    let mut all: Vec<(String, Value)> = vec![
        ("u_null", Value::Null),
        ("u_bool", Boolean(true)),
        ("u_int", Int(-5)),
        ("u_float", Value::Float(1.5)),
        ("u_double", Value::Double(2.5)),
        ("u_bytes", Bytes(vec![9; 300])),
        ("u_fixed", four()),
        ("u_enum", Value::Enum(1, "BLUE".into())),
        ("u_map", Value::Map(map.into())),
        (
            "u_union",
            Union(1, Box::new(Value::Map([("x".to_string(), Value::Double(0.5))].into()))),
        ),
        ("is_sorted", Union(1, Box::new(Boolean(true)))),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_string(), value))
    .collect();
    all.extend(fields.into_iter().filter(|(name, _)| name != "is_sorted"));
    let bytes = write_container(&foreign, &[Value::Record(all)], Codec::Null);
    assert_eq!(decode(&bytes, 1004, ROOT, COLLECTION).expect("decodes"), as_of(4));
}

#[test]
fn a_container_lacking_what_every_version_has_is_refused() {
    let without = schema(4).replace(
        r#"  {"name": "deltalog_files", "type": {"type": "array", "items": "AvroFieldBinlog"}},"#,
        "",
    );
    let value = prune(value(&written(), 4), &|name| name != "deltalog_files");
    let bytes = write_container(&without, &[value], Codec::Null);
    let error = decode(&bytes, 1004, ROOT, COLLECTION).expect_err("refused");
    assert!(error.to_string().contains("missing field `deltalog_files`"), "{error}");
}

#[test]
fn a_container_has_exactly_one_record() {
    let one = value(&written(), 4);
    for values in [vec![], vec![one.clone(), one]] {
        let bytes = write_container(&schema(4), &values, Codec::Null);
        let error = decode(&bytes, 1004, ROOT, COLLECTION).expect_err("refused");
        assert!(error.to_string().contains("record"), "{error}");
    }
}
