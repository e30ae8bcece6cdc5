"""Streams to nodes that come and go."""

import asyncio

import holdfast
from holdfast import Level, links

from tests.unit.holdfast.reshaped_cluster import ReshapedCluster


async def until(holds) -> None:
    """Waits for what the session does by itself."""
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.001)


async def connected(client, nodes: int) -> None:
    """Waits for a stream to each of so many nodes."""
    await client.get("k", level=Level.ANY)
    await until(lambda: len(client._backend.router.ready) == nodes)


def test_the_stream_to_a_node_that_left_the_map_ends_after_a_grace(monkeypatch):
    """Stream and channel are closed once no shard names the node; until then it is left alone."""
    monkeypatch.setattr(links, "GRACE_S", 0.1)

    async def run():
        async with ReshapedCluster(3) as cluster, holdfast.connect(cluster.endpoints) as client:
            await connected(client, 3)
            cluster.move(10, (2, 3), aware=(2, 3))
            await client.put("k", "1")
            before = sorted(client._backend.links.by_node)
            await until(lambda: not cluster.nodes[0].streams)
            session = client._backend
            await until(lambda: cluster.endpoints[0] not in session.channels.addresses())
            asked = [node.maps_asked for node in cluster.nodes]
            await client.put("k", "2")
            return before, sorted(session.links.by_node), asked

    assert asyncio.run(run()) == ([1, 2, 3], [2, 3], [0, 0, 0])


def test_a_stream_that_is_still_owed_answers_outlives_the_grace(monkeypatch):
    """A node that left finishes what it was asked."""
    monkeypatch.setattr(links, "GRACE_S", 0.05)

    async def run():
        async with ReshapedCluster(2) as cluster, holdfast.connect(cluster.endpoints) as client:
            await connected(client, 2)
            node = cluster.nodes[0]
            node.held = asyncio.Event()
            waiting = asyncio.ensure_future(client.put("a", "1"))
            await node.until(lambda: len(node.frames) > 1 or node.operations[-1].HasField("put"))
            cluster.move(10, (2,), aware=(2,))
            client._backend.learn_shards([holdfast.wire.shard(cluster.shard_message(cluster.groups[0]))])
            await asyncio.sleep(0.2)
            still = len(node.streams)
            node.held.set()
            await waiting
            await until(lambda: not node.streams)
            return still

    assert asyncio.run(run()) == 1


def test_the_last_stream_is_kept_wherever_it_leads(monkeypatch):
    """An endpoint that holds no replica still tells the map."""
    monkeypatch.setattr(links, "GRACE_S", 0.02)

    async def run():
        async with ReshapedCluster(2) as cluster:
            cluster.groups[0].nodes = (2,)
            cluster.lead(2)
            async with holdfast.connect(cluster.endpoints[:1]) as client:
                await asyncio.sleep(0.1)
                kept = sorted(client._backend.links.by_node)
                await client.put("k", "1")
                client._backend.links.see_off()
                await until(lambda: not cluster.nodes[0].streams)
                return kept, sorted(client._backend.links.by_node)

    assert asyncio.run(run()) == ([1], [2])


def test_another_node_at_an_address_is_not_taken_for_the_one_that_was_there():
    """A replaced node's address: who asks for the node of before is never given a stream that has ended."""

    async def run():
        async with ReshapedCluster(2) as cluster, holdfast.connect(cluster.endpoints[1:]) as client:
            session = client._backend
            node = cluster.nodes[0]
            node.number = 7  # a new node took the place
            stream = session.links.open(node.address, 1)
            await until(lambda: stream.ready)
            named = sorted(session.links.by_node)
            stream.abandon("the test says so")
            await stream.ended.wait()
            return named, sorted(session.links.by_node), session.router.is_suspect(1, session._loop.time())

    assert asyncio.run(run()) == ([2, 7], [2], True)
