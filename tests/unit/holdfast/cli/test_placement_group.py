"""holdfast.cli.placement_group: the placement group is shown like a shard, beside them."""

from __future__ import annotations

from holdfast.v1 import placement_pb2 as pb

from tests.unit.holdfast.cli.console import Console, ScriptedPlacement, serving, shard
from tests.unit.holdfast.cli.scripted_admin import ScriptedAdmin

UP = pb.Node.STATE_UP


def group(number=9, leader=0):
    entry = shard(number, leader=leader)
    entry.namespace = ""
    return entry


def replica(number=9, role=pb.ReplicaStatus.ROLE_LEADER, **more):
    return pb.ReplicaStatus(shard=group(number), role=role, has_quorum=True, **more)


def told(service, address, *replicas, known=None):
    """A cluster whose asked node knows that of the placement group."""
    service._nodes = [pb.Node(id=1, address=address, state=UP)]
    service.placement = known or group()
    service.placement_replicas = list(replicas)
    return address


def test_status_says_where_it_is_and_who_leads_it():
    """By what its replicas say, as the asked node may have none; not by what a move has not ended yet."""
    service = ScriptedAdmin([shard()], ListPlans=pb.ListPlansResponse())
    with serving(service) as address:
        told(service, address, replica(1, term=9), replica(9))
        text = Console().run("cluster", "status", "--endpoints", address)
        fields = Console().json("cluster", "status", "--endpoints", address)["placement"]

    assert "placement group 9 on nodes 1,2,3, led by node 1" in text.stderr
    assert (fields["group"], fields["namespace"], fields["leader"]) == (9, "(placement)", 1)
    assert [entry["term"] for entry in fields["replica_status"]] == [0]


def test_status_of_a_server_that_does_not_tell_has_none():
    """Null, not an error."""
    service = ScriptedPlacement([shard()], [pb.Node(id=1, state=UP)], [])
    with serving(service) as address:
        assert Console().json("cluster", "status", "--endpoints", address)["placement"] is None


def test_it_is_shown_as_a_shard_is():
    """Its replicas with their log positions; another number is no shard."""
    service = ScriptedPlacement([shard()], [], [])
    with serving(service) as address:
        told(service, address, replica(term=4, applied_index=70))
        shown = Console().run("shard", "show", "9", "--endpoints", address)
        wrong = Console().run("shard", "show", "8", "--endpoints", address)

    assert "placement group 9" in shown.stderr
    assert "70" in shown.stdout
    assert "node 2: does not answer" in shown.stderr
    assert (wrong.exit_code, "no shard 8" in wrong.stderr) == (1, True)


def test_without_a_leader_the_cluster_is_not_healthy():
    """It serves, but nothing heals it."""
    service = ScriptedPlacement([], [], [])
    with serving(service) as address:
        told(service, address, replica(role=pb.ReplicaStatus.ROLE_FOLLOWER))
        ill = Console().run("cluster", "health", "--endpoints", address)
        told(service, address, replica())
        well = Console().run("cluster", "health", "--endpoints", address)

    assert (ill.exit_code, "placement group 9 has no leader" in ill.stdout) == (1, True)
    assert well.exit_code == 0


def test_a_transfer_of_it_can_be_tried():
    """As of a shard."""
    service = ScriptedPlacement([shard()], [], [])
    with serving(service) as address:
        told(service, address, replica())
        tried = Console().run(
            "shard", "transfer-leader", "9", "--to", "2", "--dry-run", "--endpoints", address
        )

    assert "from node 1 to node 2" in tried.stderr
