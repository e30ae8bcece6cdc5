"""When requests of an open loop are due."""

from __future__ import annotations

import asyncio

import pytest

from tests.bench.closed_loop import Tally
from tests.bench.mixed_row import bisected, with_failures
from tests.bench.open_loop import BURST_S, arrivals, due_at, due_until


@pytest.mark.parametrize("rate", [36_000.0, 12_000.0, 500.0, 7.0])
def test_what_is_due_by_the_clock_is_due_by_its_number(rate):
    """The two ways of counting agree at every burst: nobody is asked early, nobody is forgotten."""
    for burst in range(0, 3000, 7):
        elapsed = burst * BURST_S + BURST_S / 2
        until = due_until(elapsed, rate)

        assert all(due_at(number, rate) <= elapsed for number in range(max(0, until - 3), until))
        assert due_at(until, rate) > elapsed - BURST_S


def test_a_second_brings_the_whole_rate():
    """36 000 requests, 36 each millisecond."""
    assert due_until(1.0005, 36_000.0) == 36_000
    assert due_until(0.0015, 36_000.0) == 36


def test_a_request_that_failed_counts_as_one_that_took_the_timeout():
    """Refusing quickly must not make a percentile look good."""
    from array import array

    assert list(with_failures(array("d", [0.001, 0.002]), 2)) == [0.001, 0.002, 5.0, 5.0]


def test_the_search_goes_up_where_it_held_and_down_where_it_did_not():
    """It begins at a quarter of what was too much."""
    assert bisected(0.0, 36_000.0, 0) == 9_000.0
    assert bisected(0.0, 9_000.0, 1) == 4_500.0
    assert bisected(9_000.0, 36_000.0, 1) == 22_500.0


def test_every_request_arrives_once_and_the_lateness_is_told():
    """Whatever the pauses; the second ends with the last number."""
    tally = Tally()

    async def came() -> list[int]:
        return [n async for numbers, _ in arrivals(5_000.0, 0.05, tally, lambda _: 0.003) for n in numbers]

    assert asyncio.run(came()) == list(range(250))
    assert tally.late
    assert min(tally.late) >= 0
