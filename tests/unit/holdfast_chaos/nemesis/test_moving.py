"""Moves during which somebody goes: what happens in which order."""

from __future__ import annotations

import asyncio
import random
import signal
from types import SimpleNamespace
from typing import Any

import pytest
from holdfast_chaos.cluster.admin import Ending
from holdfast_chaos.cluster.wires import Wires
from holdfast_chaos.nemesis import moving, placing
from holdfast_chaos.nemesis.stage import Stage

GROUP, NEXT = 2, 9


class Node:
    """A process that ends and starts."""

    def __init__(self, number: int, happened: list[str]) -> None:
        self.number = self.id = number
        self.is_running, self.is_paused, self.status = True, False, None
        self._happened = happened

    def kill(self) -> bool:
        self._happened.append(f"kill {self.number}")
        self.is_running, self.status = False, -signal.SIGKILL
        return True

    def start(self) -> None:
        self._happened.append(f"start {self.number}")
        self.is_running = True

    async def ready(self) -> None:
        """At once."""


class World:
    """Nodes 1 to 3 have a shard and the placement group, node 4 is free."""

    def __init__(self) -> None:
        self.happened: list[str] = []
        self.nodes = {n: Node(n, self.happened) for n in (1, 2, 3, 4)}
        self.numbers = tuple(self.nodes)
        self.wires = Wires()
        self.admin = self

    def number_of(self, node: int) -> int:
        return node

    def only(self, number: int) -> World:
        assert number == 1, "who conducts"
        return self

    def _held(self) -> Any:
        return SimpleNamespace(group=GROUP, replicas=[SimpleNamespace(node=n) for n in (1, 2, 3)])

    async def shards(self) -> list[Any]:
        return [self._held()]

    async def placement_group(self) -> Any:
        return self._held()

    async def move(self, group: int, source: int, target: int) -> Any:
        self.happened.append(f"move {group}")
        assert (source in (1, 2, 3), target) == (True, 4)
        return SimpleNamespace(id=7, targets=[SimpleNamespace(group=NEXT)])

    async def comes_to(self, plan: int, phases: list[int], within_s: float) -> bool:
        late = {wire.target for wire in self.wires if wire.delay_s}
        self.happened.append(f"waits, {late} hears late")
        return True

    async def leaders(self) -> dict[int, int]:
        return {GROUP: 1}

    async def transfer(self, number: int, group: int, to_node: int = 0) -> int:
        self.happened.append(f"{group} handed over")
        return 2

    async def cut_off(self, act: Any, monkeypatch: pytest.MonkeyPatch) -> Stage:
        """A fault of one move, in which something is being said all the time."""
        monkeypatch.setattr(moving, "ASKED_S", 0.0)
        monkeypatch.setattr(moving, "ALONE_S", (0.0, 0.0))
        cut = self.wires.cut

        def cut_and_told(pairs: set[tuple[int, int]]) -> None:
            cut(pairs)
            for pair in pairs:
                self.wires(*pair).held += 1
            apart = {frozenset(pair) for pair in pairs}
            self.happened.append(" ".join(sorted("".join(map(str, sorted(pair))) for pair in apart)))

        monkeypatch.setattr(self.wires, "cut", cut_and_told)
        cluster: Any = self
        stage = Stage(cluster, random.Random(1), [], 0.0, lambda _: None)
        await act(stage)
        return stage

    async def see_led(self, group: int, plan: int, within_s: float) -> None:
        self.happened.append(f"{group} is led")

    async def see_the_end(self, plan: int, within_s: float) -> Ending:
        self.happened.append("end")
        return Ending("done", "")


def happened(monkeypatch: pytest.MonkeyPatch, seed: int) -> list[str]:
    """What a fault of one move does."""
    world = World()
    monkeypatch.setattr(moving, "DOWN_S", (0.001, 0.001))
    monkeypatch.setattr(moving, "AFTER_S", 0.0)
    monkeypatch.setattr(placing, "PAUSE_S", 0.002)

    async def run() -> None:
        cluster: Any = world
        await moving.kill_receiver(Stage(cluster, random.Random(seed), [], 0.0, lambda _: None))

    asyncio.run(run())
    assert not any(wire.delay_s for wire in world.wires)
    return world.happened


def test_the_receiver_ends_while_it_hears_late_and_is_back_before_the_end(monkeypatch):
    """And what is moved goes on meanwhile, sealed or not. Sometimes another node ends with it, which is back
    only when the target is led, by the one that came back.
    """
    courses = [happened(monkeypatch, seed) for seed in range(1, 12)]
    alone = [
        "move 2", "waits, {4} hears late", "kill 4", "2 handed over", "start 4", "9 is led", "end",
    ]  # fmt: skip

    assert alone in courses
    with_another = [course for course in courses if course != alone]
    assert with_another
    for course in with_another:
        (other,) = {word for word in course if word.startswith("kill")} - {"kill 4"}
        assert course == [
            *alone[:3], other, *alone[3:6], other.replace("kill", "start"), "end",
        ]  # fmt: skip


def test_the_sender_is_left_alone_with_the_receiver_and_the_move_must_end(monkeypatch):
    """Node 1 leads what moves to node 4: both hear each other, and nobody else, until all is mended."""
    world = World()
    stage = asyncio.run(world.cut_off(moving.isolate_sender, monkeypatch))

    assert world.happened == ["move 2", "12 13 24 34", "end"]
    assert stage.proofs == ["nodes [1, 4] were alone in plan 7: done"]
    assert not any(wire.is_cut for wire in world.wires)
