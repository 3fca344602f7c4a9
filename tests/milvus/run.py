"""A real Milvus 2.3.5 on an S3 server, and the service on the same bucket: `make test-milvus`.

Milvus is filled, its catalog is imported while it runs, a snapshot is taken and restored. Then it
is proved that the restored files have the bytes of Milvus' own, and that Milvus reads the same rows
from them: the restored insert and delete files go into a fresh collection by Milvus' own Import, and so do
those of an exported bundle, from where they lie in it.
"""

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from parts import S3, Milvus, Stillframe

NAME, PARTITION, INDEX = "feas", "p2", "vec_hnsw"
# over 1,024 in each segment, below which Milvus builds no index
ROWS, PARTITION_ROWS = 4000, 600
DELETED = [1, 2, 3, 4, 5, 20, 21, 22, 100_003]
EVERY_ROW = {"expr": "id >= 0", "output_fields": ["id", "tag", "score", "meta", "vec"], "consistency_level": "Strong"}

began = time.monotonic()


def tell(text):
    print(f"{time.monotonic() - began:6.1f} s  {text}", flush=True)


def same(what, expected, found):
    if expected != found:
        raise AssertionError(f"{what}: expected {str(expected)[:500]}, found {str(found)[:500]}")


def schema():
    from pymilvus import CollectionSchema, DataType, FieldSchema

    fields = [
        FieldSchema("id", DataType.INT64, is_primary=True, auto_id=False),
        FieldSchema("tag", DataType.VARCHAR, max_length=64),
        FieldSchema("score", DataType.FLOAT),
        FieldSchema("meta", DataType.JSON),
        FieldSchema("vec", DataType.FLOAT_VECTOR, dim=32),
    ]
    return CollectionSchema(fields, description="of make test-milvus", enable_dynamic_field=True)


def rows(begin, count):
    vector = lambda i: [((i * 7 + d * 13) % 101) / 101 for d in range(32)]
    return [
        {"id": i, "tag": f"t{i % 10}", "score": i / 7, "meta": {"k": i % 5}, "vec": vector(i), "extra": i % 3}
        for i in range(begin, begin + count)
    ]


def index_and_load(collection):
    from pymilvus import utility

    params = {"index_type": "HNSW", "metric_type": "L2", "params": {"M": 16, "efConstruction": 100}}
    collection.create_index("vec", params, index_name=INDEX)
    utility.wait_for_index_building_complete(collection.name, INDEX, timeout=120)
    collection.load(timeout=120)


def fill():
    from pymilvus import Collection, utility

    collection = Collection(NAME, schema(), shards_num=2, properties={"collection.ttl.seconds": 0})
    for begin in range(0, ROWS, 1000):
        collection.insert(rows(begin, 1000))
    for name in [PARTITION, "dropped"]:
        collection.create_partition(name)
    collection.insert(rows(100_000, PARTITION_ROWS), partition_name=PARTITION)
    collection.insert(rows(200_000, 10), partition_name="dropped")
    collection.flush()
    index_and_load(collection)
    collection.delete(f"id in {DELETED}")
    collection.flush()
    # what an import has to leave out: a partition, an alias and a collection that were dropped
    collection.release()
    collection.drop_partition("dropped")
    collection.load(timeout=120)
    utility.create_alias(NAME, "latest")
    utility.create_alias(NAME, "never")
    utility.drop_alias("never")
    Collection("gone", schema()).drop()
    return collection


def all_rows(collection):
    """Every row by its id. The count is Milvus' own, so that none is cut off silently."""
    count = collection.query("", output_fields=["count(*)"], consistency_level="Strong")[0]["count(*)"]
    found = {row["id"]: {**row, "vec": [float(x) for x in row["vec"]]} for row in collection.query(**EVERY_ROW)}
    same("rows of a query beside count(*)", count, len(found))
    return found


def files_of(segment):
    """Paths by what a restore keeps: kind, field and log id, or index and file name."""
    found = {}
    for kind in ["binlogs", "deltalogs", "statslogs"]:
        for group in segment[kind]:
            for log in group["logs"]:
                found[(kind, group["field_id"], log["log_id"])] = log["path"]
    for build in segment["index_builds"]:
        for file in build["files"]:
            found[("index", build["index_id"], file["path"].rsplit("/", 1)[1])] = file["path"]
    return found


def compare_bytes(stillframe, s3, source, target, job_id):
    """Every restored file against the one of Milvus that it was copied from."""
    segments = lambda name: {
        s["segment_id"]: s for s in stillframe.get(f"/v1/collections/{name}/segments?page_size=1000")["items"]
    }
    sources, targets = segments(source), segments(target)
    tasks = stillframe.get(f"/v1/restore-jobs/{job_id}/tasks?page_size=1000")["items"]
    tasks = [task for task in tasks if task.get("target_segment_id")]
    same("restored segments", set(targets), {t["target_segment_id"] for t in tasks})
    count = size = 0
    for task in tasks:
        before, after = files_of(sources[task["source_segment_id"]]), files_of(targets[task["target_segment_id"]])
        same("files of a segment", sorted(before), sorted(after))
        for key, path in before.items():
            assert path.startswith("files/") and not after[key].startswith("files/"), (path, after[key])
            content = s3.read(path)
            assert content == s3.read(after[key]), f"{after[key]} differs from {path}"
            count, size = count + 1, size + len(content)
    return len(targets), count, size


def import_rows(stillframe, copied, name, below=""):
    """Milvus reads the insert and delete files of a collection, which lie below a key, into a fresh one."""
    from pymilvus import BulkInsertState, Collection, connections, utility
    from pymilvus.grpc_gen import common_pb2, milvus_pb2

    collection = Collection(name, schema(), shards_num=2)
    collection.create_partition(PARTITION)
    described = stillframe.get(f"/v1/collections/{copied}")
    stub = connections._fetch_handler("default")._stub
    for partition in described["partitions"]:
        ids = f"{described['collection_id']}/{partition['partition_id']}"
        request = milvus_pb2.ImportRequest(
            collection_name=name,
            partition_name=partition["name"],
            files=[f"{below}insert_log/{ids}/", f"{below}delta_log/{ids}/"],
            # not one of the options that pymilvus hands on
            options=[common_pb2.KeyValuePair(key="backup", value="true")],
        )
        answer = stub.Import(request, timeout=60)
        same("status of Import", (0, ""), (answer.status.error_code, answer.status.reason))
        for task in answer.tasks:
            deadline = time.monotonic() + 120
            while (state := utility.get_bulk_insert_state(task)).state != BulkInsertState.ImportCompleted:
                failed = state.state in [BulkInsertState.ImportFailed, BulkInsertState.ImportFailedAndCleaned]
                if failed or time.monotonic() > deadline:
                    raise AssertionError(f"Import of partition {partition['name']}: {state}")
                time.sleep(0.5)
    index_and_load(collection)
    return collection


def expect_import(stillframe, milvus, storage, **expected):
    arguments = ["import", "milvus", "--etcd", milvus.etcd, "--storage", storage, "--collection", NAME]
    report = stillframe.run(*arguments)
    found = report["collections"][0]
    same("the import", expected, {key: found[key] for key in expected})
    return found


def run(directory, parts):
    from pymilvus import connections

    s3 = S3(directory)
    parts.append(s3)
    milvus = Milvus(directory, s3)
    parts.append(milvus)
    connections.connect("default", host="127.0.0.1", port=str(milvus.port), timeout=60)
    tell(f"Milvus 2.3.5 runs on {s3.url('/files')}")

    collection = fill()
    source = all_rows(collection)
    same("rows that are left in Milvus", ROWS + PARTITION_ROWS - len(DELETED), len(source))
    tell(f"filled: {len(source)} rows in two partitions and two shards, {len(DELETED)} deleted, an HNSW index")

    stillframe = Stillframe(directory, s3.url())
    parts.append(stillframe)
    storage = s3.url("/files")
    found = expect_import(stillframe, milvus, storage, result="imported", num_of_rows=ROWS + PARTITION_ROWS)
    described = stillframe.get("/v1/collections/latest")
    same("partitions", ["_default", PARTITION], sorted(p["name"] for p in described["partitions"]))
    same("aliases", ["latest"], described["aliases"])
    same("ownership", "external", described["ownership"])
    indexed = [s for s in stillframe.get(f"/v1/collections/{NAME}/segments")["items"] if s["index_builds"]]
    assert indexed, "no segment has an index build"
    tell(f"imported at one revision of etcd: {found['segment_count']} segments, {found['file_count']} files, {found['left_out']}")
    expect_import(stillframe, milvus, storage, result="unchanged")
    tell("imported again: unchanged")

    stillframe.run("snapshot", "create", NAME, "s1")
    job = stillframe.run("restore", "s1", "restored")
    same("state of the job", "Completed", job["state"])
    segments, count, size = compare_bytes(stillframe, s3, NAME, "restored", job["job_id"])
    tell(f"snapshot and restore: {segments} segments, {count} files, {size} bytes, every one the same as Milvus'")

    export = stillframe.run("snapshot", "export", "s1", "bundles")
    same("state of the export", "Completed", export["state"])
    uri = export["snapshot_metadata_uri"]
    bundle = "bundles/exports/" + uri.split("/bundles/exports/", 1)[1].split("/", 1)[0]
    source_files = stillframe.get(f"/v1/collections/{NAME}/segments?page_size=1000")["items"]
    for segment in source_files:
        for path in files_of(segment).values():
            # what Milvus has before its own paths, its rootPath, is not part of a bundle
            same(f"{path} in the bundle", s3.read(path), s3.read(f"{bundle}/{path}"))
    job = stillframe.run("restore", "--external", uri, "from_bundle")
    same("state of the job", "Completed", job["state"])
    segments, count, size = compare_bytes(stillframe, s3, NAME, "from_bundle", job["job_id"])
    tell(f"export and restore of the bundle: {segments} segments, {count} files, {size} bytes, every one the same")

    # a bundle keeps the ids of what it was exported from, and here also its rootPath's name
    for what, copied, name, below in [
        ("restored files", "restored", "proof", ""),
        ("files of the exported bundle", NAME, "proof_of_bundle", f"{bundle}/files/"),
    ]:
        imported = all_rows(import_rows(stillframe, copied, name, below))
        same("count", len(source), len(imported))
        same("deleted ids", set(DELETED), {r["id"] for r in rows(0, ROWS) + rows(100_000, PARTITION_ROWS)} - set(imported))
        same("rows", source, imported)
        tell(f"Milvus' own Import of the {what}: {len(imported)} rows, the same ids deleted, every value equal")

    collection.insert(rows(300_000, 1500))
    collection.delete("id in [300000, 6]")
    collection.flush()
    found = expect_import(stillframe, milvus, storage, result="updated")
    same("rows registered", ROWS + PARTITION_ROWS + 1500, found["num_of_rows"])
    same("rows of the snapshot", ROWS + PARTITION_ROWS, stillframe.get("/v1/snapshots/s1")["num_of_rows"])
    tell(
        f"Milvus went on, imported again: {found['segments_added']} segments added, {found['segments_changed']} changed, "
        f"{found['segments_dropped']} dropped; the snapshot is what it was"
    )

    collection.compact()
    collection.wait_for_compaction_completed(timeout=120)
    found = expect_import(stillframe, milvus, storage, result="updated")
    assert found["segments_dropped"] > found["segments_added"] > 0, f"nothing was compacted: {found}"
    stillframe.run("snapshot", "create", NAME, "s2")
    compacted = all_rows(collection)
    stillframe.run("restore", "s2", "restored_later")
    proof = all_rows(import_rows(stillframe, "restored_later", "proof_later"))
    same("rows after the compaction", compacted, proof)
    job = stillframe.run("restore", "s1", "restored_again")
    same("state of the job", "Completed", job["state"])
    tell(
        f"Milvus compacted, imported again: {found['segments_added']} segments added, {found['segments_dropped']} dropped; "
        f"a new snapshot gives Milvus its {len(proof)} rows, the old one can still be restored"
    )


def main():
    directory = Path(tempfile.mkdtemp(prefix="stillframe-milvus-"))
    # as root, Postgres runs as another user, who must get through
    directory.chmod(0o755)
    os.chdir(directory)
    parts = []
    passed = False
    try:
        run(directory, parts)
        passed = True
    finally:
        for part in reversed(parts):
            part.stop()
        if passed:
            shutil.rmtree(directory)
        else:
            tell(f"FAILED; logs are in {directory}")
    tell("ok: make test-milvus")


if __name__ == "__main__":
    sys.exit(main())
