"""How a shard ends: the seal of a reshape, and the judgement of plans.

A plan happens or not by what is applied in the source's log first: its Seal, or its Abort. The judge is a
part of the state, so that every replica, also a restored one, gives the same verdict.

Invariants: the floor never goes back; a plan at or below it never seals; a seal that decides is never taken
back; two plans never both seal.
Not here: whether targets fill the shard's range, which the state does not know (the caller checks before it
proposes); what becomes of the keys (handover.py).
Source: docs/decisions/0006-reshape.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from holdfast_node.limits import KEY_BYTES_MAX, SEAL_REPLICAS_MAX, SEAL_SOURCES_MAX, SEAL_TARGETS_MAX


class Target(NamedTuple):
    """A group that takes over [start, end); b'' as end: to the last key. The first replica should lead."""

    group: int
    start: bytes
    end: bytes
    replicas: tuple[int, ...]

    def problem(self) -> str:
        """What is wrong with it, '' when nothing is."""
        if not self.group:
            return "a target's group is 0"
        if max(len(self.start), len(self.end)) > KEY_BYTES_MAX:
            return f"a bound of target {self.group} is longer than a key may be"
        if self.end and self.start >= self.end:
            return f"target {self.group} has no range: its start is not before its end"
        if not 1 <= len(self.replicas) <= SEAL_REPLICAS_MAX:
            return f"target {self.group} has {len(self.replicas)} replicas; it must be 1..{SEAL_REPLICAS_MAX}"
        if 0 in self.replicas or len(set(self.replicas)) != len(self.replicas):
            return f"replicas of target {self.group} are not different nodes: {self.replicas}"
        return ""


# Not a named tuple, as such a one has a method `index`.
@dataclass(frozen=True, slots=True)
class OtherSource:
    """Another source of a merge, and the place of its own Seal."""

    group: int
    index: int
    term: int


class Seal(NamedTuple):
    """What a Seal entry says; see command.proto."""

    plan: int
    decides: bool
    targets: tuple[Target, ...]
    others: tuple[OtherSource, ...] = ()

    def problem(self) -> str:
        """What is wrong with it, '' when nothing is."""
        if not self.plan:
            return "plans are numbered from 1"
        if not 1 <= len(self.targets) <= SEAL_TARGETS_MAX:
            return f"a seal names {len(self.targets)} targets; it must be 1..{SEAL_TARGETS_MAX}"
        if len(self.others) >= SEAL_SOURCES_MAX:
            return f"a plan may have {SEAL_SOURCES_MAX} sources, this has {len(self.others) + 1}"
        if self.others and not self.decides:
            return "only the seal that decides names other sources"
        groups = [target.group for target in self.targets] + [other.group for other in self.others]
        if 0 in groups or len(set(groups)) != len(groups):
            return f"groups are not different ones: {groups}"
        return next(filter(None, (target.problem() for target in self.targets)), "")


class Abort(NamedTuple):
    """What an Abort entry says: the plan never happens here."""

    plan: int


class Unseal(NamedTuple):
    """What an Unseal entry says: the seal of a plan that does not decide is taken back."""

    plan: int


Verdict = Seal | Abort | Unseal


@dataclass(frozen=True, slots=True)
class Sealed:
    """The seal a state stands under, and the place of its entry in the log."""

    plan: int
    decides: bool
    index: int
    term: int
    targets: tuple[Target, ...]
    others: tuple[OtherSource, ...]

    def seal(self) -> Seal:
        """What the entry said."""
        return Seal(self.plan, self.decides, self.targets, self.others)


class Judge:
    """What a shard's log has decided about plans. Verdicts: '' it is so, else why it is refused."""

    __slots__ = ("floor", "sealed")

    def __init__(self, sealed: Sealed | None = None, floor: int = 0) -> None:
        self.sealed = sealed
        # The highest plan that was aborted here.
        self.floor = floor

    def seal(self, seal: Seal, place: tuple[int, int]) -> str:
        """A Seal: changes nothing when it is a repeat."""
        if self.sealed is not None:
            return "" if self.sealed.plan == seal.plan else f"sealed by plan {self.sealed.plan}"
        if seal.plan <= self.floor:
            return f"plan {seal.plan} was aborted: the floor is {self.floor}"
        self.sealed = Sealed(seal.plan, seal.decides, *place, seal.targets, seal.others)
        return ""

    def abort(self, plan: int) -> str:
        """An Abort: raises the floor, also of a state that another plan has sealed."""
        if self.sealed is not None and self.sealed.plan == plan:
            return f"sealed by plan {plan}"
        self.floor = max(self.floor, plan)
        return ""

    def unseal(self, plan: int) -> str:
        """An Unseal: takes back a seal that does not decide."""
        if self.sealed is not None and self.sealed.plan == plan:
            if self.sealed.decides:
                return f"the seal of plan {plan} has decided"
            self.sealed = None
        self.floor = max(self.floor, plan)
        return ""
