"""`make bench`: what Holdfast does beside its peers on this machine, row by row, with targets.

    python -m tests.bench                         all rows, about a quarter of an hour; writes the evidence
    python -m tests.bench --rows put-256,lget-1   some of them; prints only
    python -m tests.bench --smoke                 all of them for moments: whether it works, not how fast

Three nodes as processes, default configuration but for policies that cut shards, which are paused, fsync on;
etcd (and Redis, for orientation) started and stopped by this program, never at the same time. Rounds in turn
(ours, theirs, ours, theirs), each on a fresh cluster; medians with least and greatest; ratios pair by pair.
Load and servers share the cores.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from tests.bench import echo_row, evidence, idle_row, machine, million_rows, mixed_row, rate_rows, redis_row
from tests.bench.bench import Bench, exit_on_sigterm
from tests.bench.driving import ROOT
from tests.bench.result import RowResult
from tests.bench.targets import ROWS

Measuring = Callable[[Bench], RowResult]

SINGLE: dict[str, Measuring] = {
    **{row: partial(rate_rows.against_etcd, row=row) for row in rate_rows.PAIRINGS},
    "sget-256": rate_rows.sessions,
    echo_row.ROW: echo_row.floor,
    mixed_row.ROW: mixed_row.mixed,
    idle_row.ROW: idle_row.idle,
    redis_row.ROW: redis_row.beside,
}
ALL = (*ROWS, redis_row.ROW)


def measured(bench: Bench, rows: Sequence[str]) -> list[RowResult]:
    """The rows in the order of ALL, told as they come."""
    results: list[RowResult] = []
    done: set[str] = set()
    for row in ALL:
        if row not in rows or row in done:
            continue
        began = time.monotonic()
        together = [each for each in million_rows.ROWS if each in rows] if row in million_rows.ROWS else [row]
        print(f"--- {', '.join(together)}", flush=True)
        made = attempted(bench, together)
        for result in made:
            print("\n".join(result.lines()), flush=True)
        print(f"    ({time.monotonic() - began:.0f} s)", flush=True)
        results += made
        done.update(together)
    return results


def attempted(bench: Bench, rows: Sequence[str]) -> list[RowResult]:
    """Rows that are measured together. A row that fails is told loudly and costs nobody the others."""
    try:
        if rows[0] in million_rows.ROWS:
            return million_rows.million(bench, rows)
        return [SINGLE[row](bench) for row in rows]
    except Exception as problem:  # noqa: BLE001 - whatever it was: a quarter of an hour must not be lost
        traceback.print_exc()
        return [RowResult(row, [], skipped=f"it failed: {problem}") for row in rows]


def options_of(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rows", default="", help=f"only these, comma-separated, of: {', '.join(ALL)}")
    parser.add_argument("--rounds", type=int, default=Bench.rounds, help="of each side")
    parser.add_argument("--seconds", type=float, default=Bench.seconds, help="a round measures")
    parser.add_argument("--warmup", type=float, default=Bench.warmup, help="seconds before it")
    parser.add_argument("--generators", type=int, default=1, help="processes that make our load")
    parser.add_argument("--mixed-rate", type=float, default=Bench.mixed_rate)
    parser.add_argument("--mixed-seconds", type=float, default=Bench.mixed_seconds)
    parser.add_argument("--scale", type=float, default=1.0, help="of keys and times of big rows")
    parser.add_argument("--smoke", action="store_true", help="moments only; the figures mean nothing")
    parser.add_argument("--evidence", action="store_true", help="write docs/evidence/bench.* in any case")
    parser.add_argument(
        "--folder", type=Path, default=ROOT / ".cache", help="where both sides have their data"
    )
    options = parser.parse_args(arguments)
    unknown = {row for row in options.rows.split(",") if row} - set(ALL)
    if unknown:
        parser.error(f"no such row: {', '.join(sorted(unknown))}; there are {', '.join(ALL)}")
    if options.smoke and options.evidence:
        parser.error("--smoke measures nothing that could be evidence")
    return options


def bench_of(options: argparse.Namespace, folder: Path) -> Bench:
    bench = Bench(
        folder,
        rounds=options.rounds,
        seconds=options.seconds,
        warmup=options.warmup,
        generators=options.generators,
        mixed_rate=options.mixed_rate,
        mixed_seconds=options.mixed_seconds,
        scale=options.scale,
    )
    if options.smoke:
        return replace(
            bench, rounds=1, seconds=1.0, warmup=0.5, mixed_seconds=2.0, mixed_rate=4_000, scale=0.02
        )
    return bench


def is_complete(options: argparse.Namespace, results: Sequence[RowResult]) -> bool:
    """Whether this is what the evidence is made of: every row shown, nothing made smaller."""
    whole = options.scale >= 1 and options.mixed_seconds >= Bench.mixed_seconds
    shown = {result.row for result in results if not result.skipped}
    return not options.smoke and whole and set(ROWS) <= shown


def main() -> None:
    options = options_of(sys.argv[1:])
    exit_on_sigterm()
    rows = [row for row in options.rows.split(",") if row] or list(ALL)
    options.folder.mkdir(parents=True, exist_ok=True)
    facts: dict[str, Any] = {
        "commit": machine.commit(),
        "versions": machine.versions(),
        "machine": machine.machine(options.folder),
    }
    if facts["machine"]["filesystem"] == "tmpfs":
        sys.exit("the data would lie on tmpfs, where fsync does nothing: choose --folder on a disk")
    print(f"{facts['commit']}; {facts['machine']}; {facts['versions']}", flush=True)
    place = Path(tempfile.mkdtemp(prefix="bench-", dir=options.folder))
    try:
        bench = bench_of(options, place)
        results = measured(bench, rows)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    facts["how"] = {
        "rounds": bench.rounds, "seconds": bench.seconds, "warmup": bench.warmup,
        "generators": bench.generators, "load_after": machine.machine(options.folder)["load_before"],
    }  # fmt: skip
    print("\n".join(f"{result.row:<16}{result.verdict}" for result in results))
    if options.evidence or is_complete(options, results):
        print("written: " + ", ".join(evidence.written(facts, results)))


if __name__ == "__main__":
    main()
