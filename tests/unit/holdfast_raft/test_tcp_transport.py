"""tcp_transport: the contract, between nodes in one process over real loopback sockets."""

from __future__ import annotations

import asyncio

import pytest
import uvloop
from holdfast_raft.messages import Addressed, Append, Heartbeats
from holdfast_raft.peer_greeting import encode_hello
from holdfast_raft.peer_wire import decode

from tests.unit.holdfast_raft.peers import Caller, Node, acceptor, number, pair, running, say


def test_messages_of_a_lane_arrive_in_the_order_sent_and_once():
    """Per lane and direction: all messages, in order, none twice, however they were coalesced."""

    async def run():
        async with pair() as (one, two):
            for i in range(3000):
                assert one.transport.send(2, say(i, size=i % 700))
                assert two.transport.send(1, say(i, size=i % 500), bulk=True)
                if i % 7 == 0:
                    one.transport.flush()
                if i % 90 == 0:
                    two.transport.flush()
                    await asyncio.sleep(0)
            one.transport.flush()
            two.transport.flush()
            await one.seen.until_told("received", 3000)
            await two.seen.until_told("received", 3000)
            assert one.seen.numbers() == two.seen.numbers() == list(range(3000))

    uvloop.run(run())


def test_connected_comes_before_anything_is_received():
    """A node that speaks in its very `connected` is heard only after the other's `connected`."""

    async def run():
        one, two = Node(1), Node(2)
        for here, there in ((one, 2), (two, 1)):
            here.seen.connected = lambda peer, here=here, there=there: (
                here.seen._note("connected", peer),
                here.transport.send(there, say(1)),
                here.transport.flush(),
            )
        async with running(one, two):
            await one.seen.until_told("received")
            await two.seen.until_told("received")
            assert [event[0] for event in one.seen.events] == ["connected", "received"]
            assert [event[0] for event in two.seen.events] == ["connected", "received"]

    uvloop.run(run())


def test_nothing_leaves_before_flush():
    """A queued acknowledgement waits for the sync that covers it: only flush lets it go."""

    async def run():
        async with pair() as (one, two):
            one.transport.send(2, say(1))
            one.transport.flush()
            one.transport.send(2, say(2))
            two.transport.send(1, say(9))
            await two.seen.until_told("received")
            two.transport.flush()
            await one.seen.until_told("received")
            assert two.seen.numbers() == [1]
            one.transport.flush()
            await two.seen.until_told("received", 2)

    uvloop.run(run())


def test_all_that_one_turn_says_to_a_peer_is_one_envelope():
    """Messages queued between two flushes travel together on their lane."""

    async def run():
        async with acceptor() as two, Caller(two.port, epoch=5) as caller:
            await caller.greet()
            await two.seen.until_told("connected")
            beats = Heartbeats(1, 2, 3, ())
            for message in (say(1), beats, say(2)):
                two.transport.send(1, message)
            two.transport.flush()
            assert decode(await caller.control.read()) == [
                say(1),
                beats,
                say(2),
            ]

    uvloop.run(run())


def test_a_large_message_passes():
    """A snapshot chunk of 8 MiB passes whole, and queued_bytes falls to zero once it is taken."""

    async def run():
        async with pair() as (one, two):
            large = Addressed(1, 1, Append(0, 0, 0, ((1, b"s" * (8 << 20)),)))
            one.transport.send(2, large, bulk=True)
            assert one.transport.queued_bytes(2) > 8 << 20
            one.transport.flush()
            await two.seen.until_told("received")
            assert two.seen.events[-1][2] == large
            two.transport.send(1, say(1))
            two.transport.flush()
            await one.seen.until_told("received")
            assert one.transport.queued_bytes(2) == 0

    uvloop.run(run())


def test_an_exception_in_the_receiver_does_not_tear_the_stream(caplog):
    """The receiver's mistake is logged; the next message arrives on the same connection."""

    async def run():
        async with pair() as (one, two):
            two.seen.on_received = lambda peer, message: 1 // (number(message) - 1)
            for i in (1, 2):
                one.transport.send(2, say(i))
            one.transport.flush()
            await two.seen.until_told("received", 2)
            assert two.seen.count("disconnected") == 0

    uvloop.run(run())
    assert "ZeroDivisionError" in caplog.text
    caplog.clear()


def test_sending_to_a_peer_that_is_not_connected_says_so():
    """False, and nothing is queued."""

    async def run():
        async with acceptor() as two:
            assert not two.transport.send(1, say(1))
            assert not two.transport.is_connected(1)
            assert two.transport.queued_bytes(1) == 0

    uvloop.run(run())


def test_the_hello_tells_who_a_peer_is():
    """peer_info gives the facts of the peer's hello, to the dialler and to the acceptor."""

    async def run():
        async with pair() as (one, two):
            seen = one.transport.peer_info(2)
            assert (seen.node, seen.incarnation, seen.pid, seen.connected) == (2, 2000, 4002, True)
            assert (seen.http, seen.version, seen.zone) == ("127.0.0.1:8101", "0.1.0", "a")
            assert two.transport.peer_info(1).pid == 4001
            assert two.transport.peer_info(3) is None

    uvloop.run(run())


@pytest.mark.parametrize("dials", [True, False], ids=["we dial it", "it dials us"])
def test_a_peer_that_is_added_at_run_time_is_connected(dials):
    """Nobody restarts for a node that joins; a stranger is admitted once it is named."""

    async def run():
        here, there = (Node(1), Node(2)) if dials else (Node(2), Node(1))
        await here.listen()
        await there.listen()
        here.start(addresses={9: "127.0.0.1:1"})
        there.start(here)
        try:
            await asyncio.sleep(0.1)
            assert here.seen.events == []
            here.transport.set_peers({9: "127.0.0.1:1", there.id: there.address, here.id: "elsewhere"})
            await here.seen.until_told("connected")
            await there.seen.until(lambda: there.transport.is_connected(here.id))
            assert here.seen.events == [("connected", there.id)]
        finally:
            await here.stop()
            await there.stop()

    uvloop.run(run())


@pytest.mark.parametrize("node", [1, 2], ids=["dialler", "acceptor"])
def test_a_peer_that_is_removed_is_disconnected_and_stays_so(node, monkeypatch):
    """Its connection ends at once, nothing is sent to it, and it is neither dialled nor let in again."""
    monkeypatch.setattr("holdfast_raft.peer_door.BACKOFF_SECONDS_MAX", 0.05)

    async def run():
        async with pair() as (one, two):
            here, there = (one, two) if node == 1 else (two, one)
            here.transport.set_peers({})
            assert here.seen.events[-1] == ("disconnected", there.id, False)
            assert not here.transport.send(there.id, say(1))
            await there.seen.until_told("disconnected")
            await asyncio.sleep(0.3)
            assert here.seen.count("connected") == 1
            assert not there.transport.is_connected(here.id)
            here.transport.set_peers({there.id: there.address})
            await here.seen.until_told("connected", 2)

    uvloop.run(run())


def test_a_peer_that_moved_is_dialled_at_its_new_address():
    """The connection to the old one ends at once, also when something answers there still."""

    async def run():
        one, two, moved = Node(1), Node(2), Node(2)
        async with running(one, two), running(moved, peers=(one,)):
            await one.seen.until_told("connected")
            one.transport.set_peers({2: moved.address})
            assert one.seen.events[-1] == ("disconnected", 2, False)
            await moved.seen.until_told("connected")
            await one.seen.until_told("connected", 2)
            await two.seen.until_told("disconnected")

    uvloop.run(run())


def test_the_same_peers_once_more_change_nothing():
    """Maps are told over and over: connections that stand stay, also those of a peer that dials us."""

    async def run():
        async with pair() as (one, two):
            one.transport.set_peers({2: two.address})
            two.transport.set_peers({1: "127.0.0.1:1"})
            one.transport.send(2, say(1))
            one.transport.flush()
            await two.seen.until_told("received")
            assert [event[0] for event in one.seen.events] == ["connected"]

    uvloop.run(run())


def test_a_peer_removed_within_its_handshake_is_not_connected():
    """It was one when its first lane came in; when the second does, it is none."""

    async def run():
        async with acceptor() as two, Caller(two.port, epoch=5) as caller:
            caller.control.write(encode_hello(caller.hello))
            await asyncio.sleep(0.1)
            two.transport._door._admit = lambda node, incarnation: two.transport.set_peers({}) is None
            caller.bulk.write(encode_hello(caller.hello))
            assert "no longer a peer" in (await caller.refusal()).why
            assert two.seen.events == []

    uvloop.run(run())


def test_peers_named_after_the_end_are_not_dialled():
    """A transport that was closed stays so, whatever it is told."""

    async def run():
        one, two = Node(1), Node(2)
        await two.listen()
        two.start(one)
        one.start(addresses={9: "127.0.0.1:1"})
        await one.transport.close()
        one.transport.set_peers({2: two.address})
        await asyncio.sleep(0.1)
        assert two.seen.events == []
        await one.stop()
        await two.stop()

    uvloop.run(run())
