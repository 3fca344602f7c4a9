"""The guide's error messages for which the server must lack something: `server_errors.py CASE`. Needs a collection
`my_collection` with files, and

insufficient_storage: a server whose --quota-bytes leave no room for its files a second time
restore_failed: one of its files deleted from the object storage
permission_denied: a server with --auth, and in MILVUS_TOKEN a key of the role reader
"""

import sys

from guide import connect, refused, wait_for_restore

client = connect()


def failing_restore(words):
    """The restore is accepted; that it fails, and why, is in the state of its job."""
    client.create_snapshot("of_what_is_left", "my_collection")
    job_id = client.restore_snapshot("of_what_is_left", "my_collection", "never_there")
    state = wait_for_restore(client, job_id)
    assert state.state == "RestoreSnapshotFailed", state
    print(state.reason)
    assert words in state.reason, (words, state.reason)
    # nothing stays behind: the name of the target is free, the snapshot can go
    assert not client.has_collection("never_there")
    client.drop_snapshot("of_what_is_left", "my_collection")


def insufficient_storage():
    failing_restore("insufficient storage")


def restore_failed():
    failing_restore("restore snapshot failed")


def permission_denied():
    assert client.has_collection("my_collection")
    assert refused("permission denied", client.create_snapshot, "not_allowed", "my_collection") == 1401
    assert refused("permission denied", client.drop_snapshot, "not_allowed", "my_collection") == 1401


cases = {case.__name__: case for case in (insufficient_storage, restore_failed, permission_denied)}
if len(sys.argv) != 2 or sys.argv[1] not in cases:
    raise SystemExit(f"usage: server_errors.py {' | '.join(cases)}")
cases[sys.argv[1]]()
