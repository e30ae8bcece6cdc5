"""A replica of the placement group: its state changes by applied commands alone."""

from __future__ import annotations

from typing import Any

import pytest
from holdfast.keys import KeyRange
from holdfast.shardmap import Replica
from holdfast.shardmap import Shard as MapEntry
from holdfast_node.config import from_mapping
from holdfast_node.placement.answer import Answer
from holdfast_node.placement.cluster import PLACEMENT_GROUP, Refusal
from holdfast_node.placement.commands import AddNode, Bootstrap, CancelPlan
from holdfast_node.placement.first import bootstrap
from holdfast_node.placement.replica import PlacementReplica
from holdfast_raft.errors import Busy
from holdfast_raft.machine import CorruptImage, UnknownEntry

from tests.unit.holdfast_node.scripted import Clock, Group

FIRST = bootstrap(
    from_mapping(
        {
            "cluster_id": "test",
            "node": 1,
            "data_dir": "none",
            "http_address": "127.0.0.1:1",
            "nodes": [{"id": n, "address": f"127.0.0.1:740{n}"} for n in (1, 2, 3)],
        }
    )
)


ENTRY = MapEntry("", KeyRange(b"", b""), PLACEMENT_GROUP, 0, tuple(Replica(n, "") for n in (1, 2, 3)), 0)


def replica(first: Bootstrap | None = FIRST, *, leading: bool = True) -> tuple[PlacementReplica, Group]:
    clock = Clock()
    made = PlacementReplica(ENTRY, first, clock)
    group = Group(made, clock, leading=leading)
    made.bind(group, None)
    return made, group


def led() -> tuple[PlacementReplica, Group]:
    """With the first map."""
    made, group = replica()
    made.turn()
    group.committed()
    return made, group


def test_who_leads_makes_the_first_map() -> None:
    """Once, and it leads only with it."""
    made, group = replica()
    assert not made.leads
    made.turn()
    made.turn()
    assert len(group.proposed) == 1

    group.committed()
    made.turn()

    assert (made.leads, made.state.epoch, group.proposed) == (True, 1, [])


@pytest.mark.parametrize(("first", "leading"), [(None, True), (FIRST, False)])
def test_nobody_else_proposes_it(first: Bootstrap | None, leading: bool) -> None:
    """Not a follower, and not a node that joined: others know what the cluster began with."""
    made, group = replica(first, leading=leading)
    made.turn()

    assert group.proposed == []


def test_a_first_map_that_was_refused_is_proposed_again() -> None:
    """In a later turn; also when the leadership ended meanwhile."""
    made, group = replica()
    group.refusing = Busy("a window", 20)
    made.turn()
    group.refusing = None
    made.turn()
    assert len(group.proposed) == 1

    group.depose()
    group.is_leader = True
    made.turn()

    assert len(group.proposed) == 1


def test_a_command_is_answered_once_it_is_applied() -> None:
    """With what the state machine answered, or why raft took it not."""
    made, group = led()
    told: list[Any] = []
    made.propose(AddNode("127.0.0.1:9", "", (), 0), told.append)
    made.propose(CancelPlan(9, "", 0), told.append)
    assert told == []
    group.committed()
    assert [type(answer) for answer in told] == [Answer, Refusal]
    assert 4 in made.state.nodes

    group.refusing = Busy("a window", 20)
    made.propose(CancelPlan(9, "", 0), told.append)

    assert told[-1] is group.refusing


def test_an_image_is_the_state_it_was_taken_of() -> None:
    """A follower that installs it goes on as the one that made it."""
    made, _ = led()
    other, _ = replica(leading=False)
    builder = other.builder()
    for chunk in made.freeze().chunks():
        builder.feed(chunk)
    builder.finish()

    other.install(builder)

    assert other.state.digest() == made.state.digest()


def test_what_is_damaged_or_newer_is_told_in_rafts_words() -> None:
    """An image that does not add up is refused, an entry that is not known stops the replica."""
    made, _ = led()
    with pytest.raises(CorruptImage):
        made.builder().finish()
    with pytest.raises(UnknownEntry):
        made.apply(2, 1, b"\xff" * 20, None)
