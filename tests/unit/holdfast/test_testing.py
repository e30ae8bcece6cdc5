"""The fake is a client like the other, and fails on demand."""

import asyncio

import pytest
from holdfast import (
    BusyError,
    EventKind,
    Mark,
    NoQuorumError,
    Outcome,
    Reason,
    RefusedError,
    UnknownOutcomeError,
)
from holdfast.testing import FakeClient

from tests.unit.holdfast.scenarios import SCENARIOS


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.__name__)
def test_the_fake_is_a_client(scenario):
    """Every scenario of a client holds for the fake."""

    async def run():
        async with FakeClient() as client:
            await scenario(client)

    asyncio.run(run())


def test_a_refusal_comes_once_and_changes_nothing():
    """fail_next refuses the next call of that method only."""

    async def run():
        client = FakeClient()
        client.fail_next("put", Reason.BUSY)
        with pytest.raises(BusyError):
            await client.put("k", "1")
        before = await client.get("k")
        await client.put("k", "2")
        return before.found, (await client.get("k")).value

    assert asyncio.run(run()) == (False, b"2")


@pytest.mark.parametrize("happened", [True, False])
def test_an_unknown_outcome_may_or_may_not_have_happened(happened):
    """`happened` decides what the caller cannot know."""

    async def run():
        client = FakeClient()
        client.fail_next("increment", Outcome.UNKNOWN, happened=happened)
        with pytest.raises(UnknownOutcomeError):
            await client.increment("n")
        return (await client.get("n")).found

    assert asyncio.run(run()) is happened


def test_several_calls_can_fail():
    """`times` calls fail, then the method works again; scan stands for scan_page too."""

    async def run():
        client = FakeClient()
        client.fail_next("scan", Reason.NO_QUORUM, times=2)
        for _ in range(2):
            with pytest.raises(NoQuorumError):
                await client.scan_page()
        return await client.scan_page()

    assert asyncio.run(run()).items == ()


def test_what_cannot_be_is_not_injected():
    """A refused operation that happened, or an unknown method, is the test's own mistake."""
    client = FakeClient()

    with pytest.raises(ValueError, match="no effect"):
        client.fail_next("put", Reason.BUSY, happened=True)
    with pytest.raises(ValueError, match="no method"):
        client.fail_next("putt", Reason.BUSY)


def test_time_passes_when_told():
    """A key expires by `advance`, not before its time, and watchers see EXPIRED."""

    async def run():
        client = FakeClient()
        async with client.watch() as watch:
            await client.put("k", "v", ttl_ms=100)
            client.advance(99)
            early = (await client.get("k")).found
            client.advance(1)
            late = (await client.get("k")).found
            await anext(watch)
            return early, late, (await anext(watch)).kind

    assert asyncio.run(run()) == (True, False, EventKind.EXPIRED)


def test_eviction_is_seen_as_such():
    """`evict` takes the key away with its own kind of event."""

    async def run():
        client = FakeClient()
        async with client.watch(with_previous=True) as watch:
            await client.put("k", "v")
            client.evict("k")
            await anext(watch)
            event = await anext(watch)
            return event.kind, event.previous

    assert asyncio.run(run()) == (EventKind.EVICTED, b"v")


def test_a_compacted_watch_says_so_or_begins_with_a_snapshot():
    """After `compact` an old point raises COMPACTED, unless the watch asked for a snapshot then."""

    async def run():
        client = FakeClient()
        watch = client.watch()
        await client.put("k", "1")
        await anext(watch)
        points = watch.points
        await client.put("k", "2")
        client.compact()
        with pytest.raises(RefusedError) as caught:
            await anext(client.watch(from_=points))
        fresh = client.watch(from_=points, or_snapshot=True)
        return caught.value.reason, [await anext(fresh) for _ in range(3)]

    reason, (begin, event, end) = asyncio.run(run())
    assert reason is Reason.COMPACTED
    assert isinstance(begin, Mark)
    assert isinstance(end, Mark)
    assert (event.kind, event.value) == (EventKind.SNAPSHOT, b"2")
