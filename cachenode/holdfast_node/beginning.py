"""What a cluster is born with: the same on every node, from configuration.

Not here: what becomes of it (placement/).
"""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.shardmap import ShardMap

from holdfast_node.cache.policy import Eviction
from holdfast_node.config import Config, first_map, placement_nodes
from holdfast_node.placement.cluster import PLACEMENT_GROUP
from holdfast_node.placement.commands import Bootstrap
from holdfast_node.placement.first import bootstrap
from holdfast_node.talk import MapNews, NamespaceNews, NodeNews


@dataclass(frozen=True, slots=True)
class Beginning:
    """A cluster's first day.

    Attributes:
        news: the first shards, nodes and namespaces, and who gets a replica of the placement group.
        bootstrap: the placement group's first command; None: others know it.
    """

    news: MapNews
    bootstrap: Bootstrap | None


def of_config(config: Config) -> Beginning:
    """What a node's configuration says; of a node that joins, nothing."""
    if config.join:
        return Beginning(MapNews(ShardMap(0, ()), (), ()), None)
    nodes = tuple(NodeNews(entry.id, entry.address, entry.http, entry.zone) for entry in config.nodes)
    spaces = tuple(
        NamespaceNews(entry.name, entry.budget_bytes, int(Eviction[entry.eviction.upper()]), entry.strict_ttl)
        for entry in config.namespaces
    )
    news = MapNews(first_map(config), nodes, placement_nodes(config), spaces, PLACEMENT_GROUP)
    return Beginning(news, bootstrap(config))
