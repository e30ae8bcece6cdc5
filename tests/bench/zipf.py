"""Which keys are asked for: few often, most hardly ever (Zipf), from a seed.

Drawn from the whole table of probabilities, so it is exact for any exponent; the known trick for large
spaces (Gray et al., "Quickly generating billion-record synthetic databases", 1994) only approximates it.
Ranks are spread over the key space by a permutation: the hottest keys must not be neighbours, which a
range-sharded store would feel.
"""

from __future__ import annotations

import itertools
import random


def cumulative(count: int, exponent: float) -> list[float]:
    """Sums of the weights 1 / rank ** exponent of the ranks 1..count."""
    return list(itertools.accumulate(rank**-exponent for rank in range(1, count + 1)))


def share_of_hottest(count: int, exponent: float, hottest: int) -> float:
    """The part of all requests that goes to the `hottest` first ranks."""
    sums = cumulative(count, exponent)
    return sums[hottest - 1] / sums[-1]


def places(count: int, exponent: float, draws: int, seed: int) -> list[int]:
    """`draws` places in 0..count-1. One seed draws one list; who is hot depends on `count` alone."""
    spread = list(range(count))
    random.Random(count).shuffle(spread)
    rng = random.Random(seed)
    return rng.choices(spread, cum_weights=cumulative(count, exponent), k=draws)
