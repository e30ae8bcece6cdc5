"""Everyone who waits is answered exactly once."""

from __future__ import annotations

from holdfast_raft.errors import DeadlinePassed, LeadershipLost, Superseded
from holdfast_raft.index_requests import IndexRequests, Waiting
from holdfast_raft.proposals import AppliedWaits, Proposal, Proposals


def proposal(out: list[object], term: int = 3, deadline: float = 10.0) -> Proposal:
    return Proposal(term, 5, None, deadline, out.append)


def test_an_entry_of_another_term_at_its_index_refuses_the_proposal() -> None:
    """It never will be applied: refused, not unknown."""
    proposals, out = Proposals(), []
    proposals.add(7, proposal(out, term=3))

    assert proposals.take(7, term=4) is None
    assert isinstance(out[0], Superseded)
    assert proposals.size_bytes == 0


def test_a_proposal_past_its_deadline_is_unknown_and_answered_once() -> None:
    """Its entry may still commit; its caller hears nothing more."""
    proposals, out = Proposals(), []
    proposals.add(7, proposal(out, deadline=10.0))
    proposals.expire(9.9)
    assert out == []

    proposals.expire(10.0)
    proposals.fail_all(LeadershipLost("gone"))

    assert [type(o) for o in out] == [DeadlinePassed]
    assert proposals.take(7, 3) is None


def test_the_end_of_a_leadership_answers_everyone() -> None:
    """All get the same error and the window is empty again."""
    proposals, out = Proposals(), []
    proposals.add(7, proposal(out))
    proposals.add(8, proposal(out))

    proposals.fail_all(LeadershipLost("gone"))

    assert [type(o) for o in out] == [LeadershipLost] * 2
    assert (len(proposals), proposals.size_bytes) == (0, 0)


def test_waits_are_answered_in_index_order_once_reached() -> None:
    """Reaching an index answers it and all below, none above."""
    waits, out = AppliedWaits(), []
    for index in (9, 5, 7):
        waits.add(index, 10.0, lambda error, index=index: out.append((index, error)))

    waits.reached(7)

    assert out == [(5, None), (7, None)]
    assert len(waits) == 1


def test_waits_end_at_their_deadline() -> None:
    """The caller goes elsewhere."""
    waits, out = AppliedWaits(), []
    waits.add(5, 1.0, out.append)
    waits.add(6, 3.0, out.append)

    waits.expire(2.0)
    waits.reached(99)

    assert isinstance(out[0], DeadlinePassed)
    assert out[1] is None


def test_index_requests_are_answered_once_whoever_comes_first() -> None:
    """An answer after the deadline, or after the leader changed, says nothing."""
    requests, out = IndexRequests(), []
    requests.ask(1, Waiting(1.0, out.append))
    requests.ask(2, Waiting(9.0, out.append))
    requests.hold(Waiting(1.0, out.append))

    requests.expire(2.0)
    requests.answered(1, 77)
    requests.answered(2, 78)
    requests.fail_all(LeadershipLost("gone"))

    assert [o if isinstance(o, int) else type(o) for o in out] == [DeadlinePassed, DeadlinePassed, 78]
