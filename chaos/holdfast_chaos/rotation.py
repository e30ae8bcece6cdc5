"""Keys that take turns, so that each can be judged.

Whether a key's operations are linearizable is a search that doubles with every write of unknown outcome.
So a key is used for so many operations and so many open ones, then it rests for ever and a fresh one takes
its place. Facts come in (asked, ended open), the key to use comes out.

Each part of the key space has as many of them as the others.

Source: design testing.md: <= 200-500 operations and <= ~8 open infos a key; Jepsen's independent keys.
"""

from __future__ import annotations

import random
from typing import Final

from holdfast_chaos.keyspace import PARTS, named

OPERATIONS_MAX: Final = 300
OPEN_MAX: Final = 8


class Rotation:
    """The keys in use."""

    def __init__(
        self,
        active: int,
        *,
        operations_max: int = OPERATIONS_MAX,
        open_max: int = OPEN_MAX,
        prefix: str = "k",
        suffix: str = "",
    ) -> None:
        """active: how many keys are used side by side, about; prefix, suffix: of their names."""
        self._prefix, self._suffix = prefix, suffix
        self._operations_max = operations_max
        self._open_max = open_max
        self._made: list[str] = []
        self._asked: dict[str, int] = {}  # of keys in use
        self._open: dict[str, int] = {}
        of_a_part = max(1, -(-active // PARTS))
        self._in_use = [self._fresh(at % PARTS) for at in range(of_a_part * PARTS)]

    def _fresh(self, part: int) -> str:
        key = named(self._prefix, part, len(self._made)) + self._suffix
        self._made.append(key)
        self._asked[key] = self._open[key] = 0
        return key

    def take(self, chance: random.Random, part: int) -> str:
        """A key of a part for the next operation."""
        at = part + PARTS * chance.randrange(len(self._in_use) // PARTS)
        key = self._in_use[at]
        self._asked[key] += 1
        if self._asked[key] >= self._operations_max:
            self._retire(at)
        return key

    def ended_open(self, key: str) -> None:
        """A write on the key has an outcome that is not known."""
        if key in self._open:
            self._open[key] += 1
            if self._open[key] >= self._open_max:
                self._retire(self._in_use.index(key))

    def _retire(self, at: int) -> None:
        key = self._in_use[at]
        del self._asked[key], self._open[key]
        self._in_use[at] = self._fresh(at % PARTS)

    def in_use(self, part: int) -> tuple[str, ...]:
        """The keys of now, of a part."""
        return tuple(self._in_use[part::PARTS])

    @property
    def made(self) -> tuple[str, ...]:
        """Every key there ever was, for the final reads."""
        return tuple(self._made)

    def __repr__(self) -> str:
        return f"<Rotation {len(self._in_use)} of {len(self._made)} keys in use>"
