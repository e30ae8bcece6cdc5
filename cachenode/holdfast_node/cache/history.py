"""The bounded, ordered change events that a shard keeps for watchers.

An event refers to the records before and after the change: the very objects the buckets hold, shared,
not copied.

Invariants: events are ordered by revision and whole revisions are dropped, oldest first, so a watch that
resumes at `oldest_revision` or later misses nothing and never sees half a revision.
Not here: who watches (watch_hub.py).
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from holdfast.types import EventKind

from holdfast_node.cache.buckets import HEADER, HEADER_BYTES
from holdfast_node.limits import EVENT_OVERHEAD_BYTES, HISTORY_TRIM_MAX

# Plain ints: an enum member's look-up costs on every write.
PUT, DELETED, EXPIRED, EVICTED = map(
    int, (EventKind.PUT, EventKind.DELETED, EventKind.EXPIRED, EventKind.EVICTED)
)
TOUCHED = int(EventKind.TOUCHED)


class CompactedError(LookupError):
    """Events that were asked for are no longer kept; `oldest_revision` is where a watch may start."""

    def __init__(self, oldest_revision: int) -> None:
        super().__init__(f"history begins after revision {oldest_revision}")
        self.oldest_revision = oldest_revision


class Event(NamedTuple):
    """One change of one key. record: as it stands after the change; previous: before it; None: absent."""

    kind: int
    key: bytes
    revision: int
    record: bytes | None
    previous: bytes | None

    @property
    def value(self) -> bytes | None:
        """The value after the change; None when the key went."""
        return None if self.record is None else self.record[HEADER_BYTES:]

    @property
    def previous_value(self) -> bytes | None:
        """The value before the change; None when there was none."""
        return None if self.previous is None else self.previous[HEADER_BYTES:]

    @property
    def deadline_ms(self) -> int:
        """When the key expires after the change; 0: not."""
        if self.record is None:
            return 0
        deadline: int = HEADER.unpack_from(self.record)[2]
        return deadline


# An event as it is kept: the fields of Event in a plain tuple, which the garbage collector stops tracking
# (it never does so for named ones, and there may be a million).
Change = tuple[int, bytes, int, bytes | None, bytes | None]


def counted_bytes(event: Change) -> int:
    """What an event counts for against history_bytes."""
    _, key, _, record, previous = event
    count = EVENT_OVERHEAD_BYTES + len(key)
    if record is not None:
        count += len(record)
    if previous is not None:
        count += len(previous)
    return count


class History:
    """Events after `oldest_revision`."""

    __slots__ = ("byte_count", "events", "oldest_revision")

    def __init__(self) -> None:
        self.events: deque[Change] = deque()
        self.byte_count = 0
        # Everything up to and with it is gone.
        self.oldest_revision = 0

    def __repr__(self) -> str:
        return f"<History events={len(self.events)} bytes={self.byte_count} oldest={self.oldest_revision}>"

    def add(self, event: Change) -> None:
        """Adds the newest event."""
        self.events.append(event)
        # As counted_bytes; written out, as it is on the path of every write.
        _, key, _, record, previous = event
        count = EVENT_OVERHEAD_BYTES + len(key)
        if record is not None:
            count += len(record)
        if previous is not None:
            count += len(previous)
        self.byte_count += count

    def trim(self, events_max: int, bytes_max: int) -> None:
        """Drops whole revisions until the bounds hold, or HISTORY_TRIM_MAX events are gone."""
        events = self.events
        left = HISTORY_TRIM_MAX
        while events and left > 0 and (len(events) > events_max or self.byte_count > bytes_max):
            revision = self.oldest_revision = events[0][2]
            while events and events[0][2] == revision:
                self.byte_count -= counted_bytes(events.popleft())
                left -= 1

    def after(self, revision: int) -> list[Event]:
        """All events of later revisions, in order. Raises CompactedError when some are gone.

        Costs the number of events it returns.
        """
        if revision < self.oldest_revision:
            raise CompactedError(self.oldest_revision)
        found = []
        for event in reversed(self.events):
            if event[2] <= revision:
                break
            found.append(Event(*event))
        found.reverse()
        return found
