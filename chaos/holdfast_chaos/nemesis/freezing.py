"""All nodes stand still at one moment, and their WALs are copied: is there what had been said?

Between an answer and the sync that it should have waited for lie milliseconds; a loss of power shows it only
where it takes the right nodes in them. This looks at all of them at once, right after somebody was elected,
when most of what is said rests on what is young. Nodes run on disks that hold only what was synced.

In the record a note `frozen` `{"number": n, "groups": {group: {"members", "term", "commit"}}}`: what had been
said before. The copies lie in `frozen/n/NODE` of the cluster's folder; they are read when all is over
(`workloads/observing.py`), since that takes seconds.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterable
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any, Final

from holdfast_chaos.cluster.admin import Admin, Replica, looks
from holdfast_chaos.cluster.layout import FROZEN, WAL
from holdfast_chaos.cluster.node_process import NodeProcess
from holdfast_chaos.nemesis.stage import Stage

FREEZES_MAX: Final = 2
AGAIN_S: Final = 0.03
LAST_S: Final = 0.05
LATER_S: Final = 0.15
"""Half of the time not at once after an election, but within this: then something has been committed."""


async def freeze(stage: Stage) -> None:
    """All stand still for a moment when somebody has just been elected, and their WALs are copied."""
    cluster = stage.cluster
    told: dict[int, tuple[Replica, ...]] = {}
    news = asyncio.Event()
    looking = [asyncio.ensure_future(_look(cluster.admin, number, told, news)) for number in cluster.numbers]
    frozen = 0
    try:
        while frozen < FREEZES_MAX and stage.goes_on:
            with suppress(TimeoutError):
                async with asyncio.timeout(stage.left_s):
                    await news.wait()
            if news.is_set() and stage.chance.random() < 0.5:
                await asyncio.sleep(stage.chance.uniform(0, LATER_S))
            news.clear()
            # What is said last is the youngest.
            last = await asyncio.gather(*(cluster.admin.replicas(n, LAST_S) for n in cluster.numbers))
            told.update((n, own) for n, own in zip(cluster.numbers, last, strict=True) if own)
            said = _said(chain.from_iterable(told.values()))
            if not said:
                await asyncio.sleep(AGAIN_S)
                continue
            number = len(cluster.frozen)
            folder = cluster.home / FROZEN / str(number)
            try:
                await asyncio.to_thread(_copied, list(cluster.nodes.values()), folder)
            except (shutil.Error, FileNotFoundError):  # a node is being started beside this, and cleans up
                shutil.rmtree(folder, ignore_errors=True)
                await asyncio.sleep(AGAIN_S)
                continue
            frozen += 1
            cluster.frozen.append(number)
            stage.note("frozen", {"number": number, "groups": said})
            stage.proof(f"{len(cluster.nodes)} nodes stood still")
    finally:
        for task in looking:
            task.cancel()
        await asyncio.gather(*looking, return_exceptions=True)
    await stage.over()


async def _look(admin: Admin, number: int, told: dict[int, tuple[Replica, ...]], news: asyncio.Event) -> None:
    """Keeps what a node said last; news: it has been elected since."""
    terms: dict[int, int] = {}
    async for replicas in looks(admin, number):
        told[number] = replicas or told.get(number, ())
        for replica in replicas:
            known = terms.setdefault(replica.group, replica.term)
            if replica.is_leader and replica.term > known:
                terms[replica.group] = replica.term
                news.set()


def _said(replicas: Iterable[Replica]) -> dict[str, dict[str, Any]]:
    """Group -> what its leader, and whoever knows most, says of it; groups that somebody leads."""
    by_group: dict[int, list[Replica]] = {}
    for replica in replicas:
        by_group.setdefault(replica.group, []).append(replica)
    found = {}
    for group, own in by_group.items():
        leaders = [replica for replica in own if replica.is_leader]
        if leaders:
            found[str(group)] = {
                "members": list(leaders[0].members),
                "term": max(leader.term for leader in leaders),
                "commit": max(replica.commit_index for replica in own),
            }
    return found


def _copied(nodes: Iterable[NodeProcess], folder: Path) -> None:
    """Stops all, copies their WALs by node id, and lets them go on; whom another fault has paused stays so.

    Raises shutil.Error, FileNotFoundError: a WAL has changed meanwhile.
    """
    stopped = [node for node in nodes if node.is_running and not node.is_paused]
    try:
        for node in stopped:
            node.pause()
        for node in nodes:
            shutil.copytree(node.place.stored / WAL, folder / str(node.id) / WAL)
    finally:
        for node in stopped:
            node.resume()
