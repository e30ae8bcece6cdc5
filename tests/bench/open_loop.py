"""Requests that come at their time, whether or not the ones before were answered.

Latency counts from the moment a request was due, not from when it was sent: a stall of the cluster or of
this generator is felt by all who came meanwhile (no coordinated omission). Requests come in bursts, one
each millisecond, as this loop's timers are no finer; how late the generator itself was is told apart.

Not unbounded: above `OUTSTANDING_MAX` requests are dropped and counted, the run has then failed anyway.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import holdfast

from tests.bench.closed_loop import Tally

BURST_S = 0.001
OUTSTANDING_MAX = 100_000

NumberedCall = Callable[[int], Awaitable[object]]


def due_at(number: int, rate: float) -> float:
    """Seconds after the start at which request `number` comes: the end of its millisecond."""
    return math.floor(number / rate / BURST_S + 1) * BURST_S


def due_until(elapsed: float, rate: float) -> int:
    """How many requests have come after `elapsed` seconds."""
    return math.ceil(math.floor(elapsed / BURST_S) * BURST_S * rate - 1e-6)


async def arrivals(
    rate: float, seconds: float, tally: Tally, pause: Callable[[float], float]
) -> AsyncIterator[tuple[range, float]]:
    """The numbers of the requests that have come since the last time, and when the first second began.

    Args:
        rate: requests a second.
        seconds: for so long they come.
        tally: is told how late the caller was.
        pause: how long to wait for the next ones, by the seconds that have passed.
    """
    clock, total = time.perf_counter, int(rate * seconds)
    began, issued = clock(), 0
    while issued < total:
        elapsed = clock() - began
        until = min(total, due_until(elapsed, rate))
        if until > issued:
            tally.late.append(elapsed - due_at(issued, rate))
            yield range(issued, until), began
            issued = until
        await asyncio.sleep(pause(clock() - began))


async def open_loop(call: NumberedCall, rate: float, seconds: float) -> Tally:
    """`rate` requests a second for some seconds, then waits for the answers."""
    tally = Tally()
    clock = time.perf_counter
    outstanding: set[asyncio.Task[None]] = set()
    loop = asyncio.get_running_loop()

    async def one(number: int, due: float) -> None:
        try:
            await call(number)
        except holdfast.HoldfastError as problem:
            tally.failed(problem)
        else:
            tally.samples.append(clock() - due)

    async for numbers, began in arrivals(rate, seconds, tally, lambda _: BURST_S):
        for number in numbers:
            if len(outstanding) >= OUTSTANDING_MAX:
                tally.dropped += 1
                continue
            task = loop.create_task(one(number, began + due_at(number, rate)))
            outstanding.add(task)
            task.add_done_callback(outstanding.discard)
    while outstanding:
        await asyncio.gather(*outstanding)
    return tally
