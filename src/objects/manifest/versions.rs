//! Milvus' schemas of the format versions 1 to 5: names, types and order are facts §4.3, what
//! each version added is facts §4.4. Where branches of Milvus may differ under one number, the
//! other forms are known too ([`Variant`]).

use std::sync::LazyLock;

use super::schema::Schema;

/// The newest of Milvus' format versions that can be read.
pub(super) const NEWEST: i32 = 5;

/// How a branch of Milvus may write a version otherwise than the one whose code was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Variant {
    /// Version 4 and later: `child_fields` and `format` stand after `binlogs`, not before
    /// (unverified for every branch, facts §4.3).
    groups_last: bool,
    /// Version 5 of the branch of nested indexes: `is_nested_index` at the end of an index entry,
    /// and no `delete_apply_start_after_timetick` (facts §4.4).
    nested_indexes: bool,
}

/// The forms that a version may have, the likeliest first.
fn variants(version: i32) -> &'static [Variant] {
    const MAIN: Variant = Variant {
        groups_last: false,
        nested_indexes: false,
    };
    const LAST: Variant = Variant {
        groups_last: true,
        ..MAIN
    };
    const NESTED: Variant = Variant {
        nested_indexes: true,
        ..MAIN
    };
    const BOTH: Variant = Variant {
        groups_last: true,
        nested_indexes: true,
    };
    match version {
        ..4 => &[MAIN],
        4 => &[MAIN, LAST],
        _ => &[MAIN, NESTED, LAST, BOTH],
    }
}

/// Milvus' schemas of a format version, the likeliest first; none when the version is unknown.
pub(super) fn schemas(version: i32) -> Option<&'static [Schema]> {
    static VERSIONS: LazyLock<Vec<Vec<Schema>>> = LazyLock::new(|| {
        let parse = |version, variant| Schema::parse(variant_of(version, variant).as_bytes()).expect("our own schemas are valid");
        let all = |version| variants(version).iter().map(|variant| parse(version, *variant)).collect();
        (1..=NEWEST).map(all).collect()
    });
    // 0 and absent mean 1 (facts §4.4)
    let at = usize::try_from(version).ok()?.saturating_sub(1);
    VERSIONS.get(at).map(Vec::as_slice)
}

const LONG: &str = r#""long""#;
const INT: &str = r#""int""#;
const STRING: &str = r#""string""#;
const ZERO: &str = "0";

/// The text of Milvus' schema of a format version, compact, without documentation.
pub(super) fn definition(version: i32) -> String {
    variant_of(version, Variant::default())
}

fn variant_of(version: i32, variant: Variant) -> String {
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
    let groups = match version {
        ..4 => vec![],
        _ => vec![
            with_default("child_fields", &array(LONG), "[]"),
            with_default("format", STRING, r#""""#),
        ],
    };
    let binlogs = vec![field("binlogs", &array(&binlog))];
    let field_binlog = match variant.groups_last {
        false => [longs(&["field_id"]), groups, binlogs].concat(),
        true => [longs(&["field_id"]), binlogs, groups].concat(),
    };
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
    if variant.nested_indexes {
        index_file.push(with_default("is_nested_index", r#""boolean""#, "false"));
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
    if version >= 5 && !variant.nested_indexes {
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
        let fields = |version| schemas(version).expect("known")[0].records[0].len();
        assert_eq!([0, 1, 2, 3, 4, 5].map(fields), [16, 16, 16, 17, 17, 18]);
        let forms = |version| schemas(version).expect("known").len();
        assert_eq!([0, 1, 2, 3, 4, 5].map(forms), [1, 1, 1, 1, 2, 4]);
        assert!(
            [6, -1, i32::MIN, i32::MAX]
                .into_iter()
                .all(|version| schemas(version).is_none())
        );
    }
}
