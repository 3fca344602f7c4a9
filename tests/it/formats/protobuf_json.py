#!/usr/bin/env python3
"""Reads a metadata file with Google's protobuf, and prints what it understood in protobuf's own JSON.

protobuf_json.py FILE.json [--numbers]    --numbers: enums as numbers, as other writers may do
protobuf_json.py --sample [--camel]       a message with something in every field, those too that Stillframe
                                          does not know

The messages are typed here from facts 3; nothing is taken from the product.
"""

import json
import sys

from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

SCALARS = {"int32": 5, "int64": 3, "uint64": 4, "bool": 8, "string": 9, "bytes": 12, "float": 2, "double": 1}
ENUMS = {
    "SnapshotState": {"SnapshotStateUnknown": 0, "SnapshotStatePending": 1, "SnapshotStateCommitted": 2, "SnapshotStateDeleting": 3},
    "SnapshotLayout": {"SnapshotLayoutUnknown": 0, "SnapshotLayoutReferenced": 1, "SnapshotLayoutSelfContained": 2},
    "ConsistencyLevel": {"Strong": 0, "Session": 1, "Bounded": 2, "Eventually": 3, "Customized": 4},
    "DataType": {
        "None": 0, "Bool": 1, "Int8": 2, "Int16": 3, "Int32": 4, "Int64": 5, "Float": 10, "Double": 11, "String": 20, "VarChar": 21,
        "Array": 22, "JSON": 23, "FloatVector": 101, "SparseFloatVector": 104, "ArrayOfVector": 106, "ArrayOfStruct": 200},
    "FunctionType": {"Unknown": 0, "BM25": 1, "TextEmbedding": 2, "Rerank": 3, "MinHash": 4},
    "FieldState": {"FieldCreated": 0, "FieldCreating": 1},
    "WALName": {"WALUnknown": 0, "RocksMQ": 1, "Pulsar": 2},
}  # fmt: skip
# name = number: type; `*` repeated
MESSAGES = {
    "KeyValuePair": "key=1 string; value=2 string",
    "MsgPosition": "channel_name=1 string; msgID=2 bytes; msgGroup=3 string; timestamp=4 uint64; WAL_name=5 WALName",
    "SnapshotInfo": "name=1 string; id=2 int64; description=3 string; collection_id=4 int64; partition_ids=5 *int64; create_ts=6 int64;"
    " s3_location=7 string; state=8 SnapshotState; pending_start_time=9 int64; compaction_expire_time=10 uint64; pin_ids=11 *int64;"
    " pin_expire_at_ms=12 int64,int64; channel_seek_positions=13 *MsgPosition",
    "ValueField": "bool_data=1 bool; int_data=2 int32; long_data=3 int64; float_data=4 float; double_data=5 double; string_data=6 string",
    "TypeSchema": "element=1 DataType",
    "FieldSchema": "fieldID=1 int64; name=2 string; is_primary_key=3 bool; description=4 string; data_type=5 DataType;"
    " type_params=6 *KeyValuePair; index_params=7 *KeyValuePair; autoID=8 bool; state=9 FieldState; element_type=10 DataType;"
    " default_value=11 ValueField; is_dynamic=12 bool; is_partition_key=13 bool; is_clustering_key=14 bool; nullable=15 bool;"
    " is_function_output=16 bool; external_field=17 string; type_schema=18 TypeSchema; element_nullable=19 bool",
    "FunctionSchema": "name=1 string; id=2 int64; description=3 string; type=4 FunctionType; input_field_names=5 *string;"
    " input_field_ids=6 *int64; output_field_names=7 *string; output_field_ids=8 *int64; params=9 *KeyValuePair",
    "StructArrayFieldSchema": "fieldID=1 int64; name=2 string; description=3 string; fields=4 *FieldSchema;"
    " type_params=5 *KeyValuePair; nullable=6 bool",
    "CollectionSchema": "name=1 string; description=2 string; autoID=3 bool; fields=4 *FieldSchema; enable_dynamic_field=5 bool;"
    " properties=6 *KeyValuePair; functions=7 *FunctionSchema; dbName=8 string; struct_array_fields=9 *StructArrayFieldSchema;"
    " version=10 int32; external_source=11 string; external_spec=12 string; do_physical_backfill=13 bool; file_resource_ids=14 *int64;"
    " enable_namespace=15 bool",
    "CollectionDescription": "schema=1 CollectionSchema; num_partitions=2 int64; num_shards=3 int64; consistency_level=4 ConsistencyLevel;"
    " properties=5 *KeyValuePair; partitions=6 string,int64; virtual_channel_names=7 *string",
    "IndexInfo": "collectionID=1 int64; fieldID=2 int64; index_name=3 string; indexID=4 int64; type_params=5 *KeyValuePair;"
    " index_params=6 *KeyValuePair; indexed_rows=7 int64; total_rows=8 int64; is_auto_index=11 bool; user_index_params=12 *KeyValuePair;"
    " min_index_version=14 int32",
    "StorageV2SegmentManifest": "segment_id=1 int64; manifest=2 string",
    "SnapshotMetadata": "format_version=1 int32; snapshot_info=2 SnapshotInfo; collection=3 CollectionDescription; indexes=4 *IndexInfo;"
    " manifest_list=5 *string; storagev2_manifest_list=6 *StorageV2SegmentManifest; segment_ids=7 *int64; build_ids=8 *int64;"
    " layout=9 SnapshotLayout",
}


def classes():
    file = descriptor_pb2.FileDescriptorProto(name="facts.proto", package="facts", syntax="proto3")
    for name, values in ENUMS.items():
        # every enum in a message of its own: value names are then no clash
        scope = file.message_type.add(name=f"In{name}")
        enum = scope.enum_type.add(name=name)
        for value, number in values.items():
            enum.value.add(name=value, number=number)

    def set_type(field, kind):
        if kind in SCALARS:
            field.type = SCALARS[kind]
        elif kind in ENUMS:
            field.type, field.type_name = 14, f".facts.In{kind}.{kind}"
        else:
            field.type, field.type_name = 11, f".facts.{kind}"

    for name, text in MESSAGES.items():
        message = file.message_type.add(name=name)
        for part in text.split(";"):
            left, kind = part.split()
            field_name, number = left.split("=")
            field = message.field.add(name=field_name, number=int(number), label=3 if kind[0] == "*" or "," in kind else 1)
            if "," in kind:
                entry_name = "".join(word.capitalize() for word in field_name.split("_")) + "Entry"
                entry = message.nested_type.add(name=entry_name)
                entry.options.map_entry = True
                for at, part_kind in enumerate(kind.split(",")):
                    set_type(entry.field.add(name=("key", "value")[at], number=at + 1, label=1), part_kind)
                field.type, field.type_name = 11, f".facts.{name}.{entry_name}"
            else:
                set_type(field, kind.lstrip("*"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return lambda name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"facts.{name}"))


def fill(message, depth=0):
    """Puts something that is not the default into every field, and two members into every list."""
    for field in message.DESCRIPTOR.fields:
        if field.message_type and field.message_type.GetOptions().map_entry:
            entry = getattr(message, field.name)
            text_keys = field.message_type.fields_by_name["key"].type == 9
            for n in (1, 2):
                entry[f"k{n}" if text_keys else n] = 2**60 + n
            continue
        value = {
            9: lambda n: f"{field.name} {n}", 12: lambda n: bytes([250, n]), 8: lambda n: True, 2: lambda n: n + 0.5, 1: lambda n: n + 0.25,
            14: lambda n: field.enum_type.values[1].number, 5: lambda n: n, 3: lambda n: 2**60 + n, 4: lambda n: 2**60 + n,
        }.get(field.type)  # fmt: skip
        if field.type == 11 and field.is_repeated:
            for n in (1, 2):
                fill(getattr(message, field.name).add(), depth + n * 10 ** len(str(depth)))
        elif field.type == 11:
            fill(getattr(message, field.name), depth + 1)
        elif field.is_repeated:
            getattr(message, field.name).extend([value(depth + 1), value(depth + 2)])
        else:
            setattr(message, field.name, value(depth + 1))


def sample(cls):
    message = cls("SnapshotMetadata")()
    fill(message)
    # what must fit together
    message.format_version = 4
    info, collection = message.snapshot_info, message.collection
    collection.virtual_channel_names[:] = [p.channel_name for p in info.channel_seek_positions]
    info.partition_ids[:] = sorted(collection.partitions.values())
    collection.num_partitions = len(info.partition_ids)
    collection.num_shards = 2
    collection.consistency_level = 2
    schema = collection.schema
    del schema.properties[:]
    for pair in collection.properties:
        schema.properties.add().CopyFrom(pair)
    schema.properties.add(key="consistency_level", value="2")
    for function in schema.functions:
        # names follow from ids
        function.input_field_ids[:] = [schema.fields[0].fieldID]
        function.input_field_names[:] = [schema.fields[0].name]
        function.output_field_ids[:] = [schema.fields[1].fieldID]
        function.output_field_names[:] = [schema.fields[1].name]
    for index in message.indexes:
        index.collectionID = info.collection_id
    message.segment_ids[:] = [7, 8]
    message.manifest_list[:] = [f"files/snapshots/{info.collection_id}/manifests/{info.id}/{s}.avro" for s in message.segment_ids]
    for entry, segment in zip(message.storagev2_manifest_list, message.segment_ids):
        entry.segment_id, entry.manifest = segment, f"files/insert_log/1/2/{segment}/_manifest"
    return message


def main(arguments):
    cls = classes()
    numbers, camel = "--numbers" in arguments, "--camel" in arguments
    match [a for a in arguments if a not in ("--numbers", "--camel")]:
        case ["--sample"]:
            message = sample(cls)
        case [path]:
            message = cls("SnapshotMetadata")()
            with open(path, encoding="utf-8") as file:
                json_format.Parse(file.read(), message, ignore_unknown_fields=True)
        case _:
            sys.exit(__doc__)
    form = json_format.MessageToDict(message, preserving_proto_field_name=not camel, use_integers_for_enums=numbers)
    json.dump(form, sys.stdout, indent=2)
    print()


main(sys.argv[1:])
