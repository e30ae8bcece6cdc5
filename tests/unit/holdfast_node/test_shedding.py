"""Large states go away a piece at a time, and only what is theirs."""

from __future__ import annotations

from collections.abc import Callable

from holdfast_node.cache.commands import encode_seal
from holdfast_node.cache.seal import Seal, Target
from holdfast_node.cache.state import State
from holdfast_node.shedding import SHED_KEYS, shed

from tests.entries import SESSION, STAMP, apply, operation

A_FRAME = 500


def filled(keys: int) -> State:
    """A state with so many keys, each put in a session."""
    state = State()
    for low in range(0, keys, A_FRAME):
        puts = [
            operation("put", b"key/%09d" % n, sequence=n + 1, value=b"v")
            for n in range(low, min(keys, low + A_FRAME))
        ]
        apply(state, *puts, session=SESSION)
    return state


def left_of(state: State) -> tuple[int, int, int]:
    """What it still holds: buckets, events, sessions."""
    space = state._space
    return len(space.buckets._row), len(space.history.events), len(state._sessions.table)


def steps_of(state: State) -> list[tuple[int, int, int]]:
    """What is left after each step."""
    later: list[Callable[[], None]] = []
    shed(state, lambda _, act: later.append(act))
    left = [left_of(state)]
    while later:
        later.pop()()
        left.append(left_of(state))
    return left


def test_a_large_state_goes_step_by_step_until_nothing_is_left() -> None:
    """Its keys, its events and its repeats."""
    state = filled(3 * SHED_KEYS)

    steps = steps_of(state)

    assert len(steps) > 3
    assert steps == sorted(steps, reverse=True)
    assert steps[-1] == (0, 0, 0)


def test_a_small_state_goes_at_once() -> None:
    """No timer is set for what takes no time."""
    assert steps_of(filled(100)) == [(0, 0, 0)]


def test_what_another_state_was_given_stays_there() -> None:
    """A target goes on with its source's records and repeats, by reference."""
    source = filled(100)
    source.apply(encode_seal(STAMP, Seal(7, True, (Target(9, b"", b"", (1,)),))), None, (9, 1))
    target = source.cut(b"", b"", 2)
    before = target.digest()

    steps_of(source)

    assert target.digest() == before
    assert target.key_count == 100
