"""holdfast.cli.cluster: the whole at a glance, and whether it serves."""

from __future__ import annotations

from holdfast.v1 import placement_pb2 as pb

from tests.unit.holdfast.cli.console import Console, ScriptedPlacement, serving, shard
from tests.unit.holdfast.cli.scripted_admin import ScriptedAdmin, plan

UP = pb.Node.STATE_UP


def test_status_shows_plans_under_way():
    """What is being reshaped belongs to the whole."""
    service = ScriptedAdmin(
        [shard()], [pb.Node(id=1, state=UP)], ListPlans=pb.ListPlansResponse(plans=[plan()])
    )
    with serving(service) as address:
        told = Console().run("cluster", "status", "--endpoints", address)
        fields = Console().json("cluster", "status", "--endpoints", address)

    assert "plans under way: 1" in told.stderr
    assert [entry["id"] for entry in fields["plans"]] == [7]
    assert set(fields) == {"cluster_id", "epoch", "nodes", "shards", "placement", "plans"}


def test_status_of_an_older_server_has_no_plans():
    """A server that knows no plans is described all the same: null, not an error."""
    with serving(ScriptedPlacement([shard()], [pb.Node(id=1, state=UP)], [])) as address:
        assert Console().json("cluster", "status", "--endpoints", address)["plans"] is None


def test_health_of_a_cluster_that_does_not_answer_is_exit_code_1():
    """No endpoint answers: a sentence, exit code 1."""
    with serving(ScriptedPlacement([], [], [])) as address:
        pass

    result = Console().run("cluster", "health", "--endpoints", address)

    assert (result.exit_code, "no endpoint answers" in result.stderr) == (1, True)
