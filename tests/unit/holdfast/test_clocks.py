"""What a write's not_after is counted by."""

from holdfast.clocks import GroupClocks


def test_a_groups_stamp_runs_on_with_our_clock():
    """What was told at one moment is good for the next."""
    clocks = GroupClocks()
    clocks.learn(2, 5_000, now_ms=100.0)

    assert clocks.stamp_at(2, 350.0) == 5_250


def test_the_latest_known_clock_stands_in_for_a_group_that_has_not_answered():
    """All groups are steered to the same wall clocks; before any has answered, none is known."""
    clocks = GroupClocks()
    assert clocks.stamp_at(2, 0.0) is None

    clocks.learn(2, 5_000, 0.0)
    clocks.learn(3, 6_000, 0.0)
    assert clocks.stamp_at(4, 0.0) == 6_000


def test_groups_that_replace_others_go_on_with_their_clock():
    """The clocks of ended groups are dropped, not lost."""
    clocks = GroupClocks()
    clocks.learn(2, 5_000, 0.0)
    clocks.replaced([10, 11], living={10, 11})

    assert clocks.stamp_at(10, 0.0) == 5_000
    assert repr(clocks) == "<GroupClocks of [10, 11]>"
