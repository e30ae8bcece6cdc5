"""How a replica comes to lead: by its birth, or by the support of the others; on the simulated network."""

from __future__ import annotations

import pytest
from holdfast_raft.messages import Addressed, Append, Here, PreVote, Vote, VoteReply

from tests.unit.holdfast_raft.births import BASE, GROUP, MEMBERS, Births


@pytest.mark.parametrize("order", [(2, 1, 3), (1, 2, 3), (3, 1, 2), (1, 3, 2)])
@pytest.mark.parametrize("apart", [0.0, 0.001, 0.02, 0.1])
def test_the_first_member_leads_within_ms_of_the_birth_that_makes_it_possible(
    order: tuple[int, ...], apart: float
) -> None:
    """Clients wait: nobody waits out a timeout for a majority, or for the member meant to lead."""
    cluster = Births(seed=1)
    now = cluster.world.now
    for position, number in enumerate(order):
        cluster.world.at(now + apart * position, lambda number=number: cluster.give_birth(number))
    possible = max(order.index(2), 1) * apart

    assert cluster.world.run_until(lambda: cluster.leader(GROUP) is not None, possible + 0.03)

    assert cluster.elect(GROUP).number == 2
    assert cluster.elect(GROUP).group(GROUP).term == BASE[1] + 1


def test_a_birth_is_every_members_vote_for_the_first() -> None:
    """Nobody asks, nobody grants: it leads the term after the base's once its own birth is durable."""
    cluster = Births(seed=30)
    cluster.nodes[2].seconds["wal"] = (0.05, 0.05)
    asked = cluster.watch(PreVote, Vote, VoteReply)
    said = cluster.watch(Append)
    for number in MEMBERS:
        cluster.give_birth(number)
    cluster.world.run_for(0.04)
    assert not said, "what it says before its birth is durable it may forget, and say otherwise"

    assert cluster.world.run_until(lambda: cluster.leader(GROUP) is not None, 0.2)

    assert (cluster.elect(GROUP).number, cluster.elect(GROUP).group(GROUP).term) == (2, BASE[1] + 1)
    assert asked == []


def test_a_birth_is_a_vote_that_outlasts_a_restart() -> None:
    """No other candidate gets it in that term, and the first member does not lead the term once more."""
    cluster = Births(seed=31)
    cluster.give_birth(1)
    cluster.give_birth(3)
    cluster.world.run_for(0.05)
    for number in (1, 3):
        cluster.nodes[number].lose_power()
        cluster.nodes[number].start()
        journal = cluster.nodes[number].group(GROUP).journal
        assert (journal.getCurrentTerm(), journal.getVotedForNodeId()) == (BASE[1] + 1, 2)

    cluster.give_birth(2)
    assert cluster.world.run_until(lambda: cluster.leader(GROUP) is not None, 0.2)
    cluster.nodes[2].lose_power()
    cluster.nodes[2].start()
    led = [message.term for _, _, message in cluster.watch(Append) if message.term == BASE[1] + 1]
    cluster.elect(GROUP)

    assert not led
    assert cluster.elect(GROUP).group(GROUP).term > BASE[1] + 1


def test_without_the_first_member_the_others_wait_one_election_timeout() -> None:
    """Not the two seconds of an empty group, for which no client waits yet."""
    cluster = Births(seed=2)
    cluster.nodes[2].kill()
    cluster.give_birth(1)
    cluster.give_birth(3)

    assert cluster.world.run_until(lambda: cluster.leader(GROUP) is not None, 0.7)


def test_who_has_asked_in_vain_asks_again_when_another_is_born() -> None:
    """Two of three are enough, also where the one meant to lead is away."""
    cluster = Births(seed=3)
    cluster.nodes[2].kill()
    cluster.give_birth(1)
    asked = cluster.watch(PreVote)
    assert cluster.world.run_until(lambda: bool(asked), 1.0)
    cluster.world.run_for(0.1)

    cluster.give_birth(3)

    assert cluster.world.run_until(lambda: cluster.leader(GROUP) is not None, 0.02)


def test_a_member_that_says_it_is_here_over_and_over_makes_no_storm() -> None:
    """One question a heartbeat, whatever is said."""
    cluster = Births(seed=5)
    cluster.give_birth(1)
    asked = cluster.watch(PreVote)
    assert cluster.world.run_until(lambda: bool(asked), 1.0)
    cluster.world.run_for(0.1)
    asked.clear()
    driver = cluster.nodes[1].driver
    assert driver is not None
    for _ in range(50):
        driver.received(3, Addressed(GROUP, 3, Here()))
    cluster.world.run_for(0.01)

    assert [target for _, target, _ in asked] == [2, 3]


def test_a_leader_feeds_a_member_as_soon_as_it_is_born() -> None:
    """What was sent before went nowhere, and is not waited for."""
    cluster = Births(seed=6)
    cluster.give_birth(2)
    cluster.give_birth(1)
    cluster.elect(GROUP)
    cluster.write(b"v", GROUP)

    cluster.give_birth(3)

    assert cluster.world.run_until(lambda: b"v" in cluster.nodes[3].tape(GROUP), 0.1)
