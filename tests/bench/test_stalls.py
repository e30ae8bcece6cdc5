"""Which stalls fall into a snapshot."""

from __future__ import annotations

from tests.bench import stalls
from tests.bench.stalls import Span, Stall


def test_a_line_cut_short_is_left_out():
    """A node that was killed may have been writing."""
    assert stalls.parsed("10.5 0.25 0.05 0.2 0.01\n11.0 0.0 0.0") == [Stall(10.5, 0.25, 0.05, 0.2, 0.01)]


def test_a_stall_counts_where_it_overlaps():
    """It may have begun before the snapshot and end in it."""
    early, into, inside, out_of, late = (
        Stall(0.9, 0.5),
        Stall(1.1, 0.5),
        Stall(1.5, 0.1),
        Stall(2.2, 0.5),
        Stall(3.0, 0.5),
    )

    overlapping = stalls.within([early, into, inside, out_of, late], [Span(1.0, 2.0)])

    assert overlapping == [into, inside, out_of]


def test_looks_join_to_spans_with_some_slack():
    """A snapshot that is still under way at the last look ends there."""
    looks = [(1.0, False), (2.0, True), (3.0, True), (4.0, False), (5.0, True), (6.0, True)]

    assert stalls.joined(looks, 0.5) == [Span(1.5, 4.5), Span(4.5, 6.5)]


def test_the_longest_is_in_milliseconds():
    """None noted: the loop was never late enough to be told."""
    assert stalls.longest_ms([Stall(1.0, 0.02), Stall(2.0, 0.01)]) == 20.0
    assert stalls.longest_ms([]) == 0.0


def test_what_a_loop_waits_for_a_core_is_not_its_own():
    """On cores that the load shares, the others' turn is not the product's stall."""
    assert stalls.longest_own_ms([Stall(1.0, 0.05, 0.01, 0.04), Stall(2.0, 0.02, 0.02, 0.0)]) == 20.0
    assert stalls.longest_own_ms([]) == 0.0


def test_the_worst_are_told_with_their_parts():
    """The longest first, so many and no more."""
    noted = [Stall(1.0, 0.004), Stall(2.0, 0.05, 0.01, 0.02, 0.008), Stall(3.0, 0.02)]

    assert [each["ms"] for each in stalls.worst(noted, 2)] == [50.0, 20.0]
    assert stalls.worst(noted, 1) == [
        {"ms": 50.0, "ran_ms": 10.0, "without_core_ms": 20.0, "collected_ms": 8.0}
    ]
