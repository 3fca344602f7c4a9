"""What the examples share: where the server is, and waiting for a restore."""

import os
import time

from pymilvus import MilvusClient

URI = os.environ.get("MILVUS_URI", "http://localhost:19530")


def connect(**arguments) -> MilvusClient:
    return MilvusClient(uri=URI, **arguments)


def wait_for_restore(client: MilvusClient, job_id: int, seconds: float = 300):
    """Polls a restore job until it has ended; gives its last state."""
    until = time.monotonic() + seconds
    while True:
        state = client.get_restore_snapshot_state(job_id=job_id)
        if state.state in ("RestoreSnapshotCompleted", "RestoreSnapshotFailed"):
            return state
        if time.monotonic() > until:
            raise TimeoutError(f"restore job {job_id} is still {state.state} at {state.progress}%")
        print(f"Restore progress: {state.progress}%")
        time.sleep(0.2)
