"""The same calls with pymilvus' asynchronous client. Runs after several_restores.py; needs
`my_collection`."""

import asyncio

from guide import TOKEN, URI
from pymilvus import AsyncMilvusClient


async def main():
    client = AsyncMilvusClient(uri=URI, token=TOKEN)
    await client.flush("my_collection")
    await client.create_snapshot("taken_async", "my_collection", description="asynchronously")
    assert "taken_async" in await client.list_snapshots("my_collection")
    info = await client.describe_snapshot("taken_async", "my_collection")
    print(f"{info.name}: {info.description}, {info.partition_names}")

    job_id = await client.restore_snapshot("taken_async", "my_collection", "restored_async")
    while (state := await client.get_restore_snapshot_state(job_id)).state not in (
        "RestoreSnapshotCompleted",
        "RestoreSnapshotFailed",
    ):
        await asyncio.sleep(0.2)
    assert state.state == "RestoreSnapshotCompleted", state.reason
    jobs = await client.list_restore_snapshot_jobs("restored_async")
    assert [job.job_id for job in jobs] == [job_id]

    pin_id = await client.pin_snapshot_data("taken_async", "my_collection", ttl_seconds=60)
    await client.unpin_snapshot_data(pin_id)
    await client.drop_snapshot("taken_async", "my_collection")
    await client.close()


asyncio.run(main())
