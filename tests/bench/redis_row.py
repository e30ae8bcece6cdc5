"""Redis beside us, for orientation: no target hangs on it, and it promises less (see redis_side.py)."""

from __future__ import annotations

from tests.bench.bench import Bench
from tests.bench.driving import Run
from tests.bench.peer_driver import PeerAbsentError
from tests.bench.rate_rows import MANY, PAIRINGS, said
from tests.bench.result import RowResult, measure

ROW = "redis-256"


def beside(bench: Bench) -> RowResult:
    """Puts and gets of 256 callers; Redis' SET, GET and SET + WAIT 1 of as many."""
    mine: dict[str, list[Run]] = {"lget": [], "put": []}
    theirs: dict[str, list[float]] = {"SET": [], "GET": [], "SET + WAIT 1": []}
    skipped = ""
    try:
        for _ in range(bench.rounds):
            with bench.ours() as side:
                for kind, runs in mine.items():
                    runs.append(said(bench, kind, side.run(PAIRINGS[f"{kind}-{MANY}"].load(bench))))
            with bench.redis() as redis:
                redis.benchmark(MANY, bench.warmup)
                for name, rate in redis.benchmark(MANY, bench.seconds).items():
                    theirs[name].append(rate)
                acknowledged = said(bench, "SET + WAIT 1", redis.set_wait(MANY, bench.seconds, bench.warmup))
                theirs["SET + WAIT 1"].append(acknowledged.rate)
    except PeerAbsentError as problem:
        skipped = str(problem)
    rates = {kind: [run.rate for run in runs] for kind, runs in mine.items()}
    pairs = (("puts", "put", "SET"), ("gets", "lget", "GET"), ("puts, acknowledged", "put", "SET + WAIT 1"))
    return RowResult(
        ROW,
        [
            measure(ROW, what, "operations/s", rates[kind], theirs[name], f"Redis {name}")
            for what, kind, name in pairs
            if rates[kind]
        ],
        notes=["for orientation: SET is acknowledged before it is on a disk or a replica; no target"],
        skipped=skipped,
    )
