"""holdfast.cli.latencies: percentiles are never flattered, and histograms add up."""

from __future__ import annotations

import json
import math

from holdfast.cli.latencies import Latencies, bucket_of, greatest_of
from hypothesis import given
from hypothesis import strategies as st

MICROS = st.lists(st.integers(0, 1 << 40), min_size=1, max_size=200)


def of(values: list[int]) -> Latencies:
    made = Latencies()
    for value in values:
        made.add(value)
    return made


@given(st.integers(0, 1 << 40))
def test_a_bucket_holds_what_is_put_into_it(micros: int) -> None:
    """No latency is above its bucket's greatest, which is at most 0.8 % more; the next value begins anew."""
    greatest = greatest_of(bucket_of(micros))

    assert micros <= greatest <= micros * 1.008
    assert bucket_of(greatest) + 1 == bucket_of(greatest + 1)


@given(MICROS, st.sampled_from([0.0, 50.0, 90.0, 99.0, 99.9, 100.0]))
def test_a_percentile_is_never_told_smaller_than_it_was(values: list[int], percent: float) -> None:
    """Between the true percentile (nearest rank) and 0.8 % above it, and never above the greatest."""
    true = sorted(values)[max(math.ceil(len(values) * percent / 100), 1) - 1]
    told = of(values).percentile(percent)

    assert told is not None
    assert true <= told <= min(true * 1.008, max(values))


@given(MICROS, MICROS)
def test_merging_is_counting_together(some: list[int], others: list[int]) -> None:
    """Histograms of two processes, one of them through JSON, are as one that saw everything."""
    merged = of(some)
    merged.merge(Latencies.from_wire(json.loads(json.dumps(of(others).wire()))))
    whole = of(some + others)

    assert merged.wire() == {**whole.wire(), "counts": merged.wire()["counts"]}
    assert (merged.count, merged.mean()) == (whole.count, whole.mean())
    assert [merged.percentile(p) for p in range(101)] == [whole.percentile(p) for p in range(101)]


def test_nothing_seen_has_no_percentile() -> None:
    """Absent, not 0."""
    assert (Latencies().percentile(99), Latencies().mean()) == (None, None)
