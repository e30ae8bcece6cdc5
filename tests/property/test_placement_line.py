"""The placement group over its moves, against what must hold whatever is asked of it and whenever it
moves.
"""

from __future__ import annotations

import random
from typing import Any

from holdfast_node.cache.seal import Abort, Seal
from holdfast_node.placement import commands as c
from holdfast_node.placement.cluster import Refusal
from holdfast_node.placement.image import Builder
from holdfast_node.placement.plan import Kind, Phase
from holdfast_node.placement.shape import Part, Shape
from holdfast_node.placement.state import PlacementState

from tests.placement_world import cluster

NODES = (1, 2, 3, 4, 5)
RIPE = {Phase.PREPARE: Phase.SEAL, Phase.CANCELLING: Phase.CANCELLED, Phase.RETIRE: Phase.DONE}
KINDS = ("move", "move", "ripen", "ripen", "seal", "seal", "advance", "cancel", "abort", "join", "set")
COMMANDS = 200
SEEDS = 25


def restored(state: PlacementState) -> PlacementState:
    """Through a snapshot."""
    builder = Builder()
    for chunk in state.freeze().chunks():
        builder.feed(chunk)
    builder.finish()
    return PlacementState.restored(builder)


def asked(state: PlacementState, rng: random.Random) -> Any:
    """What admins, policies and a conductor may ask, sound or not."""
    what, nodes = rng.choice(KINDS), tuple(rng.sample(NODES, rng.randint(1, 3)))
    plan = rng.choice([*state.plans.values()]) if state.plans else None
    if what in ("ripen", "seal"):
        plan = state.plan_over(state.placement.group)
    if what == "move":
        row = rng.choice([state.placement, state.placement, *state.shards.values()])
        shape = Shape(Kind.MOVE, (row.group,), (Part(row.start, row.end, nodes),), state.epoch)
        return c.StartPlan(shape, "", 1)
    if what == "join":
        number = rng.randrange(8)
        return c.JoinNode(f"10.0.1.{number}:1", 500 + number)
    if what == "set" or plan is None:
        return c.SetNode(nodes[0], weight=rng.randint(1, 9))
    if what == "ripen":
        return c.Advance(plan.id, plan.phase, RIPE.get(plan.phase, Phase.DONE), 2)
    if what == "advance":
        return c.Advance(plan.id, plan.phase, rng.choice(list(Phase)), 2)
    if what == "cancel":
        return c.CancelPlan(plan.id, "", 3)
    return Seal(plan.id, True, plan.targets) if what == "seal" else Abort(plan.id)


def test_a_line_of_placement_groups_is_one_that_moves() -> None:
    """Restored at any moment it is the same; no id is given twice; epochs grow; a sealed one is frozen."""
    lines = [_line(random.Random(seed)) for seed in range(SEEDS)]

    assert all(groups == sorted(set(groups)) for groups in lines)
    assert sum(map(len, lines)) > 3 * SEEDS, "it moves, or nothing was tried"


def _line(rng: random.Random) -> list[int]:
    """The groups that were the placement group, one after another."""
    state = cluster(5, shards=2).state
    epoch, groups, named = state.epoch, [state.placement.group], dict[int, int]()
    for index in range(COMMANDS):
        command, before, twin = asked(state, rng), state.digest(), restored(state)
        result = state.apply(command, (index, 1))
        assert twin.apply(command, (index, 1)) == result
        assert twin.digest() == state.digest()
        assert not isinstance(result, Refusal) or state.digest() == before
        assert state.epoch >= epoch
        epoch = state.epoch
        for plan in (*state.plans.values(), *state.ended.values()):
            assert named.setdefault(plan.id, plan.targets[0].group) == plan.targets[0].group
        assert len(set(named.values())) == len(named)
        if state.sealed is not None:
            state = _goes_on(state, rng)
            groups.append(state.placement.group)
    return groups


def _goes_on(state: PlacementState, rng: random.Random) -> PlacementState:
    """Of a sealed state, whatever comes behind its Seal."""
    assert state.sealed is not None
    goes_on, frozen = state.cut(b"", b"", state.placement.group), state.digest()
    for _ in range(5):
        state.apply(asked(state, rng), (99, 2))
    assert restored(state).cut(b"", b"", state.placement.group).digest() == goes_on.digest()
    assert goes_on.placement.group == state.sealed.targets[0].group
    assert goes_on.epoch == state.epoch + 1
    assert state.digest() == frozen or state.floor, "but for a plan's Abort, nothing is taken"
    return goes_on
