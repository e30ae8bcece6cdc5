"""The policies together."""

from __future__ import annotations

from holdfast_node.placement import commands as c
from holdfast_node.placement.cluster import Planning, Policy
from holdfast_node.placement.loads import NodeLoad

from tests.placement_world import cluster


def test_a_paused_policy_does_nothing_and_says_so():
    """Each policy can be paused by itself."""
    for policy in Policy:
        world = cluster(4, shards=1)
        world.nodes[3] = NodeLoad(down_ms=61_000)
        world.state.apply(c.SetPlanning(pause=(policy,)))
        found = world.propose()
        assert f"{policy.name.lower()}: paused" in found.idle
        assert {w.policy for w in found.wishes} == (set() if policy is Policy.REPLACE else {Policy.REPLACE})


def test_lost_replicas_come_before_everything_else():
    """With room for one plan it is the one that brings a shard back to full strength."""
    world = cluster(4, shards=8)
    world.state.apply(c.SetPlanning(limits=Planning(frozenset(), 0, 0, 1, 0, 0, 0, 0, 0)))
    for group, load in world.shards.items():
        row = world.state.shards[group]
        world.shards[group] = load._replace(bytes=300 << 20, middle=row.start + b"\1")
    world.nodes[3] = NodeLoad(down_ms=61_000)
    plans = [wish for wish in world.propose().wishes if wish.shape]

    assert [wish.policy for wish in plans] == [Policy.REPLACE]


def test_an_idle_planner_explains_every_policy():
    """Whoever asks why nothing happens is told, policy by policy."""
    found = cluster(3).propose()

    assert found.wishes == found.cancels == ()
    assert {line.partition(":")[0] for line in found.idle} >= {
        "split_by_size",
        "split_by_load",
        "merge",
        "balance",
    }


def test_the_same_facts_give_the_same_wishes():
    """Planning depends on nothing but state, loads and the time given."""
    world = cluster(6, shards=20, zones=3)
    world.state.apply(c.SetNode(2, draining=True))
    first = world.propose()
    world.nodes = dict(reversed(world.nodes.items()))
    world.shards = dict(reversed(world.shards.items()))

    assert world.propose() == first
