"""The cluster's own acts as faults: leaderships handed over in a loop, shards split, merged and moved (the
placement group too; also to a node that ends meanwhile, or from one that is cut off with it), plans taken
back, nodes drained.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, NamedTuple

from holdfast_chaos.cluster.admin import PREPARE, RETIRE, SEAL, Refused
from holdfast_chaos.cluster.wires import between
from holdfast_chaos.nemesis.killing import brought_back, killed
from holdfast_chaos.nemesis.stage import Stage

PAUSE_S: Final = 0.1
PLAN_WITHIN_S: Final = 60.0
DRAIN_WITHIN_S: Final = 60.0
TAKEN_BACK: Final = 0.2
"""The share of plans that are taken back after they were asked for."""
TAKEN_BACK_S: Final = (0.0, 0.0, 0.1, 2.0)
"""At once, which a split or merge just allows; within a move; within the time of what holds one up."""
MOMENTS: Final = (PREPARE, SEAL, RETIRE)
"""Of a move, one after the other: it copies; it ends what is moved; the new one serves, and what was moved is
still there."""
MOMENT_WITHIN_S: Final = 15.0
AFTER_S: Final = 0.05
LATE_S: Final = (0.0, 0.3)
ASKED_S: Final = 0.2
ALONE_S: Final = (2.5, 5.0)
"""A copy waits a second for each of the others before it asks who leads."""
DOWN_S: Final = (0.3, 2.0)


class Move(NamedTuple):
    """A plan that gives a replica of a group to another node.

    goes_on_as: the group that takes its place; target: the ids of its nodes, who receives the replica first.
    """

    plan: int
    group: int
    goes_on_as: int
    target: tuple[int, ...]


async def transfer_leader(stage: Stage) -> None:
    """Hands over a group's leadership, to whoever, again and again."""
    while stage.left_s > 0:
        leaders = await stage.cluster.admin.leaders()
        group, leading = stage.chance.choice(sorted(leaders.items())) if leaders else (0, 0)
        answer = await handed_over(stage, group, leading)
        if answer:
            stage.proof(f"group {group} went from node {leading} to node {answer}")
        await asyncio.sleep(min(PAUSE_S, stage.left_s))


async def handed_over(stage: Stage, group: int, leading: int, to_node: int = 0) -> int:
    """Asks who leads to hand over (to_node: 0: to anybody); who leads then, all by id.

    0: nobody by this: it no longer led, or whoever was to take over had not caught up.
    """
    number = stage.cluster.number_of(leading)
    if number:
        with suppress(*Refused):
            return await stage.cluster.admin.transfer(number, group, to_node)
    return 0


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
            move = await _move(stage, stage.chance.choice([placement, *await admin.shards()]))
        except Refused:
            await asyncio.sleep(PAUSE_S)
            continue
        numbers = [stage.cluster.number_of(node) for node in move.target]
        receiver, *others = (stage.cluster.nodes[number] for number in numbers if number)
        other = stage.chance.sample(others, stage.chance.choice((0, 1)))
        since = MOMENTS[stage.chance.randrange(len(MOMENTS)) :]
        async with brought_back(other):
            async with brought_back([receiver]):
                with _hears_late(stage, receiver.number):
                    if await knowing.comes_to(move.plan, since, MOMENT_WITHIN_S):
                        await asyncio.sleep(stage.chance.uniform(0, stage.chance.choice((0.0, AFTER_S))))
                        killed(stage, [receiver, *other])
                if not receiver.is_running:
                    await _passed_round(stage, move.group, stage.chance.uniform(*DOWN_S))
            await admin.see_led(move.goes_on_as, move.plan, PLAN_WITHIN_S)
        await admin.see_the_end(move.plan, PLAN_WITHIN_S)


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
        await handed_over(stage, group, leaders.get(group, 0))
        await asyncio.sleep(PAUSE_S)


async def isolate_sender(stage: Stage) -> None:
    """Who leads a shard is left alone with the node that the shard moves to, again and again.

    What it takes from clients then is never committed, and it is the only one to copy from.
    """
    admin, wires = stage.cluster.admin, stage.cluster.wires
    while stage.goes_on:
        leaders = await admin.leaders()
        led = [shard for shard in await admin.shards() if shard.group in leaders]
        try:
            move = await _move(stage, stage.chance.choice(led or [await admin.placement_group()]))
        except Refused:
            await asyncio.sleep(PAUSE_S)
            continue
        together = {stage.cluster.number_of(node) for node in (leaders.get(move.group, 0), move.target[0])}
        pairs = between(together - {0}, set(stage.cluster.numbers) - together)
        before = wires.held
        await asyncio.sleep(stage.chance.uniform(0, ASKED_S))
        wires.cut(pairs)
        try:
            await asyncio.sleep(stage.chance.uniform(*ALONE_S))
        finally:
            wires.mend(pairs)
        ended = await admin.see_the_end(move.plan, PLAN_WITHIN_S)
        if len(together - {0}) == 2 and wires.held > before:
            stage.proof(f"nodes {sorted(together)} were alone in plan {move.plan}: {ended.phase}")


async def reshape(stage: Stage) -> None:
    """Splits and merges, and moves when a node is free, some of which are taken back."""
    await _again(stage, _wish)


async def take_back(stage: Stage) -> None:
    """The same, each of which is taken back, at any moment of it."""
    await _again(stage, _wish, share=1.0, proof="cancelled")


async def move_placement(stage: Stage) -> None:
    """Moves the placement group to a node that is free, again and again."""

    async def wish() -> tuple[str, int]:
        return _told(await _move(stage, await stage.cluster.admin.placement_group()))

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
    while stage.goes_on:
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
        return _told(await _move(stage, stage.chance.choice([await admin.placement_group(), *shards])))
    if kind == "merge":
        at = stage.chance.randrange(len(shards) - 1)
        return kind, await admin.merge(shards[at].group, shards[at + 1].group)
    return kind, await admin.split(stage.chance.choice(shards).group)


async def _move(stage: Stage, moved: Any) -> Move:
    """Asks that a replica of a group goes to a node that has none. Raises Refused."""
    held = sorted(replica.node for replica in moved.replicas)
    free = sorted({node.id for node in stage.cluster.nodes.values()} - set(held))
    source, target = stage.chance.choice(held), stage.chance.choice(free)
    plan = await stage.cluster.admin.move(moved.group, source, target)
    return Move(plan.id, moved.group, plan.targets[0].group, (target, *(n for n in held if n != source)))


def _told(move: Move) -> tuple[str, int]:
    return f"move of group {move.group}", move.plan


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
