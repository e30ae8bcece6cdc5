"""Deviations D16 to D28: applying, elections, outcomes, hand-over."""

from __future__ import annotations

from holdfast_raft.engine import Engine
from holdfast_raft.errors import Busy, DeadlinePassed, NotLeader, StoppedMidway, Unknown
from holdfast_raft.messages import (
    Addressed,
    Append,
    AppendReply,
    NodeMessage,
    PreVote,
    Vote,
)
from holdfast_raft.proposals import Applied
from holdfast_raft.status import Role

from tests.sim.cluster import Cluster
from tests.unit.holdfast_raft.memory_wal import journal_of

MEMBERS = (1, 2, 3)


def follower(*terms: int, base: tuple[int, int] = (1, 0)) -> Engine:
    """Node 1 with a log of these terms."""
    return Engine(1, MEMBERS, journal_of(*terms, base=base))


def test_d16_a_failing_callback_applies_nothing_twice() -> None:
    """D16: what a caller's callback raises stays with the caller."""
    cluster = Cluster(seed=16)
    leader = cluster.elect()

    def failing(_: object) -> None:
        raise RuntimeError("the caller's own defect")

    leader.group().propose(b"once", None, cluster.world.now + 5, failing)
    cluster.write(b"next")
    cluster.settle()

    assert all(node.tape() == [b"once", b"next"] for node in cluster.nodes.values())


def test_d16_an_entry_that_cannot_be_applied_stops_the_replica() -> None:
    """D16: a poison entry stops the replica that cannot apply it; the proposer is told."""
    cluster = Cluster(seed=17)
    leader = cluster.elect()
    leader.machines[2].poison = b"bad"

    outcome = cluster.propose(leader, b"bad")
    assert cluster.world.run_until(lambda: bool(outcome), 5)

    assert isinstance(outcome[0], StoppedMidway)
    assert leader.group().status().role is Role.STOPPED
    assert "cannot be applied" in leader.group().stopped
    assert cluster.world.run_until(lambda: cluster.leader() not in (None, leader), 5)


def test_d17_a_node_that_was_cut_off_does_not_depose_a_heard_leader() -> None:
    """D17: pre-vote and stickiness keep leader and term when an isolated follower comes back."""
    cluster = Cluster(seed=18)
    leader = cluster.elect()
    cluster.settle()
    term = leader.group().term
    lonely = next(n for n in cluster.nodes.values() if n is not leader)
    for other in MEMBERS:
        if other != lonely.number:
            cluster.network.cut(lonely.number, other)
    cluster.world.run_for(5)
    for other in MEMBERS:
        if other != lonely.number:
            cluster.network.heal(lonely.number, other)
    cluster.world.run_for(2)

    assert cluster.leader() is leader
    assert {node.group().term for node in cluster.nodes.values()} == {term}


def test_d17_a_leader_without_a_majority_steps_down() -> None:
    """D17: check-quorum ends a leadership that nobody answers, within the election timeout."""
    cluster = Cluster(seed=19)
    leader = cluster.elect()
    for other in MEMBERS:
        if other != leader.number:
            cluster.network.cut(leader.number, other)

    cluster.world.run_for(0.8)

    assert not leader.group().is_leader
    outcome = cluster.propose(leader, b"v")
    assert isinstance(outcome[0], NotLeader)


def test_d17_a_paused_leader_does_not_come_back_as_one() -> None:
    """D17: after a pause the others' leader is heard before time is judged."""
    cluster = Cluster(seed=20)
    old = cluster.elect()
    cluster.settle()
    cluster.world.pause(old.number)
    assert cluster.world.run_until(lambda: cluster.leader() not in (None, old), 5)
    new = cluster.leader()
    assert new is not None
    term = new.group().term
    cluster.world.run_for(3)
    cluster.world.resume(old.number)
    cluster.world.run_for(2)

    assert cluster.leader() is new
    assert new.group().term == term
    assert not old.group().is_leader


def test_d17_d21_a_vote_request_moves_no_replica_that_hears_its_leader() -> None:
    """Stickiness: a higher term alone deposes nobody; the leader's own wish (transfer) does."""
    cluster = Cluster(seed=21)
    leader = cluster.elect()
    cluster.settle()
    term = leader.group().term
    voter, candidate = (n for n in cluster.nodes.values() if n is not leader)

    voter.group().receive(candidate.number, Addressed(2, term + 7, Vote(999, term + 6, transfer=False)))
    leader.group().receive(candidate.number, Addressed(2, term + 7, Vote(999, term + 6, transfer=False)))
    assert (voter.group().term, leader.group().term) == (term, term)

    voter.group().receive(candidate.number, Addressed(2, term + 7, Vote(999, term + 6, transfer=True)))
    assert voter.group().term == term + 7


def test_d17_a_late_loop_asks_for_no_support_before_it_could_read_its_inbox() -> None:
    """A follower that was stopped does not take its own pause for the leader's silence."""
    cluster = Cluster(seed=30)
    leader = cluster.elect()
    cluster.settle()
    node = next(n for n in cluster.nodes.values() if n is not leader)
    asked: list[object] = []

    def unread_while_stopped(source: int, target: int, message: NodeMessage) -> NodeMessage | None:
        if source == node.number and isinstance(message, Addressed) and isinstance(message.body, PreVote):
            asked.append(message)
        return None if target == node.number and cluster.world.is_paused(node.number) else message

    cluster.network.tamper = unread_while_stopped
    cluster.world.pause(node.number)
    cluster.world.run_for(3)
    cluster.world.resume(node.number)
    cluster.world.run_for(1)

    assert asked == []
    assert node.group().leader == leader.number


def test_d17_a_vote_is_granted_again_to_the_same_candidate() -> None:
    """D17: a candidate whose answer was lost asks again and gets it; another gets none."""
    engine = follower()

    assert engine.take_vote_request(2, 5, Vote(1, 0, transfer=False))
    assert engine.take_vote_request(2, 5, Vote(1, 0, transfer=False))
    assert not engine.take_vote_request(3, 5, Vote(1, 0, transfer=False))


def test_d22_every_proposal_ends_by_its_deadline() -> None:
    """D22: a proposal whose outcome never comes ends as unknown at its deadline."""
    cluster = Cluster(seed=22)
    leader = cluster.elect()
    cluster.network.tamper = lambda _, __, message: (
        None if isinstance(message, Addressed) and isinstance(message.body, AppendReply) else message
    )

    outcome = cluster.propose(leader, b"v", timeout=0.3)
    cluster.world.run_for(0.5)

    assert isinstance(outcome[0], DeadlinePassed)
    assert isinstance(outcome[0], Unknown)
    assert len(outcome) == 1


def test_d2_d23_pipelined_entries_are_sent_once() -> None:
    """D2, D23: a success does not move `next` back over what is in flight, so nothing is sent again."""
    cluster = Cluster(seed=23)
    leader = cluster.elect()
    cluster.settle()
    cluster.network.delay_seconds = (0.01, 0.011)
    carried: list[int] = []

    def count(_: int, __: int, message: NodeMessage) -> NodeMessage:
        if isinstance(message, Addressed) and isinstance(message.body, Append):
            carried.append(len(message.body.entries))
        return message

    cluster.network.tamper = count
    outcomes = []
    for n in range(100):
        outcomes.append(cluster.propose(leader, b"v%d" % n))
        cluster.world.run_for(0.001)
    assert cluster.world.run_until(lambda: all(outcomes), 5)

    assert sum(carried) == 200


def test_d24_an_entry_larger_than_a_batch_arrives_whole() -> None:
    """D24: there is no size at which an entry is taken apart wrongly."""
    cluster = Cluster(seed=24)
    big = bytes(range(256)) * 7_800

    assert isinstance(cluster.write(big), Applied)
    cluster.settle()

    assert all(node.tape() == [big] for node in cluster.nodes.values())


def test_d28_a_leader_hands_over_with_its_intake_stopped() -> None:
    """D28: a transfer ends with the target leading; proposals meanwhile are refused, none is lost."""
    cluster = Cluster(seed=28)
    leader = cluster.elect()
    cluster.write(b"before")
    target = next(n for n in MEMBERS if n != leader.number)
    done: list[object] = []

    leader.group().transfer(target, cluster.world.now + 3, done.append)
    refused = cluster.propose(leader, b"meanwhile")
    assert isinstance(refused[0], Busy)
    assert cluster.world.run_until(lambda: bool(done), 3)

    assert done == [target]
    assert cluster.elect().number == target
    cluster.write(b"after")
    cluster.settle()
    assert all(node.tape() == [b"before", b"after"] for node in cluster.nodes.values())


def test_d28_a_transfer_that_fails_gives_the_leadership_back_its_intake() -> None:
    """D28: a target that never takes over costs the deadline, not the leadership."""
    cluster = Cluster(seed=29)
    leader = cluster.elect()
    cluster.settle()
    target = next(n for n in MEMBERS if n != leader.number)
    cluster.world.pause(target)
    done: list[object] = []

    leader.group().transfer(target, cluster.world.now + 0.2, done.append)
    cluster.world.run_for(0.4)

    assert isinstance(done[0], DeadlinePassed)
    assert isinstance(cluster.write(b"on"), Applied)
