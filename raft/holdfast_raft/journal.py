"""A group's log in memory, over the node's WAL: the journal that PySyncObj reads and writes.

Holds (command, index, term) tuples in a list whose first item is the *base*: the place just before the
first entry, with its true term and no command to apply. Every change is also a WAL record; nothing here
waits for it. What is durable is decided by the LSN of the record that wrote an entry last, never by an
index (protocols.md 5: after a truncation the same index stands for another record).

Invariants:
- `entries[i][1] == base_index + i`.
- `durable_index` <= the last index, and everything up to it is on disk in the form held here.
- Entries at or below the snapshot may still be held for slow followers; the WAL has let go of them.

The camelCase methods are PySyncObj's Journal interface (pysyncobj/journal.py of 0.3.17).
"""

from __future__ import annotations

from collections import deque
from typing import Protocol, overload

from holdfast_raft.wal import RecoveredGroup

Entry = tuple[bytes, int, int]
"""(command, index, term); a command's first byte is PySyncObj's command type."""

BASE_COMMAND = b"\x01"
"""PySyncObj's NO_OP: what stands at the base is never applied."""


class GroupWal(Protocol):
    """The WAL's methods a journal uses; each returns the LSN of its record."""

    def entry(self, group: int, index: int, term: int, data: bytes) -> int: ...
    def truncate(self, group: int, from_index: int) -> int: ...
    def hard_state(self, group: int, term: int, vote: int | None) -> int: ...
    def base(self, group: int, index: int, term: int, *, keep_suffix: bool) -> int: ...


class Journal:
    """See the module docstring."""

    def __init__(self, wal: GroupWal, recovered: RecoveredGroup) -> None:
        """Starts from what the WAL recovered; all of that is durable (it was synced again at open)."""
        self._wal = wal
        self._group = recovered.group
        base_index, base_term = recovered.base
        self._entries: list[Entry] = [(BASE_COMMAND, base_index, base_term), *recovered.entries]
        self._term = recovered.term
        self._vote = recovered.vote
        self._unsynced: deque[tuple[int, int]] = deque()  # (lsn, index), both growing
        self._durable_index = self._entries[-1][1]
        self.hard_state_lsn = 0  # votes and confirmations wait for this
        self.appended_lsn = 0  # acknowledgements of entries wait for this
        self.held_bytes = sum(len(entry[0]) for entry in self._entries)

    # ---- what the rest of the raft package asks -----------------------------------------------

    @property
    def base_index(self) -> int:
        return self._entries[0][1]

    @property
    def last_index(self) -> int:
        return self._entries[-1][1]

    @property
    def last_term(self) -> int:
        return self._entries[-1][2]

    @property
    def durable_index(self) -> int:
        """The last index known to be on disk, as of the last `synced`."""
        return self._durable_index

    @property
    def has_unsynced(self) -> bool:
        """Whether entries wait for a sync."""
        return bool(self._unsynced)

    def be_born(self, term: int, vote: int | None) -> None:
        """The copy that this log was is a replica now; its Born record says the first term and vote."""
        assert self._term == 0, "a copy takes no part in elections"
        self._term, self._vote = term, vote

    def synced(self, durable_lsn: int) -> None:
        """Takes note that every record up to `durable_lsn` is on disk."""
        unsynced = self._unsynced
        while unsynced and unsynced[0][0] <= durable_lsn:
            self._durable_index = unsynced.popleft()[1]

    def term_at(self, index: int) -> int | None:
        """Term of the entry (or base) at `index`; None when it is not held."""
        offset = index - self._entries[0][1]
        return self._entries[offset][2] if 0 <= offset < len(self._entries) else None

    def from_index(self, index: int, bytes_max: int, count_max: int) -> list[Entry]:
        """Entries from `index` on (> base_index), at least one if there is one, up to the bounds."""
        offset = index - self._entries[0][1]
        assert offset > 0, f"entry {index} is not held: the base is {self._entries[0][1]}"
        taken: list[Entry] = []
        size = 0
        for position in range(offset, min(len(self._entries), offset + count_max)):
            entry = self._entries[position]
            size += len(entry[0])
            if taken and size > bytes_max:
                break
            taken.append(entry)
        return taken

    def snapshot_stands(self, index: int, term: int) -> int:
        """A durable snapshot covers everything up to (index, term): lets the WAL go of it.

        Keeps what follows if the log holds (index, term), else drops the whole log. Returns the LSN
        of the Base record.
        """
        keep_suffix = self.term_at(index) == term
        lsn = self._wal.base(self._group, index, term, keep_suffix=keep_suffix)
        if not keep_suffix:
            self._entries = [(BASE_COMMAND, index, term)]
            self.held_bytes = len(BASE_COMMAND)
            self._unsynced.clear()
            self._durable_index = index
        self.appended_lsn = lsn
        return lsn

    def forget_below(self, index: int) -> None:
        """Frees the memory of entries at or below `index`, which a snapshot covers."""
        offset = index - self._entries[0][1]
        if offset <= 0:
            return
        assert offset < len(self._entries), "only entries that are held can become the base"
        _, base_index, base_term = self._entries[offset]
        self.held_bytes -= sum(len(entry[0]) for entry in self._entries[: offset + 1]) - len(BASE_COMMAND)
        self._entries[: offset + 1] = [(BASE_COMMAND, base_index, base_term)]

    # ---- PySyncObj's Journal interface -----------------------------------------------------------

    def add(self, command: bytes, idx: int, term: int) -> None:
        assert idx == self._entries[-1][1] + 1, "entries are appended without gaps"
        lsn = self._wal.entry(self._group, idx, term, command)
        self._entries.append((command, idx, term))
        self._unsynced.append((lsn, idx))
        self.appended_lsn = lsn
        self.held_bytes += len(command)

    def deleteEntriesFrom(self, entryFrom: int) -> None:  # noqa: N802, N803 - PySyncObj's names
        """Drops the entries from position `entryFrom` on, also on disk."""
        assert entryFrom > 0, "the base is never dropped"
        index = self._entries[0][1] + entryFrom
        self.appended_lsn = self._wal.truncate(self._group, index)
        self.held_bytes -= sum(len(entry[0]) for entry in self._entries[entryFrom:])
        del self._entries[entryFrom:]
        while self._unsynced and self._unsynced[-1][1] >= index:
            self._unsynced.pop()
        self._durable_index = min(self._durable_index, index - 1)

    def deleteEntriesTo(self, entryTo: int) -> None:  # noqa: ARG002, N802, N803
        raise AssertionError("PySyncObj's compaction is not used: see snapshot_stands")

    def clear(self) -> None:
        raise AssertionError("PySyncObj's snapshot install is not used: see snapshot_stands")

    @overload
    def __getitem__(self, item: int) -> Entry: ...
    @overload
    def __getitem__(self, item: slice) -> list[Entry]: ...
    def __getitem__(self, item: int | slice) -> Entry | list[Entry]:
        return self._entries[item]

    def __len__(self) -> int:
        return len(self._entries)

    def _destroy(self) -> None:
        """Keeps the entries: the WAL may still have to copy them forward."""

    def setRaftCommitIndex(self, raftCommitIndex: int) -> None:  # noqa: N802, N803
        """Not stored: after a restart the commit index is the snapshot's (D12)."""

    def getRaftCommitIndex(self) -> int:  # noqa: N802
        return self._entries[0][1]

    def setCurrentTerm(self, term: int, votedForNodeId: int | None) -> None:  # noqa: N802, N803
        if (term, votedForNodeId) == (self._term, self._vote):
            return
        assert term >= self._term, "a term never goes back"
        self._term = term
        self._vote = votedForNodeId
        self.hard_state_lsn = self._wal.hard_state(self._group, term, votedForNodeId)

    def getCurrentTerm(self) -> int:  # noqa: N802
        return self._term

    def getVotedForNodeId(self) -> int | None:  # noqa: N802
        return self._vote

    def onOneSecondTimer(self) -> None:  # noqa: N802
        """Nothing is written by the clock."""

    def __repr__(self) -> str:
        return (
            f"<Journal of group {self._group}: ({self.base_index}..{self.last_index}],"
            f" durable to {self._durable_index}, term {self._term}>"
        )
