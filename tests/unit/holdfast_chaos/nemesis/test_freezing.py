"""All stand still at one moment."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from holdfast_chaos.cluster.admin import Replica
from holdfast_chaos.cluster.layout import FROZEN, WAL
from holdfast_chaos.nemesis.freezing import freeze
from holdfast_chaos.nemesis.stage import Stage


class Node:
    """One whose WAL grows as long as it runs."""

    def __init__(self, home: Path, number: int, *, is_paused: bool = False) -> None:
        self.number = number
        self.id = 10 + number
        self.is_running = True
        self.is_paused = is_paused
        self.done: list[str] = []
        folder = home / f"node-{number}"
        (folder / WAL).mkdir(parents=True)
        (folder / WAL / "1").write_text("a record")
        self.place: Any = SimpleNamespace(stored=folder)

    def pause(self) -> None:
        self.done.append("pause")

    def resume(self) -> None:
        self.done.append("resume")


def frozen(home: Path, nodes: list[Node], terms: list[int], seconds: float) -> tuple[Stage, list[Any]]:
    """A fault during which node 1 leads these terms of group 7, one after the other; what was noted."""
    noted: list[Any] = []

    async def replicas(number: int, timeout_s: float) -> tuple[Replica, ...]:
        assert timeout_s < 1
        term = terms.pop(0) if len(terms) > 1 and number == 1 else terms[0]
        return (Replica(number, 7, False, term, 4 + number, 0, 0, "", (11, 12), number == 1),)

    cluster: Any = SimpleNamespace(
        home=home,
        frozen=[],
        nodes={node.number: node for node in nodes},
        numbers=tuple(node.number for node in nodes),
        admin=SimpleNamespace(replicas=replicas),
    )

    async def act() -> Stage:
        stage = Stage(
            cluster, random.Random(1), [], seconds, lambda _: None, lambda f, value: noted.append((f, value))
        )
        await freeze(stage)
        return stage

    return asyncio.run(act()), noted


def test_when_somebody_was_elected_all_stand_still_and_are_copied(tmp_path: Path) -> None:
    """What the new leader had said, what the one who knows most had, and the WALs of that moment."""
    nodes = [Node(tmp_path, 1), Node(tmp_path, 2, is_paused=True)]
    stage, noted = frozen(tmp_path, nodes, [3, 3, 4], seconds=1.0)

    assert len(stage.proofs) == 2  # then, and at the end
    assert noted[0] == (
        "frozen",
        {"number": 0, "groups": {"7": {"members": [11, 12], "term": 4, "commit": 6}}},
    )
    assert [(tmp_path / FROZEN / "0" / str(node.id) / WAL / "1").read_text() for node in nodes] == 2 * [
        "a record"
    ]
    assert nodes[0].done[:2] == ["pause", "resume"]
    assert nodes[1].done == []  # another fault's


def test_without_an_election_they_stand_still_at_the_end(tmp_path: Path) -> None:
    """A fault that has shown nothing would be void."""
    stage, noted = frozen(tmp_path, [Node(tmp_path, 1)], [3], seconds=0.1)

    assert [f for f, _ in noted] == ["frozen"]
    assert stage.proofs == ["1 nodes stood still"]


def test_a_wal_that_changes_meanwhile_is_copied_again(tmp_path: Path) -> None:
    """A node that another fault starts may take segments away; half a copy would look like lost entries."""
    node = Node(tmp_path, 1)
    stored = node.place.stored
    missing = iter([tmp_path / "gone"])

    class Place:
        @property
        def stored(self) -> Path:
            return next(missing, stored)

    node.place = Place()
    stage, noted = frozen(tmp_path, [node], [3], seconds=0.0)

    assert [value["number"] for _, value in noted] == [0]
    assert [path.name for path in (tmp_path / FROZEN / "0").iterdir()] == ["11"]
    assert node.done == ["pause", "resume"] * 2
    assert stage.proofs
