"""How nodes come, change and go."""

from __future__ import annotations

from holdfast.errors import Reason
from holdfast_node.placement import commands as c
from holdfast_node.placement.answer import Answer
from holdfast_node.placement.nodes import removal_problem
from holdfast_node.placement.plan import Phase

from tests.placement_world import cluster, move, refusal

AT4 = "10.0.0.4:7400"


def node_of(result):
    assert isinstance(result, Answer), result
    return result.node


def test_a_new_node_is_given_the_next_id_and_map_news():
    """Whoever is new gets an id that nobody had, and the epoch grows so that all hear its address."""
    state = cluster(3).state
    node = node_of(state.apply(c.JoinNode(AT4, 77, zone="z9", http="10.0.0.4:7500")))

    assert (node.id, node.zone, node.weight, state.epoch) == (4, "z9", 100, 2)
    assert state.addresses()[4] == AT4


def test_joining_again_gives_the_same_id():
    """The same incarnation is the same node, however often it asks; nothing changes."""
    state = cluster(3).state
    first = node_of(state.apply(c.JoinNode(AT4, 77)))
    again = state.apply(c.JoinNode(AT4, 77, zone="other"))

    assert again == Answer(2, "node 4 is known", changed=False, node=first)


def test_a_node_keeps_its_id_at_another_address():
    """An incarnation that serves elsewhere is still that node, and the epoch says so."""
    state = cluster(3).state
    state.apply(c.JoinNode(AT4, 77))
    moved = node_of(state.apply(c.JoinNode("10.0.0.9:7400", 77)))

    assert (moved.id, moved.address, state.epoch) == (4, "10.0.0.9:7400", 3)


def test_a_wiped_disk_comes_back_as_a_new_node():
    """Another incarnation at the same address gets a new id; the old one is gone for ever."""
    state = cluster(3).state
    new = node_of(state.apply(c.JoinNode("10.0.0.2:7400", 77)))

    assert new.id == 4
    assert state.nodes[2].gone
    assert state.addresses() == {1: "10.0.0.1:7400", 3: "10.0.0.3:7400", 4: "10.0.0.2:7400"}
    assert state.groups_on(2), "its replicas are still to be replaced"


def test_a_gone_node_does_not_come_back():
    """A data directory that was given up is refused, and told what to do."""
    state = cluster(3).state
    state.apply(c.JoinNode("10.0.0.2:7400", 77))
    refused = refusal(state.apply(c.JoinNode("10.0.0.8:7400", 1002)))

    assert (refused.reason, refused.field) == (Reason.CONDITION_FAILED, "incarnation")
    assert "empty data directory" in refused.message


def test_a_node_that_configuration_named_says_its_incarnation_first():
    """An id without incarnation belongs to the first that claims it; that is no map news."""
    state = cluster(3).state
    state.nodes[2] = state.nodes[2]._replace(incarnation=0)
    node = node_of(state.apply(c.JoinNode("10.0.0.2:7400", 55, node=2)))

    assert (node.id, node.incarnation, state.epoch) == (2, 55, 1)


def test_a_claimed_id_of_another_incarnation_is_not_given():
    """A wiped node that claims its old id is a new node all the same."""
    state = cluster(3).state
    node = node_of(state.apply(c.JoinNode("10.0.0.2:7400", 55, node=2)))

    assert node.id == 4


def test_a_removed_node_does_not_come_back_under_its_id():
    """An id that was forgotten is refused with the way to join anew."""
    state = cluster(3).state
    state.apply(c.JoinNode(AT4, 77))
    state.apply(c.RemoveNode(4))
    refused = refusal(state.apply(c.JoinNode(AT4, 77, node=4)))

    assert (refused.reason, refused.field) == (Reason.CONDITION_FAILED, "node")
    assert node_of(state.apply(c.JoinNode(AT4, 77))).id == 5, "ids are never used again"


def test_a_data_directory_is_of_one_node():
    """A claimed id that is not the incarnation's is refused."""
    state = cluster(3).state

    assert refusal(state.apply(c.JoinNode(AT4, 1002, node=3))).field == "node"


def test_two_members_never_share_an_address():
    """A known node that moves to a living node's address is refused."""
    state = cluster(3).state
    refused = refusal(state.apply(c.JoinNode("10.0.0.3:7400", 1002)))

    assert (refused.reason, refused.field) == (Reason.CONDITION_FAILED, "address")
    assert not state.nodes[3].gone


def test_an_expected_node_gets_its_settings():
    """What AddNode said of an address wins over what the node says of itself."""
    state = cluster(3).state
    expected = node_of(state.apply(c.AddNode(AT4, "z7", (("rack", "r1"),), 50)))
    joined = node_of(state.apply(c.JoinNode(AT4, 77, zone="z1", labels=(("disk", "hdd"), ("rack", "r9")))))

    assert (expected.expected, state.members().get(4)) == (True, joined)
    assert (joined.id, joined.zone, joined.weight) == (4, "z7", 50)
    assert joined.labels == (("disk", "hdd"), ("rack", "r1"))


def test_an_address_in_use_is_not_added():
    """AddNode at a member's address is refused; at an expected one it changes the settings."""
    state = cluster(3).state
    state.apply(c.AddNode(AT4))

    assert refusal(state.apply(c.AddNode("10.0.0.1:7400"))).field == "address"
    assert node_of(state.apply(c.AddNode(AT4, weight=7))).weight == 7


def test_bad_words_are_refused_with_their_field():
    """Addresses, weights and incarnations are checked when applied."""
    state = cluster(3).state

    assert refusal(state.apply(c.JoinNode("nowhere", 7))).field == "address"
    assert refusal(state.apply(c.JoinNode(AT4, 0))).field == "incarnation"
    assert refusal(state.apply(c.SetNode(1, weight=10_001))).field == "weight"
    assert refusal(state.apply(c.SetNode(9))).field == "node"


def test_a_node_is_set_field_by_field():
    """What is not named stays; an explanation says what changed."""
    state = cluster(3).state
    done = state.apply(c.SetNode(1, draining=True, weight=7, set_labels=(("rack", "r1"),)))
    state.apply(c.SetNode(1, cordoned_until_ms=5, drop_labels=("rack",)))
    node = state.nodes[1]

    assert (node.draining, node.weight, node.cordoned_until_ms, node.labels) == (True, 7, 5, ())
    assert "weight: 100 -> 7" in done.explanation
    assert "2 replicas are moved away" in done.explanation


def test_a_node_with_replicas_is_not_removed():
    """Removing is refused while it would break majorities, and says to drain first."""
    state = cluster(3, shards=2, replicas=1).state
    refused = refusal(state.apply(c.RemoveNode(1)))

    assert "majority of shards 2" in refused.message
    assert "holdfast node drain 1" in refused.message


def test_a_node_with_replicas_that_others_can_spare_is_not_removed_either():
    """A replica is moved, never just dropped."""
    refused = refusal(cluster(3).state.apply(c.RemoveNode(1)))

    assert "holds replicas of 2 shards (2, 3)" in refused.message


def test_removing_counts_nodes_that_are_down():
    """With another replica down, the removal would break the majority."""
    state = cluster(3).state

    assert "majority" not in removal_problem(state, 1).message
    assert "majority of shards 2, 3" in removal_problem(state, 1, down=[2]).message


def test_a_node_of_the_placement_group_is_not_removed():
    """Without shards the placement group's replicas still hold it."""
    state = cluster(4, shards=1).state

    assert "majority" in removal_problem(state, 1, down=[2]).message
    state.placement = state.placement._replace(replicas=(4,))
    message = refusal(state.apply(c.RemoveNode(4))).message
    assert "placement group" in message
    assert "holdfast node drain 4" in message


def test_a_node_that_a_plan_gives_replicas_to_is_not_removed():
    """A plan's targets count as much as the map's shards."""
    world = cluster(5, shards=1)
    assert isinstance(world.state.apply(move(world, 2, 1, 2, 5)), Answer)

    assert "plans 1" in refusal(world.state.apply(c.RemoveNode(5))).message


def test_an_empty_node_is_forgotten():
    """A node that holds nothing goes, and map news say so."""
    world = cluster(5, shards=1)
    assert isinstance(world.state.apply(c.RemoveNode(5)), Answer)

    assert 5 not in world.state.nodes
    assert world.state.epoch == 2


def test_a_cluster_has_at_most_64_nodes():
    """The 65th is refused; who replaces one at its address is not."""
    state = cluster(64, shards=1).state

    assert "64 nodes" in refusal(state.apply(c.JoinNode("10.0.1.1:7400", 7))).message
    assert node_of(state.apply(c.JoinNode("10.0.0.9:7400", 7))).id == 65


def test_a_node_is_not_removed_while_a_plan_needs_what_it_holds():
    """The map has flipped, and a target that has lost its copy would make it anew from there."""
    world = cluster(4, shards=1)
    plan = world.state.apply(move(world, 2, 2, 3, 4)).plan
    for before, after in ((1, 2), (2, 3)):
        world.state.apply(c.Advance(plan.id, Phase(before), Phase(after), 1))
    world.state.placement = world.state.placement._replace(replicas=(2, 3, 4))
    assert "plans 1 are not done" in refusal(world.state.apply(c.RemoveNode(1))).message

    world.state.apply(c.Advance(plan.id, Phase.RETIRE, Phase.DONE, 1))

    assert world.state.apply(c.RemoveNode(1)).node.id == 1
