"""What a session has seen, so that a later read can be asked not to go back behind it.

Invariant: entries are ordered by start and do not overlap; for every position the entry holds the
greatest (group, index) ever merged there. That loses nothing, because group ids only grow along a key's
life: seeing a later group means having seen all of the earlier one.

A token holds at most `ENTRIES_MAX` entries. Beyond that `raise_to` keeps what it has and answers False:
the owner must then read LINEARIZABLE where it would have read SESSION, which is stronger.

Does not know bytes on the wire (`wire.py`) nor which replica to ask (`router.py`).
Source: design protocols, section 4 (Token).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from enum import Enum
from typing import NamedTuple

ENTRIES_MAX = 1024  # a frame carries the token; 1024 entries of two short keys are about 64 KiB


class BadTokenError(ValueError):
    """Not a token: too many entries, or one that is no range, group and index."""


class TokenEntry(NamedTuple):
    """Positions [start, end) were served by `group`, of whose log everything up to `index` was seen."""

    start: bytes
    end: bytes
    group: int
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody wants of an entry


class Standing(Enum):
    """How a replica stands to a token."""

    SATISFIED = "satisfied"
    BEHIND = "behind"  # wait until the index is applied, or ask another replica
    SUPERSEDED = "superseded"  # a later group has served the key: WRONG_SHARD, never an answer


class Token:
    """The set of what has been seen; grows only."""

    __slots__ = ("_ends", "_entries", "_starts", "cluster_id")

    def __init__(self, cluster_id: str = "", entries: Iterable[TokenEntry] = ()) -> None:
        """Raises BadTokenError for more than ENTRIES_MAX entries or one that cannot be."""
        self.cluster_id = cluster_id
        self._entries: list[TokenEntry] = []
        self._starts: list[bytes] = []
        self._ends: list[bytes] = []
        for entry in entries:
            if not self.raise_to(entry):
                raise BadTokenError(f"a token holds at most {ENTRIES_MAX} entries")

    @property
    def entries(self) -> tuple[TokenEntry, ...]:
        """Ordered by start, not overlapping."""
        return tuple(self._entries)

    def raise_to(self, entry: TokenEntry) -> bool:
        """Adds what has been seen. False: no room, nothing changed.

        Raises:
            BadTokenError: the entry's range is empty or its group is not a group's id.
        """
        at = bisect_left(self._starts, entry[0])
        if at < len(self._entries):  # the usual case: the same shard again
            known = self._entries[at]
            if known[0] == entry[0] and known[1] == entry[1] and known[2] == entry[2]:
                if entry[3] > known[3]:
                    self._entries[at] = entry
                return True
        return self._splice(entry)

    def merge(self, other: Token) -> bool:
        """Adds all of `other`. False: no room for all of it, nothing changed.

        Raises:
            BadTokenError: the tokens are of two clusters.
        """
        if other.cluster_id and self.cluster_id and other.cluster_id != self.cluster_id:
            raise BadTokenError(f"token of cluster {other.cluster_id!r}, not of {self.cluster_id!r}")
        before = list(self._entries)
        for entry in other._entries:
            if not self.raise_to(entry):
                self._replace(before)
                return False
        self.cluster_id = self.cluster_id or other.cluster_id
        return True

    def covers(self, other: Token) -> bool:
        """Whether everything `other` has seen has been seen here."""
        return all(_covered(entry, self._overlapping(entry.start, entry.end)) for entry in other._entries)

    def standing(self, position: bytes, group: int, index: int) -> Standing:
        """Whether a replica of `group` that has applied `index` may serve `position`."""
        at = bisect_right(self._starts, position) - 1
        if at < 0:
            return Standing.SATISFIED
        entry = self._entries[at]
        if position >= entry.end or entry.group < group:
            return Standing.SATISFIED
        if entry.group > group:
            return Standing.SUPERSEDED
        return Standing.SATISFIED if index >= entry.index else Standing.BEHIND

    def needed(self, start: bytes, end: bytes, group: int) -> int | None:
        """The index `group` must have applied to serve all of [start, end); 0: any.

        None: a later group has served part of it, so this one must not.
        """
        need = 0
        for entry in self._overlapping(start, end):
            if entry.group > group:
                return None
            if entry.group == group and entry.index > need:
                need = entry.index
        return need

    def _overlapping(self, start: bytes, end: bytes) -> list[TokenEntry]:
        return self._entries[bisect_right(self._ends, start) : bisect_left(self._starts, end)]

    def _splice(self, entry: TokenEntry) -> bool:
        """Puts `entry` over what overlaps it, keeping the greater (group, index) at each position."""
        start, end, group, index = entry
        if not start < end or group < 1 or index < 0:
            raise BadTokenError(f"no token entry: [{start!r}, {end!r}) group {group} index {index}")
        low, high = bisect_right(self._ends, start), bisect_left(self._starts, end)
        pieces: list[TokenEntry] = []
        at = start
        for known in self._entries[low:high]:
            if known.start < start:
                pieces.append(known._replace(end=start))
            if at < known.start:
                pieces.append(TokenEntry(at, known.start, group, index))
            inner = max(known.start, start), min(known.end, end)
            winner = max((known.group, known.index), (group, index))
            pieces.append(TokenEntry(*inner, *winner))
            if known.end > end:
                pieces.append(known._replace(start=end))
            at = inner[1]
        if at < end:
            pieces.append(TokenEntry(at, end, group, index))
        left, right = max(low - 1, 0), high + 1  # the neighbours may say the same
        pieces = _joined(self._entries[left:low] + pieces + self._entries[high:right])
        entries = self._entries[:left] + pieces + self._entries[right:]
        if len(entries) > ENTRIES_MAX:
            return False
        self._replace(entries)
        return True

    def _replace(self, entries: list[TokenEntry]) -> None:
        self._entries = entries
        self._starts = [entry.start for entry in entries]
        self._ends = [entry.end for entry in entries]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Token):
            return NotImplemented
        return self.cluster_id == other.cluster_id and self._entries == other._entries

    __hash__ = None  # type: ignore[assignment]  # mutable

    def __repr__(self) -> str:
        return f"<Token {self.cluster_id or '?'}, {len(self._entries)} entries>"


def _joined(pieces: list[TokenEntry]) -> list[TokenEntry]:
    """Neighbours that meet and say the same become one."""
    joined: list[TokenEntry] = []
    for piece in pieces:
        if joined and joined[-1].end == piece.start and joined[-1][2:] == piece[2:]:
            joined[-1] = joined[-1]._replace(end=piece.end)
        else:
            joined.append(piece)
    return joined


def _covered(entry: TokenEntry, known: list[TokenEntry]) -> bool:
    at = entry.start
    for piece in known:
        if piece.start > at or (piece.group, piece.index) < (entry.group, entry.index):
            return False
        at = piece.end
    return at >= entry.end
