"""The guide's use case of data versioning: a snapshot before and after a model update, and the
way back to the first. Needs a collection `ml_embeddings` with files."""

from guide import connect, wait_for_restore

client = connect()

# Recommended: flush, so that all data is captured
client.flush(collection_name="ml_embeddings")
client.create_snapshot(
    snapshot_name="v1.0_baseline",
    collection_name="ml_embeddings",
    description="Baseline model embeddings",
)

# ... the model is updated, and the engine writes new segments ...

client.flush(collection_name="ml_embeddings")
client.create_snapshot(
    snapshot_name="v1.1_improved",
    collection_name="ml_embeddings",
    description="Improved model embeddings",
)

versions = client.list_snapshots(collection_name="ml_embeddings")
assert versions == ["v1.1_improved", "v1.0_baseline"], versions
for version in versions:
    info = client.describe_snapshot(snapshot_name=version, collection_name="ml_embeddings")
    print(f"{info.name}: {info.description}")

# back to the baseline, under another name; an alias tells readers which one is in use
job_id = client.restore_snapshot(
    snapshot_name="v1.0_baseline",
    source_collection_name="ml_embeddings",
    target_collection_name="ml_embeddings_baseline",
)
state = wait_for_restore(client, job_id)
assert state.state == "RestoreSnapshotCompleted", state.reason
client.create_alias(collection_name="ml_embeddings_baseline", alias="ml_embeddings_in_use")
described = client.describe_collection("ml_embeddings_in_use")
assert described["collection_name"] == "ml_embeddings_baseline", described
print(f"In use: {described['collection_name']}")
