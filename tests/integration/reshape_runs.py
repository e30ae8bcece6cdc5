"""`python -m tests.integration.reshape_runs [ROUNDS]`: reshapes whose nodes are killed at every moment.

Each round asks for a split, a merge and a move under 500 writes a second, and ends a node by kill -9 at some
moment of each: now and then the one that leads the placement group, or the shard, or a follower, or the
node that copies; now and then all of them. It goes on once the plan has ended by itself. Prints what became
of the plans, the longest time until a plan had ended, and every broken promise; exit status 1 if any.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import holdfast
from holdfast.v1 import placement_pb2 as pb

from tests.integration.placement_calls import Placement, random_wish
from tests.integration.process_cluster import ProcessCluster, eventually, running, verified, with_client
from tests.integration.steady_writes import under_way

KINDS = ("split", "merge", "move")
FORGETFUL, NODE = "tests.integration.forgetful_node", "holdfast_node"
SPLITS = ("w/2", "w/5", "w/8")
MOMENT_S_MAX = 0.4


def say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 a script


class Runs:
    """The rounds and what they gave."""

    def __init__(self, cluster: ProcessCluster, seed: int, how: signal.Signals) -> None:
        """how: what ends a node; SIGUSR1 takes what was not synced with it."""
        self._cluster = cluster
        self._how = how
        self._rng = random.Random(seed)
        self._placement = Placement(cluster)
        self._placement.pause()
        self.ended: Counter[str] = Counter()
        self.victims: Counter[str] = Counter()
        self.seconds: list[float] = []
        self.problems: list[str] = []

    async def round(self, client: holdfast.Client, number: int) -> None:
        """A split, a merge and a move, each with a death in it."""
        async with under_way(client, f"w/{number % 10}") as load:
            for kind in KINDS:
                await load.acknowledged_after(time.monotonic(), count=50)
                plan = await asyncio.to_thread(self._wish, kind)
                await asyncio.sleep(self._rng.uniform(0.0, MOMENT_S_MAX))  # any moment of it
                asked = time.monotonic()
                await asyncio.to_thread(self._kill)
                await asyncio.to_thread(self._cluster.wait_ready)
                await asyncio.to_thread(self._placement.see_the_end, plan)
                self.seconds.append(time.monotonic() - asked)
                phase = pb.Plan.Phase.Name(self._placement.plan(plan).phase)
                self.ended[f"{kind} {phase.removeprefix('PHASE_').lower()}"] += 1
        self.problems += await load.problems(client)
        await asyncio.to_thread(verified, self._cluster)
        same = self._placement.everywhere_the_same
        await asyncio.to_thread(eventually, same, "every node goes by the map, and holds what it says")

    def _wish(self, kind: str) -> int:
        """Asks for it; merges need two shards on the same nodes, so they are brought together first."""
        if kind == "merge":
            left, right = self._placement.shards()[:2]
            nodes = [replica.node for replica in left.replicas]
            if set(nodes) != {replica.node for replica in right.replicas}:
                request = pb.MoveShardRequest(group=right.group, nodes=nodes)
                self._placement.finish(self._placement.patiently("MoveShard", request).plan.id)
            left, right = self._placement.shards()[:2]
            merge = pb.MergeShardsRequest(group=left.group, other=right.group)
            return int(self._placement.patiently("MergeShards", merge).plan.id)
        return random_wish(self._placement, kind, list(self._cluster.nodes), self._rng)()

    def _kill(self) -> None:
        """One node, or all; and starts what was killed."""
        nodes = list(self._cluster.nodes.values())
        victims = nodes if self._rng.random() < 0.15 else [self._rng.choice(nodes)]
        self.victims["all" if len(victims) > 1 else "one"] += 1
        for node in victims:
            node.signal(self._how)
        for node in victims:
            node.reap()
        for node in victims:
            node.start()


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rounds", type=int, nargs="?", default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--power", action="store_true", help="disks keep nothing but what was synced")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as home,
        running(Path(home), nodes=4, splits=SPLITS, module=FORGETFUL if options.power else NODE) as cluster,
    ):
        runs = Runs(cluster, options.seed, signal.SIGUSR1 if options.power else signal.SIGKILL)

        async def act(client: holdfast.Client) -> None:
            for number in range(options.rounds):
                await runs.round(client, number)
                say(f"round {number + 1}: {dict(runs.ended)}, {len(runs.problems)} problems")

        with_client(cluster, act)
    say(
        f"{sum(runs.ended.values())} reshapes with a kill each ({dict(runs.victims)}): {dict(runs.ended)};"
        f" until the plan had ended {statistics.median(runs.seconds):.2f} s median, {max(runs.seconds):.2f} s"
        f" worst; {len(runs.problems)} broken promises"
    )
    for problem in runs.problems[:20]:
        say(problem)
    return 1 if runs.problems else 0


if __name__ == "__main__":
    sys.exit(main())
