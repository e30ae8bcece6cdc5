"""Keys and their records, in order, in buckets of at most 512.

Buckets are contiguous: each holds every key from its start up to the next bucket's start, in a dict of its
own. No dict ever grows large (growing one to a million keys stalls for over 100 ms), an image copies
buckets only when they are written, a range delete goes bucket by bucket, and a part of the keys is handed
to another state by reference.

Invariants: the first bucket starts at b''; a bucket with more than BUCKET_KEYS_MAX keys is split at once;
two neighbours that together hold at most a quarter of that are joined when one of them shrinks; `deadlines`
says exactly the deadlines of the records. What any method answers depends on the keys alone, never on
where the bounds lie or in which order keys came.
Not here: time, revisions' meaning, budgets (keyspace.py).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from itertools import islice, pairwise

from holdfast_node.cache.bucket import (
    HEADER,
    HEADER_BYTES,
    NO_DEADLINE,
    RECORD_OVERHEAD,
    Bucket,
    counted_bytes,
    key_of,
    mark_of,
    marks_of,
    pack_record,
)
from holdfast_node.cache.expiry import Deadlines
from holdfast_node.limits import BUCKET_KEYS_MAX

__all__ = [
    "HEADER", "HEADER_BYTES", "RECORD_OVERHEAD", "Bucket", "Buckets", "counted_bytes", "pack_record",
]  # fmt: skip

_JOIN_KEYS_MAX = BUCKET_KEYS_MAX // 4


class Buckets:
    """All keys of a shard, in order."""

    __slots__ = ("_flat", "_row", "byte_count", "deadlines", "key_count")

    def __init__(self, row: list[Bucket] | None = None) -> None:
        """row: buckets in order, none empty."""
        row = row or [Bucket(b"", {})]
        row[0].start = b""
        # Starts, and buckets beside them: finding one is on the path of every operation, 0.3 us this way.
        self._flat = [bucket.start for bucket in row]
        self._row = row
        self.key_count = sum(len(bucket.records) for bucket in row)
        self.byte_count = sum(bucket.bytes for bucket in row)
        self.deadlines = Deadlines(row)

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
            if old[9:17] != record[9:17]:
                if old[9:17] != NO_DEADLINE:
                    self.deadlines.discard(bucket, mark_of(key, old))
                if record[9:17] != NO_DEADLINE:
                    self.deadlines.add(bucket, mark_of(key, record))
            return
        added = len(key) + len(record) + RECORD_OVERHEAD
        bucket.bytes += added
        self.byte_count += added
        self.key_count += 1
        if record[9:17] != NO_DEADLINE:
            self.deadlines.add(bucket, mark_of(key, record))
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
        if record[9:17] != NO_DEADLINE:
            self.deadlines.discard(bucket, mark_of(key, record))
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

    # ---- hand-over ------------------------------------------------------------------------------------

    def cut(self, start: bytes, end: bytes) -> Buckets:
        """The keys of [start, end) for another state, by reference; empty end: to the last.

        Costs the number of buckets. Only the buckets at the bounds are divided, by copying; the others' dicts
        are copied by whoever writes them first.
        """
        first = bisect_right(self._flat, start) - 1
        afters = [*self._flat[first + 1 :], b""]
        row = []
        for bucket, after in zip(self.run(start), afters, strict=True):
            if end and bucket.start >= end:
                break
            if bucket.start >= start and (not end or b"" < after <= end):
                part = bucket.handed()
            else:
                inside = {
                    key: record
                    for key, record in bucket.records.items()
                    if key >= start and (not end or key < end)
                }
                part = Bucket(max(bucket.start, start), inside)
            if part.records:
                row.append(part)
        return Buckets(row)

    def joined(self, following: Buckets) -> Buckets:
        """These keys and those of `following`, which all lie behind them, for another state, by reference.

        Raises ValueError when they do not. Both are to stay as they are.
        """
        row = [bucket.handed() for bucket in self._row if bucket.records]
        upper = [bucket.handed() for bucket in following.run() if bucket.records]
        if row and upper:
            upper[0].start = min(upper[0].records)
            if max(row[-1].records) >= upper[0].start:
                raise ValueError("the sources' keys are not in the order of the sources")
        return Buckets(row + upper)

    def later(self, shift_ms: int) -> Buckets:
        """The same keys for another state, every deadline so much later. Costs the keys with a deadline."""
        row = []
        for bucket in self._row:
            part = bucket.handed()
            if bucket.due:
                records = part.own()
                for mark in bucket.due:
                    key = key_of(mark)
                    records[key] = _later(records[key], shift_ms)
                part.due = marks_of(records)
            if part.records:
                row.append(part)
        return Buckets(row)

    def shed(self, count: int) -> int:
        """Lets go of about so many keys, when nobody uses these any more; how many were not there to go."""
        self.deadlines = Deadlines([])
        while self._row and count > 0:
            count -= len(self._row.pop().records) + 1
        return count

    # ---- the row --------------------------------------------------------------------------------------

    def _append_part(self, keys: list[bytes], records: dict[bytes, bytes]) -> None:
        last, part = self._row[-1], Bucket(keys[0], records)
        self.key_count += len(records)
        self.byte_count += part.bytes
        self.deadlines.count += len(part.due)
        if len(last.records) + len(records) <= BUCKET_KEYS_MAX:
            last.own().update(records)
            last.bytes += part.bytes
            last.due = sorted(last.due + part.due)
            last.ordered = None
            part = last
        else:
            self._insert(part)
        self.deadlines.note(part)

    def _insert(self, bucket: Bucket) -> None:
        at = bisect_left(self._flat, bucket.start)
        self._flat.insert(at, bucket.start)
        self._row.insert(at, bucket)

    def _split(self, bucket: Bucket) -> None:
        keys = bucket.keys()
        middle = len(keys) // 2
        records = bucket.records
        upper = Bucket(keys[middle], {key: records[key] for key in keys[middle:]})
        bucket.records = {key: records[key] for key in keys[:middle]}
        if bucket.due:
            bucket.due = marks_of(bucket.records)
        bucket.ordered = None
        bucket.bytes -= upper.bytes
        self._insert(upper)
        self.deadlines.note(upper)

    def _join(self, bucket: Bucket) -> None:
        """Joins a small bucket with a neighbour, when both are small."""
        row = self._row
        at = bisect_left(self._flat, bucket.start)
        for left in (at - 1, at):
            if left < 0 or left + 1 >= len(row):
                continue
            lower, upper = row[left], row[left + 1]
            if len(lower.records) + len(upper.records) <= _JOIN_KEYS_MAX:
                lower.own().update(upper.records)
                lower.bytes += upper.bytes
                if upper.due:
                    lower.due = sorted(lower.due + upper.due)
                    self.deadlines.note(lower)
                    # The index may still know it.
                    upper.due = []
                lower.ordered = None
                del self._flat[left + 1], row[left + 1]
                return


def _later(record: bytes, shift_ms: int) -> bytes:
    recency, revision, deadline_ms = HEADER.unpack_from(record)
    return HEADER.pack(recency, revision, deadline_ms + shift_ms) + record[HEADER_BYTES:]
