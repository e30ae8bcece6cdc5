"""The nouns every side speaks: levels, outcomes, values with their versions.

Plain values; the wire forms live in proto/holdfast/v1.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from holdfast.keys import KeyRange
from holdfast.units import Units


class Level(IntEnum):
    """How fresh a read must be. Numbers as in types.proto."""

    LINEARIZABLE = 1
    SESSION = 2
    BOUNDED = 3
    ANY = 4


class Outcome(IntEnum):
    """Did it happen? Numbers as in types.proto."""

    REFUSED = 1
    UNKNOWN = 2


class EventKind(IntEnum):
    """What changed a key. Numbers as in cache.proto, Event.Kind."""

    PUT = 1
    DELETED = 2
    EXPIRED = 3
    EVICTED = 4
    SNAPSHOT = 5
    TOUCHED = 6


class Served(NamedTuple):
    """Who answered a read, and how fresh it is.

    Attributes:
        level: level the read was served at (a BOUNDED read may have been served LINEARIZABLE).
        node: node id.
        applied_index: index in the group's log whose state was read.
        age_ms: how old that state may be; None: not known.
    """

    level: Level
    node: int
    applied_index: int
    age_ms: int | None


class Item(NamedTuple):
    """A key as it stands. revision: the one that wrote it; ttl_ms: remaining, 0 = does not expire."""

    key: bytes
    value: bytes
    revision: int
    ttl_ms: int


class Reading(NamedTuple):
    """What a get found.

    Attributes:
        value: None: the key does not exist.
        revision: the one that wrote it; 0: the key does not exist.
        ttl_ms: remaining; 0: does not expire.
        served: who answered, and how fresh.
    """

    value: bytes | None
    revision: int
    ttl_ms: int
    served: Served

    @property
    def found(self) -> bool:
        """Whether the key exists."""
        return self.revision != 0


class PutResult(NamedTuple):
    """A write took effect. previous: the value before, when asked for and there was one."""

    revision: int
    previous: bytes | None = None


class DeleteResult(NamedTuple):
    """revision: the one the delete made, 0 = there was nothing; previous: as in PutResult."""

    revision: int
    deleted: int
    previous: bytes | None = None


class IncrementResult(NamedTuple):
    """value: the sum."""

    revision: int
    value: int


class Page(NamedTuple):
    """A page of a scan, consistent in itself. next: where to go on; empty: the range is done."""

    items: tuple[Item, ...]
    next: bytes
    served: Served


class StepResult(NamedTuple):
    """What one step of a transaction did; which fields count depends on the step.

    Attributes:
        revision: get: the key's; otherwise the one the step made, 0 = there was nothing to change.
        value: get: the value; put and delete with return_previous: the value before.
        number: increment: the sum.
        ttl_ms: get: remaining; 0 = does not expire.
        deleted: delete: 1 or 0.
    """

    revision: int
    value: bytes | None
    number: int
    ttl_ms: int
    deleted: int


class TxnResult(NamedTuple):
    """succeeded: whether the compares held; results: one for each step of the list that was done."""

    succeeded: bool
    revision: int
    results: tuple[StepResult, ...]


class WatchPoint(NamedTuple):
    """A place in one shard's order of changes: everything up to and with `revision` has been seen.

    start and end are the watched keys (places, where the namespace is hashed), so that a watch can resume
    after its shard was cut; both empty means not known.
    """

    group: int
    revision: int
    start: bytes = b""
    end: bytes = b""


class Event(NamedTuple):
    """One change of one key.

    Attributes:
        value: PUT and SNAPSHOT: the value, unless keys_only.
        revision: the one that made the change (SNAPSHOT: that wrote the key).
        previous: with_previous: the value before, when still known.
        deadline_ms: PUT, SNAPSHOT, TOUCHED: by the group's clock, ms since 1970; 0: does not expire.
    """

    kind: EventKind
    key: bytes
    value: bytes | None
    revision: int
    previous: bytes | None
    deadline_ms: int


class MarkKind(IntEnum):
    """What a mark between events says."""

    SNAPSHOT_BEGINS = 1  # forget what you know of [start, end): what follows replaces it
    CAUGHT_UP = 2  # the snapshot of [start, end) is complete; what follows are changes


class Mark(NamedTuple):
    """A mark between the events of a watch with `or_snapshot`, about keys [start, end).

    Of a hashed namespace (`units` says how) these are places, see units.py; `holds` knows both.
    """

    kind: MarkKind
    start: bytes
    end: bytes
    units: Units | None = None

    def holds(self, key: bytes) -> bool:
        """Whether the mark is about a key (of those that the watch is about)."""
        return (key if self.units is None else self.units.placed(key)) in KeyRange(self.start, self.end)
