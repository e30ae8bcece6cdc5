"""peer_link: how a connection ends, and what either side is told of it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import uvloop
from holdfast_raft.clock import SystemClock
from holdfast_raft.peer_greeting import Goodbye, encode_goodbye, encode_hello
from holdfast_raft.peer_link import PACK_BYTES
from holdfast_raft.peer_stream import TURN_BYTES
from holdfast_raft.peer_wire import encode

from tests.unit.holdfast_raft.peers import Caller, Node, acceptor, between, pair, running, say, until


@pytest.mark.parametrize("bulk", [False, True], ids=["control", "bulk"])
@pytest.mark.parametrize("sender", [1, 2], ids=["dialler", "acceptor"])
def test_a_full_queue_ends_the_connection_and_a_new_one_follows(sender, bulk):
    """Overflow: send says False, both sides are told disconnected, what was queued is gone, a new epoch
    begins, and no message in the middle is missing from what did arrive."""

    async def run():
        async with pair(control_bytes_max=1 << 20, bulk_bytes_max=1 << 20) as (one, two):
            here, there = (one, two) if sender == 1 else (two, one)
            sent = 0
            while here.transport.send(there.id, say(sent, size=100_000), bulk=bulk):
                here.transport.flush()
                sent += 1
            assert not here.transport.is_connected(there.id)
            assert not here.transport.send(there.id, say(sent))
            assert here.seen.count("disconnected") == 0, "not within send"
            for node in (here, there):
                await node.seen.until_told("disconnected")
                await node.seen.until_told("connected", 2)
            assert ("disconnected", there.id, False) in here.seen.events
            got = there.seen.numbers()
            assert got == list(range(len(got)))
            here.transport.send(there.id, say(77), bulk=bulk)
            here.transport.flush()
            await there.seen.until_told("received", len(got) + 1)
            assert there.seen.numbers()[-1] == 77
            assert here.transport.queued_bytes(there.id) < 1000

    uvloop.run(run())


def test_once_a_connection_is_over_the_rest_of_an_envelope_is_dropped():
    """Messages already read are not delivered after the connection ended under them."""

    async def run():
        async with pair(control_bytes_max=100_000) as (one, two):

            def overflow(peer, message):
                assert not two.transport.send(1, say(0, size=200_000))

            two.seen.on_received = overflow
            for i in range(5):
                one.transport.send(2, say(i))
            one.transport.flush()
            await two.seen.until_told("disconnected")
            await two.seen.until_told("connected", 2)
            assert two.seen.numbers() == [0]

    uvloop.run(run())


def test_a_newer_epoch_ends_the_older_connection_and_silences_it():
    """Once the newer stands nothing of the older is delivered, and the older is told that it is over."""

    async def run():
        async with (
            acceptor() as two,
            Caller(two.port, epoch=10) as old,
            Caller(two.port, epoch=11) as new,
        ):
            await old.greet()
            old.control.write(encode(say(1)))
            await two.seen.until_told("received")
            await new.greet()
            old.control.write(encode(say(2)))
            new.control.write(encode(say(3)))
            await two.seen.until_told("received", 2)
            assert "newer connection" in (await old.refusal()).why
            what = [event[:1] + event[2:3] for event in two.seen.events]
            assert what == [
                ("connected",),
                ("received", say(1)),
                ("disconnected", False),
                ("connected",),
                ("received", say(3)),
            ]

    uvloop.run(run())


def test_the_first_hello_of_a_newer_epoch_ends_the_older_connection():
    """The old connection does not live on while the new one is half made."""

    async def run():
        async with (
            acceptor() as two,
            Caller(two.port, epoch=10) as old,
            Caller(two.port, epoch=11) as new,
        ):
            await old.greet()
            await two.seen.until_told("connected")
            new.control.write(encode_hello(new.hello))
            await two.seen.until_told("disconnected")
            assert "newer connection" in (await old.refusal()).why
            assert two.seen.events == [("connected", 1), ("disconnected", 1, False)]

    uvloop.run(run())


@pytest.mark.parametrize("epoch", [10, 11], ids=["older", "same"])
def test_an_epoch_that_is_not_newer_is_refused_and_told_the_newest(epoch):
    """A connection made earlier that comes late never takes the place of a newer one."""

    async def run():
        async with (
            acceptor() as two,
            Caller(two.port, epoch=11) as new,
            Caller(two.port, epoch=epoch) as late,
        ):
            await new.greet()
            late.bulk.write(encode_hello(late.hello))
            refusal = await late.refusal()
            assert (refusal.newest_epoch, refusal.lasting) == (11, False)
            assert two.seen.events == [("connected", 1)]

    uvloop.run(run())


def test_a_dialler_whose_wall_clock_was_set_back_gets_in_all_the_same():
    """Told the newest epoch, it goes above it: a restart with an old clock locks nobody out."""

    class Backward(SystemClock):
        def wall_ms(self) -> int:
            return 5

    async def run():
        one = Node(1, clock=Backward())
        async with acceptor() as two, Caller(two.port, epoch=1 << 50) as earlier:
            await earlier.greet()
            async with running(one, peers=(two,)):
                await one.seen.until_told("connected")

    uvloop.run(run())


def test_a_peer_that_shuts_down_is_seen_as_closed_by_itself():
    """Both ways: to the dialler and to the acceptor a shut down of the other is closed_by_peer."""

    async def run():
        async with pair() as (one, two):
            await two.transport.close()
            await one.seen.until_told("disconnected")
            assert one.seen.events[-1] == ("disconnected", 2, True)
        async with pair() as (one, two):
            await one.transport.close()
            await two.seen.until_told("disconnected")
            assert two.seen.events[-1] == ("disconnected", 1, True)

    uvloop.run(run())


PEER_PROCESS = """
import asyncio, sys, uvloop
sys.path.insert(0, sys.argv[4])
from tests.unit.holdfast_raft.peers import Node
async def main(node, port, other):
    me = Node(node, port=port)
    await me.listen()
    me.start(addresses={3 - node: f"127.0.0.1:{other}"})
    print(me.port, flush=True)
    await asyncio.Event().wait()
uvloop.run(main(*map(int, sys.argv[1:4])))
"""


@pytest.mark.parametrize("talking", [False, True], ids=["silent", "talking"])
@pytest.mark.parametrize("victim", [1, 2], ids=["dialler", "acceptor"])
def test_a_killed_peer_is_seen_at_once_as_closed_by_the_peer(victim, talking):
    """SIGKILL of the other process: the kernel closes its sockets, and that is all there is to see."""

    async def run():
        me = Node(3 - victim)
        await me.listen()
        folder = str(Path(__file__).parents[3])
        command = [sys.executable, "-c", PEER_PROCESS, str(victim), "0", str(me.port), folder]
        process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
        try:
            port = int(await process.stdout.readline())
            me.start(addresses={victim: f"127.0.0.1:{port}"})
            await me.seen.until_told("connected")
            process.send_signal(signal.SIGKILL)
            while talking and me.transport.send(victim, say(1)):
                me.transport.flush()
                await asyncio.sleep(0)
            await me.seen.until_told("disconnected")
            assert me.seen.events[-1] == ("disconnected", victim, True)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.communicate()
            await me.stop()

    uvloop.run(run())


def test_a_peer_that_comes_back_is_connected_again():
    """The dialler goes on until the address answers, and the new connection carries messages."""

    async def run():
        one, two = Node(1), Node(2)
        await two.listen()
        async with running(one, peers=(two,)):
            two.start(one)
            await one.seen.until_told("connected")
            await two.stop()
            await one.seen.until_told("disconnected")
            again = Node(2, port=two.port)
            async with running(again, peers=(one,)):
                await one.seen.until_told("connected", 2)
                await again.seen.until_told("connected")
                one.transport.send(2, say(5))
                one.transport.flush()
                await again.seen.until_told("received")
                assert again.seen.numbers() == [5]

    uvloop.run(run())


@pytest.mark.parametrize("node", [1, 2], ids=["dialler", "acceptor"])
def test_a_peer_that_says_nothing_any_more_is_given_up(node, monkeypatch):
    """A stopped process keeps its sockets: only its silence tells, and it is not closed by the peer."""
    monkeypatch.setattr("holdfast_raft.tcp_transport.LOOK_SECONDS", 0.02)

    async def run():
        async with pair() as (one, two):
            here, there = (one, two) if node == 1 else (two, one)
            there.transport._looking.cancel()
            await here.seen.until_told("disconnected")
            assert here.seen.events[-1] == ("disconnected", there.id, False)

    uvloop.run(run())


def test_peers_that_have_nothing_to_say_stay_connected(monkeypatch):
    """Frames of no length tell that the other lives; the receiver hears nothing of them."""
    monkeypatch.setattr("holdfast_raft.tcp_transport.LOOK_SECONDS", 0.01)

    async def run():
        async with pair() as (one, two):
            looks = []
            look = one.transport._look
            one.transport._look = lambda: (looks.append(1), look())
            await until(lambda: len(looks) > 20)
            one.transport.send(2, say(1))
            one.transport.flush()
            await two.seen.until_told("received")
            for node, other in ((one, 2), (two, 1)):
                assert node.seen.events[0] == ("connected", other)
                assert node.seen.count("disconnected") == 0

    uvloop.run(run())


@pytest.mark.parametrize("lane", ["control", "bulk"])
def test_one_lane_that_leads_nowhere_ends_the_connection(lane, monkeypatch):
    """What is sent there vanishes without an error, however lively the other lane is."""
    monkeypatch.setattr("holdfast_raft.tcp_transport.LOOK_SECONDS", 0.05)

    async def run():
        one, two = Node(1), Node(2)
        async with between(one, two) as pumps:
            for task in pumps[lane]:
                task.cancel()
            await one.seen.until_told("disconnected")
            await two.seen.until_told("disconnected")
            assert one.seen.events[-1] == ("disconnected", 2, False)

    uvloop.run(run())


def test_a_peer_that_lives_is_not_taken_for_dead_when_a_lane_breaks(monkeypatch):
    """Its queue was full: that lane is reset, and the reason comes on the other one, perhaps later."""
    monkeypatch.setattr("holdfast_raft.peer_link.LAST_WORD_SECONDS", 60.0)
    monkeypatch.setattr("holdfast_raft.tcp_transport.LOOK_SECONDS", 60.0)

    async def run():
        async with acceptor() as two, Caller(two.port, epoch=1) as caller:
            await caller.greet()
            await two.seen.until_told("connected")
            caller.bulk.reset()
            await until(lambda: not two.transport.is_connected(1))
            caller.control.write(encode_goodbye(Goodbye("9000000 bytes wait on the bulk lane")))
            await two.seen.until_told("disconnected")
            assert two.seen.events[-1] == ("disconnected", 1, False)

    uvloop.run(run())


def test_nothing_is_delivered_once_a_lane_has_broken(monkeypatch):
    """What it would have carried is lost, so nothing later may come by the other lane."""
    monkeypatch.setattr("holdfast_raft.peer_link.LAST_WORD_SECONDS", 60.0)
    monkeypatch.setattr("holdfast_raft.tcp_transport.LOOK_SECONDS", 60.0)

    async def run():
        async with acceptor() as two, Caller(two.port, epoch=1) as caller:
            await caller.greet()
            await two.seen.until_told("connected")
            caller.bulk.reset()
            await until(lambda: not two.transport.is_connected(1))
            caller.control.write(encode(say(1)))
            caller.control.write(encode_goodbye(Goodbye("enough")))
            await two.seen.until_told("disconnected")
            assert two.seen.count("received") == 0

    uvloop.run(run())


def test_a_burst_on_the_bulk_lane_lets_the_control_lane_have_its_turn():
    """A snapshot never delays a heartbeat: a loop turn takes a bounded part of what has come."""

    async def run():
        async with pair() as (one, two):
            sizes = [0]
            loop = asyncio.get_running_loop()

            def took(peer, message):
                if not sizes[-1]:
                    loop.call_soon(sizes.append, 0)
                sizes[-1] += len(message.body.data)

            two.seen.on_received = took
            for i in range(256):
                one.transport.send(2, say(i, size=64 << 10), bulk=True)
            one.transport.flush()
            await two.seen.until_told("received", 256)
            # The read that passes the bound, and the envelope that was begun in the turn before.
            assert max(sizes) <= 2 * TURN_BYTES + PACK_BYTES

    uvloop.run(run())


def test_after_the_end_nothing_is_kept_of_a_connection():
    """Half a frame and what was staged can be many MiB, and the peer may never come back."""

    async def run():
        async with acceptor() as two, Caller(two.port, epoch=1) as caller:
            await caller.greet()
            await two.seen.until_told("connected")
            arrival = two.transport._acceptor._newest[1]
            stream = arrival.lanes["bulk"]
            caller.bulk.write_raw((8 << 20).to_bytes(4, "big") + b"x" * (1 << 20))
            await until(lambda: len(stream._buffer) > 1 << 20)
            two.transport.send(1, say(1, size=1 << 20))
            link = two.transport._links[1]
            assert link.control.queued_bytes > 1 << 20
            two.transport.set_peers({})
            await until(lambda: arrival.link is None and not stream._buffer)
            assert (link.control.queued_bytes, arrival.lanes) == (0, {})

    uvloop.run(run())
