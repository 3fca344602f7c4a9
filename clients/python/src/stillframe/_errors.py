"""Exceptions. All are :class:`StillframeError`; every one has a stable ``code``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._models import RestoreSnapshotInfo


class StillframeError(Exception):
    """What every error of this package is.

    ``code`` is stable and meant for programs; the text is meant for people.
    """

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True)
class FieldError:
    """One thing that is wrong in a request.

    ``pointer`` is a JSON pointer into the body, ``?name`` for a query parameter, or ``{name}`` for
    a path parameter.
    """

    pointer: str
    detail: str


class ApiError(StillframeError):
    """The service refused the call (RFC 9457 problem document).

    ``code`` is the service's, such as ``snapshot_not_found``; ``/docs`` of the service lists those
    of each call. ``request_id`` is found in the service's log.
    """

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        self.status = status
        self.title = str(problem.get("title", ""))
        self.detail = str(problem.get("detail", ""))
        self.request_id = str(problem.get("request_id", ""))
        listed = problem.get("errors")
        entries = listed if isinstance(listed, Sequence) else ()
        self.errors = tuple(
            FieldError(str(e.get("pointer", "")), str(e.get("detail", ""))) for e in entries if isinstance(e, Mapping)
        )
        super().__init__(str(problem.get("code", "unexpected_answer")), self.detail or self.title or f"HTTP {status}")


class Unreachable(StillframeError):
    """No answer came: the service can't be reached, or took longer than ``timeout``.

    ``code`` is ``unreachable`` or ``timeout``. After a timeout the call may have had its effect.
    """


class InvalidArgument(StillframeError, ValueError):
    """An argument that no service would accept; nothing was sent. ``code`` is ``invalid_argument``."""

    def __init__(self, text: str) -> None:
        super().__init__("invalid_argument", text)


class FlushTimeout(StillframeError):
    """The engine has not flushed every segment in time. ``code`` is ``flush_timeout``."""

    def __init__(self, collection_name: str, segment_ids: Sequence[int]) -> None:
        self.segment_ids = tuple(segment_ids)
        super().__init__(
            "flush_timeout",
            f"{len(self.segment_ids)} segments of collection {collection_name!r} are sealed and not flushed by the engine yet",
        )


class RestoreFailed(StillframeError):
    """A restore that was waited for has failed or was cancelled.

    ``code`` is that of the failure, ``restore_failed`` where the job has none; ``info`` is the job.
    """

    def __init__(self, info: RestoreSnapshotInfo) -> None:
        self.info = info
        super().__init__(
            str(info.raw.get("error_code") or "restore_failed"),
            f"restore job {info.job_id} of snapshot {info.snapshot_name!r} failed: {info.reason or info.raw.get('state')}",
        )


class WaitTimeout(StillframeError, TimeoutError):
    """A restore has not ended in time; it goes on. ``code`` is ``wait_timeout``."""

    def __init__(self, info: RestoreSnapshotInfo, timeout: float) -> None:
        self.info = info
        super().__init__(
            "wait_timeout", f"restore job {info.job_id} is at {info.progress}% after {timeout:g} s; it goes on without us"
        )


class NotServedHere(StillframeError, NotImplementedError):
    """A call about rows. ``code`` is ``not_served_here``."""

    def __init__(self, method: str) -> None:
        super().__init__(
            "not_served_here",
            f"{method} works on rows, which Stillframe does not serve: it keeps the catalog, snapshots and restores. "
            "Ask the database that has the collection loaded.",
        )
