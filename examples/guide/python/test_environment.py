"""The guide's use case of testing: a snapshot of test data, restored into an environment of its
own. Needs a collection `test_collection` with files."""

import time

from guide import connect

client = connect()

# Recommended: flush, so that all test data is captured
client.flush(collection_name="test_collection")
client.create_snapshot(
    snapshot_name="test_dataset_v1",
    collection_name="test_collection",
    description="Test dataset for regression testing",
)

job_id = client.restore_snapshot(
    snapshot_name="test_dataset_v1",
    source_collection_name="test_collection",
    target_collection_name="test_environment",
)

while True:
    state = client.get_restore_snapshot_state(job_id=job_id)
    if state.state == "RestoreSnapshotCompleted":
        print(f"Test environment ready! Restored in {state.time_cost}ms")
        break
    if state.state == "RestoreSnapshotFailed":
        raise SystemExit(f"Restore failed: {state.reason}")
    print(f"Setting up test environment: {state.progress}%")
    time.sleep(0.2)

# field ids and indexes are those of the source
source, target = (client.describe_collection(name) for name in ("test_collection", "test_environment"))
assert [f["field_id"] for f in source["fields"]] == [f["field_id"] for f in target["fields"]]
assert client.list_indexes("test_collection") == client.list_indexes("test_environment")
client.load_collection("test_environment")
print(f"Indexes: {client.list_indexes('test_environment')}")

# when the tests are through
client.drop_collection("test_environment")
assert not client.has_collection("test_environment")
