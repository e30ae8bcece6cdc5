"""Keys and their records, in order, in buckets of at most 512.

A record is one bytes object: recency, revision and deadline packed in front of the value, so that a key
costs two objects and a dict slot. Buckets are contiguous: each holds every key from its start up to the
next bucket's start, in a dict of its own. No dict ever grows large (growing one to a million keys stalls
for over 100 ms), an image copies buckets only when they are written, and a range delete goes bucket by
bucket.

Invariants: the first bucket starts at b''; a bucket with more than BUCKET_KEYS_MAX keys is split at once;
two neighbours that together hold at most a quarter of that are joined. What any method answers depends
on the keys alone, never on where the bounds lie or in which order keys came.
Not here: time, revisions' meaning, budgets (keyspace.py).
"""

from __future__ import annotations

import struct
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from itertools import islice, pairwise
from typing import Any

from sortedcontainers import SortedDict

from holdfast_node.limits import BUCKET_KEYS_MAX, KEY_OVERHEAD_BYTES

# u8 recency, u64 revision, u64 deadline (ms, 0: none); the value follows. As in snapshot.proto.
HEADER = struct.Struct("<BQQ")
HEADER_BYTES = HEADER.size
# What a record counts for beside key and value, less the header that len(record) counts already.
RECORD_OVERHEAD = KEY_OVERHEAD_BYTES - HEADER_BYTES

_JOIN_KEYS_MAX = BUCKET_KEYS_MAX // 4


def pack_record(recency: int, revision: int, deadline_ms: int, value: bytes) -> bytes:
    """A record's bytes."""
    return HEADER.pack(recency, revision, deadline_ms) + value


def counted_bytes(key: bytes, record: bytes) -> int:
    """What a key counts for against its budget: len(key) + len(value) + 64."""
    return len(key) + len(record) + RECORD_OVERHEAD


class Bucket:
    """The keys from `start` up to the next bucket's start."""

    __slots__ = ("bytes", "ordered", "records", "shared", "start")

    def __init__(self, start: bytes, records: dict[bytes, bytes]) -> None:
        self.start = start
        self.records = records
        self.bytes = sum(counted_bytes(key, record) for key, record in records.items())
        # The keys in order; made when first asked for, then kept up to date. None: not made.
        self.ordered: list[bytes] | None = None
        # An image may be reading `records`: copy before the next write.
        self.shared = False

    def keys(self) -> list[bytes]:
        """Its keys in order. The caller must not change the list."""
        ordered = self.ordered
        if ordered is None:
            ordered = self.ordered = sorted(self.records)
        return ordered

    def own(self) -> dict[bytes, bytes]:
        """Its records, to be written: copied first when an image may be reading them."""
        if self.shared:
            self.records = self.records.copy()
            self.shared = False
        return self.records


class Buckets:
    """All keys of a shard, in order."""

    __slots__ = ("_bounds", "_flat", "_row", "byte_count", "key_count")

    def __init__(self) -> None:
        first = Bucket(b"", {})
        # start -> bucket, in order
        self._bounds: Any = SortedDict({b"": first})
        # The same twice more, flat: finding a bucket is on the path of every operation, and costs 0.3 us
        # here against 1.5 us in the sorted dict.
        self._flat = [b""]
        self._row = [first]
        self.key_count = 0
        self.byte_count = 0

    def __repr__(self) -> str:
        return f"<Buckets keys={self.key_count} bytes={self.byte_count} buckets={len(self._row)}>"

    def find(self, key: bytes) -> Bucket:
        """The bucket whose range holds `key`."""
        return self._row[bisect_right(self._flat, key) - 1]

    def get(self, key: bytes) -> bytes | None:
        """The key's record."""
        return self._row[bisect_right(self._flat, key) - 1].records.get(key)

    def set(self, key: bytes, record: bytes) -> None:
        """Writes a record."""
        bucket = self._row[bisect_right(self._flat, key) - 1]
        records = bucket.records if not bucket.shared else bucket.own()
        old = records.get(key)
        records[key] = record
        if old is not None:
            added = len(record) - len(old)
            bucket.bytes += added
            self.byte_count += added
            return
        added = len(key) + len(record) + RECORD_OVERHEAD
        bucket.bytes += added
        self.byte_count += added
        self.key_count += 1
        if bucket.ordered is not None:
            insort(bucket.ordered, key)
        if len(records) > BUCKET_KEYS_MAX:
            self._split(bucket)

    def remove(self, key: bytes) -> bytes | None:
        """Takes a key away and returns its record."""
        bucket = self.find(key)
        if key not in bucket.records:
            return None
        records = bucket.own()
        record = records.pop(key)
        if bucket.ordered is not None:
            del bucket.ordered[bisect_left(bucket.ordered, key)]
        count = counted_bytes(key, record)
        bucket.bytes -= count
        self.byte_count -= count
        self.key_count -= 1
        if len(records) <= _JOIN_KEYS_MAX // 2 and len(self._row) > 1:
            self._join(bucket)
        return record

    def items(self, start: bytes = b"", end: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Keys of [start, end) with their records, in order; empty end: to the last.

        Keys must not be written or removed while it is being taken.
        """
        for bucket in self.run(start):
            if end and bucket.start >= end:
                return
            keys = bucket.keys()
            low = bisect_left(keys, start) if bucket.start < start else 0
            records = bucket.records
            for key in keys[low:] if low else keys:
                if end and key >= end:
                    return
                yield key, records[key]

    def keys_from(self, start: bytes) -> list[bytes]:
        """The next keys at or after `start`, in order: those of one bucket. Empty: there are none."""
        for bucket in self.run(start):
            keys = bucket.keys()
            low = bisect_left(keys, start)
            if low < len(keys):
                return keys[low:]
        return []

    def run(self, start: bytes = b"") -> Iterator[Bucket]:
        """Buckets in order, from the one whose range holds `start`."""
        first = bisect_right(self._flat, start) - 1
        yield from islice(self._row, first, None)

    def append(self, keys: list[bytes], records: list[bytes]) -> None:
        """Adds keys that all lie after the present ones, in order: how a restore builds buckets.

        Raises ValueError when they do not.
        """
        if not keys or len(keys) != len(records):
            raise ValueError("keys and records do not pair")
        if any(a >= b for a, b in pairwise(keys)):
            raise ValueError("keys are not in order")
        last = self._row[-1]
        if last.records and max(last.records) >= keys[0]:
            raise ValueError("keys are not in order")
        for low in range(0, len(keys), BUCKET_KEYS_MAX // 2):
            part = keys[low : low + BUCKET_KEYS_MAX // 2]
            self._append_part(part, dict(zip(part, records[low : low + BUCKET_KEYS_MAX // 2], strict=True)))

    def _append_part(self, keys: list[bytes], records: dict[bytes, bytes]) -> None:
        last = self._row[-1]
        if len(last.records) + len(records) <= BUCKET_KEYS_MAX:
            added = Bucket(last.start, records).bytes
            last.own().update(records)
            last.bytes += added
            last.ordered = None
        else:
            bucket = Bucket(keys[0], records)
            added = bucket.bytes
            self._insert(bucket)
        self.key_count += len(records)
        self.byte_count += added

    def _insert(self, bucket: Bucket) -> None:
        self._bounds[bucket.start] = bucket
        at = self._bounds.index(bucket.start)
        self._flat.insert(at, bucket.start)
        self._row.insert(at, bucket)

    def _split(self, bucket: Bucket) -> None:
        keys = bucket.keys()
        middle = len(keys) // 2
        records = bucket.records
        upper = Bucket(keys[middle], {key: records[key] for key in keys[middle:]})
        bucket.records = {key: records[key] for key in keys[:middle]}
        bucket.ordered = None
        bucket.bytes -= upper.bytes
        self._insert(upper)

    def _join(self, bucket: Bucket) -> None:
        """Joins a small bucket with a neighbour, when both are small."""
        row = self._row
        at = self._bounds.index(bucket.start)
        for left in (at - 1, at):
            if left < 0 or left + 1 >= len(row):
                continue
            lower, upper = row[left], row[left + 1]
            if len(lower.records) + len(upper.records) <= _JOIN_KEYS_MAX:
                lower.own().update(upper.records)
                lower.bytes += upper.bytes
                lower.ordered = None
                del self._bounds[upper.start], self._flat[left + 1], row[left + 1]
                return
