"""Shards that are cut: too large, or too busy."""

from __future__ import annotations

from holdfast_node.cache.policy import Eviction
from holdfast_node.placement.cluster import Policy
from holdfast_node.placement.loads import NodeLoad
from holdfast_node.placement.plan import Kind

from tests.placement_world import cluster

LARGE = 300 << 20


def busy(hot=90, cold=10, **figures):
    world = cluster(3, shards=1)
    world.nodes = {
        1: NodeLoad(busy_percent=hot),
        2: NodeLoad(busy_percent=cold),
        3: NodeLoad(busy_percent=60),
    }
    figures = {"ops_per_s": 9000, "middle_by_load": b"k", **figures}
    world.shards[2] = world.shards[2]._replace(**figures)
    return world


def said(world, policy):
    found = world.propose()
    wishes = [wish for wish in found.wishes if wish.policy is policy]
    return wishes, [line for line in found.idle if line.startswith(policy.name.lower() + ":")]


def test_a_large_shard_is_cut_in_the_middle():
    """Above split_bytes a shard is cut where its bytes halve, the right part led by another node."""
    world = cluster(3, shards=1)
    world.shards[2] = world.shards[2]._replace(bytes=LARGE, middle=b"k")
    (wish,), _ = said(world, Policy.SPLIT_BY_SIZE)

    assert (wish.shape.kind, wish.shape.targets[0].end) == (Kind.SPLIT, b"k")
    assert [part.replicas[0] for part in wish.shape.targets] == [1, 2]


def test_a_shard_at_the_limit_is_left_alone():
    """Exactly split_bytes is not above it."""
    world = cluster(3, shards=1)
    world.shards[2] = world.shards[2]._replace(bytes=256 << 20, middle=b"k")

    assert said(world, Policy.SPLIT_BY_SIZE)[0] == []


def test_a_shard_that_never_evicts_is_cut_before_it_is_full():
    """At three quarters of its budget, or it would refuse writes before anybody cut it."""
    world = cluster(3, shards=1)
    world.shards[2] = world.shards[2]._replace(bytes=200 << 20, middle=b"k")
    assert said(world, Policy.SPLIT_BY_SIZE)[0] == []

    namespace = world.state.namespaces["default"]
    world.state.namespaces["default"] = namespace._replace(eviction=Eviction.NOEVICT)

    assert [wish.shape.kind for wish in said(world, Policy.SPLIT_BY_SIZE)[0]] == [Kind.SPLIT]


def test_a_large_shard_of_one_unit_is_reported():
    """What no cut parts is said, also when the proposed key lies inside the unit."""
    world = cluster(3, shards=1)
    namespace = world.state.namespaces["default"]
    world.state.namespaces["default"] = namespace._replace(unit_parts=1)
    for middle in (b"", b"/x"):
        world.shards[2] = world.shards[2]._replace(bytes=LARGE, middle=middle)
        wishes, idle = said(world, Policy.SPLIT_BY_SIZE)
        assert len(wishes) + len(idle) == 1
    world.shards[2] = world.shards[2]._replace(middle=b"dev/7/x")
    (wish,), _ = said(world, Policy.SPLIT_BY_SIZE)

    assert wish.shape.targets[1].start == b"dev/", "aligned to the unit"


def test_the_largest_shard_goes_first():
    """With room for few plans the largest are cut first."""
    world = cluster(3, shards=8)
    for i, group in enumerate(sorted(world.shards)):
        row = world.state.shards[group]
        world.shards[group] = world.shards[group]._replace(bytes=LARGE + i, middle=row.start + b"\1")
    wishes, idle = said(world, Policy.SPLIT_BY_SIZE)

    assert [wish.shape.sources for wish in wishes] == [(9,), (8,), (7,), (6,)]
    assert idle == ["split_by_size: 4 plans are under way or wished, the most at once"]


def test_a_shard_without_leader_waits():
    """Without a leader nobody could propose the Seal."""
    world = cluster(3, shards=1)
    world.shards[2] = world.shards[2]._replace(bytes=LARGE, middle=b"k", leader=0)

    assert said(world, Policy.SPLIT_BY_SIZE)[0] == []


def test_a_hot_shard_is_cut_while_another_node_has_time():
    """The right part is led by the least busy of its nodes."""
    (wish,), _ = said(busy(), Policy.SPLIT_BY_LOAD)

    assert [part.replicas[0] for part in wish.shape.targets] == [1, 2]
    assert wish.why == "9000 operations/s on node 1, 90 % busy; 10 % on node 2"


def test_a_cut_by_load_needs_a_busy_and_an_idle_node():
    """At 70 % nobody is busy; with nobody below 50 % a cut would not help."""
    assert said(busy(hot=70), Policy.SPLIT_BY_LOAD)[0] == []
    wishes, idle = said(busy(cold=50), Policy.SPLIT_BY_LOAD)

    assert (wishes, "add one" in idle[0]) == ([], True)


def test_a_hot_key_is_reported_and_not_split():
    """No cut halves the load of one key: it is named."""
    wishes, idle = said(busy(hot_key=b"hot"), Policy.SPLIT_BY_LOAD)

    assert (wishes, idle) == ([], ["split_by_load: shard 2 is hot by one key, b'hot': no cut halves that"])


def test_a_hot_shard_without_a_cut_is_reported():
    """No cut known, too little asked, or split a moment ago: nothing is done."""
    assert said(busy(middle_by_load=b""), Policy.SPLIT_BY_LOAD)[0] == []
    assert said(busy(ops_per_s=499), Policy.SPLIT_BY_LOAD)[0] == []
    world = busy()
    world.state.shards[2] = world.state.shards[2]._replace(split_ms=world.now_ms - 59_999)
    assert said(world, Policy.SPLIT_BY_LOAD)[0] == []
    world.now_ms += 1

    assert len(said(world, Policy.SPLIT_BY_LOAD)[0]) == 1


def test_a_cut_that_would_stay_on_busy_nodes_is_not_made():
    """When all of the shard's nodes are busy, the idle one elsewhere does not help it."""
    world = busy()
    world.nodes = {1: NodeLoad(busy_percent=90), 2: NodeLoad(busy_percent=90), 3: NodeLoad(busy_percent=10)}
    world.state.shards[2] = world.state.shards[2]._replace(replicas=(1, 2))
    world.state.namespaces["default"] = world.state.namespaces["default"]._replace(replicas=2)

    assert said(world, Policy.SPLIT_BY_LOAD)[0] == []
