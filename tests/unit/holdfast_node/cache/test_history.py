"""What watchers may still ask for."""

from __future__ import annotations

import pytest
from holdfast.v1 import cache_pb2 as pb
from holdfast_node.cache import commands
from holdfast_node.cache.policy import Policy
from holdfast_node.cache.state import CompactedError, State
from holdfast_node.limits import EVENT_OVERHEAD_BYTES, HISTORY_TRIM_MAX

from tests.entries import STAMP, apply, operation, put


def kept(events: int, size: int = 10**9) -> State:
    return State(Policy(history_events=events, history_bytes=size))


def test_a_watch_resumes_at_any_kept_revision() -> None:
    """events_after gives what came later, in order; from the present revision on nothing."""
    state = kept(3)
    for i in range(5):
        put(state, b"k%d" % i)
    assert state.oldest_revision == 2
    assert [event.revision for event in state.events_after(2)] == [3, 4, 5]
    assert [event.revision for event in state.events_after(4)] == [5]
    assert state.events_after(5) == []
    with pytest.raises(CompactedError) as caught:
        state.events_after(1)
    assert caught.value.oldest_revision == 2


def test_history_never_holds_half_a_revision() -> None:
    """Bounds drop whole revisions: a transaction's events go together."""
    state = kept(3)
    steps = [pb.TxnOperation(key=b"k%d" % i, put=pb.Put()) for i in range(3)]
    apply(state, operation("txn", then=steps))
    put(state, b"a")
    assert (state.oldest_revision, len(state.events_after(1))) == (1, 1)
    assert state.stats()["history_events"] == 1


def test_history_is_bounded_in_bytes() -> None:
    """Events count for key, record and the record before, and the oldest go when the bytes are used up."""
    one = EVENT_OVERHEAD_BYTES + 1 + 17 + 10
    state = kept(1000, 2 * one)
    for key in (b"a", b"b", b"c"):
        put(state, key, bytes(10))
    assert (state.stats()["history_events"], state.stats()["history_bytes"]) == (2, 2 * one)
    put(state, b"c", bytes(10))
    assert state.stats()["history_bytes"] == one + 17 + 10


def test_no_history_may_be_wanted() -> None:
    """With a bound of 0 every watch starts from the present."""
    state = kept(0)
    put(state, b"a")
    assert (state.oldest_revision, state.events_after(1)) == (1, [])


def test_lowering_the_bounds_is_worked_off_over_entries() -> None:
    """An entry drops a bounded number of events."""
    state = kept(10**6)
    for batch in range(9):
        data = [operation("put", b"%d/%d" % (batch, i), value=b"") for i in range(1000)]
        state.apply(commands.encode_batch(STAMP, [commands.Run(b"", 0, data)]))
    state.apply(commands.encode_policy(STAMP, Policy(history_events=0)))
    assert state.stats()["history_events"] == 9000 - HISTORY_TRIM_MAX
    for _ in range(3):
        state.apply(commands.encode_expire(STAMP))
    assert state.stats()["history_events"] == 0


def test_an_event_tells_before_and_after() -> None:
    """value, previous_value and deadline are those of the change."""
    state = State()
    put(state, b"a", b"1", ttl_ms=50)
    put(state, b"a", b"2")
    apply(state, operation("delete", b"a"))
    told = [(event.value, event.previous_value, event.deadline_ms) for event in state.events_after(0)]
    assert told == [(b"1", None, STAMP + 50), (b"2", b"1", 0), (None, b"2", 0)]
