"""Who watches a key, without looking at every watcher.

A range of one key stands in a dict by key; a prefix (also the empty one: everything) in a dict by prefix,
asked once for each length of prefix in use; any other range in blocks of neighbours that know their
furthest end, so that most blocks are passed with one comparison.

Invariant: `match` gives each watcher of a key exactly once. Knows nothing of events or delivery. Pure.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import Counter
from typing import Generic, TypeVar

from holdfast.keys import KeyRange

W = TypeVar("W")
BLOCK_RANGES_MAX = 128


class _Block:
    """Ranges that are neighbours by start."""

    __slots__ = ("endless", "furthest", "ranges")

    def __init__(self, ranges: list[KeyRange]) -> None:
        self.ranges = ranges
        self.refresh()

    def refresh(self) -> None:
        """Takes the furthest end anew."""
        self.endless = any(not keys.end for keys in self.ranges)
        self.furthest = max((keys.end for keys in self.ranges), default=b"")


class WatchIndex(Generic[W]):
    """Watchers by what they watch."""

    def __init__(self) -> None:
        self._exact: dict[bytes, dict[W, None]] = {}
        self._prefixes: dict[bytes, dict[W, None]] = {}
        self._lengths: list[int] = []  # of prefixes in use, ordered
        self._of_length: Counter[int] = Counter()  # how many prefixes in use have it
        self._ranges: dict[KeyRange, dict[W, None]] = {}
        self._blocks: list[_Block] = []
        self.size = 0

    def __len__(self) -> int:
        return self.size

    def add(self, keys: KeyRange, watcher: W) -> None:
        """Begins to match. A watcher is added once."""
        self.size += 1
        if _is_exact(keys):
            self._exact.setdefault(keys.start, {})[watcher] = None
        elif _is_prefix(keys):
            if keys.start not in self._prefixes:
                self._count_length(len(keys.start), 1)
            self._prefixes.setdefault(keys.start, {})[watcher] = None
        else:
            if keys not in self._ranges:
                self._add_range(keys)
            self._ranges.setdefault(keys, {})[watcher] = None

    def remove(self, keys: KeyRange, watcher: W) -> None:
        """Ends what `add` of the same arguments began."""
        self.size -= 1
        if _is_exact(keys):
            _drop(self._exact, keys.start, watcher)
        elif _is_prefix(keys):
            if _drop(self._prefixes, keys.start, watcher):
                self._count_length(len(keys.start), -1)
        elif _drop(self._ranges, keys, watcher):
            self._remove_range(keys)

    def match(self, key: bytes) -> list[W]:
        """All watchers of the key."""
        found: list[W] = []
        exact = self._exact.get(key)
        if exact is not None:
            found += exact
        for length in self._lengths:
            if length > len(key):
                break
            watchers = self._prefixes.get(key[:length])
            if watchers is not None:
                found += watchers
        for block in self._blocks:
            if block.ranges[0].start > key:
                break
            if block.endless or key < block.furthest:
                for keys in block.ranges:
                    if key in keys:
                        found += self._ranges[keys]
        return found

    def _count_length(self, length: int, by: int) -> None:
        """A thousand watches may end in one turn, so none of them looks at the others."""
        self._of_length[length] += by
        if self._of_length[length] == by:  # the first
            insort(self._lengths, length)
        elif not self._of_length[length]:
            self._lengths.remove(length)

    def _add_range(self, keys: KeyRange) -> None:
        if not self._blocks:
            self._blocks.append(_Block([keys]))
            return
        at = max(0, bisect_right(self._blocks, keys.start, key=lambda block: block.ranges[0].start) - 1)
        block = self._blocks[at]
        insort(block.ranges, keys)
        if len(block.ranges) > BLOCK_RANGES_MAX:
            half = len(block.ranges) // 2
            self._blocks.insert(at + 1, _Block(block.ranges[half:]))
            del block.ranges[half:]
        block.refresh()

    def _remove_range(self, keys: KeyRange) -> None:
        at = bisect_right(self._blocks, keys.start, key=lambda block: block.ranges[0].start) - 1
        # Ranges of one start may reach back over a block's edge.
        while keys not in self._blocks[at].ranges:
            at -= 1
        block = self._blocks[at]
        block.ranges.remove(keys)
        if block.ranges:
            block.refresh()
        else:
            del self._blocks[at]


def _is_exact(keys: KeyRange) -> bool:
    return keys.end == keys.start + b"\0"


def _is_prefix(keys: KeyRange) -> bool:
    return keys == KeyRange.of_prefix(keys.start)


K = TypeVar("K")


def _drop(table: dict[K, dict[W, None]], key: K, watcher: W) -> bool:
    """True: nobody is left there."""
    watchers = table[key]
    del watchers[watcher]
    if watchers:
        return False
    del table[key]
    return True
