"""The sync client against a real service."""

from __future__ import annotations

import http.server
import io
import socket
import threading
from pathlib import Path

import pytest

import stillframe
from stillframe import ApiError, MilvusClient, NotServedHere, RestoreFailed, StillframeError, WaitTimeout
from stillframe import _calls, _progress


def refused(code: str, error: pytest.ExceptionInfo[StillframeError]) -> StillframeError:
    assert error.value.code == code, error.value
    return error.value


def test_a_snapshot_is_created_described_listed_and_dropped(client: MilvusClient) -> None:
    client.create_snapshot("feas", "whole", description="of everything", labels={"team": "search"})
    plain = client.describe_snapshot("whole")
    assert (plain.name, plain.description, plain.collection_name, plain.db_name) == ("whole", "of everything", "feas", "default")
    assert (plain.collection_id, plain.create_ts) == (470644622231601173, 470644641416347649)
    assert plain.labels == {"team": "search"}
    assert plain.s3_location.endswith(f"/snapshots/{plain.collection_id}/metadata/{plain.id}.json")
    assert plain.raw["file_count"] == 48
    assert (plain.partition_names, plain.collection, plain.indexes) == (None, None, None)

    full = client.describe_snapshot("whole", include_collection_info=True, collection_name="feas")
    assert full.id == plain.id
    assert full.partition_names == ["_default", "p2"]
    assert full.collection is not None and [f["name"] for f in full.collection["fields"]][-2:] == ["vec", "$meta"]
    assert full.indexes is not None and {i["index_name"] for i in full.indexes} == {"vec_hnsw", "tag_trie"}

    assert "whole" in client.list_snapshots() and "whole" in client.list_snapshots("feas")
    assert client.drop_snapshot("whole") is None
    assert "whole" not in client.list_snapshots("feas")


def test_a_list_goes_through_every_page(client: MilvusClient, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"page_{n}" for n in range(5)]
    for name in names:
        client.create_snapshot("feas", name)
    monkeypatch.setattr(_calls, "PAGE_SIZE", 2)
    listed = [name for name in client.list_snapshots("feas") if name.startswith("page_")]
    assert listed == names[::-1]


def test_a_restore_is_waited_for_with_a_progress_bar(client: MilvusClient, capsys: pytest.CaptureFixture[str]) -> None:
    client.create_snapshot("feas", "to_restore")
    job_id = client.restore_snapshot("to_restore", "restored")
    done = client.wait_for_restore(job_id, timeout=60, poll_interval=0.02, progress=True)
    assert (done.job_id, done.state, done.progress) == (job_id, "RestoreSnapshotCompleted", 100)
    assert (done.snapshot_name, done.db_name, done.collection_name) == ("to_restore", "default", "restored")
    assert done.start_time > 0 and done.time_cost > 0 and done.reason == ""
    assert int(client.request("GET", "/v1/collections/restored")["collection_id"]) == done.collection_id
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith(f"restored [{'#' * 30}] 100%  Completed  48/48 files"), lines
    assert [j.job_id for j in client.list_restore_snapshot_jobs("restored")] == [job_id]
    assert job_id in [j.job_id for j in client.list_restore_snapshot_jobs()]


def test_a_terminal_gets_one_line_that_is_written_over(client: MilvusClient) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    client.create_snapshot("feas", "for_terminal")
    job = client.wait_for_restore(client.restore_snapshot("for_terminal", "terminal"), progress=False)
    terminal = Terminal()
    bar = _progress.ProgressBar(None, terminal)
    bar.show(job)
    bar.show(job)
    bar.close()
    assert terminal.getvalue() == f"\r{_progress.text(job)}\n"
    nowhere = io.StringIO()
    bar = _progress.ProgressBar(None, nowhere)
    bar.show(job)
    bar.close()
    assert nowhere.getvalue() == ""


def test_a_failed_restore_raises_the_services_code_and_names_the_file(client: MilvusClient, storage: Path) -> None:
    client.create_snapshot("feas", "damaged")
    lost = next((storage / "stats_log" / "470644622231601173").glob("*/*/*/*"))
    content = lost.read_bytes()
    lost.unlink()
    try:
        job_id = client.restore_snapshot("damaged", "never")
        with pytest.raises(RestoreFailed) as error:
            client.wait_for_restore(job_id, timeout=60, poll_interval=0.02)
    finally:
        lost.write_bytes(content)
    refused("file_missing", error)
    info = error.value.info
    assert info.state == "RestoreSnapshotFailed" and str(lost.relative_to(storage)) in info.reason


def test_a_restore_that_is_not_ready_goes_on_until_it_is_cancelled(client: MilvusClient) -> None:
    client.create_snapshot("feas", "slow")
    job_id = client.restore_snapshot("slow", "slowly", options={"max_bytes_per_second": 1, "partitions": ["_default"]})
    with pytest.raises(WaitTimeout) as late:
        client.wait_for_restore(job_id, timeout=0)
    refused("wait_timeout", late)
    paused = client.request("POST", f"/v1/restore-jobs/{job_id}/pause", {})
    assert paused["state"] == "Paused"
    assert client.get_restore_snapshot_state(job_id).state == "RestoreSnapshotExecuting"
    cancelled = client.cancel_restore(job_id)
    assert cancelled.state == "RestoreSnapshotFailed" and "cancel" in cancelled.reason, cancelled
    with pytest.raises(RestoreFailed) as error:
        client.wait_for_restore(job_id)
    refused("restore_failed", error)


def test_a_flush_that_the_engine_leaves_undone_is_an_error(client: MilvusClient) -> None:
    client.flush("feas")
    client.request(
        "POST", "/v1/collections",
        {"name": "growing", "fields": [{"field_id": "100", "name": "id", "data_type": "Int64", "is_primary_key": True}],
         "channels": [{"channel_name": "c0"}]},
    )
    segment = {"segment_id": "7", "partition_name": "_default", "channel_name": "c0", "num_of_rows": 3, "state": "growing",
               "start_position": {"timestamp": "10"}}
    client.request("POST", "/v1/collections/growing/segments", segment)
    with pytest.raises(stillframe.FlushTimeout) as error:
        client.flush(collection_name="growing", timeout=0.05)
    refused("flush_timeout", error)
    assert error.value.segment_ids == (7,)


def test_the_services_codes_are_kept(client: MilvusClient) -> None:
    with pytest.raises(ApiError) as error:
        client.describe_snapshot("nothing")
    refused("snapshot_not_found", error)
    assert error.value.status == 404 and error.value.request_id and "nothing" in str(error.value)
    with pytest.raises(ApiError) as error:
        client.drop_snapshot("nothing")
    refused("snapshot_not_found", error)
    with pytest.raises(ApiError) as error:
        client.get_restore_snapshot_state(job_id=1)
    refused("restore_job_not_found", error)
    with pytest.raises(ApiError) as error:
        client.create_snapshot("nowhere", "s")
    refused("collection_not_found", error)
    with pytest.raises(ApiError) as error:
        client.create_snapshot("feas", "1 against the rule")
    refused("invalid_request", error)
    assert [e.pointer for e in error.value.errors] == ["/snapshot_name"]
    client.create_snapshot("feas", "taken")
    with pytest.raises(ApiError) as error:
        client.create_snapshot("feas", "taken")
    refused("snapshot_already_exists", error)
    with pytest.raises(ApiError) as error:
        client.restore_snapshot("taken", "feas")
    refused("collection_already_exists", error)
    with pytest.raises(ApiError) as error:
        client.list_snapshots(db_name="nowhere")
    refused("database_not_found", error)


def test_a_name_that_leads_elsewhere_in_a_path_is_not_sent(client: MilvusClient) -> None:
    for name in ("", ".", "..", None):
        with pytest.raises(stillframe.InvalidArgument) as error:
            client.drop_snapshot(name)  # type: ignore[arg-type]
        refused("invalid_argument", error)
    with pytest.raises(ApiError) as refusal:
        client.describe_snapshot("a/../b?c#d%2F")
    refused("snapshot_not_found", refusal)
    assert "a/../b?c#d%2F" in str(refusal.value)
    for number in (0, -1, True, "1"):
        with pytest.raises(stillframe.InvalidArgument, match="job_id must be a positive integer"):
            client.get_restore_snapshot_state(number)  # type: ignore[arg-type]


def test_a_service_that_is_not_there_is_told_from_one_that_refuses() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        with MilvusClient(uri=f"http://127.0.0.1:{port}") as client, pytest.raises(stillframe.Unreachable) as error:
            client.list_snapshots()
        refused("unreachable", error)
        closed.listen()
        with MilvusClient(uri=f"http://127.0.0.1:{port}", timeout=0.1) as client, pytest.raises(stillframe.Unreachable) as error:
            client.list_snapshots()
        refused("timeout", error)
    for uri in ("localhost:19530", "ftp://x", "", "http://"):
        with pytest.raises(stillframe.InvalidArgument):
            MilvusClient(uri=uri)


def test_another_server_is_not_mistaken_for_the_service() -> None:
    seen = []

    class Other(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers["authorization"])
            self.send_response(200 if "restore-jobs" in self.path else 404)
            self.end_headers()
            self.wfile.write(b'{"code": 0, "data": []}' if "restore-jobs" in self.path else b"<html>")

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Other) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with MilvusClient(uri=f"http://127.0.0.1:{server.server_port}", token="a:b") as client:
            for call in (client.list_snapshots, client.list_restore_snapshot_jobs):
                with pytest.raises(ApiError, match="not in the form of this service") as error:
                    call()
                refused("unexpected_answer", error)
        with MilvusClient(uri=f"http://127.0.0.1:{server.server_port}", user="a", password="b") as client:
            with pytest.raises(ApiError):
                client.list_snapshots()
        server.shutdown()
    assert seen == ["Bearer a:b"] * 3


def test_calls_about_rows_say_that_rows_are_not_served(client: MilvusClient) -> None:
    for call in (client.insert, client.upsert, client.delete, client.get, client.query, client.search):
        with pytest.raises(NotServedHere, match=call.__name__) as error:
            call(collection_name="feas")
        refused("not_served_here", error)
    client.load_collection("feas")
    with pytest.raises(ApiError) as missing:
        client.load_collection("nowhere")
    refused("collection_not_found", missing)
