"""Moves during which somebody goes: who receives a replica ends, or who leads is cut off with it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from holdfast_chaos.cluster.admin import PREPARE, RETIRE, SEAL, Refused
from holdfast_chaos.cluster.wires import between
from holdfast_chaos.nemesis import placing
from holdfast_chaos.nemesis.killing import brought_back, killed
from holdfast_chaos.nemesis.stage import Stage

MOMENTS: Final = (PREPARE, SEAL, RETIRE)
"""Of a move, one after the other: it copies; it ends what is moved; the new one serves, and what was moved is
still there."""
MOMENT_WITHIN_S: Final = 15.0
AFTER_S: Final = 0.05
LATE_S: Final = (0.0, 0.3)
DOWN_S: Final = (0.3, 2.0)
ASKED_S: Final = 0.2
ALONE_S: Final = (2.5, 5.0)
"""A copy waits a second for each of the others before it asks who leads."""


async def kill_receiver(stage: Stage) -> None:
    """Kill -9 of the node that a replica moves to, at any moment of the move, again and again.

    It hears late, so that it ends before it has heard of what the others go by. While it is down, whoever
    leads what is moved hands over: a sealed log goes on too. Half of the time another node of the target
    ends with it, and stays down until the target is led: that takes the one that came back.
    """
    admin = stage.cluster.admin
    while stage.goes_on:
        placement = await admin.placement_group()
        conducting = stage.cluster.number_of((await admin.leaders()).get(placement.group, 0))
        # Asked of whoever knows: an answer on its way through others would come too late.
        knowing = admin.only(conducting) if conducting else admin
        try:
            moved = await placing.move(stage, stage.chance.choice([placement, *await admin.shards()]))
        except Refused:
            await asyncio.sleep(placing.PAUSE_S)
            continue
        numbers = [stage.cluster.number_of(node) for node in moved.target]
        receiver, *others = (stage.cluster.nodes[number] for number in numbers if number)
        other = stage.chance.sample(others, stage.chance.choice((0, 1)))
        since = MOMENTS[stage.chance.randrange(len(MOMENTS)) :]
        async with brought_back(other):
            async with brought_back([receiver]):
                with _hears_late(stage, receiver.number):
                    if await knowing.comes_to(moved.plan, since, MOMENT_WITHIN_S):
                        await asyncio.sleep(stage.chance.uniform(0, stage.chance.choice((0.0, AFTER_S))))
                        killed(stage, [receiver, *other])
                if not receiver.is_running:
                    await _passed_round(stage, moved.group, stage.chance.uniform(*DOWN_S))
            await admin.see_led(moved.goes_on_as, moved.plan, placing.PLAN_WITHIN_S)
        await admin.see_the_end(moved.plan, placing.PLAN_WITHIN_S)


@contextmanager
def _hears_late(stage: Stage, number: int) -> Iterator[None]:
    wires = [stage.cluster.wires(other, number) for other in stage.cluster.numbers if other != number]
    late_s = stage.chance.uniform(*LATE_S)
    for wire in wires:
        wire.change(delay_s=late_s)
    try:
        yield
    finally:
        for wire in wires:
            wire.change(delay_s=0.0)


async def _passed_round(stage: Stage, group: int, seconds: float) -> None:
    """So long a group's leaders hand over, one after the other."""
    end = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < end:
        leaders = await stage.cluster.admin.leaders()
        await placing.handed_over(stage, group, leaders.get(group, 0))
        await asyncio.sleep(placing.PAUSE_S)


async def isolate_sender(stage: Stage) -> None:
    """Who leads a shard is left alone with the node that the shard moves to, again and again.

    What it takes from clients then is never committed, and it is the only one to copy from.
    """
    admin, wires = stage.cluster.admin, stage.cluster.wires
    while stage.goes_on:
        leaders = await admin.leaders()
        led = [shard for shard in await admin.shards() if shard.group in leaders]
        try:
            moved = await placing.move(stage, stage.chance.choice(led)) if led else None
        except Refused:
            moved = None
        if moved is None:
            await asyncio.sleep(placing.PAUSE_S)
            continue
        together = {stage.cluster.number_of(node) for node in (leaders[moved.group], moved.target[0])}
        pairs = between(together, set(stage.cluster.numbers) - together)
        before = wires.held
        await asyncio.sleep(stage.chance.uniform(0, ASKED_S))
        wires.cut(pairs)
        try:
            await asyncio.sleep(stage.chance.uniform(*ALONE_S))
        finally:
            wires.mend(pairs)
        ended = await admin.see_the_end(moved.plan, placing.PLAN_WITHIN_S)
        if wires.held > before:
            stage.proof(f"nodes {sorted(together)} were alone in plan {moved.plan}: {ended.phase}")
