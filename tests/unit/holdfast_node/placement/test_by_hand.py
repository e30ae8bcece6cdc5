"""Shapes that a person asks for, and what bad wishes get."""

from __future__ import annotations

import pytest
from holdfast.errors import Reason
from holdfast_node.placement import commands as c
from holdfast_node.placement.answer import Answer
from holdfast_node.placement.by_hand import Desk
from holdfast_node.placement.loads import NodeLoad
from holdfast_node.placement.plan import Kind
from holdfast_node.placement.shape import Shape

from tests.placement_world import cluster, refusal


def desk(world):
    return Desk(world.state, world.loads, world.now_ms)


def taken(world, shape):
    """The shape, which must be good enough to begin."""
    assert isinstance(shape, Shape), shape
    assert isinstance(world.state.apply(c.StartPlan(shape, "", world.now_ms)), Answer)
    return shape


def with_load(group=2, **figures):
    world = cluster(3, shards=1)
    world.shards[group] = world.shards[group]._replace(**figures)
    return world


def test_a_split_gives_its_parts_to_two_leaders():
    """The left part stays with the leader, the right one is led by another node."""
    world = with_load(leader=2)
    shape = taken(world, desk(world).split_at(2, b"m"))

    assert [(p.start, p.end) for p in shape.targets] == [(b"", b"m"), (b"m", b"")]
    assert (shape.targets[0].replicas[0], shape.targets[1].replicas[0]) == (2, 1)


@pytest.mark.parametrize("key", [b"", b"\x80\0", b"\xff"])
def test_a_split_outside_the_shard_is_refused(key):
    """The key lies strictly inside; the answer says what the shard is."""
    refused = refusal(desk(cluster(3)).split_at(2, key))

    assert (refused.reason, refused.field) == (Reason.INVALID, "key")
    assert "shard 2, which is [b'', b'\\x80\\x00')" in refused.message


def test_a_split_inside_a_unit_is_refused():
    """A unit is never separated, by whomever."""
    world = with_load()
    world.state.namespaces["default"] = world.state.namespaces["default"]._replace(unit_parts=1)

    assert "unit b'dev/'" in refusal(desk(world).split_at(2, b"dev/7")).message


def test_a_hashed_shard_is_cut_by_places_and_another_by_keys():
    """A key parts no hash space and a hash no keys: each is told what to name instead."""
    world = cluster(3)
    assert "name a key" in refusal(desk(world).split_at_place(2, b"\x40")).message
    world.state.namespaces["default"] = world.state.namespaces["default"]._replace(hashed=True)

    assert "--at-hash" in refusal(desk(world).split_at(2, b"dev")).message
    for place in (b"", b"\xff", b"\x40" * 9):
        assert refusal(desk(world).split_at_place(2, place)).field == "place"
    assert "place 8000" in refusal(desk(world).split_at_place(2, b"\xff")).message
    assert taken(world, desk(world).split_at_place(2, b"\x40")).targets[1].start == b"\x40"


def test_a_split_in_the_middle_goes_by_the_leaders_figures():
    """The middle is what the leader reports; without one, or without figures, it says so."""
    world = with_load(middle=b"k")
    assert taken(world, desk(world).split_middle(2)).targets[1].start == b"k"
    silent = with_load()

    assert refusal(desk(silent).split_middle(2)).field == "middle"
    silent.shards.clear()
    assert refusal(desk(silent).split_middle(2)).reason is Reason.LAGGING


def test_a_split_by_load_is_refused_for_one_hot_key():
    """A single hot key is named instead of cut."""
    world = with_load(middle_by_load=b"k")
    assert taken(world, desk(world).split_by_load(2)).targets[1].start == b"k"

    assert "b'hot'" in refusal(desk(with_load(hot_key=b"hot", middle_by_load=b"k")).split_by_load(2)).message
    assert refusal(desk(with_load()).split_by_load(2)).field == "by_load"


def test_neighbours_merge_in_any_order():
    """The order in which they are named does not matter."""
    world = cluster(3)
    assert desk(world).merge(2, 3) == desk(world).merge(3, 2)
    assert taken(world, desk(world).merge(3, 2)).kind is Kind.MERGE


def test_a_bad_merge_is_refused():
    """Strangers, a shard with itself, and unknown shards."""
    found = desk(cluster(3, shards=3))

    assert "not neighbours" in refusal(found.merge(2, 4)).message
    assert refusal(found.merge(2, 2)).field == "other"
    assert refusal(found.merge(2, 99)).field == "other"


def test_a_merge_waits_for_nobody_who_is_down():
    """With a replica down a merge would make its clients wait: refused."""
    world = cluster(3)
    world.nodes[3] = NodeLoad(down_ms=500)

    assert "node 3 is down" in refusal(desk(world).merge(2, 3)).message


def test_a_move_takes_the_nodes_in_order():
    """The node named first is to lead."""
    world = cluster(5, shards=1)

    assert taken(world, desk(world).move(2, (5, 1, 4))).targets[0].replicas == (5, 1, 4)


def test_one_replica_moves_and_the_leader_stays():
    """Moving one replica keeps the others, with the present leader first; a moved leader's place leads."""
    world = cluster(4, shards=1)
    world.shards[2] = world.shards[2]._replace(leader=2)
    found = desk(world)

    assert found.move_one(2, 3, 4).targets[0].replicas == (2, 1, 4)
    assert taken(world, found.move_one(2, 2, 4)).targets[0].replicas == (4, 1, 3)


@pytest.mark.parametrize(
    ("load", "said"),
    [
        (NodeLoad(down_ms=900), "is down, for 900 ms"),
        (NodeLoad(down_ms=None), "not been heard of yet"),
        (NodeLoad(disk_full=True), "is full"),
    ],
)
def test_a_move_to_a_node_that_cannot_copy_is_refused(load, said):
    """Down, full and unheard nodes are refused by what they reported."""
    world = cluster(4, shards=1)
    world.nodes[4] = load

    assert said in refusal(desk(world).move(2, (1, 2, 4))).message
    assert said in refusal(desk(world).move_one(2, 1, 4)).message


def test_a_bad_move_is_refused_with_its_field():
    """Not there, there already, unknown, the same nodes."""
    found = desk(cluster(4, shards=1))

    assert refusal(found.move_one(2, 4, 3)).field == "from_node"
    assert refusal(found.move_one(2, 1, 2)).field == "to_node"
    assert refusal(found.move_one(2, 1, 9)).field == "to_node"
    assert refusal(found.move(2, (1, 2, 9))).field == "nodes"
    assert "already" in refusal(found.move(2, (3, 2, 1))).message


def test_a_shard_without_majority_is_not_reshaped():
    """Its log could not take the Seal: start its nodes first."""
    found = desk(with_load(has_quorum=False, middle=b"k"))
    for shape in (found.split_at(2, b"k"), found.split_middle(2), found.move(2, (1, 2))):
        assert refusal(shape).reason is Reason.NO_QUORUM


def test_a_shard_under_a_plan_is_busy():
    """The plan in the way is named."""
    world = with_load(middle=b"k")
    taken(world, desk(world).split_middle(2))

    assert refusal(desk(world).split_at(2, b"x")).reason is Reason.BUSY
