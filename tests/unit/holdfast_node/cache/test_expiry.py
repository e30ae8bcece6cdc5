"""The index of deadlines and the entries that expire keys."""

from __future__ import annotations

from unittest import mock

import pytest
from holdfast.types import EventKind
from holdfast_node.cache import buckets as buckets_module
from holdfast_node.cache import commands
from holdfast_node.cache.buckets import Buckets, pack_record
from holdfast_node.cache.state import State
from hypothesis import given
from hypothesis import strategies as st

from tests.entries import STAMP, keys_of, put


@given(st.dictionaries(st.binary(min_size=1, max_size=2), st.integers(1, 5)), st.data())
def test_due_keys_come_by_deadline_then_key(deadlines: dict[bytes, int], data: st.DataObject) -> None:
    """The index gives due keys in (deadline, key) order, exactly those it holds, up to the asked number."""
    with mock.patch.object(buckets_module, "BUCKET_KEYS_MAX", 3):  # the order does not know of buckets
        buckets = Buckets()
        for key, deadline in deadlines.items():
            buckets.set(key, pack_record(0, 1, deadline, b""))
        named = data.draw(st.lists(st.sampled_from(sorted(deadlines)))) if deadlines else []
        for key in named:
            if data.draw(st.booleans()):
                buckets.remove(key)
                deadlines.pop(key, None)
            else:
                deadlines[key] = data.draw(st.integers(1, 5))
                buckets.set(key, pack_record(0, 1, deadlines[key], b""))
            if data.draw(st.booleans()):
                assert buckets.deadlines.earliest() == min(deadlines.values(), default=None)
    index = buckets.deadlines
    order = [key for _, key in sorted((deadline, key) for key, deadline in deadlines.items())]
    assert index.due(5, 1000) == order
    assert index.due(5, 3) == order[:3]
    assert index.due(2, 1000) == [key for key in order if deadlines[key] <= 2]
    assert index.due(5, 0) == []
    assert index.earliest() == min(deadlines.values(), default=None)
    assert index.count == len(deadlines)


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 9)), max_size=80), st.integers(1, 7))
def test_mass_expiry_takes_every_key_once_in_order(writes: list[tuple[int, int]], keys_max: int) -> None:
    """Taken and removed some at a time, keys come in (deadline, key) order over all the times."""
    expected: dict[bytes, int] = {}
    taken: list[bytes] = []
    with mock.patch.object(buckets_module, "BUCKET_KEYS_MAX", 4):
        buckets = Buckets()
        for number, deadline in writes:
            expected[b"%02d" % number] = deadline
            buckets.set(b"%02d" % number, pack_record(0, 1, deadline, b""))
        while due := buckets.deadlines.take(7, keys_max):
            assert len(due) <= keys_max
            for key in due:
                buckets.remove(key)
            taken += due
            left = [at for key, at in expected.items() if at and key not in taken]
            assert buckets.deadlines.earliest() == min(left, default=None)
    assert taken == [key for _, key in sorted((at, key) for key, at in expected.items() if 0 < at <= 7)]


def test_the_index_stays_small_however_often_one_key_is_written() -> None:
    """A key whose deadline moves a thousand times a second leaves no trail in the index."""
    buckets = Buckets()
    for i in range(20_000, 0, -1):
        buckets.set(b"k", pack_record(0, 1, i, b""))
    assert len(buckets.deadlines._heads) < 2000
    assert buckets.deadlines.due(10**6, 10) == [b"k"]


@pytest.mark.parametrize("shared", [False, True])
def test_marks_of_deadlines_that_moved_are_never_told(shared: bool) -> None:
    """Nor told twice when a key comes back to a deadline."""
    buckets = Buckets()
    for deadline in (5, 9, 5, 7, 5):
        for key in (b"a", b"b"):
            buckets.set(key, pack_record(0, 1, deadline, b""))
    buckets.set(b"b", pack_record(0, 1, 8, b""))
    for index in [buckets.deadlines, *([buckets.cut(b"", b"").deadlines] if shared else [])]:
        assert (index.due(7, 9), index.due(9, 9), index.count) == ([b"a"], [b"a", b"b"], 2)
        assert index.take(5, 1) == [b"a"]
    buckets.remove(b"a")
    assert (buckets.deadlines.earliest(), buckets.deadlines.count) == (8, 1)
    for deadline in range(10, 1000):
        buckets.set(b"b", pack_record(0, 1, deadline, b""))
    assert buckets.deadlines.earliest() == 999


def test_a_second_mark_of_a_key_hides_no_later_one() -> None:
    """Taken in one go with others, though the heap knows the key's bucket by one mark twice."""
    buckets = Buckets()
    for key, deadline in ((b"a", 5), (b"b", 6), (b"a", 9), (b"a", 5), (b"b", 2), (b"a", 3), (b"a", 5)):
        buckets.set(key, pack_record(0, 1, deadline, b""))
    buckets.set(b"b", pack_record(0, 1, 6, b""))
    assert buckets.deadlines.due(9, 1) == [b"a"]
    assert buckets.deadlines.take(9, 9) == [b"a", b"b"]


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
