"""How the placement group ends, and what the group that goes on begins with."""

from __future__ import annotations

import pytest
from holdfast.errors import Reason
from holdfast_node.cache.seal import Abort, OtherSource, Seal, Target
from holdfast_node.placement import commands as c
from holdfast_node.placement.answer import Answer
from holdfast_node.placement.plan import Kind, Phase
from holdfast_node.placement.shape import Part, Shape
from holdfast_node.placement.state import PlacementState

from tests.placement_world import World, cluster, move, refusal

PLACE = (70, 8)


def sealing() -> tuple[World, Seal]:
    """A plan over the placement group in SEAL, beside one over a shard; and the Seal of it."""
    world = cluster(5, shards=2)
    assert isinstance(world.state.apply(move(world, 2, 1, 2, 5)), Answer)
    plan = world.state.apply(move(world, 1, 2, 3, 4)).plan
    world.state.apply(c.Advance(plan.id, Phase.PREPARE, Phase.SEAL, 5))
    return world, Seal(plan.id, True, plan.targets)


def sealed() -> PlacementState:
    world, seal = sealing()
    assert isinstance(world.state.apply(seal, PLACE), Answer)
    return world.state


def test_a_seal_ends_the_group_for_good():
    """It says where it stands in the log; a repeat changes nothing, and no other follows."""
    world, seal = sealing()
    assert world.state.apply(seal, PLACE).changed
    digest = world.state.digest()

    assert not world.state.apply(seal, (99, 9)).changed
    assert "sealed by plan 2" in refusal(world.state.apply(seal._replace(plan=7), (100, 9))).message
    assert "sealed by plan 2" in refusal(world.state.apply(Abort(2))).message
    assert (world.state.sealed.plan, world.state.sealed.index, world.state.sealed.term) == (2, 70, 8)
    assert world.state.digest() == digest


def test_behind_the_seal_every_command_is_refused_and_nothing_happens():
    """Typed so that whoever asked may ask the group that goes on, which the refusal names."""
    state = sealed()
    digest = state.digest()
    row = state.shards[2]
    shape = Shape(Kind.MOVE, (3,), (Part(row.start, row.end, (1, 2, 5)),), state.epoch)
    for command in (
        c.JoinNode("10.0.0.9:7400", 9),
        c.AddNode("10.0.0.9:7400"),
        c.SetNode(1, draining=True),
        c.RemoveNode(5),
        c.DeleteNamespace("default"),
        c.StartPlan(shape, "", 1),
        c.Advance(1, Phase.PREPARE, Phase.SEAL, 1),
        c.CancelPlan(2, "", 1),
        c.SetPlanning(),
    ):
        refused = refusal(state.apply(command))
        assert refused.reason is Reason.NOT_LEADER, command
        assert "group 5 on nodes 2, 3, 4" in refused.message
    assert state.digest() == digest


@pytest.mark.parametrize("phase", [Phase.PREPARE, Phase.CANCELLING])
def test_only_a_plan_in_seal_seals(phase):
    """The plan stands in the same log: one that is not ready, or taken back, ends nothing."""
    world = cluster(5, shards=2)
    plan = world.state.apply(move(world, 1, 2, 3, 4)).plan
    if phase is Phase.CANCELLING:
        world.state.apply(c.Advance(plan.id, Phase.PREPARE, Phase.SEAL, 5))
        world.state.apply(c.CancelPlan(plan.id, "", 6))

    refused = refusal(world.state.apply(Seal(plan.id, True, plan.targets), PLACE))

    assert "not in SEAL" in refused.message
    assert world.state.sealed is None


def test_a_seal_says_what_the_plan_says():
    """Another group, other nodes, one that decides nothing, or the plan of a shard: refused."""
    world, seal = sealing()
    (target,) = seal.targets
    shard = world.state.plans[1]
    world.state.apply(c.Advance(1, Phase.PREPARE, Phase.SEAL, 5))
    for wrong in (
        seal._replace(targets=(target._replace(group=9),)),
        seal._replace(targets=(target._replace(replicas=(1, 2, 3)),)),
        seal._replace(decides=False),
        Seal(1, True, shard.targets),
    ):
        refused = refusal(world.state.apply(wrong, PLACE))
        assert "not what plan" in refused.message
    led_by_another = target._replace(replicas=(4, 3, 2))
    assert isinstance(world.state.apply(seal._replace(targets=(led_by_another,)), PLACE), Answer)


def test_an_abort_forbids_the_plan():
    """As of a shard: the floor says so to whoever asks, and no Seal of it is accepted any more."""
    world, seal = sealing()

    assert isinstance(world.state.apply(Abort(seal.plan)), Answer)

    assert world.state.floor == seal.plan
    assert "aborted" in refusal(world.state.apply(seal, PLACE)).message


def test_no_advance_flips_the_placement_group():
    """It could be applied without the group being ended: two would take commands."""
    world, seal = sealing()

    refused = refusal(world.state.apply(c.Advance(seal.plan, Phase.SEAL, Phase.RETIRE, 7)))

    assert "only its Seal" in refused.message
    assert world.state.placement.group == 1


def test_the_group_that_goes_on_has_everything_and_its_plan_in_retire():
    """Epoch + 1, itself in its own place, counters and other plans as they stood, not sealed."""
    state = sealed()

    goes_on = state.cut(b"", b"", 1)

    row = goes_on.placement
    assert (row.group, row.replicas, row.epoch, row.plan) == (5, (2, 3, 4), state.epoch + 1, 2)
    assert goes_on.epoch == state.epoch + 1
    assert (goes_on.plans[2].phase, goes_on.plans[1]) == (Phase.RETIRE, state.plans[1])
    assert (goes_on.sealed, goes_on.floor) == (None, 0)
    assert (goes_on.next_group, goes_on.next_plan, goes_on.next_node) == (6, 3, 6)
    assert goes_on.shard_map().epoch == goes_on.epoch
    assert isinstance(goes_on.apply(c.Advance(2, Phase.RETIRE, Phase.DONE, 8)), Answer)


def test_what_goes_on_is_the_same_whenever_it_is_made():
    """At once, after entries behind the Seal, from a snapshot; and the sealed state is not changed by it."""
    state = sealed()
    digest, first = state.digest(), state.cut(b"", b"", 1).digest()
    state.apply(c.AddNode("10.0.0.9:7400"))
    state.cut(b"", b"", 1).apply(c.AddNode("10.0.0.9:7400"))
    builder = state.builder()
    for chunk in state.freeze().chunks():
        builder.feed(chunk)
    builder.finish()

    assert PlacementState.restored(builder).cut(b"", b"", 1).digest() == first
    assert state.cut(b"", b"", 1).digest() == first
    assert state.digest() == digest


def test_a_seal_that_says_nothing_sound_is_never_written():
    """Applied, it would stop every replica."""
    with pytest.raises(ValueError, match="targets"):
        c.encode(Seal(2, True, ()))
    with pytest.raises(ValueError, match="decides"):
        c.encode(Seal(2, False, (Target(5, b"", b"", (1,)),), (OtherSource(3, 1, 1),)))
