"""Wires: what happens to bytes on their way from one party to another, each direction by itself.

A party is a node's number, or CLIENTS. A cut wire holds what is sent on it and lets it go when it is healed,
as TCP does over a network that comes back: bytes in the middle of a stream are never left out. A wire that
delays keeps the order.

Pure: facts and decisions. `gates.py` moves the bytes.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from typing import Final

CLIENTS: Final = 0
"""The party of everything that is no node."""


class Wire:
    """One direction between two parties.

    Attributes:
        is_cut: nothing passes.
        delay_s, jitter_s: each piece is late by delay_s and up to jitter_s more.
        bytes_per_s: 0: no bound.
        passed, held: bytes, since the beginning; held: those that had to wait for a cut to be healed.
        waiting: told when the wire has changed.
    """

    __slots__ = (
        "bytes_per_s",
        "delay_s",
        "held",
        "is_cut",
        "jitter_s",
        "passed",
        "source",
        "target",
        "waiting",
    )

    def __init__(self, source: int, target: int) -> None:
        self.source = source
        self.target = target
        self.is_cut = False
        self.delay_s = 0.0
        self.jitter_s = 0.0
        self.bytes_per_s = 0
        self.passed = 0
        self.held = 0
        self.waiting: set[Callable[[], None]] = set()

    @property
    def is_plain(self) -> bool:
        """Whether bytes pass at once."""
        return not (self.is_cut or self.delay_s or self.jitter_s or self.bytes_per_s)

    def late_s(self, size: int, chance: random.Random) -> float:
        """How late a piece of this size is."""
        late = self.delay_s + (self.jitter_s * chance.random() if self.jitter_s else 0.0)
        return late + (size / self.bytes_per_s if self.bytes_per_s else 0.0)

    def change(
        self,
        *,
        is_cut: bool | None = None,
        delay_s: float | None = None,
        jitter_s: float | None = None,
        bytes_per_s: int | None = None,
    ) -> None:
        """Changes what is named, and tells who waits."""
        self.is_cut = self.is_cut if is_cut is None else is_cut
        self.delay_s = self.delay_s if delay_s is None else delay_s
        self.jitter_s = self.jitter_s if jitter_s is None else jitter_s
        self.bytes_per_s = self.bytes_per_s if bytes_per_s is None else bytes_per_s
        for tell in list(self.waiting):
            tell()

    def __repr__(self) -> str:
        state = "cut" if self.is_cut else "plain" if self.is_plain else "shaped"
        return f"<Wire {self.source} -> {self.target} {state}, {self.passed} bytes passed, {self.held} held>"


class Wires:
    """Every wire between the parties of a cluster; made when first asked for."""

    def __init__(self) -> None:
        self._wires: dict[tuple[int, int], Wire] = {}

    def __call__(self, source: int, target: int) -> Wire:
        """The wire from one party to another."""
        wire = self._wires.get((source, target))
        if wire is None:
            wire = self._wires[source, target] = Wire(source, target)
        return wire

    def __iter__(self) -> Iterator[Wire]:
        return iter(list(self._wires.values()))

    def cut(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Cuts these directions."""
        for source, target in pairs:
            self(source, target).change(is_cut=True)

    def mend(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Lets these directions pass again."""
        for source, target in pairs:
            self(source, target).change(is_cut=False)

    def heal(self) -> None:
        """Every wire is plain again."""
        for wire in self:
            wire.change(is_cut=False, delay_s=0.0, jitter_s=0.0, bytes_per_s=0)

    @property
    def held(self) -> int:
        """Bytes that had to wait on all wires since the beginning."""
        return sum(wire.held for wire in self)

    def __repr__(self) -> str:
        return f"<Wires {len(self._wires)}, {sum(wire.is_cut for wire in self)} cut>"


def both_ways(pairs: Iterable[tuple[int, int]]) -> set[tuple[int, int]]:
    """The pairs, and the same the other way round."""
    given = set(pairs)
    return given | {(target, source) for source, target in given}


def between(left: Iterable[int], right: Iterable[int]) -> set[tuple[int, int]]:
    """Both directions between every party of one side and every party of the other."""
    others = tuple(right)
    return both_ways((a, b) for a in left for b in others)
