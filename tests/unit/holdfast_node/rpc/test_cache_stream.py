"""Cache.Stream against a whole node: every operation answered, bad ones typed, the stream alive."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from holdfast.errors import Reason
from holdfast.v1 import cache_pb2 as pb
from holdfast.v1 import types_pb2 as types
from holdfast_node import limits

from tests.one_node import SESSION, config_of, free_ports, one_node, opened_stream, results_of

Scenario = Callable[[Any, pb.Welcome], Awaitable[Any]]


def on_stream(folder: Path, scenario: Scenario, **raw: Any) -> Any:
    async def main() -> Any:
        async with one_node(config_of(folder, **raw)) as channel, opened_stream(channel) as (call, welcome):
            return await scenario(call, welcome)

    return asyncio.run(main())


async def stamped(call: Any, welcome: pb.Welcome) -> int:
    """not_after for writes, once the node's shards are led."""
    until = welcome.stamps[0].stamp_ms + 5000
    for group, probe in enumerate(s.start or b"a" for s in welcome.map.shards):
        sequence = 1000 * (group + 1)
        refused = True
        while refused:
            sequence += 1
            await call.write(frame(get(sequence, probe)))
            refused = (await results_of(call, 1))[sequence].HasField("error")
    return until


def frame(*operations: pb.Operation, **fields: Any) -> bytes:
    return pb.StreamRequest(operations=operations, **fields).SerializeToString()


def get(sequence: int, key: bytes, **fields: Any) -> pb.Operation:
    return pb.Operation(sequence=sequence, key=key, get=pb.Get(**fields))


def put(sequence: int, key: bytes, value: bytes, until: int, **fields: Any) -> pb.Operation:
    return pb.Operation(sequence=sequence, key=key, not_after_ms=until, put=pb.Put(value=value, **fields))


def test_the_welcome_says_who_and_what(tmp_path: Path) -> None:
    """The first response has cluster, node, map, stamps of the hosted groups and the window."""

    async def scenario(_: Any, welcome: pb.Welcome) -> None:
        assert (welcome.cluster_id, welcome.node) == ("test", 1)
        assert [s.group for s in welcome.map.shards] == [2]
        assert [s.group for s in welcome.stamps] == [2]
        assert welcome.frames_in_flight_max == limits.FRAMES_IN_FLIGHT_MAX
        assert welcome.answers_pings

    on_stream(tmp_path, scenario)


def test_a_ping_is_answered_whatever_else_is_owed(tmp_path: Path) -> None:
    """A client that waits for a shard without a leader can tell that the node lives."""

    async def scenario(call: Any, _: pb.Welcome) -> None:
        # A cluster of one whose other members are not there: nothing will ever be led.
        waiting = pb.StreamRequest(operations=[get(1, b"k")], timeout_ms=60_000)
        await call.write(waiting.SerializeToString())
        await call.write(pb.StreamRequest(ping=True).SerializeToString())
        async with asyncio.timeout(30):
            response = await call.read()
            while not response.pong:
                response = await call.read()
        assert not response.answers

    ports = iter(free_ports(6))
    nodes = [
        {"id": n, "address": f"127.0.0.1:{next(ports)}", "http": f"127.0.0.1:{next(ports)}"}
        for n in (1, 2, 3)
    ]
    on_stream(tmp_path, scenario, nodes=nodes)


def test_a_node_takes_in_what_it_can_answer_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond a number of unanswered operations, by the time a frame has, it is refused BUSY at once."""
    monkeypatch.setattr(limits, "NODE_IN_FLIGHT_OPERATIONS_A_SECOND", 4)

    async def scenario(call: Any, welcome: pb.Welcome) -> None:
        await stamped(call, welcome)
        entry = types.TokenEntry(start=b"default\0", end=b"default\1", group=2, index=10**9)
        ahead = types.Token(cluster_id="test", entries=[entry])  # of a state that will not come
        waiting = [get(n, b"k", level=2) for n in (1, 2, 3)]
        await call.write(frame(*waiting, token=ahead, timeout_ms=60_000))
        await call.write(frame(get(4, b"k"), get(5, b"k"), timeout_ms=1000))
        found = await results_of(call, 2)
        assert {n: result.error.reason for n, result in found.items()} == dict.fromkeys((4, 5), Reason.BUSY)
        await call.write(frame(get(6, b"k"), timeout_ms=1000))
        assert (await results_of(call, 1))[6].error.reason != Reason.BUSY

    on_stream(tmp_path, scenario)


def test_an_answer_that_its_client_does_not_read_keeps_nobody_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What counts is work: a client that is slow to read holds up its own frames only."""
    monkeypatch.setattr(limits, "NODE_IN_FLIGHT_OPERATIONS_A_SECOND", 4)

    async def main() -> dict[int, pb.Result]:
        async with (
            one_node(config_of(tmp_path)) as channel,
            opened_stream(channel) as (call, welcome),
            opened_stream(channel, b"other session 16") as (other, _),
        ):
            until = await stamped(call, welcome)
            await call.write(frame(put(1, b"k", b"x" * 1024 * 1024, until)))
            await results_of(call, 1)
            for n in range(2, 32):  # 30 MiB of answers, which nobody reads
                await call.write(frame(get(n, b"k", level=4)))
            while True:
                await other.write(frame(*(get(n, b"k2", level=4) for n in (1, 2, 3, 4))))
                found = await results_of(other, 4)
                if Reason.BUSY not in {result.error.reason for result in found.values()}:
                    return found

    async def within_a_minute() -> dict[int, pb.Result]:
        async with asyncio.timeout(60):
            return await main()

    assert len(asyncio.run(within_a_minute())) == 4


def test_what_was_answered_no_longer_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers make room, those of frames that were refused too."""
    monkeypatch.setattr(limits, "NODE_IN_FLIGHT_OPERATIONS_A_SECOND", 4)

    async def scenario(call: Any, welcome: pb.Welcome) -> None:
        await stamped(call, welcome)
        for count in (4, 5, 4, 5, 4):
            await call.write(frame(*(get(n + 1, b"k") for n in range(count)), timeout_ms=1000))
            reasons = {result.error.reason for result in (await results_of(call, count)).values()}
            assert reasons == ({Reason.BUSY} if count > 4 else {0})

    on_stream(tmp_path, scenario)


def test_a_read_sees_the_writes_before_it_in_its_frame(tmp_path: Path) -> None:
    """Writes of one frame on one key apply in order; reads behind them see the last, also by a range."""

    async def scenario(call: Any, welcome: pb.Welcome) -> None:
        until = await stamped(call, welcome)
        scan = pb.Operation(sequence=6, scan=pb.Scan(range=pb.KeyRange(prefix=b"k")))
        writes = put(2, b"k", b"one", until), put(3, b"k", b"two", until)
        await call.write(frame(*writes, get(4, b"k"), get(5, b"k", level=4), scan))
        found = await results_of(call, 5)

        assert found[2].revision < found[3].revision
        assert (found[4].value, found[5].value) == (b"two", b"two")
        assert [item.value for item in found[6].page.items] == [b"two"]

    on_stream(tmp_path, scenario)


def test_answers_carry_token_level_and_place(tmp_path: Path) -> None:
    """Writes and reads say what was seen, where and how fresh."""

    async def scenario(call: Any, welcome: pb.Welcome) -> None:
        until = await stamped(call, welcome)
        await call.write(frame(put(2, b"k", b"v", until)))
        wrote = (await call.read()).answers[0]
        token = types.Token(cluster_id="test", entries=[wrote.token])
        await call.write(frame(get(3, b"k", level=2), token=token))
        read = (await call.read()).answers[0]

        assert (wrote.level, wrote.node, wrote.leader, wrote.token.group) == (0, 1, 1, 2)
        assert (wrote.token.start, wrote.token.end) == (b"default\0", b"default\1")
        assert (read.level, read.results[0].value) == (2, b"v")
        assert read.token.index >= wrote.token.index == wrote.applied_index

    on_stream(tmp_path, scenario)


def test_a_retry_takes_effect_once(tmp_path: Path) -> None:
    """The same (session, sequence) with the same bytes gives the same answer, on another stream too."""

    async def main() -> None:
        async with one_node(config_of(tmp_path)) as channel:
            async with opened_stream(channel) as (call, welcome):
                until = await stamped(call, welcome)
                add = pb.Operation(sequence=2, key=b"n", not_after_ms=until, increment=pb.Increment(by=5))
                await call.write(frame(add))
                first = (await results_of(call, 1))[2]
            async with opened_stream(channel, SESSION) as (call, _):
                await call.write(frame(add))
                again = (await results_of(call, 1))[2]

        assert (first.number, again.number) == (5, 5)
        assert first.revision == again.revision

    asyncio.run(main())


@pytest.mark.parametrize(
    ("data", "field"),
    [
        (frame(pb.Operation(sequence=9, get=pb.Get())), "key"),
        (frame(pb.Operation(sequence=9, key=b"k")), "kind"),
        (frame(get(9, b"k" * 1025)), "key"),
        (frame(put(9, b"k", b"v", 0)), "not_after_ms"),
        (frame(put(9, b"k", b"v", 5, ttl_ms=3)), "put.ttl_ms"),
        (frame(get(9, b"k"), timeout_ms=700_000), "timeout_ms"),
        (frame(get(9, b"k"), hello=pb.Hello(session=bytes(16))), "hello.session"),
    ],
)
def test_a_bad_operation_is_refused_by_field(tmp_path: Path, data: bytes, field: str) -> None:
    """The refusal names sequence and field, and the stream goes on."""

    async def scenario(call: Any, welcome: pb.Welcome) -> None:
        await stamped(call, welcome)
        await call.write(data)
        refused = (await results_of(call, 1))[9]
        await call.write(frame(get(10, b"k")))
        served = (await results_of(call, 1))[10]

        assert (refused.error.reason, refused.error.field) == (Reason.INVALID, field)
        assert refused.error.outcome == 1
        assert not served.HasField("error")

    on_stream(tmp_path, scenario)


def test_one_bad_operation_does_not_touch_its_neighbours(tmp_path: Path) -> None:
    """Good operations of a frame are served beside a bad one."""

    async def scenario(call: Any, welcome: pb.Welcome) -> None:
        await stamped(call, welcome)
        strange = pb.Operation(sequence=3, key=b"k", get=pb.Get()).SerializeToString() + b"\xa0\x06\x01"
        good = get(2, b"k").SerializeToString()
        parts = b"".join(b"\x1a" + bytes((len(part),)) + part for part in (good, strange))
        await call.write(parts)
        found = await results_of(call, 2)

        assert not found[2].HasField("error")
        assert found[3].error.reason == Reason.INVALID

    on_stream(tmp_path, scenario)


@pytest.mark.parametrize("data", [b"\xff\xff", b"\x1a\xff", b"\x12\x02\xff\xff"])
def test_a_frame_that_cannot_be_read_is_answered(tmp_path: Path, data: bytes) -> None:
    """Garbage gets a result with sequence 0 and the stream lives."""

    async def scenario(call: Any, welcome: pb.Welcome) -> None:
        await stamped(call, welcome)
        await call.write(data)
        refused = (await results_of(call, 1))[0]
        await call.write(frame(get(2, b"k")))
        await results_of(call, 1)

        assert refused.error.reason == Reason.INVALID

    on_stream(tmp_path, scenario)


def test_a_frame_over_its_limits_is_refused_whole(tmp_path: Path) -> None:
    """Too many operations: each of the first 4096 is told, and one answer stands for the rest."""

    async def scenario(call: Any, welcome: pb.Welcome) -> None:
        await stamped(call, welcome)
        await call.write(frame(*(get(i + 1, b"k") for i in range(limits.FRAME_OPERATIONS_MAX + 5))))
        found = await results_of(call, limits.FRAME_OPERATIONS_MAX + 1)

        assert {r.error.field for r in found.values()} == {"operations"}
        assert set(found) == set(range(limits.FRAME_OPERATIONS_MAX + 1))

    on_stream(tmp_path, scenario)


def test_operations_before_hello_are_refused(tmp_path: Path) -> None:
    """Without a hello every operation is refused; with one the stream begins."""

    async def main() -> None:
        async with one_node(config_of(tmp_path)) as channel:
            make = channel.stream_stream(
                "/holdfast.v1.Cache/Stream", response_deserializer=pb.StreamResponse.FromString
            )
            call = make()
            await call.write(frame(get(1, b"k")))
            refused = (await results_of(call, 1))[1]
            await call.write(frame(get(2, b"k"), hello=pb.Hello(session=bytes(16))))
            served = (await results_of(call, 1))[2]
            call.cancel()

        assert refused.error.field == "hello"
        assert not served.HasField("error")

    asyncio.run(main())


def test_unknown_namespaces_and_crossing_ranges_are_refused(tmp_path: Path) -> None:
    """A frame's namespace must exist, and an operation must stay inside one shard."""

    async def scenario(call: Any, welcome: pb.Welcome) -> None:
        until = await stamped(call, welcome)
        await call.write(frame(get(2, b"k"), namespace="nope"))
        unknown = (await results_of(call, 1))[2]
        wide = pb.Operation(sequence=3, not_after_ms=until, delete=pb.Delete(range=pb.KeyRange()))
        scan = pb.Operation(sequence=4, scan=pb.Scan())
        await call.write(frame(wide, scan))
        found = await results_of(call, 2)

        assert unknown.error.reason == Reason.UNKNOWN_NAMESPACE
        assert found[3].error.reason == Reason.CROSS_SHARD
        assert [s.group for s in found[3].error.shards] == [2, 3]
        assert found[4].page.next == b"m"

    on_stream(tmp_path, scenario, namespaces=[{"name": "default", "splits": ["m"]}])


def test_keys_of_several_shards_are_served_in_one_frame(tmp_path: Path) -> None:
    """A frame may span shards: each answers for its own keys with its own token."""

    async def scenario(call: Any, welcome: pb.Welcome) -> None:
        until = await stamped(call, welcome)
        await call.write(
            frame(*(put(i + 2, key, key, until) for i, key in enumerate((b"a", b"z", b"b", b"y"))))
        )
        groups: dict[int, set[int]] = {}
        while sum(map(len, groups.values())) < 4:
            for answers in (await call.read()).answers:
                groups.setdefault(answers.token.group, set()).update(r.sequence for r in answers.results)
                assert not any(r.HasField("error") for r in answers.results)

        assert groups == {2: {2, 4}, 3: {3, 5}}

    on_stream(tmp_path, scenario, namespaces=[{"name": "default", "splits": ["m"]}])


def test_a_bad_token_refuses_only_the_reads_that_need_it(tmp_path: Path) -> None:
    """A SESSION read with another cluster's token is BAD_TOKEN; its neighbour is served."""

    async def scenario(call: Any, welcome: pb.Welcome) -> None:
        await stamped(call, welcome)
        await call.write(frame(get(2, b"k", level=2), get(3, b"k"), token=types.Token(cluster_id="other")))
        found = await results_of(call, 2)

        assert found[2].error.reason == Reason.BAD_TOKEN
        assert not found[3].HasField("error")

    on_stream(tmp_path, scenario)


def test_large_values_are_split_over_responses(tmp_path: Path) -> None:
    """A frame of reads whose values exceed any message is answered in several that fit."""

    async def scenario(call: Any, welcome: pb.Welcome) -> None:
        until = await stamped(call, welcome)
        await call.write(frame(put(2, b"k", bytes(limits.VALUE_BYTES_MAX), until)))
        await results_of(call, 1)
        await call.write(frame(*(get(i, b"k") for i in range(3, 23))))
        sizes, seen = [], set()
        while len(seen) < 20:
            response = await call.read()
            sizes.append(response.ByteSize())
            seen |= {r.sequence for a in response.answers for r in a.results}

        assert seen == set(range(3, 23))
        assert len(sizes) > 1
        assert max(sizes) < 4 * limits.MIB

    on_stream(tmp_path, scenario)


def test_a_client_that_ends_its_side_gets_what_it_asked(tmp_path: Path) -> None:
    """After half-close every frame is answered, then the stream ends OK."""

    async def scenario(call: Any, welcome: pb.Welcome) -> None:
        await stamped(call, welcome)
        for sequence in range(2, 102):
            await call.write(frame(get(sequence, b"k")))
        await call.done_writing()
        found = await results_of(call, 100)
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK

        assert set(found) == set(range(2, 102))

    on_stream(tmp_path, scenario)


def test_a_closing_node_says_goodbye(tmp_path: Path) -> None:
    """Clients of a node that shuts down are told before their stream ends."""

    async def main() -> pb.StreamResponse:
        config = config_of(tmp_path)
        async with grpc.aio.insecure_channel(config.address) as channel:
            async with one_node(config):
                call = channel.stream_stream(
                    "/holdfast.v1.Cache/Stream", response_deserializer=pb.StreamResponse.FromString
                )()
                await call.write(frame(hello=pb.Hello(session=SESSION)))
                await call.read()
            response: pb.StreamResponse = await call.read()
            return response

    assert asyncio.run(main()).goodbye
