"""How plans start, go on and end."""

from __future__ import annotations

import itertools

import pytest
from holdfast.errors import Reason
from holdfast_node.placement import commands as c
from holdfast_node.placement.answer import Answer
from holdfast_node.placement.cluster import Planning
from holdfast_node.placement.content import ENDED_MAX
from holdfast_node.placement.plan import Kind, Phase
from holdfast_node.placement.shape import Part, Shape

from tests.placement_world import cluster, move, refusal

P = Phase


def split(world, group, *cuts, by_hand=False):
    row = world.state.shards[group]
    ends = (*cuts, row.end)
    parts = tuple(Part(a, b, row.replicas) for a, b in zip((row.start, *cuts), ends, strict=True))
    return c.StartPlan(Shape(Kind.SPLIT, (group,), parts, world.state.epoch), "test", 7, by_hand)


def merge(world, left, right):
    one, two = world.state.shards[left], world.state.shards[right]
    part = Part(one.start, two.end, one.replicas)
    return c.StartPlan(Shape(Kind.MERGE, (left, right), (part,), world.state.epoch), "test", 7)


def begun(world, command):
    done = world.state.apply(command)
    assert isinstance(done, Answer), done
    return done.plan


def go(world, plan, *phases, when_ms=50):
    for before, after in itertools.pairwise(phases):
        done = world.state.apply(c.Advance(plan.id, before, after, when_ms))
        assert isinstance(done, Answer), done
    return done


def test_a_plan_gets_its_ids_when_it_is_applied():
    """Plan and target ids are the next ones, sources come in the order of their ids."""
    world = cluster(3)
    plan = begun(world, merge(world, 2, 3))
    other = cluster(3)
    cut = begun(other, split(other, 3, b"\xc0"))

    assert (plan.id, [s.group for s in plan.sources], [t.group for t in plan.targets]) == (1, [2, 3], [4])
    assert [(t.group, t.start, t.end) for t in cut.targets] == [(4, b"\x80\0", b"\xc0"), (5, b"\xc0", b"")]
    assert (plan.phase, plan.created_ms, plan.reason, other.state.next_group) == (P.PREPARE, 7, "test", 6)


def test_only_retire_changes_the_map():
    """Sources go and targets come in one step, at the next epoch."""
    world = cluster(3)
    plan = begun(world, split(world, 2, b"@"))
    go(world, plan, P.PREPARE, P.SEAL)
    assert (set(world.state.shards), world.state.epoch) == ({2, 3}, 1)
    go(world, plan, P.SEAL, P.RETIRE)

    assert (set(world.state.shards), world.state.epoch) == ({3, 4, 5}, 2)
    assert [s.group for s in world.state.shard_map().shards] == [4, 5, 3]
    assert {(row.epoch, row.plan) for row in world.state.shards.values() if row.group > 3} == {(2, 1)}


def test_a_repeated_or_late_step_changes_nothing():
    """Whoever leads may say a step again: the answer is the plan as it is."""
    world = cluster(3)
    plan = begun(world, split(world, 2, b"@"))
    go(world, plan, P.PREPARE, P.SEAL, P.RETIRE)
    before = world.state.digest()
    for step in ((P.PREPARE, P.SEAL), (P.SEAL, P.RETIRE), (P.SEAL, P.CANCELLING)):
        done = world.state.apply(c.Advance(plan.id, *step, 99))
        assert isinstance(done, Answer)
        assert (done.changed, done.plan.phase) == (False, P.RETIRE)

    assert world.state.digest() == before


@pytest.mark.parametrize(
    ("before", "after"),
    [(P.PREPARE, P.RETIRE), (P.PREPARE, P.DONE), (P.PREPARE, P.PREPARE), (P.PREPARE, P.CANCELLED)],
)
def test_a_plan_goes_only_along_its_phases(before, after):
    """A step that skips a phase is refused."""
    world = cluster(3)
    plan = begun(world, split(world, 2, b"@"))

    assert refusal(world.state.apply(c.Advance(plan.id, before, after, 1))).reason is Reason.INVALID
    assert world.state.plans[plan.id].phase is P.PREPARE


def test_a_plan_that_was_taken_back_may_turn_out_decided():
    """From CANCELLING a plan comes back to RETIRE when its log had decided."""
    world = cluster(3)
    plan = begun(world, split(world, 2, b"@"))
    done = go(world, plan, P.PREPARE, P.SEAL, P.CANCELLING, P.RETIRE, P.DONE)

    assert (done.plan.phase, done.plan.ended_ms, done.plan.why_cancelled) == (P.DONE, 50, "")
    assert set(world.state.shards) == {3, 4, 5}


def test_a_cancelled_plan_leaves_the_map_as_it_was():
    """A plan that is taken back ends without a trace in the map, and its ids are never used again."""
    world = cluster(3)
    plan = begun(world, split(world, 2, b"@"))
    done = world.state.apply(c.CancelPlan(plan.id, "changed my mind", 3))
    assert (done.plan.phase, done.plan.why_cancelled) == (P.CANCELLING, "changed my mind")
    go(world, plan, P.CANCELLING, P.CANCELLED)

    assert (set(world.state.shards), world.state.epoch, world.state.plans) == ({2, 3}, 1, {})
    assert [t.group for t in begun(world, split(world, 2, b"@")).targets] == [6, 7]


def test_a_cancel_says_why_it_is_refused():
    """Once decided, done or cancelled, a plan is not taken back; a repeated wish is fine."""
    world = cluster(3)
    plan = begun(world, split(world, 2, b"@"))
    world.state.apply(c.CancelPlan(plan.id, "", 3))
    assert world.state.apply(c.CancelPlan(plan.id, "", 3)).changed is False
    go(world, plan, P.CANCELLING, P.CANCELLED)
    again = begun(world, split(world, 2, b"@"))
    go(world, again, P.PREPARE, P.SEAL, P.RETIRE)

    assert "cancelled already" in refusal(world.state.apply(c.CancelPlan(plan.id, "", 3))).message
    assert "is decided" in refusal(world.state.apply(c.CancelPlan(again.id, "", 3))).message
    go(world, again, P.RETIRE, P.DONE)
    assert "is done" in refusal(world.state.apply(c.CancelPlan(again.id, "", 3))).message
    assert refusal(world.state.apply(c.CancelPlan(99, "", 3))).field == "id"


def test_an_old_epoch_is_refused():
    """What was planned on another map is refused, with both epochs."""
    world = cluster(3)
    old = split(world, 2, b"@")
    world.state.step_epoch()
    refused = refusal(world.state.apply(old))

    assert refused.reason is Reason.CONDITION_FAILED
    assert "epoch 1" in refused.message
    assert "at 2 now" in refused.message


def test_two_plans_never_touch_one_shard():
    """A shard under a plan, as source or as target that is settling, is refused to a second one."""
    world = cluster(3)
    plan = begun(world, split(world, 2, b"@"))
    refused = refusal(world.state.apply(split(world, 2, b"0")))
    assert (refused.reason, refused.field) == (Reason.BUSY, "group")
    assert "holdfast op cancel 1" in refused.message
    assert refusal(world.state.apply(merge(world, 2, 3))).field == "other"
    go(world, plan, P.PREPARE, P.SEAL, P.RETIRE)

    assert refusal(world.state.apply(split(world, 4, b"0"))).reason is Reason.BUSY


def test_a_settling_shard_may_still_be_moved():
    """A target whose nodes are lost may be moved before its plan is done, or it never would be."""
    world = cluster(4)
    plan = begun(world, split(world, 2, b"@"))
    go(world, plan, P.PREPARE, P.SEAL, P.RETIRE)
    rescue = begun(world, move(world, 4, 1, 2, 4))
    assert "plan 2" in refusal(world.state.apply(move(world, 4, 2, 3, 4))).message, "one such move at a time"
    go(world, rescue, P.PREPARE, P.SEAL, P.RETIRE)
    assert world.state.superseded() == frozenset(), "the rescue still needs what it came from"
    go(world, rescue, P.RETIRE, P.DONE)

    assert world.state.superseded() == {4}


def test_an_unknown_shard_is_refused():
    """A group that is not in the map is refused with the epoch."""
    world = cluster(3)
    shape = Shape(Kind.SPLIT, (99,), (Part(b"", b"a", (1,)), Part(b"a", b"", (1,))), 1)

    assert "group 99 at epoch 1" in refusal(world.state.apply(c.StartPlan(shape, "", 1))).message
    first = shape._replace(sources=(1,))
    message = refusal(world.state.apply(c.StartPlan(first, "", 1))).message
    assert "group 1 is the placement group" in message
    assert "holdfast shard move 1" in message


@pytest.mark.parametrize("cuts", [(), (b"",), (b"\x80\0",), (b"\x90",), (b"0", b"@")])
def test_the_parts_of_a_split_cover_the_shard_once(cuts):
    """Two parts, cut strictly inside: anything else is refused."""
    world = cluster(3)

    assert refusal(world.state.apply(split(world, 2, *cuts))).field == "key"


def test_no_cut_falls_inside_a_unit():
    """A cut inside a unit is refused and says where one may be."""
    world = cluster(3, shards=1)
    world.state.namespaces["default"] = world.state.namespaces["default"]._replace(unit_parts=1)
    refused = refusal(world.state.apply(split(world, 2, b"dev/7")))

    assert "inside the unit b'dev/'" in refused.message
    assert isinstance(world.state.apply(split(world, 2, b"dev/")), Answer)


def test_only_neighbours_merge():
    """Shards that do not meet, or one shard twice, are refused."""
    world = cluster(3, shards=3)
    assert "not neighbours" in refusal(world.state.apply(merge(world, 2, 4))).message
    assert "2 different shards" in refusal(world.state.apply(merge(world, 2, 2))).message


def test_a_merge_stays_on_its_nodes():
    """Neighbours on different nodes are refused: first a move."""
    world = cluster(4)
    refused = refusal(world.state.apply(merge(world, 2, 3)))

    assert "move one first, `holdfast shard move 3 --to 1,2,3`" in refused.message


def test_a_merged_shard_covers_both():
    """The target goes from the first's start to the second's end."""
    world = cluster(3)
    go(world, begun(world, merge(world, 2, 3)), P.PREPARE, P.SEAL, P.RETIRE, P.DONE)

    assert [(s.group, s.range) for s in world.state.shard_map().shards] == [(4, (b"", b""))]


@pytest.mark.parametrize(
    ("replicas", "said"),
    [
        ((3, 2, 1), "is on nodes 1, 2, 3 already"),
        ((1, 2, 2), "node 2 is named twice"),
        ((), "1..7 replicas, not 0"),
        ((1, 2, 9), "there is no node 9"),
        ((1, 2, 5), "is cordoned"),
        ((1, 2, 6), "is being drained"),
        ((1, 2, 7), "has not joined yet"),
        ((1, 2, 8), "weight 0"),
    ],
)
def test_a_move_names_nodes_that_can_take_it(replicas, said):
    """Present, unknown, cordoned, draining and expected nodes are refused by name."""
    world = cluster(6, shards=1)
    world.state.apply(c.SetNode(5, cordoned_until_ms=world.now_ms + 1))
    world.state.apply(c.SetNode(6, draining=True))
    world.state.apply(c.AddNode("10.0.0.7:7400"))
    world.state.apply(c.JoinNode("10.0.0.8:7400", 8))
    world.state.apply(c.SetNode(8, weight=0))
    refused = refusal(world.state.apply(move(world, 2, *replicas)))

    assert (refused.field, said in refused.message) == ("nodes", True), refused


def test_replicas_that_stay_need_not_be_able_to_take_one():
    """A drain keeps no shard from moving its other replicas; a cordon that is over keeps nothing."""
    world = cluster(5, shards=1)
    world.state.apply(c.SetNode(1, draining=True))
    world.state.apply(c.SetNode(5, cordoned_until_ms=world.now_ms))

    assert begun(world, move(world, 2, 1, 2, 5)).newcomers() == ((5, world.state.plans[1].targets[0]),)


def test_a_split_stays_on_its_nodes():
    """Cut and move are never one act."""
    world = cluster(4, shards=1)
    shape = split(world, 2, b"@").shape
    moved = shape._replace(targets=(shape.targets[0], shape.targets[1]._replace(replicas=(1, 2, 4))))

    assert "move it apart" in refusal(world.state.apply(c.StartPlan(moved, "", 1))).message


def test_plans_have_a_limit():
    """Beyond plans_max a plan is refused as busy."""
    world = cluster(3, shards=3)
    world.state.apply(c.SetPlanning(limits=Planning(frozenset(), 0, 0, 2, 0, 0, 0, 0, 0)))
    begun(world, split(world, 2, b"0"))
    begun(world, split(world, 3, b"`"))
    refused = refusal(world.state.apply(split(world, 4, b"\xf0")))

    assert (refused.reason, "2 plans are under way (1, 2)" in refused.message) == (Reason.BUSY, True)


def test_what_is_remembered_of_ended_plans_is_bounded():
    """The oldest ended plans are forgotten, and asking for one says so."""
    world = cluster(3)
    for _ in range(ENDED_MAX + 1):
        plan = begun(world, split(world, 2, b"@"))
        go(world, plan, P.PREPARE, P.CANCELLING, P.CANCELLED)

    assert (len(world.state.ended), world.state.plan(1)) == (ENDED_MAX, None)
    assert "only the last 500" in refusal(world.state.apply(c.CancelPlan(1, "", 3))).message


def test_a_split_is_remembered_by_its_shards():
    """Shards of a split keep its time, also when they are moved; cuts made by hand are kept as such."""
    world = cluster(4, shards=1)
    go(world, begun(world, split(world, 2, b"@", by_hand=True)), P.PREPARE, P.SEAL, P.RETIRE, P.DONE)
    go(world, begun(world, move(world, 4, 1, 2, 4)), P.PREPARE, P.SEAL, P.RETIRE, P.DONE, when_ms=60)
    rows = world.state.row("default")

    assert [(row.split_ms, row.kept) for row in rows] == [(50, False), (50, True)]
    assert [row.plan for row in rows] == [1, 2]
