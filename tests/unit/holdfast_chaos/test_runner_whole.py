"""A whole run over fakes: the parts fit, and the record is one that judges accept."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import pytest
from holdfast.testing import FakeClient
from holdfast_chaos import runner
from holdfast_chaos.cluster.admin import Replica
from holdfast_chaos.cluster.wires import Wires
from holdfast_chaos.nemesis.stage import Stage
from holdfast_chaos.verdict import Verdict
from holdfast_chaos.workloads import crowd


class Node:
    """A process that is always there."""

    def __init__(self, number: int, folder: Path) -> None:
        self.number = self.id = number
        self.is_running, self.is_paused = True, False
        log = folder / f"log-{number}"
        log.write_text("node.ready\n")
        self.place = SimpleNamespace(
            log=log, disk=folder / "disk", data=folder / "data", stored=folder / "data"
        )


class Admin:
    """Replicas that agree."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {}

    async def all_replicas(self, timeout_s: float = 0.0) -> tuple[Replica, ...]:
        return tuple(Replica(node, 2, node == 1, 1, 7, 7, 0, "d") for node in (1, 2, 3))

    async def shards(self) -> list[Any]:
        return [SimpleNamespace(group=2, start=b"", end=b"", replicas=())]

    async def open_plans(self) -> list[str]:
        return []

    async def leftovers(self) -> list[str]:
        return []

    async def label(self, number: int, node: int, name: str, value: str, within_s: float) -> None:
        self.known[name] = value

    async def labels(self, number: int, node: int, within_s: float) -> dict[str, str]:
        return dict(self.known)

    async def pause_planner(self) -> None:
        """There is none."""


class Cluster:
    """Stands in for the real one."""

    def __init__(self, home: Path, **_: Any) -> None:
        home.mkdir()
        self.home = home
        self.frozen: list[int] = []
        self.nodes = {n: Node(n, home) for n in (1, 2, 3)}
        self.numbers = tuple(self.nodes)
        self.wires = Wires()
        self.admin = Admin()
        self.endpoints = "nowhere"

    def number_of(self, node: int) -> int:
        return node

    async def start(self, *, init: bool = False) -> None:
        """It runs."""

    async def all_ready(self, within_s: float = 0.0) -> None:
        """It is."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing was started."""


@pytest.fixture
def fakes(monkeypatch) -> None:
    client = FakeClient()

    async def connect(*_: object, **__: object) -> FakeClient:
        return client

    async def close() -> None:
        """Shared by all."""

    async def calm(stage: Stage) -> None:
        stage.proof("it fired")
        await stage.over()

    async def nothing(_: Path) -> bytes:
        return b""

    async def well(*words: str) -> tuple[int, bytes]:
        assert words[:2] == ("cluster", "check")
        return 0, b"[]"

    client.aclose = close  # type: ignore[method-assign]
    monkeypatch.setattr(runner, "Cluster", Cluster)
    monkeypatch.setattr(runner.holdfast, "connect", connect)
    monkeypatch.setattr(crowd.Crowd.__init__, "__kwdefaults__", {"connect": connect})
    monkeypatch.setattr(runner, "NEMESES", {"kill-one": calm})
    monkeypatch.setattr(runner, "QUIET_S", 0.2)
    monkeypatch.setattr(runner, "WATCHERS", 2)
    monkeypatch.setattr("holdfast_chaos.cluster.wal_dump.dumped", nothing)
    monkeypatch.setattr("holdfast_chaos.workloads.observing.cli", well)


@pytest.mark.parametrize("workload", ["register", "watch"])
def test_a_run_goes_from_an_empty_folder_to_a_verdict(tmp_path: Path, fakes: None, workload: str) -> None:
    """Faults are carried out while clients ask, and everything that was promised is left in the folder."""
    wish = runner.Wish(workload, ("kill-one",), seconds=2.5, rate=200.0, rate_min=20.0, interval=0.5, seed=3)
    said: list[str] = []
    outcome = runner.judged(asyncio.run(runner.run(wish, tmp_path / "run", said.append)))

    assert outcome.verdict is Verdict.VALID, outcome.judgements
    assert {judgement.checker for judgement in outcome.judgements} >= {"availability", "course", "replicas"}
    assert outcome.record.header.nemeses == ("kill-one",)
    assert (tmp_path / "run" / "node-2.log").read_text() == "node.ready\n"
    assert said[0].startswith("3 nodes are ready")


def test_a_folder_that_exists_is_left_alone(tmp_path: Path, fakes: None) -> None:
    """Two runs must not mix."""
    with pytest.raises(FileExistsError):
        asyncio.run(runner.run(runner.Wish(), tmp_path))
