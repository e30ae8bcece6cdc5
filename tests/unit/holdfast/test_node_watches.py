"""Watches over the wire: resumed without gap or duplicate, whatever breaks."""

import asyncio

import holdfast
import pytest
from holdfast import EventKind, Level, Mark, MarkKind, Reason, RefusedError, WatchPoint
from holdfast import watch as watch_module

from tests.unit.holdfast.scripted_node import ScriptedCluster


async def values(watch, count: int) -> list[bytes | None]:
    return [(await anext(watch)).value for _ in range(count)]


def test_a_watch_outlives_its_stream():
    """After every stream broke, what happened meanwhile comes once, in order."""

    async def run():
        async with ScriptedCluster(2) as cluster, holdfast.connect(cluster.endpoints) as client:
            watch = client.watch(prefix="w/")
            await asyncio.wait(
                [asyncio.ensure_future(n.until(lambda n=n: n.watchers)) for n in cluster.nodes],
                return_when=asyncio.FIRST_COMPLETED,
            )
            await client.put("w/a", "1")
            found = await values(watch, 1)
            for node in cluster.nodes:
                node.cut_watches()
            for n in range(2, 6):
                await client.put("w/a", str(n))
            found += await values(watch, 4)
            await watch.aclose()
            return found

    assert asyncio.run(run()) == [b"1", b"2", b"3", b"4", b"5"]


def test_a_watch_outlives_its_node():
    """When the serving node dies the watch resumes at another replica from its point."""

    async def run():
        async with ScriptedCluster(2) as cluster, holdfast.connect(cluster.endpoints[1:]) as client:
            cluster.lead(2)
            watch = client.watch()
            await client.put("a", "0")
            serving = cluster.nodes[0] if cluster.nodes[0].watchers else cluster.nodes[1]
            other = cluster.nodes[1] if serving is cluster.nodes[0] else cluster.nodes[0]
            await serving.until(lambda: serving.watchers)
            await client.put("a", "1")
            while (await anext(watch)).value != b"1":
                pass
            cluster.lead(other.number)
            await serving.stop()
            await client.put("a", "2")
            found = await values(watch, 1)
            start = getattr(other.watch_starts[-1], "from")
            await watch.aclose()
            return found, start.revision

    assert asyncio.run(run()) == ([b"2"], 2)


def test_watches_are_spread_over_the_replicas():
    """A client that begins many at once has them served by all, each by the next one."""

    async def run():
        async with ScriptedCluster(3) as cluster, holdfast.connect(cluster.endpoints) as client:
            while len(client._backend.router.ready) < 3:
                await client.get("k", level=Level.SESSION)
            watches = [client.watch(prefix=f"k{n}") for n in range(9)]
            begun = lambda: [len(node.watch_starts) for node in cluster.nodes]
            await asyncio.wait(
                [asyncio.ensure_future(node.until(lambda: sum(begun()) == 9)) for node in cluster.nodes],
                return_when=asyncio.FIRST_COMPLETED,
            )
            for watch in watches:
                await watch.aclose()
            return begun()

    assert asyncio.run(run()) == [3, 3, 3]


def test_a_watch_over_shards_has_a_part_in_each():
    """Every shard of the range is watched, each in its own order, with a point of its own."""

    async def run():
        async with (
            ScriptedCluster(1, (b"m",)) as cluster,
            holdfast.connect(cluster.endpoints) as client,
            client.watch() as watch,
        ):
            node = cluster.nodes[0]
            await node.until(lambda: len(node.watchers) == 2)
            await client.put("a", "1")
            await client.put("z", "2")
            found = sorted(await values(watch, 2))
            return found, watch.points

    found, points = asyncio.run(run())
    assert found == [b"1", b"2"]
    assert sorted(points) == [WatchPoint(2, 1, b"", b"m"), WatchPoint(3, 1, b"m", b"")]


def test_points_cover_only_what_was_iterated_over():
    """What waits in the buffer is not in `points`: resuming there loses nothing."""

    async def run():
        async with ScriptedCluster() as cluster, holdfast.connect(cluster.endpoints) as client:
            watch = client.watch()
            node = cluster.nodes[0]
            await node.until(lambda: node.watchers)
            for n in range(3):
                await client.put("a", str(n))
            first = await values(watch, 1)
            points = watch.points
            await watch.aclose()
            async with client.watch(from_=points) as again:
                return first + await values(again, 2)

    assert asyncio.run(run()) == [b"0", b"1", b"2"]


def test_a_snapshot_comes_between_its_marks():
    """or_snapshot: the present keys between SNAPSHOT_BEGINS and CAUGHT_UP, then the tail."""

    async def run():
        async with ScriptedCluster() as cluster, holdfast.connect(cluster.endpoints) as client:
            await client.put("a", "1")
            async with client.watch(or_snapshot=True) as watch:
                head = [await anext(watch) for _ in range(3)]
                await client.put("a", "2")
                return head, (await anext(watch)).kind

    (begin, event, end), kind = asyncio.run(run())
    assert begin == Mark(MarkKind.SNAPSHOT_BEGINS, b"", b"")
    assert (event.kind, event.value) == (EventKind.SNAPSHOT, b"1")
    assert end == Mark(MarkKind.CAUGHT_UP, b"", b"")
    assert kind is EventKind.PUT


def test_a_compacted_point_raises():
    """Without or_snapshot a point that is no longer kept ends the watch with COMPACTED."""

    async def run():
        async with ScriptedCluster() as cluster, holdfast.connect(cluster.endpoints) as client:
            await client.put("a", "1")
            cluster.compacted_below = 1
            async with client.watch(from_=WatchPoint(2, 0)) as watch:
                await anext(watch)

    with pytest.raises(RefusedError) as caught:
        asyncio.run(run())
    assert caught.value.reason is Reason.COMPACTED
    assert caught.value.oldest_revision == 1


def test_a_slow_caller_pauses_its_watch_and_misses_nothing(monkeypatch):
    """Above the bound the subscription is given up, and taken up again from its point when there is room."""
    monkeypatch.setattr(watch_module, "BUFFER_EVENTS_MAX", 10)

    async def run():
        async with (
            ScriptedCluster() as cluster,
            holdfast.connect(cluster.endpoints) as client,
            client.watch() as watch,
        ):
            node = cluster.nodes[0]
            await node.until(lambda: node.watchers)
            for n in range(40):
                await client.put("a", str(n))
            await node.until(lambda: not node.watchers)
            buffered = watch.parts[0].buffered
            return await values(watch, 40), buffered, len(node.watch_starts)

    found, buffered, starts = asyncio.run(run())
    assert found == [b"%d" % n for n in range(40)]
    assert 10 < buffered < 40
    assert starts > 1


def test_closing_the_client_ends_its_watches():
    """Who waits for an event is told STOPPED, not left waiting."""

    async def run():
        async with ScriptedCluster() as cluster:
            client = await holdfast.connect(cluster.endpoints)
            waiting = asyncio.ensure_future(anext(client.watch()))
            await cluster.nodes[0].until(lambda: cluster.nodes[0].watchers)
            await client.aclose()
            await waiting

    with pytest.raises(RefusedError) as caught:
        asyncio.run(run())
    assert caught.value.reason is Reason.STOPPED


def test_a_closed_watch_ends_its_iteration():
    """aclose ends `async for` and cancels the subscription at the node."""

    async def run():
        async with ScriptedCluster() as cluster, holdfast.connect(cluster.endpoints) as client:
            watch = client.watch()
            node = cluster.nodes[0]
            await node.until(lambda: node.watchers)
            await watch.aclose()
            await node.until(lambda: not node.watchers)
            return [event async for event in watch]

    assert asyncio.run(run()) == []


def test_an_unknown_namespace_fails_the_watch():
    """A watch in a namespace that is not there raises UNKNOWN_NAMESPACE."""

    async def run():
        async with (
            ScriptedCluster() as cluster,
            holdfast.connect(cluster.endpoints, namespace="other") as client,
            client.watch() as watch,
        ):
            await anext(watch)

    with pytest.raises(RefusedError) as caught:
        asyncio.run(run())
    assert caught.value.reason is Reason.UNKNOWN_NAMESPACE
