"""A record's form, and one bucket: up to 512 neighbouring keys in a dict of their own.

A record is one bytes object: recency, revision and deadline packed in front of the value, so that a key
costs two objects and a dict slot. A key with a deadline stands once more in its bucket, as a *mark*: the
deadline in big-endian order and the key, in one bytes object, so that marks in order are keys by
(deadline, key); a tuple would cost twice the time and an object more.

Whoever reads a bucket's dict later than now marks the bucket as shared, and the next write copies the
dict first: FROZEN while images of this state read it, HANDED once another state holds the same dict, which
nobody can take back, as no state knows when the other one is done.

Invariant: `due` holds exactly the marks of the records with a deadline, in order.
Not here: which bucket holds a key (buckets.py), which bucket is due first (expiry.py).
"""

from __future__ import annotations

import struct

from holdfast_node.limits import KEY_OVERHEAD_BYTES

# u8 recency, u64 revision, u64 deadline (ms, 0: none); the value follows. As in snapshot.proto.
HEADER = struct.Struct("<BQQ")
HEADER_BYTES = HEADER.size
# What a record counts for beside key and value, less the header that len(record) counts already.
RECORD_OVERHEAD = KEY_OVERHEAD_BYTES - HEADER_BYTES
# The deadline's bytes in a record that has none.
NO_DEADLINE = bytes(8)

# Who else reads a bucket's or session's dict: nobody, images of this state, another state.
OWN, FROZEN, HANDED = 0, 1, 2


def pack_record(recency: int, revision: int, deadline_ms: int, value: bytes) -> bytes:
    """A record's bytes."""
    return HEADER.pack(recency, revision, deadline_ms) + value


def counted_bytes(key: bytes, record: bytes) -> int:
    """What a key counts for against its budget: len(key) + len(value) + 64."""
    return len(key) + len(record) + RECORD_OVERHEAD


def mark_of(key: bytes, record: bytes) -> bytes:
    """The mark of a key with a deadline: its bytes turned round are big-endian, which sorts."""
    return record[16:8:-1] + key


def key_of(mark: bytes) -> bytes:
    """The key that a mark names."""
    return mark[8:]


def marks_of(records: dict[bytes, bytes]) -> list[bytes]:
    """The marks of the records that have a deadline, in order."""
    return sorted([record[16:8:-1] + key for key, record in records.items() if record[9:17] != NO_DEADLINE])


class Bucket:
    """The keys from `start` up to the next bucket's start."""

    __slots__ = ("bytes", "due", "ordered", "records", "shared", "start")

    def __init__(self, start: bytes, records: dict[bytes, bytes]) -> None:
        self.start = start
        self.records = records
        self.bytes = sum(counted_bytes(key, record) for key, record in records.items())
        self.due = marks_of(records)
        # The keys in order; made when first asked for, then kept up to date. None: not made.
        self.ordered: list[bytes] | None = None
        # OWN, or somebody else reads `records` (and, if HANDED, `due`): copy before the next write.
        self.shared = OWN

    def __lt__(self, other: Bucket) -> bool:
        """Any order: for the index's heap, when two entries have one mark."""
        return self.start < other.start

    def handed(self) -> Bucket:
        """The same keys for another state, by reference: whichever writes first copies."""
        other = Bucket.__new__(Bucket)
        other.start, other.records, other.bytes, other.due = self.start, self.records, self.bytes, self.due
        other.ordered = None
        self.shared = other.shared = HANDED
        return other

    def keys(self) -> list[bytes]:
        """Its keys in order. The caller must not change the list."""
        ordered = self.ordered
        if ordered is None:
            ordered = self.ordered = sorted(self.records)
        return ordered

    def own(self) -> dict[bytes, bytes]:
        """Its records, to be written: copied first when somebody else may be reading them."""
        if self.shared:
            self.records = self.records.copy()
            self.due = self.due.copy()
            self.shared = OWN
        return self.records
