"""Gives a group's state and committed entries to nodes that copy it: the answering side of copying.py.

Whoever asks is answered from this node's replica, whatever its role: from the log while that holds what
follows the asker's place, else from the latest snapshot, chunk by chunk.

Invariants:
- Only committed entries leave, and only this group's own: what a replica holds of the group that it was
  copied from itself (below the base of its birth) is another group's state.
- Each question has one answer, at the latest about HOLD_SECONDS after it; with nothing new, an empty one.
- While somebody copies, the log in memory is not cut above where that copy stands, up to KEEP_BYTES_MAX:
  a state that takes long to send would else be followed by the next snapshot, for ever.
- What is kept for an asker ends when it is silent or its connection is over.

It sends nothing that was not asked for; how fast a copy goes is the asker's affair.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from holdfast_raft.clock import Clock
from holdfast_raft.group import Group
from holdfast_raft.journal import Journal
from holdfast_raft.messages import CopyChunk, CopyEntries, CopyPull, CopyRefused, GroupMessage
from holdfast_raft.replication import BULK_QUEUED_MAX
from holdfast_raft.snapshots import SnapshotDamaged, SnapshotInfo, SnapshotReader, SnapshotStore

logger = logging.getLogger(__name__)

HOLD_SECONDS = 0.05
"""How long an answer waits for news."""
ENTRIES_BYTES_MAX = 1024 * 1024
ENTRIES_MAX = 4096
ASKERS_MAX = 16
"""Copies fed at once by this node; each may hold a file open."""
SILENT_AFTER = 10.0
"""Seconds without a question after which an asker is forgotten."""
COUNTED_MAX = 1024
"""Entries whose bytes are added up to say how far a copy is behind; more are estimated."""


class Node(Protocol):
    """What serving needs of its node; the driver."""

    clock: Clock
    store: SnapshotStore

    def send(self, peer: int, group: int, term: int, body: GroupMessage, lsn: int, bulk: bool) -> bool: ...
    def queued_bytes(self, peer: int) -> int: ...
    def call_later(self, delay: float, act: Callable[[], None]) -> None: ...


@dataclass(slots=True)
class _Asker:
    """One copy, by the node that makes it. needs: index above which it needs this log."""

    group: int
    heard_at: float
    needs: int = 0
    reader: SnapshotReader | None = None
    question: CopyPull | None = None  # not answered yet
    until: float = 0.0

    def close(self) -> None:
        if self.reader is not None:
            self.reader.close()
            self.reader = None


class CopyServing:
    """See the module docstring; the driver calls `turn` after its groups' turns."""

    def __init__(self, groups: Mapping[int, Group], node: Node) -> None:
        self._groups = groups
        self._node = node
        self._askers: dict[tuple[int, int], _Asker] = {}  # by (node, copy)

    def __repr__(self) -> str:
        return f"<CopyServing of {len(self._askers)} copies>"

    def take(self, peer: int, number: int, pull: CopyPull) -> None:
        """A node asks for what follows in group `number`."""
        now = self._node.clock.monotonic()
        asker = self._askers.get((peer, pull.copy))
        if asker is not None and asker.group != number:
            self._forget((peer, pull.copy))
            asker = None
        if asker is None:
            if len(self._askers) >= ASKERS_MAX:
                self._refuse(peer, number, pull, "this node feeds too many copies already")
                return
            asker = self._askers[(peer, pull.copy)] = _Asker(number, now)
        asker.heard_at, asker.question, asker.until = now, pull, now + HOLD_SECONDS
        if not self._answer(peer, asker, pull, may_ask=True):
            self._node.call_later(HOLD_SECONDS, _nothing)  # a turn comes then, if none does before

    def turn(self) -> None:
        """Answers whoever waits and can be answered now."""
        for (peer, _), asker in list(self._askers.items()):
            if asker.question is not None:
                self._answer(peer, asker, asker.question, may_ask=False)

    def sweep(self) -> None:
        """Forgets who has been silent."""
        silent_since = self._node.clock.monotonic() - SILENT_AFTER
        for key in [key for key, asker in self._askers.items() if asker.heard_at < silent_since]:
            self._forget(key)

    def disconnected(self, peer: int) -> None:
        """The connection to a node is over: it will ask anew."""
        for key in [key for key in self._askers if key[0] == peer]:
            self._forget(key)

    def close(self) -> None:
        for key in list(self._askers):
            self._forget(key)

    def _forget(self, key: tuple[int, int]) -> None:
        asker = self._askers.pop(key)
        asker.close()
        self._keep(asker.group)

    def _keep(self, number: int) -> None:
        """Tells the group from where on its log is needed."""
        group = self._groups.get(number)
        if group is not None:
            needed = [asker.needs for asker in self._askers.values() if asker.group == number and asker.needs]
            group.keep_entries_after(min(needed, default=None))

    # ---- answering -----------------------------------------------------------------------------------

    def _answer(self, peer: int, asker: _Asker, pull: CopyPull, *, may_ask: bool) -> bool:
        """Answers if there is an answer yet. may_ask: the question is new, so a snapshot may be asked for."""
        group = self._groups.get(asker.group)
        if group is None or group.stopped:
            self._refuse(peer, asker.group, pull, "the group is not here")
            self._forget((peer, pull.copy))
            return True
        if self._node.queued_bytes(peer) > BULK_QUEUED_MAX:
            return False  # a later turn comes back to it
        try:
            body = self._body(asker, group, pull, may_ask=may_ask)
        except (SnapshotDamaged, OSError) as error:
            logger.exception("group %d: the snapshot cannot be copied; taking a new one", group.id)
            asker.close()
            group.replace_snapshot()
            body = CopyRefused(pull.copy, f"its snapshot cannot be read: {error}")
        if body is None:
            return False
        asker.question = None
        self._node.send(peer, group.id, 0, body, 0, True)
        return True

    def _body(self, asker: _Asker, group: Group, pull: CopyPull, *, may_ask: bool) -> GroupMessage | None:
        journal = group.journal
        if not pull.number:
            if pull.index > group.commit_index:
                return self._nothing_new(asker, group, pull)  # this replica is the one that lags
            if pull.index >= max(journal.base_index, group.born.base_index):
                if journal.term_at(pull.index) != pull.term:
                    return CopyRefused(pull.copy, f"entry {pull.index} is of another term here")
                return self._entries(asker, group, pull)
        info = self._open(asker, group, pull)
        if info is None:
            if may_ask:
                group.want_snapshot()
            return self._nothing_new(asker, group, pull)
        return self._chunk(asker, group, pull, info)

    def _entries(self, asker: _Asker, group: Group, pull: CopyPull) -> CopyEntries | None:
        asker.close()
        self._needs(asker, pull.index)
        available = group.commit_index - pull.index
        if available == 0:
            return self._nothing_new(asker, group, pull)
        size = min(pull.bytes_max, ENTRIES_BYTES_MAX)
        entries = group.journal.from_index(pull.index + 1, size, min(available, ENTRIES_MAX))
        return self._said(group, pull, tuple((entry[2], entry[0]) for entry in entries))

    def _nothing_new(self, asker: _Asker, group: Group, pull: CopyPull) -> CopyEntries | None:
        if self._node.clock.monotonic() < asker.until:
            return None
        return self._said(group, pull, ())

    def _said(self, group: Group, pull: CopyPull, entries: tuple[tuple[int, bytes], ...]) -> CopyEntries:
        behind = _bytes_between(group.journal, pull.index + len(entries), group.commit_index)
        return CopyEntries(
            pull.copy, pull.index, pull.term, entries, group.commit_index, behind, group.leader is not None
        )

    def _open(self, asker: _Asker, group: Group, pull: CopyPull) -> SnapshotInfo | None:
        """The snapshot to send from; None: there is none yet that the log goes on from."""
        if asker.reader is not None:
            info = asker.reader.info
            if info.index >= group.journal.base_index and _is_asked_for(info, pull):
                return info
            asker.close()
        latest = group.own_snapshot()
        if latest is None or latest.index < group.journal.base_index:
            return None
        asker.reader = self._node.store.open(latest)
        return latest

    def _chunk(self, asker: _Asker, group: Group, pull: CopyPull, info: SnapshotInfo) -> CopyChunk:
        assert asker.reader is not None
        number = pull.number if _is_asked_for(info, pull) and pull.number < info.chunk_count else 0
        data = asker.reader.chunk(number)
        self._needs(asker, info.index)
        left = info.bytes * (info.chunk_count - number - 1) // info.chunk_count
        behind = left + _bytes_between(group.journal, info.index, group.commit_index)
        return CopyChunk(
            pull.copy,
            info.index,
            info.term,
            info.crc,
            number,
            data,
            number == info.chunk_count - 1,
            group.commit_index,
            behind,
        )

    def _needs(self, asker: _Asker, index: int) -> None:
        if asker.needs != index:
            asker.needs = index
            self._keep(asker.group)

    def _refuse(self, peer: int, number: int, pull: CopyPull, why: str) -> None:
        self._node.send(peer, number, 0, CopyRefused(pull.copy, why), 0, True)


def _is_asked_for(info: SnapshotInfo, pull: CopyPull) -> bool:
    """Whether these are the bytes of which the asker has the first pieces."""
    return (info.index, info.term, info.crc) == (pull.index, pull.term, pull.crc)


def _bytes_between(journal: Journal, index: int, commit_index: int) -> int:
    """Bytes of the entries after `index`, as far as they are committed; many are estimated."""
    count = commit_index - max(index, journal.base_index)
    if count <= 0:
        return 0
    if count > COUNTED_MAX:
        return journal.held_bytes * count // len(journal)
    first = commit_index - count + 1 - journal.base_index
    return sum(len(entry[0]) for entry in journal[first : first + count])


def _nothing() -> None: ...
