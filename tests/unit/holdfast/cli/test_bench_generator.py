"""holdfast.cli.bench_generator: callers over a client (the SDK's fake), and what they count."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from holdfast.cli.bench_generator import Generator
from holdfast.cli.bench_plan import Plan
from holdfast.cli.bench_tally import Failed, Tally
from holdfast.errors import OutOfSpaceError, Reason
from holdfast.testing import FakeClient
from holdfast.types import Level, Outcome

from tests.unit.holdfast.cli.benches import plan


def ran(made: Plan, prepare: Callable[[FakeClient], Any] = lambda _: None) -> tuple[Tally, FakeClient]:
    """Fills and measures; everything counted, together."""
    whole = Tally()

    async def work() -> FakeClient:
        client = FakeClient()
        generator = Generator(client, made, whole.merge)
        if made.fills:
            await generator.fill(lambda _: None)
        prepare(client)
        await generator.run()
        return client

    return whole, asyncio.run(work())


def held(client: FakeClient) -> list[bytes]:
    async def work() -> list[bytes]:
        return [item.key async for item in client.scan(prefix="")]

    return asyncio.run(work())


@pytest.mark.parametrize("rate", [None, 5000.0])
def test_as_many_operations_as_asked(rate: float | None) -> None:
    """Closed and open loop count each of `total` once, and find the keys that were filled."""
    whole, client = ran(plan(total=300, callers=7, rate=rate))

    assert (whole.all_latencies().count, whole.error_count(), whole.not_begun) == (300, 0, 0)
    assert set(whole.latencies) == {"put", "get"}
    assert whole.found == sum(whole.served.values()) == whole.latencies["get"].count
    assert held(client) == [plan().key(n) for n in range(10)]


def test_every_kind_does_what_it_says() -> None:
    """Deletes empty the key space, increments count up on keys of their own."""
    whole, client = ran(plan(weights={"delete": 1, "increment": 1}, total=400))

    assert {kind for kind, seen in whole.latencies.items() if seen.count} == {"delete", "increment"}
    assert set(held(client)) <= {plan().counter(n) for n in range(10)}
    assert whole.error_count() == 0


def test_errors_are_counted_and_end_nothing() -> None:
    """By kind, reason and outcome; the caller goes on, and the failed are not among the answered."""

    def prepare(client: FakeClient) -> None:
        client.fail_next("put", Reason.BUSY, times=3)
        client.fail_next("get", Outcome.UNKNOWN)

    whole, _ = ran(plan(total=200), prepare)

    assert whole.failed[Failed("put", "BUSY", "refused")] == 3
    assert whole.error_count() == 4
    assert whole.all_latencies().count == 196


def test_reads_ask_for_the_level_of_the_plan() -> None:
    """A level by name, a bound, or the client's."""
    for fields, level in (
        ({"level": "ANY"}, Level.ANY),
        ({"bound_ms": 500, "or_linearizable": True}, Level.BOUNDED),
        ({}, Level.LINEARIZABLE),
    ):
        whole, _ = ran(plan(weights={"get": 1}, **fields))
        assert {served for _, served in whole.served} == {level}


def test_what_was_stopped_before_it_began_asks_nothing() -> None:
    """Neither in the fill nor after it."""

    async def work() -> list[bytes]:
        client, told = FakeClient(), Tally()
        generator = Generator(client, plan(rate=100.0, seconds=60.0, warmup_s=60.0), told.merge)
        generator.stop()
        await generator.fill(lambda _: None)
        await generator.run()
        assert told.all_latencies().count == 0
        return [item.key async for item in client.scan(prefix="")]

    assert asyncio.run(work()) == []


@pytest.mark.parametrize("rate", [None, 1000.0])
def test_a_stop_ends_it_early(rate: float | None) -> None:
    """What was measured until then is told."""

    told: list[Tally] = []

    async def work() -> None:
        some = asyncio.Event()
        generator = Generator(Slow(some), plan(rate=rate, seconds=600.0, total=None), told.append)
        running = asyncio.ensure_future(generator.run())
        await some.wait()
        generator.stop()
        await running

    asyncio.run(work())
    assert sum(tally.all_latencies().count for tally in told) > 0
    assert all(tally.seconds > 0 for tally in told)


class Slow(FakeClient):
    """Gives the loop to others before it answers, and says that it was asked."""

    def __init__(self, asked: asyncio.Event) -> None:
        super().__init__()
        self._asked = asked

    async def put(self, *arguments: Any, **options: Any) -> Any:
        await asyncio.sleep(0)
        self._asked.set()
        return await super().put(*arguments, **options)


def test_a_fill_that_fails_says_so() -> None:
    """The first refusal ends it: a bench of keys that are not there measures something else."""

    async def work() -> None:
        client = FakeClient()
        client.fail_next("put", Reason.OUT_OF_SPACE)
        await Generator(client, plan(), lambda _: None).fill(lambda _: None)

    with pytest.raises(OutOfSpaceError):
        asyncio.run(work())
