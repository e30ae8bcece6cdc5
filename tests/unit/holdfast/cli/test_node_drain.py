"""holdfast.cli.node_drain: a drain is over when the node holds nothing, by the map and by count."""

from __future__ import annotations

import pytest
from holdfast.cli import following
from holdfast.v1 import cache_pb2, types_pb2
from holdfast.v1 import placement_pb2 as pb

from tests.unit.holdfast.cli.console import Console, serving, shard
from tests.unit.holdfast.cli.scripted_admin import ScriptedAdmin


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Looks as fast as the loopback answers."""
    monkeypatch.setattr(following, "LOOK_EVERY_S", 0.001)


def without_node_3():
    entry = shard()
    del entry.replicas[:]
    entry.replicas.extend(types_pb2.Replica(node=n, address=f"h:{n}") for n in (1, 2, 4))
    return entry


class Draining(ScriptedAdmin):
    """Node 3 at each look: what the map and the count of its replicas say, and whether it drains."""

    def __init__(self, *looks):
        super().__init__(SetNode=pb.SetNodeResponse(node=pb.Node(id=3), explanation="3 is draining"))
        self.looks = list(looks)

    def GetMap(self, request, context):  # noqa: N802 gRPC's names
        entry = shard() if self.looks[0][0] else without_node_3()
        return pb.GetMapResponse(cluster_id="test", map=cache_pb2.ShardMap(epoch=1, shards=[entry]))

    def ListNodes(self, request, context):  # noqa: N802 gRPC's names
        _, count, draining = self.looks[0]
        self.looks = self.looks[1:] or self.looks
        node = pb.Node(id=3, incarnation=5, replicas=count, draining=draining)
        return pb.ListNodesResponse(nodes=[node])


def drain(service):
    with serving(service) as address:
        return Console().run("node", "drain", "3", "--wait", "--endpoints", address)


def test_a_drain_is_over_when_neither_the_map_nor_the_count_names_the_node():
    """Either may be behind; the last replica counts until both are through."""
    result = drain(Draining((True, 2, True), (False, 1, True), (True, 0, True), (False, 0, True)))

    assert result.exit_code == 0
    told = [line for line in result.stderr.splitlines() if line.startswith("draining node 3")]
    assert told == [
        "draining node 3: 2 of 2 replicas left",
        "draining node 3: 1 of 2 replicas left",
        "draining node 3: 0 of 2 replicas left",
    ]
    assert "holdfast node remove 3" in result.stderr


def test_a_drain_that_somebody_ended_is_not_waited_for():
    """Uncordoned meanwhile: exit code 3, it holds replicas still."""
    result = drain(Draining((True, 1, True), (True, 1, False)))

    assert (result.exit_code, "somebody ended the drain" in result.stderr) == (3, True)


def test_without_wait_a_drain_is_only_asked_for():
    """The planner does it; how to wait is said."""
    service = Draining((True, 1, True))
    service.scripts["SetNode"] = pb.SetNodeResponse(node=pb.Node(id=3))
    with serving(service) as address:
        result = Console().run("node", "drain", "3", "--endpoints", address)

    assert (result.exit_code, "holdfast node drain 3 --wait" in result.stderr) == (0, True)


def test_a_drain_waits_for_the_placement_groups_replica():
    """Which neither the map nor the count of shards names."""
    service = Draining((False, 0, True), (False, 0, True), (False, 0, False))
    get_map = service.GetMap

    def with_placement(request, context):
        answer = get_map(request, context)
        answer.placement.CopyFrom(shard(1) if len(service.looks) == 3 else without_node_3())
        return answer

    service.GetMap = with_placement
    result = drain(service)

    told = [line for line in result.stderr.splitlines() if line.startswith("draining node 3")]
    assert told == ["draining node 3: 1 of 1 replicas left", "draining node 3: 0 of 1 replicas left"]
    assert result.exit_code == 0
