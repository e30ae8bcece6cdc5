"""When a replica stands, and whom it supports."""

from __future__ import annotations

import random

from holdfast_raft.election import Election, Timing

TIMING = Timing()


def election(now: float = 100.0, *, patience: float | None = None) -> Election:
    made = Election(frozenset({1, 2, 3}), 1, TIMING, random.Random(1))
    made.start(now, patience=patience)
    return made


def supports(made: Election, now: float, *, next_term: int = 6, candidate: tuple[int, int] = (5, 10)) -> bool:
    return made.supports(now, next_term=next_term, current_term=5, candidate_log=candidate, own_log=(5, 10))


def test_a_silent_leader_is_given_a_random_time_between_the_bounds() -> None:
    """The timeout after hearing a leader lies between timeout_min and timeout_max."""
    made = election()
    for _ in range(100):
        made.heard_leader(200.0)
        assert 200.0 + TIMING.timeout_min <= made.due_at <= 200.0 + TIMING.timeout_max


def test_a_replica_waits_its_time_before_it_stands() -> None:
    """Never before it was started; then the patience given, or a random timeout."""
    assert Election(frozenset({1}), 1, TIMING, random.Random(1)).due_at == float("inf")
    assert election(patience=2.0).due_at == 102.0
    assert 100.0 + TIMING.timeout_min <= election().due_at <= 100.0 + TIMING.timeout_max


def test_the_member_meant_to_lead_a_new_group_stands_at_once() -> None:
    """A patience of nothing makes the first election due now."""
    assert election(patience=0.0).due_at == 100.0


def test_nobody_is_supported_while_a_leader_is_heard() -> None:
    """Stickiness lasts the shortest election timeout after the leader spoke."""
    made = election()
    made.heard_leader(200.0)

    assert not supports(made, 200.0 + TIMING.timeout_min - 0.01)
    assert supports(made, 200.0 + TIMING.timeout_min + 0.01)
    made.heard_leader(0.0)
    assert supports(made, TIMING.timeout_min)


def test_a_closed_connection_of_the_leader_ends_stickiness_at_once() -> None:
    """A killed leader is replaced without waiting for the timeout."""
    made = election()
    made.heard_leader(200.0)

    made.lost_leader(200.1)

    assert supports(made, 200.1)
    assert 200.1 <= made.due_at <= 200.1 + TIMING.lost_leader_jitter


def test_a_late_loop_holds_no_silence_against_the_leader() -> None:
    """After a pause the election waits until the inbox can have been read."""
    made = election()
    made.heard_leader(200.0)

    made.postpone(203.0)

    assert made.due_at >= 203.0 + 2 * TIMING.heartbeat
    assert made.hears_leader(203.0)
    assert not made.hears_leader(203.0 + TIMING.timeout_min)


def test_a_late_loop_makes_up_no_leader_that_never_spoke() -> None:
    """Without a leader heard there is nothing to be loyal to: only the own standing waits."""
    made = election(patience=0.0)

    made.postpone(203.0)

    assert made.due_at >= 203.0 + 2 * TIMING.heartbeat
    assert not made.hears_leader(203.0)
    assert supports(made, 203.0)


def test_only_a_newer_term_and_a_log_as_good_as_ours_are_supported() -> None:
    """Raft 5.4.1, and a pre-vote for a term that is over is worth nothing."""
    made = election()

    assert supports(made, 200.0, candidate=(5, 10))
    assert supports(made, 200.0, candidate=(6, 2))
    assert not supports(made, 200.0, candidate=(5, 9))
    assert not supports(made, 200.0, candidate=(4, 99))
    assert not supports(made, 200.0, next_term=5)


def test_pre_votes_complete_a_majority_once_and_only_for_the_term_asked() -> None:
    """Strangers, repeats and other terms do not count; a majority is announced once."""
    made = election()

    assert not made.ask(200.0, 6)
    assert not made.supported(2, 5)
    assert not made.supported(9, 6)
    assert not made.supported(1, 6)
    assert made.supported(2, 6)
    assert not made.supported(3, 6)


def test_support_nobody_asked_for_counts_nothing() -> None:
    """Neither before the first asking, nor after the campaign that the asking led to."""
    made = election()
    assert not made.supported(2, 6)

    made.ask(200.0, 6)
    made.campaigned(200.1)

    assert not made.supported(2, 6)


def test_who_asked_asks_again_after_a_timeout() -> None:
    """Pre-votes that do not come are not waited for without end, nor asked for in a loop."""
    made = election(patience=0.0)

    made.ask(200.0, 6)

    assert 200.0 + TIMING.timeout_min <= made.due_at <= 200.0 + TIMING.timeout_max


def test_of_five_members_two_others_must_support() -> None:
    """One other's support is no majority yet, and is not forgotten."""
    made = Election(frozenset({1, 2, 3, 4, 5}), 1, TIMING, random.Random(1))
    made.ask(200.0, 6)

    assert not made.supported(2, 6)
    assert not made.supported(2, 6)
    assert made.supported(3, 6)
    assert not made.supported(4, 6)


def test_hearing_a_leader_ends_the_asking() -> None:
    """A pre-vote that arrives after a leader spoke starts no campaign."""
    made = election()
    made.ask(200.0, 6)

    made.heard_leader(200.01)

    assert not made.supported(2, 6)


def test_a_group_of_one_needs_nobody() -> None:
    """The own support is a majority."""
    made = Election(frozenset({1}), 1, TIMING, random.Random(1))

    assert made.ask(1.0, 1)


def test_a_campaign_gets_a_timeout_before_the_next_asking() -> None:
    """Campaigns do not follow each other without a pause."""
    made = election()

    made.campaigned(300.0)

    assert made.due_at >= 300.0 + TIMING.timeout_min
