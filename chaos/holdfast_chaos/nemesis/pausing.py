"""Processes that stand still: SIGSTOP of the leader, a follower, all but one; SIGCONT heals."""

from __future__ import annotations

from collections.abc import Iterable

from holdfast_chaos.cluster.node_process import NodeProcess, eventually
from holdfast_chaos.nemesis.stage import Stage


async def still(stage: Stage, numbers: Iterable[int]) -> None:
    """Stops these, and asks the kernel whether they stand; at once, since another fault may end them."""
    nodes = [stage.cluster.nodes[number] for number in numbers]
    try:
        for node in nodes:
            node.pause()
        for node in nodes:
            if await _stands(node):
                stage.proof(f"node {node.number} stands still")
        await stage.over()
    finally:
        for node in nodes:
            node.resume()


async def _stands(node: NodeProcess) -> bool:
    """Whether the kernel has stopped it; False: it has ended. Raises TimeoutError."""
    await eventually(lambda: node.state() in ("T", "Z", ""), f"node {node.number} stands still")
    return node.state() == "T"


async def leader(stage: Stage) -> None:
    """The one that leads most groups."""
    await still(stage, [await stage.leader()])


async def follower(stage: Stage) -> None:
    """One that does not."""
    await still(stage, [await stage.follower()])


async def all_but_one(stage: Stage) -> None:
    """Only one goes on."""
    await still(stage, stage.some(len(stage.healthy()) - 1))
