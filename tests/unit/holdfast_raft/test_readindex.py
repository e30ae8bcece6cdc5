"""Barrier rounds: what proves a linearizable read."""

from __future__ import annotations

from holdfast_raft.errors import DeadlinePassed, NotLeader, RaftError
from holdfast_raft.messages import Confirm, ConfirmReply, Nonce
from holdfast_raft.readindex import LATE_AFTER, BarrierRounds


class Leader:
    """A group led here."""

    def __init__(self, group: int = 2, others: tuple[int, ...] = (2, 3)) -> None:
        self.id = group
        self.point: tuple[int, int] | RaftError = (5, 10)
        self.confirmed_at: list[float] = []
        self._others = others

    def barrier_point(self) -> tuple[int, int] | RaftError:
        return self.point

    def others(self) -> tuple[int, ...]:
        return self._others

    def confirmed(self, sent_at: float) -> None:
        self.confirmed_at.append(sent_at)


def rounds() -> BarrierRounds:
    return BarrierRounds(boot=7, patience=0.05)


def asks(book: BarrierRounds, now: float, *, down: tuple[int, ...] = ()) -> dict[int, Confirm]:
    """The questions of this turn, one to a peer."""
    sent = book.questions(now, lambda peer: peer not in down)
    assert len({peer for peer, _ in sent}) == len(sent)
    return dict(sent)


def yes(confirm: Confirm) -> ConfirmReply:
    return ConfirmReply(confirm.nonce, tuple(group for group, _ in confirm.groups), ())


def late() -> RaftError:
    return DeadlinePassed("late")


def test_one_message_to_each_peer_covers_all_groups_with_reads() -> None:
    """A round asks once for each pair of nodes, whatever the number of groups."""
    book, a, b, out = rounds(), Leader(2), Leader(3), []
    book.join(a, 9.0, out.append)
    book.join(b, 9.0, out.append)

    sent = asks(book, 1.0)

    assert sent == {2: Confirm(Nonce(7, 1), ((2, 5), (3, 5)))}
    book.replied(2, yes(sent[2]))
    assert out == [10, 10]
    assert a.confirmed_at == [1.0]


def test_reads_of_one_group_share_a_round() -> None:
    """One question covers all that waited for it, and all are answered, in the order they came."""
    book, leader, out = rounds(), Leader(), []
    for name in ("first", "second", "third"):
        book.join(leader, 9.0, lambda point, name=name: out.append((name, point)))

    sent = asks(book, 1.0)

    assert sent[2].groups == ((2, 5),)
    book.replied(2, yes(sent[2]))
    assert out == [("first", 10), ("second", 10), ("third", 10)]


def test_a_read_that_comes_during_a_round_waits_for_the_next() -> None:
    """A round that began before a read says nothing about it."""
    book, leader, out = rounds(), Leader(), []
    book.join(leader, 9.0, lambda point: out.append(("first", point)))
    sent = asks(book, 1.0)
    book.join(leader, 9.0, lambda point: out.append(("second", point)))
    assert asks(book, 1.0) == {}

    leader.point = (5, 20)
    book.replied(2, yes(sent[2]))

    assert out == [("first", 10)]
    again = asks(book, 1.1)
    assert again[2].nonce != sent[2].nonce
    book.replied(3, yes(again[2]))
    assert out == [("first", 10), ("second", 20)]


def test_the_answer_to_an_earlier_round_confirms_nothing() -> None:
    """A nonce is never used twice, also not for a round that is repeated (etcd 20418)."""
    book, leader, out = rounds(), Leader(), []
    book.join(leader, 9.0, out.append)
    first = asks(book, 1.0)
    book.tick(1.2, late)
    second = asks(book, 1.2)

    book.replied(2, yes(first[2]))
    assert out == []
    book.replied(2, yes(second[2]))
    assert out == [10]


def test_the_answer_to_an_earlier_start_of_this_process_confirms_nothing() -> None:
    """Counters begin anew with the process; the boot number tells its nonces from those before."""
    book, leader, out = rounds(), Leader(), []
    book.join(leader, 9.0, out.append)
    sent = asks(book, 1.0)

    book.replied(2, ConfirmReply(Nonce(6, sent[2].nonce.counter), (2,), ()))
    assert out == []
    book.replied(2, yes(sent[2]))
    assert out == [10]


def test_a_round_within_its_patience_stays_under_way() -> None:
    """A tick ends nothing early: the answer that comes after it still counts."""
    book, leader, out = rounds(), Leader(), []
    book.join(leader, 9.0, out.append)
    sent = asks(book, 1.0)

    book.tick(1.04, late)
    assert not book.has_waiting
    book.replied(2, yes(sent[2]))

    assert out == [10]


def test_the_commit_index_is_that_of_the_rounds_start() -> None:
    """What commits during the round does not belong to it."""
    book, leader, out = rounds(), Leader(), []
    book.join(leader, 9.0, out.append)
    sent = asks(book, 1.0)

    leader.point = (5, 99)
    book.replied(2, yes(sent[2]))

    assert out == [10]


def test_a_leadership_that_ended_meanwhile_confirms_nothing() -> None:
    """Leader and term are checked again at the end."""
    book, leader, out = rounds(), Leader(), []
    book.join(leader, 9.0, out.append)
    sent = asks(book, 1.0)

    leader.point = NotLeader(3)
    book.replied(2, yes(sent[2]))

    assert isinstance(out[0], NotLeader)


def test_a_new_term_of_the_same_leader_starts_over() -> None:
    """Confirmation of term 5 does not hold in term 7; the read joins the next round."""
    book, leader, out = rounds(), Leader(), []
    book.join(leader, 9.0, out.append)
    sent = asks(book, 1.0)
    leader.point = (7, 30)
    book.replied(2, yes(sent[2]))
    assert out == []

    again = asks(book, 1.1)
    book.replied(2, yes(again[2]))
    assert out == [30]


def test_one_peer_counts_once() -> None:
    """Five members need two others; one of them answering twice is one."""
    book, leader, out = rounds(), Leader(others=(2, 3, 4, 5)), []
    book.join(leader, 9.0, out.append)
    sent = asks(book, 1.0)

    book.replied(2, yes(sent[2]))
    book.replied(2, yes(sent[2]))
    book.replied(9, yes(sent[2]))
    assert out == []
    book.replied(3, yes(sent[3]))
    assert out == [10]


def test_a_group_a_peer_does_not_name_is_a_no() -> None:
    """Silence about a group confirms nothing."""
    book, leader, out = rounds(), Leader(), []
    book.join(leader, 9.0, out.append)
    sent = asks(book, 1.0)

    book.replied(2, ConfirmReply(sent[2].nonce, (), ((2, 6),)))
    book.replied(3, ConfirmReply(sent[2].nonce, (99,), ()))

    assert out == []


def test_a_group_without_a_majority_does_not_hold_up_the_others() -> None:
    """Others start their next rounds meanwhile; after its patience the missing one joins a new one."""
    book, lost, fine, out = rounds(), Leader(2, (4,)), Leader(3, (2,)), []
    book.join(lost, 9.0, lambda point: out.append(("lost", point)))
    book.join(fine, 9.0, lambda point: out.append(("fine", point)))
    first = asks(book, 1.0)
    book.replied(2, yes(first[2]))
    book.join(fine, 9.0, lambda point: out.append(("fine again", point)))
    second = asks(book, 1.01)
    assert set(second) == {2}
    book.replied(2, yes(second[2]))
    assert out == [("fine", 10), ("fine again", 10)]

    book.tick(1.06, late)
    third = asks(book, 1.06)
    assert dict(third[4].groups) == {2: 5}
    book.replied(4, yes(first[4]))
    assert len(out) == 2
    book.replied(4, yes(third[4]))
    assert out[-1] == ("lost", 10)


def test_reads_end_at_their_deadline() -> None:
    """A read that no round could confirm in time is told so."""
    book, leader, out = rounds(), Leader(), []
    book.join(leader, 1.5, out.append)
    asks(book, 1.0)

    book.tick(1.6, late)
    book.tick(1.7, late)

    assert [type(o) for o in out] == [DeadlinePassed]
    assert not book.has_waiting


def test_only_the_reads_whose_deadline_passed_end() -> None:
    """Others of the same group, and of groups with more time, go on waiting for the next round."""
    book, a, b, out = rounds(), Leader(2), Leader(3), []
    book.join(a, 1.5, lambda point: out.append(("early", type(point))))
    book.join(a, 9.0, lambda point: out.append(("patient", point)))
    book.join(b, 9.0, lambda point: out.append(("other", point)))

    book.tick(1.5, late)
    assert out == [("early", DeadlinePassed)]
    book.replied(2, yes(asks(book, 1.6)[2]))

    assert out[1:] == [("patient", 10), ("other", 10)]


def test_a_round_that_starts_over_takes_those_who_joined_meanwhile_along() -> None:
    """The reads it had come first; nobody waits for one round more than the others."""
    book, leader, out = rounds(), Leader(), []
    book.join(leader, 9.0, lambda point: out.append(("first", point)))
    asks(book, 1.0)
    book.join(leader, 9.0, lambda point: out.append(("second", point)))

    book.tick(1.06, late)
    book.replied(2, yes(asks(book, 1.06)[2]))

    assert out == [("first", 10), ("second", 10)]


def test_a_group_that_stops_leading_answers_its_reads() -> None:
    """drop ends those of the running round and those of the next."""
    book, leader, out = rounds(), Leader(), []
    book.join(leader, 9.0, out.append)
    asks(book, 1.0)
    book.join(leader, 9.0, out.append)

    book.drop(2, NotLeader(3))

    assert [type(o) for o in out] == [NotLeader, NotLeader]
    assert not book.has_waiting


def test_reads_that_no_round_asked_for_yet_end_with_the_leadership_too() -> None:
    """drop finds a group before its first round, leaves others alone, and may find nothing."""
    book, gone, stays, out = rounds(), Leader(2), Leader(3), []
    book.join(gone, 9.0, lambda point: out.append(("gone", type(point))))
    book.join(stays, 9.0, lambda point: out.append(("stays", point)))

    book.drop(2, NotLeader(3))
    book.drop(2, NotLeader(3))
    assert out == [("gone", NotLeader)]
    sent = asks(book, 1.0)
    assert sent[2].groups == ((3, 5),)
    book.replied(2, yes(sent[2]))

    assert out[1:] == [("stays", 10)]


def test_a_group_of_one_is_its_own_majority() -> None:
    """No message is needed."""
    book, leader, out = rounds(), Leader(others=()), []
    book.join(leader, 9.0, out.append)

    assert asks(book, 1.0) == {}
    assert out == [10]
    assert leader.confirmed_at == [1.0]

    book.join(leader, 9.0, out.append)
    assert asks(book, 2.0) == {}
    assert out == [10, 10]


def test_only_rounds_that_ask_something_are_counted() -> None:
    """Neither nothing to read, nor a round under way, makes another one."""
    book, leader = rounds(), Leader()
    asks(book, 1.0)
    assert book.rounds == 0

    book.join(leader, 9.0, lambda point: None)
    assert book.has_waiting
    asks(book, 1.0)
    assert not book.has_waiting
    asks(book, 1.0)

    assert book.rounds == 1


def test_a_replica_that_does_not_lead_asks_nobody() -> None:
    """Reads that wait for a leadership that is gone are refused when the round would start."""
    book, leader, out = rounds(), Leader(), []
    leader.point = NotLeader(None)
    book.join(leader, 9.0, out.append)

    assert asks(book, 1.0) == {}
    assert isinstance(out[0], NotLeader)


def test_a_round_asks_no_more_peers_than_it_needs() -> None:
    """Of five members two others make the majority; the rest are spared the question."""
    book, leader = rounds(), Leader(others=(2, 3, 4, 5))
    book.join(leader, 9.0, lambda point: None)

    assert set(asks(book, 1.0)) == {2, 3}


def test_those_who_completed_a_round_are_asked_first_in_the_next() -> None:
    """A peer that is slow or paused costs one late round, not every round."""
    book, leader, out = rounds(), Leader(), []
    book.join(leader, 9.0, out.append)
    asks(book, 1.0)
    rest = asks(book, 1.0 + LATE_AFTER)
    book.replied(3, yes(rest[3]))

    book.join(leader, 9.0, out.append)

    assert set(asks(book, 2.0)) == {3}
    assert out == [10]


def test_the_others_are_asked_when_an_answer_is_late() -> None:
    """Once, for the same round, by a nonce of their own; the answer of either completes it."""
    book, leader, out = rounds(), Leader(), []
    book.join(leader, 9.0, out.append)
    first = asks(book, 1.0)
    assert book.look_at == 1.0 + LATE_AFTER

    assert asks(book, 1.0 + LATE_AFTER / 2) == {}
    rest = asks(book, 1.0 + LATE_AFTER)

    assert rest == {3: Confirm(Nonce(7, 2), first[2].groups)}
    assert asks(book, 1.0 + 2 * LATE_AFTER) == {}
    book.replied(2, yes(first[2]))
    assert out == [10]
    assert book.look_at == float("inf")


def test_a_peer_that_one_group_spared_is_not_asked_twice_by_one_nonce() -> None:
    """Groups have members of their own: it may have been asked for another group of the same round."""
    book, a, b, out = rounds(), Leader(2, (2, 3)), Leader(3, (3, 4)), []
    book.join(a, 9.0, out.append)
    book.join(b, 9.0, out.append)
    first = asks(book, 1.0)
    assert (first[2].groups, first[3].groups) == (((2, 5),), ((3, 5),))

    rest = asks(book, 1.0 + LATE_AFTER)

    assert rest[3] == Confirm(Nonce(7, 2), ((2, 5),))
    book.replied(3, yes(rest[3]))
    book.replied(3, yes(first[3]))
    assert out == [10, 10]


def test_a_look_at_one_round_does_not_forget_a_later_one() -> None:
    """Rounds of several groups are late one after the other."""
    book, early, later = rounds(), Leader(2), Leader(3)
    book.join(early, 9.0, lambda point: None)
    asks(book, 1.0)
    book.join(later, 9.0, lambda point: None)
    asks(book, 1.0 + LATE_AFTER / 2)

    assert asks(book, 1.0 + LATE_AFTER)[3].groups == ((2, 5),)
    assert book.look_at == 1.0 + LATE_AFTER / 2 + LATE_AFTER
    assert asks(book, book.look_at)[3].groups == ((3, 5),)


def test_a_peer_that_is_not_connected_is_asked_last() -> None:
    """It would only be waited for."""
    book, leader = rounds(), Leader()
    book.join(leader, 9.0, lambda point: None)

    assert set(asks(book, 1.0, down=(2,))) == {3}
