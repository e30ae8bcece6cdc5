"""What a leader concludes from its followers' answers."""

from __future__ import annotations

from holdfast_raft.leadership import Leadership


def leadership(*others: int) -> Leadership:
    return Leadership(term=3, others=others, next_index=11, now=100.0)


def test_the_leader_counts_itself_by_its_own_disk() -> None:
    """An index is committed when a majority of disks holds it, the leader's being one among them."""
    made = leadership(2, 3)
    made.followers[2].match = 20

    assert made.committed_index(own_durable_index=12) == 12
    assert made.committed_index(own_durable_index=25) == 20


def test_a_group_of_one_commits_what_its_disk_holds_and_confirms_itself() -> None:
    """No follower is needed."""
    made = leadership()

    assert made.committed_index(7) == 7
    assert made.confirmed_at(123.0) == 123.0
    assert made.heard_quorum(999.0, within=0.3)


def test_the_leadership_is_as_fresh_as_the_majoritys_oldest_confirmation() -> None:
    """Of four others the second freshest counts; send times, not arrivals."""
    made = leadership(2, 3, 4, 5)
    for node, sent_at in ((2, 101.0), (3, 103.0), (4, 102.0)):
        made.heard(node, now=200.0, confirmed_at=sent_at)

    assert made.confirmed_at(200.0) == 102.0


def test_a_confirmed_barrier_round_counts_as_confirmation() -> None:
    """Its send time, and never an older one than known."""
    made = leadership(2, 3)
    made.round_confirmed(150.0)
    made.round_confirmed(140.0)

    assert made.confirmed_at(200.0) == 150.0


def test_silence_of_a_majority_ends_the_quorum() -> None:
    """Check-quorum counts who answered within the window."""
    made = leadership(2, 3)
    assert made.heard_quorum(100.5, within=0.6)
    assert not made.heard_quorum(100.7, within=0.6)

    made.heard(3, now=100.7)
    assert made.heard_quorum(101.0, within=0.6)


def test_the_most_caught_up_connected_follower_is_the_one_to_hand_over_to() -> None:
    """The lowest node id wins a tie."""
    made = leadership(2, 3, 4)
    made.followers[4].match = 9

    assert made.most_caught_up([2, 3]) == 2
    assert made.most_caught_up([2, 3, 4]) == 4
    assert made.most_caught_up([]) is None
