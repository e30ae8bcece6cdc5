"""The search itself, on a model of its own: a counter that may be read."""

from __future__ import annotations

from typing import Any

from holdfast_chaos.operation import FOREVER
from holdfast_chaos.search import Answer, Budget, Call, search


def step(state: int, act: tuple[str, int]) -> tuple[int, ...]:
    f, number = act
    return (state + number,) if f == "add" else (state,) if state == number else ()


def call(
    start: int, end: int, f: str, number: int, *, order: int | None = None, required: bool = True
) -> Call:
    return Call(start, end if required else FOREVER, required, order, (f, number))


def found(*calls: Call, initial: tuple[Any, ...] = (0,), steps: int = 10_000) -> Answer:
    return search(sorted(calls, key=lambda c: c.start), step, initial, Budget(steps))


def test_an_order_is_found_where_there_is_one():
    """Concurrent calls in either order, others in theirs."""
    assert found(call(0, 9, "add", 1), call(0, 9, "read", 0)) is Answer.LINEARIZABLE
    assert found(call(0, 9, "add", 1), call(0, 9, "read", 1)) is Answer.LINEARIZABLE
    assert found(call(0, 1, "add", 1), call(2, 3, "read", 0)) is Answer.VIOLATION
    assert found() is Answer.LINEARIZABLE


def test_calls_that_may_happen_are_used_when_needed():
    """At any time from their beginning, each once."""
    maybe = call(0, 0, "add", 2, required=False)

    assert found(maybe, call(5, 6, "read", 0)) is Answer.LINEARIZABLE
    assert found(maybe, call(5, 6, "read", 2)) is Answer.LINEARIZABLE
    assert found(maybe, call(5, 6, "read", 4)) is Answer.VIOLATION
    assert found(maybe, maybe, call(5, 6, "read", 4)) is Answer.LINEARIZABLE
    assert found(call(7, 7, "add", 2, required=False), call(5, 6, "read", 2)) is Answer.VIOLATION
    assert found(maybe, call(0, 1, "add", 2), call(5, 6, "read", 2)) is Answer.LINEARIZABLE


def test_every_initial_state_is_tried():
    """For a part whose beginning is not known."""
    assert found(call(0, 1, "read", 7), initial=(5, 6, 7)) is Answer.LINEARIZABLE
    assert found(call(0, 1, "read", 7), initial=()) is Answer.VIOLATION


def test_orders_are_kept():
    """A call is not taken before one that must happen with a lower order, however it would fit."""
    first, second = call(0, 9, "add", 1, order=2), call(0, 9, "add", 2, order=1)

    assert found(first, second, call(0, 9, "read", 2)) is Answer.LINEARIZABLE
    assert found(first, second, call(0, 9, "read", 1)) is Answer.VIOLATION
    assert found(call(0, 1, "add", 1, order=2), call(2, 3, "add", 2, order=1)) is Answer.VIOLATION


def test_a_budget_that_ran_out_proves_nothing():
    """Neither a pass nor a violation, in the middle or at the beginning."""
    calls = [call(0, 9, "add", 2**n) for n in range(10)] + [call(20, 21, "read", 0)]

    assert found(*calls, steps=500) is Answer.OUT_OF_BUDGET
    assert found(*calls, steps=0) is Answer.OUT_OF_BUDGET
    assert found(call(0, 9, "read", 5), call(0, 9, "read", 0), steps=1) is Answer.OUT_OF_BUDGET
    assert found(*calls, steps=1_000_000) is Answer.VIOLATION


def test_sets_of_calls_are_looked_at_once():
    """Ten calls in any order are 2^10 sets, not 10! orders."""
    budget = Budget(1_000_000)
    calls = [call(0, 9, "add", 1) for _ in range(10)] + [call(20, 21, "read", 0)]

    assert search(calls, step, (0,), budget) is Answer.VIOLATION
    assert 1_000_000 - budget.steps < 10 * 2**10 + 100


def test_time_that_is_up_is_a_budget_that_ran_out():
    """By the clock that was handed in."""
    calls = [call(0, 9, "add", 2**n) for n in range(12)] + [call(20, 21, "read", 0)]

    assert search(calls, step, (0,), Budget(10**6, lambda: True)) is Answer.OUT_OF_BUDGET
