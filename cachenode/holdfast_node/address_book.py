"""Who the nodes of the cluster are, where they serve and which of them have the placement group, as far
as this node knows.

Begins with the configuration or with what the last run wrote down, and follows the placement group's news; of
where that group is also what the Seal of a replica here says.
A node's id is never used again, so an address that is out of date is only unreachable, never another's.

Invariant: it never goes back to an earlier placement group, whichever way and however late its nodes are
named: ids only grow along the groups that are the placement group one after another.

Not here: whether a node is up (the transport knows), which shards it has (routing.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from holdfast.shardmap import Replica

from holdfast_node.talk import NodeNews


class AddressBook:
    """See the module docstring."""

    def __init__(self, nodes: Iterable[NodeNews], placement: Iterable[int], placement_group: int = 0) -> None:
        """placement: nodes with a replica of the placement group, `placement_group`; 0: its id is not
        known.
        """
        self._nodes = {node.id: node for node in nodes}
        self.placement = tuple(placement)
        self.placement_group = placement_group

    def __repr__(self) -> str:
        group = self.placement_group
        return f"<AddressBook nodes {sorted(self._nodes)}, placement {group} on {self.placement}>"

    def nodes(self) -> list[NodeNews]:
        """Every node, by id."""
        return [self._nodes[number] for number in sorted(self._nodes)]

    def get(self, node: int) -> NodeNews | None:
        """A node's entry."""
        return self._nodes.get(node)

    def address(self, node: int) -> str:
        """Where a node serves gRPC; '': not known here."""
        known = self._nodes.get(node)
        return known.address if known is not None else ""

    def replicas_of(self, nodes: Sequence[int]) -> tuple[Replica, ...]:
        """Node ids with their addresses, as map entries have them."""
        return tuple(Replica(node, self.address(node)) for node in nodes)

    def peers_of(self, node: int) -> dict[int, str]:
        """Addresses of all other nodes."""
        return {other.id: other.address for other in self._nodes.values() if other.id != node}

    def take(self, nodes: Iterable[NodeNews], placement: Iterable[int], placement_group: int = 0) -> None:
        """Takes the placement group's word for who is there."""
        self._nodes = {node.id: node for node in nodes}
        self.take_placement(placement_group, placement)

    def take_placement(self, group: int, nodes: Iterable[int]) -> None:
        """Where the placement group is, or was."""
        if group >= self.placement_group:
            self.placement_group = group
            self.placement = tuple(nodes)
