"""What clients call around snapshots: databases, collections, partitions, aliases, indexes, flush,
load, statistics. Needs nothing; everything is made in a database of its own."""

from guide import connect
from pymilvus import DataType, MilvusClient

client = connect()
print(f"Server version {client.get_server_version()}")

client.create_database("guide")
assert "guide" in client.list_databases()
print(client.describe_database("guide"))
client = connect(db_name="guide")

schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=True)
schema.add_field("id", DataType.INT64, is_primary=True)
schema.add_field("title", DataType.VARCHAR, max_length=200, nullable=True)
schema.add_field("vec", DataType.FLOAT_VECTOR, dim=8)
index_params = client.prepare_index_params()
index_params.add_index("vec", index_type="HNSW", metric_type="L2", params={"M": 16, "efConstruction": 100})
# creates the index and loads the collection too, as the SDK always does
client.create_collection("books", schema=schema, index_params=index_params, properties={"collection.ttl.seconds": 3600})
assert client.list_collections() == ["books"]
described = client.describe_collection("books")
assert [f["name"] for f in described["fields"]] == ["id", "title", "vec"], described
assert client.describe_index("books", "vec")["index_type"] == "HNSW"
assert client.get_load_state("books")["state"].name == "Loaded"

client.create_partition("books", "fiction")
assert client.list_partitions("books") == ["_default", "fiction"]
assert client.has_partition("books", "fiction")
client.create_alias("books", "shelf")
assert client.describe_alias("shelf")["collection_name"] == "books"
client.alter_collection_properties("books", properties={"mmap.enabled": True})
client.drop_collection_properties("books", property_keys=["collection.ttl.seconds"])
properties = client.describe_collection("books")["properties"]
assert "mmap.enabled" in properties and "collection.ttl.seconds" not in properties, properties

client.flush("books")
assert client.get_collection_stats("books") == {"row_count": 0}
assert client.list_persistent_segments("books") == []

# an empty collection has a snapshot too; by its alias, in this database
client.create_snapshot("empty", "shelf")
assert client.list_snapshots() == ["empty"]
assert client.describe_snapshot("empty", "shelf").collection_name == "books"
assert "empty" not in connect().list_snapshots()

client.rename_collection("books", "novels")
client.drop_partition("novels", "fiction")
client.drop_alias("shelf")
client.release_collection("novels")
client.drop_index("novels", "vec")
assert client.list_indexes("novels") == []
client.drop_snapshot("empty", "novels")
client.drop_collection("novels")
assert client.list_collections() == []
# the database itself can go when the collector has taken what was dropped in it; an empty one at once
connect().create_database("guide_empty")
connect().drop_database("guide_empty")
assert "guide_empty" not in connect().list_databases()
print("done")
