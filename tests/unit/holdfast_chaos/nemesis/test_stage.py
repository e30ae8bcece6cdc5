"""Faults on a stage without a cluster behind it: they prove themselves only by what really happened."""

from __future__ import annotations

import asyncio
import random
from types import SimpleNamespace
from typing import Any

from holdfast_chaos.cluster.wires import Wires, between
from holdfast_chaos.nemesis import clients, partitions
from holdfast_chaos.nemesis.stage import Stage


def staged(act: Any, *, nodes: int = 3, seconds: float = 0.02, members: list[Any] | None = None) -> Stage:
    """Carries out `act` on a stage; the stage, afterwards."""

    async def run() -> Stage:
        processes = {
            n: SimpleNamespace(number=n, is_running=True, is_paused=n == 2) for n in range(1, nodes + 1)
        }
        cluster: Any = SimpleNamespace(wires=Wires(), nodes=processes, numbers=tuple(processes))
        stage = Stage(cluster, random.Random(1), members or [], seconds, lambda _: None)
        await act(stage)
        return stage

    return asyncio.run(run())


def test_a_cut_on_which_nothing_was_sent_proves_nothing():
    """And it is healed all the same."""
    stage = staged(lambda stage: partitions.cut(stage, between({1}, {2, 3})))

    assert stage.proofs == []
    assert not any(wire.is_cut for wire in stage.cluster.wires)


def test_a_cut_is_proved_by_bytes_that_had_to_wait():
    """Only by those of its own time."""

    async def act(stage: Stage) -> None:
        wire = stage.cluster.wires(1, 2)
        wire.held = 5
        asyncio.get_running_loop().call_later(0.005, setattr, wire, "held", 12)
        await partitions.cut(stage, {(1, 2)})

    assert staged(act).proofs == ["7 bytes had to wait, on 1>2"]


def test_a_cut_is_healed_when_the_run_is_ended():
    """Cancelled or not."""

    async def act(stage: Stage) -> None:
        task = asyncio.ensure_future(partitions.cut(stage, {(1, 2)}))
        await asyncio.sleep(0)
        assert stage.cluster.wires(1, 2).is_cut
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    assert not any(wire.is_cut for wire in staged(act, seconds=5.0).cluster.wires)


def test_only_healthy_nodes_are_chosen():
    """What is down or paused is another fault's."""

    async def act(stage: Stage) -> None:
        assert stage.healthy() == [1, 3]
        assert set(stage.some(3)) == {1, 3}
        assert stage.majority == 2

    staged(act)


def test_a_third_of_the_clients_crash():
    """And it is said how many were in the middle of something."""
    crashed: list[int] = []

    class Client:
        async def crash(self) -> bool:
            crashed.append(1)
            return len(crashed) == 1

    stage = staged(clients.crash, members=[Client() for _ in range(9)])

    assert len(crashed) == 3
    assert stage.proofs == ["3 clients ended, 1 in the middle of an operation"]


def test_a_fault_that_has_not_fired_gets_more_time(monkeypatch):
    """A run without it would say nothing; but not for ever."""

    async def act(stage: Stage) -> None:
        assert stage.goes_on
        assert stage.left_s == 0.0
        monkeypatch.setattr("holdfast_chaos.nemesis.stage.IN_VAIN_S", -1.0)
        assert not stage.goes_on
        monkeypatch.undo()
        stage.proof("it fired")
        assert not stage.goes_on

    staged(act, seconds=0.0)
