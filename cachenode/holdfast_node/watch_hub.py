"""The watchers of one shard: replay, then live, each change encoded once.

A watcher replays history from its point in slices, as fast as its receiver takes them, and goes live in
the same synchronous call that found nothing left to replay: no event falls between. A live watcher is
handed the events of every entry at once.

Invariants:
- A watcher sees revisions in growing order, each complete in one slice, none twice, none left out.
- `revision` of a slice is its resume point: everything up to it has been delivered. It is None while a
  snapshot is being delivered, because nothing can be resumed from its middle.
- What waits for a receiver is bounded: a replay pauses, a live watcher is cancelled BUSY with its point.

A snapshot is read page by page at whatever revision the shard has then. Until the tail has passed the
last page's revision, an event is left out when its key's page has shown it already; at `caught_up` what
was delivered is exactly the state at that slice's revision.

A point may be of a group that this one came from. Its revisions are the own line's, or those of a line
that ended in a merge: then what is left of that line is replayed first, with resume points of its group.

Does not know protobuf: `encode` is handed in by the node (rpc/convert.py). Does not check that a range
lies in the shard (routing.py).
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence

from holdfast.errors import HoldfastError, Reason, error
from holdfast.keys import KeyRange
from holdfast.units import HASH_BYTES

from holdfast_node import limits
from holdfast_node.cache.history import CompactedError, Event
from holdfast_node.watch_index import WatchIndex
from holdfast_node.watcher import SnapshotUnderWay, Source, WatchBudget, Watcher, WatchSlice

__all__ = [
    "MARK_EVERY", "MARK_TICK", "Encode", "Source", "WatchBudget", "WatchHub", "WatchSlice", "Watcher",
]  # fmt: skip

logger = logging.getLogger(__name__)

# Aim of one slice: a message of this size leaves the loop free again within a ms or two.
SLICE_BYTES = 256 * limits.KIB
# Keys of one page of a snapshot.
PAGE_KEYS = 1000
# Events of history a replaying watcher holds on to at once.
REPLAY_EVENTS = 16 * 1024
# A revision may hold a thousand changes, and previous values are a courtesy: past this they are left out,
# so that a message stays within what gRPC carries.
PREVIOUS_BYTES_MAX = 2 * limits.MIB
# Slices of all replaying watchers in one turn.
SLICES_A_TURN = 32
# What an event counts for beside its bytes, so that many small ones fill a queue too.
EVENT_OVERHEAD = 64
MARK_EVERY = 5.0
MARK_TICK = 0.25
MARKS_A_TICK = 5000
RETRY_AFTER_MS = 1000

assert MARKS_A_TICK * MARK_EVERY / MARK_TICK >= limits.WATCHERS_PER_NODE_MAX, "every watcher gets its marks"

Encode = Callable[[Event, bool, bool], bytes]
"""(event, with_previous, keys_only) -> the bytes of a holdfast.v1.Event."""


class WatchHub:
    """See the module docstring. The shard calls `publish` after each entry and `turn` once a turn."""

    def __init__(
        self,
        group: int,
        source: Source,
        encode: Encode,
        *,
        watched: Callable[[bool], None],
        wake: Callable[[], None],
        budget: WatchBudget | None = None,
    ) -> None:
        """watched: told when the first live watcher comes and the last one goes. wake: asks for a turn."""
        self._group = group
        self._source = source
        self._encode = encode
        self._watched = watched
        self._wake = wake
        self._budget = budget or WatchBudget()
        # Live watchers: of places, and (hashed namespaces) of keys that stand among others, by those.
        self._index: WatchIndex[Watcher] = WatchIndex()
        self._among: WatchIndex[Watcher] = WatchIndex()
        self._all: dict[Watcher, None] = {}
        self._pump: deque[Watcher] = deque()
        self._marks: deque[tuple[float, Watcher]] = deque()
        self._closed: HoldfastError | None = None

    def __len__(self) -> int:
        return len(self._all)

    # ---- what the watch service calls ------------------------------------------------------------

    def subscribe(
        self,
        keys: KeyRange,
        deliver: Callable[[WatchSlice], None],
        *,
        point: tuple[int, int] | None,
        among: KeyRange | None = None,
        or_snapshot: bool = False,
        with_previous: bool = False,
        keys_only: bool = False,
        now: float = 0.0,
    ) -> Watcher:
        """Begins a watch; its first slice comes in the next turn.

        Args:
            keys: inside the shard.
            deliver: called with every slice, on the loop thread; must only queue it.
            point: (group, revision) to go on from; None: from now, or a snapshot first if `or_snapshot`.
            among: as in Op: which keys of `keys` are meant, in a hashed namespace.
            or_snapshot: when the point is no longer kept, begin with the present keys.
            with_previous: as in WatchStart.
            keys_only: as in WatchStart.
            now: monotonic seconds, for progress marks.

        Raises:
            HoldfastError: refused; nothing was begun.
        """
        self._refuse(point)
        watcher = Watcher(self, self._group, keys, deliver, with_previous, keys_only, or_snapshot, among)
        if point is None and not or_snapshot:
            watcher.cursor = self._source.revision
        elif point is None or not self._place(watcher, point):
            if not or_snapshot:
                raise self._compacted()
            watcher.snapshot = SnapshotUnderWay(keys.start)
        self._budget.count += 1
        self._all[watcher] = None
        self._marks.append((now + MARK_EVERY, watcher))
        self.resume(watcher)
        return watcher

    def cancel(self, watcher: Watcher) -> None:
        """Ends a watch without another word. Idempotent."""
        if watcher.closed:
            return
        watcher.closed = True
        watcher.backlog.clear()
        self._budget.count -= 1
        del self._all[watcher]
        self._go_off(watcher)

    def _place(self, watcher: Watcher, point: tuple[int, int]) -> bool:
        """Puts a watcher at a point; False: what came after it is gone, or nobody knows its group."""
        try:
            found = self._source.resume(*point)
        except CompactedError:
            return False
        if isinstance(found, int):
            watcher.line, watcher.cursor = self._group, found
        else:
            watcher.line, watcher.cursor = found.group, point[1]
        return True

    def _refuse(self, point: tuple[int, int] | None) -> None:
        if self._closed is not None:
            raise self._closed
        if self._budget.count >= self._budget.limit:
            message = f"this node has {self._budget.limit} watchers, its limit; try another replica"
            raise error(Reason.BUSY, message, retry_after_ms=RETRY_AFTER_MS)
        if point is not None and point[0] > self._group:
            raise error(Reason.WRONG_SHARD, f"the keys have moved on to group {point[0]}")

    # ---- what the shard calls ------------------------------------------------------------

    def publish(self, events: Sequence[Event]) -> None:
        """The events of one entry, all revisions complete."""
        if not (self._index or self._among):
            return
        found: dict[Watcher, list[Event]] = {}
        for event in events:
            for watcher in self._watching(event.key):
                if event.revision > watcher.cursor:
                    found.setdefault(watcher, []).append(event)
        encoded: dict[tuple[int, bool, bool], bytes] = {}
        revision = self._source.revision
        for watcher, matching in found.items():
            if not watcher.closed:
                self._send_live(watcher, matching, revision, encoded)

    def _watching(self, place: bytes) -> list[Watcher]:
        matching = self._index.match(place)
        if self._among:
            matching += [w for w in self._among.match(place[HASH_BYTES:]) if place in w.keys]
        return matching

    def turn(self) -> None:
        """Delivers a bounded number of slices of replays; asks for another turn when there are more."""
        for _ in range(min(len(self._pump), SLICES_A_TURN)):
            watcher = self._pump.popleft()
            watcher.pumping = False
            if not watcher.closed:
                self._advance(watcher)
        if self._pump:
            self._wake()

    def tick(self, now: float) -> None:
        """Tells idle watchers how far they have seen; call every MARK_TICK seconds."""
        revision = self._source.revision
        for _ in range(MARKS_A_TICK):
            if not self._marks or self._marks[0][0] > now:
                return
            _, watcher = self._marks.popleft()
            if watcher.closed:
                continue
            self._marks.append((now + MARK_EVERY, watcher))
            if watcher.live and not watcher.pending_bytes and watcher.cursor < revision:
                watcher.cursor = revision
                self._deliver(watcher, [], revision)

    def reinstalled(self) -> None:
        """The state was replaced by a snapshot: live watchers go on from its history."""
        for watcher in list(self._all):
            if watcher.live:
                self._go_off(watcher)
                self.resume(watcher)

    def seal(self, why: HoldfastError) -> None:
        """Ends all watches with their resume points; until `unseal` none is taken.

        Call when all events of the state are published: a live watcher has seen everything up to there.
        """
        self._closed = why
        for watcher in list(self._all):
            if watcher.live:
                watcher.cursor = max(watcher.cursor, self._source.revision)
            self._end(watcher, why)

    def unseal(self) -> None:
        """Takes watches again."""
        self._closed = None

    def close(self, why: HoldfastError) -> None:
        """Cancels all watches; none is taken any more."""
        self.seal(why)

    def resume(self, watcher: Watcher) -> None:
        """Puts a replaying watcher in line, if its receiver has room."""
        if not watcher.pumping and watcher.has_room:
            watcher.pumping = True
            self._pump.append(watcher)
            self._wake()

    # ---- replay ------------------------------------------------------------

    def _advance(self, watcher: Watcher) -> None:
        """One slice of a replay or snapshot, or the step to live."""
        if watcher.snapshot is not None and watcher.snapshot.reading:
            self._advance_snapshot(watcher, watcher.snapshot)
        elif watcher.backlog or self._fetch(watcher):
            self._send_backlog(watcher)
        if not watcher.live and not watcher.closed:
            self.resume(watcher)

    def _fetch(self, watcher: Watcher) -> bool:
        """Takes the next piece of history; False: nothing to send, or the watch is live or over now."""
        watcher.then = None
        try:
            if watcher.line == self._group:
                events: Sequence[Event] = self._source.events_after(watcher.cursor)
                # History holds no events of revisions that changed nothing: its end is the state's revision.
                last = self._source.revision
            else:
                rest = self._source.resume(watcher.line, watcher.cursor)
                assert not isinstance(rest, int), "a line that has ended stays so"
                events, last, watcher.then = rest.events, rest.revision, rest.then
        except CompactedError:
            self._lost_its_place(watcher)
            return False
        if not events and watcher.snapshot is None and watcher.then is None:
            self._go_live(watcher)
            return False
        ends = min(REPLAY_EVENTS, len(events))
        while 0 < ends < len(events) and events[ends].revision == events[ends - 1].revision:
            ends += 1
        if ends < len(events):
            last, watcher.then = events[ends - 1].revision, None
        watcher.backlog_ends = last
        keys, wants, shown = watcher.keys, watcher.wants, watcher.snapshot
        watcher.backlog = deque(
            event for event in events[:ends]
            if event.key in keys and wants(event.key) and (shown is None or not shown.has_shown(event))
        )  # fmt: skip
        if not watcher.backlog:
            self._reach(watcher, last)
        return bool(watcher.backlog)

    def _send_backlog(self, watcher: Watcher) -> None:
        backlog = watcher.backlog
        events: list[bytes] = []
        size = 0
        while backlog and size < SLICE_BYTES:
            revision = backlog[0].revision
            while backlog and backlog[0].revision == revision:
                with_previous = watcher.with_previous and size < PREVIOUS_BYTES_MAX
                data = self._encode(backlog.popleft(), with_previous, watcher.keys_only)
                events.append(data)
                size += len(data) + EVENT_OVERHEAD
        self._reach(watcher, revision if backlog else watcher.backlog_ends, events, size)

    def _reach(
        self, watcher: Watcher, revision: int, events: list[bytes] | None = None, size: int = 0
    ) -> None:
        """Everything up to `revision` goes out with these events."""
        watcher.cursor = revision
        shown = watcher.snapshot
        caught_up = shown is not None and revision >= shown.revisions[-1]
        if caught_up:
            watcher.snapshot = None
        if events or caught_up:
            point = watcher.point
            self._deliver(watcher, events or [], point, size, caught_up=caught_up)
        if watcher.then is not None and not watcher.backlog:
            (watcher.line, watcher.cursor), watcher.then = watcher.then, None

    def _advance_snapshot(self, watcher: Watcher, snapshot: SnapshotUnderWay) -> None:
        start, revision = snapshot.next, self._source.revision
        page, snapshot.next = self._source.page(start, watcher.keys.end, PAGE_KEYS, SLICE_BYTES)
        snapshot.read(start, revision)
        events = [self._encode(event, False, watcher.keys_only) for event in page if watcher.wants(event.key)]
        size = sum(map(len, events)) + EVENT_OVERHEAD * len(events)
        if snapshot.next:
            if events or not watcher.started:  # of a page of others' keys there is nothing to say
                self._deliver(watcher, events, None, size)
            return
        snapshot.reading = False
        watcher.cursor = snapshot.revisions[0]
        if len(snapshot.revisions) == 1:  # nothing changed meanwhile: this is the state as it stands
            self._reach(watcher, revision, events, size)
        elif events:
            self._deliver(watcher, events, None, size)

    def _lost_its_place(self, watcher: Watcher) -> None:
        if watcher.or_snapshot and not watcher.started:
            watcher.snapshot = SnapshotUnderWay(watcher.keys.start)
            watcher.line = self._group
            self._advance_snapshot(watcher, watcher.snapshot)
        else:
            self._end(watcher, self._compacted())

    def _compacted(self) -> HoldfastError:
        oldest = self._source.oldest_revision
        message = f"events up to revision {oldest} are no longer kept; begin with a snapshot (or_snapshot)"
        return error(Reason.COMPACTED, message, oldest_revision=oldest)

    # ---- live ------------------------------------------------------------

    def _go_live(self, watcher: Watcher) -> None:
        assert watcher.snapshot is None, "a snapshot ends before its tail is live"
        watcher.live = True
        if not (self._index or self._among):
            self._watched(True)
        if watcher.among is None:
            self._index.add(watcher.keys, watcher)
        else:
            self._among.add(watcher.among, watcher)
        if not watcher.started:
            self._deliver(watcher, [], watcher.cursor)

    def _go_off(self, watcher: Watcher) -> None:
        if watcher.live:
            watcher.live = False
            if watcher.among is None:
                self._index.remove(watcher.keys, watcher)
            else:
                self._among.remove(watcher.among, watcher)
            if not (self._index or self._among):
                self._watched(False)

    def _send_live(
        self,
        watcher: Watcher,
        matching: list[Event],
        revision: int,
        encoded: dict[tuple[int, bool, bool], bytes],
    ) -> None:
        events: list[bytes] = []
        size, last = 0, watcher.cursor
        for event in matching:
            if size >= SLICE_BYTES and event.revision > last:
                if not self._deliver_live(watcher, events, last, size):
                    return
                events, size = [], 0
            with_previous = watcher.with_previous and size < PREVIOUS_BYTES_MAX
            key = (id(event), with_previous, watcher.keys_only)
            data = encoded.get(key)
            if data is None:
                data = encoded[key] = self._encode(event, with_previous, watcher.keys_only)
            events.append(data)
            size += len(data) + EVENT_OVERHEAD
            last = event.revision
        self._deliver_live(watcher, events, revision, size)

    def _deliver_live(self, watcher: Watcher, events: list[bytes], revision: int, size: int) -> bool:
        """False: the watch is over."""
        if watcher.pending_bytes and watcher.pending_bytes + size > limits.WATCHER_QUEUE_BYTES_MAX:
            message = f"{watcher.pending_bytes} bytes wait for this watcher, which takes them too slowly"
            self._end(watcher, error(Reason.BUSY, message, retry_after_ms=RETRY_AFTER_MS))
            return False
        watcher.cursor = revision
        self._deliver(watcher, events, revision, size)
        return not watcher.closed

    def _deliver(
        self,
        watcher: Watcher,
        events: list[bytes],
        revision: int | None,
        size: int = 0,
        *,
        caught_up: bool = False,
    ) -> None:
        started = not watcher.started
        watcher.started = True
        size += EVENT_OVERHEAD
        watcher.pending_bytes += size
        self._hand(watcher, WatchSlice(events, size, revision, started, caught_up, None, watcher.line))

    def _end(self, watcher: Watcher, why: HoldfastError) -> None:
        point, started = watcher.point, not watcher.started
        self.cancel(watcher)
        self._hand(watcher, WatchSlice([], 0, point, started, cancelled=why, group=watcher.line))

    def _hand(self, watcher: Watcher, piece: WatchSlice) -> None:
        try:
            watcher.deliver(piece)
        except Exception:
            # A receiver's defect is its own; the entry's other watchers must still be told.
            logger.exception("a watcher's receiver failed; the watch is over")
            self.cancel(watcher)
