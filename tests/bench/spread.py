"""Rounds of one figure: their median with the least and the greatest; and the ratio of two such.

The machine's speed changes within minutes, so a ratio is made of each pair of rounds that ran one after
the other, and then the median of those is taken: what both sides of a pair felt cancels out.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import NamedTuple


class Spread(NamedTuple):
    """Median, least and greatest of some rounds."""

    median: float
    least: float
    greatest: float

    def __str__(self) -> str:
        if self.least == self.greatest:
            return shown(self.median)
        return f"{shown(self.median)} ({shown(self.least)}..{shown(self.greatest)})"


def of(rounds: Sequence[float]) -> Spread:
    """The spread of at least one round."""
    return Spread(statistics.median(rounds), min(rounds), max(rounds))


def of_ratios(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """Ours / theirs, pair by pair. Rounds without a partner, and pairs with a zero below, are left out."""
    return of([mine / other for mine, other in zip(ours, theirs, strict=False) if other])


def shown(figure: float) -> str:
    """A figure as people read it: three digits that matter, thousands apart."""
    if figure == 0 or abs(figure) >= 100:
        return f"{figure:,.0f}".replace(",", " ")
    return f"{figure:.3g}"
