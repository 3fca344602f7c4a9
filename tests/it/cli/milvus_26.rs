//! The records that Milvus 2.4 to 2.6 keep in etcd, beyond those of 2.3: messages as Milvus' own
//! `.proto` files number them, typed here again, and one collection that has something of each.

use std::collections::HashMap;

use prost::Message;

use super::import_world::Dump;

pub const COLLECTION: i64 = 460_000_000_000_000_100;
pub const PARTITION: i64 = 460_000_000_000_000_101;
pub const SEGMENT: i64 = 460_000_000_000_000_500;
pub const DELETES: i64 = 460_000_000_000_000_600;
const CHANNEL: &str = "by-dev-rootcoord-dml_0_460000000000000100v0";
const TIMESTAMP: u64 = 460_000_000_000_000_900;

#[derive(Clone, PartialEq, Message)]
struct Pair {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct Schema {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(bool, tag = "5")]
    enable_dynamic_field: bool,
    #[prost(int32, tag = "10")]
    version: i32,
    #[prost(bool, tag = "13")]
    do_physical_backfill: bool,
    #[prost(int64, repeated, tag = "14")]
    file_resource_ids: Vec<i64>,
    #[prost(bool, tag = "15")]
    enable_namespace: bool,
}

#[derive(Clone, PartialEq, Message)]
struct Collection {
    #[prost(int64, tag = "1")]
    id: i64,
    #[prost(message, optional, tag = "2")]
    schema: Option<Schema>,
    #[prost(string, repeated, tag = "7")]
    channels: Vec<String>,
    #[prost(int32, tag = "10")]
    shards: i32,
    #[prost(int32, tag = "12")]
    consistency_level: i32,
    #[prost(message, repeated, tag = "14")]
    properties: Vec<Pair>,
}

/// `ValueField` with a date or a time.
#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(int32, optional, tag = "9")]
    date: Option<i32>,
    #[prost(int64, optional, tag = "10")]
    time: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct Field {
    #[prost(int64, tag = "1")]
    id: i64,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(bool, tag = "3")]
    is_primary_key: bool,
    #[prost(int32, tag = "5")]
    data_type: i32,
    #[prost(message, repeated, tag = "6")]
    type_params: Vec<Pair>,
    #[prost(int32, tag = "10")]
    element_type: i32,
    #[prost(message, optional, tag = "11")]
    default: Option<Value>,
    #[prost(bool, tag = "15")]
    nullable: bool,
    #[prost(bool, tag = "16")]
    is_function_output: bool,
    #[prost(bool, tag = "19")]
    element_nullable: bool,
}

#[derive(Clone, PartialEq, Message)]
struct Function {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(int64, tag = "2")]
    id: i64,
    #[prost(int32, tag = "4")]
    kind: i32,
    #[prost(int64, repeated, tag = "6")]
    inputs: Vec<i64>,
    #[prost(int64, repeated, tag = "8")]
    outputs: Vec<i64>,
    #[prost(message, repeated, tag = "9")]
    params: Vec<Pair>,
}

#[derive(Clone, PartialEq, Message)]
struct StructField {
    #[prost(int64, tag = "1")]
    id: i64,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(message, repeated, tag = "4")]
    fields: Vec<Field>,
    #[prost(message, repeated, tag = "5")]
    type_params: Vec<Pair>,
    #[prost(bool, tag = "6")]
    nullable: bool,
}

#[derive(Clone, PartialEq, Message)]
struct Partition {
    #[prost(int64, tag = "1")]
    id: i64,
    #[prost(string, tag = "2")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct Position {
    #[prost(string, tag = "1")]
    channel: String,
    #[prost(bytes = "vec", tag = "2")]
    msg_id: Vec<u8>,
    #[prost(uint64, tag = "4")]
    timestamp: u64,
}

#[derive(Clone, PartialEq, Message)]
struct Stats {
    #[prost(int64, tag = "1")]
    field: i64,
    #[prost(int64, tag = "2")]
    version: i64,
    #[prost(string, repeated, tag = "3")]
    files: Vec<String>,
    #[prost(int64, tag = "5")]
    memory_size: i64,
    #[prost(int64, tag = "6")]
    build: i64,
    #[prost(int64, tag = "7")]
    data_format: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Segment {
    #[prost(int64, tag = "1")]
    id: i64,
    #[prost(int64, tag = "2")]
    collection: i64,
    #[prost(int64, tag = "3")]
    partition: i64,
    #[prost(string, tag = "4")]
    channel: String,
    #[prost(int64, tag = "5")]
    rows: i64,
    #[prost(int32, tag = "6")]
    state: i32,
    #[prost(message, optional, tag = "9")]
    start: Option<Position>,
    #[prost(message, optional, tag = "10")]
    dml: Option<Position>,
    #[prost(int32, tag = "20")]
    level: i32,
    #[prost(int64, tag = "21")]
    storage_version: i64,
    #[prost(bool, tag = "25")]
    is_sorted: bool,
    #[prost(map = "int64, message", tag = "26")]
    text_stats: HashMap<i64, Stats>,
    #[prost(map = "int64, message", tag = "29")]
    json_stats: HashMap<i64, Stats>,
    #[prost(uint64, tag = "36")]
    commit_timestamp: u64,
}

#[derive(Clone, PartialEq, Message)]
struct Logs {
    #[prost(int64, tag = "1")]
    field: i64,
    #[prost(message, repeated, tag = "2")]
    logs: Vec<Log>,
    #[prost(int64, repeated, tag = "3")]
    child_fields: Vec<i64>,
    #[prost(string, tag = "4")]
    format: String,
}

#[derive(Clone, PartialEq, Message)]
struct Log {
    #[prost(int64, tag = "1")]
    entries: i64,
    #[prost(uint64, tag = "2")]
    from: u64,
    #[prost(uint64, tag = "3")]
    to: u64,
    #[prost(int64, tag = "6")]
    id: i64,
    #[prost(int64, tag = "7")]
    memory_size: i64,
}

#[derive(Clone, PartialEq, Message)]
struct FieldIndex {
    #[prost(message, optional, tag = "1")]
    info: Option<Index>,
}

#[derive(Clone, PartialEq, Message)]
struct Index {
    #[prost(int64, tag = "2")]
    field: i64,
    #[prost(string, tag = "3")]
    name: String,
    #[prost(int64, tag = "4")]
    id: i64,
    #[prost(message, repeated, tag = "6")]
    index_params: Vec<Pair>,
}

#[derive(Clone, PartialEq, Message)]
struct Build {
    #[prost(int64, tag = "2")]
    partition: i64,
    #[prost(int64, tag = "3")]
    segment: i64,
    #[prost(int64, tag = "4")]
    rows: i64,
    #[prost(int64, tag = "5")]
    index: i64,
    #[prost(int64, tag = "6")]
    build: i64,
    #[prost(int64, tag = "8")]
    version: i64,
    #[prost(int32, tag = "9")]
    state: i32,
    #[prost(string, repeated, tag = "11")]
    files: Vec<String>,
    #[prost(uint64, tag = "19")]
    mem_size: u64,
    #[prost(int32, tag = "22")]
    store_path_version: i32,
}

fn pairs(given: &[(&str, &str)]) -> Vec<Pair> {
    let pair = |(key, value): &(&str, &str)| Pair {
        key: (*key).into(),
        value: (*value).into(),
    };
    given.iter().map(pair).collect()
}

fn position(timestamp: u64) -> Position {
    Position {
        channel: CHANNEL.into(),
        msg_id: vec![1, 2],
        timestamp,
    }
}

fn logs(field: i64, id: i64) -> Logs {
    Logs {
        field,
        logs: vec![Log {
            entries: 10,
            from: 1,
            to: 2,
            id,
            memory_size: 77,
        }],
        ..Logs::default()
    }
}

fn field(id: i64, name: &str, data_type: i32) -> Field {
    Field {
        id,
        name: name.into(),
        data_type,
        ..Field::default()
    }
}

fn fields() -> Vec<Field> {
    let default = |date, time| Some(Value { date, time });
    vec![
        field(0, "RowID", 5),
        field(1, "Timestamp", 5),
        Field {
            is_primary_key: true,
            ..field(100, "id", 5)
        },
        Field {
            type_params: pairs(&[("max_length", "64"), ("enable_match", "true")]),
            nullable: true,
            ..field(101, "text", 21)
        },
        Field {
            is_function_output: true,
            ..field(102, "sparse", 104)
        },
        field(103, "doc", 23),
        Field {
            type_params: pairs(&[("dim", "4")]),
            ..field(104, "vec", 101)
        },
        Field {
            default: default(Some(20_000), None),
            ..field(105, "day", 28)
        },
        Field {
            default: default(None, Some(3_600_000_000)),
            ..field(106, "hour", 29)
        },
        Field {
            element_type: 5,
            element_nullable: true,
            ..field(107, "tags", 22)
        },
    ]
}

fn structs() -> Vec<StructField> {
    ["clip", "shot"]
        .into_iter()
        .zip([110, 120])
        .map(|(name, id)| StructField {
            id,
            name: name.into(),
            fields: vec![
                Field {
                    element_type: 21,
                    ..field(id + 1, &format!("{name}[title]"), 22)
                },
                Field {
                    element_type: 101,
                    type_params: pairs(&[("dim", "4")]),
                    ..field(id + 2, &format!("{name}[vec]"), 106)
                },
            ],
            type_params: pairs(&[("max_capacity", "100")]),
            nullable: true,
        })
        .collect()
}

fn segment() -> Segment {
    let ids = format!("{COLLECTION}/{PARTITION}/{SEGMENT}");
    let text = Stats {
        field: 101,
        version: 3,
        // with the whole key
        files: vec![format!("files/text_log/7001/3/{ids}/101/index.store")],
        memory_size: 9,
        build: 7001,
        data_format: 1,
    };
    let json = Stats {
        field: 103,
        version: 4,
        // a path in the documents that is called as the field's id
        files: vec![
            format!("files/json_stats/2/7002/4/{ids}/103/shredding_data/103/0"),
            "shared_key_index/x".into(),
        ],
        memory_size: 8,
        build: 7002,
        data_format: 2,
    };
    Segment {
        id: SEGMENT,
        collection: COLLECTION,
        partition: PARTITION,
        channel: CHANNEL.into(),
        rows: 10,
        state: 4,
        start: Some(position(TIMESTAMP - 10)),
        dml: Some(position(TIMESTAMP - 5)),
        level: 2,
        storage_version: 2,
        is_sorted: true,
        text_stats: HashMap::from([(101, text)]),
        json_stats: HashMap::from([(103, json)]),
        commit_timestamp: TIMESTAMP - 7,
    }
}

/// The keys of a Milvus 2.6 with one collection, `modern`: storage version 2 with column groups, BM25, text
/// and JSON statistics, a sorted segment, an L0 segment of all partitions, structs, functions, an index below
/// `index_v1`.
pub fn dump() -> Dump {
    let mut dump = Dump::new();
    let mut put = |key: String, value: Vec<u8>| dump.insert(format!("by-dev/meta/{key}"), value);
    let collection = Collection {
        id: COLLECTION,
        schema: Some(Schema {
            name: "modern".into(),
            enable_dynamic_field: false,
            version: 2,
            do_physical_backfill: true,
            file_resource_ids: vec![9_007_199_254_740_993],
            enable_namespace: true,
        }),
        channels: vec![CHANNEL.into()],
        shards: 1,
        consistency_level: 2,
        properties: pairs(&[("timezone", "UTC")]),
    };
    put(
        format!("root-coord/database/collection-info/1/{COLLECTION}"),
        collection.encode_to_vec(),
    );
    for field in fields() {
        put(format!("root-coord/fields/{COLLECTION}/{}", field.id), field.encode_to_vec());
    }
    for group in structs() {
        put(
            format!("root-coord/struct-array-fields/{COLLECTION}/{}", group.id),
            group.encode_to_vec(),
        );
    }
    let function = Function {
        name: "bm25".into(),
        id: 100,
        kind: 1,
        inputs: vec![101],
        outputs: vec![102],
        params: pairs(&[("bm25_k1", "1.2")]),
    };
    put(format!("root-coord/functions/{COLLECTION}/100"), function.encode_to_vec());
    let partition = Partition {
        id: PARTITION,
        name: "_default".into(),
    };
    put(
        format!("root-coord/partitions/{COLLECTION}/{PARTITION}"),
        partition.encode_to_vec(),
    );
    put(
        format!("datacoord-meta/channel-cp/{CHANNEL}"),
        position(TIMESTAMP).encode_to_vec(),
    );

    put(
        format!("datacoord-meta/s/{COLLECTION}/{PARTITION}/{SEGMENT}"),
        segment().encode_to_vec(),
    );
    let of = format!("{COLLECTION}/{PARTITION}/{SEGMENT}");
    let groups = [
        Logs {
            child_fields: vec![0, 1, 100, 101, 103, 105, 106, 107],
            format: "parquet".into(),
            ..logs(0, 8001)
        },
        Logs {
            child_fields: vec![104],
            ..logs(104, 8002)
        },
    ];
    for group in groups {
        put(format!("datacoord-meta/binlog/{of}/{}", group.field), group.encode_to_vec());
    }
    put(format!("datacoord-meta/statslog/{of}/100"), logs(100, 8003).encode_to_vec());
    put(format!("datacoord-meta/bm25log/{of}/102"), logs(102, 8004).encode_to_vec());

    // deletes of every partition
    let deletes = Segment {
        id: DELETES,
        partition: -1,
        rows: 0,
        level: 1,
        storage_version: 0,
        is_sorted: false,
        text_stats: HashMap::new(),
        json_stats: HashMap::new(),
        commit_timestamp: 0,
        ..segment()
    };
    put(format!("datacoord-meta/s/{COLLECTION}/-1/{DELETES}"), deletes.encode_to_vec());
    put(
        format!("datacoord-meta/deltalog/{COLLECTION}/-1/{DELETES}/0"),
        logs(0, 8005).encode_to_vec(),
    );

    let index = FieldIndex {
        info: Some(Index {
            field: 104,
            name: "vec_idx".into(),
            id: 7100,
            index_params: pairs(&[("index_type", "HNSW")]),
        }),
    };
    put(format!("field-index/{COLLECTION}/7100"), index.encode_to_vec());
    let build = Build {
        partition: PARTITION,
        segment: SEGMENT,
        rows: 10,
        index: 7100,
        build: 7101,
        version: 1,
        state: 3,
        files: vec!["HNSW".into()],
        mem_size: 1 << 33,
        store_path_version: 1,
    };
    put(format!("segment-index/{of}/7101"), build.encode_to_vec());
    dump
}

/// Every data file by its path below Milvus' root; each says its own path.
pub fn files() -> Vec<String> {
    let of = format!("{COLLECTION}/{PARTITION}/{SEGMENT}");
    vec![
        format!("insert_log/{of}/0/8001"),
        format!("insert_log/{of}/104/8002"),
        format!("stats_log/{of}/100/8003"),
        format!("bm25_stats/{of}/102/8004"),
        format!("delta_log/{COLLECTION}/-1/{DELETES}/8005"),
        format!("text_log/7001/3/{of}/101/index.store"),
        format!("json_stats/2/7002/4/{of}/103/shredding_data/103/0"),
        format!("json_stats/2/7002/4/{of}/103/shared_key_index/x"),
        format!("index_v1/{of}/7101/1/HNSW"),
    ]
}
