"""What a node's write-ahead log holds, as `holdfast wal dump` tells it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from holdfast_chaos.cluster.command_line import cli


@dataclass(frozen=True, order=True, slots=True)
class Entry:
    """An entry of a log. crc: of its content."""

    index: int
    term: int
    crc: int


@dataclass(slots=True)
class Log:
    """What a WAL holds of a group.

    Attributes:
        term: the latest that the replica knew of.
        last: index of its last entry, or of the snapshot that stands for all.
        born: the term and the index with which the replica began; 0, 0: not told any more, or not born.
        base: index of the latest snapshot that stands for what is before it.
        is_retired: the replica has gone.
    """

    term: int = 0
    last: int = 0
    born: tuple[int, int] = (0, 0)
    base: int = 0
    is_retired: bool = False
    _entries: dict[int, Entry] = field(default_factory=dict)

    @property
    def entries(self) -> list[Entry]:
        """Those that count, in order of index."""
        return sorted(self._entries.values())

    @property
    def terms(self) -> list[tuple[int, int]]:
        """(index, term) of each entry whose term is not that of the entry before it."""
        entries = self.entries
        before = [0, *(entry.term for entry in entries)]
        return [(e.index, e.term) for e, term in zip(entries, before, strict=False) if e.term != term]

    def take(self, kind: str, fields: dict[str, Any]) -> None:
        """The next record."""
        if kind == "retire" or (kind == "state" and fields["retired"]):
            self._entries.clear()
            self.is_retired = True
        elif kind == "born":
            self.born = (fields["term"], fields["base_index"])
            self.term, self.base = fields["term"], fields["base_index"]
            self.last = max(self.last, self.base)
        elif kind == "state":
            self.term, self.base, self.last = fields["term"], fields["base_index"], fields["last"]
        elif kind == "hard":
            self.term = fields["term"]
        elif kind == "base":
            self.base = fields["index"]
            self.last = max(self.last, self.base) if fields["keep_suffix"] else self.base
        elif kind in ("entry", "copy"):
            self.last = fields["index"]
            self._entries[self.last] = Entry(self.last, fields["term"], fields["crc"])
        elif kind == "truncate":
            self.last = fields["from_index"] - 1
            for index in [index for index in self._entries if index > self.last]:
                del self._entries[index]


async def dumped(folder: Path) -> bytes:
    """What `holdfast wal dump` prints of it; nothing: it could not."""
    status, out = await cli("wal", "dump", str(folder), "-o", "json")
    return out if status == 0 else b""


def logs(dump: bytes) -> dict[int, Log]:
    """Group -> its log, in order of group; of each entry the one that was written last."""
    found: dict[int, Log] = {}
    for group, kind, fields in _records(dump):
        found.setdefault(group, Log()).take(kind, fields)
    return dict(sorted(found.items()))


def _records(dump: bytes) -> Iterator[tuple[int, str, dict[str, Any]]]:
    for line in dump.splitlines():
        record = json.loads(line)
        if record["group"]:
            yield record["group"], record["kind"], record["fields"]
