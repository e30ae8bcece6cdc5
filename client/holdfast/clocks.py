"""The clocks of groups, as far as answers have told: what a write's `not_after` is counted by.

Invariant: a group that came out of a reshape continues its sources' clock, which is steered to the same wall
clocks as all others: until it has answered itself, the latest of the known ones stands in.

Reads no clock: times are the caller's monotonic ones, in ms.
"""

from __future__ import annotations

from collections.abc import Container, Iterable


class GroupClocks:
    """Each group's stamp minus our monotonic clock, ms."""

    __slots__ = ("_ahead",)

    def __init__(self) -> None:
        self._ahead: dict[int, float] = {}

    def learn(self, group: int, stamp_ms: int, now_ms: float) -> None:
        """The group's stamp, as just told."""
        self._ahead[group] = stamp_ms - now_ms

    def stamp_at(self, group: int, at_ms: float) -> float | None:
        """The group's stamp at that time, as far as known; None: no group has answered."""
        ahead = self._ahead.get(group)
        if ahead is None:
            ahead = max(self._ahead.values(), default=None)
        return None if ahead is None else ahead + at_ms

    def replaced(self, by: Iterable[int], living: Container[int]) -> None:
        """Groups have replaced others: they go on with the clocks there were, those that are gone end."""
        latest = max(self._ahead.values(), default=None)
        if latest is not None:
            for group in by:
                self._ahead.setdefault(group, latest)
        self._ahead = {group: ahead for group, ahead in self._ahead.items() if group in living}

    def __repr__(self) -> str:
        return f"<GroupClocks of {sorted(self._ahead)}>"
