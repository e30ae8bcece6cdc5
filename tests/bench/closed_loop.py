"""Callers that ask again as soon as they are answered: what a number of callers get at most.

Says nothing about latency at a given rate: a slow answer keeps its caller from asking (coordinated
omission). open_loop.py is for that.
"""

from __future__ import annotations

import asyncio
import time
from array import array
from collections import Counter
from collections.abc import Awaitable, Callable

import holdfast

from tests.bench.load import CALLER_STRIDE, STRIDE

Call = Callable[[int], Awaitable[object]]


class Tally:
    """What a loop has seen; samples are seconds of what went well."""

    def __init__(self) -> None:
        self.samples: array[float] = array("d")
        self.reasons: Counter[str] = Counter()
        self.late: array[float] = array("d")
        self.dropped = 0

    def failed(self, problem: holdfast.HoldfastError) -> None:
        self.reasons[f"{problem.reason.name} {problem.outcome.name}"] += 1


async def closed_loop(call: Call, callers: int, first: int, keys: int, seconds: float) -> Tally:
    """Runs `callers` callers for some seconds."""
    tally = Tally()
    end = time.perf_counter() + seconds

    async def caller(number: int) -> None:
        clock, take = time.perf_counter, tally.samples.append
        place = number * CALLER_STRIDE
        while (before := clock()) < end:
            place = (place + STRIDE) % keys
            try:
                await call(place)
            except holdfast.HoldfastError as problem:
                tally.failed(problem)
            else:
                take(clock() - before)

    await asyncio.gather(*(caller(first + n) for n in range(callers)))
    return tally
