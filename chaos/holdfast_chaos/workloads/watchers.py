"""Watches of a run, what they show, and the changes they are judged by.

Each watcher follows a range, now and then closes its watch and takes it up again at its points; some begin
with a snapshot. An event does not say which group it comes from; the watch's points do, once the revision it
belongs to has been shown whole, so events are written down then.

What they are judged by: after healing, one watch from the very beginning of every shard, whose history a
replica still holds. It shows every change there was, or it fails with COMPACTED and there is no verdict.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import holdfast
from holdfast import Event, EventKind, Mark, MarkKind, WatchPoint

from holdfast_chaos.workloads.recorder import Recorder

PREFIX: Final = "w/"
IDLE_S: Final = 0.3
STANDS_STILL_S: Final = 30.0
"""A watch of a healed cluster that says nothing for so long has ended without a word."""
MARKED_AGAIN_MAX: Final = 100
"""Each lets the watch move, so it must not go on for ever where the groups never agree."""
AGAIN_S: Final = 0.2


class Watcher:
    """One of them."""

    def __init__(self, name: str, client: holdfast.Client, recorder: Recorder, chance: random.Random) -> None:
        self.name = name
        self.resumed = 0
        self._client = client
        self._recorder = recorder
        self._chance = chance
        self._pending: list[Event] = []
        self._marked: dict[tuple[bytes, bytes], tuple[int, int]] = {}

    async def run(self) -> None:
        """Watches until it is cancelled; ends when its history is gone."""
        end = PREFIX[:-1] + chr(ord(PREFIX[-1]) + 1)
        self._note("watch-open", start=PREFIX, end=end)
        points: Sequence[WatchPoint] = ()
        first, or_snapshot = True, self._chance.random() < 0.3
        while True:
            watch = self._client.watch(prefix=PREFIX, from_=points, or_snapshot=first and or_snapshot)
            if not first:
                self.resumed += 1
                self._note("watch-resume", points=[_as_json(point) for point in points])
            async with watch:
                await self._follow(watch, self._chance.uniform(1.0, 8.0))
                points = watch.points
            self._pending.clear()
            # Before it has points there is nowhere to go on, and a new beginning would be a gap.
            first = first and not points
            if first:
                await asyncio.sleep(AGAIN_S)

    async def _follow(self, watch: holdfast.Watch, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while loop.time() < end or not watch.points:
            try:
                async with asyncio.timeout(IDLE_S):
                    item = await anext(watch)
            except TimeoutError:
                self._mark(watch)
                continue
            self._take(watch, item)

    def _take(self, watch: holdfast.Watch, item: Event | Mark) -> None:
        if isinstance(item, Mark):
            if item.kind is MarkKind.CAUGHT_UP:
                self._flush(watch)
                points = [_as_json(p) for p in watch.points if (p.start, p.end) == (item.start, item.end)]
                self._note("watch-caught-up", points=points)
            return
        if item.kind is EventKind.SNAPSHOT:
            self._write(item, 0)
            return
        self._pending.append(item)
        self._flush(watch)

    def _flush(self, watch: holdfast.Watch) -> None:
        """Writes what belongs to revisions that were shown whole."""
        left: list[Event] = []
        for event in self._pending:
            point = next((p for p in watch.points if _covers(p, event.key)), None)
            if point is None or point.revision < event.revision or left:
                left.append(event)
            else:
                self._write(event, point.group)
        self._pending = left

    def _mark(self, watch: holdfast.Watch) -> None:
        """What a watch that waits claims to have shown."""
        self._flush(watch)
        for point in watch.points if not self._pending else ():
            name, place = (point.start, point.end), (point.group, point.revision)
            if self._marked.get(name) != place:
                self._marked[name] = place
                told = {"watch": self.name, "start": point.start.decode(), "end": point.end.decode()}
                self._recorder.note("watch-mark", told, group=point.group, revision=point.revision)

    def _write(self, event: Event, group: int) -> None:
        self._recorder.note(
            "watch-event",
            {"watch": self.name, **_kind_and_value(event)},
            key=event.key.decode(),
            group=group,
            revision=event.revision,
        )

    def _note(self, f: str, **value: object) -> None:
        self._recorder.note(f, {"watch": self.name, **value})


Marked = Callable[[], Awaitable[Mapping[int, int]]]
"""Writes a key into every shard of the watched range; the revisions that these took, by group."""


async def note_changes(
    client: holdfast.Client, beginning: Sequence[WatchPoint], marked: Marked, recorder: Recorder
) -> int:
    """Every change of the watched range since `beginning`; how many.

    It is whole once the watch has passed, in every shard, a write that came after all others. Where shards
    are reshaped meanwhile new ones are written. Raises HoldfastError, TimeoutError: the watch stands still.
    """
    found: list[tuple[Event, int]] = []
    pending: list[Event] = []
    loop = asyncio.get_running_loop()
    until, points, moved_at = await marked(), beginning, loop.time()
    again = MARKED_AGAIN_MAX
    async with client.watch(prefix=PREFIX, from_=beginning) as watch:
        while pending or not _passed(watch.points, until):
            try:
                async with asyncio.timeout(IDLE_S):
                    pending.append(_event(await anext(watch)))
            except TimeoutError:
                if loop.time() - moved_at > STANDS_STILL_S:
                    told = f"stands at {watch.points} since {STANDS_STILL_S:g} s and is to pass {dict(until)}"
                    raise TimeoutError(f"the watch of all changes {told}") from None
                if again and {point.group for point in watch.points} != set(until):
                    again -= 1
                    until = await marked()
            if watch.points != points:
                moved_at, points = loop.time(), watch.points
            point = next((p for p in points if pending and _covers(p, pending[-1].key)), None)
            if point is not None and point.revision >= pending[-1].revision:
                found += [(event, point.group) for event in pending]
                pending.clear()
    for event, group in found:
        recorder.note(
            "change", _kind_and_value(event), key=event.key.decode(), group=group, revision=event.revision
        )
    return len(found)


def _passed(points: Sequence[WatchPoint], until: Mapping[int, int]) -> bool:
    """Whether a watch has shown these groups up to these revisions, and is in no others."""
    is_there = {point.group for point in points} == set(until)
    return is_there and all(point.revision >= until[point.group] for point in points)


def _event(item: Event | Mark) -> Event:
    assert isinstance(item, Event), "a watch without a snapshot shows events"
    return item


def _kind_and_value(event: Event) -> dict[str, str | None]:
    return {"kind": event.kind.name, "value": None if event.value is None else event.value.decode()}


def _covers(point: WatchPoint, key: bytes) -> bool:
    return key >= point.start and (not point.end or key < point.end)


def _as_json(point: WatchPoint) -> list[object]:
    return [point.group, point.revision, point.start.decode(), point.end.decode()]
