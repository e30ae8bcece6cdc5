"""A plan: how some shards are ended and others started in their place.

Invariant: a plan's phase only goes forward, along PREPARE -> SEAL -> RETIRE -> DONE, or from one of the
first two into CANCELLING and from there to CANCELLED, or back onto the first line at RETIRE when a
source's log had already decided for the plan.
Not here: when a phase is over (reshape.py) and which plans are good (planner.py).
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from holdfast_node.cache.seal import Target


class Kind(IntEnum):
    """What a plan does; numbers as in placement.proto. SPLIT and MERGE stay on their nodes."""

    SPLIT = 1
    MERGE = 2
    MOVE = 3


class Phase(IntEnum):
    """How far a plan is; numbers as in placement.proto."""

    PREPARE = 1
    SEAL = 2
    RETIRE = 3
    DONE = 4
    CANCELLING = 5
    CANCELLED = 6


OPEN = frozenset((Phase.PREPARE, Phase.SEAL, Phase.RETIRE, Phase.CANCELLING))


class Source(NamedTuple):
    """A shard that a plan ends, as the map had it. replicas: node ids."""

    group: int
    start: bytes
    end: bytes
    replicas: tuple[int, ...]


class Plan(NamedTuple):
    """One reshape.

    Attributes:
        id: never used again; what Seal and Abort entries name.
        namespace: of all its shards.
        sources: in the order of their group ids, which is the order in which they are sealed; the last
            one's log decides.
        targets: in key order; together they cover what the sources cover.
        reason: by whom it was asked for, or the policy with its figures.
        created_ms, ended_ms: wall clock of the placement leader; ended 0: open.
        why_cancelled: for a person; empty: nobody wants that.
    """

    id: int
    kind: Kind
    namespace: str
    sources: tuple[Source, ...]
    targets: tuple[Target, ...]
    phase: Phase = Phase.PREPARE
    reason: str = ""
    created_ms: int = 0
    ended_ms: int = 0
    why_cancelled: str = ""

    @property
    def is_open(self) -> bool:
        """Whether there is still something to do for it."""
        return self.phase in OPEN

    @property
    def decider(self) -> Source:
        """The source whose log decides between Seal and Abort."""
        return self.sources[-1]

    def newcomers(self) -> tuple[tuple[int, Target], ...]:
        """(node, target) of replicas whose node holds no replica of the sources: they must copy."""
        held = set.intersection(*(set(source.replicas) for source in self.sources))
        return tuple(
            (node, target) for target in self.targets for node in target.replicas if node not in held
        )
