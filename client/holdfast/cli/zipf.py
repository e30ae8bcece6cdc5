"""Draws by Zipf's law: the k-th most popular of n comes up in proportion to 1 / k**exponent.

No table, so it costs the same for any n. Neighbours in popularity are scattered, so that the popular keys do
not all stand in one shard.

Source: Hörmann & Derflinger, "Rejection-inversion to generate variates from monotone discrete distributions"
(1996), as Apache Commons RNG has it; scattering as in YCSB.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable


class Zipf:
    """Places 0..n-1, some of them much more often than others."""

    def __init__(self, n: int, exponent: float, dice: random.Random) -> None:
        self._n = n
        self._exponent = exponent
        self._draw: Callable[[], float] = dice.random
        self._from = self._area(n + 0.5)
        self._to = self._area(1.5) - 1
        self._sure = 2 - self._area_inverse(self._area(2.5) - self._height(2))
        self._stride = stride_of(n)

    def place(self) -> int:
        """The next draw."""
        return self.rank() * self._stride % self._n

    def rank(self) -> int:
        """The next draw by its popularity: 1 is the most popular."""
        while True:
            area = self._from + self._draw() * (self._to - self._from)
            x = self._area_inverse(area)
            rank = min(max(int(x + 0.5), 1), self._n)
            if rank - x <= self._sure or area >= self._area(rank + 0.5) - self._height(rank):
                return rank

    def _height(self, x: float) -> float:
        return math.exp(-self._exponent * math.log(x))

    def _area(self, x: float) -> float:
        """Under the curve 1 / x**exponent, from 1 to x."""
        log = math.log(x)
        power = (1 - self._exponent) * log
        return log * (math.expm1(power) / power if abs(power) > 1e-8 else 1 + power / 2)

    def _area_inverse(self, area: float) -> float:
        power = max(area * (1 - self._exponent), -1.0)
        if power == -1.0:
            return float(self._n)
        return math.exp(area * (math.log1p(power) / power if abs(power) > 1e-8 else 1 - power / 2))

    def __repr__(self) -> str:
        return f"<Zipf of {self._n}, exponent {self._exponent:g}>"


def stride_of(n: int) -> int:
    """A step that visits each of n places once, and leads far away each time (the golden section)."""
    stride = max(round(n * 0.618_033_988_7), 1)
    while math.gcd(stride, n) > 1:
        stride += 1
    return stride
