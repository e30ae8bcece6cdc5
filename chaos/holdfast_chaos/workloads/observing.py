"""What replicas say of themselves, noted while a run goes on, and at its end.

Notes: `leader` whenever another node says that it leads a term; `digest` of every replica now and then, and
`final` ones once all replicas of each group stand at one index; `entry` for entries of each node's WAL and
`durable` for the term that it holds of a group, `disks` of copies that were frozen, all by `holdfast wal
dump`; `unwell` for what `holdfast cluster check` still has to say, plans that have not ended, and replicas
that nothing needs.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any, Final

from holdfast_chaos.cluster import wal_dump
from holdfast_chaos.cluster.admin import Refused, Replica, equal_at_one_index
from holdfast_chaos.cluster.cluster import Cluster
from holdfast_chaos.cluster.command_line import cli
from holdfast_chaos.cluster.layout import FROZEN
from holdfast_chaos.cluster.wal_dump import Entry
from holdfast_chaos.workloads.recorder import Recorder

LOOK_S: Final = 0.2
DIGEST_EVERY: Final = 10
"""Looks between two notes of digests."""
SETTLE_S: Final = 20.0
WELL_WITHIN_S: Final = 90.0
"""For plans of the planner's own too, such as replacing a node that lost its disk."""
AGAIN_S: Final = 1.0
ENTRIES_MAX: Final = 300
"""Of each node and group, so many: a record must stay readable."""


class Observer:
    """See the module docstring."""

    def __init__(self, cluster: Cluster, recorder: Recorder) -> None:
        self._cluster = cluster
        self._recorder = recorder
        self._terms: set[tuple[int, int, int]] = set()

    async def run(self) -> None:
        """Looks until it is cancelled."""
        looks = 0
        while True:
            looks += 1
            replicas = await self._cluster.admin.all_replicas(timeout_s=0.5)
            self._note_leaders(replicas)
            if looks % DIGEST_EVERY == 0:
                self._note_digests(replicas, final=False)
            await asyncio.sleep(LOOK_S)

    def _note_leaders(self, replicas: tuple[Replica, ...]) -> None:
        for replica in replicas:
            name = (replica.group, replica.term, replica.node)
            if replica.leads and name not in self._terms:
                self._terms.add(name)
                told = {"term": replica.term, **_of_placement(replica)}
                self._recorder.note("leader", told, node=replica.node, group=replica.group)

    def _note_digests(self, replicas: tuple[Replica, ...], *, final: bool) -> None:
        for replica in replicas:
            if replica.digest:
                told = {"digest": replica.digest, **_of_placement(replica)}
                self._recorder.note(
                    "digest",
                    {**told, "final": True} if final else told,
                    node=replica.node,
                    group=replica.group,
                    applied_index=replica.applied_index,
                )

    async def settle(self) -> None:
        """Waits until replicas agree, or long enough; notes what they say then, whatever it is."""
        loop = asyncio.get_running_loop()
        end = loop.time() + SETTLE_S
        while True:
            replicas = await self._cluster.admin.all_replicas()
            self._note_leaders(replicas)
            if equal_at_one_index(replicas) or loop.time() > end:
                break
            await asyncio.sleep(LOOK_S)
        self._note_digests(replicas, final=True)

    async def note_health(self) -> None:
        """What an operator would still be told of the cluster, after the time that it may need."""
        loop = asyncio.get_running_loop()
        end = loop.time() + WELL_WITHIN_S
        while True:
            ills = await self._ills()
            if not ills or loop.time() > end:
                break
            await asyncio.sleep(AGAIN_S)
        for text in ills:
            self._recorder.note("unwell", {"text": text})

    async def _ills(self) -> list[str]:
        endpoints = ("--endpoints", self._cluster.endpoints)
        status, out = await cli("cluster", "check", *endpoints, "-o", "json")
        told = out.decode(errors="replace").strip()
        if status and not told.startswith("["):
            return [told]
        rows, _ = json.JSONDecoder().raw_decode(told)  # behind them what it says to people
        found = [text for row in rows for text in row["complaints"]]
        admin = self._cluster.admin
        try:
            return [*found, *await admin.open_plans(), *await admin.leftovers()]
        except Refused as problem:
            return [*found, f"its plans, or its map, cannot be asked for: {problem}"]

    async def note_logs(self) -> None:
        """What every node's WAL holds, also of nodes that do not run: terms, committed entries.

        Of entries the last ones, and where nodes differ the first ones that do.
        """
        committed = {(r.node, r.group): r.commit_index for r in await self._cluster.admin.all_replicas()}
        logs: dict[int, dict[int, list[Entry]]] = {}  # group -> node -> its committed entries
        for node in self._cluster.nodes.values():
            dump = await wal_dump.dumped(node.place.stored)
            for group, log in (await asyncio.to_thread(wal_dump.logs, dump)).items():
                if log.is_retired:
                    continue
                self._recorder.note("durable", {"term": log.term}, node=node.id, group=group)
                until = committed.get((node.id, group), 0)
                logs.setdefault(group, {})[node.id] = [e for e in log.entries if e.index <= until]
        await self._note_frozen()
        for group, by_node in logs.items():
            differing = _differing(by_node.values())[:ENTRIES_MAX]
            for node_id, entries in by_node.items():
                told = {entry.index for entry in entries[-ENTRIES_MAX:]}.union(differing)
                for entry in entries:
                    if entry.index in told:
                        self._recorder.note("entry", asdict(entry), node=node_id, group=group)

    async def _note_frozen(self) -> None:
        """What the disks held whenever all nodes stood still at one moment (`nemesis/freezing.py`)."""
        for number in self._cluster.frozen:
            folder = self._cluster.home / FROZEN / str(number)
            disks = {disk.name: await _figures(disk) for disk in folder.iterdir()}
            self._recorder.note("disks", {"number": number, "disks": disks})


async def _figures(disk: Path) -> dict[str, dict[str, Any]]:
    """Group -> how far its log goes. Raises RuntimeError: it cannot be read, and would count as empty."""
    dump = await wal_dump.dumped(disk)
    if not dump:
        raise RuntimeError(f"`holdfast wal dump` cannot read the WAL in {disk}")
    return {
        str(group): {
            "term": log.term,
            "last": log.last,
            "terms": log.terms,
            "born": log.born,
            "base": log.base,
            "retired": log.is_retired,
        }
        for group, log in (await asyncio.to_thread(wal_dump.logs, dump)).items()
    }


def _of_placement(replica: Replica) -> dict[str, bool]:
    return {"placement": True} if replica.is_placement else {}


def _differing(logs: Iterable[Sequence[Entry]]) -> list[int]:
    """The indexes at which not all logs that hold one hold the same."""
    said: dict[int, set[Entry]] = {}
    for entry in chain.from_iterable(logs):
        said.setdefault(entry.index, set()).add(entry)
    return sorted(index for index, entries in said.items() if len(entries) > 1)
