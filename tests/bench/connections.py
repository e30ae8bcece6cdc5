"""Devices that are connected and say nothing: `python -m tests.bench.connections ADDRESS COUNT`.

Each has a connection of its own (a channel with the SDK's options, keepalive pings and all) and an open,
welcomed stream. Says `warm` when all are welcomed, and ends at a line on stdin.
"""

from __future__ import annotations

import asyncio
import os
import sys

import uvloop
from grpc import aio
from holdfast import wire
from holdfast.channels import OPTIONS

from tests.bench.generator import say, settle, told_to_go

AT_ONCE = 50
SESSION_BYTES = 16


async def run(address: str, count: int) -> None:
    kept = []
    opening = asyncio.Semaphore(AT_ONCE)
    failed: list[str] = []

    async def connect() -> None:
        async with opening:
            channel = aio.insecure_channel(address, options=OPTIONS)
            call = channel.stream_stream(wire.STREAM)()
            kept.append((channel, call))
            try:
                await call.write(wire.hello(os.urandom(SESSION_BYTES), "bench device"))
                await call.read()
            except aio.AioRpcError as problem:
                failed.append(f"{problem.code().name}: {problem.details()}")

    await asyncio.gather(*(connect() for _ in range(count)))
    settle()
    say({"event": "warm", "open": count - len(failed), "failed": failed[:3]})
    await told_to_go()
    os._exit(0)  # closing ten thousand channels one by one would take longer than the measurement


if __name__ == "__main__":
    uvloop.run(run(sys.argv[1], int(sys.argv[2])))
