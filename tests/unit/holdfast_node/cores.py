"""Whole nodes below their services, in virtual time: real drivers, WALs and groups, whatever a test wants.

Without a placement group (the usual) nobody plans: the test gives the orders. Load is what the test says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from holdfast.errors import HoldfastError
from holdfast.types import Level
from holdfast_node import beginning, talk
from holdfast_node.cache.commands import decode_operation
from holdfast_node.cache.seal import Target
from holdfast_node.cache.state import State
from holdfast_node.config import from_mapping
from holdfast_node.node_core import NodeCore
from holdfast_node.placement.commands import Command
from holdfast_node.shard import Shard
from holdfast_node.talk import CopyOrder, MapNews, SealOrder
from holdfast_raft.sim import SimClock

from tests.sim.cluster import Cluster, SimNode
from tests.unit.holdfast_node.scripted import encode, get, put

SOURCE, LEFT, RIGHT = 2, 10, 11
PLAN = 7
HALVES = (Target(LEFT, b"", b"m", (1, 2, 3)), Target(RIGHT, b"m", b"", (1, 2, 3)))


class Quiet:
    """agent.Figures of a node without load."""

    def busy_percent(self) -> int:
        return 0

    def shard_load(self, shard: Shard) -> dict[str, Any]:
        return {}


class Core(SimNode):
    """One node; its disk and its last news outlive its processes."""

    cluster: Cores
    core: NodeCore
    news: MapNews | None = None

    def start(self) -> None:
        driver = self._boot()
        self.core = core = NodeCore(
            self.number,
            100 + self.number,
            driver,
            SimClock(self.cluster.world, self.number),
            self.cluster.beginning,
            last_news=self.news,
            make_shard=self._make_shard,
            figures=Quiet(),
            remember=self._remember,
        )
        if self.creates:
            core.make_first()
            self._make_durable()
            self.creates = False
        else:
            core.open()
        self.cluster.network.join(self.transport)
        core.start()
        driver.wake_soon()

    def restart(self) -> None:
        """kill -9, and a new process."""
        self.kill()
        self.start()

    def _remember(self, news: MapNews) -> None:
        self.news = news

    def _make_shard(self, core: NodeCore, entry: Any, state: State | None) -> Shard:
        space = core.namespaces.get(entry.namespace)
        return Shard(
            entry,
            node=self.number,
            policy=core.policy_of(entry.namespace),
            clock=SimClock(self.cluster.world, self.number),
            encode_event=encode,
            strict_ttl=space is not None and space.strict_ttl,
            state=state,
            sealing=core.hosting.sealing,
            replicas_of=core.book.replicas_of,
        )

    def hosted(self, group: int) -> Shard:
        return self.core.hosting.shards[group]

    def keys(self, group: int) -> list[bytes]:
        """What its replica holds."""
        return [item.key for item in self.hosted(group).state.scan().items]

    def read(self, group: int, key: bytes, level: Level = Level.ANY) -> Any:
        """One read; its answer, once there is one."""
        told: list[Any] = []
        self.hosted(group).read(level, 0, False, [get(key)], None, self.monotonic() + 5, told.append)
        self.cluster.until(lambda: bool(told))
        return told[0]


class Cores(Cluster):
    """`nodes` nodes; the first three have a replica of each of the first shards."""

    nodes: dict[int, Core]  # type: ignore[assignment]

    def __init__(
        self, *, nodes: int = 3, splits: tuple[str, ...] = (), placement: bool = False, **space: Any
    ) -> None:
        """splits: where the first shards part. space: settings of the namespace."""
        first = from_mapping(
            {
                "cluster_id": "test",
                "node": 1,
                "data_dir": "none",
                "http_address": "127.0.0.1:1",
                "nodes": [{"id": n, "address": f"127.0.0.1:{7400 + n}"} for n in (1, 2, 3)],
                "namespaces": [{"name": "default", "splits": list(splits), **space}],
            }
        )
        self.beginning = beginning.of_config(first)
        if not placement:
            news = self.beginning.news._replace(placement=())
            self.beginning = beginning.Beginning(news, None)
        super().__init__(nodes=nodes, groups=())
        self.groups = {}

    def make_node(self, number: int) -> Core:
        return Core(self, number)

    def until(self, reached: Callable[[], bool], within: float = 10.0) -> None:
        assert self.world.run_until(reached, within), f"not within {within} s: {self.nodes}"

    def on(self, *numbers: int) -> list[Core]:
        return [self.nodes[number] for number in numbers or self.nodes]

    # ---- shards --------------------------------------------------------------------------------------

    def led(self, group: int = SOURCE) -> Core:
        """Who leads the shard, and may write."""

        def leader() -> Core | None:
            return next((n for n in self.on() if n.driver and self._leads(n, group)), None)

        self.until(lambda: leader() is not None)
        found = leader()
        assert found is not None
        return found

    def _leads(self, node: Core, group: int) -> bool:
        shard = node.core.hosting.shards.get(group)
        return shard is not None and shard.is_leader and shard._upkeep.may_stamp

    def write(self, key: bytes, group: int = SOURCE, value: bytes = b"v") -> Any:  # type: ignore[override]
        """A put at the leader; its result."""
        node = self.led(group)
        shard = node.hosted(group)
        data = put(key, value, stamp_ms=shard.stamp_ms()).SerializeToString()
        told: list[Any] = []
        shard.write(b"", 0, [data], [decode_operation(data)], node.monotonic() + 5, lambda *o: told.append(o))
        self.until(lambda: bool(told))
        outcome = told[0][0]
        return outcome if isinstance(outcome, HoldfastError) else outcome[0]

    def told(self, order: talk.Order, group: int = SOURCE) -> None:
        """An order to the leader of a shard."""
        self.led(group).core.agent.obey(order)

    def seal(self, targets: Iterable[Target] = HALVES, group: int = SOURCE, plan: int = PLAN) -> None:
        """A Seal that decides, applied on every node that has the source."""
        self.told(SealOrder(plan, group, True, tuple(targets), ()), group)
        holders = [n for n in self.on() if n.driver and group in n.core.hosting.shards]
        self.until(lambda: all(n.hosted(group).state.sealed is not None for n in holders))

    def have(self, group: int, *numbers: int) -> bool:
        """Whether the nodes have replicas of the group."""
        return all(group in node.core.hosting.shards for node in self.on(*numbers))

    # ---- placement -----------------------------------------------------------------------------------

    def conducting(self) -> Core:
        """The leader of the placement group, with a map."""

        def leader() -> Core | None:
            nodes = (n for n in self.on() if n.driver and n.core.conductor is not None)
            return next((n for n in nodes if n.core.conductor is not None and n.core.conductor.leads), None)

        self.until(lambda: leader() is not None)
        found = leader()
        assert found is not None
        return found

    def ask(self, command: Command) -> Any:
        """A command's answer, applied in the placement group."""
        told: list[Any] = []
        replica = self.conducting().core.placement
        assert replica is not None
        replica.propose(command, told.append)
        self.until(lambda: bool(told))
        return told[0]


def moved_to(*nodes: int) -> Target:
    """The whole source, on other nodes."""
    return Target(LEFT, b"", b"", nodes)


def copy_of(target: Target, source: int = SOURCE, from_nodes: tuple[int, ...] = (1, 2, 3)) -> CopyOrder:
    return CopyOrder(PLAN, "default", target, source, from_nodes, 1 << 30)
