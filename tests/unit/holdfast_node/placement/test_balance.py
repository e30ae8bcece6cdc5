"""Bytes over nodes by their weight."""

from __future__ import annotations

import pytest
from holdfast_node.placement import commands as c
from holdfast_node.placement.balance import byte_shares, shares
from holdfast_node.placement.loads import NodeLoad
from holdfast_node.placement.outlook import Outlook

from tests.placement_world import cluster

MIB = 1 << 20


def grown(nodes, shards, more, zones=0, size=100 * MIB):
    """A cluster to which `more` nodes have come."""
    world = cluster(nodes, shards, zones)
    for group in world.shards:
        world.shards[group] = world.shards[group]._replace(bytes=size)
    for i in range(nodes + 1, nodes + more + 1):
        zone = f"z{(i - 1) % zones}" if zones else ""
        world.state.apply(c.JoinNode(f"10.0.0.{i}:7400", 5000 + i, zone=zone))
        world.nodes[i] = NodeLoad()
    return world


def worst(world):
    return max(abs(s.skew) for s in byte_shares(Outlook(world.state, world.loads, world.now_ms)))


@pytest.mark.parametrize("zones", [0, 3])
def test_new_nodes_get_their_share(zones):
    """Three nodes become six: bytes end within 10 % everywhere, with no more copied than that takes."""
    world = grown(3, 40, 3, zones)
    copied = 0
    while wishes := [w for w in world.propose().wishes if w.shape is not None]:
        for plan in [world.carry_out(wish) for wish in wishes]:
            copied += len(plan.newcomers())
            world.finish(plan)

    assert worst(world) <= 0.1
    assert 54 <= copied <= 60, "half of 120 replicas, less what the limit allows"


def test_a_balanced_cluster_is_left_alone():
    """Within half of what is allowed nothing moves, and the planner says so."""
    world = cluster(6, 12)

    assert [w for w in world.propose().wishes if w.shape] == []
    assert any(line.startswith("balance: bytes are as their weights want") for line in world.propose().idle)


def test_weights_divide_the_bytes():
    """A node of half the weight gets half as much."""
    world = grown(6, 60, 0)
    world.state.apply(c.SetNode(6, weight=50))
    world.run()
    held = Outlook(world.state, world.loads, world.now_ms).held()

    assert 0.42 <= held[6] / held[1] <= 0.58


def test_shares_are_those_that_can_be_reached():
    """Nobody holds a shard twice: a heavy node's share is bounded, and what is left is divided."""
    assert shares(90, [(100, 0, 90), (100, 0, 90), (100, 0, 90)]) == pytest.approx([30, 30, 30])
    assert shares(90, [(1000, 0, 40), (100, 0, 90), (100, 0, 90)]) == pytest.approx([40, 25, 25])
    assert shares(90, [(100, 60, 90), (100, 0, 90), (100, 0, 90)]) == pytest.approx([60, 15, 15])


def test_zones_of_different_size_are_no_skew():
    """One node that is a zone by itself must hold a copy of everything: that is its share."""
    world = cluster(3, 40, zones=3)
    for i in (4, 5, 6):
        world.state.apply(c.JoinNode(f"10.0.0.{i}:7400", 5000 + i, zone="z2"))
        world.nodes[i] = NodeLoad()
    world.run()

    assert worst(world) <= 0.1
    assert len(world.state.groups_on(1)) == 40


def test_nothing_moves_while_figures_are_missing():
    """A shard or node that has not reported yet would look empty."""
    world = grown(3, 40, 3)
    world.shards.pop(7)

    assert [w for w in world.propose().wishes if w.shape] == []
    assert "balance: figures are missing: shards 7, nodes " in world.propose().idle


def test_a_full_node_is_given_nothing():
    """A full disk takes no copies; others get them."""
    world = grown(3, 40, 3)
    world.nodes[4] = NodeLoad(disk_full=True)
    world.run()

    assert world.state.groups_on(4) == []
    assert world.state.groups_on(5)


def test_a_node_copies_no_more_at_once_than_its_cap():
    """Beyond a second's worth of its cap a node takes one copy at a time; small ones go together."""
    for size, most in ((100 * MIB, 1), (10 * MIB, 4)):
        world = grown(3, 40, 1, size=size)
        wishes = [w for w in world.propose().wishes if w.shape]
        assert len(wishes) == most
        assert all(4 in w.shape.targets[0].replicas for w in wishes)
