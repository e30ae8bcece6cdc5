"""A simulated cluster of whole nodes below their services: NodeCore, placement and all, under an oracle.

The placement group begins on the first three nodes, the shards of one namespace on some of all nodes.
What is not real: clocks, disks, threads, the network, the node's load, and the file with the last news,
which is a value that a loss of power may set back.
"""

from __future__ import annotations

import itertools
import traceback
from collections.abc import Callable, Iterator
from typing import Any

from holdfast.keys import KeyRange
from holdfast.shardmap import Replica, ShardMap
from holdfast.shardmap import Shard as MapEntry
from holdfast_node.beginning import Beginning
from holdfast_node.cache.policy import Policy
from holdfast_node.cache.state import State
from holdfast_node.following import Following
from holdfast_node.hosted import Hosted, HostedState
from holdfast_node.node_core import NodeCore
from holdfast_node.placement.cluster import PLACEMENT_GROUP, Namespace, Node, ShardRow
from holdfast_node.placement.commands import Bootstrap
from holdfast_node.placement.replica import PlacementReplica
from holdfast_node.shard import Shard
from holdfast_node.talk import MapNews, NamespaceNews, NodeNews
from holdfast_raft.machine import StateMachine
from holdfast_raft.sim import SimClock
from holdfast_raft.wal import Wal

from tests.sim.cluster import SimNode
from tests.sim.lineage import LineageBook
from tests.sim.lineage_oracle import LineageOracle
from tests.sim.shards import ShardCluster, SimShard, WatchedWal
from tests.sim.violation import Violation

NAMESPACE = "n"
PLACEMENT_NODES = (1, 2, 3)


class NoLoad:
    """agent.Figures of a node that nobody measures."""

    def busy_percent(self) -> int:
        return 0

    def shard_load(self, shard: Shard) -> dict[str, Any]:
        return {}


class CoreShard(SimShard):
    """A shard whose every apply is judged, also by the line that it comes from."""

    _cluster: CoreCluster

    def apply(self, index: int, term: int, data: bytes, context: object | None) -> object:
        results = super().apply(index, term, data, context)
        self._cluster.applied(self.entry.group)
        return results

    def bind(self, group: Any, driver: Any) -> None:
        self._cluster.opened(self._cluster.nodes[self.node], group)
        super().bind(group, driver)


class WatchedCore(NodeCore):
    """A node's core whose replicas of the placement group are judged, however they come to be."""

    sim: CoreNode

    def _make_replica(self, entry: MapEntry, state: HostedState | None) -> Hosted:
        replica = super()._make_replica(entry, state)
        if isinstance(replica, PlacementReplica):
            self.sim.watch_placement(replica, is_born=state is not None)
        return replica


class CoreNode(SimNode):
    """One node: its disk, and the last news on it, outlive its processes."""

    cluster: CoreCluster

    def __init__(self, cluster: CoreCluster, number: int) -> None:
        super().__init__(cluster, number)
        self._news: list[MapNews] = []
        self._rng = cluster.world.rng_of(f"news {number}")
        self.core: NodeCore

    def start(self) -> None:
        """As server.py: replicas are made at the very first start, and opened at every other."""
        driver = self._boot()
        self._watch_driver()
        cluster, number = self.cluster, self.number
        self.core = core = WatchedCore(
            number,
            number,
            driver,
            SimClock(cluster.world, number),
            cluster.beginning,
            last_news=self._news[-1] if self._news else None,
            make_shard=self._make_shard,
            figures=NoLoad(),
            remember=self._news.append,
        )
        core.sim = self
        if self.creates:
            core.make_first()
            self._make_durable()
            self.creates = False
        else:
            core.open()
        cluster.network.join(self.transport)
        core.start()
        driver.wake_soon()

    def lose_power(self) -> None:
        """What was written down last may not have reached the disk."""
        super().lose_power()
        if self._rng.random() < 0.4:
            del self._news[self._rng.randint(-2, -1) :]

    def _make_shard(self, core: NodeCore, entry: MapEntry, state: State | None) -> Shard:
        cluster = self.cluster
        if state is not None:
            cluster.lineage.born(self.number, entry, state)
        return CoreShard(
            cluster,
            self,
            entry,
            core.policy_of(entry.namespace),
            state=state,
            sealing=core.hosting.sealing,
            replicas_of=core.book.replicas_of,
        )

    # ---- under the oracle's eyes ---------------------------------------------------------------------

    def _watch_driver(self) -> None:
        """The oracle hears of copies and of ends before they come."""
        driver, cluster = self.driver, self.cluster
        assert driver is not None
        retire, start_copy = driver.retire_group, driver.start_copy

        def retire_group(group: int) -> None:
            cluster.lineage.retiring(self.number, group)
            retire(group)
            cluster.lineage.changed(self.number)

        def copying(group: int, source: int, machine: Any, *others: Any, **more: Any) -> Any:
            self._watch_copy(source, machine)
            cluster.copying(self.number, group)
            return start_copy(group, source, machine, *others, **more)

        driver.retire_group, driver.start_copy = retire_group, copying  # type: ignore[method-assign]

    def _watch_copy(self, source: int, following: Following) -> None:
        """What a copy makes of its source's entries is judged by its source's book."""
        apply, cluster = following.apply, self.cluster
        line = cluster.lineage.placement

        def judged(index: int, term: int, data: bytes, context: object | None) -> object:
            results: Any = apply(index, term, data, context)
            if source in line.books:
                state: Any = following.state
                cluster.judge(lambda: line.applied(self.number, source, index, term, data, state))
                cluster.judge(cluster.oracle.judge_births)
                return results
            book = cluster.lineage.shard_books[source]
            held: Any = following.state
            cluster.judge(
                lambda: book.applied(self.number, index, term, data, results, held, cluster.world.now)
            )
            cluster.applied(source)
            return results

        following.apply = judged  # type: ignore[method-assign]

    def watch_placement(self, replica: PlacementReplica, *, is_born: bool) -> None:
        """is_born: with a state made of another group's."""
        apply, bind, cluster, group = replica.apply, replica.bind, self.cluster, replica.entry.group
        line = cluster.lineage.placement
        if is_born:
            line.born(self.number, group, replica.state.digest())

        def judged(index: int, term: int, data: bytes, context: object | None) -> object:
            result = apply(index, term, data, context)
            cluster.judge(lambda: line.applied(self.number, group, index, term, data, replica.state))
            cluster.judge(cluster.oracle.judge_births)
            if cluster.say is not None:
                cluster.say(f"{self.number} applies placement {group}/{index}: {result}")
            return result

        def bound(opened: Any, driver: object) -> None:
            cluster.opened(self, opened)
            bind(opened, driver)

        replica.apply, replica.bind = judged, bound  # type: ignore[method-assign]

    # ---- facts ---------------------------------------------------------------------------------------

    @property
    def machines(self) -> dict[int, StateMachine]:  # type: ignore[override]
        """The replicas' machines, as they come and go."""
        groups = self.driver.groups if self.driver is not None else {}
        return {number: group.machine for number, group in groups.items()}

    @machines.setter
    def machines(self, _: object) -> None:
        """Nothing is kept."""

    @property
    def up(self) -> bool:
        """Whether its process has come through its start."""
        return self.driver is not None and hasattr(self, "core") and self.core.driver is self.driver

    def clock_ms(self) -> int:
        """Its wall clock."""
        assert self.driver is not None
        return self.driver.clock.wall_ms()

    def shard(self, group: int) -> Shard:
        return self.core.hosting.shards[group]


class CoreCluster(ShardCluster):
    """See the module docstring."""

    oracle: LineageOracle

    def __init__(
        self,
        seed: int,
        *,
        policy: Policy,
        nodes: int,
        replicas: int = 3,
        cuts: tuple[bytes, ...] = (),
        together: bool = False,
        **limits: Any,
    ) -> None:
        """Nodes that have started.

        Args:
            replicas: of each shard.
            cuts: where the first shards part.
            together: the first shards are on the same nodes, else each begins one node further.
            policy, limits: see ShardCluster.
        """
        self.beginning = beginning(nodes, replicas, cuts, policy, together=together)
        self.listeners: list[Callable[[str, int], None]] = []
        """Told of what a plan has come to: a word, and its id."""
        self.copies_begun = 0
        self._sealed: dict[int, int] = {}
        super().__init__(seed, policy=policy, nodes=nodes, groups=(PLACEMENT_GROUP,), **limits)

    @property
    def lineage(self) -> LineageOracle:
        return self.oracle

    def make_oracle(self) -> LineageOracle:
        return LineageOracle(self)

    def make_node(self, number: int) -> CoreNode:
        return CoreNode(self, number)

    def core_nodes(self) -> Iterator[CoreNode]:
        """Those that are up, by number."""
        for node in self.nodes.values():
            assert isinstance(node, CoreNode)
            if node.up:
                yield node

    # ---- under the oracle's eyes ---------------------------------------------------------------------

    def opened(self, node: SimNode, group: Any) -> None:
        self.groups[group.id] = tuple(sorted(group.members))
        self.oracle.changed(node.number)
        self._watch_replies(node, group)

    def judge(self, act: Callable[[], None]) -> None:
        """Runs a judgement; what it finds is kept for the end of the event."""
        try:
            act()
        except Violation as problem:
            self.oracle.fail(problem)
        except Exception as defect:  # the oracle's own: the replica must not take it for its machine's
            self.oracle.fail(Violation("the oracle itself", traceback.format_exc(limit=-3)))
            raise AssertionError from defect

    def applied(self, group: int) -> None:
        """Somebody has applied an entry of a shard, and the book knows."""
        self.judge(self.oracle.judge_births)
        sealed = self.oracle.shard_books[group].sealed
        if sealed is not None and self._sealed.get(group) != sealed.plan:
            self._sealed[group] = sealed.plan
            self.happened("sealed" if sealed.decides else "half-sealed", sealed.plan)

    def copying(self, node: int, target: int) -> None:
        """A node begins a copy."""
        self.copies_begun += 1
        self.oracle.changed(node)
        for plan in self.oracle.placement.plans.values():
            if any(t.group == target for t in plan.targets):
                self.happened("copying", plan.id)

    def happened(self, what: str, plan: int) -> None:
        """A plan has come to something, for the first time."""
        if self.say is not None:
            self.say(f"plan {plan}: {what}")
        for listener in list(self.listeners):
            listener(what, plan)

    def open_wal(self, node: SimNode) -> Wal:
        wal = WatchedWal.open(node.disk, self.wal_options)
        assert isinstance(wal, WatchedWal)
        for number, found in wal.recovered.items():
            if found.born is None or number not in self.oracle.books:
                continue
            before = found.base[1]
            for data, index, term in found.entries:
                if index > found.born.base_index:  # what lies before was the source's
                    self.oracle.books[number].appended(index, term, before, data, node.number, self.world.now)
                before = term

        def watch(group: int, index: int, term: int, data: bytes) -> None:
            assert node.driver is not None
            opened = node.driver.groups.get(group)
            if opened is None:
                return  # a copy's: what it applies is judged
            before = opened.journal.last_term
            self.judge(self.oracle.judge_births)
            self.judge(
                lambda: self.oracle.books[group].appended(
                    index, term, before, data, node.number, self.world.now
                )
            )

        wal.watcher = watch
        return wal

    # ---- placement -----------------------------------------------------------------------------------

    def placement_leader(self) -> CoreNode | None:
        """The node that leads the placement group, with a map."""
        leading = [n for n in self.core_nodes() if n.core.conductor is not None and n.core.conductor.leads]
        return max(leading, key=_standing, default=None)

    @property
    def placement_group(self) -> int:
        """The one that goes on."""
        return self.oracle.placement.present.group

    def book(self, group: int) -> LineageBook:
        return self.oracle.shard_books[group]


def _standing(node: CoreNode) -> tuple[int, int]:
    """The later placement group, then the later term."""
    replica = node.core.placement
    assert replica is not None, "it conducts"
    return replica.entry.group, node.group(replica.entry.group).term


def address_of(number: int) -> str:
    """Where a node serves; it can be read back (`node_at`)."""
    return f"node:{number}"


def node_at(address: str) -> int:
    """The node that serves there."""
    return int(address.rpartition(":")[2])


def beginning(
    nodes: int, replicas_each: int, cuts: tuple[bytes, ...], policy: Policy, *, together: bool = False
) -> Beginning:
    """A cluster of one namespace, as configuration would make it."""
    numbers = range(1, nodes + 1)
    entries: list[MapEntry] = []
    rows: list[ShardRow] = []
    bounds = (b"", *cuts, b"")
    for group, (start, end) in enumerate(itertools.pairwise(bounds), PLACEMENT_GROUP + 1):
        turn = 0 if together else group - PLACEMENT_GROUP - 1
        members = tuple((turn + i) % nodes + 1 for i in range(replicas_each))
        replicas = tuple(Replica(number, address_of(number)) for number in members)
        entries.append(MapEntry(NAMESPACE, KeyRange(start, end), group, 1, replicas, 0))
        rows.append(ShardRow(group, NAMESPACE, start, end, members, 1))
    spaces = (NamespaceNews(NAMESPACE, policy.budget_bytes, int(policy.eviction), False),)
    news = tuple(NodeNews(number, address_of(number), "", "") for number in numbers)
    placement = tuple(number for number in numbers if number in PLACEMENT_NODES)
    first = Bootstrap(
        tuple(Node(number, address_of(number)) for number in numbers),
        (Namespace(NAMESPACE, policy.budget_bytes, policy.eviction, replicas=replicas_each),),
        tuple(rows),
        placement,
    )
    return Beginning(MapNews(ShardMap(1, entries), news, placement, spaces, PLACEMENT_GROUP), first)
