"""How the placement group itself ends, and how the group that goes on begins: a plan whose source it is.

The plan and the judgement of it stand in one log. So a Seal is accepted only while that log has the plan in
SEAL, naming this group and those targets; and the Seal is what flips: the group that goes on finds its
plan in RETIRE. No Advance does that, as it could be applied without the group being ended.

Invariants:
- Of the groups that are the placement group one after another, each is sealed before the next one begins, so
  at most one is not sealed and takes commands.
- Ids, epochs and plans go on where the sealed state stood: none is given twice, none goes back.
Source: docs/decisions/0006-reshape.md.
"""

from __future__ import annotations

from holdfast.errors import Reason

from holdfast_node.cache.seal import Abort, Judge, Seal
from holdfast_node.placement.answer import Answer, Result
from holdfast_node.placement.cluster import Refusal
from holdfast_node.placement.content import Content
from holdfast_node.placement.plan import Phase, Plan
from holdfast_node.placement.plans import flip


def seal(content: Content, c: Seal, place: tuple[int, int]) -> Result:
    """A Seal: ends this group for a plan, unless its log says otherwise."""
    judge = Judge(content.sealed, content.floor)
    problem = ("" if content.sealed is not None else _seal_problem(content, c)) or judge.seal(c, place)
    if problem:
        return Refusal(Reason.CONDITION_FAILED, problem)
    changed = content.sealed is None
    content.sealed = judge.sealed
    return Answer(content.epoch, f"the placement group is sealed by plan {c.plan}", changed=changed)


def _seal_problem(content: Content, c: Seal) -> str:
    plan = content.plans.get(c.plan)
    if plan is None or plan.phase is not Phase.SEAL:
        return f"plan {c.plan} is not in SEAL"
    if plan.decider.group != content.placement.group or not c.decides or _places(plan) != _named(c):
        return f"this is not what plan {c.plan} says"
    return ""


def _places(plan: Plan) -> set[tuple[int, frozenset[int]]]:
    return {(target.group, frozenset(target.replicas)) for target in plan.targets}


def _named(c: Seal) -> set[tuple[int, frozenset[int]]]:
    """In any order of replicas: a Seal puts the one first that is to lead."""
    return {(target.group, frozenset(target.replicas)) for target in c.targets}


def abort(content: Content, c: Abort) -> Result:
    """An Abort: no Seal of the plan will ever be applied here, if none is."""
    judge = Judge(content.sealed, content.floor)
    problem = judge.abort(c.plan)
    if problem:
        return Refusal(Reason.CONDITION_FAILED, problem)
    content.floor = judge.floor
    return Answer(content.epoch, f"plan {c.plan} will not seal the placement group")


def go_on(content: Content) -> None:
    """Makes the sealed group's content what the group that its Seal names begins with."""
    sealed = content.sealed
    assert sealed is not None, "only a sealed state is handed over"
    plan = content.plans[sealed.plan]._replace(phase=Phase.RETIRE)
    content.sealed, content.floor = None, 0
    content.plans[plan.id] = plan
    flip(content, plan, when_ms=0)
