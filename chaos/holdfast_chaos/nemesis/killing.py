"""Processes that end: kill -9 of one node, of the leader (also cut off), a majority, all; loops, restarts."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Final

from holdfast_chaos.cluster.node_process import NodeEndedError, NodeProcess
from holdfast_chaos.nemesis.partitions import isolated
from holdfast_chaos.nemesis.stage import Stage

UP_S = (0.1, 1.0)
"""How long a node of a crash loop lives, from its start."""
ALONE_S: Final = (0.1, 1.5)
"""How long a leader is cut off before it ends: it takes writes until it steps down; others lead by then."""
POINT_STRUCK: Final = 137
"""Exit status of a node whose disk was told to end it."""


@asynccontextmanager
async def brought_back(nodes: Sequence[NodeProcess]) -> AsyncIterator[None]:
    """Whatever happens inside: those that do not run are started at its end; all are ready behind it."""
    try:
        yield
    finally:
        for node in nodes:
            if not node.is_running:
                node.start()
    await asyncio.gather(*(ready(node) for node in nodes))


async def ready(node: NodeProcess) -> None:
    """Waits until it is; what another fault ended meanwhile, that one brings back. Raises NodeEndedError."""
    try:
        await node.ready()
    except NodeEndedError:
        if node.status not in (-signal.SIGKILL, POINT_STRUCK) and not node.is_running:
            raise


async def down(stage: Stage, numbers: Iterable[int]) -> None:
    """Kill -9 of these at one moment, and what the kernel says of it; they come back at the end."""
    nodes = [stage.cluster.nodes[number] for number in numbers]
    async with brought_back(nodes):
        killed(stage, nodes)
        await stage.over()


def killed(stage: Stage, nodes: Iterable[NodeProcess]) -> None:
    """Kill -9 of these at one moment; what the kernel says of it is the proof."""
    for node in [node for node in nodes if node.kill()]:
        if node.status == -signal.SIGKILL:
            stage.proof(f"node {node.number} ended by signal {int(signal.SIGKILL)}")


async def one(stage: Stage) -> None:
    """Any node."""
    await down(stage, stage.some(1))


async def leader(stage: Stage) -> None:
    """The one that leads most groups."""
    await down(stage, [await stage.leader()])


async def isolated_leader(stage: Stage) -> None:
    """The leader, soon after it was cut off: it comes back with entries that it alone has.

    A cut alone holds what its peers say, and it hears all of that in order at the end; a node that has
    started again hears only what is said from then on.
    """
    number = await stage.leader()
    pairs = isolated(number, stage.cluster.numbers)
    node = stage.cluster.nodes[number]
    async with brought_back([node]):
        stage.cluster.wires.cut(pairs)
        try:
            await asyncio.sleep(min(stage.chance.uniform(*ALONE_S), stage.left_s))
            if node.kill() and node.status == -signal.SIGKILL:
                stage.proof(f"node {number}, cut off, ended by signal {int(signal.SIGKILL)}")
            await stage.over()
        finally:
            stage.cluster.wires.mend(pairs)


async def majority(stage: Stage) -> None:
    """Just enough that no group has a quorum."""
    await down(stage, stage.some(stage.majority))


async def everyone(stage: Stage) -> None:
    """All at one moment."""
    await down(stage, stage.cluster.numbers)


async def crash_loop(stage: Stage) -> None:
    """One node is killed again and again, at any moment of its start."""
    node = stage.cluster.nodes[stage.some(1)[0]]
    async with brought_back([node]):
        while stage.left_s > 0:
            if node.kill():
                stage.proof(f"start {node.starts} of node {node.number} ended by a signal")
            node.start()
            await asyncio.sleep(min(stage.chance.uniform(*UP_S), stage.left_s))


async def rolling_restart(stage: Stage) -> None:
    """SIGTERM and a new start, one node after the other, each once the one before is ready."""
    for number in stage.some(len(stage.cluster.numbers)):
        node = stage.cluster.nodes[number]
        status = await asyncio.to_thread(node.stop)
        node.start()
        stage.proof(f"node {number} ended with status {status} and was started again")
        await ready(node)
        if stage.left_s <= 0:
            break
