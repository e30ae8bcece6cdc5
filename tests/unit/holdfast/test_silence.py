"""silence: what follows when a node that owes answers says nothing."""

from __future__ import annotations

import pytest
from holdfast.silence import HANG_S, LOOK_S, PATIENCE_S_MAX, PING_AFTER_S, PONG_S, SILENCE_S, Look, Silence


def owing(*, can_ping: bool = True) -> Silence:
    """A node that owes an answer since second 0."""
    made = Silence()
    made.can_ping = can_ping
    made.begins(0.0)
    made.watched(0.0)
    return made


def looks(made: Silence, until: float, since: float = 0.0) -> list[tuple[float, Look]]:
    """Looks in time up to second `until`; ends with the one that gives the node up."""
    seen = []
    now = since
    while now < until:
        now += LOOK_S
        seen.append((now, made.look(now)))
        if seen[-1][1].gone:
            break
    return seen


def test_what_others_can_answer_is_let_go_when_answers_are_missing():
    """Also of a node that lives: it may be that only it cannot answer."""
    made = owing()
    for now, look in looks(made, 0.5):
        assert look.let_go == (now > SILENCE_S)
        if look.ping:
            made.heard(now, answers=False)

    made.heard(0.5, answers=True)
    assert not made.look(0.55).let_go


def test_a_silent_node_is_asked_once_and_then_given_up():
    """Well before half a second has passed."""
    seen = looks(owing(), 2.0)

    asked = [now for now, look in seen if look.ping]
    assert len(asked) == 1
    assert PING_AFTER_S < asked[0] <= PING_AFTER_S + 2 * LOOK_S
    assert seen[-1][1].gone
    assert seen[-1][0] < 0.5


def test_a_node_that_answers_pings_is_never_given_up():
    """However long its answers take."""
    made = owing()
    pings = 0
    now = 0.0
    while now < 30.0:
        now += LOOK_S
        look = made.look(now)
        assert not look.gone
        if look.ping:
            pings += 1
            made.heard(now, answers=False)
    assert pings > 20


def test_a_node_that_knows_no_pings_is_given_up_when_answers_are_missing():
    """It is not asked what it would not understand."""
    seen = looks(owing(can_ping=False), 3.0)

    assert not any(look.ping for _, look in seen)
    assert seen[-1][0] == pytest.approx(HANG_S, abs=2 * LOOK_S)


def test_a_node_that_was_slow_gets_twice_that_time():
    """One with more work than it can do does not lose its clients on top."""
    made = owing()
    made.heard(0.4, answers=True)
    made.begins(1.0)
    made.watched(1.0)

    seen = looks(made, 5.0, since=1.0)

    assert seen[-1][0] - 1.0 > 4 * 0.4
    made.heard(seen[-1][0], answers=True)
    for n in range(100):
        made.heard(seen[-1][0] + n * 0.01, answers=True)
    start = seen[-1][0] + 1.0
    made.begins(start)
    made.watched(start)
    assert looks(made, start + 5.0, since=start)[-1][0] - start < 0.5  # it is quick again


def test_patience_has_an_end():
    """A node that once took a minute is not waited for two."""
    made = owing()
    made.heard(60.0, answers=True)
    made.begins(100.0)
    made.watched(100.0)

    assert looks(made, 120.0, since=100.0)[-1][0] - 100.0 < 2 * PATIENCE_S_MAX + 4 * LOOK_S


def test_a_node_that_failed_a_moment_ago_gets_more_time_until_it_is_heard():
    """It may be slow to recover."""
    made = owing()
    made.slack = 4.0
    assert looks(made, 5.0)[-1][0] > PING_AFTER_S + 4 * PONG_S

    made = owing()
    made.slack = 4.0
    made.heard(0.0, answers=True)
    assert looks(made, 5.0)[-1][0] < 0.5


def test_a_look_that_comes_late_judges_nobody():
    """This process slept: what has come meanwhile is read first."""
    made = owing()
    looks(made, 0.3)

    assert made.look(10.0) == Look()
