"""All of Milvus' snapshot calls, on the messages and stubs that pymilvus is made of: it has no methods yet for
exports and for restores from them. Then Milvus' REST v2 on the same port. Needs a collection `my_collection` with files."""

import json
import os
import time
import urllib.request
from urllib.parse import urlparse

import grpc
from guide import TOKEN, URI
from pymilvus.grpc_gen import milvus_pb2, milvus_pb2_grpc

# a path in the service's own storage; a whole URI leads to another bucket
EXPORT_TO = os.environ.get("EXPORT_TO", "bundles/of_the_guide")

stub = milvus_pb2_grpc.MilvusServiceStub(grpc.insecure_channel(urlparse(URI).netloc))
called = set()


def call(method, /, **fields):
    """Calls the server; gives its answer, which says that all is well."""
    answer = getattr(stub, method)(getattr(milvus_pb2, f"{method}Request")(**fields), timeout=60)
    status = answer.status if hasattr(answer, "status") else answer
    assert (status.code, status.error_code) == (0, 0), f"{method}: {status.code}: {status.reason}"
    called.add(method)
    return answer


def wait(method, job_id):
    """Polls a job until it has ended; it must have succeeded."""
    while True:
        info = call(method, job_id=job_id).info
        kind = type(info).DESCRIPTOR.fields_by_name["state"].enum_type.values_by_number[info.state].name
        print(f"{kind}: {info.progress}%")
        assert not kind.endswith("Failed"), info.reason
        if kind.endswith("Completed"):
            return info
        time.sleep(0.2)


def rows(collection):
    answer = stub.GetCollectionStatistics(milvus_pb2.GetCollectionStatisticsRequest(collection_name=collection))
    assert answer.status.code == 0, answer.status.reason
    return {pair.key: pair.value for pair in answer.stats}["row_count"]


of = {"name": "of_every_call", "collection_name": "my_collection"}
call("CreateSnapshot", description="by the stubs", **of)
assert "of_every_call" in call("ListSnapshots", collection_name="my_collection").snapshots
described = call("DescribeSnapshot", **of)
assert described.description == "by the stubs" and described.create_ts >> 18 > 0, described
pin = call("PinSnapshotData", ttl_seconds=60, **of).pin_id

job = call("RestoreSnapshot", target_collection_name="restored_by_stubs", **of).job_id
wait("GetRestoreSnapshotState", job)
jobs = call("ListRestoreSnapshotJobs", collection_name="restored_by_stubs").jobs
assert [found.job_id for found in jobs] == [job], jobs

export = call("ExportSnapshot", target_s3_path=EXPORT_TO, **of).job_id
exported = wait("GetExportSnapshotState", export)
assert exported.copied_files == exported.total_files > 0, exported
print(f"Exported {exported.total_files} files, {exported.total_bytes} bytes to {exported.snapshot_metadata_uri}")
back = call(
    "RestoreExternalSnapshot",
    target_collection_name="back_from_export",
    snapshot_metadata_uri=exported.snapshot_metadata_uri,
).job_id
wait("GetRestoreSnapshotState", back)
counts = {name: rows(name) for name in ("my_collection", "restored_by_stubs", "back_from_export")}
print(f"Rows: {counts}")
assert len(set(counts.values())) == 1 and int(counts["my_collection"]) > 0, counts

# REST v2 is asked on the same port, and knows the same
request = urllib.request.Request(
    f"{URI}/v2/vectordb/snapshots/describe",
    data=json.dumps({"collectionName": "my_collection", "snapshotName": "of_every_call"}).encode(),
    headers={"Content-Type": "application/json", **({"Authorization": f"Bearer {TOKEN}"} if TOKEN else {})},
)
with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as response:
    envelope = json.load(response)
assert envelope["code"] == 0, envelope
assert (envelope["data"]["s3Location"], int(envelope["data"]["createTs"])) == (described.s3_location, described.create_ts)

call("UnpinSnapshotData", pin_id=pin)
call("DropSnapshot", **of)
assert "of_every_call" not in call("ListSnapshots", collection_name="my_collection").snapshots

methods = milvus_pb2.DESCRIPTOR.services_by_name["MilvusService"].methods
of_snapshots = {method.name for method in methods if "Snapshot" in method.name}
assert called == of_snapshots, called ^ of_snapshots
print(f"{len(called)} calls and REST v2 on {URI}")
