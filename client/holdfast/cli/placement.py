"""Asks nodes where things are and how they stand: the map, the nodes, the replicas' figures.

The only module of the command line that knows message classes. Any endpoint will do: they are asked in
turn until one answers. A node's own refusal (metadata `holdfast-error-bin`) becomes a HoldfastError.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

import grpc.aio

from holdfast import wire
from holdfast.cli.verbs import FailedError
from holdfast.errors import HoldfastError, Reason
from holdfast.shardmap import Shard, ShardMap
from holdfast.v1 import placement_pb2, types_pb2
from holdfast.v1.placement_pb2_grpc import PlacementStub

# An endpoint that does not answer must not hold up the next for long.
ENDPOINT_TIMEOUT_S = 2.0
LEADER_HINTS_MAX = 4

Answer = TypeVar("Answer")


class NodeFacts(NamedTuple):
    """One node, as the asked node sees it."""

    id: int
    address: str
    http: str
    zone: str
    state: str  # up | down
    pid: int
    version: str
    clock_offset_ms: int


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


class Placement:
    """A connection to the cluster's placement service. Use as an async context manager."""

    def __init__(self, endpoints: str, timeout_s: float) -> None:
        self._endpoints = [text.strip() for text in endpoints.split(",") if text.strip()]
        if not self._endpoints:
            raise FailedError("no endpoint given: --endpoints HOST:PORT[,...]")
        self._timeout_s = timeout_s
        self._channels: dict[str, grpc.aio.Channel] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.gather(*(channel.close(None) for channel in self._channels.values()))

    def _stub(self, address: str) -> Any:
        if address not in self._channels:
            options = [("grpc.enable_http_proxy", 0)]
            self._channels[address] = grpc.aio.insecure_channel(address, options=options)
        return PlacementStub(self._channels[address])  # type: ignore[no-untyped-call,unused-ignore]

    async def _ask_any(self, ask: Callable[[Any, float], Awaitable[Answer]]) -> Answer:
        problems = []
        for address in self._endpoints:
            try:
                return await ask(self._stub(address), min(self._timeout_s, ENDPOINT_TIMEOUT_S))
            except grpc.aio.AioRpcError as failure:
                refusal = refusal_of(failure)
                if refusal is not None:
                    raise refusal from None
                problems.append(f"{address}: {failure.details() or failure.code().name}")
        raise FailedError("no endpoint answers: " + "; ".join(problems))

    async def map(self) -> tuple[str, ShardMap]:
        """The cluster's id and its shard map."""
        answer = await self._ask_any(lambda stub, t: stub.GetMap(placement_pb2.GetMapRequest(), timeout=t))
        return answer.cluster_id, wire.shard_map(answer.map)

    async def nodes(self) -> list[NodeFacts]:
        """Every node, by id."""
        answer = await self._ask_any(
            lambda stub, t: stub.ListNodes(placement_pb2.ListNodesRequest(), timeout=t)
        )
        return sorted(map(_node, answer.nodes))

    async def replicas(self, nodes: list[NodeFacts]) -> list[ReplicaFacts]:
        """Figures of the replicas on those nodes; a node that does not answer gives none."""
        answers = await asyncio.gather(*(self._replicas_on(node) for node in nodes))
        return [replica for answer in answers for replica in answer]

    async def _replicas_on(self, node: NodeFacts) -> list[ReplicaFacts]:
        try:
            answer = await self._stub(node.address).ListReplicas(
                placement_pb2.ListReplicasRequest(), timeout=min(self._timeout_s, ENDPOINT_TIMEOUT_S)
            )
        except grpc.aio.AioRpcError:
            return []
        return [_replica(answer.node or node.id, replica) for replica in answer.replicas]

    async def transfer_leader(self, group: int, to_node: int) -> int:
        """Hands the group's leadership over; the node that leads then.

        Only the leader can do it: who that is, a node that does not lead says in its refusal.
        """
        request = placement_pb2.TransferLeaderRequest(
            group=group, to_node=to_node, timeout_ms=int(self._timeout_s * 1000)
        )

        async def ask(stub: Any, _timeout_s: float) -> int:
            answer = await stub.TransferLeader(request, timeout=self._timeout_s + 1)
            return int(answer.leader)

        for _ in range(LEADER_HINTS_MAX):
            try:
                return await self._ask_any(ask)
            except HoldfastError as refusal:
                if refusal.reason is not Reason.NOT_LEADER or not refusal.leader:
                    raise
                self._endpoints = [refusal.leader, *(a for a in self._endpoints if a != refusal.leader)]
        raise FailedError(f"the leader of group {group} changed {LEADER_HINTS_MAX} times; try again")


def refusal_of(failure: grpc.aio.AioRpcError) -> HoldfastError | None:
    """The typed error a node sent along; None: the failure is the transport's own."""
    metadata: Any = failure.trailing_metadata() or ()
    for key, value in metadata:
        if key == wire.ERROR_METADATA and isinstance(value, bytes):
            return wire.failure(types_pb2.Error.FromString(value))
    return None


def _node(message: Any) -> NodeFacts:
    state = "up" if message.state == placement_pb2.Node.STATE_UP else "down"
    return NodeFacts(
        message.id, message.address, message.http, message.zone, state, message.pid, message.version,
        message.clock_offset_ms,
    )  # fmt: skip


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
