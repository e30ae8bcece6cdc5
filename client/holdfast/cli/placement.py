"""Asks nodes where things are and how they stand: the map, the nodes, the replicas' figures.

With its neighbours placement_*.py the only place of the command line that knows message classes: what goes
out of here are the facts below.
"""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

import grpc.aio

from holdfast import wire
from holdfast.cli.placement_calls import ENDPOINT_TIMEOUT_S, Calls
from holdfast.keys import KeyRange
from holdfast.shardmap import Replica, Shard, ShardMap
from holdfast.v1 import placement_pb2


class NodeFacts(NamedTuple):
    """One node, as the asked node sees it. From `incarnation` on: what the placement group keeps of it."""

    id: int
    address: str
    http: str
    zone: str
    state: str  # up | down
    pid: int
    version: str
    clock_offset_ms: int
    incarnation: int = 0  # 0: not told
    labels: tuple[tuple[str, str], ...] = ()
    weight: int = 100
    cordoned_until_ms: int = 0  # 0: not
    draining: bool = False
    expected: bool = False
    replicas: int = 0
    leaders: int = 0
    bytes: int = 0
    busy_percent: int = 0
    heard_ms_ago: int = 0

    @property
    def is_placed(self) -> bool:
        """Whether the placement group knows it, so that what it keeps means something."""
        return bool(self.incarnation) or self.expected


class ReplicaFacts(NamedTuple):
    """A replica's figures, by the node that hosts it."""

    node: int
    shard: Shard
    role: str  # follower | candidate | leader | stopped
    term: int
    commit_index: int
    applied_index: int
    last_index: int
    durable_index: int
    snapshot_index: int
    has_quorum: bool
    digest: str
    revision: int
    keys: int
    bytes: int
    stopped_because: str


class MapFacts(NamedTuple):
    """The map as the asked node knows it.

    placement: the placement group, as a map would have it; None: an older server, which does not tell.
    """

    cluster_id: str
    map: ShardMap
    placement: Shard | None


class Placement(Calls):
    """The placement service, as every command looks at it. Use as an async context manager."""

    async def map(self) -> MapFacts:
        """The shard map, and what goes with it."""
        answer = await self.look("GetMap", placement_pb2.GetMapRequest())
        group = wire.shard(answer.placement) if answer.placement.replicas else None
        return MapFacts(answer.cluster_id, wire.shard_map(answer.map), group)

    async def nodes(self) -> list[NodeFacts]:
        """Every node, by id."""
        answer = await self.look("ListNodes", placement_pb2.ListNodesRequest())
        return sorted(map(node_facts, answer.nodes))

    async def replicas(self, nodes: list[NodeFacts]) -> tuple[list[ReplicaFacts], list[ReplicaFacts]]:
        """Figures of the replicas on those nodes, of shards and of the placement group.

        A node that does not answer gives none.
        """
        answers = await asyncio.gather(*(self._replicas_on(node) for node in nodes))
        told = [(answer.node or node.id, answer) for node, answer in zip(nodes, answers, strict=True)]
        of_shards = [_replica(number, replica) for number, answer in told for replica in answer.replicas]
        of_placement = [_replica(number, replica) for number, answer in told for replica in answer.placement]
        return of_shards, of_placement

    async def _replicas_on(self, node: NodeFacts) -> placement_pb2.ListReplicasResponse:
        request, timeout_s = placement_pb2.ListReplicasRequest(), min(self.timeout_s, ENDPOINT_TIMEOUT_S)
        try:
            answer: placement_pb2.ListReplicasResponse = await self.stub(node.address).ListReplicas(
                request, timeout=timeout_s
            )
        except grpc.aio.AioRpcError:
            return placement_pb2.ListReplicasResponse()
        return answer

    async def transfer_leader(self, group: int, to_node: int) -> int:
        """Hands the group's leadership over; the node that leads then.

        Only the leader can do it: who that is, a node that does not lead says in its refusal.
        """
        timeout_ms = int(self.timeout_s * 1000)
        request = placement_pb2.TransferLeaderRequest(group=group, to_node=to_node, timeout_ms=timeout_ms)
        answer = await self.change("TransferLeader", request, self.timeout_s + 1)
        return int(answer.leader)


def shard_of(message: Any) -> Shard:
    """A shard that a plan names; one that is yet to be placed has no replicas."""
    return Shard(
        message.namespace, KeyRange(message.start, message.end), message.group, message.epoch,
        tuple(Replica(replica.node, replica.address) for replica in message.replicas), message.leader,
        wire.units(message),
    )  # fmt: skip


def node_facts(message: Any) -> NodeFacts:
    """A node as the placement group describes it."""
    is_placed = bool(message.incarnation) or message.expected
    return NodeFacts(
        id=message.id,
        address=message.address,
        http=message.http,
        zone=message.zone,
        state="up" if message.state == placement_pb2.Node.STATE_UP else "down",
        pid=message.pid,
        version=message.version,
        clock_offset_ms=message.clock_offset_ms,
        incarnation=message.incarnation,
        labels=tuple(sorted(message.labels.items())),
        weight=message.weight if is_placed else 100,
        cordoned_until_ms=message.cordoned_until_ms,
        draining=message.draining,
        expected=message.expected,
        replicas=message.replicas,
        leaders=message.leaders,
        bytes=message.bytes,
        busy_percent=message.busy_percent,
        heard_ms_ago=message.heard_ms_ago,
    )


def _replica(node: int, message: Any) -> ReplicaFacts:
    role = placement_pb2.ReplicaStatus.Role.Name(message.role).removeprefix("ROLE_").lower()
    return ReplicaFacts(
        node=node,
        shard=wire.shard(message.shard),
        role=role,
        term=message.term,
        commit_index=message.commit_index,
        applied_index=message.applied_index,
        last_index=message.last_index,
        durable_index=message.durable_index,
        snapshot_index=message.snapshot_index,
        has_quorum=message.has_quorum,
        digest=message.digest,
        revision=message.revision,
        keys=message.keys,
        bytes=message.bytes,
        stopped_because=message.stopped_because,
    )
