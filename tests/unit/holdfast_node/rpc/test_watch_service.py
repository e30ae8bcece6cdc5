"""Watch against a whole node: many watches on one stream, resumable, each end typed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from holdfast.errors import Reason
from holdfast.v1 import cache_pb2 as pb
from holdfast.v1.cache_pb2_grpc import CacheStub
from holdfast_node.rpc import watch_service

from tests.one_node import config_of, led, one_node


def watching(folder: Path, scenario: Callable[[Any, Any], Awaitable[Any]], **raw: Any) -> Any:
    async def main() -> Any:
        async with one_node(config_of(folder, **raw)) as channel:
            stub: Any = CacheStub(channel)
            await led(channel, "first")
            take = pb.WatchResponse.FromString
            call = channel.stream_stream("/holdfast.v1.Watch/Watch", response_deserializer=take)()
            try:
                return await scenario(call, stub)
            finally:
                call.cancel()

    return asyncio.run(main())


async def put(stub: Any, key: str, value: str) -> int:
    response = await stub.Put(pb.PutRequest(key=pb.Key(key_text=key), value_text=value))
    return int(response.revision)


def start(watch: int, prefix: bytes = b"", *, packed: bool = False, **fields: Any) -> bytes:
    begin = pb.WatchStart(range=pb.KeyRange(prefix=prefix), **fields)
    return pb.WatchRequest(watch=watch, start=begin, packed=packed).SerializeToString()


async def next_with(call: Any, test: Callable[[pb.WatchResponse], bool]) -> pb.WatchResponse:
    while True:
        response: pb.WatchResponse = await call.read()
        assert response is not grpc.aio.EOF
        if test(response):
            return response


def test_changes_of_the_watched_keys_arrive_in_order(tmp_path: Path) -> None:
    """A watch from now sees later changes of its keys and no others, with their kinds."""

    async def scenario(call: Any, stub: Any) -> None:
        await call.write(start(1, b"a"))
        begun = await call.read()
        await put(stub, "a1", "one")
        await put(stub, "b1", "other")
        await stub.Delete(pb.DeleteRequest(key=pb.Key(key_text="a1")))
        events: list[pb.Event] = []
        while len(events) < 2:
            events += (await call.read()).events

        assert (begun.watch, begun.started) == (1, True)
        assert [(e.kind, e.key) for e in events] == [(1, b"a1"), (2, b"a1")]
        assert events[0].value == b"one"
        assert events[0].revision < events[1].revision

    watching(tmp_path, scenario)


@pytest.mark.parametrize("packed", [False, True])
def test_what_waits_together_leaves_together_if_the_client_takes_it(tmp_path: Path, packed: bool) -> None:
    """Watches that see one change get it in one message, once the client has said that it reads `also`."""

    async def scenario(call: Any, stub: Any) -> None:
        for watch in (1, 2, 3):
            await call.write(start(watch, packed=packed))
            await next_with(call, lambda r: r.started)
        await put(stub, "k", "v")
        messages = [await next_with(call, lambda r: bool(r.events))]
        while sum(1 + len(message.also) for message in messages) < 3:
            messages.append(await next_with(call, lambda r: bool(r.events)))
        found = [each for message in messages for each in (message, *message.also)]

        assert len(messages) == (1 if packed else 3)
        assert [each.watch for each in found] == [1, 2, 3]
        assert [each.events[0].key for each in found] == [b"k"] * 3

    watching(tmp_path, scenario)


def test_a_message_of_many_slices_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits beyond the bound of a message leaves with the next one."""
    monkeypatch.setattr(watch_service, "MESSAGE_BYTES", 3 * watch_service.SLICE_BYTES_MIN)

    async def scenario(call: Any, stub: Any) -> None:
        for watch in range(1, 11):
            await call.write(start(watch, packed=True))
            await next_with(call, lambda r: r.started)
        await put(stub, "k", "v")
        sizes: list[int] = []
        while sum(sizes) < 10:
            sizes.append(1 + len((await next_with(call, lambda r: bool(r.events))).also))

        assert sizes == [3, 3, 3, 1]

    watching(tmp_path, scenario)


def test_a_watch_resumes_where_it_was(tmp_path: Path) -> None:
    """From an earlier point, what happened since is replayed once."""

    async def scenario(call: Any, stub: Any) -> None:
        await call.write(start(1))
        point = (await next_with(call, lambda r: r.started)).point
        await put(stub, "k", "1")
        await put(stub, "k", "2")
        await call.write(start(2, **{"from": point}))
        values: list[bytes] = []
        while len(values) < 2:
            response = await next_with(call, lambda r: r.watch == 2)
            values += [event.value for event in response.events]

        assert values == [b"1", b"2"]

    watching(tmp_path, scenario)


def test_a_snapshot_comes_first_when_asked(tmp_path: Path) -> None:
    """or_snapshot without a point: present keys, caught_up, then the tail; keys_only has no values."""

    async def scenario(call: Any, stub: Any) -> None:
        await call.write(start(1, or_snapshot=True, keys_only=True))
        response = await next_with(call, lambda r: r.caught_up)
        await put(stub, "later", "x")
        tail = await next_with(call, lambda r: bool(r.events) and not r.caught_up)

        assert [(e.kind, e.key, e.HasField("value")) for e in response.events] == [(5, b"first", False)]
        assert [(e.kind, e.key) for e in tail.events] == [(1, b"later")]

    watching(tmp_path, scenario)


@pytest.mark.parametrize(
    ("data", "watch", "reason"),
    [
        (b"\xff", 0, Reason.INVALID),
        (pb.WatchRequest(watch=5).SerializeToString(), 5, Reason.INVALID),
        (start(0), 0, Reason.INVALID),
        (start(1), 1, Reason.INVALID),
        (start(5, namespace="nope"), 5, Reason.UNKNOWN_NAMESPACE),
        (start(5, **{"from": pb.WatchPoint(group=99, revision=1)}), 5, Reason.WRONG_SHARD),
    ],
)
def test_a_bad_request_ends_only_itself(tmp_path: Path, data: bytes, watch: int, reason: Reason) -> None:
    """The refusal names the watch, and the others go on."""

    async def scenario(call: Any, stub: Any) -> None:
        await call.write(start(1))
        await call.read()
        await call.write(data)
        refused = await next_with(call, lambda r: r.HasField("cancelled"))
        await put(stub, "k", "v")
        still = await next_with(call, lambda r: bool(r.events))

        assert (refused.watch, refused.cancelled.reason) == (watch, reason)
        assert still.watch == 1

    watching(tmp_path, scenario)


def test_a_range_over_two_shards_names_them(tmp_path: Path) -> None:
    """CROSS_SHARD carries the map entries to open one watch each."""

    async def scenario(call: Any, _: Any) -> None:
        await call.write(start(1))
        refused = await call.read()

        assert refused.cancelled.reason == Reason.CROSS_SHARD
        assert [shard.group for shard in refused.cancelled.shards] == [2, 3]

    watching(tmp_path, scenario, namespaces=[{"name": "default", "splits": ["m"]}])


def test_a_cancelled_watch_is_silent(tmp_path: Path) -> None:
    """After cancel nothing of it arrives, and its number may be used again."""

    async def scenario(call: Any, stub: Any) -> None:
        await call.write(start(1, b"a"))
        await call.write(start(2, b""))
        await next_with(call, lambda r: r.watch == 2)
        await call.write(pb.WatchRequest(watch=1, cancel=pb.WatchCancel()).SerializeToString())
        await call.write(start(1, b"z"))
        await next_with(call, lambda r: r.watch == 1 and r.started)
        await put(stub, "a1", "v")
        await put(stub, "z1", "v")
        seen = []
        while (1, b"z1") not in seen or (2, b"z1") not in seen:
            response = await call.read()
            seen += [(response.watch, event.key) for event in response.events]

        assert sorted(seen) == [(1, b"z1"), (2, b"a1"), (2, b"z1")]

    watching(tmp_path, scenario)


def test_watches_go_on_after_half_close(tmp_path: Path) -> None:
    """A client that has said all it wants still receives events."""

    async def scenario(call: Any, stub: Any) -> None:
        await call.write(start(1))
        await call.done_writing()
        await call.read()
        await put(stub, "k", "v")
        response = await next_with(call, lambda r: bool(r.events))

        assert response.events[0].key == b"k"

    watching(tmp_path, scenario)


def test_a_closing_node_ends_watches_with_a_reason(tmp_path: Path) -> None:
    """Watches of a node that shuts down are cancelled STOPPED; a stream without any left then ends OK."""

    async def main() -> tuple[pb.WatchResponse, grpc.StatusCode]:
        config = config_of(tmp_path)
        async with grpc.aio.insecure_channel(config.address) as channel:
            async with one_node(config):
                take = pb.WatchResponse.FromString
                call = channel.stream_stream("/holdfast.v1.Watch/Watch", response_deserializer=take)()
                await call.write(start(1))
                await call.done_writing()
                await call.read()
            over = await next_with(call, lambda r: r.HasField("cancelled"))
            return over, await call.code()

    over, code = asyncio.run(main())

    assert over.cancelled.reason == Reason.STOPPED
    assert code is grpc.StatusCode.OK
