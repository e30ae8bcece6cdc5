"""Clients that crash: some end in the middle of an operation, and others go on with their session's token."""

from __future__ import annotations

import asyncio

from holdfast_chaos.nemesis.stage import Stage


async def crash(stage: Stage) -> None:
    """A third of the clients."""
    count = max(1, len(stage.clients) // 3)
    chosen = stage.chance.sample(stage.clients, min(count, len(stage.clients)))
    interrupted = await asyncio.gather(*(client.crash() for client in chosen))
    stage.proof(f"{len(chosen)} clients ended, {sum(interrupted)} in the middle of an operation")
    await stage.over()
