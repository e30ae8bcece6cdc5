"""Logs that are let go: proved by snapshots that somebody took, and by nothing else."""

from __future__ import annotations

import asyncio
import random
from types import SimpleNamespace
from typing import Any

from holdfast_chaos.cluster.admin import Replica
from holdfast_chaos.nemesis import ballast
from holdfast_chaos.nemesis.compaction import WRITES_MAX, compaction
from holdfast_chaos.nemesis.stage import Stage


def compacted(monkeypatch: Any, *, every: int) -> tuple[Stage, int]:
    """A cluster of one replica that takes a snapshot after so many writes; how many there were."""
    writes = 0

    async def write(_: Any) -> None:
        nonlocal writes
        writes += 1

    async def replicas() -> tuple[Any, ...]:
        return (Replica(1, 2, True, 1, 0, 0, 100 + 7 * (writes // every), ""),)

    async def act() -> Stage:
        cluster: Any = SimpleNamespace(admin=SimpleNamespace(all_replicas=replicas))
        stage = Stage(cluster, random.Random(1), [], 0.0, lambda _: None)
        await compaction(stage)
        return stage

    monkeypatch.setattr(ballast, "write", write)
    return asyncio.run(act()), writes


def test_it_is_written_until_a_replica_has_taken_a_snapshot(monkeypatch):
    """One that was there before proves nothing."""
    stage, writes = compacted(monkeypatch, every=5)

    assert stage.proofs == ["snapshots: group 2 of node 1 at 107"]
    assert writes == 5


def test_what_takes_none_proves_nothing(monkeypatch):
    """And is not written to for ever."""
    stage, writes = compacted(monkeypatch, every=10_000)

    assert stage.proofs == []
    assert writes == WRITES_MAX
