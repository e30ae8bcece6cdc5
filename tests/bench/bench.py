"""`make bench`: what three nodes on this machine do through one SDK, fsync on, nothing switched off.

Nodes, and this load generator, share the machine's cores. Prints one row for each kind of load: operations
a second and the latency a caller sees, medians of several rounds with their least and greatest.
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

import holdfast
import uvloop

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.integration.process_cluster import ProcessCluster, running

VALUE = b"v" * 256
KEYS = 10_000


class Row(NamedTuple):
    """One round's figures."""

    per_second: float
    p50_ms: float
    p99_ms: float


async def closed_loop(call: Callable[[int], Awaitable[object]], callers: int, seconds: float) -> Row:
    """`callers` callers, each of which asks again as soon as it is answered."""
    latencies: list[float] = []
    started = time.perf_counter()
    end = started + seconds

    async def caller(number: int) -> None:
        place = number * 7919
        while (before := time.perf_counter()) < end:
            place = (place + 104_729) % KEYS
            await call(place)
            latencies.append(time.perf_counter() - before)

    await asyncio.gather(*(caller(n) for n in range(callers)))
    took = time.perf_counter() - started
    latencies.sort()
    return Row(
        len(latencies) / took,
        latencies[len(latencies) // 2] * 1e3,
        latencies[int(len(latencies) * 0.99)] * 1e3,
    )


def key(place: int) -> bytes:
    return b"device/%012d" % place


async def measure(cluster: ProcessCluster, wanted: set[str], rounds: int, seconds: float) -> None:
    async with holdfast.connect(cluster.endpoints) as client:
        loads: dict[str, tuple[Callable[[int], Awaitable[object]], int]] = {
            "put-1": (lambda n: client.put(key(n), VALUE), 1),
            "put-64": (lambda n: client.put(key(n), VALUE), 64),
            "put-256": (lambda n: client.put(key(n), VALUE), 256),
            "lget-1": (lambda n: client.get(key(n)), 1),
            "lget-64": (lambda n: client.get(key(n)), 64),
            "lget-256": (lambda n: client.get(key(n)), 256),
            "sget-256": (lambda n: client.get(key(n), level=holdfast.Level.SESSION), 256),
        }
        for start in range(0, KEYS, 500):
            await asyncio.gather(*(client.put(key(n), VALUE) for n in range(start, start + 500)))
        print(f"{'load':<10}{'operations/s (min..max)':>34}{'p50 ms':>10}{'p99 ms':>10}")
        for name, (call, callers) in loads.items():
            if wanted and name not in wanted:
                continue
            await closed_loop(call, callers, min(seconds, 1.0))
            rows = [await closed_loop(call, callers, seconds) for _ in range(rounds)]
            rates = [row.per_second for row in rows]
            p50 = statistics.median(row.p50_ms for row in rows)
            p99 = statistics.median(row.p99_ms for row in rows)
            span = f"{statistics.median(rates):,.0f} ({min(rates):,.0f}..{max(rates):,.0f})"
            print(f"{name:<10}{span:>34}{p50:>10.2f}{p99:>10.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", default="", help="only these, comma-separated")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    options = parser.parse_args()
    wanted = {row for row in options.rows.split(",") if row}
    print(f"Python {platform.python_version()}, {platform.machine()}; 3 nodes and the load share its cores")
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as folder, running(Path(folder)) as cluster:
        uvloop.run(measure(cluster, wanted, options.rounds, options.seconds))


if __name__ == "__main__":
    main()
