"""Latencies, counted in buckets: adding is cheap, histograms of several processes add up, percentiles last.

Whole microseconds. Up to 255 each value has its own bucket, beyond that a bucket is less than 0.8 % wide, so
that a percentile is never told smaller than it was and at most 0.8 % larger. The greatest is kept exactly.

Not a library: hdrhistogram takes several times as long for each value and brings a compiled part, for what is
a shift and an addition here. Teacher: its layout of buckets.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

BITS: Final = 8  # of a value that a bucket keeps
HALF: Final = 1 << (BITS - 1)


def bucket_of(micros: int) -> int:
    """The bucket that holds a latency."""
    shift = micros.bit_length() - BITS
    return micros if shift <= 0 else shift * HALF + (micros >> shift)


def greatest_of(bucket: int) -> int:
    """The greatest latency of a bucket."""
    if bucket < 2 * HALF:
        return bucket
    shift = bucket // HALF - 1
    return ((bucket - shift * HALF + 1) << shift) - 1


class Latencies:
    """How often each latency was seen."""

    __slots__ = ("_counts", "count", "max_us", "sum_us")

    def __init__(self) -> None:
        self.count = 0
        self.sum_us = 0
        self.max_us = 0
        self._counts: dict[int, int] = {}

    def add(self, micros: int) -> None:
        """Counts one. The hot path: `bucket_of` stands here once more."""
        shift = micros.bit_length() - BITS
        bucket = micros if shift <= 0 else shift * HALF + (micros >> shift)
        counts = self._counts
        counts[bucket] = counts.get(bucket, 0) + 1
        self.count += 1
        self.sum_us += micros
        if micros > self.max_us:  # noqa: PLR1730 max() takes three times as long
            self.max_us = micros

    def merge(self, other: Latencies) -> None:
        """Adds what another has seen."""
        counts = self._counts
        for bucket, count in other._counts.items():
            counts[bucket] = counts.get(bucket, 0) + count
        self.count += other.count
        self.sum_us += other.sum_us
        self.max_us = max(self.max_us, other.max_us)

    def percentile(self, percent: float) -> int | None:
        """A latency that `percent` of all did not exceed, in microseconds; None: none was seen."""
        rank = max(math.ceil(self.count * percent / 100), 1)
        seen = 0
        for bucket in sorted(self._counts):
            seen += self._counts[bucket]
            if seen >= rank:
                return min(greatest_of(bucket), self.max_us)
        return None

    def mean(self) -> float | None:
        """In microseconds; None: none was seen."""
        return self.sum_us / self.count if self.count else None

    def wire(self) -> dict[str, Any]:
        """As JSON."""
        return {"sum_us": self.sum_us, "max_us": self.max_us, "counts": self._counts}

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> Latencies:
        """From what `wire` gave, through JSON (which makes text of the buckets)."""
        made = cls()
        made._counts = {int(bucket): count for bucket, count in wire["counts"].items()}
        made.count = sum(made._counts.values())
        made.sum_us, made.max_us = wire["sum_us"], wire["max_us"]
        return made

    def __repr__(self) -> str:
        return f"<Latencies of {self.count}, max {self.max_us} us>"
