"""The client for asyncio."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, NoReturn, Optional, TypeVar

import httpx

from . import _calls as calls
from . import _http as http
from ._calls import Call, Page
from ._errors import NotServedHere, RestoreFailed, WaitTimeout
from ._models import RestoreSnapshotInfo, SnapshotInfo
from ._progress import ProgressBar

T = TypeVar("T")


class AsyncMilvusClient:
    """A Stillframe service, as :class:`MilvusClient`, to be awaited.

    ``token`` (or ``user`` and ``password``) goes along as a bearer token. ``timeout`` is in seconds,
    for each request. Every method raises :class:`ApiError` when the service refuses the call, and
    :class:`Unreachable` when none answers. Tasks of one event loop may share a client.
    """

    def __init__(
        self,
        uri: str = "http://localhost:19530",
        user: str = "",
        password: str = "",
        db_name: str = "",
        token: str = "",
        timeout: float = 60.0,
    ) -> None:
        self._uri, self._timeout, self._db = uri, timeout, db_name or "default"
        self._http = httpx.AsyncClient(**http.settings(uri, token, user, password))

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> AsyncMilvusClient:
        return self

    async def __aexit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        await self.close()

    async def request(
        self, method: str, path: str, body: Optional[Mapping[str, Any]] = None, query: Optional[Mapping[str, str]] = None
    ) -> Any:
        """Calls anything of the service's API (``/docs``), and gives the JSON of the answer."""
        return await self._send(Call(method, path, lambda answer: answer, query or {}, body))

    async def flush(self, collection_name: str, timeout: float = 30.0, db_name: str = "") -> None:
        """Seals every growing segment and waits until the engine has flushed them.

        :raises FlushTimeout: when ``timeout`` seconds are not enough.
        """
        await self._send(calls.flush(collection_name, db_name or self._db, timeout))

    async def create_snapshot(
        self,
        collection_name: str,
        snapshot_name: str,
        description: str = "",
        db_name: str = "",
        *,
        labels: Optional[Mapping[str, str]] = None,
    ) -> None:
        """Creates a snapshot of the flushed segments of a collection."""
        await self._send(calls.create_snapshot(collection_name, snapshot_name, description, db_name or self._db, labels))

    async def list_snapshots(self, collection_name: Optional[str] = None, db_name: str = "") -> list[str]:
        """Names of the snapshots of a collection, or of all; newest first."""
        return await self._all(lambda token: calls.list_snapshots(collection_name, db_name or self._db, token))

    async def describe_snapshot(
        self,
        snapshot_name: str,
        include_collection_info: bool = False,
        *,
        collection_name: Optional[str] = None,
        db_name: str = "",
    ) -> SnapshotInfo:
        """Describes a snapshot; ``collection_name`` is needed where several have one of this name."""
        return await self._send(
            calls.describe_snapshot(snapshot_name, include_collection_info, collection_name, db_name or self._db)
        )

    async def drop_snapshot(self, snapshot_name: str, collection_name: Optional[str] = None, db_name: str = "") -> None:
        """Drops a snapshot. One that is not there is an error, ``snapshot_not_found``."""
        await self._send(calls.drop_snapshot(snapshot_name, collection_name, db_name or self._db))

    async def restore_snapshot(
        self,
        snapshot_name: str,
        collection_name: str,
        *,
        source_collection_name: Optional[str] = None,
        db_name: str = "",
        target_db_name: str = "",
        options: Optional[Mapping[str, Any]] = None,
    ) -> int:
        """Starts the restore of a snapshot into the new collection ``collection_name``.

        Gives the id of the job at once. ``options`` are further fields of the service's request,
        such as ``partitions``, ``properties``, ``priority``.
        """
        db, target_db = db_name or self._db, target_db_name or db_name or self._db
        return await self._send(
            calls.restore_snapshot(
                snapshot_name, collection_name, source_collection_name, db, target_db, options or {}
            )
        )

    async def get_restore_snapshot_state(self, job_id: int) -> RestoreSnapshotInfo:
        """The state of a restore job."""
        return await self._send(calls.get_restore_snapshot_state(job_id))

    async def list_restore_snapshot_jobs(
        self, collection_name: Optional[str] = None, db_name: Optional[str] = None
    ) -> list[RestoreSnapshotInfo]:
        """Restore jobs into a collection, or all; newest first, of every database unless one is named."""
        return await self._all(lambda token: calls.list_restore_snapshot_jobs(collection_name, db_name, token))

    async def cancel_restore(self, job_id: int) -> RestoreSnapshotInfo:
        """Cancels a restore job; what it copied is deleted."""
        return await self._send(calls.cancel_restore(job_id))

    async def wait_for_restore(
        self,
        job_id: int,
        timeout: Optional[float] = None,
        poll_interval: float = 0.5,
        progress: Optional[bool] = None,
    ) -> RestoreSnapshotInfo:
        """Waits until a restore is completed, behind a progress bar on standard error.

        ``progress``: True shows it always, False never, None in a terminal only. ``timeout`` and
        ``poll_interval`` are in seconds.

        :raises RestoreFailed: when the job fails or is cancelled.
        :raises WaitTimeout: when it has not ended in time; it goes on.
        """
        bar, began = ProgressBar(progress), time.monotonic()
        try:
            while True:
                info = await self.get_restore_snapshot_state(job_id)
                bar.show(info)
                if info.ended:
                    break
                if timeout is not None and time.monotonic() - began >= timeout:
                    raise WaitTimeout(info, timeout)
                await asyncio.sleep(poll_interval)
        finally:
            bar.close()
        if info.state != "RestoreSnapshotCompleted":
            raise RestoreFailed(info)
        return info

    async def load_collection(self, collection_name: str, db_name: str = "") -> None:
        """Loads nothing: a catalog has no query nodes. Raises when there is no such collection."""
        await self._send(calls.describe_collection(collection_name, db_name or self._db))

    async def insert(self, *_: Any, **__: Any) -> NoReturn:
        """:raises NotServedHere: always."""
        raise NotServedHere("insert")

    async def upsert(self, *_: Any, **__: Any) -> NoReturn:
        """:raises NotServedHere: always."""
        raise NotServedHere("upsert")

    async def delete(self, *_: Any, **__: Any) -> NoReturn:
        """:raises NotServedHere: always."""
        raise NotServedHere("delete")

    async def get(self, *_: Any, **__: Any) -> NoReturn:
        """:raises NotServedHere: always."""
        raise NotServedHere("get")

    async def query(self, *_: Any, **__: Any) -> NoReturn:
        """:raises NotServedHere: always."""
        raise NotServedHere("query")

    async def search(self, *_: Any, **__: Any) -> NoReturn:
        """:raises NotServedHere: always."""
        raise NotServedHere("search")

    async def _all(self, page: Callable[[Optional[str]], Call[Page[T]]]) -> list[T]:
        found: list[T] = []
        token: Optional[str] = None
        while True:
            answer = await self._send(page(token))
            found.extend(answer.items)
            token = answer.next_page_token
            if token is None:
                return found

    async def _send(self, call: Call[T]) -> T:
        try:
            response = await self._http.request(**http.arguments(call, self._timeout))
        except httpx.HTTPError as error:
            raise http.failed(error, self._uri) from error
        return http.read(call, response)
