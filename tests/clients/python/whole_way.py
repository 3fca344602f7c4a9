"""The whole way by the client that openapi-python-client makes: whole_way.py URL CATALOG [KEY].

Registers the collection of CATALOG, whose files are where the service keeps its objects, takes a snapshot, restores it,
waits for the job, and drops what it made. Type-checked by mypy --strict.
"""

import json
import sys
import time
from pathlib import Path
from typing import TypeVar

from stillframe_client import AuthenticatedClient, Client
from stillframe_client.api.collections import create_collection, drop_collection, get_collection
from stillframe_client.api.engine import create_index, register_segments
from stillframe_client.api.restores import get_restore_job, restore_snapshot
from stillframe_client.api.snapshots import change_snapshot, create_snapshot, drop_snapshot, get_snapshot, list_snapshots
from stillframe_client.models import (
    ChangeSnapshotRequest,
    CreateCollectionRequest,
    CreateSnapshotRequest,
    IndexBody,
    JobStateText,
    Problem,
    RegisterSegmentsRequest,
    RestoreSnapshotRequest,
)

T = TypeVar("T")


def ok(answer: T | Problem | None) -> T:
    """The answer, unless it is a problem document."""
    assert answer is not None and not isinstance(answer, Problem), answer
    return answer


def main(url: str, catalog_file: str, key: str | None = None) -> None:
    catalog = json.loads(Path(catalog_file).read_text())
    client = Client(base_url=url) if key is None else AuthenticatedClient(base_url=url, token=key)
    if key is not None:
        stranger = list_snapshots.sync(client=Client(base_url=url))
        assert isinstance(stranger, Problem) and stranger.status == 401, stranger

    collection = ok(create_collection.sync(client=client, body=CreateCollectionRequest.from_dict(catalog["collection"])))
    assert collection.collection_id == catalog["collection"]["collection_id"], collection.collection_id
    for index in catalog["indexes"]:
        ok(create_index.sync(collection.name, client=client, body=IndexBody.from_dict(index)))
    segments = RegisterSegmentsRequest.from_dict({"segments": catalog["segments"]})
    registered = ok(register_segments.sync(collection.name, client=client, body=segments))
    assert registered.file_count == 48, registered

    request = CreateSnapshotRequest(collection_name=collection.name, snapshot_name="by_python")
    snapshot = ok(create_snapshot.sync(client=client, body=request, idempotency_key="python-1"))
    again = ok(create_snapshot.sync(client=client, body=request, idempotency_key="python-1"))
    assert again.snapshot_id == snapshot.snapshot_id and snapshot.file_count == 48
    refused = create_snapshot.sync(client=client, body=request)
    assert isinstance(refused, Problem) and refused.code == "snapshot_already_exists", refused
    missing = get_snapshot.sync("nothing", client=client)
    assert isinstance(missing, Problem) and missing.status == 404, missing

    seen = get_snapshot.sync_detailed("by_python", client=client)
    note = ChangeSnapshotRequest(description="seen")
    ok(change_snapshot.sync("by_python", client=client, body=note, if_match=seen.headers["etag"]))
    stale = change_snapshot.sync("by_python", client=client, body=note, if_match='"stale"')
    assert isinstance(stale, Problem) and stale.code == "precondition_failed", stale
    listed = ok(list_snapshots.sync(client=client, collection_name=collection.name, page_size=1))
    assert [s.description for s in listed.items] == ["seen"]

    job = ok(restore_snapshot.sync("by_python", client=client, body=RestoreSnapshotRequest(collection_name="from_python")))
    deadline = time.monotonic() + 60
    while job.state not in (JobStateText.COMPLETED, JobStateText.FAILED, JobStateText.CANCELLED):
        assert time.monotonic() < deadline, job
        time.sleep(0.1)
        job = ok(get_restore_job.sync(job.job_id, client=client))
    assert job.state is JobStateText.COMPLETED and job.progress == 100, job
    restored = ok(get_collection.sync("from_python", client=client))
    assert (restored.num_of_rows, len(restored.fields)) == (collection_rows(catalog), len(collection.fields)), restored

    assert drop_snapshot.sync_detailed("by_python", client=client).status_code == 204
    for name in (collection.name, "from_python"):
        assert drop_collection.sync_detailed(name, client=client).status_code == 204


def collection_rows(catalog: dict[str, list[dict[str, int]]]) -> int:
    return sum(int(segment["num_of_rows"]) for segment in catalog["segments"])


if __name__ == "__main__":
    main(*sys.argv[1:])
