"""Which key expires when: the buckets' marks, and one small index over the buckets.

Each bucket has its own marks in order (bucket.py); here is a heap with an entry for every bucket that has
any. Entries may be stale, as a bucket's earliest key goes far more often than anybody asks for the
earliest of all: what comes to the top is put right then.

Invariants: for every bucket with marks the heap holds the bucket with a mark that is not after its first;
so the top, once it says its bucket's first, is the first of all. What any method answers depends on the
keys alone, never on where the bounds of buckets lie.
Not here: what time it is, and removing the keys (keyspace.py).
"""

from __future__ import annotations

from bisect import bisect_left, insort
from heapq import heapify, heappop, heappush, heapreplace
from struct import Struct

from holdfast_node.cache.bucket import Bucket, key_of

_DEADLINE = Struct(">Q")
# Stale entries the heap may hold beyond two a bucket, before it is made anew.
_STALE_MAX = 1024


class Deadlines:
    """Keys by deadline, ms of the group's clock."""

    __slots__ = ("_heads", "_row", "count")

    def __init__(self, row: list[Bucket]) -> None:
        """row: the buckets as Buckets keeps them, the list itself. Costs their number."""
        self._row = row
        self._heads: list[tuple[bytes, Bucket]] = []
        self._renew_heads()
        self.count = sum(len(bucket.due) for bucket in row)

    def __repr__(self) -> str:
        return f"<Deadlines keys={self.count} earliest={self.earliest()}>"

    def add(self, bucket: Bucket, mark: bytes) -> None:
        """Notes the mark of a key of this bucket, which is the caller's to write."""
        due = bucket.due
        self.count += 1
        if due and due[-1] < mark:  # most keys have one time to live, so that the newest is the last
            due.append(mark)
        elif not due or mark < due[0]:
            due.insert(0, mark)
            self.note(bucket)
        else:
            insort(due, mark)

    def discard(self, bucket: Bucket, mark: bytes) -> None:
        """Forgets a mark, which must be there. The heap's entry is stale now, if it was the first."""
        due = bucket.due
        # What expires is the first; a search would touch marks that no cache holds.
        at = 0 if due[0] == mark else bisect_left(due, mark)
        assert due[at] == mark, "a bucket holds the marks of its keys"
        del due[at]
        self.count -= 1

    def note(self, bucket: Bucket) -> None:
        """Tells the heap a bucket's first mark: when it is earlier than before, or the bucket is new."""
        if bucket.due:
            heappush(self._heads, (bucket.due[0], bucket))
            if len(self._heads) > 2 * len(self._row) + _STALE_MAX:
                self._renew_heads()

    def earliest(self) -> int | None:
        """The next deadline."""
        heads = self._heads
        while heads:
            mark, bucket = heads[0]
            due = bucket.due
            if not due:
                heappop(heads)
            elif due[0] == mark:
                return deadline_of(mark)
            else:
                heapreplace(heads, (due[0], bucket))
        return None

    def due(self, stamp_ms: int, keys_max: int) -> list[bytes]:
        """Keys whose deadline is at or before the stamp, earliest first, ties in key order."""
        heads = self._heads.copy()
        found = self.take(stamp_ms, keys_max)
        self._heads = heads
        return found

    def take(self, stamp_ms: int, keys_max: int) -> list[bytes]:
        """As `due`, for a caller who removes all those keys at once: the heap is right only then."""
        limit = _DEADLINE.pack(stamp_ms + 1)
        heads = self._heads
        found: list[bytes] = []
        while heads and heads[0][0] < limit and len(found) < keys_max:
            mark, bucket = heads[0]
            due = bucket.due
            low = 0 if due and due[0] == mark else bisect_left(due, mark)
            if low < len(due) and due[low] == mark:
                heappop(heads)
                if found and mark <= found[-1]:
                    continue  # a second entry for what was taken: the first one has gone on
                # As many of the bucket's marks at once as no other bucket has earlier ones.
                before = min(limit, heads[0][0]) if heads else limit
                high = low + 1
                if high < len(due) and due[high] < before:
                    high = bisect_left(due, before, high + 1)
                high = min(high, low + keys_max - len(found))
                found += due[low:high]
                if high < len(due):
                    heappush(heads, (due[high], bucket))
            elif low < len(due):
                heapreplace(heads, (due[low], bucket))
            else:
                heappop(heads)
        return [key_of(mark) for mark in found]

    def _renew_heads(self) -> None:
        self._heads = [(bucket.due[0], bucket) for bucket in self._row if bucket.due]
        heapify(self._heads)


def deadline_of(mark: bytes) -> int:
    """The deadline that a mark says."""
    deadline_ms: int = _DEADLINE.unpack_from(mark)[0]
    return deadline_ms
