"""holdfast.cli.complaints: what is wrong, one sentence each, and nothing when nothing is."""

from __future__ import annotations

from holdfast.cli.complaints import complaints, of_placement, of_plans, of_skew
from holdfast.cli.placement import NodeFacts, ReplicaFacts
from holdfast.cli.placement_plans import PlanFacts
from holdfast.cli.survey import Survey
from holdfast.keys import KeyRange
from holdfast.shardmap import Replica, Shard

SHARD = Shard("default", KeyRange(b"", b""), 2, 1, tuple(Replica(n, f"h:{n}") for n in (1, 2, 3)), 1)


def node(number, state="up", offset=0):
    return NodeFacts(number, f"h:{number}", f"h:1{number}", "", state, 100 + number, "0.1.0", offset)


def replica(number, role="follower", applied=10, digest="aa", *, quorum=True, stopped=""):
    return ReplicaFacts(
        number, SHARD, role, 3, 10, applied, 10, 10, 0, quorum, digest, 5, 4, 400, stopped
    )  # fmt: skip


def complaints_of(nodes, replicas, group=None, of_group=()):
    return complaints(Survey("test", 1, [SHARD], nodes, replicas, group, list(of_group)))


HEALTHY = [replica(1, "leader"), replica(2), replica(3)]
NODES = [node(1), node(2), node(3)]


def test_a_healthy_cluster_gives_no_complaint():
    """Nothing wrong, nothing said."""
    assert list(complaints_of(NODES, HEALTHY)) == []


def test_each_thing_wrong_is_one_sentence():
    """A node down, a clock off, no leader, no quorum, a stopped and a lagging replica are told apart."""
    down = list(complaints_of([node(1), node(2, "down"), node(3, offset=-900)], HEALTHY))
    headless = list(complaints_of(NODES, [replica(2), replica(3)]))
    alone = list(complaints_of(NODES, [replica(1, "leader", quorum=False), replica(2, stopped="damage")]))
    behind = list(complaints_of(NODES, [replica(1, "leader"), replica(2, applied=-20_000)]))

    assert [text.split()[0:4] for text in down] == [
        ["node", "2", "(h:2)", "is"],
        ["the", "clock", "of", "node"],
    ]
    assert "has no leader" in headless[0]
    assert "no proven quorum" in alone[0]
    assert "has stopped: damage" in alone[1]
    assert "20010 entries behind" in behind[0]


def test_the_placement_group_is_judged_as_a_shard_is():
    """What it says of itself counts for it alone; a replica of it that stopped is told."""
    group = SHARD._replace(namespace="", group=9)
    own = [entry._replace(shard=group) for entry in HEALTHY]
    stopped = [*own[:2], own[2]._replace(role="stopped", stopped_because="damage")]

    assert list(complaints_of(NODES, HEALTHY, group, own)) == []
    assert list(complaints_of(NODES, HEALTHY, group, stopped)) == [
        "the replica of placement group 9 on node 3 has stopped: damage"
    ]
    assert list(complaints_of(NODES, HEALTHY, group)) == [
        "placement group 9 has no leader: nothing is planned, no node can join"
    ]


def test_a_node_that_is_only_expected_is_not_down():
    """It has been named and has not joined yet."""
    expected = node(4, "down")._replace(expected=True)

    assert list(complaints_of([*NODES, expected], HEALTHY)) == []


def in_zones(*zones):
    return [node(number)._replace(zone=zone) for number, zone in enumerate(zones, 1)]


def test_replicas_stand_in_as_many_zones_as_there_are():
    """Two zones used where three would be possible is wrong; where only two exist it is not."""
    crowded = in_zones("a", "a", "b", "c")

    assert list(of_placement(SHARD, crowded)) == ["shard 2 is in 2 zones (nodes 1,2,3); 3 would be possible"]
    assert list(of_placement(SHARD, in_zones("a", "b", "c"))) == []
    assert list(of_placement(SHARD, in_zones("a", "a", "b"))) == []
    assert list(of_placement(SHARD, in_zones("", "", ""))) == []


def test_a_node_that_takes_nothing_makes_no_zone_possible():
    """A zone whose only node drains, is down or weighs nothing cannot be asked for."""
    for hindered in ({"draining": True}, {"state": "down"}, {"weight": 0}, {"expected": True}):
        nodes = in_zones("a", "a", "b", "c")
        nodes[3] = nodes[3]._replace(**hindered)

        assert list(of_placement(SHARD, nodes)) == []


def test_replicas_stand_on_different_hosts_when_there_are():
    """Two nodes of one host count once."""
    nodes = [node(n)._replace(address=f"{host}:740{n}") for n, host in enumerate("aabc", 1)]

    assert list(of_placement(SHARD, nodes)) == ["shard 2 is on 2 hosts (nodes 1,2,3); 3 would be possible"]


def test_a_plan_is_overdue_after_ten_minutes_unless_it_has_ended():
    """An old plan is told with what it waits for."""
    old = PlanFacts(7, "move", "prepare", (SHARD,), (), "", "waits for node 4", 1, 0)

    assert list(of_plans([old, old._replace(created_ms=500_000), old._replace(phase="done")], 720_001)) == [
        "plan 7 (move) is under way for 12 min: prepare: waits for node 4"
    ]


def led_by(*leaders, size=100):
    """One shard for each leader, all of them on nodes 1 to 3."""
    shards = [SHARD._replace(group=group) for group in range(len(leaders))]
    replicas = [
        replica(leader, "leader")._replace(shard=shard, bytes=size)
        for shard, leader in zip(shards, leaders, strict=True)
    ]
    return shards, replicas


def test_leaders_far_off_their_share_are_told():
    """From ten shards a node on; one leader more or less is no skew."""
    even = led_by(*[1, 2, 3] * 10)
    nearly = led_by(*[1, 2, 3] * 9, 1, 1, 2)
    far = led_by(*[1] * 20, *[2, 3] * 5)
    few = led_by(*[1] * 6)

    assert list(of_skew(even[0], NODES, even[1], 10)) == []
    assert list(of_skew(nearly[0], NODES, nearly[1], 10)) == []
    assert list(of_skew(few[0], NODES, few[1], 10)) == []
    assert list(of_skew(far[0], NODES, far[1], 10)) == [
        "node 1 leads 20 shards, its share is 10",
        "node 2 leads 5 shards, its share is 10",
        "node 3 leads 5 shards, its share is 10",
    ]


def test_a_share_goes_by_weight():
    """A node of half the weight leads half as many, and that is right."""
    nodes = [node(1), node(2), node(3)._replace(weight=50)]
    shards, replicas = led_by(*[1, 2] * 12, *[3] * 6)

    assert [text for text in of_skew(shards, nodes, replicas, 10) if "leads" in text] == []


def test_bytes_far_off_their_share_are_told():
    """Ten shards on two of three nodes: the third holds nothing."""
    shards, replicas = led_by(*[1, 2] * 15, size=1 << 20)
    two = tuple(Replica(n, f"h:{n}") for n in (1, 2))
    shards = [shard._replace(replicas=two) for shard in shards]

    assert [text for text in of_skew(shards, NODES, replicas, 10) if "holds" in text] == [
        "node 1 holds 30.0 MiB, its share is 20.0 MiB",
        "node 2 holds 30.0 MiB, its share is 20.0 MiB",
        "node 3 holds 0 B, its share is 20.0 MiB",
    ]
