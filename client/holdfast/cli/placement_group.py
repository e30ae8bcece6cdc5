"""The placement group as the command line shows it: like a shard, beside them, as no map has it."""

from __future__ import annotations

from typing import Any, NamedTuple

from holdfast.cli.output import shard_fields
from holdfast.cli.placement import ReplicaFacts
from holdfast.cli.survey import Survey, best_replica, replica_fields, with_leader
from holdfast.shardmap import Shard


class PlacementGroup(NamedTuple):
    """What is seen of it. shard: its id and nodes, as the asked node knows them."""

    shard: Shard
    replicas: list[ReplicaFacts]

    @property
    def own(self) -> list[ReplicaFacts]:
        """Without what a move has not ended yet."""
        return [entry for entry in self.replicas if entry.shard.group == self.shard.group]

    @property
    def leader(self) -> int | None:
        """The node that leads it, as its replicas say."""
        return with_leader(self.shard, best_replica(self.shard, self.replicas)).leader or None

    def fields(self) -> dict[str, Any]:
        """As JSON."""
        found = with_leader(self.shard, best_replica(self.shard, self.replicas))
        return {**shard_fields(found), "replica_status": [replica_fields(entry) for entry in self.own]}

    def __str__(self) -> str:
        nodes = ",".join(str(replica.node) for replica in self.shard.replicas)
        led = f"led by node {self.leader}" if self.leader else "without a leader"
        return f"placement group {self.shard.group} on nodes {nodes}, {led}"


def of(survey: Survey) -> PlacementGroup | None:
    """The placement group as it was seen; None: an older server, which does not tell."""
    if survey.placement is None:
        return None
    return PlacementGroup(survey.placement, survey.placement_replicas)
