"""Carries a plan out: each fault at its time, with its notes in the record, and healed in the end.

A fault's notes are those of `availability.py`: its beginning, every proof, and that it is healed, under one
id. One that breaks (the cluster does not come back) is noted with its error and ends the run's plan, since
what follows would be about something else; what is under way is healed first. One that finds its node down
has come too late: another fault took it, and that this one shows no proof says so.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from holdfast_chaos.cluster.admin import LostPlanError
from holdfast_chaos.cluster.cluster import Cluster
from holdfast_chaos.cluster.control import NoControlError
from holdfast_chaos.cluster.node_process import NodeEndedError
from holdfast_chaos.nemesis.stage import Crashing, Nemesis, ServedDamageError, Stage
from holdfast_chaos.schedule import KINDS, Planned
from holdfast_chaos.workloads.recorder import Recorder

PROOFS_MAX: Final = 20
"""Noted of one fault; a loop proves itself every time."""


class Carrier:
    """See the module docstring."""

    def __init__(
        self,
        cluster: Cluster,
        recorder: Recorder,
        clients: list[Crashing],
        nemeses: Mapping[str, Nemesis],
        rest_s: float = 0.0,
    ) -> None:
        """nemeses: by name; rest_s: without a fault at least, after one that came alone."""
        self._cluster = cluster
        self._recorder = recorder
        self._clients = clients
        self._nemeses = nemeses
        self._rest_s = rest_s
        self._under_way = 0
        self.problems: list[str] = []

    async def carry_out(self, plan: Sequence[Planned]) -> None:
        """The whole plan."""
        under_way: dict[asyncio.Task[None], str] = {}
        async with asyncio.TaskGroup() as group:
            for number, fault in enumerate(plan, 1):
                await asyncio.sleep(max(0.0, fault.begin_s - self._recorder.now_s))
                # A fault may take longer to heal than was planned: then the others come later too.
                beside = sum(earlier.end_s > fault.begin_s for earlier in plan[: number - 1])
                while len(under_way) > beside or fault.name in under_way.values():
                    done, _ = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                    for task in done:
                        del under_way[task]
                if number > 1 and not beside:
                    await asyncio.sleep(self._rest_s)  # else nobody sees whether the cluster recovers
                if self.problems:
                    break
                under_way[group.create_task(self._carry(number, fault))] = fault.name

    async def _carry(self, number: int, fault: Planned) -> None:
        said = 0

        def note(phase: str, **facts: Any) -> None:
            self._recorder.note("fault", {"id": number, "name": fault.name, "phase": phase, **facts})

        def proof(text: str) -> None:
            nonlocal said
            said += 1
            if said <= PROOFS_MAX:
                note("proof", text=text)

        # Two at a time may take a majority together.
        self._under_way += 1
        note("begin", minority=KINDS[fault.name].is_minority and self._under_way == 1)
        chance = random.Random(fault.seed)
        seconds = fault.end_s - fault.begin_s
        stage = Stage(self._cluster, chance, self._clients, seconds, proof, self._recorder.note)
        try:
            with suppress(NoControlError):
                await self._nemeses[fault.name](stage)
        except Exception as problem:  # noqa: BLE001 - noted, and the run is not valid
            self.problems.append(f"{fault.name}: {problem}")
            note("error", kind=_kind(problem), text=f"{type(problem).__name__}: {problem}")
        finally:
            self._under_way -= 1
            note("healed")


def _kind(problem: Exception) -> str:
    """Whose failure it is, in the words of `course.py`."""
    if isinstance(problem, ServedDamageError):
        return "served"
    if isinstance(problem, LostPlanError):
        return "lost"
    return "stuck" if isinstance(problem, NodeEndedError | TimeoutError) else "nemesis"
