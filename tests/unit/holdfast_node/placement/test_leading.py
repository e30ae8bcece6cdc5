"""Leaderships over nodes by their weight."""

from __future__ import annotations

from collections import Counter

from holdfast_node.placement import commands as c
from holdfast_node.placement.cluster import Policy

from tests.placement_world import cluster


def leads(world):
    return Counter(load.leader for load in world.shards.values())


def transfers(world):
    return [wish for wish in world.propose().wishes if wish.transfer_group]


def test_leaderships_are_handed_over_until_they_are_even():
    """One node that leads everything hands over two thirds, without a byte copied."""
    world = cluster(3, shards=30)
    world.shards = {group: load._replace(leader=1) for group, load in world.shards.items()}
    assert len(transfers(world)) == 8, "so many at once"
    world.run()

    assert leads(world) == {1: 10, 2: 10, 3: 10}
    assert world.state.next_plan == 1


def test_leaders_that_cannot_be_more_even_are_left_alone():
    """Ten shards over three nodes: one leads four."""
    world = cluster(3, shards=10)

    assert transfers(world) == []
    assert "balance: leaders are as their weights want" in world.propose().idle


def test_weight_counts_for_leaders_too():
    """A node of half the weight leads half as much."""
    world = cluster(3, shards=50)
    world.state.apply(c.SetNode(3, weight=50))
    world.run()

    assert leads(world) == {1: 20, 2: 20, 3: 10}


def test_a_leadership_goes_over_a_third_node_where_there_is_no_direct_way():
    """A chain of handovers helps when the two share no shard."""
    world = cluster(4, shards=8, replicas=2)
    led = {g: r.replicas for g, r in world.state.shards.items()}
    leader = {(1, 2): 1, (2, 3): 2, (3, 4): 3, (4, 1): 1}
    for group, replicas in led.items():
        world.shards[group] = world.shards[group]._replace(leader=leader[replicas])
    assert leads(world) == {1: 4, 2: 2, 3: 2}
    world.run()

    assert leads(world) == {1: 2, 2: 2, 3: 2, 4: 2}


def test_a_shard_under_a_plan_is_not_handed_over():
    """Its leader has enough to do."""
    world = cluster(3, shards=4)
    world.shards = {group: load._replace(leader=1) for group, load in world.shards.items()}
    first = world.propose().wishes[0].transfer_group
    row = world.state.shards[first]
    from holdfast_node.placement.by_hand import Desk

    shape = Desk(world.state, world.loads, world.now_ms).split_at(first, row.start + b"\1")
    world.state.apply(c.StartPlan(shape, "", world.now_ms))

    assert first not in {wish.transfer_group for wish in transfers(world)}


def test_a_paused_balance_hands_nothing_over():
    """The policy is paused as a whole."""
    world = cluster(3, shards=30)
    world.shards = {group: load._replace(leader=1) for group, load in world.shards.items()}
    world.state.apply(c.SetPlanning(pause=(Policy.BALANCE,)))

    assert world.propose().wishes == ()
