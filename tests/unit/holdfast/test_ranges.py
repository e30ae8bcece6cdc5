"""Acts on ranges follow the map."""

import asyncio

import holdfast
import pytest
from holdfast import Level, Reason, RefusedError, ranges
from holdfast.errors import error
from holdfast.keys import KeyRange
from holdfast.shardmap import Replica, Shard, ShardMap
from holdfast.token import Token

from tests import counted_time
from tests.unit.holdfast.reshaped_cluster import ReshapedCluster
from tests.unit.holdfast.scripted_node import ScriptedCluster, refusal


def test_each_page_lies_in_one_shard():
    """No scan or range delete that is sent reaches over a shard's end."""

    async def run():
        async with ScriptedCluster(1, (b"h", b"p")) as cluster, holdfast.connect(cluster.endpoints) as client:
            await asyncio.gather(*(client.put(bytes((n,)), "v") for n in range(97, 123)))
            keys = [item.key async for item in client.scan(start="c", end="x")]
            deleted = await client.delete_range(start="c", end="x")
            operations = cluster.nodes[0].operations
            scans = [(op.scan.range.start, op.scan.range.end) for op in operations if op.HasField("scan")]
            return keys, scans, deleted

    keys, scans, deleted = asyncio.run(run())
    assert keys == [bytes((n,)) for n in range(ord("c"), ord("x"))]
    assert scans == [(b"c", b"h"), (b"h", b"p"), (b"p", b"x")]
    assert deleted == len(keys)


@pytest.mark.parametrize("reason", [Reason.WRONG_SHARD, Reason.CROSS_SHARD])
def test_a_page_that_lost_its_shard_is_asked_again(reason):
    """A range act refused for its place is asked again there, and no key is skipped or read twice."""

    async def run():
        async with ScriptedCluster() as cluster, holdfast.connect(cluster.endpoints) as client:
            await asyncio.gather(*(client.put(f"k{n}", "v") for n in range(3)))
            said = [refusal(reason)]
            cluster.nodes[0].script = lambda op: said.pop() if op.HasField("scan") and said else None
            return [item.key async for item in client.scan()]

    assert asyncio.run(run()) == [b"k0", b"k1", b"k2"]


def test_a_map_that_never_rests_is_reported():
    """After 16 relocations of one page the caller is told, refused."""

    async def run():
        async with ScriptedCluster() as cluster, holdfast.connect(cluster.endpoints) as client:
            cluster.nodes[0].script = lambda _: refusal(Reason.CROSS_SHARD)
            await client.scan_page()

    with pytest.raises(RefusedError) as caught:
        asyncio.run(run())
    assert caught.value.reason is Reason.WRONG_SHARD


async def filled(client) -> list[bytes]:
    keys = [bytes((n,)) for n in range(97, 123)]
    await asyncio.gather(*(client.put(key, "v") for key in keys))
    return keys


@pytest.mark.parametrize("aware", [(1, 2), (2,)], ids=["routed on", "refused"])
def test_a_scan_goes_on_through_a_split(aware):
    """The continuation key is good in the shards of after: every key comes once, in order."""

    async def run():
        async with ReshapedCluster(2) as cluster, holdfast.connect(cluster.endpoints) as client:
            wanted, found, cursor = await filled(client), [], b""
            for n in range(100):
                page = await client.scan_page(limit=4, from_=cursor)
                found += [item.key for item in page.items]
                cursor = page.next
                if n == 1:
                    cluster.split(b"k", aware=aware)
                    cluster.groups[0].leader = cluster.groups[1].leader = aware[0]
                if not cursor:
                    return wanted, found
            raise AssertionError

    wanted, found = asyncio.run(run())
    assert found == wanted


def test_a_scan_goes_on_through_a_merge():
    """A page of the merged shard holds what the next shard would have had; nothing comes twice."""

    async def run():
        async with ReshapedCluster(2, (b"k",)) as cluster, holdfast.connect(cluster.endpoints) as client:
            wanted = await filled(client)
            first = await client.scan_page(limit=4)
            cluster.merge(12, aware=(2,))
            rest = [item.key async for item in client.scan(start=first.next)]
            return wanted, [item.key for item in first.items] + rest

    wanted, found = asyncio.run(run())
    assert found == wanted


def test_a_page_counts_for_what_was_asked_not_for_what_the_map_says_by_then():
    """The map changes while a page is under way: the answer still covers the range it was asked for."""

    async def run():
        async with ReshapedCluster(1) as cluster, holdfast.connect(cluster.endpoints) as client:
            wanted, node = await filled(client), cluster.nodes[0]
            node.held = asyncio.Event()
            node.frames.clear()
            scanning = asyncio.ensure_future(client.scan_page(limit=1000))
            await node.until(lambda: node.frames)
            told = [Shard("default", KeyRange(b"", b"k"), 10, 1, (Replica(1, node.address),), 1)]
            client._backend.learn_shards(told)
            node.held.set()
            page = await scanning
            return wanted, [item.key for item in page.items], page.next

    wanted, found, following = asyncio.run(run())
    assert (found, following) == (wanted, b"")


@pytest.mark.parametrize("aware", [(1, 2), (2,)], ids=["routed on", "refused"])
def test_a_range_delete_is_planned_anew_with_the_shards_it_was_told(aware):
    """CROSS_SHARD for a map of before: each half is deleted in its shard, each key counted once."""

    async def run():
        async with ReshapedCluster(2) as cluster, holdfast.connect(cluster.endpoints) as client:
            wanted = await filled(client)
            cluster.split(b"k", aware=aware)
            deleted = await client.delete_range(prefix="")
            left = [item.key async for item in client.scan()]
            return len(wanted), deleted, left

    wanted, deleted, left = asyncio.run(run())
    assert (deleted, left) == (wanted, [])


class Restless:
    """A backend whose map has changed each time it is asked, which it says after a while."""

    def __init__(self):
        self.map, self.token, self.token_full = ShardMap(0, ()), Token(), False
        self.given_s: list[float] = []

    async def submit(self, *asked, is_place):
        assert is_place
        self.given_s.append(asked[-1])
        await asyncio.sleep(0.01)
        raise error(Reason.CROSS_SHARD, "scripted")


def test_a_range_act_ends_by_its_deadline_however_often_it_moves(monkeypatch):
    """The time of a page is one, over all places it is asked at, with pauses, as nothing new was told."""
    monkeypatch.setattr(ranges, "backoff_ms", lambda *_: 25.0)
    backend, keys = Restless(), KeyRange(b"", b"")
    ask = ranges.PageAsk(
        keys, 10, keys_only=False, level=Level.LINEARIZABLE, bound_ms=0, or_linearizable=False
    )

    with pytest.raises(RefusedError):
        counted_time.run(ranges.page(backend, "default", ask, b"", 0.1))
    assert backend.given_s == pytest.approx([0.1, 0.065, 0.03, ranges.MOMENT_S])
