"""Replicas in the number wanted, over zones and hosts."""

from __future__ import annotations

from holdfast_node.placement import commands as c
from holdfast_node.placement.cluster import Namespace, Policy, ShardRow

from tests.placement_world import World, cluster, node


def wishes(world):
    """Over shards."""
    found = [wish for wish in world.propose().wishes if wish.policy is Policy.BALANCE and wish.shape]
    return [wish for wish in found if wish.shape.sources[0] in world.state.shards]


def world_of(zones, replicas, hosts=()):
    nodes = [node(i + 1, zone) for i, zone in enumerate(zones)]
    nodes = (
        [n._replace(address=f"{host}:{n.id}") for n, host in zip(nodes, hosts, strict=True)]
        if hosts
        else nodes
    )
    return World(nodes, [Namespace("default")], [ShardRow(2, "default", b"", b"", replicas, 1)])


def test_replicas_go_to_distinct_zones():
    """Two replicas in one zone are parted as soon as another zone can take one."""
    (wish,) = wishes(world_of(["a", "a", "b", "c"], (1, 2, 3)))

    assert set(wish.shape.targets[0].replicas) in ({1, 3, 4}, {2, 3, 4})


def test_replicas_go_to_distinct_hosts_when_zones_are_equal():
    """Hosts count after zones."""
    (wish,) = wishes(world_of(["", "", "", ""], (1, 2, 3), ["h1", "h1", "h2", "h3"]))

    assert {1, 2} - set(wish.shape.targets[0].replicas), "one of those on the same host left"


def test_as_good_as_it_gets_is_left_alone():
    """With fewer zones than replicas, or one host for all, nothing moves for nothing."""
    assert wishes(world_of(["a", "a", "b", "b"], (1, 2, 3))) == []
    assert wishes(world_of(["", "", "", ""], (1, 2, 3), ["h1"] * 4)) == []


def test_a_shard_grows_when_nodes_join():
    """A cluster that began with one node gets three replicas once three nodes are there, not two before."""
    world = world_of([""], (1,))
    for number in (2, 3):
        assert wishes(world) == []
        world.state.apply(c.JoinNode(f"10.0.0.{number}:7400", 50 + number))
        world.nodes[number] = world.nodes[1]
    (wish,) = wishes(world)

    assert wish.shape.targets[0].replicas == (1, 2, 3)
    assert wish.why == "1 replicas; namespace default has 3"


def test_a_shard_shrinks_one_by_one_and_keeps_its_leader():
    """Fewer replicas wanted: what crowds goes first, never the leader."""
    world = world_of(["a", "a", "b"], (1, 2, 3))
    world.state.apply(c.SetNamespace("default", replicas=2))
    (wish,) = wishes(world)

    assert wish.shape.targets[0].replicas == (1, 3)


def test_spreading_reaches_every_shard_and_ends():
    """From two zones to three: every shard ends with a replica in each."""
    world = cluster(6, shards=12, zones=2)
    for number in (5, 6):
        world.state.apply(c.SetNode(number, zone="z9"))
    world.run()

    for row in world.state.shards.values():
        assert len({world.state.nodes[n].zone for n in row.replicas}) == 3


# ---- the placement group -------------------------------------------------------------------------------


def test_a_placement_group_that_began_small_grows_to_three():
    """Once three nodes can have it, not at two: an even number survives no more losses."""
    world = world_of([""], (1,))
    sizes = []
    for number in (2, 3, 4):
        world.state.apply(c.JoinNode(f"10.0.0.{number}:7400", 50 + number))
        world.nodes[number] = world.nodes[1]
        first = next(iter(world.propose().wishes), None)
        if first is not None and first.shape.sources == (1,):
            assert first.why == "the placement group has 1 replicas; 3 nodes can have one"
        world.run()
        sizes.append(len(world.state.placement.replicas))

    assert sizes == [1, 3, 3]


def test_the_placement_group_prefers_distinct_zones():
    """It moves as soon as another zone can take a replica of it, and then it rests."""
    world = world_of(["a", "a", "b", "c"], (1, 3, 4))
    assert set(world.state.placement.replicas) == {1, 2, 3}

    world.run()

    assert {world.state.nodes[n].zone for n in world.state.placement.replicas} == {"a", "b", "c"}
