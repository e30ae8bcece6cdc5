"""Processes that stand still: SIGSTOP of the leader, a follower, all but one; SIGCONT heals."""

from __future__ import annotations

from collections.abc import Iterable

from holdfast_chaos.nemesis.stage import Stage


async def still(stage: Stage, numbers: Iterable[int]) -> None:
    """Stops these, and asks the kernel whether they stand."""
    nodes = [stage.cluster.nodes[number] for number in numbers]
    try:
        for node in nodes:
            node.pause()
        await stage.over()
        for node in nodes:
            if node.state() == "T":
                stage.proof(f"node {node.number} stood still")
    finally:
        for node in nodes:
            node.resume()


async def leader(stage: Stage) -> None:
    """The one that leads most groups."""
    await still(stage, [await stage.leader()])


async def follower(stage: Stage) -> None:
    """One that does not."""
    await still(stage, [await stage.follower()])


async def all_but_one(stage: Stage) -> None:
    """Only one goes on."""
    await still(stage, stage.some(len(stage.healthy()) - 1))
