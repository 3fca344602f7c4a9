"""Reads the bare manifests of a bundle with fastavro and a schema of format version 4 that is written
out here, from the documentation of the format and not from the service. Prints rows and paths."""

import io
import json
import pathlib
import sys

import fastavro

LONG, INT, STRING = "long", "int", "string"


def record(name, *fields):
    return {"type": "record", "name": name, "fields": [{"name": n, "type": t} for n, t in fields]}


def array(items):
    return {"type": "array", "items": items}


POSITION = record("AvroMsgPosition", ("channel_name", STRING), ("msg_id", "bytes"), ("msg_group", STRING), ("timestamp", LONG))
BINLOG = record(
    "AvroBinlog",
    ("entries_num", LONG),
    ("timestamp_from", LONG),
    ("timestamp_to", LONG),
    ("log_path", STRING),
    ("log_size", LONG),
    ("log_id", LONG),
    ("memory_size", LONG),
)
FIELD_BINLOG = record(
    "AvroFieldBinlog", ("field_id", LONG), ("child_fields", array(LONG)), ("format", STRING), ("binlogs", array(BINLOG))
)
PAIR = record("AvroKeyValuePair", ("key", STRING), ("value", STRING))
INDEX = record(
    "AvroIndexFilePathInfo",
    ("segment_id", LONG),
    ("field_id", LONG),
    ("index_id", LONG),
    ("build_id", LONG),
    ("index_name", STRING),
    ("index_params", array(PAIR)),
    ("index_file_paths", array(STRING)),
    ("serialized_size", LONG),
    ("index_version", LONG),
    ("num_rows", LONG),
    ("current_index_version", INT),
    ("mem_size", LONG),
    ("current_scalar_index_version", INT),
    ("index_store_path_version", INT),
)
STATS = [
    ("field_id", LONG),
    ("version", LONG),
    ("files", array(STRING)),
    ("log_size", LONG),
    ("memory_size", LONG),
    ("build_id", LONG),
]
TEXT = record("AvroTextIndexEntry", ("field_id", LONG), ("stats", record("AvroTextIndexStats", *STATS)))
JSON_KEY = record(
    "AvroJSONKeyIndexEntry",
    ("field_id", LONG),
    ("stats", record("AvroJSONKeyStats", *STATS, ("json_key_stats_data_format", LONG))),
)
ENTRY = record(
    "ManifestEntry",
    ("segment_id", LONG),
    ("partition_id", LONG),
    ("segment_level", LONG),
    ("channel_name", STRING),
    ("num_of_rows", LONG),
    ("start_position", POSITION),
    ("dml_position", "AvroMsgPosition"),
    ("storage_version", LONG),
    ("is_sorted", "boolean"),
    ("commit_timestamp", LONG),
    ("binlog_files", array(FIELD_BINLOG)),
    ("deltalog_files", array("AvroFieldBinlog")),
    ("statslog_files", array("AvroFieldBinlog")),
    ("bm25_statslog_files", array("AvroFieldBinlog")),
    ("index_files", array(INDEX)),
    ("text_index_files", array(TEXT)),
    ("json_key_index_files", array(JSON_KEY)),
)


def main():
    root = pathlib.Path(sys.argv[1])
    schema = fastavro.parse_schema(ENTRY)
    rows, paths = 0, []
    for key in sys.argv[2:]:
        data = (root / key).read_bytes()
        stream = io.BytesIO(data)
        entry = fastavro.schemaless_reader(stream, schema)
        assert stream.tell() == len(data), f"{key}: {len(data) - stream.tell()} bytes are left"
        assert key.endswith(f"/{entry['segment_id']}.avro"), key
        rows += entry["num_of_rows"]
        for kind in ("binlog_files", "deltalog_files", "statslog_files", "bm25_statslog_files"):
            paths += [log["log_path"] for group in entry[kind] for log in group["binlogs"]]
        paths += [path for index in entry["index_files"] for path in index["index_file_paths"]]
    for path in paths:
        assert (root / path).is_file(), f"{path} is not there"
    json.dump({"rows": rows, "paths": paths}, sys.stdout)


main()
