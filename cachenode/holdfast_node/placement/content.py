"""What the placement group's state holds, and the questions that are asked of it.

Invariants:
- Inside a namespace the shards cover every key once (ShardMap checks it whenever a map is made).
- Every shard's replicas are known nodes; every source of a plan before RETIRE is in the map or is the
  placement group, and no two open plans have a source in common.
- A sealed state changes no more.
- The epoch grows by one with every change of what map news carry: shards, nodes, namespaces, and where the
  placement group is.
Not here: changes (state.py and the modules it calls).
"""

from __future__ import annotations

from collections.abc import Iterator

from holdfast.keys import KeyRange
from holdfast.shardmap import Replica, Shard, ShardMap
from holdfast.units import Units

from holdfast_node.cache.seal import Sealed
from holdfast_node.placement.cluster import (
    PLACEMENT_GROUP,
    PLACEMENT_NAMESPACE,
    PLACEMENT_SPACE,
    Namespace,
    Node,
    Planning,
    ShardRow,
)
from holdfast_node.placement.plan import Phase, Plan, Source

ENDED_MAX = 500
"""Ended plans that are remembered; the oldest go first."""


class Content:
    """See the module docstring.

    Attributes:
        epoch: of the map; 0: there is none yet.
        next_node, next_group, next_plan: the ids to be given next; none is ever given twice.
        nodes, namespaces, shards: by id, name, group.
        plans: the open ones, by id.
        ended: those that have ended, in the order in which they did.
        by_hand: open plans that a person asked for.
        placement: the placement group itself; beside the shards, as clients never ask it for keys.
        sealed: the Seal that ended this group; None: it goes on.
        floor: the highest plan over this group that was aborted in its log.
    """

    def __init__(self) -> None:
        self.epoch = 0
        self.next_node = 1
        self.next_group = PLACEMENT_GROUP + 1
        self.next_plan = 1
        self.nodes: dict[int, Node] = {}
        self.namespaces: dict[str, Namespace] = {}
        self.shards: dict[int, ShardRow] = {}
        self.plans: dict[int, Plan] = {}
        self.ended: dict[int, Plan] = {}
        self.by_hand: set[int] = set()
        self.planning = Planning()
        self.placement = ShardRow(PLACEMENT_GROUP, PLACEMENT_NAMESPACE, b"", b"", (), 0)
        self.sealed: Sealed | None = None
        self.floor = 0
        self._map: ShardMap | None = None

    def copy_into(self, other: Content) -> None:
        """Makes `other` equal; rows are immutable, only the tables that hold them are copied."""
        for name, value in vars(self).items():
            setattr(other, name, value.copy() if isinstance(value, dict | set) else value)

    # ---- the map ---------------------------------------------------------------------------------------

    def shard_map(self) -> ShardMap:
        """The map at the present epoch, with addresses and without leaders."""
        if self._map is None:
            self._map = ShardMap(self.epoch, (self.entry(row) for row in self.shards.values()))
        return self._map

    def entry(self, row: ShardRow) -> Shard:
        """A shard as clients know it."""
        replicas = tuple(Replica(node, self.nodes[node].address) for node in row.replicas)
        units = self.hashed_by(row.namespace)
        return Shard(row.namespace, KeyRange(row.start, row.end), row.group, row.epoch, replicas, 0, units)

    def step_epoch(self) -> int:
        """What map news carry has changed."""
        self.epoch += 1
        self._map = None
        return self.epoch

    def row(self, namespace: str) -> list[ShardRow]:
        """A namespace's shards in key order."""
        return sorted((s for s in self.shards.values() if s.namespace == namespace), key=lambda s: s.start)

    def place_of(self, group: int) -> ShardRow | None:
        """A shard of the map, or the placement group; None: it is neither."""
        return self.placement if group == self.placement.group else self.shards.get(group)

    def space_of(self, row: ShardRow) -> Namespace:
        """What a row's number of replicas and cuts go by."""
        return PLACEMENT_SPACE if row.is_placement else self.namespaces[row.namespace]

    def source(self, group: int) -> Source:
        """What a plan ends."""
        row = self.place_of(group)
        assert row is not None, f"group {group} is there"
        return Source(group, row.start, row.end, row.replicas)

    def hashed_by(self, namespace: str) -> Units | None:
        """The units of a hashed namespace; None: it is not hashed, or it is the placement group's."""
        found = self.namespaces.get(namespace)
        return None if found is None else found.hashed_by

    # ---- nodes -----------------------------------------------------------------------------------------

    def members(self) -> dict[int, Node]:
        """The nodes that are or may be there: not those expected, not those gone."""
        return {node.id: node for node in self.nodes.values() if not (node.expected or node.gone)}

    def addresses(self) -> dict[int, str]:
        """The gRPC addresses of the members; a gone node's belongs to another."""
        return {node.id: node.address for node in self.members().values()}

    def at_address(self, address: str) -> Node | None:
        """The node that serves, or is expected, at an address."""
        return next((n for n in self.nodes.values() if n.address == address and not n.gone), None)

    def groups_on(self, node: int) -> list[int]:
        """Groups of the map with a replica on the node."""
        return sorted(row.group for row in self.shards.values() if node in row.replicas)

    def plans_for(self, node: int) -> list[int]:
        """Open plans whose targets are to be on the node, or whose sources are kept there until they
        stand.
        """
        return sorted(
            plan.id
            for plan in self.plans.values()
            if any(node in target.replicas for target in plan.targets)
            or any(node in source.replicas for source in plan.sources)
        )

    # ---- plans -----------------------------------------------------------------------------------------

    def plan(self, plan: int) -> Plan | None:
        """A plan, open or ended."""
        return self.plans.get(plan) or self.ended.get(plan)

    def plan_over(self, group: int) -> Plan | None:
        """The open plan that ends the group; else the one that is about to let go of what it was made
        from.
        """
        ending = (plan for plan in self.plans.values() if any(s.group == group for s in plan.sources))
        making = (plan for plan in self.plans.values() if any(t.group == group for t in plan.targets))
        return next(ending, None) or next(making, None)

    def superseded(self) -> frozenset[int]:
        """Targets of open plans that a later plan has ended in turn, and is done with."""
        in_use = {s.group for plan in self.plans.values() for s in plan.sources}
        in_use.update(self.shards, (self.placement.group,))
        return frozenset(group for group in self._settled_targets() if group not in in_use)

    def _settled_targets(self) -> Iterator[int]:
        for plan in self.plans.values():
            if plan.phase is Phase.RETIRE:
                yield from (target.group for target in plan.targets)
