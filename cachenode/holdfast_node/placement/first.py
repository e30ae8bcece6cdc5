"""The command that gives a cluster its first map, from configuration: the same on every node.

Not here: what is configured (config.py).
"""

from __future__ import annotations

from holdfast_node.cache.policy import Eviction
from holdfast_node.config import REPLICAS_PER_SHARD, Config, first_map
from holdfast_node.placement.cluster import Namespace, Node, ShardRow
from holdfast_node.placement.commands import Bootstrap


def bootstrap(config: Config) -> Bootstrap:
    """What a cluster of this configuration begins with. The placement group is on the lowest node ids."""
    rows = tuple(
        ShardRow(
            shard.group,
            shard.namespace,
            shard.range.start,
            shard.range.end,
            tuple(replica.node for replica in shard.replicas),
            shard.epoch,
            kept=bool(shard.range.start),
        )
        for shard in first_map(config).shards
    )
    ids = sorted(entry.id for entry in config.nodes)
    return Bootstrap(
        nodes=tuple(Node(entry.id, entry.address, entry.http, entry.zone) for entry in config.nodes),
        namespaces=tuple(
            Namespace(entry.name, entry.budget_bytes, Eviction[entry.eviction.upper()], entry.strict_ttl)
            for entry in config.namespaces
        ),
        shards=rows,
        replicas=tuple(ids[:REPLICAS_PER_SHARD]),
    )
