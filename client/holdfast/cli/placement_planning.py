"""Asks for the planner's policies, limits and pauses, and what it would do now.

Knows message classes, like placement.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from holdfast.cli.placement import Placement
from holdfast.cli.placement_plans import PlanFacts, plan_facts, word
from holdfast.v1 import placement_pb2 as pb


class PlanningFacts(NamedTuple):
    """What the planner goes by. Field names but `paused` are those of the limits that can be set."""

    paused: tuple[str, ...]
    split_bytes: int
    merge_bytes: int
    plans_max: int
    copy_bytes_per_s: int
    replace_after_ms: int
    busy_percent: int
    idle_percent: int
    skew_percent: int


class ProposalFacts(NamedTuple):
    """Something the planner would do: a reshape, or a leadership handed over."""

    policy: str
    plan: PlanFacts | None
    transfer_group: int  # 0: no transfer
    transfer_to: int
    why: str


class Explanation(NamedTuple):
    """What the planner would do, in that order, and why nothing more."""

    proposals: tuple[ProposalFacts, ...]
    idle: tuple[str, ...]


async def planning(placement: Placement) -> PlanningFacts:
    """Policies and limits as they are."""
    return _facts((await placement.look("GetPlanning", pb.GetPlanningRequest())).planning)


async def set_planning(
    placement: Placement, *, pause: Iterable[str] = (), resume: Iterable[str] = (),
    limits: Mapping[str, int] | None = None, dry_run: bool = False,
) -> PlanningFacts:  # fmt: skip
    """Pauses and resumes policies; sets the limits named."""
    request = pb.SetPlanningRequest(pause=map(_policy, pause), resume=map(_policy, resume), dry_run=dry_run)
    for name, number in (limits or {}).items():
        setattr(request.limits, name, number)
    return _facts((await placement.change("SetPlanning", request)).planning)


async def explain(placement: Placement) -> Explanation:
    """What the planner would do now, and why."""
    answer = await placement.look("ExplainPlanning", pb.ExplainPlanningRequest())
    return Explanation(tuple(map(_proposal, answer.proposals)), tuple(answer.idle))


def _policy(name: str) -> pb.Planning.Policy.ValueType:
    return pb.Planning.Policy.Value("POLICY_" + name.upper().replace("-", "_"))


def _name(policy: int) -> str:
    return word(pb.Planning.Policy, policy, "POLICY_").replace("_", "-")


def _proposal(message: Any) -> ProposalFacts:
    plan = plan_facts(message.plan) if message.HasField("plan") else None
    return ProposalFacts(
        _name(message.policy), plan, message.transfer_group, message.transfer_to, message.why
    )


def _facts(message: Any) -> PlanningFacts:
    return PlanningFacts(
        paused=tuple(map(_name, message.paused)),
        split_bytes=message.split_bytes,
        merge_bytes=message.merge_bytes,
        plans_max=message.plans_max,
        copy_bytes_per_s=message.copy_bytes_per_s,
        replace_after_ms=message.replace_after_ms,
        busy_percent=message.busy_percent,
        idle_percent=message.idle_percent,
        skew_percent=message.skew_percent,
    )
