"""holdfast.cli.cluster_check: whether replicas agree, and that whatever is wrong is told."""

from __future__ import annotations

import json
import time

import pytest
from holdfast.cli.cluster_check import compare
from holdfast.cli.placement import ReplicaFacts
from holdfast.keys import KeyRange
from holdfast.shardmap import Replica, Shard
from holdfast.v1 import placement_pb2 as pb

from tests.unit.holdfast.cli.console import Console, ScriptedPlacement, serving, shard
from tests.unit.holdfast.cli.scripted_admin import ScriptedAdmin, plan

SHARD = Shard("default", KeyRange(b"", b""), 2, 1, tuple(Replica(n, f"h:{n}") for n in (1, 2, 3)), 1)


def replica(number, role="follower", applied=10, digest="aa", *, quorum=True, stopped=""):
    return ReplicaFacts(
        number, SHARD, role, 3, 10, applied, 10, 10, 0, quorum, digest, 5, 4, 400, stopped
    )  # fmt: skip


def test_digests_are_compared_at_equal_index_only():
    """Replicas at different indexes say nothing about each other; a later look may."""
    early = [replica(1, digest="aa"), replica(2, applied=9, digest="bb"), replica(3, digest="aa")]

    assert compare(SHARD, early).state == "unknown"
    assert compare(SHARD, [*early, replica(2, digest="aa")]).state == "equal"


def test_one_different_digest_is_enough():
    """Two replicas that differ at one index are different whatever the third says."""
    verdict = compare(SHARD, [replica(1, digest="aa"), replica(2, digest="bb")])

    assert (verdict.state, verdict.digests) == ("different", {1: "aa", 2: "bb"})


def test_a_shard_without_digests_is_unknown():
    """No answer is not agreement."""
    assert compare(SHARD, [replica(1, digest="")]).state == "unknown"


ROLE = pb.ReplicaStatus
PLANNER = {
    "ListPlans": pb.ListPlansResponse(),
    "GetPlanning": pb.GetPlanningResponse(planning=pb.Planning(skew_percent=10)),
}


def alone(**answers):
    """One node with the one replica of one shard, as healthy as it can be."""
    only = shard()
    del only.replicas[1:]
    status = pb.ReplicaStatus(
        shard=only, role=ROLE.ROLE_LEADER, has_quorum=True, digest="aa", applied_index=5, commit_index=5
    )
    return ScriptedAdmin([only], [pb.Node(id=1, state=pb.Node.STATE_UP)], [status], **answers)


@pytest.fixture
def checked():
    def check(service, *more):
        with serving(service) as address:
            for entry in service._nodes:
                entry.address = entry.address or address
            return Console().run("cluster", "check", "--wait", "0s", "--endpoints", address, *more)

    return check


def test_a_cluster_as_it_should_be_is_exit_code_0(checked):
    """Nothing wrong: a row a shard, nothing on stderr."""
    result = checked(alone(**PLANNER))

    assert (result.exit_code, result.stderr) == (0, "")
    assert "equal" in result.stdout


def test_an_overdue_plan_is_exit_code_1(checked):
    """A plan that hangs is wrong even when every shard is well."""
    old = plan(created_ms=int(time.time() * 1000) - 3_600_000)
    result = checked(alone(**PLANNER | {"ListPlans": pb.ListPlansResponse(plans=[old])}))

    assert (result.exit_code, "plan 7 (split) is under way for 60 min" in result.stderr) == (1, True)


def test_a_node_that_is_down_and_a_shard_that_was_not_compared_are_exit_code_1(checked):
    """Each is a sentence; in JSON the cluster's own come in a row without a shard."""
    service = alone(**PLANNER)
    service._nodes.append(pb.Node(id=2, address="127.0.0.1:1", state=pb.Node.STATE_DOWN))
    service._replicas[0].digest = ""

    result = checked(service)
    rows = json.loads(checked(service, "-o", "json").stdout)

    assert result.exit_code == 1
    assert "node 2 (127.0.0.1:1) is down" in result.stderr
    assert "could not be compared" in result.stderr
    assert [row["shard"] for row in rows] == [2, None]
    assert (
        {"shard", "namespace", "replicas", "applied_index", "digests", "complaints"}
        == set(rows[0])
        == set(rows[1])
    )


def test_a_server_without_a_planner_is_checked_for_the_rest(checked):
    """What an older server cannot tell is said not to be checked; it is not wrong."""
    service = alone()
    result = checked(ScriptedPlacement(service._shards, service._nodes, service._replicas))

    assert (result.exit_code, "plans and skew were not checked" in result.stderr) == (0, True)


def test_replicas_of_the_placement_group_are_compared_too(checked):
    """Who conducts reshapes by two different maps ends badly: one row more, and a sentence."""
    service = alone(**PLANNER)
    service.placement = shard(1)
    service.placement.namespace = ""
    del service.placement.replicas[1:]
    mine = pb.ReplicaStatus(shard=service.placement, role=ROLE.ROLE_LEADER, has_quorum=True, digest="aa")
    service.placement_replicas = [mine]
    well = checked(service)
    service.placement_replicas[0].digest = ""
    ill = checked(service)

    assert (well.exit_code, well.stdout.count("equal")) == (0, 2)
    assert (ill.exit_code, "the replicas of placement group 1 could not be compared" in ill.stderr) == (
        1,
        True,
    )


def test_skew_is_not_checked_while_balancing_is_paused(checked):
    """Who has paused the balance wants no complaint about it."""
    paused = pb.GetPlanningResponse(planning=pb.Planning(paused=[pb.Planning.POLICY_BALANCE]))
    result = checked(alone(**PLANNER | {"GetPlanning": paused}))

    assert (result.exit_code, "balancing is paused" in result.stderr) == (0, True)
