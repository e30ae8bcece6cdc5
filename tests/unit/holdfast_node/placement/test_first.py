"""The first map, from configuration."""

from __future__ import annotations

from holdfast_node.cache.policy import Eviction
from holdfast_node.config import first_map, from_mapping
from holdfast_node.placement.first import bootstrap
from holdfast_node.placement.state import PlacementState


def config():
    return from_mapping(
        {
            "cluster_id": "c",
            "node": 2,
            "data_dir": "d",
            "nodes": [
                {"id": i, "address": f"127.0.0.1:74{i:02}", "http": f"127.0.0.1:75{i:02}", "zone": f"z{i}"}
                for i in (1, 2, 3, 4)
            ],
            "namespaces": [
                {"name": "default", "splits": ["m"]},
                {"name": "jobs", "eviction": "noevict", "budget_bytes": 1 << 20, "strict_ttl": True},
            ],
        }
    )


def test_the_first_map_is_the_one_that_configuration_says():
    """What the placement group begins with is the map that nodes begin with."""
    state = PlacementState()
    state.apply(bootstrap(config()))

    assert state.shard_map().shards == first_map(config()).shards
    assert (state.placement.replicas, state.next_node, state.next_group) == ((1, 2, 3), 5, 5)
    assert state.nodes[3].zone == "z3"


def test_namespaces_keep_their_policy_and_cuts():
    """Configured cuts are kept by the planner; policies come over."""
    state = PlacementState()
    state.apply(bootstrap(config()))
    jobs = state.namespaces["jobs"]

    assert (jobs.eviction, jobs.budget_bytes, jobs.strict_ttl) == (Eviction.NOEVICT, 1 << 20, True)
    assert [row.kept for row in state.row("default")] == [False, True]
