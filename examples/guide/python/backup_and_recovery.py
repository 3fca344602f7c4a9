"""The guide's first use case, and the calls of its API reference: back a collection up every day,
and get it back. Needs a collection `production_vectors` with files."""

import datetime

from guide import connect, wait_for_restore

client = connect()

today = datetime.date.today().strftime("%Y%m%d")
snapshot_name = f"daily_backup_{today}"

# Recommended: flush, so that every change is persisted
client.flush(collection_name="production_vectors")

client.create_snapshot(
    snapshot_name=snapshot_name,
    collection_name="production_vectors",
    description=f"Daily backup for {today}",
)
print(client.list_snapshots(collection_name="production_vectors"))

snapshot_info = client.describe_snapshot(snapshot_name=snapshot_name, collection_name="production_vectors")
print(f"Snapshot: {snapshot_info.name}")
print(f"Collection: {snapshot_info.collection_name}, partitions {snapshot_info.partition_names}")
# a hybrid timestamp: milliseconds since 1970, shifted left 18 bits
print(f"Created: {datetime.datetime.fromtimestamp((snapshot_info.create_ts >> 18) / 1000)}")
print(f"Description: {snapshot_info.description}")
print(f"Metadata: {snapshot_info.s3_location}")
assert snapshot_info.description == f"Daily backup for {today}"

# the snapshot can't be dropped while it is pinned
pin_id = client.pin_snapshot_data(snapshot_name=snapshot_name, collection_name="production_vectors", ttl_seconds=3600)

job_id = client.restore_snapshot(
    snapshot_name=snapshot_name,
    source_collection_name="production_vectors",
    target_collection_name="recovered_vectors",
)
state = wait_for_restore(client, job_id)
assert state.state == "RestoreSnapshotCompleted", state.reason
print(f"Restore completed in {state.time_cost}ms")
before, after = (client.get_collection_stats(name) for name in ("production_vectors", "recovered_vectors"))
assert before == after and before["row_count"] > 0, (before, after)
print(f"Rows: {after['row_count']}")

client.unpin_snapshot_data(pin_id=pin_id)
client.drop_snapshot(snapshot_name=snapshot_name, collection_name="production_vectors")
assert client.list_snapshots(collection_name="production_vectors") == []
