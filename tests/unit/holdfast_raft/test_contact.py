"""The bounded read level's arithmetic."""

from __future__ import annotations

from holdfast_raft.contact import Contact, LeaderContact


def test_age_runs_from_our_own_send_time_plus_the_leaders_confirmation_age() -> None:
    """Arrival times would make a state look fresh after a pause; a leader's stale confirmation counts too."""
    contact = LeaderContact()

    contact.heard(Contact(sent_at=100.0, quorum_age=0.5, commit_index=7))

    assert contact.state_age(102.0, applied_index=7) == 2.5


def test_a_state_counts_only_once_it_has_applied_what_the_leader_had_committed() -> None:
    """Until then the last reached contact stands."""
    contact = LeaderContact()
    contact.heard(Contact(100.0, 0.0, 7))
    assert contact.state_age(101.0, applied_index=6) is None
    assert contact.state_age(101.0, applied_index=7) == 1.0

    contact.heard(Contact(100.9, 0.0, 9))

    assert contact.state_age(101.0, applied_index=8) == 1.0
    assert contact.state_age(101.0, applied_index=9) < 0.2


def test_a_replica_that_always_lags_a_little_still_gets_fresher() -> None:
    """Newer heartbeats do not push out the one that applied is about to reach."""
    contact = LeaderContact()
    for n in range(10):
        contact.heard(Contact(100.0 + n, 0.0, 10 + n))

    assert contact.state_age(110.0, applied_index=15) == 5.0


def test_a_new_leader_starts_from_nothing() -> None:
    """What an old leader said proves nothing about the new one's commits."""
    contact = LeaderContact()
    contact.heard(Contact(100.0, 0.0, 7))
    contact.forget()

    assert contact.state_age(101.0, applied_index=99) is None
    assert contact.leadership_age(101.0) is None
