"""A plan is carried out: notes, order, and what becomes of a fault that breaks."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from holdfast_chaos.availability import faults_of
from holdfast_chaos.cluster.admin import LostPlanError
from holdfast_chaos.cluster.control import NoControlError
from holdfast_chaos.cluster.node_process import NodeEndedError
from holdfast_chaos.nemesis.carrying import PROOFS_MAX, Carrier
from holdfast_chaos.nemesis.stage import Nemesis, ServedDamageError, Stage
from holdfast_chaos.schedule import Planned

from tests.unit.holdfast_chaos.runs import Desk

PLAN = (Planned("kill-one", 0.0, 0.03, 1), Planned("pause-leader", 0.05, 0.08, 2))


async def calm(stage: Stage) -> None:
    stage.proof("it fired")
    await stage.over()


def carried(
    folder: Path, nemeses: dict[str, Nemesis], plan: Sequence[Planned] = PLAN, rest_s: float = 0.0
) -> tuple[Desk, Carrier]:
    desk = Desk(folder)
    cluster: Any = None

    async def act() -> Carrier:
        carrier = Carrier(cluster, desk.recorder, [], nemeses, rest_s)
        await carrier.carry_out(plan)
        return carrier

    return desk, asyncio.run(act())


def test_every_fault_is_noted_from_its_beginning_to_its_healing(tmp_path: Path) -> None:
    """As the judge wants them: with a proof, and whether a majority stayed up."""
    desk, _ = carried(tmp_path, {"kill-one": calm, "pause-leader": calm})
    events = desk.events()
    faults = faults_of(events, 0)

    assert [(fault.name, fault.proofs, fault.is_minority) for fault in faults] == [
        ("kill-one", 1, True),
        ("pause-leader", 1, True),
    ]
    assert faults[0].healed_ns <= faults[1].begin_ns


def test_late_healing_makes_the_others_late(tmp_path: Path) -> None:
    """No more go on at once than were planned to, and never two of one name."""

    async def late(stage: Stage) -> None:
        stage.proof("it fired")
        await asyncio.sleep(0.1)

    async def later(stage: Stage) -> None:
        await late(stage)
        await late(stage)

    plan = (
        Planned("kill-one", 0.0, 0.02, 1),
        Planned("delay", 0.01, 0.05, 2),
        Planned("kill-one", 0.03, 0.06, 3),
        Planned("delay", 0.07, 0.08, 4),
    )
    desk, _ = carried(tmp_path, {"kill-one": later, "delay": late}, plan)
    first, second, third, fourth = faults_of(desk.events(), 0)

    assert second.begin_ns < first.healed_ns <= third.begin_ns
    assert fourth.begin_ns >= max(second.healed_ns, third.healed_ns)


def test_a_fault_is_followed_by_a_rest(tmp_path: Path) -> None:
    """However late it was healed: so that its recovery is seen."""
    desk, _ = carried(tmp_path, {"kill-one": calm, "pause-leader": calm}, rest_s=0.2)
    first, second = faults_of(desk.events(), 0)

    assert second.begin_ns - first.healed_ns >= 200_000_000


def test_two_at_a_time_are_no_minority(tmp_path: Path) -> None:
    """Together they may take a majority, so nothing is promised for the second."""
    plan = (Planned("kill-one", 0.0, 0.1, 1), Planned("pause-leader", 0.02, 0.05, 2))
    desk, _ = carried(tmp_path, {"kill-one": calm, "pause-leader": calm}, plan)

    assert [fault.is_minority for fault in faults_of(desk.events(), 0)] == [True, False]


def test_a_fault_that_breaks_ends_the_plan_and_says_whose_failure_it_is(tmp_path: Path) -> None:
    """What comes after it would be about something else."""
    kinds = []
    for at, problem in enumerate(
        (
            NodeEndedError("gone"),
            ServedDamageError("it served"),
            LostPlanError("no plan 3"),
            ValueError("typo"),
        )
    ):

        async def broken(_: Stage, problem: Exception = problem) -> None:
            raise problem

        (tmp_path / str(at)).mkdir()
        desk, carrier = carried(tmp_path / str(at), {"kill-one": broken, "pause-leader": calm})
        told = [event.value for event in desk.events() if event.f == "fault"]
        kinds += [value["kind"] for value in told if value["phase"] == "error"]
        assert [value["phase"] for value in told] == ["begin", "error", "healed"]
        assert carrier.problems

    assert kinds == ["stuck", "served", "lost", "nemesis"]


def test_a_fault_whose_node_is_down_came_too_late(tmp_path: Path) -> None:
    """Nobody's failure; it shows no proof, and the plan goes on."""

    async def too_late(_: Stage) -> None:
        raise NoControlError

    desk, carrier = carried(tmp_path, {"kill-one": too_late, "pause-leader": calm})

    assert [fault.proofs for fault in faults_of(desk.events(), 0)] == [0, 1]
    assert not carrier.problems


def test_a_loop_does_not_fill_the_record_with_proofs(tmp_path: Path) -> None:
    """Some are enough."""

    async def loop(stage: Stage) -> None:
        for _ in range(100):
            stage.proof("again")

    desk, _ = carried(tmp_path, {"kill-one": loop}, PLAN[:1])

    assert faults_of(desk.events(), 0)[0].proofs == PROOFS_MAX
