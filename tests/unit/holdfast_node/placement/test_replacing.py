"""Replicas off nodes that are lost or draining."""

from __future__ import annotations

from holdfast_node.cache.seal import Seal
from holdfast_node.placement import commands as c
from holdfast_node.placement.answer import Answer
from holdfast_node.placement.cluster import Planning, Policy
from holdfast_node.placement.loads import NodeLoad
from holdfast_node.placement.plan import Phase

from tests.placement_world import cluster, move

DOWN = NodeLoad(down_ms=61_000)


def wished(world, policy):
    """Over shards."""
    return [wish for wish in _all(world, policy) if wish.shape.sources[0] in world.state.shards]


def wished_for_placement(world, policy):
    return [w for w in _all(world, policy) if w.shape.sources == (world.state.placement.group,)]


def _all(world, policy):
    return [wish for wish in world.propose().wishes if wish.policy is policy]


def idle(world, policy):
    return [line for line in world.propose().idle if line.startswith(policy.name.lower())]


def test_a_node_that_is_down_long_enough_is_replaced():
    """After a minute its replicas go elsewhere; the others stay, the leader first."""
    world = cluster(4, shards=1)
    world.nodes[3] = DOWN
    (wish,) = wished(world, Policy.REPLACE)

    assert wish.shape.targets[0].replicas == (1, 2, 4)
    assert wish.why == "node 3 is down for 61 s"


def test_a_node_that_is_down_shortly_is_waited_for():
    """Below replace_after_ms nothing moves, and the planner says why."""
    world = cluster(4, shards=1)
    world.nodes[3] = NodeLoad(down_ms=59_999)

    assert wished(world, Policy.REPLACE) == []
    assert idle(world, Policy.REPLACE) == ["replace: node 3 is down; not for long enough"]


def test_a_cordon_holds_replacing_back():
    """During maintenance a node that is down is waited for."""
    world = cluster(4, shards=1)
    world.nodes[3] = DOWN
    world.state.apply(c.SetNode(3, cordoned_until_ms=world.now_ms + 1))
    assert wished(world, Policy.REPLACE) == []
    world.now_ms += 1

    assert len(wished(world, Policy.REPLACE)) == 1


def test_nothing_is_held_against_a_node_of_which_nothing_is_known():
    """A placement leader that has just begun replaces nobody, and gives nobody replicas."""
    world = cluster(4, shards=1)
    world.nodes[3] = DOWN
    world.nodes[4] = NodeLoad(down_ms=None)

    assert wished(world, Policy.REPLACE) == []
    assert "replace: nothing is known yet of nodes 4" in idle(world, Policy.REPLACE)


def test_a_node_with_a_wiped_disk_is_replaced_at_once():
    """A gone node never comes back: there is nothing to wait for."""
    world = cluster(3, shards=1)
    world.state.apply(c.JoinNode("10.0.0.3:7400", 77))
    world.nodes[4] = NodeLoad()
    (wish,) = wished(world, Policy.REPLACE)

    assert set(wish.shape.targets[0].replicas) == {1, 2, 4}


def test_a_shard_without_majority_cannot_be_moved():
    """That is said instead of wished."""
    world = cluster(4, shards=1)
    world.nodes[2] = world.nodes[3] = DOWN
    world.shards[2] = world.shards[2]._replace(has_quorum=False)

    assert wished(world, Policy.REPLACE) == []
    assert "replace: shard 2 has no majority to move it: start its nodes" in idle(world, Policy.REPLACE)


def test_without_another_node_nothing_is_replaced():
    """A shard is not left with fewer replicas; the planner says what it waits for."""
    world = cluster(3, shards=1)
    world.nodes[3] = DOWN

    assert wished(world, Policy.REPLACE) == []
    assert "wait for a node that can take them" in idle(world, Policy.REPLACE)[0]


def test_a_settling_shard_is_moved_off_a_lost_node():
    """A plan's target whose node died before it stood would keep the plan open for ever."""
    world = cluster(5, shards=1)
    plan = world.state.apply(move(world, 2, 1, 2, 4)).plan
    world.state.apply(c.Advance(plan.id, Phase.PREPARE, Phase.SEAL, 1))
    world.state.apply(c.Advance(plan.id, Phase.SEAL, Phase.RETIRE, 1))
    world.shards[3] = world.shards.pop(2)
    world.nodes[4] = DOWN
    (wish,) = wished(world, Policy.REPLACE)

    assert (wish.shape.sources, set(wish.shape.targets[0].replicas)) == ((3,), {1, 2, 3})


def test_a_draining_node_is_emptied():
    """Draining moves every replica away, a leader's too; what ends empty can be removed."""
    world = cluster(4, shards=6)
    world.state.apply(c.SetNode(4, draining=True))
    world.run()

    assert world.state.groups_on(4) == []
    assert all(load.leader != 4 for load in world.shards.values())
    assert world.state.apply(c.RemoveNode(4)).node.id == 4


def test_a_plan_that_waits_for_a_lost_node_is_given_up():
    """A move to a node that died is taken back, so that the shard is free; others go on."""
    world = cluster(5, shards=2)
    world.state.apply(move(world, 2, 1, 2, 4))
    world.state.apply(move(world, 3, 2, 3, 5))
    world.nodes[4] = DOWN

    assert world.propose().cancels == ((1, "node 4 is down for 61 s"),)


def test_a_merge_that_waits_for_a_lost_replica_is_given_up():
    """A merge needs every replica; a split needs a majority only."""
    world = cluster(3, shards=4, kept=False)
    (merge, *_) = wished(world, Policy.MERGE)
    world.carry_out(merge)
    world.nodes[3] = DOWN

    assert [plan for plan, _ in world.propose().cancels] == [1]


# ---- the placement group -------------------------------------------------------------------------------


def test_the_placement_groups_lost_replica_is_replaced_first():
    """It heals everything else, so it waits for no other: not even when plans_max of them are under way."""
    world = cluster(5, shards=4)
    limits = Planning(frozenset(), 0, 0, 1, 0, 0, 0, 0, 0)
    world.state.apply(c.SetPlanning(limits=limits))
    assert isinstance(world.state.apply(move(world, 3, 2, 3, 5)), Answer)
    world.nodes[1] = DOWN

    first, *_ = world.propose().wishes

    assert (first.shape.sources, first.why) == ((1,), "node 1 is down for 61 s")
    assert set(first.shape.targets[0].replicas) == {2, 3, 4}
    assert isinstance(world.state.apply(c.StartPlan(first.shape, "", 1)), Answer)
    assert wished_for_placement(world, Policy.REPLACE) == [], "one plan over it at a time"


def test_the_placement_group_waits_for_no_copy():
    """Every node that could have it is taking in as much as it may: its own copy is small."""
    world = cluster(4, shards=1)
    world.shards[2] = world.shards[2]._replace(bytes=1 << 40)
    assert isinstance(world.state.apply(move(world, 2, 1, 2, 4)), Answer)
    world.nodes[3] = DOWN

    (wish,) = wished_for_placement(world, Policy.REPLACE)

    assert set(wish.shape.targets[0].replicas) == {1, 2, 4}


def test_the_placement_group_leaves_a_draining_node():
    """And then the node can be removed, whichever it is."""
    world = cluster(4, shards=2)
    world.state.apply(c.SetNode(1, draining=True))
    assert "placement group" in world.state.apply(c.RemoveNode(1)).message or world.state.groups_on(1)

    world.run()

    assert set(world.state.placement.replicas) == {2, 3, 4}
    assert world.state.apply(c.RemoveNode(1)).node.id == 1


def test_a_wiped_node_of_the_placement_group_is_replaced():
    """Its replica there is lost as its shards' are."""
    world = cluster(3, shards=1)
    world.state.apply(c.JoinNode("10.0.0.3:7400", 77))
    world.nodes[4] = NodeLoad()

    (wish,) = wished_for_placement(world, Policy.REPLACE)

    assert set(wish.shape.targets[0].replicas) == {1, 2, 4}
    assert wish.why == "node 3 has lost its data directory"


def test_a_placement_group_that_is_settling_may_be_moved_off_a_lost_node():
    """Its plan would wait for that node for ever."""
    world = cluster(5, shards=1)
    plan = world.state.apply(move(world, 1, 1, 2, 4)).plan
    world.state.apply(c.Advance(plan.id, Phase.PREPARE, Phase.SEAL, 1))
    world.state.apply(Seal(plan.id, True, plan.targets), (9, 1))
    world.state = world.state.cut(b"", b"", 1)
    assert world.state.plans[plan.id].phase is Phase.RETIRE
    world.nodes[4] = DOWN

    (wish,) = wished_for_placement(world, Policy.REPLACE)

    assert (wish.shape.sources, set(wish.shape.targets[0].replicas)) == ((plan.targets[0].group,), {1, 2, 5})
    world.finish(world.carry_out(wish))
    assert world.state.superseded() == {plan.targets[0].group}


def test_a_move_of_the_placement_group_to_a_lost_node_is_given_up():
    """As of a shard's."""
    world = cluster(5, shards=1)
    world.state.apply(move(world, 1, 1, 2, 4))
    world.nodes[4] = DOWN

    assert world.propose().cancels == ((1, "node 4 is down for 61 s"),)
