"""Methods of pymilvus' clients that are not served say so, whatever their answers look like. MILVUS_URI says where the
server is."""

import asyncio
import os

import grpc
from pymilvus import AsyncMilvusClient, MilvusClient, MilvusException

uri = os.environ["MILVUS_URI"]
client = MilvusClient(uri=uri)
position = {"id": "1", "wal_name": "RocksMQ"}


def refused(name, call, kind=MilvusException):
    try:
        call()
    except kind as error:
        said = error.message if kind is MilvusException else error.details()
        assert said.startswith(f"{name} is not served here: "), said
    else:
        raise AssertionError(f"{name} was not refused")


async def by_async_client(name, *arguments):
    other = AsyncMilvusClient(uri=uri)
    try:
        await getattr(other, name)(*arguments)
    finally:
        await other.close()


# the answer is the status, has it first, has it in a stream, has none
refused("AlterDatabase", lambda: client.alter_database_properties("default", {"a": "b"}))
refused("ListCredUsers", client.list_users)
refused("DumpMessages", lambda: list(client.dump_messages("channel", position)))
asked = ("get_replicate_info", "cluster", "channel")
refused("GetReplicateInfo", lambda: getattr(client, asked[0])(*asked[1:]), grpc.RpcError)
refused("GetReplicateInfo", lambda: asyncio.run(by_async_client(*asked)), grpc.RpcError)
print("done")
