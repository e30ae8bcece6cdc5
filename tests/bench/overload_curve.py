"""More than can be done: goodput, refusals, memory, leaders, and how soon all is well again.

The peak is what a closed loop of the same clients gets (flood.py). Then as much, twice and three times as
much is asked for, open loop, by clients that give up after a second; a few other requests, by the SDK (the
probe), tell what somebody else feels before, meanwhile and after.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import holdfast

from tests.bench import percentiles
from tests.bench.bench import Bench
from tests.bench.driving import Generator
from tests.bench.flood import Asked
from tests.bench.holdfast_side import Holdfast, elections
from tests.bench.load_curves import Points
from tests.bench.processes import peak_rss_bytes, rss_bytes
from tests.bench.scale_record import Figures

Said = Mapping[str, Any]
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
    for times in points:
        with bench.ours() as side:
            flood(side, 0.0, bench.warmup)
            peak = flood(side, 0.0, bench.seconds)
            yield times, overloaded(bench, side, peak["good"] / peak["seconds"], times)


def flood(side: Holdfast, rate: float, seconds: float, meanwhile: Callable[[], None] = lambda: None) -> Said:
    """What flood.py says of one run."""
    asked = Asked(side.cluster.leader().address, rate, seconds, int(PATIENCE_S * 1000))
    generator = Generator([sys.executable, "-m", "tests.bench.flood", asked.text()], os.environ)
    try:
        generator.expect("warm")
        generator.go()
        meanwhile()
        return generator.expect("measured")
    finally:
        generator.close()


def overloaded(bench: Bench, side: Holdfast, peak: float, times: float) -> Figures:
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

    said = flood(side, times * peak, seconds, meanwhile)
    during = [each for each in probes if each.asked < ended]
    return {
        "peak_rate": peak,
        "asked_rate": times * peak,
        "goodput": said["good"] / said["seconds"],
        "goodput_of_peak": said["good"] / said["seconds"] / peak,
        **refusals(said),
        "rss_mb": max(peak_rss_bytes(node.pid) for node in side.nodes) / 1e6,
        "rss_before_mb": max(rss) / 1e6,
        "leader_changes": elections(terms, side.terms()),
        "probe_before_ms": p90_ms(before),
        "probe_during_ms": p90_ms(during),
        "recovered_s": recovered_after(probes, ended, normal_ms),
    }


def refusals(said: Said) -> Figures:
    """How those that failed were told: with a reason, how soon, and how many were not asked at all."""
    refused = said["refused_ms"]
    return {
        **{f"errors_{reason.lower()}": count for reason, count in said["reasons"].items()},
        "errors": sum(said["reasons"].values()),
        "unsent": said["unsent"],
        "unanswered": said["unanswered"],
        "took_p50_ms": said["took_ms"].get("p50", 0.0),
        "took_p99_ms": said["took_ms"].get("p99", 0.0),
        "refused_p50_ms": refused.get("p50", 0.0),
        "refused_p99_ms": refused.get("p99", 0.0),
    }
