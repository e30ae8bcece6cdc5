"""The cluster's own acts as faults: leaderships handed over in a loop, shards split, merged and moved (the
placement group too), plans taken back, nodes drained.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

from holdfast_chaos.cluster.admin import Refused
from holdfast_chaos.nemesis.stage import Stage

PAUSE_S: Final = 0.1
PLAN_WITHIN_S: Final = 60.0
DRAIN_WITHIN_S: Final = 60.0
IN_VAIN_S: Final = 30.0
"""A nemesis whose plans have all come to nothing goes on so long after its time."""
TAKEN_BACK: Final = 0.2
"""The share of plans that are taken back after they were asked for."""
TAKEN_BACK_S: Final = (0.0, 0.0, 0.1, 2.0)
"""At once, which a split or merge just allows; within a move; within the time of what holds one up."""


async def transfer_leader(stage: Stage) -> None:
    """Hands over a group's leadership, to whoever, again and again."""
    while stage.left_s > 0:
        leaders = await stage.cluster.admin.leaders()
        group, leading = stage.chance.choice(sorted(leaders.items())) if leaders else (0, 0)
        number = stage.cluster.number_of(leading)
        if number:
            try:
                answer = await stage.cluster.admin.transfer(number, group)
            except Refused:
                pass  # it no longer leads, or nobody is caught up: the next attempt is another's
            else:
                stage.proof(f"group {group} went from node {leading} to node {answer}")
        await asyncio.sleep(min(PAUSE_S, stage.left_s))


async def reshape(stage: Stage) -> None:
    """Splits and merges, and moves when a node is free, some of which are taken back."""
    await _again(stage, _wish)


async def take_back(stage: Stage) -> None:
    """The same, each of which is taken back, at any moment of it."""
    await _again(stage, _wish, share=1.0, proof="cancelled")


async def move_placement(stage: Stage) -> None:
    """Moves the placement group to a node that is free, again and again."""

    async def wish() -> tuple[str, int]:
        return await _move(stage, await stage.cluster.admin.placement_group())

    await _again(stage, lambda _: wish())


async def _again(
    stage: Stage,
    wish: Callable[[Stage], Awaitable[tuple[str, int]]],
    *,
    share: float = TAKEN_BACK,
    proof: str = "done",
) -> None:
    """Asks for plan after plan, each to its end. share: of those taken back; proof: which end is one."""
    admin = stage.cluster.admin
    until = asyncio.get_running_loop().time() + stage.left_s + IN_VAIN_S
    while stage.left_s > 0 or (not stage.proofs and asyncio.get_running_loop().time() < until):
        try:
            what, plan = await wish(stage)
        except Refused:
            await asyncio.sleep(PAUSE_S)
            continue
        if stage.chance.random() < share:
            await asyncio.sleep(stage.chance.uniform(0, stage.chance.choice(TAKEN_BACK_S)))
            with suppress(*Refused):  # it is sealed, or has ended
                await admin.cancel(plan)
        ended = await admin.see_the_end(plan, PLAN_WITHIN_S)
        if ended.phase == proof:
            stage.proof(f"plan {plan}, {what}: {ended.phase}")


async def _wish(stage: Stage) -> tuple[str, int]:
    """Asks for a reshape of whatever stands; what, and the plan. Raises Refused."""
    admin = stage.cluster.admin
    shards = await admin.shards()
    some_are_free = len(stage.cluster.nodes) > len(shards[0].replicas)
    # Merges twice as often as splits, so that shards do not pile up.
    kinds = ["split", *(["merge"] * 2 if len(shards) > 1 else []), *(["move"] * 2 if some_are_free else [])]
    kind = stage.chance.choice(kinds)
    if kind == "move":
        return await _move(stage, stage.chance.choice([await admin.placement_group(), *shards]))
    if kind == "merge":
        at = stage.chance.randrange(len(shards) - 1)
        return kind, await admin.merge(shards[at].group, shards[at + 1].group)
    return kind, await admin.split(stage.chance.choice(shards).group)


async def _move(stage: Stage, moved: Any) -> tuple[str, int]:
    """Asks that a replica of a group goes to a node that has none. Raises Refused."""
    held = sorted(replica.node for replica in moved.replicas)
    free = sorted({node.id for node in stage.cluster.nodes.values()} - set(held))
    source, target = stage.chance.choice(held), stage.chance.choice(free)
    return f"move of group {moved.group}", await stage.cluster.admin.move(moved.group, source, target)


async def drain(stage: Stage) -> None:
    """Empties a node, where another one is free to take what it holds; it may take again at the end."""
    admin = stage.cluster.admin
    node = stage.cluster.nodes[stage.some(1)[0]]
    before = len(await admin.groups_on(node.id))
    await admin.drain(node.id, is_draining=True)
    try:
        async with asyncio.timeout(DRAIN_WITHIN_S):
            while await admin.groups_on(node.id):  # noqa: ASYNC110 another process's state
                await asyncio.sleep(PAUSE_S)
        stage.proof(f"node {node.id} held {before} replicas, and none after its drain")
    finally:
        await admin.drain(node.id, is_draining=False)
