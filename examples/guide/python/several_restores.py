"""The guide's use case of several restores at once. Needs a collection `my_collection` with files."""

import time

from guide import connect

client = connect()

for i in range(3):
    client.create_snapshot(snapshot_name=f"snapshot_v{i}", collection_name="my_collection")

# Start multiple restore operations
job_ids = []
for i in range(3):
    job_id = client.restore_snapshot(
        snapshot_name=f"snapshot_v{i}",
        source_collection_name="my_collection",
        target_collection_name=f"test_env_{i}",
    )
    job_ids.append(job_id)
started = list(job_ids)

# Monitor all jobs
while job_ids:
    completed = []
    for job_id in job_ids:
        state = client.get_restore_snapshot_state(job_id=job_id)
        if state.state in ["RestoreSnapshotCompleted", "RestoreSnapshotFailed"]:
            completed.append(job_id)
            print(f"Job {job_id} finished: {state.state}")
            assert state.state == "RestoreSnapshotCompleted", state.reason
    for job_id in completed:
        job_ids.remove(job_id)
    if job_ids:
        time.sleep(0.2)

# Alternatively, list all restore jobs
jobs = client.list_restore_snapshot_jobs()
for job in jobs:
    print(f"Job {job.job_id}: {job.snapshot_name} - {job.progress}% ({job.state})")
assert set(started) <= {job.job_id for job in jobs}
for i in range(3):
    assert client.has_collection(f"test_env_{i}")
