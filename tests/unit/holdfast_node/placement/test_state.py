"""The placement group's state machine as a whole."""

from __future__ import annotations

import pytest
from holdfast.errors import Reason
from holdfast_node.cache.commands import UnknownEntryError
from holdfast_node.placement import commands as c
from holdfast_node.placement.cluster import Namespace, Node, Planning, Policy, ShardRow
from holdfast_node.placement.state import PlacementState

from tests.placement_world import cluster, move, refusal

NODES = (Node(1, "10.0.0.1:7400"), Node(2, "10.0.0.2:7400"))
ROWS = (ShardRow(2, "default", b"", b"m", (1, 2), 1), ShardRow(3, "default", b"m", b"", (2, 1), 1))
FIRST = c.Bootstrap(NODES, (Namespace("default"),), ROWS, (1, 2))
NO_LIMITS = Planning(frozenset(), 0, 0, 0, 0, 0, 0, 0, 0)


def test_the_first_map_is_taken_once():
    """Every node proposes it; the first one counts, the others change nothing."""
    state = PlacementState()
    state.apply(FIRST)
    digest = state.digest()
    again = state.apply(FIRST._replace(nodes=NODES[:1]))

    assert (again.changed, state.digest()) == (False, digest)
    assert (state.epoch, state.next_node, state.next_group, state.placement.replicas) == (1, 3, 4, (1, 2))
    assert state.shard_map().locate("default", b"x").replicas[0].address == "10.0.0.2:7400"


@pytest.mark.parametrize(
    "bad",
    [
        FIRST._replace(nodes=()),
        FIRST._replace(replicas=(9,)),
        FIRST._replace(replicas=()),
        FIRST._replace(shards=ROWS[:1]),
        FIRST._replace(shards=(ROWS[0], ROWS[1]._replace(group=2))),
        FIRST._replace(shards=(ROWS[0], ROWS[1]._replace(group=1))),
        FIRST._replace(namespaces=()),
        FIRST._replace(nodes=NODES[:1]),
    ],
)
def test_a_first_map_that_does_not_add_up_is_refused_whole(bad):
    """Nothing of a bad first map stays."""
    state = PlacementState()

    assert refusal(state.apply(bad)).reason is Reason.INVALID
    assert state.digest() == PlacementState().digest()


def test_nothing_happens_before_there_is_a_map():
    """Every other command waits for the first map."""
    assert refusal(PlacementState().apply(c.RemoveNode(1))).reason is Reason.CONDITION_FAILED


def test_an_entry_that_cannot_be_read_stops_the_replica():
    """Skipping it would let replicas differ."""
    with pytest.raises(UnknownEntryError):
        PlacementState().apply_entry(b"\x63\x01")


def test_a_dry_run_answers_and_changes_nothing():
    """tried() says what apply would say."""
    world = cluster(4)
    before = world.state.digest()
    tried = world.state.tried(move(world, 2, 1, 2, 4))

    assert world.state.digest() == before
    assert world.state.apply(move(world, 2, 1, 2, 4)) == tried


def test_policies_are_paused_and_limits_set_one_by_one():
    """Only what is named changes."""
    state = cluster(3).state
    limits = NO_LIMITS._replace(plans_max=9)
    state.apply(c.SetPlanning(pause=(Policy.MERGE, Policy.DRAIN), limits=limits))
    done = state.apply(c.SetPlanning(resume=(Policy.DRAIN,)))

    assert done.planning == Planning(frozenset((Policy.MERGE,)), plans_max=9) == state.planning
    assert state.apply(c.SetPlanning(resume=(Policy.DRAIN,))).changed is False


@pytest.mark.parametrize(
    ("limits", "field"),
    [
        (NO_LIMITS._replace(plans_max=65), "limits.plans_max"),
        (NO_LIMITS._replace(merge_bytes=200 << 20), "limits.merge_bytes"),
        (NO_LIMITS._replace(idle_percent=80), "limits.idle_percent"),
    ],
)
def test_limits_that_would_never_end_are_refused(limits, field):
    """Bounds hold, and what was merged is not split again."""
    assert refusal(cluster(3).state.apply(c.SetPlanning(limits=limits))).field == field
