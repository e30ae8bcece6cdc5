"""holdfast.cli.bench_turns: operations begin in the order in which they are due, and count from then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from holdfast.cli.bench_plan import Pace
from holdfast.cli.bench_turns import GRACE_S, TIMER_S, Turn, Turns


class Clockwork:
    """A loop whose time is set by the test."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[tuple[float, Callable[[], object]]] = []
        self._loop = asyncio.new_event_loop()

    def clock(self) -> float:
        return self.now

    def create_future(self) -> asyncio.Future[Turn | None]:
        return self._loop.create_future()

    def call_later(self, delay: float, callback: Callable[[], object], /) -> Any:
        self.timers.append((self.now + delay, callback))

    def ring(self, late: float = 0.0) -> None:
        """Goes to the time of the one timer there is."""
        ((at, callback),) = self.timers
        self.timers.clear()
        self.now = at + late
        callback()

    def close(self) -> None:
        self._loop.close()


@pytest.fixture
def world():
    made = Clockwork()
    yield made
    made.close()


def turns_of(world: Clockwork, rate: float = 10.0, end: float = 100.0, last: int | None = None) -> Turns:
    return Turns(Pace(0.0, rate), end, last, world, world.clock)


def test_who_comes_in_time_waits_for_what_is_due(world: Clockwork) -> None:
    """Waits are served by one timer; latency counts from when the operation was due."""
    turns = turns_of(world)
    assert turns.overdue() == Turn(0.0, 0.0)
    first, second = turns.wait(), turns.wait()

    world.ring()
    world.ring()

    assert {first.result(), second.result()} == {Turn(0.1, 0.1), Turn(0.2, 0.2)}
    assert world.timers == []


def test_what_waited_behind_a_slow_answer_counts_from_when_it_was_due(world: Clockwork) -> None:
    """No coordinated omission: a caller that was busy for a second begins ten that are overdue."""
    turns = turns_of(world)
    world.now = 0.95

    taken = [turns.overdue() for _ in range(10)]

    assert [round(turn.counts_from, 6) for turn in taken if turn] == [n / 10 for n in range(10)]
    assert turns.overdue() is None


def test_only_a_timers_lateness_is_forgiven(world: Clockwork) -> None:
    """A free caller that was woken up late by less than a timer's step counts from then; more counts."""
    turns = turns_of(world)
    world.now = 0.05
    turns.overdue()
    early, late = turns.wait(), turns.wait()

    world.ring(late=TIMER_S / 2)
    world.ring(late=0.05)

    assert {round(done.result().counts_from, 6) for done in (early, late)} == {  # type: ignore[union-attr]
        round(0.1 + TIMER_S / 2, 6), round(0.2 + TIMER_S, 6),
    }  # fmt: skip


def test_the_end_sends_off_who_waits(world: Clockwork) -> None:
    """What is due at the end or later is begun by nobody; earlier ends than the known one count."""
    turns = turns_of(world, end=5.0)
    turns.overdue()
    waiting = turns.wait()
    turns.stop(9.0)
    assert (waiting.done(), turns.left()) == (False, 49)

    turns.stop(0.1)

    assert waiting.result() is None
    assert turns.wait().result() is None
    assert turns.left() == 0


def test_what_was_never_begun_is_told(world: Clockwork) -> None:
    """Of 10 due in a second one was begun: 9 are left, also when there are fewer to do than due."""
    for last, left in ((None, 9), (4, 3), (100, 9)):
        world.now = 0.0
        turns = turns_of(world, end=1.0, last=last)
        turns.overdue()
        world.now = 1.0 + GRACE_S

        assert turns.overdue() is None
        assert turns.wait().result() is None
        assert turns.left() == left


def test_so_many_and_no_more(world: Clockwork) -> None:
    """After the last operation everybody goes."""
    turns = turns_of(world, end=float("inf"), last=2)
    first, second, third = turns.wait(), turns.wait(), turns.wait()

    world.ring()
    world.ring()

    assert [turn.result() for turn in (first, second, third)].count(None) == 1
    assert (turns.wait().result(), turns.left()) == (None, 0)


def test_a_warm_ups_backlog_is_dropped(world: Clockwork) -> None:
    """What was due before and never begun is neither begun nor missing afterwards."""
    turns = turns_of(world, end=2.0)
    world.now = 1.0

    turns.drop(1.0)

    assert turns.overdue() == Turn(1.0, 1.0)
    assert turns.overdue() is None
    assert turns.left() == 9


def test_who_was_cancelled_takes_no_turn(world: Clockwork) -> None:
    """An operation is not lost with a caller that is gone."""
    turns = turns_of(world)
    turns.overdue()
    waiting, gone = turns.wait(), turns.wait()
    gone.cancel()

    world.ring()

    assert waiting.result() == Turn(0.1, 0.1)
