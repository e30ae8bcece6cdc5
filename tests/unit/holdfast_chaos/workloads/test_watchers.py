"""Watchers: what they write down is what their watch showed, group and all."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest
from holdfast.types import WatchPoint
from holdfast_chaos.judging import judgements
from holdfast_chaos.verdict import Verdict
from holdfast_chaos.watch_notes import changes_of, watches_of
from holdfast_chaos.workloads.watchers import Watcher, note_changes

from tests.unit.holdfast_chaos.runs import Desk


def test_a_watch_and_the_changes_agree(tmp_path: Path, monkeypatch) -> None:
    """Watchers that are closed and taken up again miss nothing, and the replay shows every change."""
    monkeypatch.setattr("holdfast_chaos.workloads.watchers.IDLE_S", 0.01)
    desk = Desk(tmp_path, "watch")
    watchers = [Watcher(f"w{n}", desk.client, desk.recorder, random.Random(n)) for n in range(3)]
    for watcher in watchers:
        watcher._chance.uniform = lambda *_: 0.03  # type: ignore[method-assign]

    async def act() -> None:
        beside = [asyncio.ensure_future(watcher.run()) for watcher in watchers]
        process = await desk.process()
        await asyncio.sleep(0.02)
        for _ in range(200):
            await process.ask(desk.generator.next(1, 0))
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.1)
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        assert await note_changes(
            desk.client, (WatchPoint(2, 0, b"w/", b"w0"),), marking(desk), desk.recorder
        )

    asyncio.run(act())
    record = desk.record()
    watch = next(j for j in judgements(record) if j.checker == "watch")

    assert watch.verdict is Verdict.VALID, watch
    assert all(watcher.resumed for watcher in watchers)
    shown = [sum(hasattr(item, "kind") for item in watched.items) for watched in watches_of(record.events)]
    assert min(shown) > 50
    assert len(changes_of(record.events)) >= max(shown) - 20


def test_a_watch_that_does_not_come_to_its_end_is_no_reference(tmp_path: Path, monkeypatch) -> None:
    """Half of the changes would show what watches told of the others as made up."""
    monkeypatch.setattr("holdfast_chaos.workloads.watchers.STANDS_STILL_S", 0.05)
    monkeypatch.setattr("holdfast_chaos.workloads.watchers.IDLE_S", 0.01)
    desk = Desk(tmp_path, "watch")

    async def act() -> None:
        await desk.client.put("w/0.1", "v")
        beginning = (WatchPoint(2, 0, b"w/", b"w0"),)
        assert await note_changes(desk.client, beginning, marking(desk), desk.recorder) == 2
        for more in ({2: 1000}, {3: 0}):
            with pytest.raises(TimeoutError, match=r"since .* and is to pass"):
                await note_changes(desk.client, beginning, marking(desk, more), desk.recorder)

    asyncio.run(act())
    assert len(changes_of(desk.events())) == 2


def test_a_reshape_while_changes_are_read_is_followed(tmp_path: Path, monkeypatch) -> None:
    """A group that is gone is passed by nobody: what stands then is marked."""
    monkeypatch.setattr("holdfast_chaos.workloads.watchers.IDLE_S", 0.01)
    desk = Desk(tmp_path, "watch")
    told = [{2: 0, 9: 3}]

    async def mark() -> dict[int, int]:
        now = await marking(desk)()
        return told.pop() if told else now

    async def act() -> None:
        assert await note_changes(desk.client, (WatchPoint(2, 0, b"w/", b"w0"),), mark, desk.recorder)

    asyncio.run(act())
    assert len(changes_of(desk.events())) == 2
    assert not told


def marking(desk: Desk, more: dict[int, int] | None = None):
    async def mark() -> dict[int, int]:
        return {2: (await desk.client.put("w/\0", "all has been shown")).revision, **(more or {})}

    return mark
