"""What a node's write-ahead log holds, as `holdfast wal dump` tells it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

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
        is_copy: it follows another group's log, until it is born.
        is_retired: the replica has gone.
    """

    term: int = 0
    last: int = 0
    born: tuple[int, int] = (0, 0)
    base: int = 0
    is_copy: bool = False
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
        """The next record. What each does is the product's to say: `GroupFacts` in wal_records.py."""
        if (change := _CHANGES.get(kind)) is not None:
            change(self, fields)
        if kind in ("base", "state", "truncate", "retire"):
            self._prune()

    def _retire(self, _: dict[str, Any]) -> None:
        self.is_retired = True

    def _born(self, fields: dict[str, Any]) -> None:
        self.born = (fields["term"], fields["base_index"])
        self.term = fields["term"]
        if not self.is_copy:  # else it stands where its log has come to
            self.base = self.last = fields["base_index"]
        self.is_copy = False

    def _copying(self, _: dict[str, Any]) -> None:
        self.is_copy = True

    def _state(self, fields: dict[str, Any]) -> None:
        self.term, self.base, self.last = fields["term"], fields["base_index"], fields["last"]
        self.born = (fields["born_term"], fields["born_index"])
        self.is_retired, self.is_copy = fields["retired"], bool(fields["copying"])

    def _hard(self, fields: dict[str, Any]) -> None:
        self.term = fields["term"]

    def _rebase(self, fields: dict[str, Any]) -> None:
        self.base = fields["index"]
        if not fields["keep_suffix"] or self.base > self.last:
            self.last = self.base

    def _append(self, fields: dict[str, Any]) -> None:
        self.last = fields["index"]
        self._store(fields)

    def _store(self, fields: dict[str, Any]) -> None:
        if self.base < fields["index"] <= self.last:
            self._entries[fields["index"]] = Entry(fields["index"], fields["term"], fields["crc"])

    def _truncate(self, fields: dict[str, Any]) -> None:
        self.last = fields["from_index"] - 1

    def _prune(self) -> None:
        first, last = (self.base + 1, self.last) if not self.is_retired else (1, 0)
        self._entries = {index: entry for index, entry in self._entries.items() if first <= index <= last}


_CHANGES: Final[dict[str, Callable[[Log, dict[str, Any]], None]]] = {
    "base": Log._rebase,
    "born": Log._born,
    "copy": Log._store,  # an entry again, from a segment that is given up
    "copying": Log._copying,
    "entry": Log._append,
    "hard": Log._hard,
    "retire": Log._retire,
    "state": Log._state,
    "truncate": Log._truncate,
}


async def dumped(folder: Path) -> bytes:
    """What `holdfast wal dump` prints of it; nothing: it could not."""
    status, out = await cli("wal", "dump", str(folder), "-o", "json")
    return out if status == 0 else b""


def logs(dump: bytes) -> dict[int, Log]:
    """Group -> its log, in order of group; of each entry the one that was written last."""
    found: dict[int, Log] = {}
    for group, kind, fields in _records(dump):
        if kind == "copying":
            found[group] = Log()  # anew
        found.setdefault(group, Log()).take(kind, fields)
    return dict(sorted(found.items()))


def _records(dump: bytes) -> Iterator[tuple[int, str, dict[str, Any]]]:
    for line in dump.splitlines():
        record = json.loads(line)
        if record["group"]:
            yield record["group"], record["kind"], record["fields"]
