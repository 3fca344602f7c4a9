"""The async client against the same service, and beside the sync one."""

from __future__ import annotations

import asyncio
import inspect

import pytest

from stillframe import ApiError, AsyncMilvusClient, MilvusClient, NotServedHere


def test_both_clients_have_the_same_methods() -> None:
    def methods(kind: type) -> dict[str, str]:
        own = {n.replace("__a", "__"): f for n, f in vars(kind).items() if inspect.isfunction(f)}
        return {n: str(inspect.signature(f)).replace("Async", "") for n, f in own.items()}

    assert methods(AsyncMilvusClient) == methods(MilvusClient)
    for name, function in vars(AsyncMilvusClient).items():
        if inspect.isfunction(function) and name != "__init__":
            assert inspect.iscoroutinefunction(function), name


def test_several_restores_are_waited_for_at_once(uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    async def run() -> None:
        async with AsyncMilvusClient(uri=uri) as client:
            await client.flush(collection_name="feas")
            await client.create_snapshot("feas", "of_async", description="async")
            info = await client.describe_snapshot("of_async", include_collection_info=True)
            assert info.description == "async" and info.partition_names == ["_default", "p2"]
            names = [f"async_{n}" for n in range(3)]
            jobs = await asyncio.gather(*(client.restore_snapshot("of_async", name) for name in names))
            waits = (client.wait_for_restore(job, timeout=60, poll_interval=0.02, progress=True) for job in jobs)
            done = await asyncio.gather(*waits)
            assert [(d.job_id, d.state, d.collection_name) for d in done] == [
                (job, "RestoreSnapshotCompleted", name) for job, name in zip(jobs, names)
            ]
            listed = await client.list_restore_snapshot_jobs()
            assert set(jobs) <= {job.job_id for job in listed}
            assert "of_async" in await client.list_snapshots("feas")
            await client.drop_snapshot("of_async")
            with pytest.raises(ApiError) as error:
                await client.describe_snapshot("of_async")
            assert error.value.code == "snapshot_not_found"
            with pytest.raises(NotServedHere):
                await client.query("feas")

    asyncio.run(run())
    assert "async_2 [" in capsys.readouterr().err
