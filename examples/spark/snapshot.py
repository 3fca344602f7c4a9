"""A snapshot's rows as a Spark DataFrame, read from its files alone.

Metadata (JSON) -> manifests (Avro) -> binlogs (Milvus' container of Parquet). No service is asked: the
files are all there is to a snapshot.
"""

from __future__ import annotations

import functools
import io
import json
from typing import Any, Iterator

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

import binlog

#: Fields that Milvus adds to every collection.
ROW_ID, TIMESTAMP = 0, 1
#: Milvus' types of fields, as the metadata names them, that this example reads.
SCALARS = {
    "Bool": T.BooleanType(), "Int8": T.ByteType(), "Int16": T.ShortType(), "Int32": T.IntegerType(),
    "Int64": T.LongType(), "Float": T.FloatType(), "Double": T.DoubleType(), "String": T.StringType(),
    "VarChar": T.StringType(), "JSON": T.StringType(),
}


class Snapshot:
    """A snapshot whose metadata file lies at `location`, the `s3_location` of the service's answer."""

    def __init__(self, spark: SparkSession, location: str) -> None:
        self.spark = spark
        self.root = _root(location)
        text = spark.read.text(_for_spark(location), wholetext=True).first()[0]
        self.metadata: dict[str, Any] = json.loads(text)
        fields = self.metadata["collection"]["schema"]["fields"]
        #: Name and type by id; Milvus' own two come without ids that are 0 (protobuf leaves zeros out).
        self.fields = {int(f.get("fieldID", 0)): f for f in fields}
        self.fields.setdefault(ROW_ID, {"name": "RowID", "data_type": "Int64"})
        self.fields.setdefault(TIMESTAMP, {"name": "Timestamp", "data_type": "Int64"})
        self.key = next(f["name"] for f in fields if f.get("is_primary_key"))

    def manifests(self) -> DataFrame:
        """One row per segment, as the manifests have it."""
        paths = [self.root + "/" + path for path in self.metadata["manifest_list"]]
        return self.spark.read.format("avro").load(paths)

    def rows(self) -> DataFrame:
        """Every row that is not deleted, under the names of its fields, with segment_id and partition_id."""
        inserted, deletes = self.inserted(), self.deletes()
        rows, gone = inserted.alias("row"), deletes.alias("gone")
        same = (F.col("row.segment_id") == F.col("gone.segment_id")) | (
            # a segment of level 0 has deletes only, for its partition, or for all
            (F.col("gone.segment_level") == 1) & F.col("gone.partition_id").isin(-1, F.col("row.partition_id"))
        )
        same &= (F.col(f"row.`{self.key}`").cast("string") == F.col("gone.pk")) & (F.col("row.Timestamp") < F.col("gone.ts"))
        return rows.join(gone, same, "left_anti")

    def inserted(self) -> DataFrame:
        """Every row of the insert files."""
        logs = self._logs("binlog_files").groupBy("segment_id", "partition_id", "log")
        fields = {i: (f["name"], f["data_type"]) for i, f in self.fields.items()}
        columns = [T.StructField("segment_id", T.LongType()), T.StructField("partition_id", T.LongType())]
        columns += [T.StructField(f["name"], _spark_type(f)) for f in self.fields.values()]
        return logs.applyInArrow(functools.partial(_rows_of_logs, fields), T.StructType(columns))

    def deletes(self) -> DataFrame:
        """Every entry of the delete files: `pk` as text, `ts` of the delete, and where it counts."""
        schema = "segment_id long, partition_id long, segment_level long, pk string, ts long"
        return self._logs("deltalog_files").mapInArrow(_deletes_of_logs, schema)

    def _logs(self, kind: str) -> DataFrame:
        """Files of one kind with their content; `log` counts those of a field: the n-th of each hold the same rows."""
        groups = self.manifests().select("segment_id", "partition_id", "segment_level", F.explode(kind).alias("group"))
        logs = groups.select(
            "segment_id", "partition_id", "segment_level", F.col("group.field_id").alias("field_id"),
            F.posexplode("group.binlogs").alias("log", "file"),
        ).select("segment_id", "partition_id", "segment_level", "field_id", "log", F.col("file.log_path").alias("key"))
        paths = [f"{self.root}/{row.key}" for row in logs.select("key").collect()]
        if not paths:
            return logs.withColumn("content", F.lit(None).cast("binary"))
        files = self.spark.read.format("binaryFile").load(paths)
        # the listing may spell the root in another way (file:/ and file:///), the keys never
        depth = F.size(F.split("key", "/"))
        same = F.expr("slice(split(path, '/'), -size(split(key, '/')), size(split(key, '/')))") == F.split("key", "/")
        return logs.withColumn("depth", depth).join(F.broadcast(files.select("path", "content")), same).drop("depth", "path")


def _root(location: str) -> str:
    """Where the keys of the files begin: the directory of the storage, or the bucket."""
    head, found, _ = location.rpartition("/snapshots/")
    if not found:
        raise ValueError(f"{location} is not the place of a snapshot's metadata")
    scheme, _, rest = head.partition("://")
    return head if scheme == "file" else f"{'s3a' if scheme == 's3' else scheme}://{rest.split('/')[0]}"


def _for_spark(location: str) -> str:
    return "s3a" + location[2:] if location.startswith("s3://") else location


def _spark_type(field: dict[str, Any]) -> T.DataType:
    if field["data_type"] == "FloatVector":
        return T.ArrayType(T.FloatType(), False)
    if field["data_type"] not in SCALARS:
        raise ValueError(f"this example does not read fields of type {field['data_type']} ({field['name']})")
    return SCALARS[field["data_type"]]


def _rows_of_logs(fields: dict[int, tuple[str, str]], key: Any, logs: pa.Table) -> pa.Table:
    """The rows of the files that belong together: one column of each field."""
    segment_id, partition_id, _ = (part.as_py() for part in key)
    columns = {}
    for field_id, content in zip(logs["field_id"].to_pylist(), logs["content"]):
        parts = [_values(e.parquet) for e in binlog.events(content.as_buffer().to_pybytes()) if e.kind == binlog.INSERT]
        columns[field_id] = pa.chunked_array(parts).combine_chunks()
    missing = fields.keys() - columns.keys()
    lengths = {len(column) for column in columns.values()}
    if missing or len(lengths) != 1:
        raise ValueError(f"segment {segment_id}: no file of fields {sorted(missing)}, or files of {sorted(lengths)} rows")
    (length,) = lengths
    table = {"segment_id": pa.repeat(segment_id, length), "partition_id": pa.repeat(partition_id, length)}
    table.update({name: _column(columns[field_id], kind) for field_id, (name, kind) in fields.items()})
    return pa.table(table)


def _deletes_of_logs(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for log in batch.to_pylist():
            for event in binlog.events(log["content"]):
                entries = [json.loads(text) for text in _values(event.parquet).to_pylist()]
                columns = [pa.repeat(log[name], len(entries)) for name in ("segment_id", "partition_id", "segment_level")]
                columns.append(pa.array([str(entry["pk"]) for entry in entries], pa.string()))
                columns.append(pa.array([entry["ts"] for entry in entries], pa.int64()))
                names = ["segment_id", "partition_id", "segment_level", "pk", "ts"]
                yield pa.RecordBatch.from_arrays(columns, names=names)


def _values(parquet: bytes) -> pa.Array:
    """The one column of a payload."""
    (column,) = pq.read_table(io.BytesIO(parquet), use_threads=False).columns
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def _column(values: pa.Array, kind: str) -> pa.Array:
    """Values as Spark should see them: vectors as lists of numbers, JSON as text."""
    if kind == "FloatVector":
        width = values.type.byte_width // 4
        _, buffer = values.buffers()
        numbers = pa.Array.from_buffers(pa.float32(), len(values) * width, [None, buffer], offset=values.offset * width)
        offsets = pa.array(range(0, len(numbers) + 1, width), pa.int32())
        return pa.ListArray.from_arrays(offsets, numbers, type=pa.list_(pa.field("element", pa.float32(), nullable=False)))
    return values.cast(pa.string()) if kind == "JSON" else values
