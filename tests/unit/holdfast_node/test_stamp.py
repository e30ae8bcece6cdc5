"""The group clock: even, never back, steered gently, stepped only by a majority."""

from __future__ import annotations

import pytest
from holdfast_node.stamp import GroupClock, majority_agrees, median
from hypothesis import given
from hypothesis import strategies as st

WALL = 1_700_000_000_000


def test_the_clock_is_the_last_stamp_plus_the_time_since() -> None:
    """A stamp is the last one plus this replica's own monotonic time since."""
    clock = GroupClock(10.0, WALL)

    assert clock.next(12.5) == WALL + 2500


def test_a_clock_that_was_never_set_says_zero() -> None:
    """Before any stamp and any wall the clock does not invent a time."""
    clock = GroupClock(10.0)

    assert clock.estimate(1000.0) == 0


def test_the_first_stamp_is_the_median_of_the_walls() -> None:
    """A new group's clock begins at the median wall: there is nothing to jump from."""
    clock = GroupClock(10.0)

    assert clock.steer(10.0, [WALL, WALL + 40_000, WALL + 100], 3)
    assert clock.next(10.0) == WALL + 100


def test_steering_changes_the_rate_by_at_most_one_percent() -> None:
    """An error below a second is steered away by at most 1 %, and no longer than the slew lasts."""
    clock = GroupClock(0.0, WALL)
    clock.next(0.0)
    clock.steer(0.0, [WALL + 900, WALL + 900], 3)

    assert clock.estimate(1.0) == WALL + 1010
    assert clock.estimate(1000.0) == WALL + 1_000_000 + 100


def test_the_clock_steps_forward_when_a_majority_agrees() -> None:
    """More than a second behind, with a majority of all voters within a second: the clock steps."""
    clock = GroupClock(0.0, WALL)
    clock.steer(0.0, [WALL + 3_600_000, WALL + 3_600_100], 3)

    assert clock.next(0.0) == WALL + 3_600_000


def test_a_process_that_has_stamped_nothing_catches_up_in_one_step() -> None:
    """What it missed while it was down has passed: a lag kept would end later keys early when it goes."""
    clock = GroupClock(0.0, WALL)
    clock.steer(0.0, [WALL + 700, WALL + 690, WALL + 710], 3)
    first = clock.next(0.0)
    clock.steer(0.0, [WALL + 1400] * 3, 3)

    assert first == WALL + 700
    assert clock.next(0.0) == first


@pytest.mark.parametrize(
    "walls", [[WALL, WALL + 900], [WALL, WALL + 800, WALL + 900], [WALL, WALL + 3_600_000, WALL + 3_600_000]]
)
def test_a_step_goes_no_further_than_a_majority_of_all_clocks_has_come(walls: list[int]) -> None:
    """Of three voters two, of five three: a minority of fast clocks moves nothing."""
    clock = GroupClock(0.0, WALL)
    clock.steer(0.0, walls, 5 if len(walls) == 3 else 3)

    assert clock.estimate(0.0) == WALL


@pytest.mark.parametrize("walls", [[WALL + 9000], [WALL + 9000, WALL + 90_000], []])
def test_the_clock_does_not_step_without_a_majority(walls: list[int]) -> None:
    """A minority's walls, or walls that differ by more than a second, step nothing."""
    clock = GroupClock(0.0, WALL)
    clock.steer(0.0, walls, 3)

    assert clock.estimate(1.0) <= WALL + 1010


def test_a_clock_ahead_runs_slow_and_never_back() -> None:
    """There is no step back, however far the walls lie behind and however many agree."""
    clock = GroupClock(0.0, WALL)
    before = clock.next(0.0)
    clock.steer(0.0, [WALL - 3_600_000] * 3, 3)

    assert before <= clock.next(0.0)
    assert clock.next(1.0) == WALL + 990


def test_too_few_walls_leave_the_clock_to_itself() -> None:
    """Steering by fewer than a majority is refused and said so."""
    clock = GroupClock(0.0, WALL)

    assert not clock.steer(0.0, [WALL + 500], 3)
    assert clock.estimate(1.0) == WALL + 1000


def test_a_follower_takes_its_clock_from_the_entries() -> None:
    """Of a new leader, whatever it thought before: that one's clock goes on from its own first stamp."""
    clock = GroupClock(0.0)
    clock.seen(WALL, 0.0, 1)
    clock.seen(WALL + 400, 1.0, 2)

    assert clock.estimate(1.0) == WALL + 400


def test_an_entry_applied_late_does_not_set_a_follower_back() -> None:
    """A process that was stopped for 2 s applies what came before; if it leads next, no time is missing."""
    clock = GroupClock(0.0)
    clock.seen(WALL, 0.0, 1)
    clock.seen(WALL + 10, 2.0, 1)

    assert WALL + 1980 <= clock.estimate(2.0) <= WALL + 2000


def test_a_follower_is_not_ahead_of_a_leader_that_runs_slow() -> None:
    """Its first stamp as the next leader would end keys early."""
    leader, follower = GroupClock(0.0, WALL + 900), GroupClock(0.0)
    leader.steer(0.0, [WALL, WALL, WALL], 3)
    follower.seen(leader.next(0.0), 0.0, 1)
    for tenth in range(1, 50):
        now = tenth / 10
        follower.seen(leader.next(now), now + 0.05, 1)

        assert follower.estimate(now + 0.05) <= leader.estimate(now + 0.05)


MOMENTS = st.lists(
    st.tuples(
        st.floats(0, 20),
        st.sampled_from(["next", "seen", "steer"]),
        st.integers(-5_000, 5_000),
        st.lists(st.integers(-10_000, 10_000_000), max_size=3),
    ),
    max_size=40,
)


@given(MOMENTS)
def test_stamps_never_decrease(moments: list[tuple[float, str, int, list[int]]]) -> None:
    """Whatever is seen and however it is steered, no stamp is below one before it."""
    clock, now, last = GroupClock(0.0, WALL), 0.0, 0
    for wait, act, offset, walls in moments:
        now += wait
        if act == "seen":
            clock.seen(max(WALL + offset, 1), now, 1 + (offset > 0))
        elif act == "steer":
            clock.steer(now, [WALL + wall for wall in walls], 3)
        stamp = clock.next(now)

        assert stamp >= last
        last = stamp


def test_the_median_of_an_even_number_is_the_lower_one() -> None:
    """One fast clock of two cannot pull the median up."""
    assert median([5, 900]) == 5
    assert median([900, 5, 7]) == 7


def test_agreement_counts_all_voters() -> None:
    """A majority of those in contact is not a majority of the voters."""
    assert majority_agrees([WALL, WALL + 999], 3)
    assert not majority_agrees([WALL, WALL + 1], 5)
    assert not majority_agrees([], 1)
