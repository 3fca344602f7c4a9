//! A real collection of Milvus 2.3.5 (`tests/fixtures/milvus-2.3.5/catalog.json`, read from its etcd), and a
//! segment that has something in every place.

use base64::Engine;
use serde_json::Value;
use stillframe::domain::collection::{Channel, Partition, Position};
use stillframe::domain::id::{BuildId, CollectionId, FieldId, IndexId, PartitionId, SegmentId, SnapshotId};
use stillframe::domain::index::{BuildContent, Index, IndexBuild};
use stillframe::domain::manifest::{Manifest, ManifestEncoding, SnapshotMetadata, WrittenManifest};
use stillframe::domain::schema::{Field, Function, Params, Schema, StructArrayField};
use stillframe::domain::segment::{
    FieldIndexFiles, FieldLogs, File, Level, Log, Segment, SegmentContent, SegmentFiles, SegmentPosition, SegmentState,
};
use time::OffsetDateTime;

pub const COLLECTION: CollectionId = CollectionId(470644622231601173);
pub const SEGMENT: i64 = 470644622231801182;
pub const ROOT: &str = "files";

fn catalog() -> Value {
    serde_json::from_str(include_str!("../../fixtures/milvus-2.3.5/catalog.json")).expect("JSON")
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_string()
}

fn number(value: &Value, key: &str) -> i64 {
    match &value[key] {
        Value::String(text) => text.parse().expect("an integer"),
        Value::Number(number) => number.as_i64().expect("an integer"),
        _ => 0,
    }
}

fn each<T>(value: &Value, key: &str, read: impl Fn(&Value) -> T) -> Vec<T> {
    value[key]
        .as_array()
        .map(|items| items.iter().map(read).collect())
        .unwrap_or_default()
}

fn params(value: &Value, key: &str) -> Params {
    serde_json::from_value(value[key].clone()).unwrap_or_default()
}

fn file(value: &Value) -> File {
    File {
        path: text(value, "path"),
        size_bytes: number(value, "size_bytes").cast_unsigned(),
        etag: None,
    }
}

fn position(value: &Value) -> Position {
    let msg_id = base64::engine::general_purpose::STANDARD.decode(text(value, "msg_id_base64"));
    Position {
        timestamp: number(value, "timestamp"),
        msg_id: msg_id.expect("base64"),
        msg_group: text(value, "msg_group"),
    }
}

fn segment_position(value: &Value) -> SegmentPosition {
    SegmentPosition {
        channel_name: text(value, "channel_name"),
        position: position(value),
    }
}

fn field_logs(value: &Value) -> FieldLogs {
    FieldLogs {
        field_id: number(value, "field_id"),
        child_fields: Vec::new(),
        format: String::new(),
        logs: each(value, "logs", |log| Log {
            log_id: number(log, "log_id"),
            file: file(log),
            entries_num: number(log, "entries_num"),
            timestamp_from: number(log, "timestamp_from"),
            timestamp_to: number(log, "timestamp_to"),
            memory_size: 0,
        }),
    }
}

fn manifest(segment: &Value) -> Manifest {
    let segment_id = SegmentId(number(segment, "segment_id"));
    let indexes = catalog();
    let build = |build: &Value| {
        let index_id = number(build, "index_id");
        let known = each(&indexes, "indexes", Value::clone);
        let known = known.iter().find(|i| number(i, "index_id") == index_id).expect("known");
        IndexBuild {
            build_id: BuildId(number(build, "build_id")),
            segment_id,
            index_id: IndexId(index_id),
            content: BuildContent {
                field_id: number(build, "field_id"),
                index_name: text(build, "index_name"),
                index_params: params(known, "index_params").into_iter().rev().collect(),
                index_version: number(build, "index_version"),
                num_rows: number(build, "num_rows"),
                current_index_version: 1,
                serialized_size: number(build, "serialized_size_bytes").cast_unsigned(),
                files: each(build, "files", file),
                ..BuildContent::default()
            },
        }
    };
    Manifest {
        builds: each(segment, "index_builds", build),
        segment: Segment {
            segment_id,
            collection_id: COLLECTION,
            partition_id: PartitionId(number(segment, "partition_id")),
            channel_name: text(segment, "channel_name"),
            level: Level::parse(&text(segment, "level")).expect("known"),
            state: SegmentState::Flushed,
            version: 1,
            num_of_rows: number(segment, "num_of_rows"),
            commit_timestamp: 0,
            content: SegmentContent {
                start_position: segment_position(&segment["start_position"]),
                dml_position: segment_position(&segment["dml_position"]),
                files: SegmentFiles {
                    binlogs: each(segment, "binlogs", field_logs),
                    deltalogs: each(segment, "deltalogs", field_logs),
                    statslogs: each(segment, "statslogs", field_logs),
                    ..SegmentFiles::default()
                },
                ..SegmentContent::default()
            },
            created_at: OffsetDateTime::UNIX_EPOCH,
        },
    }
}

/// Every segment of the real collection.
pub fn real_manifests() -> Vec<Manifest> {
    each(&catalog(), "segments", manifest)
}

/// The segment with index builds and a deltalog.
pub fn real_manifest() -> Manifest {
    let mut all = real_manifests().into_iter();
    all.find(|m| m.segment.segment_id.0 == SEGMENT).expect("it is there")
}

/// Something in every place.
pub fn full_manifest() -> Manifest {
    let mut manifest = real_manifest();
    let directory = "1/2/470644622231801182";
    let index = |field_id: i64, build_id: i64, data_format: i64, paths: &[&str]| FieldIndexFiles {
        field_id,
        version: 3,
        build_id,
        memory_size: 77,
        data_format,
        files: paths
            .iter()
            .zip(100..)
            .map(|(path, size_bytes)| File {
                path: (*path).into(),
                size_bytes,
                etag: Some("\"e\"".into()),
            })
            .collect(),
    };
    manifest.segment.partition_id = PartitionId::ALL;
    manifest.segment.level = Level::L0;
    manifest.segment.commit_timestamp = 470644622231801199;
    let content = &mut manifest.segment.content;
    content.storage_version = 2;
    content.is_sorted = true;
    content.files.binlogs[0].child_fields = vec![0, 1, 100];
    content.files.binlogs[0].format = "parquet".into();
    content.files.binlogs[0].logs[0].memory_size = 1 << 40;
    content.files.bm25_statslogs = vec![FieldLogs {
        field_id: 101,
        logs: vec![Log {
            log_id: 5,
            file: File {
                path: format!("bm25_stats/{directory}/101/5"),
                size_bytes: 12,
                etag: None,
            },
            ..Log::default()
        }],
        ..FieldLogs::default()
    }];
    content.files.text_index_files = vec![index(101, 9, 0, &["text_log/9/3/1/2/3/101/a", "text_log/9/3/1/2/3/101/ü"])];
    content.files.json_key_index_files = vec![index(103, 10, 2, &["json_stats/2/10/3/1/2/3/103/shared_key_index/x"])];
    let build = &mut manifest.builds[0].content;
    build.mem_size = 4_000_000_000;
    build.current_scalar_index_version = 2;
    build.index_store_path_version = 1;
    // unknown: the sum of the files stands for it
    manifest.builds[1].content.serialized_size = 0;
    manifest
}

/// What is left of a manifest after it was written and read.
pub fn as_read(mut manifest: Manifest) -> Manifest {
    for (file, build) in manifest.segment.content.files.files_mut() {
        file.etag = None;
        if build.is_some() {
            file.size_bytes = 0;
        }
    }
    for build in &mut manifest.builds {
        if build.content.serialized_size == 0 {
            build.content.serialized_size = build.content.size_bytes();
        }
        for file in &mut build.content.files {
            file.size_bytes = 0;
        }
    }
    manifest
}

/// The metadata of a snapshot of the real collection, with what its schema lacks added.
pub fn metadata(encoding: ManifestEncoding) -> SnapshotMetadata {
    let catalog = catalog();
    let collection = &catalog["collection"];
    let manifests = real_manifests();
    let mut fields = each(collection, "fields", |f| {
        serde_json::from_value::<Field>(f.clone()).expect("a field")
    });
    fields[4].extra.insert("external_field".into(), "column".into());
    fields[4].extra.insert("element_nullable".into(), true.into());
    fields[4].default_value = Some(serde_json::json!({"float_data": 1.5}));
    let struct_field = Field {
        field_id: FieldId(111),
        name: "clip[embedding]".into(),
        data_type: "ArrayOfVector".into(),
        element_type: Some("FloatVector".into()),
        type_params: Params::from([("dim".into(), "4".into())]),
        default_value: None,
        ..fields[2].clone()
    };
    SnapshotMetadata {
        snapshot_id: SnapshotId(470644622232109999),
        name: "before_reindex".into(),
        description: "Line 1\n\"quoted\" <&> ü".into(),
        collection_id: COLLECTION,
        external: false,
        aliases: vec!["latest".into(), "nightly".into()],
        create_ts: 470644641416347649,
        db_name: "default".into(),
        collection_name: text(collection, "name"),
        num_shards: 2,
        consistency_level: text(collection, "consistency_level"),
        schema: Schema {
            description: text(collection, "description"),
            enable_dynamic_field: true,
            version: 3,
            fields,
            functions: vec![Function {
                function_id: FieldId(120),
                name: "bm25".into(),
                function_type: "BM25".into(),
                description: String::new(),
                input_field_ids: vec![FieldId(101)],
                output_field_ids: vec![FieldId(104)],
                params: Params::from([("k1".into(), "1.2".into())]),
                extra: Default::default(),
            }],
            struct_array_fields: vec![StructArrayField {
                field_id: FieldId(110),
                name: "clip".into(),
                description: "an array of structs".into(),
                fields: vec![struct_field],
                type_params: Params::from([("max_capacity".into(), "100".into())]),
                nullable: true,
                extra: Default::default(),
            }],
            extra: [
                ("enable_namespace".to_string(), true.into()),
                ("file_resource_ids".into(), serde_json::json!(["900719"])),
            ]
            .into(),
            ..Schema::default()
        },
        properties: Params::from([
            ("collection.ttl.seconds".into(), "3600".into()),
            ("mmap.enabled".into(), "true".into()),
        ]),
        partitions: each(collection, "partitions", |p| Partition {
            partition_id: PartitionId(number(p, "partition_id")),
            name: text(p, "name"),
        }),
        channels: each(collection, "channels", Value::clone)
            .iter()
            .zip(0..)
            .map(|(c, shard_no)| Channel {
                channel_name: text(c, "channel_name"),
                shard_no,
                seek_position: Some(position(&c["seek_position"])),
            })
            .collect(),
        indexes: each(&catalog, "indexes", |i| Index {
            index_id: IndexId(number(i, "index_id")),
            field_id: FieldId(number(i, "field_id")),
            index_name: text(i, "index_name"),
            type_params: params(i, "type_params"),
            index_params: params(i, "index_params"),
            user_index_params: params(i, "user_index_params"),
            is_auto_index: number(i, "field_id") == 104,
        }),
        encoding,
        manifests: manifests
            .iter()
            .map(|m| WrittenManifest {
                segment_id: m.segment.segment_id,
                key: format!(
                    "snapshots/{COLLECTION}/manifests/470644622232109999/{}.avro",
                    m.segment.segment_id
                ),
                size_bytes: 4321,
                sha256: "ab".repeat(32),
            })
            .collect(),
        storagev2_manifests: vec![
            (SegmentId(SEGMENT), format!("insert_log/{COLLECTION}/2/{SEGMENT}/_manifest")),
            (
                SegmentId(SEGMENT + 1),
                r#"{"ver":1,"base_path":"files/insert_log/1/2/3"}"#.into(),
            ),
        ],
        build_ids: manifests.iter().flat_map(|m| &m.builds).map(|b| b.build_id.0).collect(),
        num_of_rows: 9000,
        file_count: 48,
        size_bytes: 8_964_728,
    }
}
