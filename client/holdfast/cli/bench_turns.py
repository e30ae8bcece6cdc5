"""Whose turn it is in an open loop: operations are due at a pace, and free callers begin them in that order.

A caller that comes free takes what is overdue, or waits. One timer, for the next that is due, serves all who
wait. Latency counts from when an operation was due; only what a timer of an event loop comes late by is not
the cluster's, and is forgiven to those who waited for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, NamedTuple, Protocol

from holdfast.cli.bench_plan import Pace

# Timers are kept to this.
TIMER_S: Final = 0.001
# What was due shortly before the end is begun shortly after it.
GRACE_S: Final = 0.02


class Turn(NamedTuple):
    """An operation to begin: when it was due, and from when its latency counts."""

    due: float
    counts_from: float


class Loop(Protocol):
    """Of an event loop, what is needed here."""

    def create_future(self) -> asyncio.Future[Turn | None]:
        """For someone who waits."""

    def call_later(self, delay: float, callback: Callable[[], object], /) -> Any:
        """A timer."""


class Turns:
    """Hands the operations of a pace out, each once."""

    def __init__(
        self, pace: Pace, end: float, last: int | None, loop: Loop, clock: Callable[[], float]
    ) -> None:
        """end: nothing due from then on is begun; last: so many operations at most, None: without bound."""
        self._pace = pace
        self._end = end
        self._last = last
        self._loop = loop
        self._clock = clock
        self._taken = 0
        self._due = pace.due(0)
        self._waiting: list[asyncio.Future[Turn | None]] = []
        self._is_armed = False

    def overdue(self) -> Turn | None:
        """Takes the operation that should have begun before; None: there is none."""
        due, now = self._due, self._clock()
        if due > now or due >= self._end or now >= self._end + GRACE_S:
            return None
        self._take()
        return Turn(due, due)

    def wait(self) -> asyncio.Future[Turn | None]:
        """Takes the next one when it is due; None: there will be none."""
        turn = self._loop.create_future()
        now = self._clock()
        if self._due >= self._end or now >= self._end + GRACE_S:
            turn.set_result(None)
            return turn
        self._waiting.append(turn)
        if not self._is_armed:
            self._arm(now)
        return turn

    def stop(self, end: float) -> None:
        """Nothing due from `end` on is begun, if that is earlier than what was known."""
        self._end = min(self._end, end)
        self._send_off()

    def drop(self, before: float) -> None:
        """Nobody begins any more what was due before: a warm-up's backlog is no part of what follows."""
        self._taken = max(self._taken, self._pace.due_before(before)) - 1
        self._take()
        self._send_off()

    def left(self) -> int:
        """How many were due before the end, and nobody was free to begin them."""
        if self._end == float("inf"):
            return 0
        due = self._pace.due_before(self._end)
        return max((due if self._last is None else min(due, self._last)) - self._taken, 0)

    def _take(self) -> None:
        self._taken += 1
        self._due = float("inf") if self._taken == self._last else self._pace.due(self._taken)

    def _arm(self, now: float) -> None:
        self._is_armed = True
        self._loop.call_later(max(self._due - now, TIMER_S), self._ring)

    def _ring(self) -> None:
        self._is_armed = False
        now = self._clock()
        while self._waiting and self._due <= now and self._due < self._end:
            turn = self._waiting.pop()
            if not turn.done():
                turn.set_result(Turn(self._due, min(now, self._due + TIMER_S)))
                self._take()
        self._send_off()
        if self._waiting:
            self._arm(now)

    def _send_off(self) -> None:
        if self._due >= self._end:
            for turn in self._waiting:
                if not turn.done():
                    turn.set_result(None)
            self._waiting.clear()

    def __repr__(self) -> str:
        return f"<Turns, {self._taken} taken, {len(self._waiting)} wait>"
