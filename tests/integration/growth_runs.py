"""`python -m tests.integration.growth_runs`: three nodes become six and three again, under 500 writes/s.

Policies decide everything: the shards spread over the nodes that join, and leave the ones that are drained.
Prints how long each took, what the nodes held then, the longest time without an acknowledgement, and every
broken promise; exit status 1 if any, or if bytes or leaders are more than a tenth off.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import holdfast
from holdfast.v1 import placement_pb2 as pb

from tests.integration.placement_calls import Placement
from tests.integration.process_cluster import ProcessCluster, eventually, running, verified, with_client
from tests.integration.steady_writes import under_way

MERGE = 3
"""The one policy that stays paused: small shards are what this spreads."""
JOINING = 3
QUIET_S = 4.0
WITHIN_S = 300.0
SKEW_MAX = 0.1


class Held(NamedTuple):
    """What a node holds."""

    replicas: int
    leaders: int
    bytes: int


def say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 a script


class Growth:
    """The run; see the module docstring."""

    def __init__(self, cluster: ProcessCluster, keys: int) -> None:
        self._cluster = cluster
        self._keys = keys
        self._placement = Placement(cluster)
        self._placement.patiently("SetPlanning", pb.SetPlanningRequest(pause=[MERGE]))
        self._busy_at = time.monotonic()
        self.problems: list[str] = []

    async def act(self, client: holdfast.Client) -> None:
        """Grows, shrinks, judges."""
        for low in range(0, self._keys, 1000):
            high = min(low + 1000, self._keys)
            await asyncio.gather(
                *(client.put(f"w/{n % 100:02d}/{n:06d}", "v" * 256) for n in range(low, high))
            )
        async with under_way(client, "w/x/") as load:
            for _ in range(JOINING):
                await asyncio.to_thread(self._cluster.join)
            await self._settle("six nodes", range(1, 7))
            for node in range(4, 7):
                self._placement.patiently("SetNode", pb.SetNodeRequest(node=node, draining=True))
            await self._settle("three nodes", range(1, 4))
        self.problems += [f"{write.key}: {write.error}" for write in load.all if write.error]
        self.problems += await load.problems(client)
        ends = sorted(write.ended for write in load.acknowledged())
        gap = max(later - earlier for earlier, later in itertools.pairwise(ends))
        say(f"{len(load.all)} writes, {gap * 1000:.0f} ms the longest without an acknowledgement")
        await asyncio.to_thread(verified, self._cluster)
        same = self._placement.everywhere_the_same
        await asyncio.to_thread(eventually, same, "every node goes by the map, and holds what it says")

    async def _settle(self, what: str, nodes: range) -> None:
        began = self._busy_at = time.monotonic()
        await asyncio.to_thread(eventually, self._is_quiet, f"{what} are in balance", WITHIN_S)
        held = self._held()
        say(f"{what} after {time.monotonic() - began - QUIET_S:.1f} s: {held}")
        for figure, slack in (("bytes", 0.0), ("leaders", 1.0)):
            values = [getattr(held[node], figure) for node in nodes]
            fair = sum(values) / len(values)
            if any(abs(value - fair) > SKEW_MAX * fair + slack for value in values):
                self.problems.append(f"{what}: {figure} are {values}")
        if any(known.replicas for node, known in held.items() if node not in nodes):
            self.problems.append(f"{what}: drained nodes hold replicas")

    def _is_quiet(self) -> bool:
        """Nothing under way and nothing wished for, for a while."""
        wished = self._placement.patiently("ExplainPlanning", pb.ExplainPlanningRequest()).proposals
        if wished or self._placement.patiently("ListPlans", pb.ListPlansRequest()).plans:
            self._busy_at = time.monotonic()
        return time.monotonic() - self._busy_at > QUIET_S

    def _held(self) -> dict[int, Held]:
        nodes = self._placement.patiently("ListNodes", pb.ListNodesRequest()).nodes
        return {node.id: Held(node.replicas, node.leaders, node.bytes) for node in nodes}


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--keys", type=int, default=20_000)
    parser.add_argument("--shards", type=int, default=30)
    options = parser.parse_args()
    splits = tuple(f"w/{n * 100 // options.shards:02d}" for n in range(1, options.shards))
    with tempfile.TemporaryDirectory() as home, running(Path(home), splits=splits) as cluster:
        growth = Growth(cluster, options.keys)
        with_client(cluster, growth.act)
    for problem in growth.problems[:20]:
        say(problem)
    say(f"{len(growth.problems)} broken promises")
    return 1 if growth.problems else 0


if __name__ == "__main__":
    sys.exit(main())
