"""What a running node can say of itself and its peers: for metrics, health and the placement service.

Reads the driver, the transport and the shards; changes nothing but for handing over a leadership on
request. One place, so that `node list`, /metrics and /readyz never contradict each other.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from holdfast.errors import HoldfastError
from holdfast.keys import KeyRange
from holdfast.shardmap import Shard as MapEntry
from holdfast_raft.driver import Driver
from holdfast_raft.errors import RaftError
from holdfast_raft.status import Role
from holdfast_raft.tcp_transport import PeerInfo

from holdfast_node.config import Config
from holdfast_node.health import NodeFacts, ReplicaFacts
from holdfast_node.node_core import NodeCore
from holdfast_node.refusals import from_raft
from holdfast_node.rpc.placement_service import NodeView
from holdfast_node.shard import ShardFigures
from holdfast_node.stamp import median
from holdfast_node.talk import NodeNews


class Peers(Protocol):
    """The part of the transport that knows the other nodes."""

    def is_connected(self, peer: int) -> bool: ...
    def peer_info(self, peer: int) -> PeerInfo | None: ...


class Node:
    """See the module docstring. Implements metrics.Facts and placement_service.Cluster."""

    def __init__(self, config: Config, version: str, driver: Driver, peers: Peers, core: NodeCore) -> None:
        self._config = config
        self._version = version
        self._driver = driver
        self._peers = peers
        self._core = core
        self.closing = False

    # ---- placement_service.Cluster ------------------------------------------------------

    def nodes(self) -> Sequence[NodeView]:
        offsets = self._clock_offsets()
        return [
            self._own(entry, offsets) if entry.id == self._config.node else self._other(entry, offsets)
            for entry in self._core.book.nodes()
        ]

    def _own(self, entry: NodeNews, offsets: Mapping[int, int]) -> NodeView:
        config = self._config
        return NodeView(
            id=config.node,
            address=entry.address,
            http=config.http_address,
            zone=config.zone,
            is_up=True,
            pid=os.getpid(),
            version=self._version,
            clock_offset_ms=offsets[config.node],
        )

    def _other(self, entry: NodeNews, offsets: Mapping[int, int]) -> NodeView:
        node = entry.id
        said = self._peers.peer_info(node)
        is_up = self._peers.is_connected(node)
        return NodeView(
            id=node,
            address=entry.address,
            http=said.http if said is not None else entry.http,
            zone=said.zone if said is not None else entry.zone,
            is_up=is_up,
            pid=said.pid if said is not None and is_up else 0,
            version=said.version if said is not None else "",
            clock_offset_ms=offsets.get(node, 0),
        )

    async def transfer(self, group: int, to_node: int | None, timeout_s: float) -> int:
        future: asyncio.Future[int | RaftError] = asyncio.get_running_loop().create_future()

        def done(outcome: int | RaftError) -> None:
            if not future.done():
                future.set_result(outcome)

        moving = self._driver.groups[group]
        # No map has the placement group, and a shard may be retired meanwhile.
        entry = MapEntry("", KeyRange(b"", b""), group, 0, self._core.book.replicas_of(moving.members), 0)
        moving.transfer(to_node, self._driver.clock.monotonic() + timeout_s, done)
        outcome = await future
        if isinstance(outcome, RaftError):
            raise from_raft(outcome, entry)
        return outcome

    async def give_up_leaderships(self, timeout_s: float) -> None:
        """Hands every leadership to whoever is most caught up; those that cannot be handed over stay."""
        led = [group.id for group in self._driver.groups.values() if group.is_leader]
        moves = [self.transfer(group, None, timeout_s) for group in led]
        for outcome in await asyncio.gather(*moves, return_exceptions=True):
            if isinstance(outcome, BaseException) and not isinstance(outcome, HoldfastError):
                raise outcome

    # ---- health -------------------------------------------------------------------------

    def health(self) -> NodeFacts:
        """What health is judged by."""
        replicas = tuple(
            ReplicaFacts(group.id, group.has_quorum(), group.stopped)
            for group in self._driver.groups.values()
            if not self._has_ended(group.id)
        )
        return NodeFacts(
            replicas, self._clock_offsets()[self._config.node], self._driver.disk_is_full(), self.closing
        )

    def _has_ended(self, group: int) -> bool:
        """Whether others serve what the replica did; it only waits to be retired."""
        replica = self._core.hosting.replicas.get(group)
        return replica is not None and replica.state.sealed is not None

    def _clock_offsets(self) -> dict[int, int]:
        """Each known node's wall clock against the median of all, ms; positive = ahead."""
        walls = {self._config.node: self._driver.clock.wall_ms(), **self._driver.peer_walls_ms()}
        middle = median(list(walls.values()))
        return {node: wall_ms - middle for node, wall_ms in walls.items()}

    # ---- metrics.Facts ------------------------------------------------------------------

    def shard_figures(self) -> Iterable[tuple[int, Mapping[str, float | None]]]:
        return [(shard.entry.group, _figures(shard.figures())) for shard in self._core.routing.hosted()]

    def node_figures(self) -> Mapping[str, float]:
        return {
            "wal_disk_full": float(self._driver.disk_is_full()),
            "clock_offset_seconds": self._clock_offsets()[self._config.node] / 1000,
        }

    def peers(self) -> Mapping[int, bool]:
        return {node: self._peers.is_connected(node) for node in self._core.book.peers_of(self._config.node)}


def _figures(figures: ShardFigures) -> dict[str, float | None]:
    status, stats, age_ms = figures.status, figures.stats, figures.staleness_ms
    return {
        "keys": stats["keys"],
        "bytes": stats["bytes"],
        "budget_bytes": figures.policy.budget_bytes,
        "revision": figures.revision,
        "hits": figures.hits,
        "misses": figures.misses,
        "evictions": stats["evicted_total"],
        "expiries": stats["expired_total"],
        "leading": float(status.role is Role.LEADER),
        "quorum": float(status.has_quorum),
        "term": status.term,
        "leader_changes": status.leader_changes,
        "commit_index": status.commit_index,
        "lag_entries": status.commit_index - status.applied_index,
        "staleness_seconds": None if age_ms is None else age_ms / 1000,
        "log_bytes": status.log_bytes,
    }
