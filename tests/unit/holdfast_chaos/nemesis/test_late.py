"""Words that come late: each step waits for the one before, and every wire is mended in the end."""

from __future__ import annotations

import asyncio
import random
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from holdfast_chaos.cluster.admin import CANCELLED, SEAL, Ending, Replica
from holdfast_chaos.cluster.wires import Wires
from holdfast_chaos.nemesis import late, stage
from holdfast_chaos.nemesis.stage import Stage

GROUP, PLACEMENT = 2, 1


class World:
    """Three nodes; node 1 leads the placement group, node 2 the shard. It writes down what happens to it."""

    def __init__(self, *, leader_of_shard: int = 2, grants: bool = True, stands: bool = True) -> None:
        self.happened: list[str] = []
        self.wires = Wires()
        self.nodes = {n: SimpleNamespace(id=n, number=n, is_running=True) for n in (1, 2, 3)}
        self.numbers = (1, 2, 3)
        self.admin = self
        self._leaders = {PLACEMENT: 1, GROUP: leader_of_shard}
        self._grants = grants
        self._term, self._stands = 5, stands

    def only(self, number: int) -> World:
        return self

    async def replicas(self, number: int) -> tuple[Replica, ...]:
        self._term += self._stands
        return (Replica(number, GROUP, False, self._term, 9, 9, 0, "", (1, 2, 3)),)

    def number_of(self, node: int) -> int:
        return node if node in self.nodes else 0

    def _cut(self) -> str:
        return " ".join(f"{wire.source}>{wire.target}" for wire in self.wires if wire.is_cut) or "nothing"

    def _note(self, what: str) -> None:
        self.happened.append(f"{what}, cut: {self._cut()}")
        for wire in self.wires:
            wire.held += wire.is_cut  # something is always being said

    async def placement_group(self) -> Any:
        return SimpleNamespace(group=PLACEMENT, replicas=[SimpleNamespace(node=n) for n in (1, 2, 3)])

    async def shards(self) -> list[Any]:
        return [SimpleNamespace(group=GROUP)]

    async def leaders(self) -> dict[int, int]:
        return dict(self._leaders)

    async def all_replicas(self) -> tuple[Replica, ...]:
        return tuple(Replica(n, GROUP, n == 2, 5, 9, 9, 0, "", (1, 2, 3)) for n in (1, 2, 3))

    async def split(self, group: int) -> int:
        self._note(f"split {group}")
        if not self._grants:
            raise grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata())
        return 7

    async def comes_to(self, plan: int, phases: list[int], within_s: float) -> bool:
        self._note({SEAL: "seal", CANCELLED: "cancelled"}[phases[0]])
        return True

    async def cancel(self, plan: int) -> None:
        self._note("cancel")

    async def transfer(self, number: int, group: int, to_node: int = 0) -> int:
        self._note(f"{group}: {number} to {to_node or 'anybody'}")
        self._leaders[group] = to_node or 3
        return to_node or 3

    async def see_the_end(self, plan: int, within_s: float) -> Ending:
        self._note("end")
        return Ending("cancelled", "")


def carried(act: Any, world: World, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """A nemesis over it, until it has shown something, or for a moment."""
    monkeypatch.setattr(late, "PAUSE_S", 0.0)
    monkeypatch.setattr(stage, "IN_VAIN_S", 0.02)
    for name in ("SAID_S", "STANDS_S", "LEADS_S"):
        monkeypatch.setattr(late, name, (0.0, 0.0))

    async def run() -> Stage:
        cluster: Any = world
        on = Stage(cluster, random.Random(1), [], 0.0, lambda _: None)
        await act(on)
        return on

    return asyncio.run(run())


def test_an_order_waits_until_the_next_leader_has_had_the_plan_refused(monkeypatch):
    """Taken back by the one that gave it, refused by the next one, and only then the wire is mended."""
    world = World()
    shown = carried(late.orders, world, monkeypatch)

    assert world.happened == [
        "split 2, cut: 1>2",
        "seal, cut: 1>2",
        "cancel, cut: 1>2",
        "1: 1 to 3, cut: 1>2",
        "cancelled, cut: 1>2",
        "end, cut: nothing",
    ]
    assert shown.proofs == ["what node 1 said to node 2 came when plan 7 had been cancelled"]


def test_who_leads_everything_has_nobody_to_give_orders_to(monkeypatch):
    """So it hands over first."""
    world = World(leader_of_shard=1)
    carried(late.orders, world, monkeypatch)

    assert world.happened[:2] == ["1: 1 to anybody, cut: nothing", "split 2, cut: 3>1"]


def test_an_order_that_was_not_given_mends_its_wire(monkeypatch):
    """A split that is refused is tried again, and nothing is shown by it."""
    world = World(grants=False)
    shown = carried(late.orders, world, monkeypatch)

    assert world.happened[0] == "split 2, cut: 1>2"
    assert shown.proofs == []
    assert not any(wire.is_cut for wire in world.wires)


def test_a_vote_comes_when_its_candidate_stands_unheard(monkeypatch):
    """It was given two terms before; then nobody but the old vote can make a leader."""
    world = World()
    shown = carried(late.votes, world, monkeypatch)
    candidate, voter = (1, 3) if "2: 2 to 1" in world.happened[0] else (3, 1)
    unheard = " ".join(f"{candidate}>{other}" for other in (1, 2, 3) if other != candidate)

    assert world.happened == [
        f"2: 2 to {candidate}, cut: {voter}>{candidate}",
        f"2: {candidate} to 2, cut: {voter}>{candidate}",
        f"2: 2 to {candidate}, cut: {voter}>{candidate} {unheard}",
    ]
    assert shown.proofs == [f"what node {voter} said to node {candidate} of group 2 came two terms later"]
    assert not any(wire.is_cut for wire in world.wires)


def test_a_vote_for_one_who_does_not_stand_shows_nothing(monkeypatch):
    """Its leader waits for it to catch up, which it cannot say: the next try is another's."""
    world = World(stands=False)

    assert carried(late.votes, world, monkeypatch).proofs == []
