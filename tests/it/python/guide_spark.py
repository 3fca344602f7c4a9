"""What the guide's Spark example leaves open, filled in: its format, and its bucket for results.

The example reads `format("your_format")` at `s3a://{s3_location}/binlogs/` and writes to
`s3a://analytics-results/`. Here the format is a Python data source that reads the snapshot whose metadata
file that path holds, and the bucket is a directory, mounted by Hadoop's own view file system.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import fastavro
import pyarrow.parquet as pq
from pyspark.sql import SparkSession
from pyspark.sql.datasource import DataSource, DataSourceReader, InputPartition

import binlog

SCHEMA = "partition_id long, vector_dim int, timestamp long"


class YourFormat(DataSource):
    @classmethod
    def name(cls) -> str:
        return "your_format"

    def schema(self) -> str:
        return SCHEMA

    def reader(self, schema) -> SnapshotReader:
        return SnapshotReader(self.options["path"])


class SnapshotReader(DataSourceReader):
    """Dimension and timestamp of every inserted row of a snapshot with one vector field."""

    def __init__(self, path: str) -> None:
        location = path.removeprefix("s3a://").removesuffix("/binlogs/")
        assert location.startswith("file:///"), path
        self.metadata = Path(location.removeprefix("file://"))
        self.root = self.metadata.parents[3]

    def partitions(self) -> list[InputPartition]:
        metadata = json.loads(self.metadata.read_text())
        fields = metadata["collection"]["schema"]["fields"]
        (vector,) = [int(f["fieldID"]) for f in fields if f["data_type"] == "FloatVector"]
        parts = []
        for path in metadata["manifest_list"]:
            with open(self.root / path, "rb") as file:
                (manifest,) = fastavro.reader(file)
            logs = {b["field_id"]: [log["log_path"] for log in b["binlogs"]] for b in manifest["binlog_files"]}
            parts += [InputPartition((manifest["partition_id"], *pair)) for pair in zip(logs[vector], logs[1], strict=True)]
        return parts

    def read(self, partition: InputPartition) -> Iterator[tuple[int, int, int]]:
        partition_id, vectors, timestamps = partition.value
        for vector, timestamp in zip(self.values(vectors), self.values(timestamps), strict=True):
            yield partition_id, len(vector) // 4, timestamp

    def values(self, path: str) -> list:
        (event,) = binlog.events((self.root / path).read_bytes())
        return pq.read_table(io.BytesIO(event.parquet), use_threads=False)["val"].to_pylist()


def start(bucket: Path) -> SparkSession:
    """A session that the example finds with getOrCreate()."""
    session = (
        SparkSession.builder.master("local[2]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.sql.shuffle.partitions", "2")
        .config("spark.hadoop.fs.s3a.impl", "org.apache.hadoop.fs.viewfs.ViewFileSystemOverloadScheme")
        .config("spark.hadoop.fs.viewfs.mounttable.analytics-results.linkFallback", bucket.as_uri())
        .getOrCreate()
    )
    session.dataSource.register(YourFormat)
    return session
