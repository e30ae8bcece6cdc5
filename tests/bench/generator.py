"""One load generator of ours: `python -m tests.bench.generator LOAD`, LOAD being `load.Load` as JSON.

The same words on stdin and stdout as peerload's (see its main.go): says `warm`, waits for a line, says
`measured` the moment the time is over, then writes its samples and says `written`.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import holdfast
import uvloop
from holdfast import channels

from tests.bench import percentiles, traffic
from tests.bench.closed_loop import Tally, closed_loop
from tests.bench.load import Load
from tests.bench.open_loop import open_loop

LATE_POINTS = (50.0, 99.0)


class Counted:
    """A stream of the SDK whose frames are counted: what the echo row's frames must look like."""

    totals = dict.fromkeys(("frames_out", "bytes_out", "frames_in", "bytes_in"), 0)

    def __init__(self, stream: channels.BytesStream) -> None:
        self._stream = stream
        self.done_writing = stream.done_writing
        self.cancel = stream.cancel

    async def read(self) -> Any:
        data = await self._stream.read()
        if data is not channels.EOF:
            self.totals["frames_in"] += 1
            self.totals["bytes_in"] += len(data)
        return data

    async def write(self, data: bytes) -> None:
        self.totals["frames_out"] += 1
        self.totals["bytes_out"] += len(data)
        await self._stream.write(data)


def count_frames() -> None:
    """From here on every stream the SDK opens is counted."""
    opened = channels.Channels.open_stream
    channels.Channels.open_stream = lambda self, address: Counted(opened(self, address))


async def told_to_go() -> None:
    """Until the parent has written a line."""
    loop = asyncio.get_running_loop()
    if not await loop.run_in_executor(None, sys.stdin.readline):
        raise SystemExit("nobody said go")


def prepared(client: holdfast.Client, load: Load) -> Callable[[float], Awaitable[Tally]]:
    """What loads for some seconds; keys and draws are made here, before anything is timed."""
    if load.rate:
        numbered = traffic.by_number(client, load)
        return lambda seconds: open_loop(numbered, load.rate, seconds)
    placed = traffic.by_place(client, load)
    return lambda seconds: closed_loop(placed, load.callers, load.first, load.keys, seconds)


async def run(load: Load) -> None:
    count_frames()
    async with holdfast.connect(load.endpoints, timeout_s=load.timeout_s, name="bench") as client:
        if load.fill:
            await traffic.fill(client, load)
        work = prepared(client, load)
        if load.warmup:
            await work(load.warmup)
        settle()
        say({"event": "warm"})
        await told_to_go()
        before = dict(Counted.totals)
        began = time.perf_counter()
        tally = await work(load.seconds)
        took = time.perf_counter() - began
        say(measured(tally, took, load.batch, {k: v - before[k] for k, v in Counted.totals.items()}))
        if load.samples:
            percentiles.write(tally.samples, Path(load.samples))
        say({"event": "written"})


def settle() -> None:
    """What lives on is not looked at again; cycles are sought five times as rarely as in a node."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)


def measured(tally: Tally, seconds: float, batch: int, frames: dict[str, int]) -> dict[str, Any]:
    """The line that ends the measurement."""
    return {
        "event": "measured",
        "operations": len(tally.samples) * batch,
        "errors": sum(tally.reasons.values()) + tally.dropped,
        "last_error": ", ".join(tally.reasons),
        "seconds": seconds,
        "frames": frames,
        "late_ms": percentiles.summary_ms(sorted(tally.late), LATE_POINTS),
    }


def say(event: dict[str, Any]) -> None:
    print(json.dumps(event), flush=True)


if __name__ == "__main__":
    uvloop.run(run(Load.parsed(sys.argv[1])))
