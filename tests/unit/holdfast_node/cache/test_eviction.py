"""Who makes room."""

from __future__ import annotations

from holdfast.errors import Reason
from holdfast.types import EventKind
from holdfast_node import limits
from holdfast_node.cache import commands
from holdfast_node.cache.commands import Run
from holdfast_node.cache.policy import Eviction, Policy
from holdfast_node.cache.state import State

from tests.entries import STAMP, apply, keys_of, operation, put

SIZE = 64 + 2 + 10  # what a key of two bytes with a value of ten counts for


def holding(count: int, budget: int, eviction: Eviction = Eviction.CLOCK) -> State:
    state = State(Policy(budget, eviction))
    for i in range(count):
        put(state, b"k%d" % i, bytes(10))
    return state


def test_a_write_that_does_not_fit_evicts_in_its_own_revision() -> None:
    """Victims go in the revision of the write they make room for, before it."""
    state = holding(3, 3 * SIZE)
    put(state, b"k9", bytes(10))
    events = [(event.kind, event.key, event.revision) for event in state.events_after(3)]
    assert events == [(EventKind.EVICTED, b"k0", 4), (EventKind.PUT, b"k9", 4)]
    assert keys_of(state) == [b"k1", b"k2", b"k9"]
    assert not state.over_budget()
    assert state.stats()["evicted_total"] == 1


def test_a_key_that_was_read_stays_longer() -> None:
    """A touch sample gives a key one more round of the hand."""
    state = holding(3, 3 * SIZE)
    state.apply(commands.encode_touch(STAMP, [b"k0", b"absent"]))
    put(state, b"k9", bytes(10))
    assert keys_of(state) == [b"k0", b"k2", b"k9"]
    assert state.revision == 4, "samples take no revision"


def test_a_write_is_not_its_own_victim() -> None:
    """A key that grows makes room among the others, also when the hand stands on it."""
    state = holding(3, 3 * SIZE)
    assert put(state, b"k0", bytes(11)).error == 0
    assert keys_of(state) == [b"k0", b"k2"]


def test_what_can_never_fit_evicts_nothing() -> None:
    """A value larger than the whole budget is refused OUT_OF_SPACE, and nobody makes room for it."""
    state = holding(3, 3 * SIZE)
    assert put(state, b"k9", bytes(3 * SIZE)).error == Reason.OUT_OF_SPACE
    assert (state.key_count, state.revision) == (3, 3)


def test_a_critical_namespace_never_evicts() -> None:
    """Under noevict a write that does not fit is refused; deletes and shrinking writes go on."""
    state = holding(3, 3 * SIZE, Eviction.NOEVICT)
    assert put(state, b"k9", b"").error == Reason.OUT_OF_SPACE
    assert put(state, b"k0", bytes(11)).error == Reason.OUT_OF_SPACE
    assert put(state, b"k0", bytes(3)).error == 0
    assert put(state, b"k1", bytes(12)).error == 0, "the shrinking write made room"
    state.apply(commands.encode_policy(STAMP, Policy(SIZE, Eviction.NOEVICT)))
    state.apply(commands.encode_evict(STAMP))
    assert (state.key_count, state.over_budget()) == (3, False)
    assert apply(state, operation("delete", b"k0"))[0].deleted == 1


def many(count: int) -> State:
    state = State(Policy(10**9))
    data = [operation("put", b"%04d" % i, value=bytes(8)) for i in range(count)]
    state.apply(commands.encode_batch(STAMP, [Run(b"", 0, data)]))
    return state


def test_lowering_a_budget_is_worked_off_over_entries() -> None:
    """An evict entry takes at most 1000 keys, in one revision; over_budget tells that more are due."""
    state = many(2500)
    state.apply(commands.encode_policy(STAMP, Policy(500 * SIZE)))
    counts = []
    while state.over_budget():
        before = state.revision
        state.apply(commands.encode_evict(STAMP))
        assert state.revision <= before + 1
        counts.append(state.key_count)
    assert counts == [1500, 500]


def test_an_entry_looks_at_a_bounded_number_of_keys() -> None:
    """Where every key was used lately, the hand gives up for this entry instead of stalling the loop."""
    state = many(limits.EVICT_LOOKS_MAX + 100)
    state.apply(commands.encode_policy(STAMP, Policy(SIZE)))
    state.apply(commands.encode_evict(STAMP))
    assert state.key_count == limits.EVICT_LOOKS_MAX + 100
    state.apply(commands.encode_evict(STAMP))
    assert state.key_count < limits.EVICT_LOOKS_MAX + 100


def test_writes_wait_while_eviction_lags_far_behind() -> None:
    """A state far over its budget refuses growing writes BUSY, so that the overshoot stays bounded."""
    state = many(1000)
    state.apply(commands.encode_policy(STAMP, Policy(500 * SIZE)))
    grown = put(state, b"new", bytes(10))
    assert (grown.error, grown.retry_after_ms > 0) == (Reason.BUSY, True)
    assert put(state, b"0000", b"").error == 0
    state.apply(commands.encode_evict(STAMP))
    assert put(state, b"new", bytes(10)).error == 0


def test_the_hand_goes_round() -> None:
    """The hand stands where it stopped and begins again at the first key."""
    state = holding(4, 4 * SIZE)
    for i in range(8):
        put(state, b"m%d" % i, bytes(10))
        assert state.key_count == 4
    evicted = [event.key for event in state.events_after(0) if event.kind == EventKind.EVICTED]
    assert len(evicted) == len(set(evicted)) == 8
