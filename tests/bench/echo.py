"""What gRPC for Python alone does with frames like ours: a stream that sends back as many bytes as asked.

    python -m tests.bench.echo serve          prints its port
    python -m tests.bench.echo LOAD           a generator (see generator.py), kind "echo"

Server and client touch nothing of a frame but its first four bytes, the size of the answer: nobody speaks
to Holdfast over this transport, in this language, for less.
"""

from __future__ import annotations

import sys
import time
from array import array
from collections import deque
from pathlib import Path
from typing import Any

import grpc
import uvloop
from grpc import aio
from holdfast.channels import EOF, OPTIONS

from tests.bench import percentiles
from tests.bench.generator import say, settle, told_to_go
from tests.bench.load import Load

METHOD = "/bench.Echo/Stream"
SIZE_BYTES = 4


async def answer(_: Any, context: Any) -> None:
    replies: dict[bytes, bytes] = {}
    while (frame := await context.read()) is not EOF:
        size = frame[:SIZE_BYTES]
        reply = replies.get(size)
        if reply is None:
            reply = replies[size] = bytes(int.from_bytes(size, "big"))
        await context.write(reply)


async def serve() -> None:
    server = aio.server(options=OPTIONS)
    method = grpc.stream_stream_rpc_method_handler(answer)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Echo", {"Stream": method}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    settle()
    say({"event": "serving", "port": port})
    await server.wait_for_termination()


async def frames(call: Any, load: Load, seconds: float) -> array[float]:
    """Keeps `callers` frames under way; what each took (answers come in order)."""
    clock = time.perf_counter
    frame = load.frame_in_bytes.to_bytes(SIZE_BYTES, "big").ljust(load.frame_out_bytes, b"v")
    sent: deque[float] = deque()
    took: array[float] = array("d")
    end = clock() + seconds
    for _ in range(load.callers):
        sent.append(clock())
        await call.write(frame)
    while sent:
        await call.read()
        now = clock()
        took.append(now - sent.popleft())
        if now < end:
            sent.append(now)
            await call.write(frame)
    return took


async def generate(load: Load) -> None:
    async with aio.insecure_channel(load.endpoints, options=OPTIONS) as channel:
        call = channel.stream_stream(METHOD)()
        await frames(call, load, load.warmup)
        settle()
        say({"event": "warm"})
        await told_to_go()
        began = time.perf_counter()
        took = await frames(call, load, load.seconds)
        seconds = time.perf_counter() - began
        say(
            {
                "event": "measured",
                "operations": len(took) * load.batch,
                "errors": 0,
                "last_error": "",
                "seconds": seconds,
            }
        )
        percentiles.write(took, Path(load.samples))
        say({"event": "written"})
        call.cancel()


if __name__ == "__main__":
    uvloop.run(serve() if sys.argv[1] == "serve" else generate(Load.parsed(sys.argv[1])))
