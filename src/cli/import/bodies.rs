//! Milvus' records as bodies of the API.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::catalog::{Collection, Segment};
use super::messages::{
    Binlog, FieldBinlog, FieldIndexStats, FieldSchema, FieldValue, IndexInfo, Pair, Position, SegmentIndex, ValueField,
};
use super::places::Place;
use crate::domain::key::own_path;
use crate::domain::schema::{CONSISTENCY_LEVELS, DATA_TYPES};

/// `common.IndexState`.
const BUILD_FINISHED: i32 = 3;

/// Why something is not imported.
pub type Skipped = &'static str;

/// Names of `schema.FunctionType` by number.
const FUNCTION_TYPES: [&str; 6] = ["Unknown", "BM25", "TextEmbedding", "Rerank", "MinHash", "MolFingerprint"];

fn pairs(pairs: &[Pair]) -> BTreeMap<&str, &str> {
    pairs.iter().map(|p| (p.key.as_str(), p.value.as_str())).collect()
}

fn ids(ids: &[i64]) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}

/// The body that creates the collection: without positions, so that no snapshot can be taken
/// before its segments are there.
///
/// # Errors
/// What the API has no word for.
pub fn collection(from: &Collection) -> Result<Value, String> {
    let info = &from.listed.info;
    let schema = info.schema.clone().unwrap_or_default();
    let consistency = usize::try_from(info.consistency_level).ok();
    let consistency = consistency
        .and_then(|n| CONSISTENCY_LEVELS.get(n))
        .ok_or_else(|| format!("its consistency level {} is not known", info.consistency_level))?;
    let partition = |p: &super::messages::PartitionInfo| json!({"partition_id": p.partition_id.to_string(), "name": p.name});
    let mut body = json!({
        "name": from.listed.name(),
        "db_name": from.listed.db_name,
        "collection_id": from.listed.collection_id.to_string(),
        "ownership": "external",
        "description": schema.description,
        "num_shards": info.virtual_channel_names.len(),
        "consistency_level": consistency,
        "auto_id": schema.auto_id,
        "enable_dynamic_field": schema.enable_dynamic_field,
        "schema_version": schema.version,
        "fields": from.fields.iter().map(field).collect::<Result<Vec<_>, _>>()?,
        "properties": pairs(&info.properties),
        "partitions": from.partitions.iter().map(partition).collect::<Vec<_>>(),
        "channels": info.virtual_channel_names.iter().map(|c| json!({"channel_name": c})).collect::<Vec<_>>(),
    });
    let functions = from.functions.iter().map(|f| {
        let kind = usize::try_from(f.function_type).ok().and_then(|n| FUNCTION_TYPES.get(n));
        let kind = kind.ok_or_else(|| format!("function {:?} has the unknown type {}", f.name, f.function_type))?;
        Ok(json!({"function_id": f.id.to_string(), "name": f.name, "function_type": kind, "description": f.description,
            "input_field_ids": ids(&f.input_field_ids), "output_field_ids": ids(&f.output_field_ids), "params": pairs(&f.params)}))
    });
    let functions: Vec<Value> = functions.collect::<Result<_, String>>()?;
    let structs = from.struct_array_fields.iter().map(|s| {
        let fields: Vec<Value> = s.fields.iter().map(field).collect::<Result<_, _>>()?;
        let mut body =
            json!({"field_id": s.field_id.to_string(), "name": s.name, "description": s.description, "fields": fields});
        // as the API shows it: what is not set is absent
        if !s.type_params.is_empty() {
            body["type_params"] = json!(pairs(&s.type_params));
        }
        if s.nullable {
            body["nullable"] = true.into();
        }
        Ok(body)
    });
    let structs: Vec<Value> = structs.collect::<Result<_, String>>()?;
    let file_resources = (!schema.file_resource_ids.is_empty()).then(|| json!(ids(&schema.file_resource_ids)));
    let extra = extra([
        ("external_source", text(&schema.external_source)),
        ("external_spec", text(&schema.external_spec)),
        ("do_physical_backfill", flag(schema.do_physical_backfill)),
        ("file_resource_ids", file_resources),
        ("enable_namespace", flag(schema.enable_namespace)),
    ]);
    if let Some(extra) = extra {
        body["extra"] = extra;
    }
    if !functions.is_empty() {
        body["functions"] = functions.into();
    }
    if !structs.is_empty() {
        body["struct_array_fields"] = structs.into();
    }
    Ok(body)
}

fn text(text: &str) -> Option<Value> {
    (!text.is_empty()).then(|| text.into())
}

fn flag(on: bool) -> Option<Value> {
    on.then(|| true.into())
}

/// What the API keeps by its names only, where it is set.
fn extra<const N: usize>(entries: [(&str, Option<Value>); N]) -> Option<Value> {
    let set = entries.into_iter().filter_map(|(key, value)| Some((key.to_string(), value?)));
    let set: Map<String, Value> = set.collect();
    (!set.is_empty()).then(|| set.into())
}

fn data_type(number: i32, of: &str) -> Result<&'static str, String> {
    let found = DATA_TYPES.iter().find(|(_, n)| *n == number);
    found
        .map(|(name, _)| *name)
        .ok_or_else(|| format!("field {of:?} has the unknown data type {number}"))
}

/// As the API shows it: what is not set is absent.
fn field(from: &FieldSchema) -> Result<Value, String> {
    let mut body = Map::new();
    let mut set = |key: &str, value: Value| body.insert(key.to_string(), value);
    set("field_id", from.field_id.to_string().into());
    set("name", from.name.clone().into());
    set("data_type", data_type(from.data_type, &from.name)?.into());
    if !from.description.is_empty() {
        set("description", from.description.clone().into());
    }
    for (key, on) in [
        ("is_primary_key", from.is_primary_key),
        ("auto_id", from.auto_id),
        ("is_dynamic", from.is_dynamic),
        ("is_partition_key", from.is_partition_key),
        ("is_clustering_key", from.is_clustering_key),
        ("nullable", from.nullable),
        ("is_function_output", from.is_function_output),
    ] {
        if on {
            set(key, true.into());
        }
    }
    if from.element_type != 0 {
        set("element_type", data_type(from.element_type, &from.name)?.into());
    }
    for (key, params) in [("type_params", &from.type_params), ("index_params", &from.index_params)] {
        if !params.is_empty() {
            set(key, json!(pairs(params)));
        }
    }
    if !from.type_schema.is_empty() {
        return Err(format!("field {:?} has a type_schema, which would be lost", from.name));
    }
    let extra = extra([
        ("external_field", text(&from.external_field)),
        ("element_nullable", flag(from.element_nullable)),
    ]);
    if let Some(extra) = extra {
        set("extra", extra);
    }
    if let Some(ValueField { data: Some(value) }) = &from.default_value {
        set("default_value", default_value(value));
    }
    Ok(body.into())
}

/// `ValueField` in protobuf's JSON form, with the names of the `.proto` file.
fn default_value(value: &FieldValue) -> Value {
    match value {
        FieldValue::Bool(v) => json!({"bool_data": v}),
        FieldValue::Int(v) => json!({"int_data": v}),
        FieldValue::Long(v) => json!({"long_data": v.to_string()}),
        FieldValue::Float(v) => json!({"float_data": v}),
        FieldValue::Double(v) => json!({"double_data": v}),
        FieldValue::Text(v) => json!({"string_data": v}),
        FieldValue::Bytes(v) => json!({"bytes_data": STANDARD.encode(v)}),
        FieldValue::Timestamptz(v) => json!({"timestamptz_data": v.to_string()}),
        FieldValue::Date(v) => json!({"date_data": v}),
        FieldValue::Time(v) => json!({"time_data": v.to_string()}),
    }
}

/// The body of an index.
pub fn index(from: &IndexInfo) -> Value {
    json!({"index_id": from.index_id.to_string(), "field_id": from.field_id.to_string(), "index_name": from.name,
        "type_params": pairs(&from.type_params), "index_params": pairs(&from.index_params),
        "user_index_params": pairs(&from.user_index_params), "is_auto_index": from.is_auto_index})
}

/// A position in a channel.
pub fn position(from: &Position) -> Value {
    json!({"msg_id_base64": STANDARD.encode(&from.msg_id), "msg_group": from.msg_group, "timestamp": from.timestamp.to_string()})
}

/// The body of a segment and, of its index builds, why some are left out; or why it is left out as
/// a whole. File sizes are 0: the service takes them from the storage.
///
/// # Errors
/// What the service can't keep.
pub fn segment(from: &Segment, indexes: &BTreeSet<i64>, place: &Place) -> Result<Result<(Value, Vec<Skipped>), Skipped>, String> {
    let info = &from.info;
    // `common.SegmentState`; everything of a flushing segment is in the storage already
    let state = match info.state {
        _ if info.is_importing => Some("importing"),
        _ if info.is_fake => Some("fake"),
        _ if info.is_invisible => Some("invisible, its sorted successor is not ready"),
        4 | 5 => None,
        1 | 6 => Some("dropped"),
        2 => Some("growing, not flushed"),
        3 => Some("sealed, not flushed"),
        7 => Some("importing"),
        _ => Some("in an unknown state"),
    };
    if let Some(why) = state {
        return Ok(Err(why));
    }
    let files = from.binlogs.len() + from.deltalogs.len();
    if info.storage_version > 2 || !info.manifest_path.is_empty() {
        return Err(format!(
            "segment {} has storage version {} with a manifest of its own, which is not supported",
            info.id, info.storage_version
        ));
    }
    if files == 0 {
        return Ok(Err("flushed without files"));
    }
    let owner = place.segment(info);
    let logs = |kind: &str, groups: &[FieldBinlog]| -> Result<Vec<Value>, String> {
        groups.iter().map(|g| field_logs(g, &owner.logs(kind, g.field_id))).collect()
    };
    let at = |position: &Option<Position>| {
        position.as_ref().map(|p| {
            let mut body = self::position(p);
            body["channel_name"] = p.channel_name.clone().into();
            body
        })
    };
    let mut body = json!({
        "segment_id": info.id.to_string(),
        "partition_id": info.partition_id.to_string(),
        "channel_name": info.insert_channel,
        "num_of_rows": info.num_of_rows.to_string(),
        "state": "flushed",
        // `data.SegmentLevel`; what is older than levels is treated as L1
        "level": match info.level { 1 => "L0", 3 => "L2", _ => "L1" },
        "storage_version": info.storage_version,
        "is_sorted": info.is_sorted,
        "commit_timestamp": info.commit_timestamp.to_string(),
        "binlogs": logs("insert_log", &from.binlogs)?,
        "deltalogs": logs("delta_log", &from.deltalogs)?,
        "statslogs": logs("stats_log", &from.statslogs)?,
        "bm25_statslogs": logs("bm25_stats", &from.bm25_statslogs)?,
        "text_index_files": stats(info.text_stats.values(), |s| owner.text(s)),
        "json_key_index_files": stats(info.json_stats.values(), |s| owner.json(s)),
    });
    for (key, found) in [
        ("start_position", at(&info.start_position)),
        ("dml_position", at(&info.dml_position)),
    ] {
        if let Some(found) = found {
            body[key] = found;
        }
    }
    let (mut builds, mut skipped) = (Vec::new(), Vec::new());
    for build in &from.builds {
        match build_skipped(build, indexes) {
            None => builds.push(index_build(build, &owner.build(build))),
            Some(why) => skipped.push(why),
        }
    }
    body["index_builds"] = builds.into();
    Ok(Ok((body, skipped)))
}

fn build_skipped(build: &SegmentIndex, indexes: &BTreeSet<i64>) -> Option<Skipped> {
    if !indexes.contains(&build.index_id) {
        return Some("of an index that is dropped");
    }
    if build.state != BUILD_FINISHED {
        return Some("not finished");
    }
    // Milvus builds nothing for segments of fewer than 1,024 rows, and calls that finished
    build.file_names.is_empty().then_some("finished without files")
}

fn field_logs(from: &FieldBinlog, directory: &str) -> Result<Value, String> {
    let log = |log: &Binlog| {
        let id = match log.log_id {
            0 => log.log_path.rsplit('/').next().and_then(|id| id.parse().ok()),
            id => Some(id),
        };
        let id = id.ok_or_else(|| format!("a log of field {} has no id", from.field_id))?;
        Ok(
            json!({"log_id": id.to_string(), "path": format!("{directory}{id}"), "size_bytes": 0,
            "entries_num": log.entries_num.to_string(), "timestamp_from": log.timestamp_from.to_string(),
            "timestamp_to": log.timestamp_to.to_string(), "memory_size": log.memory_size.to_string()}),
        )
    };
    let logs: Vec<Value> = from.binlogs.iter().map(log).collect::<Result<_, String>>()?;
    let mut body = json!({"field_id": from.field_id.to_string(), "logs": logs});
    if !from.child_fields.is_empty() {
        body["child_fields"] = ids(&from.child_fields).into();
    }
    if !from.format.is_empty() {
        body["format"] = from.format.clone().into();
    }
    Ok(body)
}

fn stats<'a>(from: impl Iterator<Item = &'a FieldIndexStats>, path: impl Fn(&FieldIndexStats) -> String) -> Vec<Value> {
    let mut found: Vec<&FieldIndexStats> = from.collect();
    found.sort_by_key(|s| s.field_id);
    let body = |s: &FieldIndexStats| {
        let directory = path(s);
        let files = s
            .files
            .iter()
            .map(|file| json!({"path": format!("{directory}{}", below(&directory, file)), "size_bytes": 0}));
        json!({"field_id": s.field_id.to_string(), "version": s.version, "build_id": s.build_id.to_string(),
            "memory_size": s.memory_size.to_string(), "json_key_stats_data_format": s.data_format, "files": files.collect::<Vec<_>>()})
    };
    found.into_iter().map(body).collect()
}

/// What stands below the directory of an index: Milvus records whole keys, with its root before them, or
/// only this. What follows may look like the directory's end, as a path in a JSON document does.
fn below<'a>(directory: &str, file: &'a str) -> &'a str {
    let own = format!("{}/", own_path(directory.trim_end_matches('/')));
    let at = match file.starts_with(&own) {
        true => Some(0),
        false => file.find(&format!("/{own}")).map(|at| at + 1),
    };
    at.map_or(file, |at| &file[at + own.len()..])
}

fn index_build(from: &SegmentIndex, directory: &str) -> Value {
    let file = |name: &String| json!({"path": format!("{directory}{name}"), "size_bytes": 0});
    json!({"build_id": from.build_id.to_string(), "index_id": from.index_id.to_string(), "index_version": from.index_version.to_string(),
        "num_rows": from.num_rows.to_string(), "current_index_version": from.current_index_version,
        "current_scalar_index_version": from.current_scalar_index_version, "index_store_path_version": from.index_store_path_version,
        "serialized_size_bytes": from.serialized_size.to_string(), "mem_size": from.mem_size.to_string(),
        "files": from.file_names.iter().map(file).collect::<Vec<_>>()})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_an_index_is_named_by_what_stands_below_its_directory() {
        let directory = "milvus/files/json_stats/2/10/3/1/2/3/103/";
        for (file, name) in [
            ("shared_key_index/x", "shared_key_index/x"),
            ("files/json_stats/2/10/3/1/2/3/103/shared_key_index/x", "shared_key_index/x"),
            ("json_stats/2/10/3/1/2/3/103/x", "x"),
            // a path in the documents that is called as the field's id
            (
                "files/json_stats/2/10/3/1/2/3/103/shredding_data/103/0",
                "shredding_data/103/0",
            ),
            ("shredding_data/103/0", "shredding_data/103/0"),
        ] {
            assert_eq!(below(directory, file), name, "{file}");
        }
    }
}
