"""Finding a key's watchers, against looking at every one of them."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast.keys import KeyRange
from holdfast_node.watch_index import BLOCK_RANGES_MAX, WatchIndex
from hypothesis import given
from hypothesis import strategies as st

KEYS = st.binary(max_size=3).map(lambda raw: bytes(b"ab\xff"[byte % 3] for byte in raw))
RANGES = st.one_of(
    KEYS.map(lambda key: KeyRange(key, key + b"\0")),
    KEYS.map(KeyRange.of_prefix),
    st.tuples(KEYS, KEYS).map(lambda pair: KeyRange(*pair)),
)


@given(st.lists(RANGES, max_size=30), st.data())
def test_every_watcher_of_a_key_is_found_once(ranges: list[KeyRange], data: st.DataObject) -> None:
    """`match` agrees with the obvious scan, also after removals."""
    index: WatchIndex[int] = WatchIndex()
    kept = dict(enumerate(ranges))
    for watcher, keys in kept.items():
        index.add(keys, watcher)
    for watcher in data.draw(st.lists(st.sampled_from(sorted(kept)), unique=True)) if kept else ():
        index.remove(kept.pop(watcher), watcher)
    key = data.draw(KEYS.filter(bool))

    assert sorted(index.match(key)) == [watcher for watcher, keys in kept.items() if key in keys]
    assert len(index) == len(kept)


def test_many_ranges_stand_in_blocks() -> None:
    """More ranges than a block holds are split over several, and all are found and removed."""
    index: WatchIndex[int] = WatchIndex()
    ranges = [KeyRange(b"%05d" % i, b"%05d" % (i + 3)) for i in range(4 * BLOCK_RANGES_MAX)]
    for i, keys in enumerate(ranges):
        index.add(keys, i)

    assert sorted(index.match(b"00200")) == [198, 199, 200]
    assert len(index._blocks) > 3
    for i, keys in enumerate(ranges):
        index.remove(keys, i)
    assert index.match(b"00200") == []
    assert index._blocks == []


def test_ranges_of_one_start_are_all_found_across_a_block_edge() -> None:
    """Equal starts may lie on both sides of a split."""
    index: WatchIndex[int] = WatchIndex()
    ranges = [KeyRange(b"k", b"k%05d" % (i + 1)) for i in range(3 * BLOCK_RANGES_MAX)]
    for i, keys in enumerate(ranges):
        index.add(keys, i)

    assert len(index.match(b"k")) == len(ranges)
    for i, keys in enumerate(ranges):
        index.remove(keys, i)
    assert index.match(b"k") == []


def test_watchers_of_one_range_share_its_place() -> None:
    """A range leaves only with its last watcher."""
    index: WatchIndex[str] = WatchIndex()
    for keys in (KeyRange(b"a", b"c"), KeyRange.of_prefix(b"a"), KeyRange(b"a", b"a\0")):
        index.add(keys, "first")
        index.add(keys, "second")
        index.remove(keys, "first")
        assert index.match(b"a") == ["second"]
        index.remove(keys, "second")
        assert index.match(b"a") == []


class NotLookedThrough(dict[bytes, dict[int, None]]):
    """A table that answers for a key, and to nobody for all of them."""

    def __iter__(self) -> Iterator[bytes]:
        raise AssertionError("every prefix was looked at")


def test_a_watch_ends_without_a_look_at_the_others() -> None:
    """A client that leaves may end ten thousand watches in one turn; prefixes in use stay known by length."""
    index: WatchIndex[int] = WatchIndex()
    index._prefixes = NotLookedThrough()
    for number, prefix in enumerate((b"a", b"b", b"aa")):
        index.add(KeyRange.of_prefix(prefix), number)

    index.remove(KeyRange.of_prefix(b"a"), 0)
    assert (index.match(b"b"), index.match(b"aab"), index.match(b"a")) == ([1], [2], [])
    index.remove(KeyRange.of_prefix(b"b"), 1)
    assert (index.match(b"b"), index.match(b"aab")) == ([], [2])
    assert index._lengths == [2]
