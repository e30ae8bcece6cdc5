"""How namespaces are made, changed and dropped."""

from __future__ import annotations

import pytest
from holdfast.errors import Reason
from holdfast_node.cache.policy import Eviction
from holdfast_node.placement import commands as c
from holdfast_node.placement.answer import Answer
from holdfast_node.placement.cluster import Namespace
from holdfast_node.placement.shape import Part

from tests.placement_world import cluster, move, refusal

JOBS = Namespace("jobs")
ALL = (1, 2, 3)


def create(state, namespace=JOBS, *cuts, replicas=ALL):
    ends = (*cuts, b"")
    parts = tuple(Part(a, b, replicas) for a, b in zip((b"", *cuts), ends, strict=True))
    return state.apply(c.CreateNamespace(namespace, parts))


def test_a_namespace_begins_with_shards_that_cover_it():
    """Each part gets a group id, in order, and the map has the namespace at the next epoch."""
    state = cluster(3).state
    done = create(state, JOBS, b"m")

    assert (done.epoch, done.namespace) == (2, JOBS)
    assert [(s.group, s.epoch) for s in state.shard_map().shards if s.namespace == "jobs"] == [(4, 2), (5, 2)]
    assert [row.kept for row in state.row("jobs")] == [False, True]


@pytest.mark.parametrize(
    ("namespace", "field"),
    [
        (Namespace("Jobs"), "namespace.name"),
        (Namespace("default"), "namespace.name"),
        (Namespace("jobs", budget_bytes=5), "namespace.budget_bytes"),
        (Namespace("jobs", replicas=8), "namespace.replicas"),
        (Namespace("jobs", replicas=0), "namespace.replicas"),
        (Namespace("jobs", unit_parts=17), "namespace.unit_parts"),
        (Namespace("jobs", unit_separator=b"::"), "namespace.unit_separator"),
    ],
)
def test_a_bad_namespace_is_refused_with_its_field(namespace, field):
    """Every setting is checked when applied."""
    assert refusal(create(cluster(3).state, namespace)).field == field


@pytest.mark.parametrize(
    "cuts", [(b"m", b"a"), (b"m", b"m"), (b"",), (b"x" * 1025,)], ids=["order", "twice", "empty", "long"]
)
def test_cuts_ascend(cuts):
    """Cuts out of order, twice, empty or too long are refused."""
    state = cluster(3).state

    assert refusal(create(state, JOBS, *cuts)).field == "cuts"
    assert (state.epoch, "jobs" in state.namespaces) == (1, False)


def test_a_cut_of_a_hashed_namespace_is_a_place_of_the_hash():
    """Cuts of a hashed namespace are at most 8 bytes."""
    hashed = JOBS._replace(hashed=True)

    assert refusal(create(cluster(3).state, hashed, b"x" * 9)).field == "cuts"
    assert isinstance(create(cluster(3).state, hashed, b"x" * 8), Answer)


@pytest.mark.parametrize("replicas", [(), (1, 1), (1, 9)])
def test_the_first_replicas_are_different_nodes(replicas):
    """No node, one node twice and unknown nodes are refused."""
    assert refusal(create(cluster(3).state, replicas=replicas)).field == "shards"


def test_a_policy_changes_field_by_field():
    """What is not named stays; saying it again changes nothing."""
    state = cluster(3).state
    change = c.SetNamespace("default", eviction=Eviction.NOEVICT, replicas=5)
    done, again = state.apply(change), state.apply(change)

    assert (done.namespace.eviction, done.namespace.replicas, done.epoch) == (Eviction.NOEVICT, 5, 2)
    assert (again.changed, again.epoch) == (False, 2)
    assert refusal(state.apply(c.SetNamespace("default", budget_bytes=1))).field == "namespace.budget_bytes"


def test_an_unknown_namespace_names_the_known_ones():
    """Changing or dropping one that is not there is UNKNOWN_NAMESPACE."""
    state = cluster(3).state
    for command in (c.SetNamespace("jobs"), c.DeleteNamespace("jobs")):
        refused = refusal(state.apply(command))
        assert refused.reason is Reason.UNKNOWN_NAMESPACE
        assert "known: default" in refused.message


def test_a_dropped_namespace_leaves_the_map_whole():
    """Its shards go at once; made again it gets other groups."""
    state = cluster(3).state
    create(state)
    state.apply(c.DeleteNamespace("jobs"))
    assert (state.shard_map().namespaces(), state.epoch) == (("default",), 3)
    create(state)

    assert [row.group for row in state.row("jobs")] == [5]


def test_a_namespace_under_a_plan_is_not_dropped():
    """A plan over one of its shards comes first."""
    world = cluster(4)
    world.state.apply(move(world, 2, 1, 2, 4))
    refused = refusal(world.state.apply(c.DeleteNamespace("default")))

    assert (refused.reason, "plan 1" in refused.message) == (Reason.BUSY, True)


def test_shards_have_a_limit():
    """A namespace that would bring the cluster above 1024 shards is refused."""
    cuts = [i.to_bytes(2, "big") for i in range(1, 1023)]

    assert refusal(create(cluster(3).state, JOBS, *cuts)).field == "shards"
