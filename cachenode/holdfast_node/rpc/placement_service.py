"""The service holdfast.v1.Placement: the map, the nodes, the replicas here, and handing over a leadership.

Says what this node knows; a listing of the whole cluster is the caller's to put together by asking
every node (`ListReplicas` is about the answering node only).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, NamedTuple, Protocol

import grpc
from holdfast.errors import Reason, error
from holdfast.shardmap import Shard as MapEntry
from holdfast.v1 import placement_pb2 as pb
from holdfast_raft.status import GroupStatus, Role

from holdfast_node import limits
from holdfast_node.cache.image import Image
from holdfast_node.node_core import NodeCore
from holdfast_node.placement.image import Image as PlacementImage
from holdfast_node.rpc import convert
from holdfast_node.rpc.forward import Forwarder
from holdfast_node.rpc.placement_admin import PlacementAdmin
from holdfast_node.rpc.served import Served
from holdfast_node.shard import ShardFigures

SERVICE = "holdfast.v1.Placement"
TRANSFER_MS_DEFAULT = 5000

_ROLES = {
    Role.FOLLOWER: pb.ReplicaStatus.ROLE_FOLLOWER,
    Role.CANDIDATE: pb.ReplicaStatus.ROLE_CANDIDATE,
    Role.LEADER: pb.ReplicaStatus.ROLE_LEADER,
    Role.STOPPED: pb.ReplicaStatus.ROLE_STOPPED,
}
# Buckets of a digest between two looks at the rest of the node: about a ms.
_DIGEST_STEPS = 2


class NodeView(NamedTuple):
    """One node as seen from here."""

    id: int
    address: str
    http: str
    zone: str
    is_up: bool
    pid: int
    version: str
    clock_offset_ms: int


class Cluster(Protocol):
    """What the service asks of the node; server.py."""

    def nodes(self) -> Sequence[NodeView]: ...
    async def transfer(self, group: int, to_node: int | None, timeout_s: float) -> int:
        """Node that leads afterwards. Raises HoldfastError."""
        ...


class PlacementService:
    """Handlers of Placement."""

    def __init__(self, served: Served, cluster: Cluster, core: NodeCore, forwarder: Forwarder) -> None:
        self._served = served
        self._cluster = cluster
        self._core = core
        self._admin = PlacementAdmin(served, core, forwarder)

    def handler(self) -> grpc.GenericRpcHandler[Any, Any]:
        """What to register with the server."""
        rows: dict[str, tuple[Callable[[Any, Any], Any], Any]] = {
            "GetMap": (self.get_map, pb.GetMapRequest),
            "ListNodes": (self.list_nodes, pb.ListNodesRequest),
            "ListReplicas": (self.list_replicas, pb.ListReplicasRequest),
            "TransferLeader": (self.transfer_leader, pb.TransferLeaderRequest),
        }
        methods = {
            name: grpc.unary_unary_rpc_method_handler(
                handle,
                request_deserializer=request.FromString,
                response_serializer=lambda message: message.SerializeToString(),
            )
            for name, (handle, request) in rows.items()
        }
        methods |= self._admin.handlers()
        methods["WatchMap"] = grpc.unary_stream_rpc_method_handler(
            self.watch_map,
            request_deserializer=pb.WatchMapRequest.FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    async def get_map(self, request: pb.GetMapRequest, _: Any) -> pb.GetMapResponse:
        routing = self._served.routing
        if request.namespace and request.namespace not in routing.map.namespaces():
            raise routing.unknown_namespace(request.namespace)
        return pb.GetMapResponse(
            cluster_id=self._served.cluster_id,
            map=convert.map_message(routing.live_map(), request.namespace),
            placement=convert.shard_message(self._core.placement_entry()),
        )

    async def watch_map(self, request: pb.WatchMapRequest, _: Any) -> AsyncIterator[pb.WatchMapResponse]:
        """The map at each of its epochs; in between nothing is said."""
        told = -1
        news = asyncio.Event()
        self._core.news_waits.add(news.set)
        try:
            while not self._served.closing:
                news.clear()
                if self._core.routing.map.epoch != told:
                    told = self._core.routing.map.epoch
                    shards = convert.map_message(self._served.routing.live_map(), request.namespace)
                    yield pb.WatchMapResponse(cluster_id=self._served.cluster_id, map=shards)
                await news.wait()
        finally:
            self._core.news_waits.discard(news.set)

    async def list_nodes(self, request: pb.ListNodesRequest, context: Any) -> pb.ListNodesResponse:
        """As seen from here, with what the placement group keeps of them when its leader can be asked."""
        kept = await self._admin.kept_nodes(request, context)
        views = {view.id: view for view in self._cluster.nodes()}
        for number, node in kept.items():
            if number in views:
                seen = _node_message(views[number])
                node.MergeFrom(seen)
        nodes = {**{number: _node_message(view) for number, view in views.items()}, **kept}
        return pb.ListNodesResponse(nodes=[nodes[number] for number in sorted(nodes)])

    async def list_replicas(self, _request: pb.ListReplicasRequest, _: Any) -> pb.ListReplicasResponse:
        replicas = []
        for shard in self._served.routing.hosted():
            message = _replica_message(shard.figures())
            if not message.stopped_because:
                message.revision = shard.state.revision
                await _add_digest(message, shard.group.applied_index, shard.state.freeze())
            replicas.append(message)
        placement = []
        for replica, group in self._core.placement_here():
            message = _status_message(replica.entry._replace(leader=group.leader or 0), group.status())
            if not message.stopped_because:
                await _add_digest(message, group.applied_index, replica.state.freeze())
            placement.append(message)
        return pb.ListReplicasResponse(node=self._served.node, replicas=replicas, placement=placement)

    async def transfer_leader(self, request: pb.TransferLeaderRequest, _: Any) -> pb.TransferLeaderResponse:
        if request.group not in self._core.hosting.replicas:
            known = self._served.routing.map.group(request.group)
            if request.group == self._core.book.placement_group:
                told = next((r.address for r in self._core.placement_entry().replicas), "")
                raise error(Reason.NOT_LEADER, "the placement group is not on this node", leader=told)
            if known is None:
                raise convert.invalid("group", f"there is no group {request.group}")
            raise error(Reason.WRONG_SHARD, "the group has no replica on this node", shards=(known,))
        timeout_ms = request.timeout_ms or TRANSFER_MS_DEFAULT
        if timeout_ms > limits.TIMEOUT_MS_MAX:
            raise convert.invalid("timeout_ms", f"may be {limits.TIMEOUT_MS_MAX}, is {timeout_ms}")
        leader = await self._cluster.transfer(request.group, request.to_node or None, timeout_ms / 1000)
        return pb.TransferLeaderResponse(leader=leader)


def _node_message(view: NodeView) -> pb.Node:
    return pb.Node(
        id=view.id,
        address=view.address,
        http=view.http,
        zone=view.zone,
        state=pb.Node.STATE_UP if view.is_up else pb.Node.STATE_DOWN,
        pid=view.pid,
        version=view.version,
        clock_offset_ms=view.clock_offset_ms,
    )


def _replica_message(figures: ShardFigures) -> pb.ReplicaStatus:
    message = _status_message(figures.entry, figures.status)
    message.revision = figures.revision
    message.keys, message.bytes = figures.stats["keys"], figures.stats["bytes"]
    return message


def _status_message(entry: MapEntry, status: GroupStatus) -> pb.ReplicaStatus:
    return pb.ReplicaStatus(
        shard=convert.shard_message(entry),
        role=_ROLES[status.role],
        term=status.term,
        commit_index=status.commit_index,
        applied_index=status.applied_index,
        last_index=status.last_index,
        durable_index=status.durable_index,
        snapshot_index=status.snapshot_index,
        has_quorum=status.has_quorum,
        stopped_because=status.stopped_because,
    )


async def _add_digest(message: pb.ReplicaStatus, applied_index: int, image: Image | PlacementImage) -> None:
    """The digest of a state and the index it is of, worked out in slices: a large shard takes a while."""
    message.applied_index = applied_index
    # It has gone on since the figures were taken.
    message.commit_index = max(message.commit_index, applied_index)
    try:
        for step, digest in enumerate(image.digest_steps(), 1):
            message.digest = digest
            if step % _DIGEST_STEPS == 0:
                await asyncio.sleep(0)
    finally:
        image.release()
