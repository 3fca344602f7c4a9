//! Milvus' schemas of the format versions 1 to 5: names, types and order are facts §4.3, what
//! each version added is facts §4.4.

use std::sync::LazyLock;

use super::schema::Schema;

/// The newest of Milvus' format versions that can be read.
pub(super) const NEWEST: i32 = 5;

/// Milvus' schema of a format version, none when the version is unknown.
pub(super) fn schema(version: i32) -> Option<&'static Schema> {
    static VERSIONS: LazyLock<Vec<Schema>> = LazyLock::new(|| {
        let parse = |version| Schema::parse(definition(version).as_bytes()).expect("our own schemas are valid");
        (1..=NEWEST).map(parse).collect()
    });
    // 0 and absent mean 1 (facts §4.4)
    VERSIONS.get(usize::try_from(version).ok()?.saturating_sub(1))
}

const LONG: &str = r#""long""#;
const INT: &str = r#""int""#;
const STRING: &str = r#""string""#;
const ZERO: &str = "0";

/// The text of Milvus' schema of a format version, compact, without documentation.
pub(super) fn definition(version: i32) -> String {
    let field = |name: &str, of: &str| format!(r#"{{"name":"{name}","type":{of}}}"#);
    let with_default = |name: &str, of: &str, default: &str| format!(r#"{{"name":"{name}","type":{of},"default":{default}}}"#);
    let array = |items: &str| format!(r#"{{"type":"array","items":{items}}}"#);
    let record =
        |name: &str, fields: Vec<String>| format!(r#"{{"type":"record","name":"{name}","fields":[{}]}}"#, fields.join(","));
    let longs = |names: &[&str]| names.iter().map(|name| field(name, LONG)).collect::<Vec<_>>();

    let position = record(
        "AvroMsgPosition",
        vec![
            field("channel_name", STRING),
            field("msg_id", r#""bytes""#),
            field("msg_group", STRING),
            field("timestamp", LONG),
        ],
    );
    let binlog = record(
        "AvroBinlog",
        [
            longs(&["entries_num", "timestamp_from", "timestamp_to"]),
            vec![field("log_path", STRING)],
            longs(&["log_size", "log_id", "memory_size"]),
        ]
        .concat(),
    );
    let mut field_binlog = longs(&["field_id"]);
    if version >= 4 {
        field_binlog.push(with_default("child_fields", &array(LONG), "[]"));
        field_binlog.push(with_default("format", STRING, r#""""#));
    }
    field_binlog.push(field("binlogs", &array(&binlog)));
    let pair = record("AvroKeyValuePair", vec![field("key", STRING), field("value", STRING)]);
    let mut index_file = [
        longs(&["segment_id", "field_id", "index_id", "build_id"]),
        vec![
            field("index_name", STRING),
            field("index_params", &array(&pair)),
            field("index_file_paths", &array(STRING)),
        ],
        longs(&["serialized_size", "index_version", "num_rows"]),
        vec![
            field("current_index_version", INT),
            field("mem_size", LONG),
            with_default("current_scalar_index_version", INT, ZERO),
        ],
    ]
    .concat();
    if version >= 2 {
        index_file.push(with_default("index_store_path_version", INT, ZERO));
    }
    let stats = |name: &str, last: &[&str]| {
        let files = vec![field("files", &array(STRING))];
        let sizes = longs(&["log_size", "memory_size", "build_id"]);
        record(name, [longs(&["field_id", "version"]), files, sizes, longs(last)].concat())
    };
    let entry = |name: &str, stats: &str| record(name, vec![field("field_id", LONG), field("stats", stats)]);

    let mut fields = longs(&["segment_id", "partition_id", "segment_level"]);
    fields.extend([
        field("channel_name", STRING),
        field("num_of_rows", LONG),
        field("start_position", &position),
        field("dml_position", r#""AvroMsgPosition""#),
        field("storage_version", LONG),
        field("is_sorted", r#""boolean""#),
    ]);
    if version >= 3 {
        fields.push(with_default("commit_timestamp", LONG, ZERO));
    }
    if version >= 5 {
        fields.push(with_default("delete_apply_start_after_timetick", LONG, ZERO));
    }
    let again = array(r#""AvroFieldBinlog""#);
    fields.extend([
        field("binlog_files", &array(&record("AvroFieldBinlog", field_binlog))),
        field("deltalog_files", &again),
        field("statslog_files", &again),
        field("bm25_statslog_files", &again),
        field("index_files", &array(&record("AvroIndexFilePathInfo", index_file))),
        field(
            "text_index_files",
            &array(&entry("AvroTextIndexEntry", &stats("AvroTextIndexStats", &[]))),
        ),
        field(
            "json_key_index_files",
            &array(&entry(
                "AvroJSONKeyIndexEntry",
                &stats("AvroJSONKeyStats", &["json_key_stats_data_format"]),
            )),
        ),
    ]);
    record("ManifestEntry", fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_differ_as_the_facts_say() {
        let fields = |version| schema(version).expect("known").records[0].len();
        assert_eq!([0, 1, 2, 3, 4, 5].map(fields), [16, 16, 16, 17, 17, 18]);
        assert!(
            [6, -1, i32::MIN, i32::MAX]
                .into_iter()
                .all(|version| schema(version).is_none())
        );
    }
}
