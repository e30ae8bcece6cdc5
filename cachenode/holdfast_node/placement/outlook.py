"""The cluster as it will be when everything under way and wished for is done: what the policies look at.

Made for one round of planning. A policy that wishes something says so here, and the next one sees it.
Invariants: no two wishes of a round touch one shard, nor one that an open plan touches; wishes and open
plans together stay within plans_max, but for one over the placement group, which waits for nobody; no
node is given another copy while what it is taking in would then be more than a second's worth of its cap.
Not here: what is good (the policies' modules).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from holdfast_node.placement.cluster import Node, Policy, ShardRow
from holdfast_node.placement.content import Content
from holdfast_node.placement.loads import Loads, ShardLoad
from holdfast_node.placement.plan import Kind, Phase, Plan
from holdfast_node.placement.shape import Part, Shape

SHARD_BYTES = 64 * 1024
"""What a shard counts for beside its bytes, so that empty ones are spread too."""


class Wish(NamedTuple):
    """What a policy would do: a plan, or a leadership handed over (transfer_group 0: none)."""

    policy: Policy
    why: str
    shape: Shape | None = None
    transfer_group: int = 0
    transfer_to: int = 0


class Standing(NamedTuple):
    """A shard as it will be, or the placement group.

    Attributes:
        row: as the map has it.
        replicas: as they will be.
        load: None: its leader has not reported yet.
        leader: as it will be; 0: not known.
        is_taken: a plan is about to end it, or a wish touches it.
        is_settling: the plan that made it is not done: it may be moved off lost nodes, and no more.
    """

    row: ShardRow
    replicas: tuple[int, ...]
    load: ShardLoad | None
    leader: int
    is_taken: bool
    is_settling: bool

    @property
    def name(self) -> str:
        """For a person."""
        return "the placement group" if self.row.is_placement else f"shard {self.row.group}"

    @property
    def size(self) -> int:
        return SHARD_BYTES + (self.load.bytes if self.load is not None else 0)

    @property
    def may_be_planned(self) -> bool:
        """Whether any plan over it could come to its end."""
        return not self.is_taken and not self.is_settling and self.is_served

    @property
    def is_served(self) -> bool:
        """Whether it has a leader with a majority."""
        return self.load is not None and self.load.has_quorum and self.leader != 0


class Outlook:
    """See the module docstring.

    Attributes:
        wishes, idle: what the policies have said so far; idle lines by policy, for a person.
        shards: by group.
        placement: the placement group, which has replicas as shards have, and neither keys nor load.
    """

    def __init__(self, content: Content, loads: Loads, now_ms: int) -> None:
        self.content = content
        self.loads = loads
        self.now_ms = now_ms
        self.planning = content.planning
        self.wishes: list[Wish] = []
        self.idle: list[str] = []
        self.slots = content.planning.plans_max - len(content.plans)
        self.incoming: dict[int, list[int]] = {}
        self.shards: dict[int, Standing] = {}
        taken = {source.group for plan in content.plans.values() for source in plan.sources}
        settling = {target.group for plan in content.plans.values() for target in plan.targets}
        for row in (content.placement, *content.shards.values()):
            group, load = row.group, loads.shards.get(row.group)
            leader = load.leader if load is not None else 0
            self._put(Standing(row, row.replicas, load, leader, group in taken, group in settling))
        for plan in content.plans.values():
            if plan.phase in (Phase.PREPARE, Phase.SEAL):
                self._expect(plan)

    def _expect(self, plan: Plan) -> None:
        size = sum(self._standing(source.group).size for source in plan.sources)
        for node, _ in plan.newcomers():
            self.incoming.setdefault(node, []).append(size)
        if plan.kind is Kind.MOVE:
            self._moved(plan.sources[0].group, plan.targets[0].replicas)

    def _moved(self, group: int, replicas: tuple[int, ...]) -> None:
        standing = self._standing(group)
        leader = standing.leader if standing.leader in replicas else replicas[0]
        self._put(standing._replace(replicas=replicas, leader=leader))

    def _standing(self, group: int) -> Standing:
        return self.placement if group == self.content.placement.group else self.shards[group]

    def _put(self, standing: Standing) -> None:
        if standing.row.is_placement:
            self.placement = standing
        else:
            self.shards[standing.row.group] = standing

    # ---- what policies say -----------------------------------------------------------------------------

    def move(self, policy: Policy, group: int, replicas: Iterable[int], why: str) -> None:
        """Wishes other nodes for a shard, or for the placement group."""
        standing = self._standing(group)
        wanted = _led_by(standing.leader, tuple(replicas))
        row = standing.row
        for node in set(wanted) - set(row.replicas):
            self.incoming.setdefault(node, []).append(standing.size)
        self._wish(policy, why, Kind.MOVE, (group,), (Part(row.start, row.end, wanted),))
        self._moved(group, wanted)

    def split(self, policy: Policy, group: int, key: bytes, right_leader: int, why: str) -> None:
        """Wishes a cut at `key`; the right part is to be led by another node."""
        standing = self.shards[group]
        row = standing.row
        left = Part(row.start, key, _led_by(standing.leader, row.replicas))
        right = Part(key, row.end, _led_by(right_leader, row.replicas))
        self._wish(policy, why, Kind.SPLIT, (group,), (left, right))

    def merge(self, policy: Policy, left: int, right: int, why: str) -> None:
        """Wishes two neighbours joined."""
        one, two = self.shards[left], self.shards[right]
        part = Part(one.row.start, two.row.end, _led_by(one.leader, one.row.replicas))
        self._wish(policy, why, Kind.MERGE, (left, right), (part,))

    def transfer(self, policy: Policy, group: int, to_node: int, why: str) -> None:
        """Wishes a leadership handed over; that takes no plan."""
        standing = self.shards[group]
        self.shards[group] = standing._replace(leader=to_node, is_taken=True)
        self.wishes.append(Wish(policy, why, transfer_group=group, transfer_to=to_node))

    def hold(self, group: int) -> None:
        """Keeps a shard as it is for this round."""
        self.shards[group] = self.shards[group]._replace(is_taken=True)

    def _wish(
        self, policy: Policy, why: str, kind: Kind, sources: tuple[int, ...], parts: tuple[Part, ...]
    ) -> None:
        heals_all = sources == (self.content.placement.group,)
        assert self.slots > 0 or heals_all, "a policy wishes only while there is room for a plan"
        self.slots -= 1
        for group in sources:
            self._put(self._standing(group)._replace(is_taken=True))
        shape = Shape(kind, sources, parts, self.content.epoch)
        self.wishes.append(Wish(policy, why, shape))

    def say_idle(self, policy: Policy, why: str) -> None:
        """Why a policy does nothing, or nothing more."""
        self.idle.append(f"{policy.name.lower()}: {why}")

    def is_full(self, policy: Policy, standing: Standing | None = None) -> bool:
        """Whether no further plan may be wished, over `standing`; says so."""
        if self.slots > 0 or (standing is not None and standing.row.is_placement):
            return False
        self.say_idle(policy, f"{self.planning.plans_max} plans are under way or wished, the most at once")
        return True

    # ---- what policies ask -----------------------------------------------------------------------------

    def is_up(self, node: int) -> bool:
        return self.loads.node(node).is_up

    def unknown(self) -> list[int]:
        """Members of which it is not known whether they are up."""
        return [node for node in sorted(self.content.members()) if self.loads.node(node).down_ms is None]

    def participants(self) -> list[Node]:
        """Nodes that are to have their share."""
        return [
            node
            for _, node in sorted(self.content.members().items())
            if self.is_up(node.id) and not node.why_no_replica(self.now_ms)
        ]

    def takers(self, standing: Standing) -> list[Node]:
        """Nodes that can take in a copy of it now; the placement group is small, and waits for no other."""
        able = [node for node in self.participants() if not self.loads.node(node.id).disk_full]
        if standing.row.is_placement:
            return able
        return [node for node in able if self.may_take(node.id, standing.size)]

    def may_take(self, node: int, size: int) -> bool:
        """Whether the node's copying has room."""
        coming = self.incoming.get(node, ())
        return not coming or sum(coming) + size <= self.planning.copy_bytes_per_s

    def held(self) -> dict[int, int]:
        """Bytes on each node, as they will be."""
        held = dict.fromkeys(self.content.nodes, 0)
        for standing in self.shards.values():
            for node in standing.replicas:
                held[node] += standing.size
        return held

    def everything(self) -> Iterator[Standing]:
        """The placement group, as it heals all others, and the shards by group."""
        yield self.placement
        yield from self.ordered()

    def ordered(self) -> Iterator[Standing]:
        """Shards by group; stays good while wishes are made."""
        for group in sorted(self.shards):
            yield self.shards[group]


def _led_by(leader: int, replicas: tuple[int, ...]) -> tuple[int, ...]:
    """The replicas, with the leader first when it is one of them."""
    if leader not in replicas:
        return replicas
    return (leader, *(node for node in replicas if node != leader))
