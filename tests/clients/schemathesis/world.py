"""Makes things of every kind, and gives the document examples that name them: world.py URL CATALOG DOCUMENT OUT [KEY].

Beside the collection of CATALOG it makes spare ones, for the operations that end what they are called with. Without them
almost every made-up call would be about something that does not exist, and only 404 would be tested.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import requests


# A made-up key is one of a few, so that nearly every body would be refused as another call of its key (422); a made-up tag is
# never the right one (412). They are tried where the body matters least, and stay out of the way elsewhere.
HEADERS = {"idempotency-key": {"create_database"}, "if-match": {"move_alias", "set_orphan_deletion", "drop_alias", "delete_key"}}


class Service:
    def __init__(self, url: str, key: str | None) -> None:
        self.url = url
        self.session = requests.Session()
        self.session.trust_env = False
        if key is not None:
            self.session.headers["authorization"] = f"Bearer {key}"

    def call(self, method: str, path: str, body: Any = None) -> Any:
        answer = self.session.request(method, self.url + path, json=body, timeout=60)
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def post(self, path: str, body: Any = None) -> Any:
        return self.call("POST", path, body)

    def wait(self, path: str, done: Any) -> Any:
        deadline = time.monotonic() + 60
        while True:
            seen = self.call("GET", path)
            if done(seen):
                return seen
            assert time.monotonic() < deadline, seen
            time.sleep(0.1)


def collection(name: str) -> dict[str, Any]:
    fields = [
        {"field_id": "100", "name": "id", "data_type": "Int64", "is_primary_key": True},
        {"field_id": "101", "name": "vec", "data_type": "FloatVector", "type_params": {"dim": "8"}},
    ]
    return {"name": name, "fields": fields, "channels": [{"channel_name": f"{name}-0", "seek_position": {"timestamp": "470644641416347649"}}]}


def growing(name: str, segment_id: str) -> dict[str, Any]:
    return {"segment_id": segment_id, "partition_name": "_default", "channel_name": f"{name}-0", "num_of_rows": 0, "state": "growing"}


def build(service: Service, catalog: dict[str, Any]) -> tuple[dict[str, dict[str, str]], dict[str, Any]]:
    """Gives values of path and query parameters, and bodies, by operation; those of `*` are for all others."""
    post = service.post
    webhook = post("/v1/webhooks", {"url": "http://127.0.0.1:9/", "events": ["snapshot.created"]})["webhook_id"]
    spare_webhook = post("/v1/webhooks", {"url": "http://127.0.0.1:9/", "events": ["snapshot.dropped"]})["webhook_id"]
    post("/v1/collections", catalog["collection"])
    for index in catalog["indexes"]:
        post("/v1/collections/feas/indexes", index)
    # one of its builds comes later
    build = catalog["segments"][0]["index_builds"].pop()
    post("/v1/collections/feas/segments:batch", {"segments": catalog["segments"]})
    post("/v1/aliases", {"alias": "latest", "collection_name": "feas"})
    for n in range(1, 9):
        post("/v1/snapshots", {"collection_name": "feas", "snapshot_name": f"s{n}"})
    service.call("DELETE", "/v1/snapshots/s2")

    for name in ["spare", "gone", "engine"]:
        post("/v1/collections", collection(name))
    post("/v1/collections/spare/partitions", {"name": "old"})
    post("/v1/collections/spare/indexes", {"index_name": "old", "field_id": "101", "index_params": {"index_type": "FLAT", "metric_type": "L2"}})
    post("/v1/aliases", {"alias": "old", "collection_name": "spare"})
    post("/v1/databases", {"name": "old"})
    # what the engine has still to write: no files are needed
    for segment in ["11", "12", "13"]:
        post("/v1/collections/engine/segments", growing("engine", segment))

    restored = post("/v1/snapshots/s1/restore", {"collection_name": "restored"})["job_id"]
    service.wait(f"/v1/restore-jobs/{restored}", lambda job: job["state"] == "Completed")
    slow = [post("/v1/snapshots/s3/restore", {"collection_name": f"slow_{n}", "max_bytes_per_second": 1})["job_id"] for n in range(4)]
    exported = post("/v1/snapshots/s1/export", {"target_path": "bundles"})["job_id"]
    bundle = service.wait(f"/v1/export-jobs/{exported}", lambda job: job["state"] == "Completed")["snapshot_metadata_uri"]
    slow_exports = [post("/v1/snapshots/s3/export", {"target_path": f"slow_{n}", "max_bytes_per_second": 1})["job_id"] for n in range(4)]
    # paused ones are ended by nobody else
    for path in [f"/v1/restore-jobs/{slow[1]}", f"/v1/export-jobs/{slow_exports[1]}"]:
        post(f"{path}/pause")

    pin = post("/v1/snapshots/s4/pins", {"owner": "world", "ttl_seconds": 3600})["pin_id"]
    run = post("/v1/gc/runs", {"dry_run": True})["run_id"]
    grants = [{"role": "reader"}]
    key, spare_key = (post("/v1/keys", {"name": name, "grants": grants})["key_id"] for name in ["kept", "spare"])
    deliveries = service.wait(f"/v1/webhooks/{webhook}/deliveries", lambda page: page["items"])

    jobs = ["change", "pause", "resume", "cancel"]
    order = dict(zip(["change", "resume", "pause", "cancel"], range(4)))
    parameters = {
        "*": {
            "alias": "latest",
            "collection_name": "feas",
            "channel": "engine-0",
            "index_name": catalog["indexes"][0]["index_name"],
            "partition_name": "_default",
            "segment_id": catalog["segments"][0]["segment_id"],
            "db_name": "default",
            "snapshot_name": "s1",
            "run_id": run,
            "key_id": key,
            "pin_id": pin,
            "webhook_id": webhook,
            "delivery_id": deliveries["items"][0]["delivery_id"],
            "job_id": restored,
        },
        "report_channel": {"collection_name": "engine"},
        "register_segment": {"collection_name": "engine"},
        "register_segments": {"collection_name": "engine"},
        "change_segment": {"collection_name": "engine", "segment_id": "11"},
        "drop_segment": {"collection_name": "engine", "segment_id": "12"},
        "compact_segments": {"collection_name": "engine"},
        "change_collection": {"collection_name": "spare"},
        "create_partition": {"collection_name": "spare"},
        "create_index": {"collection_name": "spare"},
        "drop_partition": {"collection_name": "spare", "partition_name": "old"},
        "drop_index": {"collection_name": "spare", "index_name": "old"},
        "drop_collection": {"collection_name": "gone"},
        "drop_alias": {"alias": "old"},
        "drop_database": {"db_name": "old"},
        "delete_key": {"key_id": spare_key},
        "delete_webhook": {"webhook_id": spare_webhook},
        "undelete_snapshot": {"snapshot_name": "s2"},
        "delete_pin": {"snapshot_name": "s4"},
        "create_pin": {"snapshot_name": "s5"},
        "list_pins": {"snapshot_name": "s4"},
        "change_snapshot": {"snapshot_name": "s6"},
        "drop_snapshot": {"snapshot_name": "s7"},
    } | {
        f"{job}_{kind}_job": {"job_id": ids[order[job]]} for job in jobs for kind, ids in [("restore", slow), ("export", slow_exports)]
    } | {f"{operation}": {"job_id": exported} for operation in ["get_export_job", "list_export_tasks", "stream_export_events"]}
    bodies = {
        "create_alias": {"alias": "newest", "collection_name": "feas"},
        "move_alias": {"collection_name": "feas"},
        "create_snapshot": {"collection_name": "feas", "snapshot_name": "made"},
        "create_index": {"index_name": "new", "field_id": "101", "index_params": {"index_type": "FLAT", "metric_type": "L2"}},
        "create_partition": {"name": "new"},
        "register_index_build": build,
        "register_segment": growing("engine", "21"),
        "register_segments": {"segments": [growing("engine", "22")]},
        "compact_segments": {"inputs": ["13"], "outputs": []},
        "restore_external_snapshot": {"collection_name": "from_bundle", "snapshot_metadata_uri": bundle},
        "export_snapshot": {"target_path": "made"},
        "simulate_drop": {"drop": [{"snapshot_name": "s1"}]},
        "create_webhook": {"url": "http://127.0.0.1:9/", "events": ["restore_job.ended"]},
    } | {
        f"milvus_{operation}": body
        for operation, body in {
            "create_snapshot": {"collectionName": "feas", "snapshotName": "made_by_milvus"},
            "describe_snapshot": {"collectionName": "feas", "snapshotName": "s1"},
            "drop_snapshot": {"collectionName": "feas", "snapshotName": "s8"},
            "list_snapshots": {"collectionName": "feas"},
            "pin_snapshot": {"collectionName": "feas", "snapshotName": "s5", "ttlSeconds": 3600},
            "restore_snapshot": {"snapshotName": "s1", "sourceCollectionName": "feas", "targetCollectionName": "by_milvus"},
            "describe_restore_job": {"jobId": restored},
            "export_snapshot": {"collectionName": "feas", "snapshotName": "s1", "targetS3Path": "by_milvus"},
            "describe_export_job": {"jobId": exported},
            "restore_external_snapshot": {"snapshotMetadataURI": bundle, "targetCollectionName": "from_bundle_by_milvus"},
        }.items()
    }
    return parameters, bodies


def main(url: str, catalog: str, document: str, out: str, key: str | None = None) -> None:
    parameters, bodies = build(Service(url, key), json.loads(Path(catalog).read_text()))
    contents = json.loads(Path(document).read_text())
    # of the two that the document leaves open, what this service does
    if key is None:
        del contents["security"], contents["components"]["securitySchemes"]
    else:
        contents["security"] = [{"bearer": []}]
    for operation in (o for item in contents["paths"].values() for o in item.values()):
        name = operation["operationId"]
        known = parameters["*"] | parameters.get(name, {})
        operation["parameters"] = [p for p in operation.get("parameters") or [] if name in HEADERS.get(p["name"], {name})]
        for parameter in operation["parameters"]:
            if parameter["in"] == "path":
                parameter["example"] = known[parameter["name"]]
        if body := bodies.get(name):
            operation["requestBody"]["content"]["application/json"]["example"] = body
    Path(out).write_text(json.dumps(contents))


if __name__ == "__main__":
    main(*sys.argv[1:])
