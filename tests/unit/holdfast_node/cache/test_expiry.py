"""The index of deadlines and the entries that expire keys."""

from __future__ import annotations

from holdfast.types import EventKind
from holdfast_node.cache import commands
from holdfast_node.cache.expiry import Deadlines
from holdfast_node.cache.state import State
from hypothesis import given
from hypothesis import strategies as st

from tests.entries import STAMP, keys_of, put


@given(st.dictionaries(st.binary(min_size=1, max_size=2), st.integers(1, 5)), st.data())
def test_due_keys_come_by_deadline_then_key(deadlines: dict[bytes, int], data: st.DataObject) -> None:
    """The index gives due keys in (deadline, key) order, exactly those it holds, up to the asked number."""
    index = Deadlines()
    for key, deadline in deadlines.items():
        index.add(key, deadline)
    for key in data.draw(st.lists(st.sampled_from(sorted(deadlines)), unique=True)) if deadlines else []:
        index.discard(key, deadlines.pop(key))
    order = [key for _, key in sorted((deadline, key) for key, deadline in deadlines.items())]
    assert index.due(5, 1000) == order
    assert index.due(5, 3) == order[:3]
    assert index.due(2, 1000) == [key for key in order if deadlines[key] <= 2]
    assert index.due(5, 0) == []
    assert index.earliest() == min(deadlines.values(), default=None)
    assert index.count == len(deadlines)


def test_an_expire_entry_is_one_revision_earliest_first() -> None:
    """Due keys go in one revision, one EXPIRED event each, those with the earliest deadline first."""
    state = State()
    put(state, b"a", ttl_ms=60)
    put(state, b"b", ttl_ms=50)
    put(state, b"c", ttl_ms=70)
    state.apply(commands.encode_expire(STAMP + 60))
    events = [(event.kind, event.key, event.revision) for event in state.events_after(3)]
    assert events == [(EventKind.EXPIRED, b"b", 4), (EventKind.EXPIRED, b"a", 4)]
    assert keys_of(state) == [b"c"]
    assert state.next_deadline() == STAMP + 70
    assert state.stats()["expired_total"] == 2


def test_an_expire_entry_takes_no_more_than_it_says() -> None:
    """Mass expiry is many bounded entries."""
    state = State()
    for i in range(5):
        put(state, b"k%d" % i, ttl_ms=50)
    state.apply(commands.encode_expire(STAMP + 50, 2))
    assert keys_of(state) == [b"k2", b"k3", b"k4"]


def test_an_expire_entry_with_nothing_due_takes_no_revision() -> None:
    """An entry that removes nothing changes nothing but the stamp."""
    state = State()
    put(state, b"a", ttl_ms=50)
    state.apply(commands.encode_expire(STAMP + 49))
    assert (state.revision, state.key_count, state.stamp_ms) == (1, 1, STAMP + 49)


def test_deadlines_follow_their_keys() -> None:
    """Overwriting, touching and deleting leave no stale deadline behind."""
    state = State()
    put(state, b"a", ttl_ms=50)
    put(state, b"a", ttl_ms=500)
    assert state.next_deadline() == STAMP + 500
    assert state.stats()["deadlines"] == 1
    put(state, b"a")
    assert state.stats()["deadlines"] == 0
