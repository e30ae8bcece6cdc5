"""Which key expires when: deadlines in order.

Keys written in one entry with one time to live share a deadline, so the index maps a deadline to its key,
or to a dict of keys once there are several: a slot a key instead of an object, and one search an entry
instead of one a key.

Invariant: it holds exactly the keys whose record has a deadline; nothing stale. Order is (deadline, key).
Not here: what time it is, and removing the keys (keyspace.py).
"""

from __future__ import annotations

from typing import Any

from sortedcontainers import SortedDict


class Deadlines:
    """Keys by deadline, ms of the group's clock."""

    __slots__ = ("_at", "count")

    def __init__(self) -> None:
        # deadline -> the key, or a dict of keys (used as an ordered set)
        self._at: Any = SortedDict()
        self.count = 0

    def __repr__(self) -> str:
        return f"<Deadlines keys={self.count} earliest={self.earliest()}>"

    def add(self, key: bytes, deadline_ms: int) -> None:
        """Notes a deadline for a key that has none."""
        held = self._at.get(deadline_ms)
        if held is None:
            self._at[deadline_ms] = key
        elif type(held) is dict:
            held[key] = None
        else:
            self._at[deadline_ms] = {held: None, key: None}
        self.count += 1

    def discard(self, key: bytes, deadline_ms: int) -> None:
        """Forgets a key's deadline, which must be there."""
        held = self._at[deadline_ms]
        if type(held) is dict:
            del held[key]
            if not held:
                del self._at[deadline_ms]
        else:
            assert held == key, "the index holds another key at this deadline"
            del self._at[deadline_ms]
        self.count -= 1

    def earliest(self) -> int | None:
        """The next deadline."""
        if not self._at:
            return None
        first: int = self._at.keys()[0]
        return first

    def due(self, stamp_ms: int, keys_max: int) -> list[bytes]:
        """Keys whose deadline is at or before the stamp, earliest first, ties in key order."""
        found: list[bytes] = []
        for deadline_ms in self._at.irange(maximum=stamp_ms):
            held = self._at[deadline_ms]
            found += sorted(held) if type(held) is dict else (held,)
            if len(found) >= keys_max:
                break
        return found[:keys_max]
