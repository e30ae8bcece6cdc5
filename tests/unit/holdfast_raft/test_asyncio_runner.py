"""The runner on the loop that nodes use."""

import asyncio
import time
from collections.abc import Iterator

import pytest
import uvloop
from holdfast_raft.asyncio_runner import AsyncioRunner

LOOKS_MAX = 5
"""Per wait: timers of whole milliseconds may fire early by one, and then there is a rest to wait for."""


@pytest.fixture(params=[uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"])
def loop(request: pytest.FixtureRequest) -> Iterator[asyncio.AbstractEventLoop]:
    loop = request.param()
    yield loop
    loop.close()


@pytest.mark.parametrize("wait_us", [100, 400, 1400, 2400])
def test_a_wait_is_no_busy_loop(loop: asyncio.AbstractEventLoop, wait_us: int) -> None:
    """Who is called before its time asks for the rest: a few calls, however little is left."""
    runner = AsyncioRunner(loop)
    looks = 0
    due = 0.0

    def look() -> None:
        nonlocal looks
        looks += 1
        rest = due - time.monotonic()
        if rest > 0:
            runner.later(rest, look)
        else:
            loop.stop()

    try:
        for round_ in range(10):
            due = time.monotonic() + wait_us / 1e6
            loop.call_soon(look)
            loop.run_forever()
            assert looks <= LOOKS_MAX * (round_ + 1), f"called {looks} times in {round_ + 1} waits"
    finally:
        runner.close()


def test_what_is_due_runs_in_the_next_pass(loop: asyncio.AbstractEventLoop) -> None:
    """No delay is none, not the shortest wait. Counted in passes of the loop, not in time."""
    runner = AsyncioRunner(loop)
    order: list[str] = []

    def this_pass() -> None:
        runner.later(0.0, lambda: order.append("due"))
        loop.call_soon(next_pass)

    def next_pass() -> None:
        loop.call_soon(the_one_after)

    def the_one_after() -> None:
        order.append("the pass after the next")
        loop.stop()

    try:
        loop.call_soon(this_pass)
        loop.run_forever()
    finally:
        runner.close()

    assert order == ["due", "the pass after the next"]
