"""Following the changes of a range: one watch for the caller, one part per shard under it.

Invariants: per shard the caller sees every change once and in order, whatever happens to nodes and
streams. A part resumes at the last point that reached it, drops what is not beyond that point, and
`points` only covers what the caller has really iterated over. A snapshot that breaks off begins again
with a mark, because keys may have gone in between.

Shards split and merge under a watch. A part whose shard was cut becomes several that resume at its point; a
merge leaves several parts on one shard. Points order by (group, revision), because group ids only grow along
a key's life, so a point stays good when its group is gone: the cluster knows what became of it.

A caller that is slow makes its parts pause: above `BUFFER_EVENTS_MAX` the subscription is given up and
taken up again from its point when half has been read. Only a snapshot is buffered whole, since it cannot
be resumed in the middle.

What parts and points call keys are places where the namespace is hashed (units.py): a watch of keys that
are spread over all places has a part in every shard.

`Watch` is what the caller holds; `node_watches.py` feeds it.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Final, Protocol, Self

from holdfast import forks
from holdfast.errors import HoldfastError
from holdfast.keys import KeyRange
from holdfast.types import Event, EventKind, Mark, MarkKind, WatchPoint
from holdfast.units import ORDERED

BUFFER_EVENTS_MAX: Final = 8192


class WatchDriver(Protocol):
    """What feeds watches: `NodeWatches`, or the fake of `testing.py`."""

    def start(self, watch: Watch) -> None:
        """Begins to feed it."""

    def resume(self, watch: Watch, part: WatchPart) -> None:
        """The caller has made room again."""

    def stop(self, watch: Watch) -> None:
        """Feeds it no more."""

    def close(self) -> None:
        """Ends every watch."""


class WatchPart:
    """The piece of a watch that lies in one shard."""

    __slots__ = (
        "attempts",
        "buffered",
        "group",
        "in_snapshot",
        "keys",
        "node",
        "paused",
        "pieces",
        "point",
        "seen",
        "tried",
        "watch",
    )

    def __init__(self, watch: Watch, keys: KeyRange, point: WatchPoint | None) -> None:
        self.watch = watch
        self.keys = keys
        self.point = self.seen = None if point is None else self.here(point)
        # point: received up to here; seen: iterated over up to here.
        self.pieces: list[WatchPart] = []  # it was cut into these
        self.group = 0  # subscribed to last
        self.in_snapshot = False
        self.buffered = 0
        self.paused = False
        self.attempts = 0
        self.tried = 0
        self.node = 0

    def here(self, point: WatchPoint) -> WatchPoint:
        """The point, said of the keys of this part."""
        return WatchPoint(point.group, point.revision, *self.keys)

    def cut(self, keys: KeyRange) -> WatchPart:
        """A part for some of the keys, that goes on where this one has come to."""
        piece = WatchPart(self.watch, keys, self.point)
        piece.seen = None if self.seen is None else piece.here(self.seen)
        self.pieces.append(piece)
        return piece

    def has_seen(self, point: WatchPoint) -> None:
        """The caller has iterated this far. What waits of a part comes before what its pieces bring."""
        self.seen = self.here(point)
        for piece in self.pieces:
            piece.has_seen(point)

    def __repr__(self) -> str:
        return f"<WatchPart {self.keys}, at {self.point}, {self.buffered} buffered>"


class Watch:
    """An async iterator over events (and marks, with `or_snapshot`). Make one with `Client.watch`."""

    def __init__(
        self,
        driver: WatchDriver,
        namespace: str,
        keys: KeyRange,
        points: Sequence[WatchPoint] = (),
        *,
        or_snapshot: bool = False,
        with_previous: bool = False,
        keys_only: bool = False,
    ) -> None:
        self.namespace = namespace
        self.keys = keys
        self.units = ORDERED  # where they stand, as the map said when it began
        self.or_snapshot = or_snapshot
        self.with_previous = with_previous
        self.keys_only = keys_only
        self.parts: list[WatchPart] = []
        self._driver = driver
        self._given = tuple(points)
        # What the caller may iterate over: the item, its part, the point once it has been seen.
        self._items: deque[tuple[Event | Mark | None, WatchPart, WatchPoint | None]] = deque()
        self._arrived: asyncio.Future[None] | None = None
        self._failure: HoldfastError | None = None
        self._closed = False
        self._birth = forks.Birth()
        driver.start(self)

    @property
    def points(self) -> tuple[WatchPoint, ...]:
        """Where to resume (`from_`): everything iterated over so far has been seen."""
        return tuple(part.seen for part in self.parts if part.seen is not None)

    def given(self, keys: KeyRange, group: int) -> list[tuple[KeyRange, WatchPoint | None]]:
        """Where to begin with keys that lie in the shard of `group`: one piece for each place.

        After a merge the caller holds several points for one shard, each for its own keys.
        """
        bounds = {bound for point in self._given for bound in (point.start, point.end)}
        cuts = sorted(bound for bound in bounds if bound > keys.start and bound in keys)
        pieces: list[tuple[KeyRange, WatchPoint | None]] = []
        for start, end in itertools.pairwise((keys.start, *cuts, keys.end)):
            piece, point = KeyRange(start, end), self.given_point(KeyRange(start, end), group)
            if pieces and _place(pieces[-1][1]) == _place(point):
                piece = KeyRange(pieces.pop()[0].start, end)
            pieces.append((piece, point))
        return pieces

    def given_point(self, keys: KeyRange, group: int) -> WatchPoint | None:
        """The caller's latest point for these keys, whatever group it names.

        A point that does not say its keys counts for its own group, else for a later one. A point of the
        group for other keys is better than none: the earliest of them.
        """
        bare = [p for p in self._given if not p.start and not p.end]
        covering = [p for p in self._given if p not in bare and KeyRange(p.start, p.end).covers(keys)]
        covering += [p for p in bare if p.group == group]
        same = [p for p in self._given if p.group == group]
        return max(covering or bare, key=_place, default=None) or min(same, key=_place, default=None)

    def shown(self, event: Event) -> Event:
        """The event without what the caller did not ask for."""
        value = None if self.keys_only else event.value
        return event._replace(value=value, previous=event.previous if self.with_previous else None)

    # ---- fed by the driver ----

    def feed(
        self,
        part: WatchPart,
        events: Iterable[Event],
        point: WatchPoint | None,
        *,
        caught_up: bool = False,
    ) -> None:
        """Takes one response: whole revisions of the point's group, and the point behind them."""
        events = list(events)
        if point is not None and part.point is not None and _place(point) < _place(part.point):
            events = [event for event in events if event.kind is EventKind.SNAPSHOT]
            point = point if caught_up else None  # else known, and seen already
        news = [event for event in events if event.kind is not EventKind.SNAPSHOT]
        snapshot = [event for event in events if event.kind is EventKind.SNAPSHOT]
        if (snapshot or caught_up) and not part.in_snapshot:
            part.in_snapshot = True
            self._mark(part, MarkKind.SNAPSHOT_BEGINS, None)
        for event in snapshot:
            self._items.append((event, part, None))
        if point is not None:
            point = part.here(point)
        if caught_up:
            part.in_snapshot = False
            base = None if news else point
            self._mark(part, MarkKind.CAUGHT_UP, base)
            part.point = part.point if base is None else base
        news = [event for event in news if _is_new(event, part.point, point)]
        self._append(part, news, point)
        part.buffered += len(snapshot) + len(news)
        if point is not None and not part.in_snapshot:
            part.point = point
        self._notify()

    def _append(self, part: WatchPart, news: list[Event], point: WatchPoint | None) -> None:
        """Changes in order; with the last event of a revision, that revision has been seen."""
        for at, event in enumerate(news):
            last = at + 1 == len(news) or news[at + 1].revision != event.revision
            seen = None
            if last and point is not None:
                seen = point._replace(revision=event.revision) if at + 1 < len(news) else point
            self._items.append((event, part, seen))
        if not news and point is not None and not part.in_snapshot:
            if self._items and self._items[-1][0] is None and self._items[-1][1] is part:
                self._items.pop()  # progress marks do not pile up behind a caller that waits
            self._items.append((None, part, point))

    def _mark(self, part: WatchPart, kind: MarkKind, point: WatchPoint | None) -> None:
        units = self.units if self.units.hashed else None
        self._items.append((Mark(kind, *part.keys, units) if self.or_snapshot else None, part, point))

    def is_full(self, part: WatchPart) -> bool:
        """Whether the part must pause."""
        return part.buffered > BUFFER_EVENTS_MAX and not part.in_snapshot

    def fail(self, failure: HoldfastError) -> None:
        """Ends the watch; raised once what was received has been iterated over."""
        if self._failure is None:
            self._failure = failure
            self._driver.stop(self)
            self._notify()

    def _notify(self) -> None:
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)

    # ---- the caller's side ----

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event | Mark:
        self._birth.check()
        while True:
            while self._items:
                item, part, seen = self._items.popleft()
                self._has_seen(part, item, seen)
                if item is not None:
                    return item
            if self._closed:
                raise StopAsyncIteration
            if self._failure is not None:
                raise self._failure
            self._arrived = asyncio.get_running_loop().create_future()
            await self._arrived

    def _has_seen(self, part: WatchPart, item: Event | Mark | None, seen: WatchPoint | None) -> None:
        if seen is not None:
            part.has_seen(seen)
        if isinstance(item, Event):
            part.buffered -= 1
            if part.paused and part.buffered <= BUFFER_EVENTS_MAX // 2:
                part.paused = False
                self._driver.resume(self, part)

    async def aclose(self) -> None:
        """Ends the watch; `points` stays readable."""
        if not self._closed and not self._birth.is_inherited:
            self._closed = True
            self._driver.stop(self)
            self._items.clear()
            self._notify()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return self._closed or self._failure is not None

    def __repr__(self) -> str:
        return f"<Watch {self.namespace} {self.keys}, {len(self._items)} waiting, {self.parts}>"


def _is_new(event: Event, at: WatchPoint | None, now: WatchPoint | None) -> bool:
    """Not behind the point already received. Revisions of two groups are not compared: the later is new."""
    return at is None or now is None or at.group != now.group or event.revision > at.revision


def _place(point: WatchPoint | None) -> tuple[int, int]:
    """What points of one key are ordered by."""
    return (0, 0) if point is None else (point.group, point.revision)
