"""Curves of what stands and waits: watchers of one node, connections to one node."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

from tests.bench.bench import Bench
from tests.bench.driving import Generator
from tests.bench.holdfast_side import Holdfast
from tests.bench.load import Load
from tests.bench.load_curves import FEW, Points, told
from tests.bench.processes import CpuMeter, cpu_seconds, rss_bytes
from tests.bench.quiet import wait
from tests.bench.scale_record import Figures
from tests.bench.watchers import Asked
from tests.integration.process_cluster import NodeProcess

CONNECTIONS_A_PROCESS = 2500
STAMPED_A_SECOND = 50.0
STAMPED_TO_ALL_A_SECOND = 2.0
STEADY_RATE = 500.0
PHASES = ("own", "flood", "all")
DELIVERY = ("p50", "p99", "max")
QUIET_S = 5.0


def watchers(bench: Bench, points: Sequence[float]) -> Points:
    """Each on a key of its own, at a steady rate and at what 64 callers can; then all on one key."""
    for count in points:
        with bench.ours() as side:
            node = side.cluster.leader()
            watched = [phase(bench, side, node, int(count), name) for name in PHASES]
        yield count, {name: figure for figures in watched for name, figure in figures.items()}


def phase(bench: Bench, side: Holdfast, node: NodeProcess, count: int, name: str) -> Figures:
    """The watchers' figures of one of PHASES."""
    one_key = name == "all"
    rate = STAMPED_TO_ALL_A_SECOND if one_key else STAMPED_A_SECOND
    asked = Asked(side.endpoints, node.address, count, one_key, rate)
    empty = rss_bytes(node.pid)
    figures: Figures = {}
    watching = Generator([sys.executable, "-m", "tests.bench.watchers", asked.text()], os.environ)

    meter = CpuMeter({"node": node.pid, "watchers": watching.pid})

    def begin() -> None:
        meter.start()
        watching.go()

    try:
        watching.expect("warm")
        figures[f"{name}_bytes_a_watcher"] = (rss_bytes(node.pid) - empty) / count
        if one_key:
            begin()
            wait(2 * bench.seconds)
        else:
            figures.update(told(f"{name}_put", side.run(puts(bench, count, steady=name == "own"), begin)))
        watching.go()
        used = meter.seconds()
        seen = watching.expect("measured")
    finally:
        watching.close()
    figures[f"{name}_events_a_second"] = seen["events"] / seen["seconds"]
    figures.update({f"{name}_cpu_percent_{who}": 100 * cpu / seen["seconds"] for who, cpu in used.items()})
    figures[f"{name}_cancelled"] = seen["cancelled"]
    delivery = seen["delivery_ms"]
    figures.update({f"{name}_delivery_{p}_ms": delivery[p] for p in DELIVERY if p in delivery})
    return figures


def puts(bench: Bench, count: int, *, steady: bool) -> Load:
    """What others put meanwhile: each an event of one watcher."""
    load = Load("put", "", callers=FEW, keys=count, seconds=bench.seconds, warmup=bench.warmup)
    return replace(load, kind="mixed", reads=0.0, rate=STEADY_RATE) if steady else load


def connections(bench: Bench, points: Sequence[float]) -> Points:
    """Idle devices on the leader's node: what they cost it, and what 64 callers feel of them."""
    for count in points:
        with bench.ours() as side:
            yield count, connected(bench, side, int(count))


def connected(bench: Bench, side: Holdfast, count: int) -> Figures:
    node = side.cluster.leader()
    load = Load("lget", "", callers=FEW, seconds=bench.seconds, warmup=bench.warmup, fill=True)
    side.run(load)  # what the first requests make is not the connections'
    empty = rss_bytes(node.pid)
    opened = 0
    with ExitStack() as stack:
        devices = []
        for low in range(0, count, CONNECTIONS_A_PROCESS):
            command = [sys.executable, "-m", "tests.bench.connections", node.address]
            device = Generator([*command, str(min(CONNECTIONS_A_PROCESS, count - low))], os.environ)
            stack.callback(device.close)
            opened += device.expect("warm")["open"]
            devices.append(device)
        full = rss_bytes(node.pid)
        before = cpu_seconds(node.pid)
        wait(QUIET_S * bench.scale)
        idle = cpu_seconds(node.pid) - before
        run = side.run(load)
    return {
        "open": opened,
        "bytes_a_connection": (full - empty) / max(1, opened),
        "rss_mb": full / 1e6,
        "idle_cpu_percent": 100 * idle / (QUIET_S * bench.scale),
        **told("get", run),
    }
