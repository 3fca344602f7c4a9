#!/usr/bin/env python3
"""Statistics of the vectors in a snapshot, with Spark, from the snapshot's own files.

    pip install pyspark==4.0.1 pyarrow==21.0.0 pandas==2.3.3 ./clients/python
    spark-submit --packages org.apache.spark:spark-avro_2.13:4.0.1 \\
        --py-files examples/spark/binlog.py,examples/spark/snapshot.py \\
        examples/spark/vector_statistics.py --uri http://localhost:19530 backup_20240101 vec

The files stay as they are while this runs, whatever becomes of the collection: a pin keeps the
snapshot from being dropped.
"""

import argparse
import json

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from snapshot import Snapshot
from stillframe import MilvusClient


def by_partition(rows: DataFrame, names: dict[int, str], vector: str) -> DataFrame:
    """Rows, dimension and lengths of the vectors of each partition."""
    known = F.create_map(*[F.lit(x) for pair in names.items() for x in pair])
    norm = F.sqrt(F.aggregate(vector, F.lit(0.0).cast("double"), lambda sum, x: sum + x * x))
    return (
        rows.select(known[F.col("partition_id")].alias("partition"), F.size(vector).alias("dim"), norm.alias("norm"))
        .groupBy("partition")
        .agg(
            F.count("*").alias("rows"),
            F.max("dim").alias("dim"),
            F.round(F.min("norm"), 4).alias("min_norm"),
            F.round(F.mean("norm"), 4).alias("mean_norm"),
            F.round(F.max("norm"), 4).alias("max_norm"),
        )
        .orderBy("partition")
    )


def by_dimension(rows: DataFrame, vector: str) -> DataFrame:
    """Mean and spread of each dimension."""
    return (
        rows.select(F.posexplode(vector).alias("dimension", "x"))
        .groupBy("dimension")
        .agg(F.round(F.mean("x"), 4).alias("mean"), F.round(F.stddev("x"), 4).alias("stddev"))
        .orderBy("dimension")
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--uri", default="http://localhost:19530")
    arguments.add_argument("--token", default="")
    arguments.add_argument("snapshot")
    arguments.add_argument("vector", help="name of the field")
    asked = arguments.parse_args()

    with MilvusClient(uri=asked.uri, token=asked.token) as client:
        pins = f"/v1/snapshots/{asked.snapshot}/pins"
        pin = client.request("POST", pins, {"owner": "spark", "reason": "vector_statistics.py", "ttl_seconds": 3600})
        try:
            info = client.describe_snapshot(asked.snapshot)
            print(f"snapshot {info.name} of {info.collection_name}: {info.s3_location}")
            spark = SparkSession.builder.appName("VectorStatistics").getOrCreate()
            snapshot = Snapshot(spark, info.s3_location)
            rows = snapshot.rows().cache()
            rows.printSchema()
            rows.drop("RowID", "Timestamp").orderBy(snapshot.key).show(3, truncate=24)
            names = {int(v): k for k, v in snapshot.metadata["collection"]["partitions"].items()}
            by_partition(rows, names, asked.vector).show()
            by_dimension(rows, asked.vector).show(4)
            stored, deleted = info.raw["num_of_rows"], snapshot.deletes().count()
            print(json.dumps({"stored": stored, "deletes": deleted, "rows": rows.count()}))
            spark.stop()
        finally:
            client.request("DELETE", f"{pins}/{pin['pin_id']}")


if __name__ == "__main__":
    main()
