"""More than can be done: goodput, refusals, memory, leaders, and how soon all is well again.

The peak is what a closed loop gets. Then as much, twice and three times as much is asked for, open loop, by
clients that give up after a second; a few other requests (the probe) tell what somebody else feels before,
meanwhile and after.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import holdfast

from tests.bench import percentiles
from tests.bench.bench import Bench
from tests.bench.driving import Run
from tests.bench.holdfast_side import Holdfast, elections
from tests.bench.load import KEYS, Load
from tests.bench.load_curves import MANY, Points
from tests.bench.processes import peak_rss_bytes, rss_bytes
from tests.bench.scale_record import Figures

PROBES_A_SECOND = 50.0
PATIENCE_S = 1.0
AFTER_S = 6.0
NORMAL_FACTOR = 3.0
"""A second's slowest tenth may be this many times what it was before: then all is well."""
NORMAL_MS_MIN = 10.0
WINDOW_S = 0.5


class Probe(NamedTuple):
    """One request of somebody else: when it was asked, what it took; good: it was answered."""

    asked: float
    took: float
    good: bool


async def probe(endpoints: str, seconds: float) -> list[Probe]:
    """Asks now and then, a put and a get in turn, for some seconds."""
    found: list[Probe] = []
    async with holdfast.connect(endpoints, timeout_s=PATIENCE_S) as client, asyncio.TaskGroup() as tasks:

        async def one(number: int) -> None:
            began = time.monotonic()
            key = b"probe/%d" % (number % 100)
            try:
                await (client.put(key, b"v") if number % 2 else client.get(key))
            except holdfast.HoldfastError:
                found.append(Probe(began, time.monotonic() - began, good=False))
            else:
                found.append(Probe(began, time.monotonic() - began, good=True))

        for number in range(int(seconds * PROBES_A_SECOND)):
            tasks.create_task(one(number))
            await asyncio.sleep(1 / PROBES_A_SECOND)
    return sorted(found)


def p90_ms(probes: Sequence[Probe]) -> float:
    """The slowest tenth of a window; a request that failed took for ever, as far as its caller knows."""
    took = sorted(each.took if each.good else PATIENCE_S for each in probes)
    return percentiles.at(took, 90) * 1e3 if took else 0.0


def recovered_after(probes: Sequence[Probe], ended: float, normal_ms: float) -> float:
    """Seconds from `ended` to the last window that was not as before, whole windows; 0: none was."""
    last = 0.0
    for probe in probes:
        window = int((probe.asked - ended) / WINDOW_S)
        if (window + 1) * WINDOW_S <= last:  # so are all before `ended`
            continue
        inside = [p for p in probes if window <= (p.asked - ended) / WINDOW_S < window + 1]
        if p90_ms(inside) > normal_ms:
            last = (window + 1) * WINDOW_S
    return last


def overload(bench: Bench, points: Sequence[float]) -> Points:
    """points: how many times the peak is asked for."""
    base = Load("put", "", callers=MANY, keys=KEYS, seconds=bench.seconds, warmup=bench.warmup, fill=True)
    for times in points:
        with bench.ours() as side:
            peak = side.run(base).rate
            yield times, overloaded(bench, side, replace(base, fill=False), peak, times)


def overloaded(bench: Bench, side: Holdfast, base: Load, peak: float, times: float) -> Figures:
    before = asyncio.run(probe(side.endpoints, 2.0))
    normal_ms = max(NORMAL_MS_MIN, NORMAL_FACTOR * p90_ms(before))
    terms = side.terms()
    rss = [rss_bytes(node.pid) for node in side.nodes]
    seconds = 2 * bench.seconds
    probes: list[Probe] = []
    ended = 0.0

    def meanwhile() -> None:
        nonlocal ended
        ended = time.monotonic() + seconds
        probes.extend(asyncio.run(probe(side.endpoints, seconds + AFTER_S)))

    load = replace(
        base, kind="mixed", reads=0.0, rate=times * peak, seconds=seconds, warmup=0, timeout_s=PATIENCE_S
    )
    run = side.run(load, meanwhile)
    during = [each for each in probes if each.asked < ended]
    return {
        "peak_rate": peak,
        "asked_rate": times * peak,
        "goodput": run.operations / max(seconds, run.seconds),
        "goodput_of_peak": run.operations / max(seconds, run.seconds) / peak,
        **refusals(run),
        "rss_mb": max(peak_rss_bytes(node.pid) for node in side.nodes) / 1e6,
        "rss_before_mb": max(rss) / 1e6,
        "leader_changes": elections(terms, side.terms()),
        "probe_before_ms": p90_ms(before),
        "probe_during_ms": p90_ms(during),
        "recovered_s": recovered_after(probes, ended, normal_ms),
    }


def refusals(run: Run) -> Figures:
    """How those that failed were told: with a reason, how soon, and how many never knew."""
    reasons: dict[str, float] = {}
    for said in run.said:
        for reason, count in said["reasons"].items():
            name = f"errors_{reason.replace(' ', '_').lower()}"
            reasons[name] = reasons.get(name, 0.0) + count
    refused = [said["refused_ms"] for said in run.said if said["refused_ms"]]
    return {
        **reasons,
        "errors": run.errors,
        "dropped_unasked": sum(said["dropped"] for said in run.said),
        "refused_p50_ms": max((each["p50"] for each in refused), default=0.0),
        "refused_p99_ms": max((each["p99"] for each in refused), default=0.0),
    }
