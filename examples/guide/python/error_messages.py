"""The guide's error messages, as a client sees them; those for which the server must lack something are in
server_errors.py. Runs after several_restores.py."""

from guide import connect, refused

client = connect()

# Verify the snapshot's name, and whether it was dropped
refused("snapshot not found", client.describe_snapshot, "never_taken", "my_collection")
# Dropping is idempotent
client.drop_snapshot("never_taken", "my_collection")
# Use a different name for the target
refused("collection already exists", client.restore_snapshot, "snapshot_v0", "my_collection", "test_env_0")
# Verify the job's id; its history may have expired
assert refused("restore job not found", client.get_restore_snapshot_state, 12345) == 2100
# Verify that the collection exists
assert refused("", client.create_snapshot, "s", "nothing") == 100
refused("already exists", client.create_snapshot, "snapshot_v0", "my_collection")
refused("the first character of snapshot name", client.create_snapshot, "1st", "my_collection")
# A pinned snapshot stays
pin_id = client.pin_snapshot_data("snapshot_v0", "my_collection", ttl_seconds=60)
refused("unpin before dropping", client.drop_snapshot, "snapshot_v0", "my_collection")
client.unpin_snapshot_data(pin_id)
# Rows are the engine's
assert refused("not served here", client.query, "my_collection", filter="id > 0") == 3000
refused("not served here", client.insert, "my_collection", [{"id": 1, "tag": "a", "score": 0.5, "meta": {}, "vec": [0.0] * 128}])
refused("not served here", client.search, "my_collection", data=[[0.0] * 128], anns_field="vec")
