"""Small, cold neighbours become one shard."""

from __future__ import annotations

import pytest
from holdfast_node.placement import commands as c
from holdfast_node.placement.cluster import Planning, Policy
from holdfast_node.placement.loads import NodeLoad
from holdfast_node.placement.merging import MERGE_REST_MS
from holdfast_node.placement.plan import Kind

from tests.placement_world import cluster


def wishes(world):
    return [wish for wish in world.propose().wishes if wish.policy is Policy.MERGE]


def test_small_cold_neighbours_merge():
    """On the same nodes, the two become one."""
    (wish,) = wishes(cluster(3, shards=2, kept=False))

    assert (wish.shape.kind, wish.shape.sources) == (Kind.MERGE, (2, 3))


def test_neighbours_on_different_nodes_move_together_first():
    """The smaller one moves to the other's nodes, then they are merged."""
    world = cluster(4, shards=2, kept=False)
    world.shards[2] = world.shards[2]._replace(bytes=1 << 20)
    (wish,) = wishes(world)
    assert (wish.shape.kind, wish.shape.sources) == (Kind.MOVE, (3,))
    assert set(wish.shape.targets[0].replicas) == {1, 2, 3}
    world.run()

    assert len(world.state.shards) == 1


@pytest.mark.parametrize(
    "figures", [{"bytes": 16 << 20}, {"ops_per_s": 26}, {"leader": 0}, {"has_quorum": False}]
)
def test_large_busy_and_leaderless_neighbours_stay_apart(figures):
    """Together at merge_bytes, in use, or without a majority: left alone."""
    world = cluster(3, shards=2, kept=False)
    world.shards = {group: load._replace(**figures) for group, load in world.shards.items()}

    assert wishes(world) == []


def test_nothing_is_merged_within_ten_minutes_of_a_split():
    """A split is given time to be worth it, also by a shard that moved since."""
    world = cluster(3, shards=2, kept=False)
    world.state.shards[3] = world.state.shards[3]._replace(split_ms=world.now_ms - MERGE_REST_MS + 1)
    assert wishes(world) == []
    world.now_ms += 1

    assert len(wishes(world)) == 1


def test_a_cut_that_was_asked_for_stays():
    """Cuts from configuration or by hand are not merged away."""
    world = cluster(3, shards=2)

    assert wishes(world) == []
    assert "merge: shards 2 and 3 are small; the cut between them was asked for" in world.propose().idle


def test_a_merge_waits_for_nodes_that_are_down():
    """A merge needs every replica."""
    world = cluster(3, shards=2, kept=False)
    world.nodes[3] = NodeLoad(down_ms=10)

    assert wishes(world) == []


def test_a_round_merges_a_shard_once():
    """Of three small neighbours two are merged; the third waits for the next round."""
    world = cluster(3, shards=3, kept=False)
    assert [wish.shape.sources for wish in wishes(world)] == [(2, 3)]
    world.run()

    assert len(world.state.shards) == 1


def test_what_was_merged_is_not_above_what_is_split():
    """The bounds keep merge and split from undoing each other."""
    limits = Planning(frozenset(), 0, 200 << 20, 0, 0, 0, 0, 0, 0)

    assert cluster(3).state.apply(c.SetPlanning(limits=limits)).field == "limits.merge_bytes"
