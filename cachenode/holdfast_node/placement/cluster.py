"""What a cluster consists of, as the placement group keeps it: nodes, namespaces, shards, settings.

Plain immutable values; whoever changes one makes another. What nodes report of themselves (liveness, load)
is not kept: loads.py.
Invariants: ids of nodes, groups and plans come from counters that only grow; a shard's range, group and
replicas never change while it is in the map.
Not here: the rules by which they change (nodes.py, namespaces.py, plans.py).
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from holdfast.errors import Reason
from holdfast.units import Units

from holdfast_node.cache.policy import Eviction
from holdfast_node.limits import BUDGET_BYTES_DEFAULT, MIB

WEIGHT_USUAL = 100
REPLICAS_USUAL = 3
PLACEMENT_GROUP = 1
"""The placement group's first id; a move gives it another."""
PLACEMENT_NAMESPACE = ""
"""What a replica of the placement group has as its namespace: no tenant's is called so."""


class Refusal(NamedTuple):
    """Why nothing was done, in the words of holdfast.errors, and what to do."""

    reason: Reason
    message: str
    field: str = ""


class Node(NamedTuple):
    """A node.

    Attributes:
        incarnation: random, made with its data directory; 0: not known yet.
        weight: its share of bytes and leaders against the others'; 0: takes none.
        cordoned_until_ms: no replicas are given to it, and none replaced for its being down; 0: not.
        draining: its replicas are being moved away.
        expected: named with AddNode and not seen yet.
        gone: its data directory is lost: another incarnation serves at its address. For ever.
    """

    id: int
    address: str
    http: str = ""
    zone: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    weight: int = WEIGHT_USUAL
    incarnation: int = 0
    cordoned_until_ms: int = 0
    draining: bool = False
    expected: bool = False
    gone: bool = False

    @property
    def host(self) -> str:
        """The machine it is on, as far as its address says."""
        return self.address.rpartition(":")[0]

    def is_cordoned(self, now_ms: int) -> bool:
        return self.cordoned_until_ms > now_ms

    def why_no_replica(self, now_ms: int) -> str:
        """Why no replica may be given to it; '': one may."""
        if self.gone:
            return "has lost its data directory: another node serves at its address"
        if self.expected:
            return f"has not joined yet: start it with `holdfast serve --join` at {self.address}"
        if self.draining:
            return f"is being drained: end that with `holdfast node uncordon {self.id}`"
        if self.is_cordoned(now_ms):
            return f"is cordoned: end that with `holdfast node uncordon {self.id}`"
        if not self.weight:
            return "has weight 0 and takes no replicas: give it a weight"
        return ""


class Namespace(NamedTuple):
    """A namespace and its policy.

    Attributes:
        replicas: of each shard.
        unit_parts, unit_separator, hashed: which keys no cut separates (units.py); fixed at its creation.
    """

    name: str
    budget_bytes: int = BUDGET_BYTES_DEFAULT
    eviction: Eviction = Eviction.CLOCK
    strict_ttl: bool = False
    replicas: int = REPLICAS_USUAL
    unit_parts: int = 0
    unit_separator: bytes = b"/"
    hashed: bool = False

    @property
    def units(self) -> Units:
        return Units(self.unit_parts, self.unit_separator, self.hashed)

    @property
    def hashed_by(self) -> Units | None:
        """Its units, if it is hashed: what its shards' entries and replicas say."""
        return self.units if self.hashed else None


PLACEMENT_SPACE = Namespace(PLACEMENT_NAMESPACE)
"""What the placement group's number of replicas goes by."""


class ShardRow(NamedTuple):
    """A shard as the map has it; or the placement group, which no map has.

    Attributes:
        namespace: see PLACEMENT_NAMESPACE.
        replicas: node ids, the first is to lead.
        epoch: the map's when it appeared.
        plan: the one that made it; 0: it began empty.
        split_ms: when a split made it, or the shard it was moved from; 0: none did.
        kept: its start is a cut that somebody asked for: the planner does not merge it away.
    """

    group: int
    namespace: str
    start: bytes
    end: bytes
    replicas: tuple[int, ...]
    epoch: int
    plan: int = 0
    split_ms: int = 0
    kept: bool = False

    @property
    def is_placement(self) -> bool:
        return self.namespace == PLACEMENT_NAMESPACE


class Policy(IntEnum):
    """What the planner does by itself; numbers as in placement.proto."""

    SPLIT_BY_SIZE = 1
    SPLIT_BY_LOAD = 2
    MERGE = 3
    BALANCE = 4
    REPLACE = 5
    DRAIN = 6


class Planning(NamedTuple):
    """What the planner goes by; see Planning in placement.proto."""

    paused: frozenset[Policy] = frozenset()
    split_bytes: int = 256 * MIB
    merge_bytes: int = 32 * MIB
    plans_max: int = 4
    copy_bytes_per_s: int = 64 * MIB
    replace_after_ms: int = 60_000
    busy_percent: int = 70
    idle_percent: int = 50
    skew_percent: int = 10

    def problem(self) -> Refusal | None:
        """What is wrong with it."""
        for name, (least, most) in PLANNING_BOUNDS.items():
            if not least <= getattr(self, name) <= most:
                return Refusal(
                    Reason.INVALID,
                    f"{name} must be {least}..{most}, not {getattr(self, name)}",
                    f"limits.{name}",
                )
        if self.merge_bytes * 2 > self.split_bytes:
            return Refusal(
                Reason.INVALID,
                f"merge_bytes is {self.merge_bytes} and split_bytes {self.split_bytes}: it must be at most"
                " half, or what was merged would be split again",
                "limits.merge_bytes",
            )
        if self.idle_percent >= self.busy_percent:
            return Refusal(Reason.INVALID, "idle_percent must be below busy_percent", "limits.idle_percent")
        return None


PLANNING_BOUNDS = {
    "split_bytes": (64 * 1024, 1 << 50),
    "merge_bytes": (1, 1 << 49),
    "plans_max": (1, 64),
    "copy_bytes_per_s": (64 * 1024, 1 << 40),
    "replace_after_ms": (1_000, 7 * 24 * 3600 * 1000),
    "busy_percent": (2, 100),
    "idle_percent": (1, 99),
    "skew_percent": (1, 100),
}


def ids(numbers: tuple[int, ...] | list[int]) -> str:
    """Numbers for a person: at most eight of them."""
    shown = ", ".join(map(str, numbers[:8]))
    return shown if len(numbers) <= 8 else f"{shown} and {len(numbers) - 8} more"
