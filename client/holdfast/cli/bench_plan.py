"""What a bench does: the mix, the pace, the keys. One plan for the whole, one share of it for each process.

Invariant: every key a bench writes begins with one of its prefixes, followed by nothing but `n` and digits. A
key without a separator is its own unit, so that in a hashed namespace the keys spread over all shards.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from holdfast.cli.zipf import Zipf

PUT: Final = "put"
GET: Final = "get"
DELETE: Final = "delete"
INCREMENT: Final = "increment"
KINDS: Final = (PUT, GET, DELETE, INCREMENT)

DIGITS: Final = 12
# What follows a prefix in a key at most.
NAME_BYTES: Final = 1 + DIGITS
DRAWN_AT_ONCE: Final = 256
# Up to so many keys are made before, to have more of the machine for asking.
READY_MAX: Final = 100_000


class Plan(NamedTuple):
    """A bench, or the share of one process.

    Attributes:
        weights: kind -> weight, those above 0.
        callers: how many operations are under way at most.
        rate: operations a second, due at equal intervals whatever the answers; None: each caller asks again
            as soon as it is answered.
        seconds: how long to measure; None: until `total`.
        total: operations to measure; None: until `seconds`.
        warmup_s: time before, of the same load, that is not counted.
        level: of reads, by name; None: linearizable, or bounded with bound_ms.
        zipf: exponent of the keys' popularity; 0: all alike.
        fills: whether all keys are written first.
        share: this is the share-th (from 0) ...
        shares: ... of so many.
    """

    endpoints: str
    timeout_s: float
    namespace: str
    weights: Mapping[str, int]
    callers: int
    rate: float | None
    seconds: float | None
    total: int | None
    warmup_s: float
    level: str | None
    bound_ms: int | None
    or_linearizable: bool
    prefixes: tuple[bytes, ...]
    keys: int
    value_bytes: int
    ttl_ms: int | None
    zipf: float
    seed: int
    fills: bool
    share: int = 0
    shares: int = 1

    def split(self, shares: int) -> tuple[Plan, ...]:
        """The shares of so many processes. Each has a caller and an operation: `shares` exceeds neither."""
        return tuple(
            self._replace(
                callers=_part(self.callers, share, shares),
                total=None if self.total is None else _part(self.total, share, shares),
                rate=None if self.rate is None else self.rate / shares,
                share=share,
                shares=shares,
            )
            for share in range(shares)
        )

    def key(self, place: int) -> bytes:
        """The key at a place, 0 <= place < keys."""
        return b"%b%012d" % (self.prefixes[place % len(self.prefixes)], place)

    def counter(self, place: int) -> bytes:
        """The key that is incremented there: another, because it holds a number."""
        return b"%bn%012d" % (self.prefixes[place % len(self.prefixes)], place)

    def to_fill(self) -> Iterator[bytes]:
        """The keys that this share writes first."""
        return map(self.key, range(self.share, self.keys, self.shares))

    def to_fill_count(self) -> int:
        """How many these are."""
        return len(range(self.share, self.keys, self.shares))

    def own_seed(self) -> str:
        """What the dice of this share are made with."""
        return f"{self.seed}/{self.share}"

    def operations(self, dice: random.Random) -> Iterator[tuple[str, bytes]]:
        """What is asked, one after the other, without end."""
        kinds, weights = tuple(self.weights), tuple(self.weights.values())
        draw, count = dice.random, self.keys
        place = Zipf(count, self.zipf, dice).place if self.zipf else None
        ready = [self.key(n) for n in range(count)] if count <= READY_MAX else None
        while True:
            for kind in dice.choices(kinds, weights, k=DRAWN_AT_ONCE):
                at = int(draw() * count) if place is None else place()
                if kind == INCREMENT:
                    yield kind, self.counter(at)
                else:
                    yield kind, self.key(at) if ready is None else ready[at]

    def to_json(self) -> str:
        """For another process."""
        return json.dumps({**self._asdict(), "prefixes": [prefix.hex() for prefix in self.prefixes]})

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """What `to_json` wrote."""
        fields = json.loads(text)
        fields["prefixes"] = tuple(bytes.fromhex(prefix) for prefix in fields["prefixes"])
        return cls(**fields)


def _part(whole: int, share: int, shares: int) -> int:
    return whole // shares + (share < whole % shares)


class Pace(NamedTuple):
    """When the operations of an open loop are due: at equal intervals from `start`, on one clock.

    Shares of one bench take turns: the intervals of one begin a part of an interval after another's.
    """

    start: float
    rate: float
    phase: float = 0.0

    def due(self, number: int) -> float:
        """When operation `number` (from 0) is due."""
        return self.start + (number + self.phase) / self.rate

    def due_before(self, end: float) -> int:
        """How many are due before `end`: those with number 0 .. this - 1."""
        return max(math.ceil((end - self.start) * self.rate - self.phase), 0)
