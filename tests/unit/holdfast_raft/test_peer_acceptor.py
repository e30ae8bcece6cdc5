"""peer_acceptor and peer_dialer: who is let in, and who is not."""

from __future__ import annotations

import asyncio
import logging
import socket

import pytest
import uvloop
from holdfast_raft.peer_greeting import Hello, encode_hello
from holdfast_raft.peer_stream import ENVELOPE_BYTES_MAX, PREAMBLES
from holdfast_raft.peer_wire import encode

from tests.unit.holdfast_raft.peers import Caller, Node, acceptor, running, say, until


def test_attempts_that_were_given_up_meanwhile_are_not_taken_for_connections():
    """A node that was stopped finds its peers' attempts waiting, by the dozen, all hung up."""

    async def run():
        two = Node(2)
        await two.listen()
        two.transport.set_peers({1: "127.0.0.1:1"})
        # Not a turn of the loop from here on until they have all hung up: as if the process were stopped.
        for epoch in range(5, 15):
            for preamble in PREAMBLES.values():
                hello = encode_hello(Hello("blue", 1, 1000, epoch, "", "", 1, ""))
                with socket.create_connection(("127.0.0.1", two.port)) as attempt:
                    attempt.sendall(preamble + len(hello).to_bytes(4, "big") + hello)
        try:
            async with Caller(two.port, epoch=20) as caller:
                await caller.greet()
                await two.seen.until_told("connected")
            assert two.seen.count("connected") == 1
        finally:
            await two.stop()

    uvloop.run(run())


def test_a_defect_while_dialling_gives_no_peer_up(caplog, monkeypatch):
    """Whatever it raises: it is logged, and the dialler tries again."""
    monkeypatch.setattr("holdfast_raft.peer_door.BACKOFF_SECONDS_MAX", 0.05)

    async def run():
        asked = []

        def admit(node, incarnation):
            asked.append(node)
            return 1 // (len(asked) > 2)

        one, two = Node(1, admit=admit), Node(2)
        async with running(one, two):
            await one.seen.until_told("connected")

    uvloop.run(run())
    assert "ZeroDivisionError" in caplog.text
    caplog.clear()


def test_a_name_with_an_address_that_this_machine_lacks_is_listened_at_by_the_others(monkeypatch):
    """localhost often stands for ::1 too where IPv6 is off."""

    async def run():
        loop = asyncio.get_running_loop()

        async def found(host, port, **_):
            return [(0, 0, 0, "", (address, port)) for address in ("192.0.2.1", "127.0.0.1")]

        two = Node(2)
        with monkeypatch.context() as patch:
            patch.setattr(type(two.transport._acceptor), "_resolve", staticmethod(found))
            await two.listen()
        two.start(addresses={1: "127.0.0.1:1"})
        async with Caller(two.port, epoch=1) as caller:
            await caller.greet()
        await two.stop()
        assert loop.is_running()

    uvloop.run(run())


@pytest.mark.parametrize(
    ("hello", "why"),
    [
        ({"cluster_id": "green"}, "of cluster 'green', not of 'blue'"),
        ({"node": 9}, "node 9 is not a peer"),
        ({"incarnation": 1001}, "is not admitted"),
        ({"node": 3, "incarnation": 3000}, "waits to be dialled"),
        ({"epoch": 1 << 63}, "out of range"),
    ],
    ids=["other cluster", "unknown node", "other incarnation", "wrong direction", "absurd epoch"],
)
def test_a_stranger_is_refused_and_named_in_the_log(hello, why, caplog):
    """A bad hello is answered with the reason, and that it lasts; the receiver hears nothing of it."""

    async def run():
        async with acceptor() as two:
            async with Caller(two.port, **{"epoch": 5, **hello}) as caller:
                caller.control.write(encode_hello(caller.hello))
                caller.bulk.write(encode_hello(caller.hello))
                refusal = await caller.refusal()
                assert refusal.lasting
                assert why in refusal.why
            async with Caller(two.port, epoch=5) as good:
                await good.greet()
            assert two.seen.events[0] == ("connected", 1)

    uvloop.run(run())
    assert why in caplog.text


def test_the_dialler_refuses_an_acceptor_that_is_not_admitted(caplog):
    """Identity is checked both ways: a node answering at a peer's address must be that peer."""

    async def run():
        one, two = Node(1), Node(2, incarnation=2001)
        async with running(one, two):
            await two.seen.until_told("disconnected")
            assert one.seen.events == []

    with caplog.at_level(logging.WARNING):
        uvloop.run(run())
    assert "incarnation 00000000000007d1 of node 2 is not admitted" in caplog.text


def test_a_refused_dialler_tries_again_and_gets_in_once_it_is_admitted(monkeypatch):
    """A refusal is not for ever: an operator's correction is enough, no restart."""
    monkeypatch.setattr("holdfast_raft.peer_door.BACKOFF_SECONDS_MAX", 0.05)

    async def run():
        asked = []

        def admit(node, incarnation):
            asked.append(node)
            return len(asked) > 4

        one, two = Node(1), Node(2, admit=admit)
        async with running(one, two):
            await two.seen.until_told("connected")
            assert len(asked) > 4

    uvloop.run(run())


@pytest.mark.parametrize(
    "first",
    [b"\xff\xff\xff", b"", encode(say(1)), encode_hello(Hello("blue" * 2000, 1, 1000, 1, "", "", 1, ""))],
    ids=["garbage", "empty", "message before hello", "huge hello"],
)
def test_a_stream_that_does_not_begin_with_a_hello_is_refused(first):
    """Nothing of a stream is looked at before a hello, and a hello is small."""

    async def run():
        async with acceptor() as two:
            async with Caller(two.port, epoch=1) as caller:
                caller.bulk.write(first)
                assert (await caller.refusal()).lasting
            assert two.seen.events == []

    uvloop.run(run())


@pytest.mark.parametrize(
    "first", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"], ids=["http", "grpc"]
)
def test_who_does_not_speak_the_protocol_is_hung_up_on_and_named(first, caplog):
    """A browser or a client at the wrong port is a line in the log, with what it said."""

    async def run():
        async with acceptor() as two:
            reader, writer = await asyncio.open_connection("127.0.0.1", two.port)
            writer.write(first)
            assert b"does not speak the protocol of peers" in await reader.read()
            writer.close()
            assert two.seen.events == []

    uvloop.run(run())
    assert "does not speak the protocol of peers" in caplog.text


def test_a_frame_above_the_bound_ends_the_connection_before_it_is_read():
    """Its length is enough to tell; what it would hold is never kept."""

    async def run():
        async with acceptor() as two, Caller(two.port, epoch=1) as caller:
            await caller.greet()
            caller.bulk.write_raw((ENVELOPE_BYTES_MAX + 1).to_bytes(4, "big"))
            assert f"an envelope of {ENVELOPE_BYTES_MAX + 1} bytes" in (await caller.refusal()).why
            assert two.seen.events[-1] == ("disconnected", 1, False)

    uvloop.run(run())


def test_who_connects_and_says_nothing_is_hung_up_on(monkeypatch):
    """Also who stops within the preamble or the hello: nobody holds a place at the door."""
    monkeypatch.setattr("holdfast_raft.peer_door.HANDSHAKE_SECONDS", 0.1)

    async def run():
        async with acceptor() as two:
            for beginning in (b"", PREAMBLES["bulk"][:7], PREAMBLES["bulk"] + b"\0\0\0\x20half"):
                reader, writer = await asyncio.open_connection("127.0.0.1", two.port)
                writer.write(beginning)
                assert b"the handshake took too long" in await reader.read()
                writer.close()
            await until(lambda: not two.transport._acceptor._strangers)

    uvloop.run(run())


def test_a_crowd_at_the_door_keeps_no_peer_out(monkeypatch):
    """Above so many strangers the one that has waited longest is hung up on."""
    monkeypatch.setattr("holdfast_raft.peer_acceptor.STRANGERS_MAX", 3)

    async def run():
        async with acceptor() as two:
            strangers = [await asyncio.open_connection("127.0.0.1", two.port) for _ in range(3)]
            await until(lambda: len(two.transport._acceptor._strangers) == 3)
            async with Caller(two.port, epoch=1) as caller:
                await caller.greet()
                assert b"too many are at the door" in await strangers[0][0].read()
            for _, stranger in strangers:
                stranger.close()
            await until(lambda: not two.transport._acceptor._strangers)

    uvloop.run(run())


def test_malformed_bytes_end_the_connection_and_nothing_else():
    """What came before them is delivered, nothing after; the node goes on and takes a new connection."""

    async def run():
        async with acceptor() as two:
            async with Caller(two.port, epoch=1) as caller:
                await caller.greet()
                for data in (encode(say(1)), b"\xff\xff\xff", encode(say(2))):
                    caller.control.write(data)
                assert "malformed" in (await caller.refusal()).why
            assert [event[0] for event in two.seen.events] == ["connected", "received", "disconnected"]
            assert two.seen.events[-1] == ("disconnected", 1, False)
            async with Caller(two.port, epoch=2) as caller:
                await caller.greet()
                caller.bulk.write(encode(say(3)))
                await two.seen.until_told("received", 2)
            assert two.seen.numbers() == [1, 3]

    uvloop.run(run())


def test_one_lane_alone_is_no_connection(monkeypatch):
    """Without the other lane the handshake is given up, and the receiver never hears of it."""
    monkeypatch.setattr("holdfast_raft.peer_door.HANDSHAKE_SECONDS", 0.2)

    async def run():
        async with acceptor() as two:
            async with Caller(two.port, epoch=1) as caller:
                caller.bulk.write(encode_hello(caller.hello))
                assert "took too long" in (await caller.refusal()).why
            assert two.seen.events == []
            async with Caller(two.port, epoch=2) as caller:
                await caller.greet()

    uvloop.run(run())
