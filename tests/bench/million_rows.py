"""The rows about a shard of a million keys: what a key costs in memory, how long a snapshot stops a node.

Both on one cluster, as filling it takes a minute. The configuration differs from the default in the
namespace's budget, which would evict a fifth of the keys. The nodes are probed (see probed_node.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import replace

from holdfast_node.allocator import TRIM_EVERY_S

from tests.bench import exposition, stalls
from tests.bench.bench import Bench
from tests.bench.driving import Run, command, drive
from tests.bench.holdfast_side import CALM_S, Holdfast
from tests.bench.load import VALUE_BYTES, Load
from tests.bench.processes import rss_bytes
from tests.bench.quiet import wait
from tests.bench.result import RowResult, measure
from tests.bench.spread import shown

MEMORY, STALL = ROWS = ("memory-1m", "snapshot-stall")
KEYS = 1_000_000
KEY_FORM = "key/{:012d}"
KEY_BYTES = 16
BUDGET_BYTES = 1 << 30
RATE = 3_000.0
"""Half of them puts. Far from what the machine can do: who waits for a core would look like a stall."""
FILLER_RATE, FILLER_BYTES = 200.0, 16_384
"""A snapshot is due every 64 MiB of entries: these few puts make it one in about 20 s."""
LOAD_S = 90.0
WORST = 5
"""Stalls of each node whose parts are told."""
LOOK_S = 0.05
SLACK_S = 0.5
MB = 1e6
COUNTED_IN = "history (at most 32 MiB, the default), log in memory ({} MB now) and all else are counted in"


def million(bench: Bench, rows: Iterable[str]) -> list[RowResult]:
    """Those of ROWS that are wanted."""
    wanted = set(rows)
    keys = int(KEYS * bench.scale)
    load = Load("lget", "", keys=keys, key_form=KEY_FORM, seconds=0.1, warmup=0)
    with bench.ours(budget_bytes=BUDGET_BYTES, module="tests.bench.probed_node") as side:
        empty = [rss_bytes(node.pid) for node in side.nodes]
        began = time.monotonic()
        side.run(replace(load, fill=True))
        bench.say(f"{keys:,} keys put in {time.monotonic() - began:.0f} s")
        made = []
        if MEMORY in wanted:
            made.append(memory(side, keys, empty))
        if STALL in wanted:
            made.append(snapshot_stall(bench, side, load))
        return made


def memory(side: Holdfast, keys: int, empty: list[int]) -> RowResult:
    """Resident memory of each replica, after it has come to rest and had time to give back what it can."""
    side.come_to_rest()
    wait(TRIM_EVERY_S + CALM_S)
    full = [rss_bytes(node.pid) for node in side.nodes]
    over = [(now - before) / keys - KEY_BYTES - VALUE_BYTES for now, before in zip(full, empty, strict=True)]
    figures = side.metrics()
    counted = [exposition.total(each, "holdfast_shard_keys") for each in figures]
    logs = [exposition.total(each, "holdfast_shard_log_bytes") for each in figures]
    problems = [] if all(count == keys for count in counted) else [f"NOT ALL KEYS ARE THERE: {counted}"]
    return RowResult(
        MEMORY,
        [
            measure(MEMORY, "bytes a key over key and value", "B", over),
            measure(MEMORY, "RSS", "MB", [size / MB for size in full]),
            measure(MEMORY, "RSS of an empty node", "MB", [size / MB for size in empty]),
        ],
        notes=[
            f"{keys:,} keys of {KEY_BYTES} + {VALUE_BYTES} bytes, one shard: (RSS - RSS empty) / keys - 272",
            COUNTED_IN.format(", ".join(shown(size / MB) for size in logs)),
            "median, least and greatest are those of the three replicas",
            *problems,
        ],
        details={"rss": full, "rss_empty": empty, "keys": counted, "log_bytes": logs},
    )


def snapshot_stall(bench: Bench, side: Holdfast, load: Load) -> RowResult:
    """The longest time a node's loop did not run while it took a snapshot under load, and without one."""
    before = side.snapshots()
    seen: list[list[tuple[float, bool]]] = [[] for _ in side.nodes]
    seconds = LOAD_S * bench.scale

    def watch() -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for moments, writes in zip(seen, side.writes_snapshot(), strict=True):
                moments.append((time.monotonic(), writes))
            wait(LOOK_S)

    run = drive_all(side, loads_of_stall(replace(load, seconds=seconds, warmup=2.0)), watch)
    after = side.snapshots()
    taken = sum(after[node] > before[node] for node in after)
    # Looked at from the first look on: before that, the warm-up and the generator's start.
    whole = [stalls.Span(seen[0][0][0], time.monotonic())]
    inside, outside, own, worst = [], [], [], []
    for node, moments in zip(side.nodes, seen, strict=True):
        noted = stalls.within(stalls.parsed((node.config.parent / "stalls").read_text()), whole)
        during = stalls.within(noted, stalls.joined(moments, SLACK_S))
        inside.append(stalls.longest_ms(during))
        outside.append(stalls.longest_ms(set(noted) - set(during)))
        own.append(stalls.longest_own_ms(during))
        worst.append(stalls.worst(noted, WORST))
    return stall_result(run, inside, outside, own, worst, taken, seconds)


def loads_of_stall(load: Load) -> list[Load]:
    """Requests over all keys, and the few large puts that make snapshots due."""
    few = replace(load, kind="mixed", reads=0.0, rate=FILLER_RATE, keys=256, value_bytes=FILLER_BYTES)
    return [replace(load, kind="mixed", reads=0.5, rate=RATE), replace(few, key_form="filler/{:012d}")]


def drive_all(side: Holdfast, loads: list[Load], meanwhile: Callable[[], None]) -> Run:
    """Different loads at the same time, each by a generator of its own."""
    loads = [replace(load, endpoints=side.endpoints) for load in loads]
    return drive(
        lambda number, samples: command(replace(loads[number], samples=samples)),
        len(loads),
        side.pids(),
        meanwhile,
    )


def stall_result(
    run: Run,
    inside: list[float],
    outside: list[float],
    own: list[float],
    worst: list[list[dict[str, float]]],
    taken: int,
    seconds: float,
) -> RowResult:
    return RowResult(
        STALL,
        [
            measure(STALL, "longest stall", "ms", [max(inside)]),
            measure(STALL, "longest stall of each node", "ms", inside),
            measure(STALL, "longest of each node without a snapshot", "ms", outside),
            measure(STALL, "longest of each node, less its waits for a core", "ms", own),
        ],
        cpu=run.cpu_us,
        latency={"from when it was due": run.points},
        notes=[
            f"{RATE:,.0f} requests/s for {seconds:g} s, half of them puts, open loop; {run.errors} failed",
            f"and {FILLER_RATE:g} puts/s of {FILLER_BYTES:,} bytes, so that snapshots are due",
            f"{taken} of {len(inside)} nodes finished a snapshot meanwhile",
        ],
        details={
            "during_ms": inside,
            "without_ms": outside,
            "own_ms": own,
            "snapshots": taken,
            "worst_of_each_node": worst,
        },
        skipped="" if taken else "no snapshot was taken in the time",
    )
