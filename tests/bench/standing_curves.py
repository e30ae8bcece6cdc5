"""Curves of what stands and waits: watchers of one node, connections to one node."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack

from tests.bench.bench import Bench, wait
from tests.bench.driving import Generator
from tests.bench.holdfast_side import Holdfast
from tests.bench.load import Load
from tests.bench.load_curves import FEW, Points, told
from tests.bench.processes import cpu_seconds, rss_bytes
from tests.bench.scale_record import Figures
from tests.bench.watchers import Asked
from tests.integration.process_cluster import NodeProcess

CONNECTIONS_A_PROCESS = 2500
STAMPED_A_SECOND = 50.0
STAMPED_TO_ALL_A_SECOND = 2.0
QUIET_S = 5.0


def watchers(bench: Bench, points: Sequence[float]) -> Points:
    """Each on a key of its own while 64 callers put; then all on one key that is put now and then."""
    for count in points:
        with bench.ours() as side:
            node = side.cluster.leader()
            own = watched(bench, side, node, int(count), one_key=False)
            everyone = watched(bench, side, node, int(count), one_key=True)
        yield count, {**own, **everyone}


def watched(bench: Bench, side: Holdfast, node: NodeProcess, count: int, *, one_key: bool) -> Figures:
    """The watchers' figures; with puts of others beside them when each has a key of its own."""
    rate = STAMPED_TO_ALL_A_SECOND if one_key else STAMPED_A_SECOND
    asked = Asked(side.endpoints, node.address, count, one_key, rate)
    empty = rss_bytes(node.pid)
    figures: Figures = {}
    name = "all" if one_key else "own"
    watching = Generator([sys.executable, "-m", "tests.bench.watchers", asked.text()], os.environ)
    try:
        watching.expect("warm")
        figures[f"{name}_bytes_a_watcher"] = (rss_bytes(node.pid) - empty) / count
        before = 0.0

        def begin() -> None:
            nonlocal before
            before = cpu_seconds(node.pid)
            watching.go()

        if one_key:
            begin()
            wait(2 * bench.seconds)
        else:
            load = Load("put", "", callers=FEW, keys=count, seconds=bench.seconds, warmup=bench.warmup)
            figures.update(told("put", side.run(load, begin)))
        watching.go()
        seen = watching.expect("measured")
    finally:
        watching.close()
    used = cpu_seconds(node.pid) - before
    figures[f"{name}_events_a_second"] = seen["events"] / seen["seconds"]
    figures[f"{name}_cpu_percent"] = 100 * used / seen["seconds"]
    figures[f"{name}_cancelled"] = seen["cancelled"]
    figures.update({f"{name}_delivery_{point}_ms": ms for point, ms in seen["delivery_ms"].items()})
    return figures


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
