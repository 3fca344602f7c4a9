"""Every call of the service that the clients make, without the sending.

A :class:`Call` is what to send and how to read the answer; the sync and the async client differ in
the sending only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Optional, TypeVar
from urllib.parse import quote

from ._errors import FlushTimeout, InvalidArgument
from ._models import RestoreSnapshotInfo, SnapshotInfo

T = TypeVar("T")

#: Entries of a page; the service gives no more.
PAGE_SIZE = 1000


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request, and how to read its answer."""

    method: str
    path: str
    read: Callable[[Any], T]
    query: Mapping[str, str] = field(default_factory=dict)
    body: Optional[Mapping[str, Any]] = None
    #: Seconds that the service was asked to wait, on top of the client's timeout.
    patience: float = 0.0


@dataclass(frozen=True)
class Page(Generic[T]):
    """A page of a list; without a token it is the last one."""

    items: Sequence[T]
    next_page_token: Optional[str]


def present(**values: Any) -> dict[str, Any]:
    """What was given, without what was not."""
    return {name: value for name, value in values.items() if value is not None}


def named(what: str, value: str) -> str:
    """A name that can stand in a body.

    :raises InvalidArgument: when it is empty or no text.
    """
    if not isinstance(value, str) or not value:
        raise InvalidArgument(f"{what} must be a non-empty string")
    return value


def in_path(what: str, value: str) -> str:
    """A name as it stands in a path.

    :raises InvalidArgument: as :func:`named`; and for dots, which lead elsewhere in a path.
    """
    if named(what, value) in (".", ".."):
        raise InvalidArgument(f"{what} must not be {value!r}")
    return quote(value, safe="")


def positive(what: str, value: int) -> int:
    """:raises InvalidArgument: unless it is a positive integer."""
    if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
        raise InvalidArgument(f"{what} must be a positive integer")
    return value


def flush(collection_name: str, db_name: str, timeout: float) -> Call[None]:
    def read(answer: Any) -> None:
        if not answer["flushed"]:
            raise FlushTimeout(collection_name, [int(i) for i in answer["unflushed_segments"]])

    path = f"/v1/collections/{in_path('collection_name', collection_name)}/flush"
    return Call("POST", path, read, {"db_name": db_name}, {"timeout_ms": int(timeout * 1000)}, patience=timeout)


def describe_collection(collection_name: str, db_name: str) -> Call[Mapping[str, Any]]:
    path = f"/v1/collections/{in_path('collection_name', collection_name)}"
    return Call("GET", path, dict, {"db_name": db_name})


def create_snapshot(
    collection_name: str, snapshot_name: str, description: str, db_name: str, labels: Optional[Mapping[str, str]]
) -> Call[None]:
    body = present(
        collection_name=named("collection_name", collection_name),
        snapshot_name=named("snapshot_name", snapshot_name),
        description=description,
        db_name=db_name,
        labels=labels,
    )
    return Call("POST", "/v1/snapshots", lambda _: None, body=body)


def list_snapshots(collection_name: Optional[str], db_name: str, token: Optional[str]) -> Call[Page[str]]:
    query = present(collection_name=collection_name or None, db_name=db_name, page_size=str(PAGE_SIZE), page_token=token)
    return Call("GET", "/v1/snapshots", lambda a: _page(a, lambda s: str(s["snapshot_name"])), query)


def describe_snapshot(
    snapshot_name: str, include_collection_info: bool, collection_name: Optional[str], db_name: str
) -> Call[SnapshotInfo]:
    path, query = _snapshot(snapshot_name, collection_name, db_name)
    if include_collection_info:
        query["include_collection_info"] = "true"
    return Call("GET", path, SnapshotInfo.of, query)


def drop_snapshot(snapshot_name: str, collection_name: Optional[str], db_name: str) -> Call[None]:
    path, query = _snapshot(snapshot_name, collection_name, db_name)
    return Call("DELETE", path, lambda _: None, query)


def restore_snapshot(
    snapshot_name: str,
    target: str,
    source: Optional[str],
    db_name: str,
    target_db_name: str,
    options: Mapping[str, Any],
) -> Call[int]:
    path, query = _snapshot(snapshot_name, source, db_name)
    body = {**options, "collection_name": named("collection_name", target), "db_name": target_db_name}
    return Call("POST", f"{path}/restore", lambda a: int(a["job_id"]), query, body)


def get_restore_snapshot_state(job_id: int) -> Call[RestoreSnapshotInfo]:
    return Call("GET", f"/v1/restore-jobs/{positive('job_id', job_id)}", RestoreSnapshotInfo.of)


def list_restore_snapshot_jobs(
    collection_name: Optional[str], db_name: Optional[str], token: Optional[str]
) -> Call[Page[RestoreSnapshotInfo]]:
    query = present(
        collection_name=collection_name or None, db_name=db_name or None, page_size=str(PAGE_SIZE), page_token=token
    )
    return Call("GET", "/v1/restore-jobs", lambda a: _page(a, RestoreSnapshotInfo.of), query)


def cancel_restore(job_id: int) -> Call[RestoreSnapshotInfo]:
    return Call("POST", f"/v1/restore-jobs/{positive('job_id', job_id)}/cancel", RestoreSnapshotInfo.of)


def _snapshot(snapshot_name: str, collection_name: Optional[str], db_name: str) -> tuple[str, dict[str, str]]:
    path = f"/v1/snapshots/{in_path('snapshot_name', snapshot_name)}"
    return path, present(db_name=db_name, collection_name=collection_name or None)


def _page(answer: Any, read: Callable[[Any], T]) -> Page[T]:
    return Page([read(item) for item in answer["items"]], answer.get("next_page_token"))
