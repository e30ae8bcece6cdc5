"""What replicas say of themselves, noted while a run goes on, and at its end.

Notes: `leader` whenever another node says that it leads a term; `digest` of every replica now and then, and
`final` ones once all replicas of each group stand at one index; `entry` for entries of each node's WAL and
`durable` for the term that it holds of a group, both by `holdfast wal dump`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Final, NamedTuple

from holdfast_chaos.cluster.admin import Replica, equal_at_one_index
from holdfast_chaos.cluster.cluster import Cluster
from holdfast_chaos.cluster.command_line import cli
from holdfast_chaos.workloads.recorder import Recorder

LOOK_S: Final = 0.2
DIGEST_EVERY: Final = 10
"""Looks between two notes of digests."""
SETTLE_S: Final = 20.0
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

    async def note_logs(self) -> None:
        """What every node's WAL holds, also of nodes that do not run: terms, committed entries.

        Of entries the last ones, and where nodes differ the first ones that do.
        """
        committed = {(r.node, r.group): r.commit_index for r in await self._cluster.admin.all_replicas()}
        logs: dict[int, dict[int, list[_Entry]]] = {}  # group -> node -> its committed entries
        for node in self._cluster.nodes.values():
            folder = node.place.disk if (node.place.disk / "wal").is_dir() else node.place.data
            for group, log in (await asyncio.to_thread(_logs, await _dumped(folder))).items():
                self._recorder.note("durable", {"term": log.term}, node=node.id, group=group)
                until = committed.get((node.id, group), 0)
                logs.setdefault(group, {})[node.id] = [e for e in log.entries if e.index <= until]
        for group, by_node in logs.items():
            differing = _differing(by_node.values())[:ENTRIES_MAX]
            for node_id, entries in by_node.items():
                told = {entry.index for entry in entries[-ENTRIES_MAX:]}.union(differing)
                for entry in entries:
                    if entry.index in told:
                        self._recorder.note("entry", asdict(entry), node=node_id, group=group)


def _of_placement(replica: Replica) -> dict[str, bool]:
    return {"placement": True} if replica.is_placement else {}


def _differing(logs: Iterable[Sequence[_Entry]]) -> list[int]:
    """The indexes at which not all logs that hold one hold the same."""
    said: dict[int, set[_Entry]] = {}
    for entry in chain.from_iterable(logs):
        said.setdefault(entry.index, set()).add(entry)
    return sorted(index for index, entries in said.items() if len(entries) > 1)


async def _dumped(folder: Path) -> bytes:
    """What `holdfast wal dump` prints; nothing: it could not."""
    status, out = await cli("wal", "dump", str(folder), "-o", "json")
    return out if status == 0 else b""


@dataclass(frozen=True, order=True, slots=True)
class _Entry:
    """An entry of a WAL. crc: of its content."""

    index: int
    term: int
    crc: int


class _Log(NamedTuple):
    """What a WAL holds of a group: its term, and its entries in order of index."""

    term: int
    entries: list[_Entry]


def _logs(dump: bytes) -> dict[int, _Log]:
    """Group -> its log, of groups that have not gone; of each entry the one that was written last."""
    terms: dict[int, int] = {}
    entries: dict[int, dict[int, _Entry]] = {}
    for line in dump.splitlines():
        record = json.loads(line)
        kind, group, fields = record["kind"], record["group"], record["fields"]
        if kind == "retire" or (kind == "state" and fields["retired"]):
            terms.pop(group, None)
            entries.pop(group, None)
        elif kind in ("born", "hard", "state"):
            terms[group] = fields["term"]
        elif kind in ("entry", "copy"):
            entry = _Entry(fields["index"], fields["term"], fields["crc"])
            entries.setdefault(group, {})[entry.index] = entry
        elif kind == "truncate":
            own = entries.get(group, {})
            for index in [index for index in own if index >= fields["from_index"]]:
                del own[index]
    return {
        group: _Log(terms.get(group, 0), sorted(entries.get(group, {}).values()))
        for group in sorted(terms.keys() | entries.keys())
    }
