"""What follows a failed attempt."""

import pytest
from holdfast.errors import Reason
from holdfast.retry import (
    BACKOFF_MS_MAX,
    FREE_REDIRECTS,
    YOUNG_WAIT_MS,
    Again,
    Elsewhere,
    Failure,
    GiveUp,
    RefreshMap,
    RetryBudget,
    backoff_ms,
    decide,
)
from holdfast.types import Outcome


def judge(reason, outcome=Outcome.REFUSED, *, attempt=1, elapsed=0.0, remaining=5000.0, budget=None, **facts):
    return decide(
        Failure(reason, outcome, **facts),
        attempt=attempt,
        elapsed_ms=elapsed,
        remaining_ms=remaining,
        jitter=0.0,
        budget=budget or RetryBudget(),
    )


FINAL = [
    Reason.INVALID,
    Reason.CONDITION_FAILED,
    Reason.TOO_LATE,
    Reason.SEQUENCE_REUSED,
    Reason.PREVIOUS_NOT_KEPT,
    Reason.OUT_OF_SPACE,
    Reason.CROSS_SHARD,
    Reason.BAD_TOKEN,
    Reason.WRONG_TYPE,
    Reason.TOO_MANY_KEYS,
    Reason.COMPACTED,
]


@pytest.mark.parametrize("reason", FINAL)
def test_an_answer_that_trying_again_cannot_change_is_given_to_the_caller(reason):
    """The caller's own mistakes and the state's verdicts are not retried."""
    assert GiveUp() == judge(reason)


@pytest.mark.parametrize("reason", sorted(set(Reason) - set(FINAL) - {Reason.INTERNAL}))
def test_every_passing_trouble_is_tried_again(reason):
    """All other reasons get another attempt while there is time."""
    assert not isinstance(judge(reason), GiveUp)


def test_a_hint_is_followed_at_once_but_not_for_ever():
    """A leader hint costs no wait, until nodes that name each other would spin."""
    assert Elsewhere(0.0) == judge(Reason.NOT_LEADER, hinted=True)
    assert Elsewhere(0.0) == judge(Reason.NOT_LEADER, hinted=True, attempt=20, redirects=1)
    assert judge(Reason.NOT_LEADER, hinted=True, redirects=FREE_REDIRECTS + 1).after_ms > 0


def test_no_hint_means_waiting():
    """Without a hint the same question is not asked again at once."""
    assert judge(Reason.NOT_LEADER).after_ms > 0


def test_a_wrong_shard_without_entries_asks_for_the_map():
    """WRONG_SHARD goes on with the entries it brings, else with a fresh map."""
    assert Elsewhere(0.0) == judge(Reason.WRONG_SHARD, hinted=True)
    assert isinstance(judge(Reason.WRONG_SHARD), RefreshMap)


def test_a_lagging_replica_is_left_for_an_untried_one_at_once():
    """LAGGING goes to the next replica at once, and waits only when all were asked."""
    assert Elsewhere(0.0) == judge(Reason.LAGGING, untried=True)
    assert judge(Reason.LAGGING).after_ms > 0


def test_no_retry_begins_after_the_deadline():
    """A wait that reaches the deadline is not begun: the caller learns now what is known."""
    assert GiveUp() == judge(Reason.NOT_LEADER, remaining=1.0)


def test_a_busy_node_is_given_the_time_it_asks_for():
    """BUSY waits at least retry_after_ms, on the same node."""
    decision = judge(Reason.BUSY, retry_after_ms=70)

    assert isinstance(decision, Again)
    assert decision.after_ms >= 70


def test_an_overloaded_cluster_is_asked_again_only_within_the_budget():
    """Without budget BUSY goes to the caller; successes earn new budget."""
    budget = RetryBudget(capacity=1, per_success=0.5)

    assert isinstance(judge(Reason.BUSY, budget=budget), Again)
    assert GiveUp() == judge(Reason.BUSY, budget=budget)
    budget.succeeded(2)
    assert isinstance(judge(Reason.BUSY, budget=budget), Again)


def test_following_hints_costs_no_budget():
    """What repairs the cause is free: a failover is not throttled."""
    budget = RetryBudget(capacity=0)

    assert isinstance(judge(Reason.NOT_LEADER, hinted=True, budget=budget), Elsewhere)
    assert isinstance(judge(Reason.STOPPED, Outcome.UNKNOWN, is_write=True, budget=budget), Elsewhere)


def test_a_lost_quorum_is_reported_after_an_election_would_be_over():
    """NO_QUORUM is waited out as long as an election takes, then told."""
    assert isinstance(judge(Reason.NO_QUORUM), Elsewhere)
    assert GiveUp() == judge(Reason.NO_QUORUM, elapsed=2500.0)


def test_a_write_in_doubt_is_pursued_to_its_deadline():
    """For a write that may have happened, only an answer ends the search."""
    assert isinstance(judge(Reason.NO_QUORUM, Outcome.UNKNOWN, elapsed=4000.0, is_write=True), Elsewhere)
    assert isinstance(judge(Reason.INTERNAL, Outcome.UNKNOWN, is_write=True), Again)


def test_a_defect_without_effect_is_not_repeated():
    """INTERNAL that was refused would fail again."""
    assert GiveUp() == judge(Reason.INTERNAL)


def test_waits_double_up_to_a_bound_and_are_spread():
    """Backoff doubles, ends at its bound, and jitter spreads it over its upper half."""
    waits = [backoff_ms(attempt, 0.999) for attempt in range(1, 12)]

    assert waits == sorted(waits)
    assert BACKOFF_MS_MAX >= waits[-1] > 0.9 * BACKOFF_MS_MAX
    assert backoff_ms(1, 0.0) == pytest.approx(backoff_ms(1, 0.999) / 2, rel=0.01)


def test_a_young_group_is_asked_again_soon():
    """While its first leader is being elected, waits stay short; a replica not asked yet is asked at once."""
    for reason in (Reason.NOT_LEADER, Reason.WRONG_SHARD, Reason.NO_QUORUM):
        assert judge(reason, attempt=9, young=True).after_ms <= YOUNG_WAIT_MS
        assert judge(reason, attempt=9).after_ms > YOUNG_WAIT_MS
    for reason in (Reason.NOT_LEADER, Reason.WRONG_SHARD):
        assert judge(reason, young=True, untried=True).after_ms == 0
        assert judge(reason, untried=True).after_ms > 0


def test_a_later_group_is_followed_at_once_however_often():
    """Ids only grow along a key's life, so following WRONG_SHARD to a later group ends by itself."""
    assert Elsewhere(0.0) == judge(Reason.WRONG_SHARD, hinted=True, attempt=20, redirects=20)


def test_the_pause_of_a_merge_is_nobodys_load():
    """BUSY of a shard about to be merged costs no budget and waits no longer than it says, nearly."""
    decision = judge(Reason.BUSY, attempt=20, budget=RetryBudget(capacity=0), merging=True, retry_after_ms=20)

    assert isinstance(decision, Again)
    assert 20 <= decision.after_ms <= 30


def test_cross_shard_from_a_node_that_is_behind_is_waited_out():
    """A node that judges by an earlier map will learn of the later one."""
    assert isinstance(judge(Reason.CROSS_SHARD, behind=True), Elsewhere)
