"""A journal's WAL that only counts: for unit tests of what stands above it."""

from __future__ import annotations

from holdfast_raft.journal import Journal
from holdfast_raft.wal import RecoveredGroup


class MemoryWal:
    """Hands out LSNs and remembers the records."""

    def __init__(self) -> None:
        self.lsn = 0
        self.records: list[tuple[object, ...]] = []

    def _record(self, *what: object) -> int:
        self.lsn += 1
        self.records.append(what)
        return self.lsn

    def entry(self, group: int, index: int, term: int, data: bytes) -> int:
        return self._record("entry", index, term, data)

    def truncate(self, group: int, from_index: int) -> int:
        return self._record("truncate", from_index)

    def hard_state(self, group: int, term: int, vote: int | None) -> int:
        return self._record("hard_state", term, vote)

    def base(self, group: int, index: int, term: int, *, keep_suffix: bool) -> int:
        return self._record("base", index, term, keep_suffix)


def journal_of(*terms: int, base: tuple[int, int] = (1, 0), term: int | None = None) -> Journal:
    """A durable journal whose entries after the base have these terms."""
    entries = [(b"\0e%d" % (base[0] + 1 + n), base[0] + 1 + n, t) for n, t in enumerate(terms)]
    last = max((base[1], *terms))
    recovered = RecoveredGroup(group=2, base=base, entries=entries, term=last if term is None else term)
    return Journal(MemoryWal(), recovered)
