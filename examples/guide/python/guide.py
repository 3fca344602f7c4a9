"""What the examples share: where the server is (MILVUS_URI), a key for one that wants it (MILVUS_TOKEN), and
waiting for a restore."""

import os
import time

from pymilvus import MilvusClient, MilvusException

URI = os.environ.get("MILVUS_URI", "http://localhost:19530")
TOKEN = os.environ.get("MILVUS_TOKEN", "")


def connect(**arguments) -> MilvusClient:
    return MilvusClient(uri=URI, token=TOKEN, **arguments)


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


def refused(words, call, *arguments, **named):
    """The call is refused with these words; gives the code of the error."""
    try:
        call(*arguments, **named)
    except MilvusException as error:
        print(f"{error.code}: {error.message}")
        assert words in error.message, (words, error.message)
        return error.code
    raise AssertionError(f"{call.__name__} was not refused")
