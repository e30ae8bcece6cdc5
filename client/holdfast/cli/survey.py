"""What is seen of the whole cluster: the map joined with what nodes and replicas say, and how that is shown.

Asks and describes; judges nothing (cluster.py does) and changes nothing.
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from holdfast.cli.output import shard_fields
from holdfast.cli.placement import NodeFacts, Placement, ReplicaFacts
from holdfast.cli.verbs import Call
from holdfast.shardmap import Shard


class Survey(NamedTuple):
    """One look at the whole.

    Attributes:
        shards: of the map.
        replicas: of shards, every one that answers.
        placement: the placement group, as a map would have it; None: an older server, which does not tell.
        placement_replicas: of it, and of what a move of it has not ended yet.
    """

    cluster_id: str
    epoch: int
    shards: list[Shard]
    nodes: list[NodeFacts]
    replicas: list[ReplicaFacts]
    placement: Shard | None
    placement_replicas: list[ReplicaFacts]

    @property
    def groups(self) -> list[Shard]:
        """All that replicas belong to: the shards, and the placement group."""
        return [*self.shards, *([self.placement] if self.placement else [])]

    @property
    def all_replicas(self) -> list[ReplicaFacts]:
        """Of all groups."""
        return self.replicas + self.placement_replicas


async def gather(call: Call) -> Survey:
    """Looks once."""
    async with Placement(call.endpoints, call.timeout_s) as placement:
        cluster_id, shards, group = await placement.map()
        nodes = await placement.nodes()
        replicas, of_placement = await placement.replicas([entry for entry in nodes if entry.state == "up"])
    return Survey(cluster_id, shards.epoch, list(shards.shards), nodes, replicas, group, of_placement)


def best_replica(shard: Shard, replicas: list[ReplicaFacts]) -> ReplicaFacts | None:
    """The replica whose figures stand for the shard: the leader of the highest term, else the furthest."""
    own = [entry for entry in replicas if entry.shard.group == shard.group]
    return max(own, key=lambda e: (e.role == "leader", e.term, e.applied_index), default=None)


def with_leader(shard: Shard, best: ReplicaFacts | None) -> Shard:
    """The shard with the leader as its replicas say; the map's word may be older."""
    if best is None:
        return shard
    return shard._replace(leader=best.node if best.role == "leader" else best.shard.leader)


def row_fields(shard: Shard, best: ReplicaFacts | None) -> dict[str, Any]:
    """One row of `shard list`."""
    return {
        **shard_fields(with_leader(shard, best)),
        "keys": best.keys if best else None,
        "bytes": best.bytes if best else None,
    }


def replica_fields(replica: ReplicaFacts) -> dict[str, Any]:
    """A replica's figures as JSON fields."""
    return {
        "node": replica.node,
        "role": replica.role,
        "term": replica.term,
        "commit_index": replica.commit_index,
        "applied_index": replica.applied_index,
        "last_index": replica.last_index,
        "durable_index": replica.durable_index,
        "snapshot_index": replica.snapshot_index,
        "has_quorum": replica.has_quorum,
        "revision": replica.revision,
        "keys": replica.keys,
        "bytes": replica.bytes,
        "digest": replica.digest or None,
        "stopped_because": replica.stopped_because or None,
    }


def node_fields(node: NodeFacts) -> dict[str, Any]:
    """One row of `node list`; null for what the asked node has not been told."""
    known = node.is_placed
    return {
        "id": node.id,
        "address": node.address,
        "http": node.http,
        "zone": node.zone,
        "state": node.state,
        "pid": node.pid or None,
        "version": node.version,
        "standing": standing(node),
        "incarnation": f"{node.incarnation:016x}" if node.incarnation else None,
        "labels": dict(node.labels),
        "weight": node.weight if known else None,
        "cordoned_until_ms": node.cordoned_until_ms or None,
        "draining": node.draining,
        "expected": node.expected,
        "replicas": node.replicas if known else None,
        "leaders": node.leaders if known else None,
        "bytes": node.bytes if known else None,
        "busy_percent": node.busy_percent if known else None,
        "heard_ms_ago": node.heard_ms_ago if known else None,
    }


def standing(node: NodeFacts, now_ms: float | None = None) -> str:
    """What the planner may do with it: serving, cordoned, draining, or expected to join."""
    if node.expected:
        return "expected"
    if node.draining:
        return "draining"
    return "cordoned" if is_cordoned(node, now_ms) else "serving"


def is_cordoned(node: NodeFacts, now_ms: float | None = None) -> bool:
    """Whether it takes no replicas for now."""
    return node.cordoned_until_ms > (time.time() * 1000 if now_ms is None else now_ms)
