"""Acts on ranges follow the map."""

import asyncio

import holdfast
import pytest
from holdfast import Reason, RefusedError

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
