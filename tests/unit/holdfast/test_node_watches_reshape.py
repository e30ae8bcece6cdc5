"""Shards split, merge and move under a watch: nothing is missed, nothing comes twice."""

import asyncio

import holdfast
import pytest
from holdfast import MarkKind, Reason, RefusedError, WatchPoint, retry, router

from tests.unit.holdfast import pauses
from tests.unit.holdfast.reshaped_cluster import ReshapedCluster
from tests.unit.holdfast.scripted_node import refusal


async def values(watch, count: int) -> list[bytes | None]:
    async with asyncio.timeout(30):
        return [(await anext(watch)).value for _ in range(count)]


async def watched(cluster, parts: int) -> None:
    """Waits until this many subscriptions stand."""
    async with asyncio.timeout(30):
        while sum(len(node.watchers) for node in cluster.nodes) != parts:  # noqa: ASYNC110
            await asyncio.sleep(0.001)


def points_sent(cluster) -> list[tuple[bytes, bytes, int, int]]:
    """Of all subscriptions that named a point: range, group, revision."""
    starts = [start for node in cluster.nodes for start in node.watch_starts if start.HasField("from")]
    return [
        (s.range.start, s.range.end, getattr(s, "from").group, getattr(s, "from").revision) for s in starts
    ]


def test_a_split_makes_two_parts_that_go_on_at_the_old_point():
    """Both halves resume at the source's point, at once, and every change comes once."""

    async def run():
        async with ReshapedCluster(1) as cluster, holdfast.connect(cluster.endpoints) as client:
            watch = client.watch()
            await watched(cluster, 1)
            await asyncio.gather(client.put("a", "1"), client.put("z", "2"))
            found = await values(watch, 2)
            waited = pauses.of_watches(client)
            cluster.split(b"m", aware=(1,))
            await watched(cluster, 2)
            await asyncio.gather(client.put("a", "3"), client.put("z", "4"))
            found += sorted(await values(watch, 2))
            points = watch.points
            await watch.aclose()
            return found, sorted(points), points_sent(cluster), waited

    found, points, sent, waited = asyncio.run(run())
    assert found == [b"1", b"2", b"3", b"4"]
    assert points == [WatchPoint(10, 3, b"", b"m"), WatchPoint(11, 3, b"m", b"")]
    assert sent == [(b"", b"m", 2, 2), (b"m", b"", 2, 2)]
    assert waited == []


def test_a_merge_lets_each_part_go_on_at_its_own_point():
    """Two parts stand on one shard, each from where its source had come to; both see what follows once."""

    async def run():
        async with ReshapedCluster(1, (b"m",)) as cluster, holdfast.connect(cluster.endpoints) as client:
            watch = client.watch()
            await watched(cluster, 2)
            for n in range(3):
                await client.put("a", str(n))
            await client.put("z", "3")
            found = sorted(await values(watch, 4))
            cluster.merge(12, aware=(1,))
            await watched(cluster, 2)
            await asyncio.gather(client.put("a", "4"), client.put("z", "5"))
            found += sorted(await values(watch, 2))
            points = watch.points
            await watch.aclose()
            await client.put("b", "6")
            await client.put("y", "7")
            async with client.watch(from_=points) as again:
                found += sorted(await values(again, 2))
                return found, sorted(points), points_sent(cluster)

    found, points, sent = asyncio.run(run())
    assert found == [b"%d" % n for n in range(8)]
    assert points == [WatchPoint(12, 5, b"", b"m"), WatchPoint(12, 5, b"m", b"")]
    assert sorted(sent[:2]) == [(b"", b"m", 2, 3), (b"m", b"", 3, 1)]
    assert sent[2:] == [(b"", b"", 12, 5)]


def test_what_a_source_had_left_comes_before_the_targets_own_changes():
    """A point of a merged group: the rest of its segment, under its id, then the target's line."""

    async def run():
        async with ReshapedCluster(1, (b"m",)) as cluster, holdfast.connect(cluster.endpoints) as client:
            watch = client.watch(end="m")
            await watched(cluster, 1)
            await client.put("a", "0")
            found = await values(watch, 1)
            points = watch.points
            await watch.aclose()
            for n in range(1, 4):
                await client.put("a", str(n))
            for _ in range(7):
                await client.put("z", "other")
            cluster.merge(12, aware=(1,))
            await client.put("a", "4")
            async with client.watch(end="m", from_=points) as again:
                found += await values(again, 2)
                middle = again.points
                found += await values(again, 2)
                return found, points, middle, again.points

    found, before, middle, after = asyncio.run(run())
    assert found == [b"%d" % n for n in range(5)]
    assert before == (WatchPoint(2, 1, b"", b"m"),)
    assert middle == (WatchPoint(2, 3, b"", b"m"),)
    assert after == (WatchPoint(12, 8, b"", b"m"),)


def test_what_waited_at_a_split_is_not_counted_as_seen():
    """`points` covers what was iterated over, also when the part it came from has been cut since."""

    async def run():
        async with ReshapedCluster(1) as cluster, holdfast.connect(cluster.endpoints) as client:
            watch = client.watch()
            await watched(cluster, 1)
            for n in range(4):
                await client.put("az"[n % 2], str(n))
            await values(watch, 1)
            cluster.split(b"m", aware=(1,))
            await watched(cluster, 2)
            points = watch.points
            found = await values(watch, 1)
            later = watch.points
            await watch.aclose()
            async with client.watch(from_=points) as again:
                found += sorted(await values(again, 3))
            async with client.watch(from_=later) as again:
                found += sorted(await values(again, 2))
            return sorted(points), sorted(later), found

    points, later, found = asyncio.run(run())
    assert points == [WatchPoint(2, 1, b"", b"m"), WatchPoint(2, 1, b"m", b"")]
    assert later == [WatchPoint(2, 2, b"", b"m"), WatchPoint(2, 2, b"m", b"")]
    assert found == [b"1", b"1", b"2", b"3", b"2", b"3"]


def test_a_snapshot_that_a_split_broke_off_begins_again_in_each_half():
    """Nothing of the broken snapshot counts: each half opens with its own mark."""

    async def run():
        async with ReshapedCluster(1) as cluster, holdfast.connect(cluster.endpoints) as client:
            await asyncio.gather(client.put("a", "1"), client.put("z", "2"))
            node = cluster.nodes[0]
            node.stuck_snapshots = True
            async with client.watch(or_snapshot=True) as watch, asyncio.timeout(30):
                items = [await anext(watch) for _ in range(3)]
                cluster.split(b"m", aware=(1,))
                node.stuck_snapshots = False
                items += [await anext(watch) for _ in range(6)]
            return [getattr(item, "key", None) or (item.kind, item.start, item.end) for item in items]

    begins, done = MarkKind.SNAPSHOT_BEGINS, MarkKind.CAUGHT_UP
    assert asyncio.run(run()) == [
        *[(begins, b"", b""), b"a", b"z"],
        *[(begins, b"", b"m"), b"a", (done, b"", b"m")],
        *[(begins, b"m", b""), b"z", (done, b"m", b"")],
    ]


def test_a_watch_follows_its_shard_to_new_nodes():
    """A move: the part goes on at a node there was no stream to, without a pause that grows."""

    async def run():
        async with ReshapedCluster(3) as cluster:
            cluster.groups[0].nodes = (1,)
            async with holdfast.connect(cluster.endpoints[:1]) as client, client.watch() as watch:
                await watched(cluster, 1)
                await client.put("a", "1")
                cluster.move(10, (2, 3), aware=(2, 3))
                await client.put("a", "2")
                return await values(watch, 2)

    assert asyncio.run(run()) == [b"1", b"2"]


def test_a_watch_whose_only_node_left_for_good_asks_for_the_map():
    """Its node is gone and told nobody: somebody else knows who serves the keys now."""

    async def run():
        async with ReshapedCluster(3) as cluster:
            cluster.groups[0].nodes = (2,)
            async with holdfast.connect(cluster.endpoints[:1]) as client, client.watch() as watch:
                await watched(cluster, 1)
                store = cluster.groups[0].store
                cluster.nodes[1].watchers.clear()
                cluster.move(10, (3,), lead=(3,))
                cluster.publish()
                await cluster.nodes[1].stop()
                await watched(cluster, 1)
                return [len(node.watchers) for node in cluster.nodes], store.revision, watch.over

    assert asyncio.run(run()) == ([0, 0, 1], 0, False)


def test_a_target_that_is_not_ready_for_watches_is_asked_again_soon(monkeypatch):
    """A node that does not know its new replica yet says WRONG_SHARD: short pauses, then it goes on."""
    monkeypatch.setattr(router, "YOUNG_S", 3600.0)  # however slow the machine, for the whole test

    async def run():
        async with ReshapedCluster(1) as cluster, holdfast.connect(cluster.endpoints) as client:
            watch = client.watch()
            await watched(cluster, 1)
            waited, node = pauses.of_watches(client), cluster.nodes[0]
            cluster.split(b"m")
            async with asyncio.timeout(30):
                await node.until(lambda: len(node.watch_starts) >= 1 + 2 * 8)
            cluster.publish()
            await watched(cluster, 2)
            await watch.aclose()
            return waited

    waited = asyncio.run(run())
    assert min(waited) >= retry.BACKOFF_MS_MIN / 2000
    assert max(waited) <= retry.YOUNG_WAIT_MS / 1000


def test_a_point_of_a_group_that_the_map_does_not_know_yet_is_not_dropped():
    """Points of a later group than the map's: the watch waits for the map instead of beginning from now."""

    async def run():
        async with ReshapedCluster(1) as cluster, holdfast.connect(cluster.endpoints) as client:
            await client.put("a", "1")
            cluster.move(10, (1,))
            source = cluster.nodes[0].groups[0]
            source.after = []  # it has not applied the Seal
            async with client.watch(from_=WatchPoint(10, 0, b"", b"")) as watch:
                await cluster.nodes[0].until(lambda: cluster.nodes[0].watch_starts)
                cluster.publish()
                return await values(watch, 1)

    assert asyncio.run(run()) == [b"1"]


def test_a_watch_whose_map_never_gets_newer_does_not_spin():
    """WRONG_SHARD that tells nothing new is followed by pauses that grow."""

    async def run():
        async with ReshapedCluster(1) as cluster, holdfast.connect(cluster.endpoints) as client:
            node = cluster.nodes[0]
            cluster.misplaced_watch = lambda *_: refusal(Reason.WRONG_SHARD)
            waited = pauses.of_watches(client)
            async with client.watch(), asyncio.timeout(30):
                await node.until(lambda: len(node.watch_starts) > 6)
                return waited[:6]

    waited = asyncio.run(run())
    assert waited == sorted(waited)
    assert waited[-1] > 4 * waited[0] > 0


def test_a_point_the_target_does_not_know_is_compacted():
    """A point of a group that is no ancestor ends the watch, as one that is no longer kept does."""

    async def run():
        async with ReshapedCluster(1) as cluster, holdfast.connect(cluster.endpoints) as client:
            cluster.groups[0].number = 5
            cluster.publish()
            async with client.watch(from_=WatchPoint(3, 1, b"", b"")) as watch:
                await anext(watch)

    with pytest.raises(RefusedError) as caught:
        asyncio.run(run())
    assert caught.value.reason is Reason.COMPACTED
