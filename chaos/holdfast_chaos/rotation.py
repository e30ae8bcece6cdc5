"""Keys that take turns, so that each can be judged.

Whether a key's operations are linearizable is a search that doubles with every write of unknown outcome.
So a key is used for so many operations and so many open ones, then it rests for ever and a fresh one takes
its place. Facts come in (asked, ended open), the key to use comes out.

Source: design testing.md: <= 200-500 operations and <= ~8 open infos a key; Jepsen's independent keys.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

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
        name: Callable[[int], str] = "k{}".format,
    ) -> None:
        """active: how many keys are used side by side; name: of the n-th key."""
        assert active >= 1
        self._name = name
        self._operations_max = operations_max
        self._open_max = open_max
        self._made = 0
        self._asked: dict[str, int] = {}  # of keys in use
        self._open: dict[str, int] = {}
        self._in_use = [self._fresh() for _ in range(active)]

    def _fresh(self) -> str:
        key = self._name(self._made)
        self._made += 1
        self._asked[key] = self._open[key] = 0
        return key

    def take(self, chance: random.Random) -> str:
        """A key for the next operation."""
        at = chance.randrange(len(self._in_use))
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
        self._in_use[at] = self._fresh()

    @property
    def in_use(self) -> tuple[str, ...]:
        """The keys of now."""
        return tuple(self._in_use)

    @property
    def made(self) -> tuple[str, ...]:
        """Every key there ever was, for the final reads."""
        return tuple(self._name(n) for n in range(self._made))

    def __repr__(self) -> str:
        return f"<Rotation {len(self._in_use)} of {self._made} keys in use>"
