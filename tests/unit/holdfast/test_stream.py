"""Packing, windows and ends of one stream, against a scripted peer."""

import asyncio

import holdfast
import pytest
from holdfast import BusyError, Outcome, stream
from holdfast.silence import Look
from holdfast.stream import FRAME_BYTES_MAX

from tests.unit.holdfast.scripted_node import ScriptedCluster


def frames_of(window: int, act) -> list[int]:
    async def run():
        cluster = ScriptedCluster()
        cluster.nodes[0].window = window
        async with cluster, holdfast.connect(cluster.endpoints) as client:
            await act(cluster.nodes[0], client)
            return cluster.nodes[0].frames

    return asyncio.run(run())


def test_a_full_window_makes_bigger_frames():
    """While no frame may leave, calls wait; then they leave together."""

    async def act(node, client):
        node.held = asyncio.Event()
        first = asyncio.ensure_future(client.put("k", "v"))
        await node.until(lambda: node.frames)
        more = [asyncio.ensure_future(client.put(f"k{n}", "v")) for n in range(3)]
        await asyncio.sleep(0)
        more += [asyncio.ensure_future(client.put(f"l{n}", "v")) for n in range(3)]
        await asyncio.sleep(0)
        node.held.set()
        await asyncio.gather(first, *more)

    assert [len(frame.operations) for frame in frames_of(1, act)] == [1, 6]


def frames_under_way(pause_s: float, monkeypatch) -> tuple[list[bytes], list[bytes]]:
    """Keys that wait in the client while a frame is unanswered, and how many calls each frame had at last."""
    monkeypatch.setattr(stream, "FRAME_PAUSE_S", pause_s)

    async def run():
        async with ScriptedCluster() as cluster, holdfast.connect(cluster.endpoints) as client:
            node, line = cluster.nodes[0], client._backend.links.by_node[1]
            line.silence.can_ping = False  # what is held answers no pings
            node.held = asyncio.Event()
            calls = [asyncio.ensure_future(client.put("first", "v"))]
            await node.until(lambda: node.frames)
            calls += [asyncio.ensure_future(client.put(key, "v")) for key in ("second", "third")]
            if pause_s:
                await asyncio.sleep(0)
            else:
                while line._queues:  # noqa: ASYNC110 the stream's own writer takes them
                    await asyncio.sleep(0)
            waiting = [call.key for queue in line._queues.values() for call in queue]
            node.held.set()
            await asyncio.gather(*calls)
            return waiting, [len(frame.operations) for frame in node.frames]

    return asyncio.run(run())


def test_small_frames_wait_a_moment_for_company(monkeypatch):
    """While a frame is under way, what comes within the pause waits and leaves as one frame."""
    assert frames_under_way(600.0, monkeypatch) == ([b"second", b"third"], [1, 2])


def test_a_frame_that_is_slow_to_be_answered_holds_up_others_for_a_moment_only(monkeypatch):
    """After the pause the next frame leaves, whether or not the one before was answered."""
    assert frames_under_way(0.0, monkeypatch) == ([], [1, 2])


def test_where_frames_are_answered_at_once_nobody_waits_long_for_company(monkeypatch):
    """The pause is half of what frames take, of late: a node that is not busy may have more frames."""
    monkeypatch.setattr(stream, "FRAME_PAUSE_S", 600.0)

    async def act(node, client):
        line = client._backend.links.by_node[1]
        line.silence.look = lambda _: Look()  # what is held is not given up
        for _ in range(3):
            await client.put("k", "v")
        node.held = asyncio.Event()
        calls = [asyncio.ensure_future(client.put("held", "v"))]
        await node.until(lambda: len(node.frames) == 4)
        calls.append(asyncio.ensure_future(client.put("next", "v")))
        await asyncio.sleep(0)
        async with asyncio.timeout(10):  # and not 600
            while line._queues:  # noqa: ASYNC110 the stream's own writer takes it
                await asyncio.sleep(0)
        node.held.set()
        await asyncio.gather(*calls)

    frames_of(64, act)


def test_a_frame_holds_at_most_128_operations():
    """More than one frame's worth leaves as several, in order."""

    async def act(_, client):
        await asyncio.gather(*(client.get("k") for _ in range(5000)))

    frames = frames_of(64, act)
    assert [len(frame.operations) for frame in frames] == [128] * 39 + [8]
    sequences = [op.sequence for frame in frames for op in frame.operations]
    assert sequences == sorted(sequences)


def test_a_frame_stays_below_the_servers_limit():
    """Large values are spread over frames of at most 3.5 MiB."""

    async def act(node, client):
        await asyncio.gather(*(client.put(f"k{n}", b"x" * 1024 * 1024) for n in range(8)))
        assert len(node.hellos) == 1  # a frame above the limit would have broken the stream

    frames = frames_of(64, act)
    assert sum(len(frame.operations) for frame in frames) == 8
    assert max(frame.ByteSize() for frame in frames) <= FRAME_BYTES_MAX + 1024


def test_namespaces_do_not_share_a_frame():
    """A frame has one namespace; absent means default."""

    async def run():
        async with ScriptedCluster() as cluster, holdfast.connect(cluster.endpoints) as client:
            session = client._backend
            await client.put("k", "v")
            line = session.links.by_node[1]
            for namespace in ("default", "other"):
                call = session.submit("default", b"k", b"k", b"\x42\x00", 1, 5.0)
                line._queues["default"].remove(call)
                call.namespace = namespace
                line.push(call, asyncio.get_running_loop().time())
            await cluster.nodes[0].until(lambda: len(cluster.nodes[0].frames) == 3)
            return [frame.namespace for frame in cluster.nodes[0].frames]

    assert asyncio.run(run())[1:] == ["", "other"]


def test_a_cancelled_call_is_not_sent():
    """What its caller gave up before the frame left does not travel."""

    async def act(node, client):
        node.held = asyncio.Event()
        first = asyncio.ensure_future(client.put("k", "v"))
        await node.until(lambda: node.frames)
        gone = asyncio.ensure_future(client.put("gone", "v"))
        stays = asyncio.ensure_future(client.put("stays", "v"))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.wait([gone])
        node.held.set()
        await asyncio.gather(first, stays)

    keys = [op.key for frame in frames_of(1, act) for op in frame.operations]
    assert keys == [b"k", b"stays"]


def test_a_call_that_would_wait_too_long_is_refused_at_once():
    """BUSY for what had to wait half its time behind others; what has more time, and the others, go on."""

    async def run():
        cluster = ScriptedCluster()
        cluster.nodes[0].window = 1
        async with cluster, holdfast.connect(cluster.endpoints) as client:
            node, line = cluster.nodes[0], client._backend.links.by_node[1]
            line.silence.can_ping = False  # what is held answers no pings
            node.held = asyncio.Event()
            sent = asyncio.ensure_future(client.put("k", "v", timeout_s=600))
            await node.until(lambda: node.frames)
            waiting = asyncio.ensure_future(client.put("waiting", "v", timeout_s=600))
            await asyncio.sleep(0)
            (first,) = line._queues["default"]
            first.pushed -= 100  # as if it had waited that long
            with pytest.raises(BusyError) as caught:
                await client.put("in vain", "v", timeout_s=199)
            patient = asyncio.ensure_future(client.put("patient", "v", timeout_s=300))
            await asyncio.sleep(0)
            node.held.set()
            await asyncio.gather(sent, waiting, patient)
            return caught.value, [op.key for frame in node.frames for op in frame.operations]

    refused, keys = asyncio.run(run())
    assert keys[-2:] == [b"waiting", b"patient"]
    assert b"in vain" not in keys
    assert (refused.outcome, refused.retry_after_ms // 10_000) == (Outcome.REFUSED, 10)
    assert "1 operations of this client wait to be sent to node 1" in refused.message


def test_a_frame_says_how_long_its_calls_may_take():
    """timeout_ms is the longest remaining time among the frame's calls."""

    async def act(_, client):
        await asyncio.gather(client.put("a", "v", timeout_s=60), client.put("b", "v", timeout_s=600))

    (frame,) = frames_of(64, act)
    assert 60_000 < frame.timeout_ms <= 600_000


def test_a_linetells_its_state_in_one_line():
    """The repr names node, state, frames and what waits."""

    async def run():
        async with ScriptedCluster() as cluster, holdfast.connect(cluster.endpoints) as client:
            await client.put("k", "v")
            return repr(client._backend.links.by_node[1]), cluster.endpoints[0]

    text, address = asyncio.run(run())
    assert text == f"<NodeStream {address} node 1 ready, 0/64 frames, 0 sent, 0 waiting>"
