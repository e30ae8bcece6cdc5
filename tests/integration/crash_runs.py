"""The crash runs that tests and `failover.py` share: each kills under load, and says what was broken by it.

Kept apart from the tests so that the evidence is made by the very code that the suite runs.
"""

from __future__ import annotations

import asyncio
import signal
import time
from typing import NamedTuple

import holdfast

from tests.integration.process_cluster import NodeProcess, ProcessCluster, verified
from tests.integration.steady_writes import PER_SECOND, SteadyWrites, under_way

# Acknowledged before the fault, so that there is something to lose: about a second's worth.
BEFORE = PER_SECOND // 2


class Run(NamedTuple):
    """One run. back_s: from the kill to the first acknowledgement of a write begun after it."""

    back_s: float
    acknowledged: int
    unknown: int
    refused: int
    problems: list[str]


def _leader_of(cluster: ProcessCluster) -> NodeProcess:
    return cluster.leader()


async def kill_leader(cluster: ProcessCluster, client: holdfast.Client, prefix: str) -> Run:
    """kill -9 of the leader under load; the others go on, and the killed one comes back."""
    async with under_way(client, prefix) as writes:
        await writes.acknowledged_after(0.0, count=BEFORE)
        leader = await asyncio.to_thread(_leader_of, cluster)
        killed = time.monotonic()
        leader.kill()
        gone = time.monotonic()
        back = await writes.acknowledged_after(gone)
        await writes.acknowledged_after(back, count=BEFORE)
        leader.start()
        await asyncio.to_thread(cluster.wait_ready)
    problems = await writes.problems(client)
    problems += [
        f"{write.key} was begun {write.began - gone:.3f} s after the kill and is unknown: {write.error}"
        for write in writes.unknown()
        if not write.began <= gone or write.ended < killed
    ]
    await asyncio.to_thread(verified, cluster)
    return _run(writes, back - killed, problems)


async def end_all(cluster: ProcessCluster, client: holdfast.Client, prefix: str, how: signal.Signals) -> Run:
    """All nodes end at one moment under load, by SIGKILL or a power failure, and are started again."""
    async with under_way(client, prefix) as writes:
        await writes.acknowledged_after(0.0, count=BEFORE)
        ended = time.monotonic()
        for node in cluster.nodes.values():
            node.signal(how)
        for node in cluster.nodes.values():
            node.reap()
        await asyncio.to_thread(cluster.start)
        back = await writes.acknowledged_after(time.monotonic())
    problems = await writes.problems(client)
    await asyncio.to_thread(verified, cluster)
    return _run(writes, back - ended, problems)


def _run(writes: SteadyWrites, back_s: float, problems: list[str]) -> Run:
    return Run(back_s, len(writes.acknowledged()), len(writes.unknown()), len(writes.refused()), problems)
