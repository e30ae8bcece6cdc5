"""A simulated cluster of real shards: what a node runs below its RPC layer, under an oracle's eyes."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from holdfast.errors import HoldfastError, Reason
from holdfast.keys import KeyRange
from holdfast.shardmap import Replica
from holdfast.shardmap import Shard as MapEntry
from holdfast_node.cache.policy import Policy
from holdfast_node.cache.results import OpResult
from holdfast_node.shard import Shard
from holdfast_raft.machine import Builder, Image, StateMachine
from holdfast_raft.messages import Addressed, AppendReply, SnapshotReply, VoteReply
from holdfast_raft.sim import SimClock, SimDisk
from holdfast_raft.wal import Wal

from tests.sim.cluster import Cluster, SimNode
from tests.sim.oracle import Oracle
from tests.sim.violation import OLD_REPLY, Violation

if TYPE_CHECKING:
    from holdfast_raft.group import Group


REPLIES = (AppendReply, VoteReply, SnapshotReply)


def _counted(group: Group) -> object:
    """What replies change: what a leader knows of its followers, and a candidate's votes."""
    followers = group.leadership.followers if group.leadership is not None else {}
    progress = [(peer, known.match, known.next) for peer, known in followers.items()]
    return group.engine.role, progress, sorted(group.engine._ballot._granted)


def _told(result: OpResult | HoldfastError) -> str | int:
    if isinstance(result, HoldfastError):
        return result.reason.name
    return Reason(result.error).name if result.error else result.revision


class SimShard(Shard):
    """A shard whose every apply is judged."""

    def __init__(
        self, cluster: ShardCluster, node: SimNode, entry: MapEntry, policy: Policy | None, **more: Any
    ) -> None:
        """more: what else a Shard is made with."""
        super().__init__(
            entry,
            node=node.number,
            policy=policy,
            clock=SimClock(cluster.world, node.number),
            encode_event=lambda *_: b"",
            **more,
        )
        self._cluster = cluster
        self._oracle = cluster.oracle
        self._world = cluster.world
        self.bound = False

    def apply(self, index: int, term: int, data: bytes, context: object | None) -> object:
        results: Any = super().apply(index, term, data, context)
        book = self._oracle.books[self.entry.group]
        if self._cluster.say is not None:
            told = [[_told(result) for result in run] for run in results]
            self._cluster.say(f"{self.node} applies {self.entry.group}/{index} of term {term}: {told}")
        try:
            book.applied(self.node, index, term, data, results, self.state, self._world.now)
        except Violation as problem:
            self._oracle.fail(problem)
        except Exception as defect:  # the oracle's own: the replica must not take it for its machine's
            self._oracle.fail(Violation("the oracle itself", traceback.format_exc(limit=-3)))
            raise AssertionError from defect
        return results

    def freeze(self) -> Image:
        self._cluster.taken += 1
        return super().freeze()

    def install(self, builder: Builder) -> None:
        super().install(builder)
        if self.bound:  # else it is the snapshot of its own disk, at a start
            self._cluster.installed += 1

    def bind(self, group: Any, driver: Any) -> None:
        super().bind(group, driver)
        self.bound = True


class WatchedWal(Wal):
    """Tells what every log holds."""

    watcher: Callable[[int, int, int, bytes], None] | None = None

    def _new_id(self) -> bytes:
        return b"simulated WAL id"

    def entry(self, group: int, index: int, term: int, data: bytes) -> int:
        if self.watcher is not None:
            self.watcher(group, index, term, data)
        return super().entry(group, index, term, data)


class ShardCluster(Cluster):
    """See the module docstring. Every group is the one shard of a namespace of its own."""

    def __init__(
        self, seed: int, *, policy: Policy, nodes: int, groups: tuple[int, ...], **limits: Any
    ) -> None:
        """limits: `log_limits` and `wal_options`."""
        self.policy = policy
        members = range(1, nodes + 1)
        replicas = tuple(Replica(node, str(node)) for node in members)
        self.entries = {
            group: MapEntry(f"n{group}", KeyRange(b"", b""), group, 1, replicas, 0) for group in groups
        }
        self.groups = dict.fromkeys(groups, tuple(members))
        self.oracle = self.make_oracle()
        self.wiped: dict[int, SimDisk] = {}
        """Nodes that lost their disks, with what was on them."""
        self.taken = self.installed = 0
        """Snapshots of live replicas."""
        self.say: Callable[[str], None] | None = None
        super().__init__(seed, nodes=nodes, groups=groups, own_monotonics=True, **limits)
        self.world.after = self.oracle.look

    def make_oracle(self) -> Oracle:
        """Who judges."""
        return Oracle(self)

    def make_machine(self, node: SimNode, group: int) -> StateMachine:
        return SimShard(self, node, self.entries[group], self.policy)

    def opened(self, node: SimNode, group: Group) -> None:
        assert node.driver is not None
        node.shard(group.id).bind(group, node.driver)
        self._watch_replies(node, group)

    def _watch_replies(self, node: SimNode, group: Group) -> None:
        """What a group counts of its term's replies is judged."""
        receive = group.receive

        def watched(sender: int, message: Addressed) -> None:
            if message.term >= group.term or not isinstance(message.body, REPLIES):
                receive(sender, message)
                return
            before = _counted(group)
            receive(sender, message)
            if _counted(group) != before:
                why = f"node {node.number} in term {group.term} counts {message} of node {sender}"
                self.oracle.fail(Violation(OLD_REPLY, why))

        group.receive = watched  # type: ignore[method-assign]

    def open_wal(self, node: SimNode) -> Wal:
        wal = WatchedWal.open(node.disk, self.wal_options)
        assert isinstance(wal, WatchedWal)
        books = self.oracle.books
        for number, found in wal.recovered.items():
            before = found.base[1]
            for data, index, term in found.entries:
                books[number].appended(index, term, before, data, node.number, self.world.now)
                before = term

        def watch(group: int, index: int, term: int, data: bytes) -> None:
            assert node.driver is not None
            before = node.driver.groups[group].journal.last_term
            try:
                books[group].appended(index, term, before, data, node.number, self.world.now)
            except Violation as problem:
                self.oracle.fail(problem)

        wal.watcher = watch
        return wal
