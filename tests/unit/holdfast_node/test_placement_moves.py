"""The placement group itself moves, by its own hand: whole nodes below their services."""

from __future__ import annotations

from typing import Any

import pytest
from holdfast_node.placement.answer import Answer
from holdfast_node.placement.cluster import PLACEMENT_GROUP, Refusal
from holdfast_node.placement.commands import AddNode, CancelPlan, JoinNode
from holdfast_node.placement.plan import Kind, Phase
from holdfast_node.placement.shape import Part

from tests.unit.holdfast_node.cores import SOURCE, Core, Cores
from tests.unit.holdfast_node.test_node_core import _all_know, plan, planned_by_hand, start

HERE, THERE = (1, 2, 3), (2, 3, 4)
MOVED = 3
"""The id that the first plan's one target gets in a cluster of one shard."""


def four(joined: int = 1) -> Cores:
    """Three nodes with the placement group, and others that joined."""
    cluster = planned_by_hand(nodes=3 + joined)
    for number in range(4, 4 + joined):
        answer = cluster.ask(JoinNode(f"127.0.0.1:740{number}", 100 + number))
        assert isinstance(answer, Answer)
        news = cluster.conducting().core.conductor.news()  # type: ignore[union-attr]
        cluster.nodes[number].core._take_news(news)
    return cluster


def moving(cluster: Cores, *nodes: int, group: int = PLACEMENT_GROUP) -> int:
    """A plan to move the placement group has begun."""
    return start(cluster, Kind.MOVE, (group,), Part(b"", b"", nodes))


def moved(cluster: Cores, *nodes: int, group: int = PLACEMENT_GROUP) -> int:
    """It has moved, everybody knows, and nothing of the old group is left; the new group's id."""
    number = moving(cluster, *nodes, group=group)
    finished(cluster, number)
    return plan(cluster, number).targets[0].group


def finished(cluster: Cores, number: int) -> None:
    cluster.until(lambda: not plan(cluster, number).is_open, 30.0)
    assert plan(cluster, number).phase is Phase.DONE
    cluster.until(lambda: _all_know(cluster) and all(map(_is_tidy, _up(cluster))), 30.0)
    cluster.world.run_for(0.1)


def _up(cluster: Cores) -> list[Core]:
    return [node for node in cluster.on() if node.driver is not None]


def _is_tidy(node: Core) -> bool:
    """Holds a replica of the present placement group when it should, and no other."""
    core = node.core
    here = [group for group, r in core.hosting.replicas.items() if group not in core.hosting.shards]
    wanted = [core.book.placement_group] if node.number in core.book.placement else []
    return here == wanted and not core.hosting.copies and not core.hosting.waiting


def test_the_placement_group_moves_to_other_nodes() -> None:
    """The new one leads with everything the old one knew, and every node reports to it."""
    cluster = four()
    cluster.write(b"a")
    before = cluster.conducting().core.placement.state  # type: ignore[union-attr]

    group = moved(cluster, *THERE)

    leader = cluster.conducting()
    replica = leader.core.placement
    assert replica is not None
    assert (group, replica.entry.group, leader.number in THERE) == (MOVED, MOVED, True)
    assert all(node.core.book.placement == THERE for node in cluster.on())
    assert replica.state.epoch == before.epoch + 1
    assert cluster.nodes[1].core.conductor is None
    assert isinstance(cluster.ask(AddNode("127.0.0.1:9")), Answer)
    assert sorted(leader.core.conductor.heard) == [1, 2, 3, 4]  # type: ignore[union-attr]
    assert not cluster.write(b"b").error


def test_it_moves_again_and_back() -> None:
    """Ids and epochs only grow, whoever has been there before."""
    cluster = four(joined=3)
    groups, epochs = [PLACEMENT_GROUP], [1]
    for nodes in ((4, 5, 6), (1, 2, 3), (3, 4, 5)):
        groups.append(moved(cluster, *nodes, group=groups[-1]))
        epochs.append(cluster.conducting().core.placement.state.epoch)  # type: ignore[union-attr]

    assert groups == [1, 3, 4, 5]
    assert epochs == sorted(set(epochs))
    assert [p.id for p in cluster.conducting().core.placement.state.ended.values()] == [1, 2, 3]  # type: ignore[union-attr]


def test_a_shard_is_moved_by_the_group_that_goes_on() -> None:
    """With plans, ids and nodes as the old one left them."""
    cluster = four()
    cluster.write(b"a")
    moved(cluster, *THERE)

    number = start(cluster, Kind.MOVE, (SOURCE,), Part(b"", b"", THERE))

    cluster.until(lambda: plan(cluster, number).phase is Phase.DONE, 20.0)
    assert (number, plan(cluster, number).targets[0].group) == (2, 4)
    assert cluster.nodes[4].keys(4) == [b"a"]


def test_a_shards_plan_goes_on_across_the_move() -> None:
    """What was under way is carried out by whoever leads then."""
    cluster = four()
    cluster.write(b"a")
    shard = start(cluster, Kind.MOVE, (SOURCE,), Part(b"", b"", THERE))
    number = moving(cluster, *THERE)

    finished(cluster, number)

    cluster.until(lambda: plan(cluster, shard).phase is Phase.DONE, 20.0)


def test_a_command_behind_the_seal_is_refused_and_nothing_happens() -> None:
    """Its refusal says where the placement group is; whoever asks there is answered."""
    cluster = four()
    node = cluster.conducting()
    old = node.core.placement
    assert old is not None
    number = moving(cluster, *THERE)
    cluster.until(lambda: plan(cluster, number).phase is Phase.RETIRE)
    assert old.state.sealed is not None
    cut = old.state.cut(b"", b"", 1).digest()

    refused = old.state.apply(AddNode("127.0.0.1:9"))

    assert isinstance(refused, Refusal)
    assert "group 3 on nodes" in refused.message
    assert old.state.cut(b"", b"", 1).digest() == cut


def test_who_leads_the_sealed_group_orders_nothing() -> None:
    """It may be led for as long as its replicas are there; then its conductor stops."""
    cluster = four()
    old = cluster.conducting()
    conductor = old.core.conductor
    assert conductor is not None
    number = moving(cluster, 4)
    cluster.until(lambda: conductor.replica.state.sealed is not None)
    said: list[Any] = []
    conductor._tell = lambda *word: said.append(word)
    looked = 0

    while conductor.replica.is_leader:
        assert not conductor.leads
        conductor.look()
        looked += 1
        cluster.world.run_for(0.0005)

    assert (said, looked > 1) == ([], True)
    finished(cluster, number)
    looks: list[float] = []
    conductor.look = lambda: looks.append(cluster.world.now)  # type: ignore[method-assign]
    cluster.world.run_for(2.0)
    assert looks == [], "nor does it look any more"


def test_a_plan_that_is_taken_back_leaves_it_where_it_is() -> None:
    """The old group's own log forbids it, and its floor says so."""
    cluster = four()
    cluster.nodes[4].kill()  # who would copy
    number = moving(cluster, *THERE)
    assert isinstance(cluster.ask(CancelPlan(number, "", 1)), Answer)

    cluster.until(lambda: plan(cluster, number).phase is Phase.CANCELLED)

    state = cluster.conducting().core.placement.state  # type: ignore[union-attr]
    assert (state.placement.group, state.floor, state.sealed) == (PLACEMENT_GROUP, number, None)
    cluster.nodes[4].start()
    assert moved(cluster, *THERE) == MOVED + 1


@pytest.mark.parametrize("victims", [(1,), (2,), (4,), (1, 2, 3, 4)])
@pytest.mark.parametrize("moment", ["prepare", "seal", "sealed", "retire"])
def test_a_node_that_starts_again_at_any_step_finds_its_way(moment: str, victims: tuple[int, ...]) -> None:
    """Those who had it, those who get it, and all at once."""
    cluster = four()
    number = moving(cluster, *THERE)
    cluster.until(lambda: _has_come_to(cluster, number, moment))

    for victim in victims:
        cluster.nodes[victim].restart()

    finished(cluster, number)


def _has_come_to(cluster: Cores, number: int, moment: str) -> bool:
    replicas = [node.core.placement for node in _up(cluster)]
    states = [replica.state for replica in replicas if replica is not None]
    phases = [found.phase for state in states if (found := state.plan(number)) is not None]
    if moment == "sealed":
        return any(state.sealed is not None for state in states)
    return Phase[moment.upper()] in phases


@pytest.mark.parametrize(("here", "there"), [((1,), (1, 4)), ((1, 2, 3), (4, 5, 6))])
def test_a_copy_that_is_lost_at_the_seal_is_made_anew(here: tuple[int, ...], there: tuple[int, ...]) -> None:
    """Nobody conducts until the new group has a majority: whoever has the sealed state says what is
    missing.
    """
    cluster = four(joined=3)
    group = moved(cluster, *here) if here != HERE else PLACEMENT_GROUP
    number = moving(cluster, *there, group=group)
    newcomers = [node for node in cluster.on(*there) if node.number not in here]
    cluster.until(lambda: plan(cluster, number).phase is Phase.SEAL)
    for node in newcomers:
        node.kill()
    cluster.until(lambda: any(_is_sealed(node, group) for node in _up(cluster)))
    cluster.world.run_for(1.0)

    for node in newcomers:
        node.start()

    finished(cluster, number)


def _is_sealed(node: Core, group: int) -> bool:
    replica = node.core.hosting.replicas.get(group)
    return replica is not None and replica.state.sealed is not None


def test_a_node_that_was_down_across_several_moves_is_told() -> None:
    """Nobody it knows has the placement group any more; a loss of power took its latest news, too."""
    cluster = four(joined=4)
    away = cluster.nodes[6]
    cluster.until(lambda: away.core.epoch > 0)
    away.kill()
    group = moved(cluster, 2, 3, 4)
    group = moved(cluster, 4, 5, 7, group=group)
    for number in HERE:
        cluster.nodes[number].kill()

    away.start()
    assert set(away.core.book.placement) == set(HERE)

    cluster.until(lambda: away.core.book.placement_group == group)
    cluster.until(lambda: away.core.epoch == cluster.conducting().core.placement.state.epoch)  # type: ignore[union-attr]
    conductor = cluster.conducting().core.conductor
    assert conductor is not None
    cluster.until(lambda: 6 in conductor.heard and conductor.heard[6].report.epoch == away.core.epoch)


def test_a_node_that_had_the_placement_group_comes_back_after_it_moved() -> None:
    """Its replica of the old group is of no use to anybody, and it lets go of it."""
    cluster = four(joined=3)
    away = cluster.nodes[1]
    away.kill()
    number = moving(cluster, 4, 5, 6)
    cluster.until(lambda: plan(cluster, number).phase is Phase.DONE, 20.0)

    away.start()
    assert away.core.placement is not None

    cluster.until(lambda: away.core.placement is None and away.core.conductor is None, 20.0)
    assert away.core.book.placement == (4, 5, 6)


def test_a_leader_that_is_cut_off_before_the_seal_does_no_harm() -> None:
    """It believes that it leads the old group; what it orders is of no effect, and it is told in the end."""
    cluster = four(joined=3)
    cluster.write(b"a")
    old = cluster.conducting()
    others = [n.number for n in cluster.on() if n is not old]
    to = (4, 5, 6)
    number = moving(cluster, *to)
    cluster.until(lambda: plan(cluster, number).phase is Phase.SEAL)
    for other in others:
        cluster.network.cut(old.number, other)

    def goes_on() -> bool:
        return any(n.core.conductor is not None and n.core.conductor.leads for n in cluster.on(*to))

    cluster.until(goes_on, 20.0)
    state = next(
        n.core.placement.state for n in cluster.on(*to) if n.core.conductor and n.core.conductor.leads
    )  # type: ignore[union-attr]
    assert state.placement.replicas == to
    for other in others:
        cluster.network.heal(old.number, other)

    finished(cluster, number)
    assert not cluster.write(b"b").error
