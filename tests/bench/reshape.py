"""How long writers wait while a shard splits, merges and moves under load.

    python tests/bench/reshape.py [--keys 1000000] [--rounds 20] [--rate 5000] [--results FILE]

Four real nodes; a shard of that many keys of 256 bytes on three of them; one SDK client asks for `rate`
operations a second, nine reads for each write, open loop. Each round splits the shard in the middle, merges
it again and moves one replica to the node that has none. A round's pause is the longest time a write that
was under way during the reshape took; what the same load shows without a reshape stands beside it.

Counters, a watch over everything and every answer are checked: an error that reaches a caller, an effect
that is missing or twice, an event that is missing or twice end the run.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import holdfast
from holdfast.types import EventKind
from holdfast.v1 import placement_pb2 as pb

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.integration.placement_calls import Placement
from tests.integration.process_cluster import ProcessCluster, eventually, running, verified

VALUE_BYTES = 256
COUNTERS = 100
TICK_S = 0.004
QUIET_S = 20.0  # about as long as a reshape: the longest of many is longer
KINDS = ("split", "merge", "move")


class Span(NamedTuple):
    """One write as its caller saw it, monotonic seconds."""

    began: float
    ended: float


class Load:
    """Reads and increments at a steady rate; see the module docstring."""

    def __init__(self, client: holdfast.Client, keys: int, rate: int) -> None:
        self.writes: list[Span] = []
        self.reads = 0
        self.added: Counter[int] = Counter()
        self.errors: list[str] = []
        self._client = client
        self._keys = keys
        self._rate = rate
        self._rng = random.Random(7)
        self._open: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Asks until cancelled."""
        began, issued = time.monotonic(), 0
        while True:
            due = int((time.monotonic() - began) * self._rate)
            for number in range(issued, due):
                task = asyncio.create_task(self._write() if number % 10 == 0 else self._read())
                self._open.add(task)
                task.add_done_callback(self._open.discard)
            issued = due
            await asyncio.sleep(TICK_S)

    async def drained(self) -> None:
        """Until everything asked for is answered."""
        while self._open:
            await asyncio.gather(*self._open)

    async def _read(self) -> None:
        key = f"key/{self._rng.randrange(self._keys):09d}"
        try:
            item = await self._client.get(key)
        except holdfast.HoldfastError as problem:
            self.errors.append(f"get {key}: {problem}")
            return
        self.reads += 1
        if item is None:
            self.errors.append(f"get {key}: it is not there")

    async def _write(self) -> None:
        number = self._rng.randrange(COUNTERS)
        began = time.monotonic()
        try:
            await self._client.increment(counter(self._keys, number))
        except holdfast.HoldfastError as problem:
            self.errors.append(f"increment {number}: {problem}")
            return
        self.writes.append(Span(began, time.monotonic()))
        self.added[number] += 1

    def longest(self, began: float, ended: float) -> float:
        """Seconds the slowest write took that was under way in the time."""
        spans = (w for w in self.writes if w.ended >= began and w.began <= ended)
        return max((w.ended - w.began for w in spans), default=0.0)


def counter(keys: int, number: int) -> str:
    """Counters lie evenly among the keys, so that every part of a split has some."""
    return f"key/{number * keys // COUNTERS:09d}/count"


async def fill(client: holdfast.Client, keys: int) -> None:
    """Puts the keys, some hundred at a time."""
    value = "v" * VALUE_BYTES
    for low in range(0, keys, 2000):
        await asyncio.gather(*(client.put(f"key/{n:09d}", value) for n in range(low, min(keys, low + 2000))))


async def one(placement: Placement, kind: str) -> tuple[float, float]:
    """Asks for a reshape and sees it done; when that began and ended."""
    shards = placement.shards()
    if kind == "split":
        verb, request = "SplitShard", pb.SplitShardRequest(group=shards[0].group, middle=True)
    elif kind == "merge":
        verb, request = "MergeShards", pb.MergeShardsRequest(group=shards[0].group, other=shards[1].group)
    else:
        held = [replica.node for replica in shards[0].replicas]
        (free,) = {1, 2, 3, 4} - set(held)
        request = pb.MoveShardRequest(group=shards[0].group, from_node=held[-1], to_node=free)
        verb = "MoveShard"
    began = time.monotonic()
    answer = await asyncio.to_thread(placement.patiently, verb, request)
    await asyncio.to_thread(placement.finish, answer.plan.id)
    return began, time.monotonic()


async def watch_counters(client: holdfast.Client, seen: dict[bytes, list[int]]) -> None:
    """Every change of every counter, as a watcher is told."""
    async with client.watch(prefix="key/") as watch:
        async for event in watch:
            if isinstance(event, holdfast.Event) and event.kind is EventKind.PUT and event.value:
                seen.setdefault(event.key, []).append(int(event.value))


async def measure(cluster: ProcessCluster, options: argparse.Namespace) -> dict[str, object]:
    """Runs all rounds; the figures."""
    placement = Placement(cluster)
    placement.pause()
    pauses: dict[str, list[float]] = {kind: [] for kind in KINDS}
    took: dict[str, list[float]] = {kind: [] for kind in KINDS}
    quiet: list[float] = []
    async with holdfast.connect(cluster.endpoints) as client:
        await fill(client, options.keys)
        gc.collect()
        gc.freeze()  # the load's own collections are no pause of the cluster
        seen: dict[bytes, list[int]] = {}
        watcher = asyncio.create_task(watch_counters(client, seen))
        load = Load(client, options.keys, options.rate)
        running_load = asyncio.create_task(load.run())
        for number in range(options.rounds):
            began = time.monotonic()
            await asyncio.sleep(QUIET_S)
            quiet.append(load.longest(began, time.monotonic()))
            for kind in KINDS:
                span = await one(placement, kind)
                pauses[kind].append(load.longest(*span))
                took[kind].append(span[1] - span[0])
                pause_ms = pauses[kind][-1] * 1000
                print(
                    f"round {number + 1} {kind}: {took[kind][-1]:.2f} s, pause {pause_ms:.0f} ms", flush=True
                )
        running_load.cancel()
        await asyncio.gather(running_load, return_exceptions=True)
        await load.drained()
        problems = list(load.errors)
        for counted, times in load.added.items():
            key = counter(options.keys, counted)
            item = await client.get(key)
            if item is None or int(item.value) != times:
                problems.append(f"{key} was raised {times} times and is {item and item.value!r}")
            await asyncio.to_thread(
                eventually,
                lambda key=key, times=times: len(seen.get(key.encode(), ())) >= times,
                "events",
                20,
            )
            if seen[key.encode()] != list(range(1, times + 1)):
                problems.append(f"the watch of {key} has gaps or repeats")
        watcher.cancel()
        await asyncio.gather(watcher, return_exceptions=True)
    await asyncio.to_thread(verified, cluster)
    placement.close()
    return {
        "keys": options.keys,
        "rate": options.rate,
        "writes": len(load.writes),
        "reads": load.reads,
        "problems": problems[:20],
        "quiet_ms": _figures(quiet),
        **{f"{kind}_pause_ms": _figures(pauses[kind]) for kind in KINDS},
        **{f"{kind}_took_ms": _figures(took[kind]) for kind in KINDS},
    }


def _figures(seconds: list[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(seconds) * 1000, 1),
        "worst": round(max(seconds) * 1000, 1),
        "count": len(seconds),
    }


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--rate", type=int, default=5000)
    parser.add_argument("--results", type=Path)
    options = parser.parse_args()
    extra = "[wal]\nsegment_bytes = 67108864\n"
    with tempfile.TemporaryDirectory() as home, running(Path(home), nodes=4, extra=extra) as cluster:
        found = asyncio.run(measure(cluster, options))
    text = json.dumps(found, indent=1)
    print(text)
    if options.results is not None:
        options.results.write_text(text + "\n")
    if found["problems"]:
        raise SystemExit("promises were broken")


if __name__ == "__main__":
    main()
