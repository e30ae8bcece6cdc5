"""The search for a linearization: Wing and Gong's, with Lowe's memo.

Given calls (closed intervals; some have to take effect, some may) and a model, it looks for an order in
which every call takes effect inside its interval and every answer is the model's. It keeps the calls in
the order of their ends of interval, takes one that begins before the first end still due, and goes back
when an end is reached whose call has not been taken. A set of calls taken together with the state reached
is never looked at twice.

Four things make it fast on what a cluster records. Each leaves out only what cannot help:
- calls may carry an order (of the server's versions): one is taken only when no call that must happen has
  a lower one, since that could never be taken afterwards;
- a call that must happen, may happen now and changes nothing is taken at once: whatever could follow
  without it can follow it;
- of calls that may happen and would do the same, the one that began first stands for all;
- what must happen is tried before what only may.

The problem is NP-hard, so a search has a budget, and one that ran out has proved nothing.
Source: Wing & Gong 1993; Lowe 2016, "Testing for linearizability"; porcupine's checker.go.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from enum import Enum
from typing import Any, Final, NamedTuple

STEPS_MAX: Final = 2_000_000
"""Steps of a model in one search: some ten seconds, and a memo of some hundred MB at the worst."""

_LOOK_EVERY: Final = 1024
"""Steps between two looks at the clock that was handed in."""


class Call(NamedTuple):
    """One operation in a search.

    Attributes:
        start, end: closed; an optional call has no end.
        required: it took effect for sure.
        order: see the module; None: anywhere.
        act: for the model.
    """

    start: int
    end: int
    required: bool
    order: int | None
    act: Any


class Answer(Enum):
    """What a search found."""

    LINEARIZABLE = "linearizable"
    VIOLATION = "violation"
    OUT_OF_BUDGET = "out of budget"


Step = Callable[[Any, Any], tuple[Any, ...]]
"""(state, act) -> every state that may follow."""


class Budget:
    """How much may be looked at: steps, and time by a clock that is handed in."""

    __slots__ = ("_is_over", "steps")

    def __init__(self, steps: int = STEPS_MAX, is_over: Callable[[], bool] | None = None) -> None:
        self.steps = steps
        self._is_over = is_over

    def spend(self) -> bool:
        """Takes one step; False: none is left."""
        if self.steps <= 0:
            return False
        self.steps -= 1
        if self._is_over is not None and self.steps % _LOOK_EVERY == 0 and self._is_over():
            self.steps = 0
        return True

    def __repr__(self) -> str:
        return f"<Budget {self.steps} steps>"


class _Orders:
    """The lowest order that a call still to be taken must have."""

    __slots__ = ("_at", "_left", "_values")

    def __init__(self, calls: Sequence[Call]) -> None:
        counts: dict[int, int] = {}
        for call in calls:
            if call.required and call.order is not None:
                counts[call.order] = counts.get(call.order, 0) + 1
        self._values = sorted(counts)
        self._left = counts
        self._at = 0

    def allows(self, order: int | None) -> bool:
        return order is None or self._at == len(self._values) or order <= self._values[self._at]

    def taken(self, order: int) -> None:
        self._left[order] -= 1
        while self._at < len(self._values) and not self._left[self._values[self._at]]:
            self._at += 1

    def given_back(self, order: int) -> None:
        self._left[order] += 1
        while self._at and self._left[self._values[self._at - 1]]:
            self._at -= 1


class _Search:
    """One search: the ends of intervals still due, as a doubly linked list, and the way back."""

    def __init__(self, calls: Sequence[Call], step: Step, budget: Budget) -> None:
        self._calls = calls
        self._step = step
        self._budget = budget
        self._orders = _Orders(calls)
        self._due = sum(call.required for call in calls)
        ends = [(call.start, 0, i) for i, call in enumerate(calls)]
        # A call before a return of the same time: intervals are closed.
        ends += [(call.end, 1, i) for i, call in enumerate(calls) if call.required]
        ends.sort()
        self._count = len(calls)
        # Entries of the list: call i is i + 1, its return is i + 1 + count; 0 is the head, and the end.
        entries = [i + 1 + is_return * self._count for _, is_return, i in ends]
        self._next = [0] * (2 * self._count + 1)
        self._before = [0] * (2 * self._count + 1)
        for left, right in zip([0, *entries], [*entries, 0], strict=True):
            self._next[left], self._before[right] = right, left

    def run(self, initial: Sequence[Hashable]) -> Answer:
        seen: set[tuple[int, Hashable]] = set()
        # Of every call taken: which, and what else could have been done there.
        path: list[int] = []
        waiting: list[list[tuple[int, Hashable]]] = []
        taken = 0
        for state in initial:
            waiting.append(self._choices(state))
            if not self._due:
                return Answer.LINEARIZABLE
            while waiting:
                if not waiting[-1]:
                    waiting.pop()
                    if path:
                        taken ^= self._give_back(path.pop())
                    continue
                i, after = waiting[-1].pop()
                name = (taken | 1 << i, after)
                if name in seen:
                    continue
                seen.add(name)
                taken = name[0]
                self._take(i)
                if not self._due:
                    return Answer.LINEARIZABLE
                path.append(i)
                waiting.append(self._choices(after))
                if not self._budget.steps:
                    return Answer.OUT_OF_BUDGET
        return Answer.VIOLATION

    def _choices(self, state: Hashable) -> list[tuple[int, Hashable]]:
        """What may be taken next, with the state after it; the last is to be tried first."""
        musts: list[tuple[int, Hashable]] = []
        mays: list[tuple[int, Hashable]] = []
        alike: set[Any] = set()
        entry = self._next[0]
        while 0 < entry <= self._count:
            i = entry - 1
            call = self._calls[i]
            entry = self._next[entry]
            if not self._orders.allows(call.order) or (not call.required and call.act in alike):
                continue
            if not self._budget.spend():
                return []
            found = self._step(state, call.act)
            if not call.required:
                alike.add(call.act)
                mays.extend((i, after) for after in found if after != state)
            elif found == (state,):
                return [(i, state)]
            else:
                musts.extend((i, after) for after in found)
        musts.reverse()
        return mays + musts

    def _take(self, i: int) -> None:
        call = self._calls[i]
        self._unlink(i + 1)
        if call.required:
            self._unlink(i + 1 + self._count)
            self._due -= 1
            if call.order is not None:
                self._orders.taken(call.order)

    def _give_back(self, i: int) -> int:
        """Undoes the last `_take`. Returns its bit."""
        call = self._calls[i]
        if call.required:
            if call.order is not None:
                self._orders.given_back(call.order)
            self._due += 1
            self._link(i + 1 + self._count)
        self._link(i + 1)
        return 1 << i

    def _unlink(self, entry: int) -> None:
        left, right = self._before[entry], self._next[entry]
        self._next[left], self._before[right] = right, left

    def _link(self, entry: int) -> None:
        left, right = self._before[entry], self._next[entry]
        self._next[left] = self._before[right] = entry


def search(calls: Sequence[Call], step: Step, initial: Sequence[Hashable], budget: Budget) -> Answer:
    """Whether the calls can be put in an order that explains every answer.

    Args:
        calls: of one object.
        step: the model.
        initial: every state that the object may begin with.
        budget: is spent.
    """
    if not budget.steps:
        return Answer.OUT_OF_BUDGET
    answer = _Search(calls, step, budget).run(initial)
    # A node whose choices were cut short by the budget looks like a dead end, and is none.
    if answer is Answer.VIOLATION and not budget.steps:
        return Answer.OUT_OF_BUDGET
    return answer
