"""What a cluster costs that nobody asks anything: CPU of each node with 64 shards."""

from __future__ import annotations

from tests.bench.bench import Bench
from tests.bench.cuts import cuts
from tests.bench.load import Load
from tests.bench.peer_driver import PeerAbsentError
from tests.bench.processes import CpuMeter
from tests.bench.quiet import wait
from tests.bench.result import RowResult, measure

ROW = "idle-64"
SHARDS = 64
IDLE_S = 30.0
CALM_S = 5.0


def idle(bench: Bench) -> RowResult:
    """The row: percent of a core over half a minute."""
    seconds = IDLE_S * bench.scale
    with bench.ours(splits=cuts(SHARDS, Load("put", ""))) as side:
        wait(CALM_S * bench.scale)
        before = side.terms()
        meter = CpuMeter({f"node {node.number}": node.pid for node in side.nodes})
        wait(seconds)
        used = meter.seconds()
        changed = sum(term != before.get(shard) for shard, term in side.terms().items())
    percents = [100 * spent / seconds for spent in used.values()]
    result = RowResult(
        ROW,
        [measure(ROW, "CPU of a node", "% of a core", [max(percents)])],
        notes=[
            f"{SHARDS} shards on 3 nodes, {seconds:g} s without a request; each node: "
            + ", ".join(f"{name} {percent:.2f} %" for name, percent in zip(used, percents, strict=True)),
            f"{changed} shards changed their leader meanwhile",
        ],
        details={"percent": dict(zip(used, percents, strict=True))},
    )
    try:
        with bench.etcd() as etcd:
            wait(CALM_S * bench.scale)
            meter = CpuMeter(etcd.pids())
            wait(seconds)
            shown = ", ".join(
                f"{name} {100 * spent / seconds:.2f} %" for name, spent in meter.seconds().items()
            )
        result.notes.append(f"for orientation, etcd's one group: {shown}")
    except PeerAbsentError:
        pass
    return result
