"""What is under way and must end by its deadline, with one timer for all of it.

Invariant: an item that is added is either discarded or told `late`, once. Costs a dict entry for each
item; the timer stands at the earliest deadline and scans all items when it rings, so it rings rarely.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar


class Due(Protocol):
    """Something with a deadline (monotonic seconds)."""

    @property
    def deadline(self) -> float: ...

    def late(self) -> None:
        """The deadline has passed and it is no longer under way."""
        ...


D = TypeVar("D", bound=Due)
_NEVER = float("inf")


class Deadlines(Generic[D]):
    """Items under way."""

    __slots__ = ("_call_at", "_items", "_now", "_ring_at")

    def __init__(
        self, now: Callable[[], float], call_at: Callable[[float, Callable[[], None]], object]
    ) -> None:
        self._now = now
        self._call_at = call_at
        self._items: dict[D, None] = {}
        self._ring_at = _NEVER

    def __len__(self) -> int:
        return len(self._items)

    def add(self, item: D) -> None:
        self._items[item] = None
        if item.deadline < self._ring_at:
            self._arm(item.deadline)

    def discard(self, item: D) -> None:
        self._items.pop(item, None)

    def take_all(self) -> list[D]:
        """Removes and returns all items: their owner ends them in its own way."""
        items = list(self._items)
        self._items.clear()
        return items

    def _arm(self, when: float) -> None:
        self._ring_at = when
        self._call_at(when, lambda: self._ring(when))

    def _ring(self, when: float) -> None:
        if when != self._ring_at:
            return  # an earlier deadline came after this timer was set, and set its own
        self._ring_at = _NEVER
        now = self._now()
        late = [item for item in self._items if item.deadline <= now]
        for item in late:
            if item in self._items:  # the one before may have ended it
                del self._items[item]
                item.late()
        if self._items and self._ring_at == _NEVER:
            self._arm(min(item.deadline for item in self._items))
