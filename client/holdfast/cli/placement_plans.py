"""Asks for reshapes and how far they are: split, merge, move; list, show, cancel.

Knows message classes, like placement.py.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from holdfast.cli.placement import Placement, shard_of
from holdfast.shardmap import Shard
from holdfast.v1 import placement_pb2 as pb


class PlanFacts(NamedTuple):
    """One reshape, from the wish to its end."""

    id: int  # 0: only what it would be
    kind: str  # split | merge | move
    phase: str  # prepare | seal | retire | done | cancelling | cancelled
    sources: tuple[Shard, ...]
    targets: tuple[Shard, ...]
    reason: str
    progress: str
    created_ms: int
    ended_ms: int  # 0: has not ended

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will happen."""
        return self.phase in ("done", "cancelled")

    @property
    def can_be_cancelled(self) -> bool:
        """Whether its sources are not sealed yet."""
        return self.phase in ("unspecified", "prepare")


async def split(
    placement: Placement, group: int, key: bytes | None, place: bytes | None, by_load: bool, dry_run: bool
) -> PlanFacts:
    """Cuts a shard before `key` or `place`; without one at the middle of its bytes, or of its load."""
    request = pb.SplitShardRequest(group=group, dry_run=dry_run)
    if key is not None:
        request.key = key
    elif place is not None:
        request.place = place
    elif by_load:
        request.by_load = True
    else:
        request.middle = True
    return plan_facts((await placement.change("SplitShard", request)).plan)


async def merge(placement: Placement, group: int, other: int, dry_run: bool) -> PlanFacts:
    """Joins two neighbours."""
    request = pb.MergeShardsRequest(group=group, other=other, dry_run=dry_run)
    return plan_facts((await placement.change("MergeShards", request)).plan)


async def move(
    placement: Placement, group: int, nodes: tuple[int, ...], from_node: int, to_node: int, dry_run: bool
) -> PlanFacts:
    """Gives a shard these nodes, or another node in place of one."""
    request = pb.MoveShardRequest(
        group=group, nodes=nodes, from_node=from_node, to_node=to_node, dry_run=dry_run
    )
    return plan_facts((await placement.change("MoveShard", request)).plan)


async def plan(placement: Placement, number: int) -> PlanFacts:
    """How far a plan is."""
    return plan_facts((await placement.look("GetPlan", pb.GetPlanRequest(id=number))).plan)


async def plans(placement: Placement, *, ended: bool, limit: int = 0) -> list[PlanFacts]:
    """Plans under way; with `ended` also those that have ended, the newest first."""
    answer = await placement.look("ListPlans", pb.ListPlansRequest(ended=ended, limit=limit))
    return [plan_facts(entry) for entry in answer.plans]


async def cancel(placement: Placement, number: int) -> PlanFacts:
    """Takes a plan back."""
    return plan_facts((await placement.change("CancelPlan", pb.CancelPlanRequest(id=number))).plan)


def plan_facts(message: Any) -> PlanFacts:
    """A plan as the placement group tells it; words of a newer server are taken as they are."""
    return PlanFacts(
        id=message.id,
        kind=word(pb.Plan.Kind, message.kind, "KIND_"),
        phase=word(pb.Plan.Phase, message.phase, "PHASE_"),
        sources=tuple(map(shard_of, message.sources)),
        targets=tuple(map(shard_of, message.targets)),
        reason=message.reason,
        progress=message.progress,
        created_ms=message.created_ms,
        ended_ms=message.ended_ms,
    )


def word(names: Any, number: int, prefix: str) -> str:
    """An enum's value as a word; a number that only a newer server knows as itself."""
    try:
        name: str = names.Name(number)
    except ValueError:
        return str(number)
    return name.removeprefix(prefix).lower()
