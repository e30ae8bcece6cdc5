"""Curves that a closed loop can draw: shards, keys, sizes of values, callers. And the hot key, open loop.

Each yields a point as soon as it is measured. A point starts a fresh cluster, but for keys, where filling
would take longer than measuring.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from holdfast_node.allocator import TRIM_EVERY_S

from tests.bench.bench import Bench
from tests.bench.cuts import cuts
from tests.bench.driving import Run
from tests.bench.holdfast_side import CALM_S, Holdfast
from tests.bench.load import KEYS, VALUE_BYTES, Load
from tests.bench.processes import rss_bytes
from tests.bench.quiet import wait
from tests.bench.scale_record import Figures

MANY = 256
FEW = 64
BIG_BUDGET = 2 << 30
FILLED_BYTES = 64 << 20
HOT_RATE = 8_000.0
Points = Iterator[tuple[float, Figures]]


def told(prefix: str, run: Run) -> Figures:
    """One load's figures."""
    if not run.samples:
        return {f"{prefix}_errors": float(run.errors)}
    return {
        f"{prefix}_rate": run.rate,
        f"{prefix}_p50_ms": run.ms(50),
        f"{prefix}_p99_ms": run.ms(99),
        f"{prefix}_errors": float(run.errors),
        **{f"{prefix}_us_{name.replace(' ', '_')}": us for name, us in run.cpu_us.items()},
    }


def both(bench: Bench, side: Holdfast, load: Load) -> Figures:
    """Puts, then gets, of one cluster that `load` fills first."""
    load = replace(load, seconds=bench.seconds, warmup=bench.warmup)
    puts = side.run(replace(load, kind="put"))
    gets = side.run(replace(load, kind="lget", fill=False))
    return {**told("put", puts), **told("get", gets)}


def shards(bench: Bench, points: Sequence[float]) -> Points:
    """One namespace, cut evenly; keys are asked for evenly."""
    load = Load("put", "", callers=MANY, fill=True)
    for count in points:
        with bench.ours(splits=cuts(int(count), load)) as side:
            yield count, both(bench, side, load)


def keys(bench: Bench, points: Sequence[float]) -> Points:
    """One shard that grows; a budget that holds two million keys. What filling leaves to do is waited for."""
    there = 0
    with bench.ours(budget_bytes=BIG_BUDGET) as side:
        for count in sorted(points):
            load = Load("put", "", callers=MANY, keys=int(count), fill=True, fill_from=there)
            side.run(replace(load, kind="lget", callers=1, warmup=0.0, seconds=0.1))
            side.come_to_rest()
            before = side.snapshots()
            figures = both(bench, side, replace(load, fill=False))
            there = int(count)
            # One that begins meanwhile costs its own CPU, and every bucket that is written a copy.
            figures["snapshots_meanwhile"] = float(side.snapshots() != before or any(side.writes_snapshot()))
            wait(TRIM_EVERY_S + CALM_S)
            figures["rss_mb"] = max(rss_bytes(node.pid) for node in side.nodes) / 1e6
            yield count, figures


def values(bench: Bench, points: Sequence[float]) -> Points:
    """Fewer keys where values are large: a cache of 64 MiB is enough to measure one."""
    for size in points:
        count = int(min(KEYS, max(100, FILLED_BYTES // size)))
        load = Load("put", "", callers=FEW, keys=count, value_bytes=int(size), fill=True)
        with bench.ours() as side:
            figures = both(bench, side, load)
        for kind in ("put", "get"):
            figures[f"{kind}_mb_s"] = figures.get(f"{kind}_rate", 0.0) * size / 1e6
        yield size, figures


def callers(bench: Bench, points: Sequence[float]) -> Points:
    """Callers of one SDK session, or of as many as there are generators."""
    for count in points:
        load = Load("put", "", callers=int(count), fill=True)
        with bench.ours() as side:
            yield count, both(bench, side, load)


def hot(bench: Bench, points: Sequence[float]) -> Points:
    """A part of all reads goes to one key; the rest evenly over the others. Open loop, 95 % reads."""
    for percent in points:
        load = Load("mixed", "", keys=KEYS, value_bytes=VALUE_BYTES, rate=HOT_RATE, hot=percent / 100)
        load = replace(load, seconds=2 * bench.seconds, warmup=bench.warmup, fill=True)
        with bench.ours() as side:
            yield percent, told("mixed", side.run(load))
