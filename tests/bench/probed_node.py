"""A node whose loop is looked at every millisecond: `python -m tests.bench.probed_node`, `--config FILE`.

The node's own metric looks every 50 ms, which costs nothing and sees only stalls that happen to lie across
a look; for the longest stall one must look more often. The node is otherwise as it is always started.

Appends a line to the file `stalls` beside the data directory for each look that came `TOLD_MIN_S` late or
more: when (CLOCK_MONOTONIC, as every process on this machine reads it) and by how much, and of that how long
the loop's thread ran and how long it could have run but got no core (the kernel's schedstat), and how long
collections of garbage took, on whichever thread: seconds. The rest it waited for something: a lock of the
interpreter, a disk.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
import time
from pathlib import Path

import uvloop
from holdfast_node import logs
from holdfast_node.__main__ import _settled
from holdfast_node.config import load
from holdfast_node.server import run

LOOK_S = 0.001
TOLD_MIN_S = 0.003  # timers are good to a millisecond, and a busy machine adds some


class Collections:
    """Seconds that collections of garbage have taken: all threads stand still meanwhile."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._began = 0.0
        gc.callbacks.append(self._told)

    def _told(self, phase: str, _facts: dict[str, int]) -> None:
        if phase == "start":
            self._began = time.perf_counter()
        else:
            self.seconds += time.perf_counter() - self._began


async def look(place: Path) -> None:
    """Never ends by itself."""
    statistics = os.open(f"/proc/self/task/{threading.get_native_id()}/schedstat", os.O_RDONLY)
    collections = Collections()
    with place.open("a", buffering=1) as told:
        while True:
            ran, waited = scheduled(statistics)
            collected = collections.seconds
            before = time.monotonic()
            await asyncio.sleep(LOOK_S)
            now = time.monotonic()
            if now - before - LOOK_S >= TOLD_MIN_S:
                ran_since, waited_since = scheduled(statistics)
                told.write(
                    f"{now} {now - before - LOOK_S} {ran_since - ran} {waited_since - waited}"
                    f" {collections.seconds - collected}\n"
                )


def scheduled(statistics: int) -> tuple[float, float]:
    """Seconds this thread has run, and has waited for a core."""
    ran_ns, waited_ns, _ = os.pread(statistics, 64, 0).split()
    return int(ran_ns) / 1e9, int(waited_ns) / 1e9


async def probed() -> None:
    config_file = Path(sys.argv[sys.argv.index("--config") + 1])
    config = load(config_file, os.environ, {"init": True} if "--init" in sys.argv else {})
    logs.set_up(config.log_level, config.log_format)
    looking = asyncio.get_running_loop().create_task(look(config.data_dir.with_name("stalls")))
    try:
        await run(config, ready=_settled)
    finally:
        looking.cancel()


if __name__ == "__main__":
    uvloop.run(probed())
