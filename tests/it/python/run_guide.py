#!/usr/bin/env python3
"""Runs the examples of the user guide, one after the other as in a notebook, and looks at what they did.

run_guide.py DIRECTORY [--without FILE] [--spark BUCKET]

One line of them is changed: `from pymilvus import MilvusClient`. Their address,
http://localhost:19530, is reached through the proxy that HTTP_PROXY names: the service itself.
"""

import argparse
import contextlib
import io
import re
from pathlib import Path

from stillframe import ApiError

GIVEN, OURS = "from pymilvus import MilvusClient\n", "from stillframe import MilvusClient\n"


def check_create(ns, _):
    assert ns["client"].list_snapshots("my_collection") == ["backup_20240101"]


def check_list(ns, _):
    assert ns["snapshots"] == ["backup_20240101"]


def check_describe(ns, out):
    info = ns["snapshot_info"]
    assert out == (
        f"Snapshot ID: {info.id}\nCollection: my_collection\nCreated: 470644641416347649\n"
        "Description: Daily backup for January 1st, 2024\n"
    ), out
    assert isinstance(info.id, int) and isinstance(info.create_ts, int)
    assert "vec" in [field["name"] for field in info.collection["fields"]]
    assert {index["index_name"] for index in info.indexes} == {"vec_hnsw", "tag_trie"}


def check_restore(ns, out):
    assert re.search(r"^Restore completed in \d+ms$", out, re.MULTILINE), out
    described = ns["client"].request("GET", "/v1/collections/restored_collection")
    assert int(described["collection_id"]) == ns["state"].collection_id


def check_drop(ns, _):
    try:
        ns["client"].describe_snapshot("backup_20240101")
    except ApiError as error:
        assert error.code == "snapshot_not_found", error
    else:
        raise AssertionError("it is still there")


def check_state(ns, out):
    state = ns["state"]
    assert out == (
        f"Job ID: 12345\nSnapshot Name: seed\nCollection ID: {state.collection_id}\n"
        f"State: RestoreSnapshotCompleted\nProgress: 100%\nTime Cost: {state.time_cost}ms\n"
    ), out


def check_jobs(ns, out):
    assert [job.job_id for job in ns["jobs"]] == [12345]
    # five collections were set up by restores, one was restored by an example
    assert len(re.findall(r"^Job \d+: \w+ -> Collection \d+$", out, re.MULTILINE)) == 6, out
    assert out.count(" State: RestoreSnapshotCompleted, Progress: 100%\n") == 6, out


def check_backup(ns, _):
    assert ns["client"].list_snapshots("production_vectors") == [f"daily_backup_{ns['today']}"]


def check_spark(ns, _):
    # 8,000 rows in _default and 1,000 in p2, deletes not subtracted
    assert sorted(row["count(vector_dim)"] for row in ns["result"].collect()) == [1000, 8000]
    written = ns["spark"].read.parquet("s3a://analytics-results/daily_stats/")
    assert sorted(written.columns) == ["count(vector_dim)", "max(timestamp)", "partition_id"] and written.count() == 2
    assert ns["client"].list_snapshots("user_embeddings") == []


def check_versions(ns, _):
    assert ns["client"].list_snapshots("ml_embeddings") == ["v1.1_improved", "v1.0_baseline"]


def check_testing(_, out):
    assert re.search(r"^Test environment ready! Restored in \d+ms$", out, re.MULTILINE), out


def check_several(_, out):
    assert len(re.findall(r"^Job \d+ finished: RestoreSnapshotCompleted$", out, re.MULTILINE)) == 3, out
    for number in range(3):
        line = rf"^Job \d+: snapshot_v{number} - 100% \(RestoreSnapshotCompleted\)$"
        assert re.search(line, out, re.MULTILINE), out


def check_names(_, out):
    assert out == ""


CHECKS = {f"{name}.py": check for name, check in {
    "01_create": check_create, "02_list": check_list, "03_describe": check_describe, "04_restore": check_restore,
    "05_drop": check_drop, "06_state": check_state, "07_jobs": check_jobs, "08_backup": check_backup,
    "09_spark": check_spark, "10_versions": check_versions, "11_testing": check_testing, "12_several": check_several,
    "13_names": check_names,
}.items()}


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("directory", type=Path)
    arguments.add_argument("--without", action="append", default=[])
    arguments.add_argument("--spark", type=Path, metavar="BUCKET", help="a directory for the results of the Spark example")
    asked = arguments.parse_args()
    if asked.spark:
        from guide_spark import start

        start(asked.spark)
    namespace = {}
    changed = ran = 0
    for name, check in CHECKS.items():
        if name in asked.without:
            continue
        text = (asked.directory / name).read_text()
        changed += text.count(GIVEN)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(text.replace(GIVEN, OURS), name, "exec"), namespace)
        print(f"--- {name}\n{printed.getvalue()}", end="")
        check(namespace, printed.getvalue())
        ran += 1
    assert changed == 1, changed
    print(f"{ran} examples ran")


main()
