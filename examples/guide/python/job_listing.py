"""List restore jobs, of all targets and of one. Runs after several_restores.py."""

from guide import connect, refused

client = connect()

# List all restore jobs
jobs = client.list_restore_snapshot_jobs()
for job in jobs:
    print(f"Job {job.job_id}: {job.snapshot_name} -> collection {job.collection_name} in {job.db_name}")
    print(f"  State: {job.state}, Progress: {job.progress}%, {job.time_cost}ms")
    assert job.start_time > 0
assert len(jobs) >= 3

# List the restore jobs of one target
jobs = client.list_restore_snapshot_jobs(collection_name="test_env_1")
assert [(job.snapshot_name, job.state) for job in jobs] == [("snapshot_v1", "RestoreSnapshotCompleted")], jobs
# An alias stands for its collection
client.create_alias("test_env_1", "env_alias")
assert [job.collection_name for job in client.list_restore_snapshot_jobs(collection_name="env_alias")] == ["test_env_1"]
client.drop_alias("env_alias")
# Verify that the collection exists
assert refused("collection not found", client.list_restore_snapshot_jobs, collection_name="nothing") == 100
