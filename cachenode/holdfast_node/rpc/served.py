"""What the services of a node are given: its shards, who it is, what to count."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from holdfast_node.metrics import Traffic
from holdfast_node.routing import Routing
from holdfast_node.shard import Shard


@dataclass(slots=True)
class Served:
    """One node, as its services see it.

    Attributes:
        cluster_id, node: who answers.
        routing: the map and the hosted shards.
        traffic: what is counted.
        now: monotonic seconds, the clock of all deadlines here.
        wall_ms: the operating system's clock, ms; only for groups that have none yet.
        address_of: gRPC address of a node; '' when it is not known.
        is_connected: whether this node is in touch with another.
        closing: the node is shutting down; new work is refused STOPPED.
    """

    cluster_id: str
    node: int
    routing: Routing[Shard]
    traffic: Traffic
    now: Callable[[], float]
    wall_ms: Callable[[], int]
    address_of: Callable[[int], str]
    closing: bool = False
    is_connected: Callable[[int], bool] = lambda _: True

    def stamp_ms(self, shard: Shard) -> int:
        """What not_after is counted from. A new group has no clock before its first leader has heard a
        majority's, and it will then begin at about this node's.
        """
        return shard.stamp_ms() or self.wall_ms()
