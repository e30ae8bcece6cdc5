"""The mission's peak: 36 000 requests a second that come whether or not the cluster keeps up.

95 % reads, half of them linearizable and half session reads, 100 000 keys, Zipf 0.99, packed by a gateway
(gateway.py). A request that failed counts as one that took the whole timeout. When the rate cannot be kept,
the highest that can is looked for; and in any case the highest that one SDK keeps, each call by itself.
"""

from __future__ import annotations

from array import array
from dataclasses import replace
from typing import NamedTuple

from tests.bench import percentiles
from tests.bench.bench import Bench
from tests.bench.driving import Run
from tests.bench.holdfast_side import Holdfast, elections
from tests.bench.load import TIMEOUT_S, Load
from tests.bench.result import RowResult, measure
from tests.bench.spread import shown

ROW = "mixed-36k"
KEYS = 100_000
ZIPF = 0.99
P99_MS_MAX = 5.0
KEPT_MIN = 0.99
DRAIN_S = 1.0
"""The last answers may come this much after the last request without being counted as too late."""
SEARCHES = 6
SEARCH_S = 10.0


class Trial(NamedTuple):
    """One rate, tried."""

    rate: float
    seconds: float
    run: Run
    samples: array[float]
    leader_changes: int

    @property
    def p99_ms(self) -> float:
        return percentiles.at(self.samples, 99) * 1e3

    @property
    def kept(self) -> float:
        """Part of what was asked for that was answered well, in the time it was asked in."""
        asked = int(self.rate * self.seconds)
        return self.run.operations / max(asked, self.rate * (self.run.seconds - DRAIN_S))

    @property
    def is_good(self) -> bool:
        return self.p99_ms <= P99_MS_MAX and self.kept >= KEPT_MIN and not self.leader_changes


def with_failures(samples: array[float], errors: int) -> array[float]:
    """Samples in order, each failed request among them as one that took the timeout."""
    return array("d", sorted([*samples, *([TIMEOUT_S] * errors)]))


def attempt(side: Holdfast, load: Load, rate: float, seconds: float) -> Trial:
    """Asks at a rate."""
    before = side.terms()
    run = side.run(replace(load, rate=rate, seconds=seconds, warmup=min(2.0, seconds)))
    return Trial(rate, seconds, run, with_failures(run.samples, run.errors), elections(before, side.terms()))


def bisected(low: float, high: float, tried: int) -> float:
    """The next rate to try between one that is kept (or 0) and one that is not."""
    return (low + high) / 2 if low or tried else high / 4


def mixed(bench: Bench) -> RowResult:
    """The row; then the search, if it is needed."""
    load = Load("gateway", "", keys=KEYS, zipf=ZIPF, reads=0.95)
    with bench.ours() as side:
        side.run(replace(load, kind="lget", callers=1, fill=True, warmup=0, seconds=0.1))
        trial = told(bench, attempt(side, load, bench.mixed_rate, bench.mixed_seconds))
        best = bench.mixed_rate if trial.is_good else 0.0
        tried = [trial]
        if not trial.is_good:
            best, searched = searched_rate(bench, side, load)
            tried += searched
        by_sdk, searched = searched_rate(bench, side, replace(load, kind="mixed"))
    return result(trial, best, by_sdk, [*tried, *searched])


def searched_rate(bench: Bench, side: Holdfast, load: Load) -> tuple[float, list[Trial]]:
    """The highest rate found that is kept (0: none), and all that were tried."""
    low, high, tried = 0.0, bench.mixed_rate, []
    for number in range(SEARCHES):
        rate = bisected(low, high, number)
        trial = told(bench, attempt(side, load, rate, min(SEARCH_S, bench.mixed_seconds)))
        tried.append(trial)
        low, high = (rate, high) if trial.is_good else (low, rate)
    return low, tried


def told(bench: Bench, trial: Trial) -> Trial:
    late = trial.run.said[0]["late_ms"]
    bench.say(
        f"{trial.rate:,.0f}/s asked: p99 {trial.p99_ms:.2f} ms, kept {trial.kept:.1%},"
        f" {trial.run.errors} errors, {trial.leader_changes} leader changes,"
        f" generator late p99 {late.get('p99', 0.0):.2f} ms"
    )
    return trial


def result(trial: Trial, best: float, by_sdk: float, tried: list[Trial]) -> RowResult:
    asked = trial.rate
    generators = len(trial.run.said)
    late = max(said["late_ms"].get("p99", 0.0) for said in trial.run.said)
    return RowResult(
        ROW,
        [
            measure(ROW, "p99", "ms", [trial.p99_ms]),
            measure(ROW, "leader changes", "", [trial.leader_changes]),
            measure(ROW, "rate kept", "requests/s", [trial.kept * asked], [asked], "asked for"),
            measure(ROW, f"highest rate with p99 <= {P99_MS_MAX:g} ms", "requests/s", [best]),
            measure(ROW, "the same by one SDK, call by call", "requests/s", [by_sdk]),
        ],
        cpu=trial.run.cpu_us,
        latency={"from when it was due": percentiles.summary_ms(trial.samples)},
        notes=[
            f"{asked:,.0f} requests/s for {trial.seconds:g} s, open loop, by {generators} gateway(s)",
            f"{trial.run.errors} requests failed; each is counted as one of {TIMEOUT_S:g} s",
            f"the generator itself was late by {shown(late)} ms at p99, which is part of the latencies",
        ],
        details={
            "rate": asked,
            "seconds": trial.seconds,
            "errors": trial.run.errors,
            "curve_ms": percentiles.summary_ms(trial.samples, percentiles.CURVE),
            "tried": [
                {
                    "rate": each.rate,
                    "p99_ms": each.p99_ms,
                    "kept": each.kept,
                    "errors": each.run.errors,
                    "leader_changes": each.leader_changes,
                }
                for each in tried
            ],
        },
    )
