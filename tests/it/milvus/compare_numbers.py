"""Compares our .proto files with the descriptors of pymilvus: python compare_numbers.py DIRECTORY CALLS UNSERVED"""

import re
import sys
from pathlib import Path

from google.protobuf.descriptor import FieldDescriptor
from pymilvus.grpc_gen import common_pb2, milvus_pb2, schema_pb2

NAMES = {getattr(FieldDescriptor, n): n[5:].lower() for n in dir(FieldDescriptor) if n.startswith("TYPE_")}
# ours alone: any answer whose first field is the status
OURS = {"RefusedResponse"}
# fields of theirs that are left out on purpose: message, names
LEFT_OUT = {
    # names are enough, and there is no past to look into
    "AlterCollectionRequest": "collectionID",
    "DescribeCollectionRequest": "collectionID time_stamp",
    "DescribeIndexRequest": "timestamp",
    "HasCollectionRequest": "time_stamp",
    "ShowCollectionsRequest": "time_stamp type",
    "ShowPartitionsRequest": "collectionID type",
    # the engine's own
    "CheckHealthResponse": "quota_states",
    "DescribeCollectionResponse": "request_time start_positions update_timestamp update_timestamp_str",
    "FieldSchema": "state",
    "FlushResponse": "channel_cps",
    "IndexDescription": "index_state_fail_reason max_index_version min_index_version",
    "LoadCollectionRequest": "load_fields load_params refresh replica_number resource_groups skip_load_dynamic_field",
    "LoadPartitionsRequest": "load_fields load_params refresh replica_number resource_groups skip_load_dynamic_field",
    "PersistentSegmentInfo": "compaction_from",
    # declared, and never acted on by Milvus either
    "RestoreSnapshotRequest": "rewrite_data",
}
# of every request; no SDK needs it
HEAD = {"base"}


def type_name(field):
    if field.message_type:
        return field.message_type.name
    if field.enum_type:
        return field.enum_type.name
    return NAMES[field.type]


def is_map(field):
    return bool(field.message_type and field.message_type.GetOptions().map_entry)


def check_message(path, name, body, theirs):
    wrong, count = [], 0
    body = re.sub(r"oneof \w+ \{(.*?)\}", r"\1", body, flags=re.S)
    for statement in filter(None, (s.strip() for s in re.sub(r"//.*", "", body).split(";"))):
        found = re.fullmatch(r"(repeated )?([\w.]+|map<[^>]+>) (\w+) = (\d+)", statement)
        assert found, f"{path}: {statement!r} in {name}"
        repeated, kind, field, number = found.groups()
        count += 1
        known = theirs.fields_by_number.get(int(number))
        if known is None or known.name != field:
            wrong.append(f"{name}.{field} = {number}: pymilvus has {known and known.name}")
        elif kind.startswith("map<"):
            if not is_map(known):
                wrong.append(f"{name}.{field} is no map")
        elif bool(repeated) != known.is_repeated or kind.split(".")[-1] != type_name(known):
            wrong.append(f"{name}.{field} is {type_name(known)}")
    return wrong, count


def main(directory, calls, unserved):
    wrong, fields = [], 0
    left_out = {}
    for path, module in (("common", common_pb2), ("schema", schema_pb2), ("milvus", milvus_pb2)):
        text = (Path(directory) / f"{path}.proto").read_text()
        for name, body in re.findall(r"^message (\w+) \{(?:\}|(.*?)\n\})", text, flags=re.S | re.M):
            if name in OURS:
                continue
            theirs = module.DESCRIPTOR.message_types_by_name[name]
            more, count = check_message(path, name, body, theirs)
            numbers = {int(n) for n in re.findall(r"= (\d+)", re.sub(r"//.*", "", body or ""))}
            missing = {field.name for field in theirs.fields if field.number not in numbers} - HEAD
            if missing:
                left_out[name] = missing
            wrong, fields = wrong + more, fields + count
        for name, body in re.findall(r"^enum (\w+) \{(.*?)\}", text, flags=re.S | re.M):
            theirs = module.DESCRIPTOR.enum_types_by_name[name].values_by_name
            for value, number in re.findall(r"(\w+) = (\d+);", body):
                fields += 1
                if value not in theirs or theirs[value].number != int(number):
                    wrong.append(f"{name}.{value} = {number}")
    for name in sorted(left_out.keys() | LEFT_OUT.keys()):
        found, known = left_out.get(name, set()), set(LEFT_OUT.get(name, "").split())
        if found != known:
            wrong.append(f"{name} leaves out {sorted(found)}, of which the list here has {sorted(known)}")
    service = milvus_pb2.DESCRIPTOR.services_by_name["MilvusService"].methods_by_name
    for call in calls.split(","):
        answer = service[call].output_type.name
        text = (Path(directory) / "milvus.proto").read_text()
        if answer != "Status" and f"message {answer} " not in text:
            wrong.append(f"{call} answers {answer}")
        if f"message {service[call].input_type.name} " not in text:
            wrong.append(f"{call} takes {service[call].input_type.name}")
    refused = dict(pair.split(":") for pair in unserved.split(","))
    for call, shape in refused.items():
        answer = service[call].output_type
        first = answer.fields_by_number[1].message_type
        is_first = bool(first and first.name == "Status")
        if shape != ("Status" if answer.name == "Status" else "First" if is_first else "Grpc"):
            wrong.append(f"{call} answers {answer.name}")
    missing = service.keys() - refused.keys() - set(calls.split(","))
    if missing:
        wrong.append(f"neither served nor refused: {sorted(missing)}")
    if wrong:
        sys.exit("\n".join(wrong))
    print(f"compared {fields} numbers")


main(*sys.argv[1:])
