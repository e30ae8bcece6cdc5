"""The transitions of placement/reshape.py under every order of events that seeds can think of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from holdfast_node.placement import reshape
from holdfast_node.placement.plan import Kind, Phase

from tests.property.reshape_model import Broken, World

SEEDS = 400
STEPS = 150
ROUNDS = 12


def run(kind: Kind, seed: int) -> Phase:
    """One world: disorder, then fairness until the plan has ended."""
    world = World(kind, seed)
    for _ in range(STEPS):
        world.step()
    for _ in range(ROUNDS):
        if not world.plan.is_open:
            break
        world.fair()
    if world.plan.is_open:
        raise Broken(f"it never ends: {world.plan.phase.name}")
    return world.plan.phase


@pytest.mark.parametrize("kind", list(Kind))
def test_a_plan_ends_whole_or_is_taken_back_whole(kind: Kind) -> None:
    """Whatever is lost, late, repeated or forgotten: one of the two, and never a range with two owners."""
    ended = {run(kind, seed) for seed in range(SEEDS)}

    assert ended == {Phase.DONE, Phase.CANCELLED}


def _flips_by_itself(plan: Any, facts: Any) -> Any:
    """Placement's own word instead of an applied Seal."""
    return reshape.Next((reshape.Advance(Phase.RETIRE),), "sealed")


def _forgets_without_proof(plan: Any, source: Any, facts: Any) -> bool:
    """Taken for aborted as soon as somebody wished it."""
    return plan.phase is Phase.CANCELLING


def _retires_early(plan: Any, facts: Any) -> Any:
    return reshape.Next((reshape.Advance(Phase.DONE),), "done")


def _releases_without_proof(plan: Any, facts: Any) -> Any:
    """The first source of a merge before the last one's Abort."""
    for source in plan.sources:
        if not reshape._is_aborted(plan, source, facts):
            return reshape._ask(
                source, facts, reshape.AskUnseal if source is not plan.decider else reshape.AskAbort
            )
    return reshape.Next((reshape.Advance(Phase.CANCELLED),), "taken back")


@pytest.mark.parametrize(
    ("kind", "name", "planted"),
    [
        (Kind.SPLIT, "_seal", _flips_by_itself),
        (Kind.SPLIT, "_is_aborted", _forgets_without_proof),
        (Kind.SPLIT, "_retire", _retires_early),
        (Kind.MOVE, "_retire", _retires_early),
        (Kind.MERGE, "_cancel", _releases_without_proof),
    ],
)
def test_the_model_objects_to_a_rule_left_out(
    monkeypatch: pytest.MonkeyPatch, kind: Kind, name: str, planted: Callable[..., Any]
) -> None:
    """Each rule is there for a reason the model can show."""
    monkeypatch.setattr(reshape, name, planted)

    with pytest.raises(Broken):
        all(run(kind, seed) for seed in range(SEEDS))
