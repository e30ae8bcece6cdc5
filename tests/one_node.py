"""A whole node, alone in its cluster, inside the test's own loop: real ports, real files, no process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
from holdfast.errors import Reason
from holdfast.v1 import cache_pb2 as pb
from holdfast.v1 import types_pb2 as types
from holdfast.v1.cache_pb2_grpc import CacheStub
from holdfast_chaos.cluster.layout import free_ports
from holdfast_node.config import Config, from_mapping
from holdfast_node.server import run

_NOT_YET = {Reason.NOT_LEADER, Reason.BUSY, Reason.NO_QUORUM}
SESSION = bytes(range(16))


def config_of(folder: Path, **raw: Any) -> Config:
    """Node 1 of a cluster of one, unless `raw` says more."""
    grpc_port, http_port = free_ports(2)
    nodes = [{"id": 1, "address": f"127.0.0.1:{grpc_port}", "http": f"127.0.0.1:{http_port}"}]
    plain = {"cluster_id": "test", "node": 1, "data_dir": str(folder), "init": True, "nodes": nodes}
    return from_mapping({**plain, **raw})


@asynccontextmanager
async def one_node(config: Config) -> AsyncIterator[grpc.aio.Channel]:
    """Runs the node and gives a channel to it."""
    ready, stop = asyncio.Event(), asyncio.Event()
    node = asyncio.create_task(run(config, ready=ready.set, stop=stop))
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait((node, waiting), return_when=asyncio.FIRST_COMPLETED)
    if node.done():
        waiting.cancel()
        node.result()
    try:
        async with grpc.aio.insecure_channel(config.address) as channel:
            yield channel
    finally:
        stop.set()
        await node


@asynccontextmanager
async def opened_stream(
    channel: grpc.aio.Channel, session: bytes = SESSION
) -> AsyncIterator[tuple[Any, pb.Welcome]]:
    """A Cache.Stream that speaks bytes towards the node, after its welcome."""
    call = channel.stream_stream(
        "/holdfast.v1.Cache/Stream", response_deserializer=pb.StreamResponse.FromString
    )()
    await call.write(pb.StreamRequest(hello=pb.Hello(session=session)).SerializeToString())
    response = await call.read()
    try:
        yield call, response.welcome
    finally:
        call.cancel()


async def results_of(call: Any, count: int) -> dict[int, pb.Result]:
    """The next `count` results of a stream, by sequence."""
    found: dict[int, pb.Result] = {}
    while len(found) < count:
        response = await call.read()
        assert response is not grpc.aio.EOF
        for answers in response.answers:
            for result in answers.results:
                found[result.sequence] = result
    return found


async def led(channel: grpc.aio.Channel, key: str = "led") -> None:
    """Waits until the shard of `key` is led: a write to it succeeds. Any failure before must be a refusal
    for want of a leader."""
    stub: Any = CacheStub(channel)
    while True:
        try:
            await stub.Put(pb.PutRequest(key=pb.Key(key_text=key), value_text=key))
        except grpc.aio.AioRpcError as failure:
            if error_of(failure).reason not in _NOT_YET:
                raise
        else:
            return


def error_of(failure: grpc.aio.AioRpcError) -> types.Error:
    """The error that a failed unary call carries."""
    metadata: Any = failure.trailing_metadata()
    return types.Error.FromString(dict(metadata)["holdfast-error-bin"])
