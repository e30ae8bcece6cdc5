"""Whole workloads through the SDK, over its fake: what is written down fits what judges."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from holdfast.errors import Reason
from holdfast.types import Outcome
from holdfast_chaos.generator import GENERATORS
from holdfast_chaos.judging import judgements
from holdfast_chaos.operation import pair
from holdfast_chaos.record import Type
from holdfast_chaos.verdict import Verdict, overall

from tests.unit.holdfast_chaos.runs import Desk

# Its watchers: test_watchers.py. The fake's time stands still, so no key of it expires.
WORKLOADS = sorted(set(GENERATORS) - {"watch", "ttl"})


def run(desk: Desk, looks: int = 150) -> None:
    async def act() -> None:
        crowd = desk.crowd()
        await crowd.open()
        left = itertools.count(looks, -1)
        await crowd.run(lambda: next(left) <= 0)
        await crowd.read_finally()

    asyncio.run(act())


@pytest.mark.parametrize("workload", WORKLOADS)
def test_a_faultless_cluster_is_judged_valid(tmp_path: Path, workload: str) -> None:
    """Every operation of every workload is asked, answered, written down and understood."""
    desk = Desk(tmp_path, workload)
    run(desk, 400)
    told = judgements(desk.record())

    assert overall(told) is Verdict.VALID, told


@pytest.mark.parametrize("happened", [False, True])
def test_writes_of_unknown_outcome_are_judged_as_such(tmp_path: Path, happened: bool) -> None:
    """Whether or not they took effect, they are open; and the run is still valid."""
    desk = Desk(tmp_path)
    for _ in range(5):
        desk.client.fail_next("put", Outcome.UNKNOWN, happened=happened)
    run(desk, 400)
    record = desk.record()
    told = judgements(record)

    assert sum(operation.outcome.value == "info" for operation in pair(record.events)) == 5
    assert overall(told) is Verdict.VALID, told


def test_final_reads_are_asked_until_they_are_answered(tmp_path: Path) -> None:
    """A cluster that has just healed may refuse at first."""
    desk = Desk(tmp_path)
    run(desk, 50)
    for _ in range(3):
        desk.client.fail_next("get", Reason.NO_QUORUM)

    async def act() -> None:
        crowd = desk.crowd()
        await crowd.open()
        await crowd.read_finally()

    before = desk.recorder.counts.copy()
    asyncio.run(act())

    assert desk.recorder.counts - before
    final = pair(desk.record().events)[-1]
    assert final.is_ok


def test_a_part_that_does_not_answer_stalls_its_own_hands_only(tmp_path: Path) -> None:
    """What a client asks of the other parts goes on."""
    desk = Desk(tmp_path, "set")
    stuck = asyncio.Event()
    answer = desk.client.get

    async def get(key: str, **how: Any) -> Any:
        if key.startswith("set/0"):
            await stuck.wait()
        return await answer(key, **how)

    def is_over() -> bool:
        if desk.recorder.counts[Type.OK] >= 200:
            stuck.set()
        return stuck.is_set()

    async def act() -> None:
        desk.client.get = get  # type: ignore[method-assign, assignment]
        crowd = desk.crowd()
        await crowd.open()
        await crowd.run(is_over)

    asyncio.run(act())
    parts = Counter((e.key or "")[:5] for e in desk.events() if e.type is Type.INVOKE)

    assert 0 < parts["set/0"] < 10
    assert min(parts["set/1"], parts["set/2"]) > 50
