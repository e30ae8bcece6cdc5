"""Percentiles of measured latencies, exact: from all samples, sorted.

A histogram of fixed buckets would save memory that a run does not need (two million samples are 17 MB) and
cost the generator about a microsecond a sample, on cores that it shares with what it measures.
Samples of several generators are joined before they are sorted: percentiles cannot be averaged.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median

POINTS = (50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9)
"""What a latency is told by."""
CURVE = (0.0, 25.0, 50.0, 75.0, 87.5, 93.75, 96.875, 98.4375, 99.0, 99.5, 99.75, 99.9, 99.95, 99.99)
"""What a plot is drawn by: about the steps of an HDR histogram, each of which halves the rest."""


def at(ordered: Sequence[float], percent: float) -> float:
    """The least sample that at least `percent` of all do not exceed (nearest rank). `ordered` ascends."""
    assert ordered, "no samples"
    assert 0 <= percent <= 100
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def summary_ms(ordered: Sequence[float], points: Iterable[float] = POINTS) -> dict[str, float]:
    """{"p50": milliseconds, ..., "max": ...} of seconds in ascending order; empty without samples."""
    if not ordered:
        return {}
    return {
        **{f"p{point:g}": at(ordered, point) * 1e3 for point in points},
        "max": ordered[-1] * 1e3,
    }


def percent_of(name: str) -> float:
    """99.9 of "p99.9"; 100 of "max"."""
    return 100.0 if name == "max" else float(name.removeprefix("p"))


def medians(summaries: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """The median of each point over several rounds; points that some round lacks are left out."""
    kept = [summary for summary in summaries if summary]
    names = [name for name in (kept[0] if kept else ()) if all(name in summary for summary in kept)]
    return {name: median(summary[name] for summary in kept) for name in names}


def read(paths: Iterable[Path]) -> array[float]:
    """All samples of the files, ascending. A file holds float64 seconds as `write` (or peerload) made it."""
    together = array("d")
    for path in paths:
        together.frombytes(path.read_bytes())
    return array("d", sorted(together))


def write(samples: array[float], path: Path) -> None:
    """Writes samples for `read`."""
    path.write_bytes(samples.tobytes())
