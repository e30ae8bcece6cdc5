"""Reads the page /metrics (Prometheus' text format) as far as the benches need it."""

from __future__ import annotations

Samples = dict[str, dict[str, float]]
"""Name -> labels as written -> value."""


def parsed(page: str) -> Samples:
    """All samples of a page."""
    found: Samples = {}
    for line in page.splitlines():
        if not line or line.startswith("#"):
            continue
        series, _, value = line.rpartition(" ")
        name, _, labels = series.partition("{")
        found.setdefault(name, {})[labels.rstrip("}")] = float(value)
    return found


def total(samples: Samples, name: str) -> float:
    """The sum over all labels; 0 when there is none."""
    return sum(samples.get(name, {}).values())
