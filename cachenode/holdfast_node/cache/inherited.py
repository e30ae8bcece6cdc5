"""Events that a line of history took over from its source in a split: those of other keys are to go.

Looking at each event of a full history takes tens of milliseconds, and everybody would wait for it between
the Seal and the target's first write. So it is done by pieces.

Invariant: what is seen of the events, at any time, are those of the range.
Not here: when (history.py).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from holdfast.keys import KeyRange
from holdfast.units import EVERYWHERE

# An event as it is kept: the fields of history.Event and what it counts for against history_bytes. A plain
# tuple, which the garbage collector stops tracking (it never does so for named ones, and there may be a
# million). The count stands in it because looking at the three objects that it is the length of takes three
# times as long as all the rest.
Change = tuple[int, bytes, int, bytes | None, bytes | None, int]


class Piece(NamedTuple):
    """Some events of a line, of which those of `keys` are meant."""

    events: list[Change]
    keys: KeyRange = EVERYWHERE


class Inherited:
    """Oldest first: `kept`, which were sifted and count for `kept_bytes`, then `rest`, which were not yet."""

    __slots__ = ("_keys", "kept", "kept_bytes", "rest")

    def __init__(self, events: deque[Change], keys: KeyRange) -> None:
        """The events are its own from now on; `keys` are those of the line that took them over."""
        self._keys = keys
        self.rest = events
        self.kept: list[Change] = []
        self.kept_bytes = 0

    def sift(self, count: int) -> int:
        """Looks at so many; how many of these were not there."""
        look = min(count, len(self.rest))
        events = [self.rest.popleft() for _ in range(look)]
        found = [event for event in events if event[1] in self._keys]
        self.kept += found
        self.kept_bytes += sum([event[5] for event in found])
        return count - look

    def __reversed__(self) -> Iterator[Change]:
        yield from (event for event in reversed(self.rest) if event[1] in self._keys)
        yield from reversed(self.kept)

    def pieces(self) -> list[Piece]:
        """As they are now."""
        return [Piece(self.kept.copy()), Piece(list(self.rest), self._keys)]

    def __repr__(self) -> str:
        return f"<Inherited {len(self.kept)} kept, {len(self.rest)} to sift>"
