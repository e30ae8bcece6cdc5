"""What replicas say of themselves, noted while a run goes on, and at its end.

Notes: `leader` whenever another node says that it leads a term; `digest` of every replica now and then, and
`final` ones once all replicas of each group stand at one index; `entry` for the last entries of each node's
WAL and `durable` for the term that it holds of a group, both by `holdfast wal dump`.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any, Final, NamedTuple

from holdfast_chaos.cluster.admin import Replica, equal_at_one_index
from holdfast_chaos.cluster.cluster import Cluster
from holdfast_chaos.workloads.recorder import Recorder

LOOK_S: Final = 0.2
DIGEST_EVERY: Final = 10
"""Looks between two notes of digests."""
SETTLE_S: Final = 20.0
ENTRIES_MAX: Final = 300
"""Of each node and group, the last ones: a record must stay readable."""


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
                self._recorder.note("leader", {"term": replica.term}, node=replica.node, group=replica.group)

    def _note_digests(self, replicas: tuple[Replica, ...], *, final: bool) -> None:
        for replica in replicas:
            if replica.digest:
                self._recorder.note(
                    "digest",
                    {"digest": replica.digest, **({"final": True} if final else {})},
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
        """What every node's WAL holds, also of nodes that do not run: terms, the last committed entries."""
        committed = {(r.node, r.group): r.commit_index for r in await self._cluster.admin.all_replicas()}
        for node in self._cluster.nodes.values():
            folder = node.place.disk if (node.place.disk / "wal").is_dir() else node.place.data
            for group, log in (await asyncio.to_thread(_logs, await _dumped(folder))).items():
                self._recorder.note("durable", {"term": log.term}, node=node.id, group=group)
                until = committed.get((node.id, group), 0)
                for fields in [e for e in log.entries if e["index"] <= until][-ENTRIES_MAX:]:
                    said = {name: fields[name] for name in ("index", "term", "crc")}
                    self._recorder.note("entry", said, node=node.id, group=group)


async def _dumped(folder: Path) -> bytes:
    """What `holdfast wal dump` prints; nothing: it could not."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "holdfast.cli", "wal", "dump", str(folder), "-o", "json"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    out, _ = await process.communicate()
    return out if process.returncode == 0 else b""


class _Log(NamedTuple):
    """What a WAL holds of a group: its term, and its entries in order of index."""

    term: int
    entries: list[dict[str, Any]]


def _logs(dump: bytes) -> dict[int, _Log]:
    """Group -> its log, of groups that have not gone; of each entry the one that was written last."""
    terms: dict[int, int] = {}
    entries: dict[int, dict[int, dict[str, Any]]] = {}
    for line in dump.splitlines():
        record = json.loads(line)
        kind, group, fields = record["kind"], record["group"], record["fields"]
        if kind == "retire" or (kind == "state" and fields["retired"]):
            terms.pop(group, None)
            entries.pop(group, None)
            continue
        if kind in ("hard", "state"):
            terms[group] = fields["term"]
        elif kind in ("entry", "copy"):
            entries.setdefault(group, {})[fields["index"]] = fields
        elif kind == "truncate":
            own = entries.get(group, {})
            for index in [index for index in own if index >= fields["from_index"]]:
                del own[index]
    return {
        group: _Log(terms.get(group, 0), [fields for _, fields in sorted(entries.get(group, {}).items())])
        for group in sorted(terms.keys() | entries.keys())
    }
