"""One watch of a shard: where it stands, what waits for it, and the slices it is handed.

Data for the hub, which alone changes it (watch_hub.py). Pure.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from holdfast.errors import HoldfastError
from holdfast.keys import KeyRange
from holdfast.units import is_among

from holdfast_node import limits
from holdfast_node.cache.history import Event, Rest


class WatchSlice(NamedTuple):
    """What a watcher is handed at once.

    Attributes:
        events: encoded events, whole revisions.
        size_bytes: what it counts for in the watcher's queue; give it back with `Watcher.taken`.
        revision: resume point after this slice; None: a snapshot is under way.
        started: the first slice of this watcher.
        caught_up: the snapshot ends with this slice.
        cancelled: the watch is over; nothing follows.
        group: whose revision the resume point is: the hub's own, or an ancestor's while that one's events
            are replayed.
    """

    events: list[bytes]
    size_bytes: int
    revision: int | None
    started: bool = False
    caught_up: bool = False
    cancelled: HoldfastError | None = None
    group: int = 0


class Source(Protocol):
    """The shard's state, as far as watching needs it."""

    @property
    def revision(self) -> int: ...

    @property
    def oldest_revision(self) -> int: ...

    def events_after(self, revision: int) -> Sequence[Event]:
        """Raises CompactedError."""
        ...

    def resume(self, group: int, revision: int) -> int | Rest:
        """Where a point of the own group or an ancestor goes on, see State.resume. Raises CompactedError."""
        ...

    def page(self, start: bytes, end: bytes, keys_max: int, bytes_max: int) -> tuple[list[Event], bytes]:
        """Keys as SNAPSHOT events, and where to go on; b'': the range is done."""
        ...


class WatchBudget:
    """How many watchers all hubs of a node may have."""

    __slots__ = ("count", "limit")

    def __init__(self, limit: int = limits.WATCHERS_PER_NODE_MAX) -> None:
        self.limit = limit
        self.count = 0


class SnapshotUnderWay:
    """A snapshot on its way: where each page began, and the revision it was read at."""

    __slots__ = ("next", "reading", "revisions", "starts")

    def __init__(self, start: bytes) -> None:
        self.next = start
        self.reading = True
        self.starts: list[bytes] = []
        self.revisions: list[int] = []

    def read(self, start: bytes, revision: int) -> None:
        if not self.revisions or self.revisions[-1] != revision:
            self.starts.append(start)
            self.revisions.append(revision)

    def has_shown(self, event: Event) -> bool:
        """Whether the page of the event's key was read at its revision or later."""
        at = bisect_right(self.starts, event.key) - 1
        return event.revision <= self.revisions[at]


class Hub(Protocol):
    """What a watcher needs of its WatchHub."""

    def resume(self, watcher: Watcher) -> None: ...


class Watcher:
    """One watch. `Hub.subscribe` makes it; its owner reports with `taken` what has been sent."""

    __slots__ = (
        "among", "backlog", "backlog_ends", "closed", "cursor", "deliver", "hub", "keys", "keys_only", "line",
        "live", "or_snapshot", "pending_bytes", "pumping", "snapshot", "started", "then", "with_previous",
    )  # fmt: skip

    def __init__(
        self, hub: Hub, group: int, keys: KeyRange, deliver: Callable[[WatchSlice], None],
        with_previous: bool, keys_only: bool, or_snapshot: bool, among: KeyRange | None = None,
    ) -> None:  # fmt: skip
        self.hub = hub
        self.keys = keys
        self.among = among
        self.deliver = deliver
        self.with_previous = with_previous
        self.keys_only = keys_only
        self.or_snapshot = or_snapshot
        self.line = group  # whose revisions `cursor` counts: the hub's, or those of a line that ended
        self.cursor = 0  # delivered, or of no concern, up to and with this revision
        self.snapshot: SnapshotUnderWay | None = None
        self.backlog: deque[Event] = deque()  # of history, not yet delivered
        self.backlog_ends = 0  # revision up to which `backlog` is complete
        self.then: tuple[int, int] | None = None  # where it goes on when `backlog` ends an ended line
        self.pending_bytes = 0
        self.started = False
        self.live = False
        self.pumping = False
        self.closed = False

    def wants(self, key: bytes) -> bool:
        """Whether a key in `keys` is one of those that it is about."""
        return self.among is None or is_among(key, self.among)

    def taken(self, size_bytes: int) -> None:
        """The receiver is done with that much: a paused replay goes on."""
        self.pending_bytes -= size_bytes
        if not self.live and not self.closed:
            self.hub.resume(self)

    @property
    def has_room(self) -> bool:
        return self.pending_bytes < limits.WATCHER_QUEUE_BYTES_MAX // 2

    @property
    def point(self) -> int | None:
        """Where to resume; None: nowhere yet."""
        return None if self.snapshot is not None else self.cursor

    def __repr__(self) -> str:
        how = "closed" if self.closed else "live" if self.live else "replaying"
        return f"<Watcher {self.keys.start!r}..{self.keys.end!r} {how} at {self.cursor}>"
