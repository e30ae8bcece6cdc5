"""What any holdfast client does: the same scenarios for the fake and for a client over the wire.

Each takes a fresh client of an empty namespace; ends with assertions. The integration tests run them
against real nodes.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from holdfast import Compare, ConditionFailedError, EventKind, InvalidError, Mark, Reason, RefusedError, Step


async def reads_back_what_was_put(client: Any) -> None:
    made = await client.put("greeting", "hello")
    found = await client.get(b"greeting")

    assert (found.value, found.revision, found.ttl_ms) == (b"hello", made.revision, 0)
    assert made.previous is None
    assert found.served.level == 1


async def says_when_there_is_nothing(client: Any) -> None:
    found = await client.get("nothing")
    gone = await client.delete("nothing")

    assert (found.value, found.revision, found.found) == (None, 0, False)
    assert (gone.revision, gone.deleted) == (0, 0)
    assert await client.touch("nothing", ttl_ms=1000) == 0


async def keeps_an_empty_value(client: Any) -> None:
    await client.put("k", "")
    found = await client.get("k")

    assert found.value == b""
    assert found.found


async def writes_and_reads_many_in_order(client: Any) -> None:
    keys = [f"many/{n:04d}" for n in range(3000)]
    made = await client.put_many([(key, key) for key in keys], ttl=3600)
    found = await client.get_many([*reversed(keys), "nothing"])

    assert [each.value for each in found] == [*(key.encode() for key in reversed(keys)), None]
    assert [each.revision for each in found] == [*(each.revision for each in reversed(made)), 0]
    assert 0 < found[0].ttl_ms <= 3_600_000
    assert await client.put_many({}.items()) == await client.get_many([]) == []


async def refuses_many_with_one_that_is_wrong_before_any_is_sent(client: Any) -> None:
    with pytest.raises(InvalidError):
        await client.put_many([("k", "v"), ("", "v")])
    with pytest.raises(InvalidError):
        await client.get_many(["k", "x" * 1025])
    assert not (await client.get("k")).found


async def returns_the_previous_value(client: Any) -> None:
    first = await client.put("k", "1", return_previous=True)
    second = await client.put("k", "2", return_previous=True)
    gone = await client.delete("k", return_previous=True)

    assert (first.previous, second.previous, gone.previous) == (None, b"1", b"2")
    assert gone.deleted == 1


async def keeps_conditions(client: Any) -> None:
    made = await client.put("k", "1", if_absent=True)
    with pytest.raises(ConditionFailedError) as caught:
        await client.put("k", "2", if_absent=True)
    assert caught.value.revision == made.revision
    with pytest.raises(ConditionFailedError):
        await client.put("other", "2", if_present=True)
    with pytest.raises(ConditionFailedError):
        await client.put("k", "2", if_revision=made.revision + 1000)
    with pytest.raises(ConditionFailedError):
        await client.delete("k", if_revision=made.revision + 1000)
    await client.put("k", "2", if_revision=made.revision)

    assert (await client.get("k")).value == b"2"


async def compares_and_sets(client: Any) -> None:
    made = await client.compare_and_set("k", 0, "1")
    with pytest.raises(ConditionFailedError) as caught:
        await client.compare_and_set("k", 0, "2")
    second = await client.compare_and_set("k", made.revision, "2")

    assert caught.value.revision == made.revision
    assert second.revision > made.revision


async def counts(client: Any) -> None:
    assert (await client.increment("n", 5, initial=10)).value == 15
    assert (await client.increment("n", -20)).value == -5
    with pytest.raises(ConditionFailedError):
        await client.increment("n", -1, minimum=-5)
    assert (await client.get("n")).value == b"-5"
    await client.put("text", "x")
    with pytest.raises(RefusedError) as caught:
        await client.increment("text")
    assert caught.value.reason is Reason.WRONG_TYPE


async def gives_lifetimes(client: Any) -> None:
    await client.put("k", "1", ttl=60)
    first = await client.get("k")
    await client.touch("k", ttl=600)
    second = await client.get("k")
    await client.touch("k")
    third = await client.get("k")

    assert 0 < first.ttl_ms <= 60_000 < second.ttl_ms <= 600_000
    assert third.ttl_ms == 0
    assert first.revision == third.revision


async def scans_in_order(client: Any) -> None:
    await asyncio.gather(*(client.put(f"s/{i:04}", str(i)) for i in range(250)))
    await client.put("t", "other")
    items = [item async for item in client.scan(prefix="s/")]
    some = [item.key async for item in client.scan(start="s/0010", end="s/0013", keys_only=True)]
    page = await client.scan_page(prefix="s/", limit=100)

    assert [item.key for item in items] == [b"s/%04d" % i for i in range(250)]
    assert [item.value for item in items] == [b"%d" % i for i in range(250)]
    assert some == [b"s/0010", b"s/0011", b"s/0012"]
    assert 0 < len(page.items) <= 100
    assert page.next > page.items[-1].key
    assert [item.key async for item in client.scan(limit=3)] == [b"s/0000", b"s/0001", b"s/0002"]


async def deletes_ranges(client: Any) -> None:
    await asyncio.gather(*(client.put(f"d/{i:04}", "x") for i in range(1500)))
    await client.put("e", "stays")
    with pytest.raises(RefusedError) as caught:
        await client.delete_range(start="d/0000", end="d/1200", atomic=True)
    assert caught.value.reason in {Reason.TOO_MANY_KEYS, Reason.CROSS_SHARD, Reason.WRONG_SHARD}
    assert await client.delete_range(start="d/0000", end="d/0010", atomic=True) == 10
    assert await client.delete_range(prefix="d/") == 1490
    assert [item.key async for item in client.scan()] == [b"e"]


async def transacts(client: Any) -> None:
    done = await client.txn(
        [Compare.absent("t/a")],
        [Step.put("t/a", "1"), Step.increment("t/n", 3), Step.get("t/a")],
        [Step.get("t/a")],
    )
    again = await client.txn([Compare.absent("t/a")], [Step.put("t/a", "2")], [Step.get("t/a")])

    assert done.succeeded
    assert [done.results[1].number, done.results[2].value] == [3, b"1"]
    assert not again.succeeded
    assert again.results[0].value == b"1"
    with pytest.raises(ConditionFailedError):
        await client.txn((), [Step.put("t/b", "1"), Step.put("t/a", "2", if_absent=True)])
    assert not (await client.get("t/b")).found


async def watches_changes(client: Any) -> None:
    async with client.watch(prefix="w/", from_=(), or_snapshot=True, with_previous=False) as watch:
        marks = [await anext(watch), await anext(watch)]
        await client.put("w/a", "1")
        await client.put("x", "not watched")
        await client.touch("w/a", ttl=100)
        await client.delete("w/a")
        events = [await anext(watch) for _ in range(3)]

    assert all(isinstance(mark, Mark) for mark in marks)
    assert [e.kind for e in events] == [EventKind.PUT, EventKind.TOUCHED, EventKind.DELETED]
    assert events[0].value == b"1"
    assert [e.revision for e in events] == sorted({e.revision for e in events})


async def resumes_a_watch(client: Any) -> None:
    watch = client.watch(prefix="w/", or_snapshot=True)
    await anext(watch)
    await anext(watch)
    await client.put("w/a", "1")
    await anext(watch)
    points = watch.points
    await watch.aclose()
    await client.put("w/a", "2")
    await client.put("w/b", "3")
    async with client.watch(prefix="w/", from_=points) as again:
        found = [await anext(again), await anext(again)]

    assert [event.value for event in found] == [b"2", b"3"]


async def refuses_bad_arguments(client: Any) -> None:
    for act in (
        lambda: client.put("", "v"),
        lambda: client.put("k", b"x" * (1024 * 1024 + 1)),
        lambda: client.put("k", "v", ttl_ms=1),
        lambda: client.get("k", bound_ms=0),
        lambda: client.scan_page(limit=0),
        client.delete_range,
        client.txn,
    ):
        with pytest.raises(InvalidError):
            await act()


async def carries_its_token(client: Any) -> None:
    await client.put("k", "1")
    token = client.token
    client.merge_token(token)
    assert client.token == token
    with pytest.raises(RefusedError) as caught:
        client.merge_token(b"\xff\xff")
    assert caught.value.reason is Reason.BAD_TOKEN


SCENARIOS = (
    reads_back_what_was_put,
    says_when_there_is_nothing,
    keeps_an_empty_value,
    writes_and_reads_many_in_order,
    refuses_many_with_one_that_is_wrong_before_any_is_sent,
    returns_the_previous_value,
    keeps_conditions,
    compares_and_sets,
    counts,
    gives_lifetimes,
    scans_in_order,
    deletes_ranges,
    transacts,
    watches_changes,
    resumes_a_watch,
    refuses_bad_arguments,
    carries_its_token,
)
