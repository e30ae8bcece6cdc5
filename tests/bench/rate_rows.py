"""The rows against etcd, closed loop: what one caller waits for, what 256 callers get."""

from __future__ import annotations

from dataclasses import dataclass

from tests.bench import percentiles
from tests.bench.bench import Bench
from tests.bench.driving import Run
from tests.bench.etcd_side import Asked, Etcd
from tests.bench.holdfast_side import Holdfast
from tests.bench.load import Load
from tests.bench.peer_driver import PeerAbsentError
from tests.bench.result import RowResult, cpu_medians, measure

MANY = 256
BATCHERS = 16
BATCH = 100
CONNS = 16
"""Connections of etcd's client; etcd's own benchmarks too spread callers over several."""


@dataclass(frozen=True, slots=True)
class Pairing:
    """One row: the load of ours and what is asked of etcd. by_latency: p50 is the headline, not the rate."""

    kind: str
    asked: Asked
    by_latency: bool = False

    def load(self, bench: Bench, *, fill: bool = True) -> Load:
        return Load(
            self.kind,
            "",
            callers=self.asked.callers,
            seconds=bench.seconds,
            warmup=bench.warmup,
            batch=self.asked.batch,
            fill=fill,
        )


PAIRINGS = {
    "put-1": Pairing("put", Asked("etcd-put", 1, 1, to_all=False), by_latency=True),
    "put-256": Pairing("put", Asked("etcd-put", MANY, CONNS, to_all=False)),
    "lget-1": Pairing("lget", Asked("etcd-lget", 1, 1, to_all=False), by_latency=True),
    "lget-256": Pairing("lget", Asked("etcd-lget", MANY, CONNS, to_all=False)),
    "batch-put-100": Pairing("batch", Asked("etcd-txn", BATCHERS, CONNS, to_all=False, batch=BATCH)),
}
SESSION_PEER = Asked("etcd-sget", MANY, CONNS, to_all=True)


def against_etcd(bench: Bench, row: str) -> RowResult:
    """Rounds in turn, on fresh clusters."""
    pairing = PAIRINGS[row]
    return _told(row, pairing, *_in_turn(bench, row, pairing))


def _in_turn(bench: Bench, row: str, pairing: Pairing) -> tuple[list[Run], list[Run], str]:
    """Runs of both sides, and why etcd's are missing."""

    def ours(side: Holdfast) -> Run:
        return said(bench, "Holdfast", side.run(pairing.load(bench)))

    def theirs(side: Etcd) -> Run:
        term = side.term()
        run = said(bench, "etcd", side.run(pairing.asked, bench.seconds, bench.warmup))
        if side.term() != term:
            bench.say(f"etcd changed its leader during {row}")
        return run

    try:
        return (*bench.in_turn(ours, theirs), "")
    except PeerAbsentError as problem:
        with bench.ours() as side:
            return [ours(side)], [], str(problem)


def said(bench: Bench, who: str, run: Run) -> Run:
    """Tells of one round."""
    errors = f", {run.errors} ERRORS ({run.said[0]['last_error']})" if run.errors else ""
    shown = ", ".join(f"{name} {ms:.2f}" for name, ms in run.points.items() if name in ("p50", "p99", "max"))
    bench.say(f"{who}: {run.rate:,.0f}/s, ms {shown}{errors}")
    return run


def _told(row: str, pairing: Pairing, mine: list[Run], others: list[Run], skipped: str) -> RowResult:
    rate = measure(row, "rate", "operations/s", [r.rate for r in mine], [r.rate for r in others], "etcd")
    p50 = measure(row, "p50", "ms", [r.ms(50) for r in mine], [r.ms(50) for r in others], "etcd")
    p99 = measure(row, "p99", "ms", [r.ms(99) for r in mine], [r.ms(99) for r in others], "etcd")
    measures = [p50, rate, p99] if pairing.by_latency else [rate, p50, p99]
    if row == "put-256":
        against = "p99 against its p50"
        measures.append(
            measure(row, against, "ms", [r.ms(99) for r in mine], [r.ms(50) for r in others], "etcd")
        )
    return RowResult(
        row,
        measures,
        cpu={**cpu_medians([r.cpu_us for r in mine]), **prefixed("etcd's ", others)},
        latency=latencies({"Holdfast": mine, "etcd": others}),
        notes=[*notes(mine, "Holdfast"), *notes(others, "etcd")],
        skipped=skipped,
    )


def prefixed(prefix: str, runs: list[Run]) -> dict[str, float]:
    """CPU of a peer's run: its generator must not be taken for ours."""
    return {
        name if name.startswith("etcd") else prefix + name: us
        for name, us in cpu_medians([run.cpu_us for run in runs]).items()
    }


def latencies(sides: dict[str, list[Run]]) -> dict[str, dict[str, float]]:
    """Medians of percentiles by side, of the sides that ran."""
    return {name: percentiles.medians(run.points for run in runs) for name, runs in sides.items() if runs}


def notes(runs: list[Run], who: str) -> list[str]:
    errors = sum(run.errors for run in runs)
    return [f"{who}: {errors} requests failed: {runs[-1].said[0]['last_error']}"] if errors else []


def sessions(bench: Bench) -> RowResult:
    """Session gets beside our own linearizable ones on the same cluster, and etcd's serializable ones."""
    row = "sget-256"
    load = Load("sget", "", callers=MANY, seconds=bench.seconds, warmup=bench.warmup)

    def ours(side: Holdfast) -> tuple[Run, Run]:
        linearizable = said(bench, "linearizable", side.run(PAIRINGS["lget-256"].load(bench)))
        return linearizable, said(bench, "session", side.run(load))

    def theirs(side: Etcd) -> Run:
        return said(bench, "etcd serializable", side.run(SESSION_PEER, bench.seconds, bench.warmup))

    skipped = ""
    others: list[Run] = []
    try:
        pairs, others = bench.in_turn(ours, theirs)
    except PeerAbsentError as problem:
        skipped = str(problem)
        with bench.ours() as side:
            pairs = [ours(side)]
    linearizable, session = [a for a, _ in pairs], [b for _, b in pairs]
    mine, peer = "our lget-256", "etcd, serializable"
    leaders = "leader's CPU against our lget-256"
    measures = [
        measure(
            row, "rate against our lget-256", "operations/s",
            [r.rate for r in session], [r.rate for r in linearizable], mine,
        ),
        measure(
            row, leaders, "us an operation",
            [r.cpu_us["leader"] for r in session], [r.cpu_us["leader"] for r in linearizable], mine,
        ),
        measure(row, "rate", "operations/s", [r.rate for r in session], [r.rate for r in others], peer),
        measure(row, "p99", "ms", [r.ms(99) for r in session], [r.ms(99) for r in others], peer),
    ]  # fmt: skip
    return RowResult(
        row,
        measures,
        cpu={**cpu_medians([r.cpu_us for r in session]), **prefixed("etcd's ", others)},
        latency=latencies({"session": session, "linearizable": linearizable, "etcd serializable": others}),
        notes=[*notes(session, "session"), *notes(linearizable, "linearizable"), *notes(others, "etcd")],
        skipped=skipped,
    )
