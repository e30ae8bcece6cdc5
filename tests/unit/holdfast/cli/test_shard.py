"""holdfast.cli.shard: the map joined with what the replicas say."""

from __future__ import annotations

import pytest
from holdfast.units import Units
from holdfast.v1 import placement_pb2 as pb
from holdfast.v1 import types_pb2

from tests.unit.holdfast.cli.console import Console, ScriptedPlacement, serving, shard
from tests.unit.holdfast.cli.scripted_admin import ScriptedAdmin

FIELDS = {
    "shard", "namespace", "start", "end", "hashed", "epoch", "group", "leader", "replicas", "keys", "bytes",
}  # fmt: skip


def make_service(address_of_node_1=""):
    shards = [shard(2, b"", b"m"), shard(3, b"m", b"", leader=0)]
    nodes = [pb.Node(id=1, address=address_of_node_1, state=pb.Node.STATE_UP, pid=7)]
    replicas = [
        pb.ReplicaStatus(
            shard=shards[0], role=pb.ReplicaStatus.ROLE_LEADER, keys=4, bytes=400, has_quorum=True
        )
    ]
    return ScriptedPlacement(shards, nodes, replicas)


@pytest.fixture
def endpoint():
    service = make_service()
    with serving(service) as address:
        service._nodes[0].address = address
        yield address


def test_list_as_json_has_the_promised_fields(endpoint):
    """`shard list -o json` is stable: the fields of the contract, null for what is not known."""
    rows = Console().json("shard", "list", "--endpoints", endpoint)

    assert [set(row) for row in rows] == [FIELDS, FIELDS]
    assert [(row["shard"], row["leader"], row["keys"]) for row in rows] == [(2, 1, 4), (3, None, None)]
    assert (rows[0]["start"], rows[0]["end"], rows[0]["replicas"]) == ("", "m", [1, 2, 3])


def test_locate_names_the_shard_of_a_key(endpoint):
    """A key belongs to the range that holds it; the cut belongs to the right."""
    assert Console().json("shard", "locate", "a", "--endpoints", endpoint)["shard"] == 2
    assert Console().json("shard", "locate", "m", "--endpoints", endpoint)["shard"] == 3
    assert Console().run("shard", "locate", "m", "-n", "other", "--endpoints", endpoint).exit_code == 1


def test_a_key_of_a_hashed_namespace_is_located_by_its_place():
    """The map says how keys are placed; bounds are shown in hex."""
    units = Units(1, b"/", hashed=True)
    place = units.placed(b"SN-1/mode")
    halves = [shard(2, b"", place[:1]), shard(3, place[:1], b"")]
    for half in halves:
        half.units.CopyFrom(types_pb2.Units(parts=1, separator=b"/"))
    with serving(ScriptedAdmin(halves)) as address:
        row = Console().json("shard", "locate", "SN-1/mode", "--endpoints", address)
        text = Console().run("shard", "list", "--endpoints", address).stdout

    assert (row["shard"], row["start"], row["end"], row["hashed"]) == (3, place[:1].hex(), "", True)
    assert f"hash [, {place[:1].hex()})" in text


def test_show_tells_which_replicas_do_not_answer(endpoint):
    """Silence of a replica is told, not left out."""
    result = Console().run("shard", "show", "2", "--endpoints", endpoint)

    assert "leader" in result.stdout
    assert "node 2: does not answer" in result.stderr
    assert Console().run("shard", "show", "9", "--endpoints", endpoint).exit_code == 1


def test_transfer_leader_follows_the_hint_to_the_leader(endpoint):
    """Any node may be asked: one that does not lead says who does."""
    follower = make_service()
    follower.leader_elsewhere = endpoint
    with serving(follower) as address:
        found = Console().json("shard", "transfer-leader", "2", "--to", "3", "--endpoints", address)

    assert found == {"shard": 2, "leader": 3}


def test_an_endpoint_that_does_not_answer_is_passed_over(endpoint):
    """Any node will do: the next one is asked."""
    with serving(make_service()) as dead:
        pass

    assert Console().run("shard", "list", "--endpoints", f"{dead},{endpoint}").exit_code == 0
