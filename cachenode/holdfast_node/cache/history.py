"""The bounded, ordered change events that a shard keeps for watchers.

An event refers to the records before and after the change: the very objects the buckets hold, shared,
not copied.

A group's own line of revisions may have begun in an ancestor: after a split or move the target goes on with
its source's numbers. A merge ends its sources' lines and begins a new one: the ended ones are kept as
closed lines, each of which leads into a later one, at the revision with which that began.

What a target takes over from a split holds the events of other keys too. They are sifted out by pieces, one
an entry (inherited.py), so that nobody waits for it at the hand-over.

Invariants: events of a line are ordered by revision and whole revisions are dropped, oldest first, so a
watch that resumes at `oldest_revision` or later misses nothing and never sees half a revision. Closed lines
are trimmed before the own one, in their order; `next` of a closed line always names a later one. What is
dropped when depends on the log alone: while pieces are left, by entries, nothing is.
Not here: who watches (watch_hub.py).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from holdfast.keys import KeyRange
from holdfast.types import EventKind
from holdfast.units import EVERYWHERE

from holdfast_node.cache.buckets import HEADER, HEADER_BYTES
from holdfast_node.cache.inherited import Change, Inherited, Piece
from holdfast_node.limits import EVENT_OVERHEAD_BYTES, HISTORY_TRIM_MAX, LINEAGE_GROUPS_MAX, SIFTED_AN_ENTRY

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


def change_of(kind: int, key: bytes, revision: int, record: bytes | None, previous: bytes | None) -> Change:
    """An event as it is kept."""
    count = EVENT_OVERHEAD_BYTES + len(key)
    if record is not None:
        count += len(record)
    if previous is not None:
        count += len(previous)
    return (kind, key, revision, record, previous, count)


def event_of(change: Change) -> Event:
    """An event as watchers get it."""
    kind, key, revision, record, previous, _ = change
    return Event(kind, key, revision, record, previous)


class Rest(NamedTuple):
    """What a watch at a point of a closed line has still to see there.

    Attributes:
        group: the newest of the groups whose revisions these are.
        events: the later ones of the line.
        revision: its last.
        then: the point, (group, revision), at which to go on; its events come after all these.
    """

    group: int
    events: list[Event]
    revision: int
    then: tuple[int, int]


class ClosedLine:
    """Events of a line that ended in a merge, and what they count for; else fields as in snapshot.proto.

    inherited: older ones that are still to be sifted, and do not count yet.
    """

    __slots__ = ("at", "byte_count", "events", "groups", "inherited", "next", "oldest_revision", "revision")

    def __init__(
        self, groups: tuple[int, ...], oldest_revision: int, revision: int, next_line: int, at: int,
        events: Iterable[Change] = (), byte_count: int = 0,
    ) -> None:  # fmt: skip
        self.groups = groups
        self.oldest_revision = oldest_revision
        self.revision = revision
        self.next = next_line
        self.at = at
        self.events = deque(events)
        self.inherited: Inherited | None = None
        self.byte_count = byte_count

    def facts(self) -> tuple[tuple[int, ...], int, int, int, int]:
        """All but its events."""
        return self.groups, self.oldest_revision, self.revision, self.next, self.at


class History:
    """Events after `oldest_revision`, and the closed lines that lead to them.

    inherited: of the own line, as of a closed one.
    """

    __slots__ = (
        "byte_count", "closed", "closed_events", "events", "groups", "inherited", "oldest_revision",
        "sift_entries",
    )  # fmt: skip

    def __init__(self) -> None:
        self.events: deque[Change] = deque()
        self.inherited: Inherited | None = None
        # Until so many entries have passed, nothing is trimmed; each sifts a piece.
        self.sift_entries = 0
        # Of all lines.
        self.byte_count = 0
        # Everything up to and with it is gone.
        self.oldest_revision = 0
        # Ancestors that counted the own line's revisions, in growing order.
        self.groups: tuple[int, ...] = ()
        self.closed: list[ClosedLine] = []
        self.closed_events = 0

    def __repr__(self) -> str:
        return (
            f"<History events={self.event_count} bytes={self.byte_count} oldest={self.oldest_revision} "
            f"closed={len(self.closed)}>"
        )

    @property
    def event_count(self) -> int:
        """Events of all lines, without what is still to be sifted."""
        return len(self.events) + self.closed_events

    def add(self, event: Change) -> None:
        """Adds the newest event."""
        self.events.append(event)
        self.byte_count += event[5]

    def add_closed(self, line: ClosedLine) -> None:
        """Adds a closed line behind those that are there."""
        self.closed.append(line)
        self.closed_events += len(line.events)
        self.byte_count += line.byte_count

    def add_to_closed(self, line: ClosedLine, event: Change) -> None:
        """Adds the newest event of a closed line that is there."""
        line.events.append(event)
        line.byte_count += event[5]
        self.closed_events += 1
        self.byte_count += event[5]

    def sift(self) -> None:
        """An entry's piece of what was taken over."""
        self.sift_entries -= 1
        left = SIFTED_AN_ENTRY
        for line in self._lines():
            if left and line.inherited is not None:
                left = line.inherited.sift(left)
                self._take_in(line)

    def _sift_all(self) -> None:
        """What is still to be sifted, at once. When things are trimmed is not changed by it."""
        for line in self._lines():
            if line.inherited is not None:
                line.inherited.sift(len(line.inherited.rest))
                self._take_in(line)

    def _take_in(self, line: ClosedLine | History) -> None:
        """What a line took over becomes its own, once it is sifted."""
        inherited = line.inherited
        if inherited is None or inherited.rest:
            return
        line.inherited = None
        line.events.extendleft(reversed(inherited.kept))
        self.byte_count += inherited.kept_bytes
        if line is not self:
            line.byte_count += inherited.kept_bytes
            self.closed_events += len(inherited.kept)

    def _lines(self) -> Iterator[ClosedLine | History]:
        yield from self.closed
        yield self

    def pieces(self) -> list[list[Piece]]:
        """The events of all lines as they are now, by line: 0 the own one. Looks at none of them."""
        return [_pieces(self), *map(_pieces, self.closed)]

    def trim(self, events_max: int, bytes_max: int) -> None:
        """Drops whole revisions until the bounds hold, or HISTORY_TRIM_MAX events are gone."""
        left = HISTORY_TRIM_MAX
        for line in self.closed:
            dropped = self._trim(line, left, events_max - len(self.events), bytes_max)
            left -= dropped
        if not self.closed_events:
            self._trim(self, left, events_max, bytes_max)

    def _trim(self, line: ClosedLine | History, left: int, events_max: int, bytes_max: int) -> int:
        """Trims one line. Returns how many events went."""
        events = line.events
        before = len(events)
        others = self.closed_events - before if line is not self else 0
        held = self.byte_count
        while (
            events
            and before - len(events) < left
            and (len(events) + others > events_max or self.byte_count > bytes_max)
        ):
            revision = line.oldest_revision = events[0][2]
            while events and events[0][2] == revision:
                self.byte_count -= events.popleft()[5]
        if line is not self:
            self.closed_events = len(events) + others
            line.byte_count -= held - self.byte_count
        return before - len(events)

    def after(self, revision: int) -> list[Event]:
        """All events of later revisions of the own line, in order. Raises CompactedError when some are gone.

        Costs the number of events it returns.
        """
        if revision < self.oldest_revision:
            raise CompactedError(self.oldest_revision)
        return _after(self, revision)

    def resume(self, group: int, revision: int, own_group: int) -> int | Rest:
        """Where a watch at a point of this group or an ancestor goes on.

        Returns a revision of the own line, or the rest of a closed one. Raises CompactedError when the
        group is not known here, or anything from there to the present is gone.
        """
        if group == own_group or group in self.groups:
            return revision
        line = next((line for line in self.closed if group in line.groups), None)
        if line is None or revision < line.oldest_revision:
            raise CompactedError(self.oldest_revision)
        following, at = line.next, line.at
        while following:
            leads_to = self.closed[following - 1]
            if at < leads_to.oldest_revision:
                raise CompactedError(self.oldest_revision)
            following, at = leads_to.next, leads_to.at
        if at < self.oldest_revision:
            raise CompactedError(self.oldest_revision)
        goes_on = self.closed[line.next - 1].groups[-1] if line.next else own_group
        return Rest(line.groups[-1], _after(line, revision), line.revision, (goes_on, line.at))

    def shed(self, count: int) -> int:
        """Lets go of so many events, when nobody uses these any more; how many were not there to go."""
        for line in self._lines():
            rest = line.inherited.rest if line.inherited is not None else deque[Change]()
            for events in (line.events, rest):
                gone = min(count, len(events))
                for _ in range(gone):
                    events.popleft()
                count -= gone
        return count

    # ---- hand-over ------------------------------------------------------------------------------------

    def cut(self, start: bytes, end: bytes, source: int) -> History:
        """The events of [start, end) for a target that goes on with the revisions of group `source`.

        Those of other keys are sifted out later.
        """
        self._sift_all()
        part = History()
        part.oldest_revision = self.oldest_revision
        part.groups = (*self.groups, source)
        keys = KeyRange(start, end)
        if keys == EVERYWHERE:
            part.events, part.byte_count = self.events.copy(), self._own_bytes()
        else:
            part.inherited = Inherited(self.events.copy(), keys)
        for line in self.closed:
            taken = ClosedLine(*line.facts())
            if keys == EVERYWHERE:
                taken.events, taken.byte_count = line.events.copy(), line.byte_count
            else:
                taken.inherited = Inherited(line.events.copy(), keys)
            part.add_closed(taken)
        part._forget()
        left = sum(len(line.inherited.rest) for line in part._lines() if line.inherited is not None)
        part.sift_entries = -(-left // SIFTED_AN_ENTRY)
        return part

    @staticmethod
    def joined(parts: Sequence[tuple[History, int, int]], revision: int) -> History:
        """A new line that begins at `revision`, for the target of (history, group, last revision) each."""
        for history, _, _ in parts:
            history._sift_all()
        whole = History()
        whole.oldest_revision = revision
        lines = sum(len(history.closed) for history, _, _ in parts)
        for number, (history, _, _) in enumerate(parts, 1):
            base = len(whole.closed)
            for line in history.closed:
                groups, oldest, last, following, at = line.facts()
                leads_to = base + following if following else lines + number
                whole.add_closed(ClosedLine(groups, oldest, last, leads_to, at, line.events, line.byte_count))
        for history, group, last in parts:
            groups, oldest, held = (*history.groups, group), history.oldest_revision, history._own_bytes()
            whole.add_closed(ClosedLine(groups, oldest, last, 0, revision, history.events, held))
        whole._forget()
        return whole

    def _own_bytes(self) -> int:
        """What the own line's events count for."""
        return self.byte_count - sum(line.byte_count for line in self.closed)

    def _forget(self) -> None:
        """Keeps the newest LINEAGE_GROUPS_MAX groups (ids only grow along a key's life), each in one line.

        A group that was split and is now merged again counts two lines, with no telling which one a point
        of it belongs to: it is forgotten.
        """
        known = sorted([*self.groups, *(group for line in self.closed for group in line.groups)])
        twice = {group for group, following in pairwise(known) if group == following}
        keep = [group for group in known if group not in twice][-LINEAGE_GROUPS_MAX:]
        if keep == known:
            return
        self.groups = tuple(group for group in self.groups if group in keep)
        self.byte_count = self._own_bytes()
        lines, self.closed, self.closed_events = self.closed, [], 0
        # A line goes with its last group, or with the line it leads to, which stands behind it.
        kept = [False] * len(lines)
        for at in range(len(lines) - 1, -1, -1):
            line = lines[at]
            line.groups = tuple(group for group in line.groups if group in keep)
            kept[at] = bool(line.groups) and (not line.next or kept[line.next - 1])
        for at, line in enumerate(lines):
            if kept[at]:
                line.next = sum(kept[: line.next])
                self.add_closed(line)


def _newest_first(line: ClosedLine | History) -> Iterator[Change]:
    yield from reversed(line.events)
    if line.inherited is not None:
        yield from reversed(line.inherited)


def _after(line: ClosedLine | History, revision: int) -> list[Event]:
    found = []
    for event in _newest_first(line):
        if event[2] <= revision:
            break
        found.append(event_of(event))
    found.reverse()
    return found


def _pieces(line: ClosedLine | History) -> list[Piece]:
    found = [] if line.inherited is None else line.inherited.pieces()
    return [*found, Piece(list(line.events))]
