#!/usr/bin/env python3
"""Writes manifests and snapshots as a Milvus server would, with fastavro and json only.

The schemas and key names are typed here from docs/milvus-snapshot-facts (facts 4.1 to 4.4); nothing is
taken from the product.

milvus_writer.py datum VERSION FORM IN.json OUT.avro
    one manifest as a bare datum; IN.json has every field of version 5, bytes as base64.
    FORM: main | groups-last | nested | nested-groups-last (what branches of Milvus may do differently)
milvus_writer.py snapshot PLAN.json OUT_DIR
    a snapshot's metadata and manifests, see `snapshot` below.
"""

import base64
import json
import os
import sys

import fastavro

LONG, INT, TEXT = "long", "int", "string"


def record(name, *fields):
    return {"type": "record", "name": name, "fields": [{"name": n, "type": t} for n, t in fields]}


def array(items):
    return {"type": "array", "items": items}


def schema(version, form="main"):
    position = record("AvroMsgPosition", ("channel_name", TEXT), ("msg_id", "bytes"), ("msg_group", TEXT), ("timestamp", LONG))
    binlog = record(
        "AvroBinlog", ("entries_num", LONG), ("timestamp_from", LONG), ("timestamp_to", LONG), ("log_path", TEXT),
        ("log_size", LONG), ("log_id", LONG), ("memory_size", LONG))  # fmt: skip
    logs, groups = [("binlogs", array(binlog))], []
    if version >= 4:
        groups = [("child_fields", array(LONG)), ("format", TEXT)]
    parts = logs + groups if form.endswith("groups-last") else groups + logs
    field_binlog = record("AvroFieldBinlog", ("field_id", LONG), *parts)
    pair = record("AvroKeyValuePair", ("key", TEXT), ("value", TEXT))
    index = [
        ("segment_id", LONG), ("field_id", LONG), ("index_id", LONG), ("build_id", LONG), ("index_name", TEXT),
        ("index_params", array(pair)), ("index_file_paths", array(TEXT)), ("serialized_size", LONG), ("index_version", LONG),
        ("num_rows", LONG), ("current_index_version", INT), ("mem_size", LONG), ("current_scalar_index_version", INT)]  # fmt: skip
    if version >= 2:
        index.append(("index_store_path_version", INT))
    if form.startswith("nested"):
        index.append(("is_nested_index", "boolean"))
    stats = [("field_id", LONG), ("version", LONG), ("files", array(TEXT)), ("log_size", LONG), ("memory_size", LONG), ("build_id", LONG)]
    text = record("AvroTextIndexEntry", ("field_id", LONG), ("stats", record("AvroTextIndexStats", *stats)))
    json_stats = record("AvroJSONKeyStats", *stats, ("json_key_stats_data_format", LONG))
    json_key = record("AvroJSONKeyIndexEntry", ("field_id", LONG), ("stats", json_stats))
    fields = [
        ("segment_id", LONG), ("partition_id", LONG), ("segment_level", LONG), ("channel_name", TEXT), ("num_of_rows", LONG),
        ("start_position", position), ("dml_position", "AvroMsgPosition"), ("storage_version", LONG), ("is_sorted", "boolean")]  # fmt: skip
    if version >= 3:
        fields.append(("commit_timestamp", LONG))
    if version >= 5 and not form.startswith("nested"):
        fields.append(("delete_apply_start_after_timetick", LONG))
    fields += [
        ("binlog_files", array(field_binlog)), ("deltalog_files", array("AvroFieldBinlog")),
        ("statslog_files", array("AvroFieldBinlog")), ("bm25_statslog_files", array("AvroFieldBinlog")),
        ("index_files", array(record("AvroIndexFilePathInfo", *index))), ("text_index_files", array(text)),
        ("json_key_index_files", array(json_key))]  # fmt: skip
    return fastavro.parse_schema(record("ManifestEntry", *fields))


def write_datum(path, version, form, entry):
    entry.setdefault("delete_apply_start_after_timetick", 0)
    for build in entry["index_files"]:
        build.setdefault("is_nested_index", False)
    for position in (entry["start_position"], entry["dml_position"]):
        position["msg_id"] = base64.b64decode(position["msg_id"])
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path, "wb") as file:
        fastavro.schemaless_writer(file, schema(version, form), entry)


def number(thing, key):
    return int(thing.get(key, 0))


def position_of(thing):
    return {
        "channel_name": thing.get("channel_name", ""),
        "msg_id": thing.get("msg_id_base64", ""),
        "msg_group": thing.get("msg_group", ""),
        "timestamp": number(thing, "timestamp"),
    }


def logs_of(groups, root):
    def log(one):
        return {
            "entries_num": number(one, "entries_num"), "timestamp_from": number(one, "timestamp_from"),
            "timestamp_to": number(one, "timestamp_to"), "log_path": root + one["path"], "log_size": number(one, "size_bytes"),
            "log_id": number(one, "log_id"), "memory_size": 0}  # fmt: skip

    return [
        {"field_id": number(g, "field_id"), "child_fields": [], "format": "", "binlogs": [log(one) for one in g["logs"]]}
        for g in groups
    ]


def entry_of(segment, indexes, root):
    """A manifest's entry from a segment of catalog.json."""

    def build(one):
        index = next(i for i in indexes if i["index_id"] == one["index_id"])
        return {
            "segment_id": number(segment, "segment_id"), "field_id": number(one, "field_id"), "index_id": number(one, "index_id"),
            "build_id": number(one, "build_id"), "index_name": one["index_name"],
            "index_params": [{"key": k, "value": v} for k, v in index["index_params"].items()],
            "index_file_paths": [root + file["path"] for file in one["files"]],
            "serialized_size": number(one, "serialized_size_bytes"), "index_version": number(one, "index_version"),
            "num_rows": number(one, "num_rows"), "current_index_version": one["current_index_version"], "mem_size": 0,
            "current_scalar_index_version": 0, "index_store_path_version": 0}  # fmt: skip

    levels = {"Legacy": 0, "L0": 1, "L1": 2, "L2": 3}
    return {
        "segment_id": number(segment, "segment_id"), "partition_id": number(segment, "partition_id"),
        "segment_level": levels[segment["level"]], "channel_name": segment["channel_name"],
        "num_of_rows": number(segment, "num_of_rows"), "start_position": position_of(segment["start_position"]),
        "dml_position": position_of(segment["dml_position"]), "storage_version": 0, "is_sorted": False, "commit_timestamp": 0,
        "binlog_files": logs_of(segment["binlogs"], root), "deltalog_files": logs_of(segment["deltalogs"], root),
        "statslog_files": logs_of(segment["statslogs"], root), "bm25_statslog_files": [],
        "index_files": [build(one) for one in segment["index_builds"]], "text_index_files": [], "json_key_index_files": []}  # fmt: skip


def pairs_of(params):
    return [{"key": k, "value": v} for k, v in (params or {}).items()]


def metadata_of(plan, catalog, segments, root, manifests):
    """SnapshotMetadata in protobuf's JSON form: 64-bit integers are strings, defaults are left out."""
    collection, collection_id = catalog["collection"], catalog["collection"]["collection_id"]

    def field(one):
        kept = {"fieldID": one["field_id"], "name": one["name"], "data_type": one["data_type"], "type_params": pairs_of(one.get("type_params"))}
        for key in ("description", "is_primary_key", "is_dynamic"):
            kept[key] = one.get(key)
        return {key: value for key, value in kept.items() if value not in (None, [], "", False, "0")}

    def index(one):
        return {
            "collectionID": collection_id, "fieldID": one["field_id"], "index_name": one["index_name"], "indexID": one["index_id"],
            "type_params": pairs_of(one["type_params"]), "index_params": pairs_of(one["index_params"]),
            "user_index_params": pairs_of(one["user_index_params"])}  # fmt: skip

    positions = [
        {"channel_name": c["channel_name"], "msgID": c["seek_position"]["msg_id_base64"],
         "msgGroup": c["seek_position"]["msg_group"], "timestamp": c["seek_position"]["timestamp"]}
        for c in collection["channels"]
    ]  # fmt: skip
    return {
        "format_version": plan["format_version"],
        "snapshot_info": {
            "name": plan["name"], "id": str(plan["snapshot_id"]), "description": plan.get("description", ""),
            "collection_id": collection_id, "partition_ids": [p["partition_id"] for p in collection["partitions"]],
            "create_ts": str(plan["create_ts"]), "state": "SnapshotStatePending", "pending_start_time": "1795400000000",
            "channel_seek_positions": positions},
        "collection": {
            "schema": {
                "name": collection["name"], "description": collection["description"], "fields": [field(f) for f in collection["fields"]],
                "enable_dynamic_field": True, "dbName": "default", "properties": [{"key": "consistency_level", "value": "2"}]},
            "num_partitions": str(len(collection["partitions"])), "num_shards": str(collection["num_shards"]),
            "consistency_level": collection["consistency_level"],
            "partitions": {p["name"]: p["partition_id"] for p in collection["partitions"]},
            "virtual_channel_names": [c["channel_name"] for c in collection["channels"]]},
        "indexes": [index(one) for one in catalog["indexes"]],
        "manifest_list": manifests,
        "segment_ids": [s["segment_id"] for s in segments],
        "build_ids": [b["build_id"] for s in segments for b in s["index_builds"]],
        "layout": "SnapshotLayoutReferenced"}  # fmt: skip


def snapshot(plan, out):
    """Writes below OUT_DIR as below a bucket. The plan:

    catalog          path of a catalog.json
    root             Milvus' rootPath ("" for none): keys begin with it
    snapshot_id, name, description, create_ts, format_version, form
    segments         ids; all when absent
    without_deltas   ids of segments that are written without their delete files
    without_builds   ids of segments that are written without their index builds
    deltas_of        by id of a segment: where its delete files lie, as collection/partition/segment (Milvus: of its
                     compaction's child)
    deltas_also_of   the same, and its own are there too
    """
    with open(plan["catalog"], encoding="utf-8") as file:
        catalog = json.load(file)
    root = plan["root"] + "/" if plan["root"] else ""
    wanted = plan.get("segments")
    segments = [s for s in catalog["segments"] if wanted is None or s["segment_id"] in wanted]
    for segment in segments:
        if segment["segment_id"] in plan.get("without_deltas", []):
            segment["deltalogs"] = []
        for key in ("deltas_of", "deltas_also_of"):
            if place := plan.get(key, {}).get(segment["segment_id"]):
                own = segment["deltalogs"]
                segment["deltalogs"] = json.loads(json.dumps(own)) + (own if key == "deltas_also_of" else [])
                for log in segment["deltalogs"][0]["logs"]:
                    log["path"] = f"delta_log/{place}/{log['log_id']}"
        if segment["segment_id"] in plan.get("without_builds", []):
            segment["index_builds"] = []
    base = f"{root}snapshots/{catalog['collection']['collection_id']}"
    manifests = []
    for segment in segments:
        key = f"{base}/manifests/{plan['snapshot_id']}/{segment['segment_id']}.avro"
        entry = entry_of(segment, catalog["indexes"], root)
        write_datum(os.path.join(out, key), plan["format_version"], plan.get("form", "main"), entry)
        manifests.append(key)
    key = os.path.join(out, f"{base}/metadata/{plan['snapshot_id']}.json")
    os.makedirs(os.path.dirname(key), exist_ok=True)
    with open(key, "w", encoding="utf-8") as file:
        json.dump(metadata_of(plan, catalog, segments, root, manifests), file, indent=2)


def main(arguments):
    match arguments:
        case ["datum", version, form, source, target]:
            with open(source, encoding="utf-8") as file:
                write_datum(target, int(version), form, json.load(file))
        case ["snapshot", source, out]:
            with open(source, encoding="utf-8") as file:
                snapshot(json.load(file), out)
        case _:
            sys.exit(__doc__)


main(sys.argv[1:])
