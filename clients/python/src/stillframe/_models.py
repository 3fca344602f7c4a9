"""What calls give back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Optional

#: The guide's names of the states of a restore job, by the service's own.
RESTORE_STATES: Mapping[str, str] = {
    "Pending": "RestoreSnapshotPending",
    "Validating": "RestoreSnapshotExecuting",
    "InProgress": "RestoreSnapshotExecuting",
    "Publishing": "RestoreSnapshotExecuting",
    "Paused": "RestoreSnapshotExecuting",
    "Completed": "RestoreSnapshotCompleted",
    "Failed": "RestoreSnapshotFailed",
    "Cancelled": "RestoreSnapshotFailed",
}


@dataclass(frozen=True)
class SnapshotInfo:
    """A snapshot."""

    id: int
    name: str
    description: str
    db_name: str
    collection_id: int
    #: Real name of the collection, also where an alias was given.
    collection_name: str
    #: Hybrid timestamp up to which every row is captured: milliseconds since 1970, shifted left 18
    #: bits, plus a counter.
    create_ts: int
    #: URI of the metadata file.
    s3_location: str
    labels: Mapping[str, str]
    #: With ``include_collection_info``: names of the captured partitions.
    partition_names: Optional[Sequence[str]] = None
    #: With ``include_collection_info``: schema, partitions, channels, properties.
    collection: Optional[Mapping[str, Any]] = None
    #: With ``include_collection_info``: the definitions of the indexes.
    indexes: Optional[Sequence[Mapping[str, Any]]] = None
    #: The service's whole answer; ids and timestamps in it are strings.
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> SnapshotInfo:
        """Reads the service's answer."""
        collection = answer.get("collection")
        return cls(
            id=int(answer["snapshot_id"]),
            name=answer["snapshot_name"],
            description=answer["description"],
            db_name=answer["db_name"],
            collection_id=int(answer["collection_id"]),
            collection_name=answer["collection_name"],
            create_ts=int(answer["create_ts"]),
            s3_location=answer["s3_location"],
            labels=answer["labels"],
            partition_names=None if collection is None else [p["name"] for p in collection["partitions"]],
            collection=collection,
            indexes=answer.get("indexes"),
            raw=answer,
        )


@dataclass(frozen=True)
class RestoreSnapshotInfo:
    """A restore job."""

    job_id: int
    snapshot_name: str
    #: Database of the target.
    db_name: str
    #: Name of the target.
    collection_name: str
    #: Id of the target.
    collection_id: int
    #: ``RestoreSnapshotPending``, ``RestoreSnapshotExecuting``, ``RestoreSnapshotCompleted`` or
    #: ``RestoreSnapshotFailed``; a cancelled job counts as failed, a paused one as executing.
    #: ``raw["state"]`` is finer.
    state: str
    #: Percent; 100 is said of a completed job only.
    progress: int
    #: Why it failed or was cancelled; names the files.
    reason: str
    #: When it was asked for, milliseconds since 1970.
    start_time: int
    #: Milliseconds from the request to the end, or to now.
    time_cost: int
    #: The service's whole answer; ids in it are strings.
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def ended(self) -> bool:
        """Whether it is completed or failed."""
        return self.state in ("RestoreSnapshotCompleted", "RestoreSnapshotFailed")

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> RestoreSnapshotInfo:
        """Reads the service's answer."""
        return cls(
            job_id=int(answer["job_id"]),
            snapshot_name=answer["snapshot_name"],
            db_name=answer["db_name"],
            collection_name=answer["collection_name"],
            collection_id=int(answer["collection_id"]),
            state=RESTORE_STATES.get(answer["state"], "RestoreSnapshotNone"),
            progress=int(answer["progress"]),
            reason=answer["reason"],
            start_time=milliseconds(answer["created_at"]),
            time_cost=int(answer["time_cost"]),
            raw=answer,
        )


def milliseconds(text: str) -> int:
    """Milliseconds since 1970 of an RFC 3339 time in UTC, with or without a fraction."""
    whole, _, fraction = text.rstrip("Z").partition(".")
    seconds = datetime.strptime(whole, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc).timestamp()
    return int(seconds) * 1000 + int((fraction + "000")[:3])
