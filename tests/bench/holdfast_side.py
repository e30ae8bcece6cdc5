"""Our side: three nodes as processes, default configuration but for what is said here, fsync on.

What a row must change of the configuration (a budget that holds its keys, cuts of the key space) is said
where it is changed, and in the row's notes. Policies that cut and join shards are paused: a row says what a
number of shards does, and a peer's group does not become two in the middle of its run either. With all nodes
on the same cores a cut by load would only share them out anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tests.bench import exposition
from tests.bench.driving import Run, drive_ours
from tests.bench.load import Load
from tests.bench.quiet import wait
from tests.integration import command_line
from tests.integration.process_cluster import FIRST_GROUP, NodeProcess, ProcessCluster, eventually

REST_WITHIN_S = 120
CALM_S = 5.0
PAUSED = ("split-by-size", "split-by-load", "merge")


class Holdfast:
    """A running cluster of ours."""

    name = "Holdfast"

    def __init__(self, cluster: ProcessCluster, generators: int) -> None:
        self.cluster = cluster
        self.generators = generators

    @property
    def endpoints(self) -> str:
        return self.cluster.endpoints

    @property
    def nodes(self) -> list[NodeProcess]:
        return list(self.cluster.nodes.values())

    def pids(self) -> dict[str, int]:
        """Process by name; the leader of the first shard is called so."""
        leader = self.cluster.leader().number
        return {f"node {node.number}" if node.number != leader else "leader": node.pid for node in self.nodes}

    def run(self, load: Load, meanwhile: Callable[[], None] = lambda: None) -> Run:
        """One measurement; the load's endpoints are filled in. meanwhile: called when it has begun."""
        load = replace(load, endpoints=self.endpoints)
        return drive_ours(load, self.generators, self.pids(), meanwhile)

    def metrics(self) -> list[exposition.Samples]:
        """What each node measures, now."""
        return [exposition.parsed(node.ask("/metrics")[1]) for node in self.nodes]

    def terms(self) -> dict[str, float]:
        """The highest term of each shard that any node knows: it grows with every change of a leader."""
        highest: dict[str, float] = {}
        for samples in self.metrics():
            for labels, term in samples.get("holdfast_shard_term", {}).items():
                highest[labels] = max(highest.get(labels, 0.0), term)
        return highest

    def snapshots(self) -> dict[int, int]:
        """Where each node's latest snapshot of the first shard stands."""
        return {
            node.number: replica.snapshot_index
            for node in self.nodes
            for replica in node.replicas()
            if replica.shard.group == FIRST_GROUP
        }

    def writes_snapshot(self) -> list[bool]:
        """Node by node: whether a snapshot's file of the first shard is under way."""
        folders = (node.config.parent / "data" / "snapshots" / str(FIRST_GROUP) for node in self.nodes)
        return [any(folder.glob("*.tmp")) for folder in folders]

    def come_to_rest(self) -> None:
        """Waits until all replicas stand alike and no snapshot is being written, nor a little later."""

        def is_calm() -> bool:
            return self.cluster.digests_agree() and not any(self.writes_snapshot())

        eventually(is_calm, "replicas at rest", REST_WITHIN_S)
        wait(CALM_S)
        eventually(is_calm, "replicas at rest", REST_WITHIN_S)


def elections(before: dict[str, float], after: dict[str, float]) -> int:
    """Terms that began between two calls of `Holdfast.terms`."""
    return int(sum(after[shard] - before.get(shard, 0.0) for shard in after))


@contextmanager
def running(
    home: Path,
    generators: int = 1,
    *,
    nodes: int = 3,
    splits: tuple[str, ...] = (),
    budget_bytes: int = 0,
    module: str = "holdfast_node",
    environment: dict[str, str] | None = None,
) -> Iterator[Holdfast]:
    """A fresh cluster, ready; ended by its pids."""
    cluster = ProcessCluster(home, nodes=nodes, splits=splits, module=module, environment=environment)
    if budget_bytes:
        for node in cluster.nodes.values():  # the namespace's table is the file's last
            with node.config.open("a") as config:
                config.write(f"budget_bytes = {budget_bytes}\n")
    try:
        cluster.start(init=True)
        paused = command_line.Holdfast(cluster.endpoints)("plan", "pause", *PAUSED)
        assert paused.status == 0, paused.err
        yield Holdfast(cluster, generators)
    finally:
        cluster.close()
