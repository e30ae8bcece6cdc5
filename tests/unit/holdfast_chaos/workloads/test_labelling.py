"""An operator who sets labels: what is noted is what may be judged."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from holdfast_chaos import labels
from holdfast_chaos.record import Event
from holdfast_chaos.verdict import Verdict
from holdfast_chaos.workloads import labelling
from holdfast_chaos.workloads.labelling import Labeller

from tests.unit.holdfast_chaos.runs import Desk


class Admin:
    """Keeps labels. told: what becomes of each change, in turn; kept: whether it is done at all."""

    def __init__(self, *told: str) -> None:
        self.known: dict[str, str] = {}
        self._told = list(told)
        self.all_told = asyncio.Event()

    async def label(self, number: int, node: int, name: str, value: str, within_s: float) -> None:
        if not self._told:
            self.all_told.set()
            await asyncio.Event().wait()  # nobody answers any more
        told = self._told.pop(0)
        if told != "lost":
            self.known[name] = value
        if told == "unknown":
            raise TimeoutError

    async def labels(self, number: int, node: int, within_s: float) -> dict[str, str]:
        return dict(self.known)


def noted(folder: Path, admin: Admin, monkeypatch: Any) -> tuple[Event, ...]:
    """The notes of an operator who is ended with a change under way, and reads once more."""
    monkeypatch.setattr(labelling, "EVERY_S", 0.0)
    desk = Desk(folder)
    nodes = {n: SimpleNamespace(number=n, is_running=n == 1) for n in (1, 2)}
    cluster: Any = SimpleNamespace(nodes=nodes, admin=admin, number_of=lambda node: node)
    operator = Labeller(cluster, desk.recorder, 1, random.Random(1))

    async def run() -> None:
        working = asyncio.ensure_future(operator.run())
        await admin.all_told.wait()
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        await operator.read_finally()

    asyncio.run(run())
    return tuple(desk.events())


def test_each_change_and_each_read_is_noted(tmp_path, monkeypatch):
    """One that was not answered is unknown, also the one that the run's end interrupts."""
    events = noted(tmp_path, Admin("done", "unknown"), monkeypatch)

    assert [event.value.get("told", "read") for event in events] == [
        "ok", "read", "info", "read", "info", "read",
    ]  # fmt: skip
    assert labels.check(events).verdict is Verdict.VALID


def test_what_was_acknowledged_and_lost_is_found(tmp_path, monkeypatch):
    """The judge and the operator agree on what they say."""
    told = labels.check(noted(tmp_path, Admin("done", "lost"), monkeypatch))

    assert told.verdict is Verdict.INVALID
