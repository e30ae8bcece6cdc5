"""An operation to be asked for, and what decides about it: the base of all workloads.

A generator is asked by a client for its next operation in a part of the key space, and told of those that
ended open. Given the same seed and the same questions it gives the same answers, whatever PYTHONHASHSEED:
chance comes as a generator that is handed in, and nothing depends on the order of a set.

Every value is written once, so that a read says whose write it saw. `expect` may be SEEN: the revision that
the client last saw of the key, which only the client knows. Keys take turns (`rotation.py`).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from holdfast_chaos.rotation import Rotation

SEEN: Final = "seen"
"""As a condition: the revision that the client last saw of the key; 0: that it was absent, or not seen."""

PROVEN: Final = "PROVEN"
"""Of a read: BOUNDED so tightly that a replica which follows must ask its leader, and read LINEARIZABLE."""
LEVELS: Final = (("LINEARIZABLE", 45), (PROVEN, 15), ("SESSION", 20), ("BOUNDED", 12), ("ANY", 8))
BOUNDS_MS: Final = (50, 200, 1000)


class Ask(NamedTuple):
    """One operation to be done; fields as in `record.Event`.

    Attributes:
        in_burst: without a pause after the one before.
        f: `token` is no operation: the session takes over the token of `value["from"]`.
    """

    f: str
    key: str
    value: Any = None
    level: str | None = None
    bound_ms: int | None = None
    or_linearizable: bool | None = None
    expect: int | str | None = None
    ttl_ms: int | None = None
    want_previous: bool | None = None
    in_burst: bool = False

    def asked(self) -> dict[str, Any]:
        """Those fields of the event that opens it (`record.py`) that say what is asked, but for `f`."""
        return {name: value for name, value in self._asdict().items() if name not in ("f", "in_burst")}


class Generator:
    """What one run asks.

    Attributes:
        clients: how many ask, numbered from 1.
        at_once: operations of all of them that may be in flight.
    """

    def __init__(self, chance: random.Random, clients: int, at_once: int) -> None:
        self.chance = chance
        self.clients = clients
        self.at_once = at_once
        self._values = 0
        # About three at a time meet at a key: enough to overlap, few enough to be judged.
        self.keys = Rotation(at_once // 3)

    def next(self, client: int, part: int) -> Ask:
        """The next operation of a client in a part of the key space."""
        raise NotImplementedError

    def ended_open(self, ask: Ask) -> None:
        """The outcome of a write is not known."""
        self.keys.ended_open(ask.key)

    def final(self) -> Sequence[Ask]:
        """What to read once all is healed: every object, LINEARIZABLE."""
        return [Ask(self.final_f, key, level="LINEARIZABLE") for key in self.keys.made]

    final_f = "get"

    def value(self, client: int) -> str:
        """One that nobody else writes."""
        self._values += 1
        return f"{client}.{self._values}"

    def read(self, f: str, key: str) -> Ask:
        """A read at some level."""
        level = self.pick(LEVELS)
        if level == PROVEN:
            return Ask(f, key, level="BOUNDED", bound_ms=1, or_linearizable=True)
        bound = self.chance.choice(BOUNDS_MS) if level == "BOUNDED" else None
        return Ask(f, key, level=level, bound_ms=bound)

    def pick(self, weights: Sequence[tuple[str, int]]) -> str:
        """One of the words, by weight."""
        at = self.chance.randrange(sum(weight for _, weight in weights))
        for word, weight in weights:
            at -= weight
            if at < 0:
                return word
        raise AssertionError("weights are positive")
