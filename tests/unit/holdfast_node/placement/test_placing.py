"""Which nodes a shard should be on."""

from __future__ import annotations

from holdfast.errors import Reason
from holdfast_node.placement import commands as c
from holdfast_node.placement.answer import Answer
from holdfast_node.placement.cluster import Namespace
from holdfast_node.placement.loads import NodeLoad
from holdfast_node.placement.placing import crowding, filled_up, new_namespace, replicas_wanted

from tests.placement_world import cluster, node, refusal

NODES = {i: node(i, zone) for i, zone in enumerate("aabbc", 1)}
HELD = dict.fromkeys(NODES, 0)


def test_crowding_counts_pairs_that_fail_together():
    """Pairs in one zone first, pairs on one host then; an unnamed zone is nobody's."""
    assert crowding(NODES, (1, 3, 5)) == (0, 0)
    assert crowding(NODES, (1, 2, 3)) == (1, 0)
    assert crowding({1: node(1), 2: node(2)._replace(address="10.0.0.1:9")}, (1, 2)) == (0, 1)


def test_zones_come_before_room():
    """A node of a new zone is chosen though others hold less."""
    assert filled_up(NODES, (1,), NODES.values(), 3, {**HELD, 3: 9, 4: 8, 5: 99}) == (1, 4, 5)


def test_room_counts_by_weight():
    """Of equal zones, who holds least for its weight."""
    heavy = {**NODES, 3: node(3, "b", weight=400)}

    assert filled_up(heavy, (1,), heavy.values(), 2, {**HELD, 3: 8, 4: 4, 5: 9}) == (1, 3)


def test_too_few_nodes_is_no_choice():
    """There is no half answer."""
    assert filled_up(NODES, (1,), [NODES[1], NODES[2]], 3, HELD) is None


def test_small_clusters_have_an_odd_number_of_replicas():
    """Two replicas survive no more than one does; what there is stays."""
    three = Namespace("n")

    assert [replicas_wanted(three, 0, n) for n in range(6)] == [1, 1, 1, 3, 3, 3]
    assert replicas_wanted(three, 2, 2) == 2
    assert replicas_wanted(Namespace("n", replicas=2), 1, 2) == 2
    assert replicas_wanted(three, 5, 2) == 3


def test_a_new_namespace_is_spread_over_the_nodes():
    """Its shards stand on different nodes, led in turn, and the command is good."""
    world = cluster(6, shards=1)
    wanted = Namespace("jobs", hashed=True)
    command = new_namespace(world.state, world.loads, world.now_ms, wanted, shards=8)
    assert isinstance(world.state.apply(command), Answer)
    rows = world.state.row("jobs")

    assert [row.start[:1] for row in rows] == [b"", b" ", b"@", b"`", b"\x80", b"\xa0", b"\xc0", b"\xe0"]
    assert {n for row in rows for n in row.replicas} == {1, 2, 3, 4, 5, 6}
    assert len({row.replicas[0] for row in rows}) >= 4


def test_a_new_namespace_is_refused_with_its_field():
    """Shards without cuts, bad cuts, a known name, and a cluster where nobody can take it."""
    world = cluster(3)

    def made(namespace, shards=1, cuts=()):
        return refusal(new_namespace(world.state, world.loads, world.now_ms, namespace, shards, cuts))

    assert made(Namespace("jobs"), shards=3).field == "cuts"
    assert made(Namespace("jobs"), cuts=(b"b", b"a")).field == "cuts"
    assert made(Namespace("default")).field == "namespace.name"
    for number in (1, 2, 3):
        world.nodes[number] = NodeLoad(down_ms=5)
    assert made(Namespace("jobs")).reason is Reason.NO_QUORUM


def test_a_new_namespace_avoids_nodes_that_cannot_take_it():
    """Draining and full nodes get none of its replicas."""
    world = cluster(5)
    world.state.apply(c.SetNode(1, draining=True))
    world.nodes[2] = NodeLoad(disk_full=True)
    command = new_namespace(world.state, world.loads, world.now_ms, Namespace("jobs"))

    assert set(command.shards[0].replicas) == {3, 4, 5}
