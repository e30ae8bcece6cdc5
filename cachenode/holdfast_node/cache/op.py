"""One client operation, decoded: what routing, reads and the state machine work on.

Its keys and ranges are places (holdfast/units.py): the keys themselves, unless the namespace is hashed.

Invariant: an Op that `decoding.decode_operation` made is within all bounds; nothing behind it checks
shapes again. One shape serves all kinds, as building it is on the path of every operation.
"""

from __future__ import annotations

from typing import NamedTuple

from holdfast.keys import KeyRange

from holdfast_node import limits

# Kinds of operations, in the order of Operation.kind in cache.proto.
GET, PUT, DELETE, COMPARE_AND_SET, INCREMENT, TOUCH, SCAN, TXN = range(1, 9)
KIND_NAMES = ("", "get", "put", "delete", "compare_and_set", "increment", "touch", "scan", "txn")

# Op.presence: whether the key must be there.
ANYHOW, ABSENT, PRESENT = 0, 1, 2
# Op.if_revision: no condition.
NO_REVISION = -1

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1


class Sum(NamedTuple):
    """What an Increment adds, and its bounds."""

    by: int
    initial: int
    minimum: int
    maximum: int


class Compare(NamedTuple):
    """A condition of a Txn: the key's revision (0: absent), or only its presence when `revision` < 0."""

    key: bytes
    revision: int
    exists: bool


class Transaction(NamedTuple):
    """A Txn's parts. Steps are Ops without a sequence, of kinds GET PUT DELETE INCREMENT TOUCH."""

    compares: tuple[Compare, ...]
    then: tuple[Op, ...]
    otherwise: tuple[Op, ...]


class Op(NamedTuple):
    """One decoded operation. Fields that its kind does not have keep their defaults.

    Attributes:
        sequence: >= 1; 0 in a Txn's steps.
        kind: GET .. TXN.
        key: b'' for SCAN, TXN and deletes of a range.
        not_after: writes: the stamp, ms, after which it must not take effect.
        check: writes: CRC-32 of the operation's bytes, to tell a repeat from a reuse.
        value, ttl_ms: PUT, COMPARE_AND_SET, INCREMENT, TOUCH; ttl 0: does not expire.
        if_revision: NO_REVISION, or the revision the key must have (0: absent). CompareAndSet's too.
        presence: ANYHOW, ABSENT or PRESENT.
        level, bound_ms, or_linearizable: reads; level is never 0.
        range: SCAN (its `from` already taken in) and deletes of a range.
        limit, keys_only: SCAN.
        among: with range, hashed namespaces only: the keys that are meant of those in the range, as clients
            know them. None: all.
    """

    sequence: int
    kind: int
    key: bytes
    not_after: int = 0
    check: int = 0
    value: bytes = b""
    ttl_ms: int = 0
    if_revision: int = NO_REVISION
    presence: int = ANYHOW
    return_previous: bool = False
    level: int = 0
    bound_ms: int = 0
    or_linearizable: bool = False
    range: KeyRange | None = None
    paged: bool = False
    limit: int = 0
    keys_only: bool = False
    sum: Sum | None = None
    txn: Transaction | None = None
    among: KeyRange | None = None

    @property
    def is_write(self) -> bool:
        """Whether it goes through the log."""
        return self.kind != GET and self.kind != SCAN  # noqa: PLR1714 -- twice as fast as `in` here

    def keys(self) -> tuple[bytes, ...]:
        """Every key it names, in order, each once; empty for ranges."""
        if self.txn is not None:
            compares, then, otherwise = self.txn
            named = [compare.key for compare in compares]
            named += [step.key for step in then]
            named += [step.key for step in otherwise]
            return tuple(sorted(dict.fromkeys(named)))
        return (self.key,) if self.range is None else ()

    def span(self) -> KeyRange:
        """The range that holds everything it touches: what must lie in one shard."""
        if self.range is not None:
            return self.range
        keys = self.keys()
        if not keys:  # a Txn that names no key
            return KeyRange(b"", b"\0")
        return KeyRange(keys[0], keys[-1] + b"\0")

    def weight(self) -> int:
        """The most keys that its apply may touch: what counts against ENTRY_KEYS_MAX."""
        if self.kind == TXN:
            return max(1, len(self.keys()))
        return 1 if self.range is None else limits.DELETE_KEYS_MAX
